// Package lan is the XL710's LAN engine, one queue at a time: contexts read out of host memory, descriptors fetched,
// checked and written back, frames cut out of and placed into host buffers.
//
//	           host memory                          this package                         package i40esim
//	+------------------------------+
//	| HMC: queue contexts          | -> DecodeTxContext, DecodeRxContext -> queue enable
//	| tx ring  [ctx|data|data|...] | -> TxQueue.Run --- offloads ---> Packet ---------> switch, wire
//	|          DTYPE=done or head  | <- RS, or TxQueue.Flush
//	| rx ring  [buf|buf|buf|...]   | <- full 128-byte line, or RxQueue.Flush
//	| rx buffers                   | <- RxQueue.Deliver <------------ frame, RxMeta <-- filters, RSS
//	+------------------------------+
//	                                    Cause: "something completed" ---------------> ITR timer, then Flush, MSI-X
//
// # When descriptors are written back
//
// Receive descriptors are collected until the line of 128 bytes they lie in (4 of 32 bytes, 8 of 16) is full; a partly
// filled line is written by [RxQueue.Flush] alone, which the owner calls when the interrupt throttle of the linked
// vector expires. A queue linked to no vector therefore hides its last frames from the host, as the silicon does.
// Transmit descriptors report when they carry RS: DTYPE becomes "done", or, with head write-back, the head index is
// stored. With head write-back a full line of descriptors reports too. What remains is reported by [TxQueue.Flush].
//
// # What a driver may do
//
// Everything in host memory may hold anything and change at any time: a descriptor is read once, checked, then used.
// What the silicon takes for malicious ("Malicious Driver Detection") stops the queue and goes to
// [Reporter.Malicious], after a violation that says where; what is merely wrong, such as a reserved bit, goes to
// [Reporter.Violation] alone, and the queue goes on.
//
// # What is not modelled
//
// Header split (refused with the context), FCoE, insertion of a tag into the inner MAC header, SWPE (each a malicious
// event), the low threshold of receive descriptors, TPH hints, flexible payload in filters and receive descriptors, the
// mirror rule's number in them, and the order of bytes on PCIe.
//
// # Concurrency
//
// None: the owner serialises all calls on the queues of one device. Callbacks run inside the call that causes them and
// must not call back into the same queue, except that Cause may call Flush.
package lan
