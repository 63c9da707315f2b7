package pmd

import "weft/internal/packet"

// RxQueue is the receiving side of one port's ring, as a PMD thread polls it.
type RxQueue interface {
	// Receive resets b and fills it with up to packet.BatchSize packets, which it returns the number of. Their segments
	// are borrowed until Release.
	Receive(b *packet.Batch) int
	// Release gives back what the last Receive borrowed. It is called once after each Receive that returned packets.
	Release(b *packet.Batch)
}

// Waker is an RxQueue that can wake a thread which sleeps. A thread whose queues all can sleeps until one does, in mode
// IdleSleep, and not for so long only as packets may wait.
type Waker interface {
	// Arm asks for a wake-up and returns a descriptor that is readable once there are packets. It fails, and asks for
	// nothing, when there are some already, or nobody would wake the thread. Called on the PMD thread, like Receive.
	Arm() (fd int, ok bool)
	// Disarm is called on the PMD thread before the next Receive.
	Disarm()
}

// Processor does what is to be done with a received batch: one for each PMD thread, called on that thread only.
type Processor interface {
	// Process looks the packets up and transmits them. It keeps nothing of b afterwards.
	Process(b *packet.Batch)
}
