package memport

import "weft/internal/packet"

// RxQueue is the side of a port that the switch receives from.
type RxQueue struct {
	ring        *ring
	style       Style
	segmentSize uint32
	next        uint64 // behind the last frame received; the ring's tail follows on Release
	counters    packet.Counters
}

func newRxQueue(cfg Config) *RxQueue {
	q := &RxQueue{ring: newRing(cfg.RingSize, cfg.FrameSize), style: cfg.Style, segmentSize: packet.MaxFrame}
	if cfg.SegmentSize != 0 {
		q.segmentSize = uint32(cfg.SegmentSize)
	}
	return q
}

// Counters are the queue's totals.
func (q *RxQueue) Counters() packet.CounterSnapshot { return q.counters.Snapshot() }

// Receive resets b and fills it with injected frames, lending them until Release.
func (q *RxQueue) Receive(b *packet.Batch) int {
	b.Reset()
	r := q.ring
	head := r.head.Load()
	if q.next == head {
		return 0
	}
	runts, scattered := uint64(0), uint64(0)
	for q.next != head && b.Len() < packet.BatchSize {
		frame := r.frame(q.next)
		switch {
		case len(frame) < packet.MinFrame:
			runts++
		case q.style == Owned:
			b.AddOwned(r.slot(q.next), packet.Headroom, len(frame))
		case q.segments(frame) > packet.MaxSegments:
			scattered++
		case q.segments(frame) > b.SegmentsFree():
			q.finish(b, runts, scattered)
			return b.Len()
		default:
			q.lend(b, frame)
		}
		q.next++
	}
	q.finish(b, runts, scattered)
	return b.Len()
}

// segments is how many segments frame takes.
func (q *RxQueue) segments(frame []byte) int {
	if len(frame) <= packet.WindowSize {
		return 0
	}
	return (len(frame) - packet.WindowSize + int(q.segmentSize) - 1) / int(q.segmentSize)
}

// lend adds frame to b: the window copied, the rest as segments.
func (q *RxQueue) lend(b *packet.Batch, frame []byte) {
	window := min(len(frame), packet.WindowSize)
	p := b.Add(window)
	copy(p.Header(), frame[:window])
	for rest := frame[window:]; len(rest) > 0; {
		n := min(len(rest), int(q.segmentSize))
		b.AddSegment(p, packet.SegmentOf(rest[:n]))
		rest = rest[n:]
	}
}

// finish counts what was received. A burst of which nothing is left has no Release to come.
func (q *RxQueue) finish(b *packet.Batch, runts, scattered uint64) {
	if runts > 0 {
		q.counters.Drop(packet.DropRunt, runts)
	}
	if scattered > 0 {
		q.counters.Drop(packet.DropTooManySegments, scattered)
	}
	if b.Len() == 0 {
		q.ring.tail.Store(q.next)
		return
	}
	q.counters.Publish(uint64(b.Len()), b.Bytes())
}

// Release gives the frames' memory back to the injecting side.
func (q *RxQueue) Release(*packet.Batch) { q.ring.tail.Store(q.next) }
