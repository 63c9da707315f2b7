package wire

import "sync/atomic"

// MaxFrame is the most bytes of a frame without its frame check sequence that an XL710's port sends or receives:
// datasheet, "Maximum frame size" of 9728 with it.
const MaxFrame = 9728 - 4

// MinFrame is what the shortest frame has without its frame check sequence (IEEE 802.3); what comes from a kernel is
// often shorter and is padded with zeros.
const MinFrame = 60

// Receiver takes a frame that comes in. It borrows it. A Port calls its receiver from one goroutine at a time.
type Receiver func(frame []byte)

// Port is one end of a wire.
//
// Concurrency: any goroutine may call Send, Stats and Close. Start is called once, before frames can come in.
type Port interface {
	// Send puts a frame on the wire. It borrows the frame and never blocks.
	Send(frame []byte)
	// Start has frames that come in given to receive, until Close.
	Start(receive Receiver)
	// Stats are counts since the port was made.
	Stats() Stats
	// Close unplugs the port. When it returns the receiver is not called any more. It must not be called by the
	// receiver.
	Close() error
}

// Stats counts frames.
type Stats struct {
	Sent     uint64 // taken by Send and passed on
	Received uint64 // given to the receiver
	Dropped  uint64 // sent but not passed on: the other side was too slow, down, or the frame too long
}

// counters are Stats while they are counted.
type counters struct{ sent, received, dropped atomic.Uint64 }

func (c *counters) Stats() Stats {
	return Stats{Sent: c.sent.Load(), Received: c.received.Load(), Dropped: c.dropped.Load()}
}
