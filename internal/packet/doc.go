// Package packet holds the batch: up to 32 packets that travel together from one receive queue, through the flow
// table, to transmit queues, on one PMD thread.
//
// A packet is a header window in memory that Weft owns, followed by segments borrowed from whoever received it:
//
//	 slot (Weft's memory)                              source's memory (a guest's)
//	+-----------+---------------------------+         +--------------------------+
//	| headroom  | header window             |         | rest of the frame        |
//	|       <-- | first 128 bytes, copied   | ......> | segment 0, segment 1 ... |
//	+-----------+---------------------------+         +--------------------------+
//	            ^ start                               borrowed until Release
//
// Parsing and editing touch the window only, so a guest that rewrites its buffer after it was received changes nothing
// that was decided. Payload is read exactly once: when a transmit queue copies it to its destination.
//
// # Ownership
//
// Receive fills a batch and lends its segments. Transmit reads the batch and keeps nothing. Release ends the loan.
// A clone (see [Batch.Clone]) has its own window and shares the segments of its original.
//
// # Concurrency
//
// A Batch belongs to one PMD thread. [Counters] have one writer, the PMD thread that owns the queue for the moment, and
// any number of readers.
package packet
