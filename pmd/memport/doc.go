// Package memport is a port that lies in memory: what a test injects, the switch receives; what the switch transmits,
// the test collects. It keeps the contract of a real driver (loans until Release, drop reasons, counters, nothing
// allocated on the switch's side), so that the datapath can be tested and measured without a guest or a NIC.
//
//	test                           PMD thread
//	Inject --> [ ring of frames ] --> RxQueue.Receive, Release
//	Collect <- [ ring of frames ] <-- TxQueue.Transmit
//
// In style Lent a frame is presented as a guest's would be: its first packet.WindowSize bytes copied to the header
// window, the rest lent as segments. In style Owned it is presented as a NIC's: the window is the frame itself.
//
// # Concurrency
//
// Each ring has one producer and one consumer. The PMD thread that owns a queue for the moment calls its Receive,
// Release or Transmit; one goroutine at a time calls Inject for a queue, and one Collect, Drain or Wait. Counters may
// be read by anyone.
package memport
