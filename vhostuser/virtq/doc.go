// Package virtq is the device's side of virtqueues, split (virtio 1.3 §2.7) and packed (§2.8), as a virtio-net device uses
// them (§5.1): the rings alone, with no socket and no protocol around them.
//
//	guest                              Weft (one PMD thread per ring)
//	+------------------+  available   +--------------------------------------------+
//	| transmitq        | -----------> | RxQueue.Receive: headers copied, payload   |
//	|                  | <----------- |   lent; RxQueue.Release: buffers used      |
//	+------------------+  used        +--------------------------------------------+
//	| receiveq         | -----------> | TxQueue.Transmit: header window and lent   |
//	|                  | <----------- |   payload copied into the guest's buffers  |
//	+------------------+              +--------------------------------------------+
//
// Both layouts are staged into the same buffers, a burst at a time, and differ in how these are read and given back:
// split_unsafe.go and packed_unsafe.go. What is done with a buffer knows no layout.
//
// A queue object lives as long as its port; a [Ring] as long as one set of ring addresses and one memory table. The
// session attaches and detaches rings with an atomic swap.
//
// # What a guest may do
//
// Everything in guest memory may change at any time and hold anything. Hence: an index or descriptor is read once, into
// memory of ours, then bounded, then used (or read anew, when all that was read is forgotten); addresses are translated
// through [Memory], which only knows mapped ranges; a chain is walked for a bounded number of steps. A guest that breaks the
// ring's rules breaks that ring only: it stops, [Ring.Err] says why, and the queue stays silent until a new ring is attached.
// A buffer that is well-formed but holds no forwardable frame costs a counted drop.
//
// Assumed of the caller: ring areas and regions stay mapped until a PMD quiescent point after Detach; the mapping may
// fault with SIGBUS when a front end truncates its memory file, which the PMD thread survives (package pmd).
//
// # Concurrency
//
// Receive, Release and Transmit are called by one thread at a time. Attach, Detach, SetCall, Err and Counters are called by
// any goroutine.
package virtq
