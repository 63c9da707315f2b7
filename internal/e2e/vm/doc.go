// Package vm boots small qemu guests whose network cards are vhost-user ports.
//
//	  qemu-system-x86_64                                  the switch
//	+---------------------------------------+          +---------------+
//	| agent (init)      virtio-net-pci -----+-- vhost -+-> unix socket |
//	|   |                                   |   user   |               |
//	|   | ttyS1          RAM (memfd, shared) <---------+-- mmap        |
//	+---+-----------------------------------+          +---------------+
//	    +-- NAME.ctl (agent protocol)    NAME.log (console)    NAME.qmp (qemu's monitor)
//
// KVM is used where a guest really boots with it, which is tried once, by booting one; everywhere else qemu's TCG
// emulates the processor.
package vm
