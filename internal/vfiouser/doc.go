// Package vfiouser speaks the vfio-user protocol, by which a PCI device that lives in one process is plugged into a
// virtual machine that lives in another: the server has the device's registers, the client (qemu's vfio-user-pci, or a
// driver of ours) has the memory and the interrupts.
//
//	client                       unix socket                      server
//	 driver --REGION_READ/WRITE-------------------------------> Device.ReadRegion, WriteRegion
//	 memory <==== mmap of the descriptors sent by DMA_MAP =====  DMA.Read, Write
//	        <---DMA_READ/WRITE (memory without a descriptor)--- /
//	 vector <==== eventfds sent by SET_IRQS ===================  Session.Trigger
//	 tails  ====> mmap of the areas in REGION_INFO ===========>  the Device's own shared memory
//
// The protocol is that of qemu's docs/interop/vfio-user.rst, version 0.0, without migration. The other side is not
// trusted, whichever it is: messages are bounded, every number is checked before it is used, descriptors that come along
// are closed exactly once whatever becomes of the message, memory that is cut off under a transfer is an error and not a
// signal, and a side that stops in the middle of a message or goes away only ends its session.
package vfiouser
