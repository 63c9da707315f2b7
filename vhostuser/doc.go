// Package vhostuser is the back end of the vhost-user protocol: it brings the virtqueues of a front end (qemu, DPDK's
// virtio-user) into this process, over a unix socket on which it listens or to which it connects, for ever. A [Port]
// outlives its sessions: its queues stay, rings are attached to them and detached as front ends come and go.
//
//	front end                                Port
//	+-----------+   unix socket   +--------------------------------------+      PMD threads
//	| qemu      | --- messages -> | reader -> session: states, features, |
//	| virtio-   |     and fds     |   |       rings, guest memory        |  +-> RxQueue.Receive
//	|   user    | <-- replies --- |   |          |                       |  |
//	+-----------+                 |   |       Attach / Detach -----------+--+-> TxQueue.Transmit
//	  guest memory, rings <-------+---+-------- mmap                     |
//	  (shared)                    +--------------------------------------+
//
// # States
//
// What a message must look like, and when it is allowed, is a table: states.go. A ring has states of its own: stopped,
// started, and broken when the guest violated the virtqueue's rules. A broken ring stops while the session stays, so
// that the guest can set it up again.
//
// A ring that is started and disabled is left alone: what the guest transmits on it waits until it is enabled. The
// specification would have it discarded, but DPDK's virtio-user disables its rings for a moment whenever its memory
// changes, and DPDK's vhost library leaves such a ring alone too.
//
// # What a front end may do
//
// A front end is as hostile as its guest. Lengths are bounded before anything is allocated, a message that does not
// fit its row of the table ends the session with a logged reason, every descriptor that arrives is closed exactly
// once, addresses are checked against the memory table, and the memory table against the files behind it. What is left
// is a front end that truncates its memory file later: the PMD threads survive the fault and call [Port.Fault],
// which takes the memory away from them and ends the session.
//
// A message that is well-formed but cannot be done, such as a memory table that does not map, is answered with a
// failure when the front end asked for an answer (REPLY_ACK). Otherwise the session ends, as the protocol has no other
// way to say no.
//
// # Features
//
// Offered is only what works: see features.go, which also says why CTRL_VQ is missing and MQ works without it.
//
// # Concurrency
//
// One goroutine per session owns the protocol state, the rings and the memory; another reads messages and hands them
// over one at a time. Guest memory is unmapped by the session's goroutine, after Detach and [Host].Synchronize. The
// port's mutex covers plain status data and is never held across a wait. All methods of Port are safe for concurrent
// use; none may be called from a PMD thread, except those of its queues.
package vhostuser
