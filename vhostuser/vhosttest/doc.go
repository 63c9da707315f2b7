// Package vhosttest is the guest's side of a vhost-user network card: memory, a virtio-net driver on split or packed
// virtqueues, a vhost-user front end that brings a back end up as qemu or as DPDK's virtio-user does, and the tools of a
// hostile guest. It is for tests and benchmarks: it trusts nothing that a device does and reports what a real driver
// would choke on.
//
//	            Guest
//	+------------------------------+
//	| Send  Receive  Forward       |   unix socket: memory table, ring addresses, kick and call descriptors
//	|   |      ^        |          | <------------------------------------------------------------------+
//	| Queue  Queue    Pair         |   FrontEnd                                                         |
//	|   |      |                   |                                                             the back end
//	| Ring: desc, avail, used      |                                                             under test
//	| or PackedRing: desc, events  |                                                                    |
//	| Memory: regions of a memfd   | <------------------------------------------------------------------+
//	+------------------------------+   shared memory: rings and buffers
//	    ^
//	    Mutator, Ring.SetDesc, PackedRing.SetDesc, Memory.Truncate: a guest that breaks the rules
//
// A [Queue] is the driver of either kind of ring; all that differs lies behind one small interface inside. Which kind it
// is, [Config.Packed] says, and only what looks into a ring needs to know: [Queue.Ring] or [Queue.PackedRing].
// With [Config.InOrder] the driver hands descriptors out in ring order and understands devices that tell of a batch of
// buffers by its last (VIRTIO_F_IN_ORDER, sections 2.7.9 and 2.8.8); devices that tell of each are batches of one.
//
// [NewGuest] makes the left side alone, in this process: tests of the rings hand its pointers to the device code
// directly. [Connect] adds the socket.
//
// # Concurrency
//
// A [Queue] belongs to one goroutine at a time; queues of one guest are independent of each other, except that
// [Pair.Forward] uses both of its pair. The hostile tools may run beside anything: that is their purpose.
//
// Section numbers are those of the Virtual I/O Device specification, version 1.3, unless another document is named.
package vhosttest
