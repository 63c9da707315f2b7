// Package tap connects the switch to the host's own network stack through tap interfaces.
//
// A tap interface is a slow port: each frame is a system call, and a system call on a PMD thread would hold up every
// other queue of that thread. So each queue has a ring of frame buffers and a goroutine for either direction; the PMD
// thread touches the rings alone.
//
//	      PMD thread                   goroutines              kernel
//	                     +--------+
//	Receive, Release <---| rx ring|<--- reader <--- read() ---+
//	                     +--------+                           +--- tap interface
//	                     +--------+                           |    queue
//	Transmit ----------->| tx ring|---> writer ---> write() --+
//	                     +--------+
//	                       wake, when the other side sleeps
//
// Frames carry a virtio-net header of 12 bytes on the descriptor and no offloads, so it is always empty.
//
// # Ownership
//
// Receive lends frames out of the rx ring until Release. Transmit copies into the tx ring and keeps nothing.
//
// # Life of the interface
//
// The interface may be taken down, renamed or moved to another network namespace while the port is open: frames flow
// again once it is up. When it is deleted, the port goes to state "lost" and makes it anew.
//
// # Concurrency
//
// Each ring has one producer and one consumer. [RxQueue] and [TxQueue] methods other than Counters belong to the PMD
// thread that owns the queue; everything else may be called from any goroutine.
package tap
