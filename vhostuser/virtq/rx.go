package virtq

import (
	"sync/atomic"

	"weft/internal/packet"
	"weft/internal/sys"
)

// RxQueue is a guest's transmitq, from which the switch receives. It implements pmd.RxQueue.
type RxQueue struct {
	ring     atomic.Pointer[Ring]
	bell     *sys.Bell
	borrowed *Ring // between Receive and Release
	armed    *Ring // between Arm and Disarm
	onError  func()
	counters packet.Counters
}

// NewRxQueue makes a queue without a ring. onError is called on the PMD thread when a ring breaks, once for each ring; it
// must not block. bell, which may be nil, rings when the guest kicks.
func NewRxQueue(onError func(), bell *sys.Bell) *RxQueue {
	return &RxQueue{onError: onError, bell: bell}
}

// Arm asks the guest to kick when it makes buffers available, and returns a descriptor that is readable once it did. It
// fails, and asks for nothing, when there are some already or the guest cannot kick. It implements pmd.Waker.
func (q *RxQueue) Arm() (fd int, ok bool) {
	q.armed = nil // if a memory fault came before Disarm
	r := q.ring.Load()
	if q.bell == nil || !q.bell.CanRing() {
		return -1, false
	}
	q.bell.Clear()
	if r == nil || r.broken {
		return q.bell.FD(), true
	}
	r.askKicks(true)
	r.begin()
	if r.broken {
		q.onError()
		return -1, false
	}
	if r.free > 0 {
		r.askKicks(false)
		return -1, false
	}
	q.armed = r
	return q.bell.FD(), true
}

// Disarm tells the guest that the switch polls again.
func (q *RxQueue) Disarm() {
	if r := q.armed; r != nil {
		q.armed = nil
		r.askKicks(false)
	}
}

// Attach makes the queue use r.
func (q *RxQueue) Attach(r *Ring) { q.ring.Store(r) }

// Detach takes the ring away and returns it, or nil when there was none. A PMD thread may use it until it has passed a
// quiescent point.
func (q *RxQueue) Detach() *Ring { return q.ring.Swap(nil) }

// Counters returns what was received, and the frames dropped on reception.
func (q *RxQueue) Counters() packet.CounterSnapshot { return q.counters.Snapshot() }

// Receive takes up to packet.BatchSize frames off the ring: the headers are copied into b, the rest of each frame is lent
// from guest memory until Release.
func (q *RxQueue) Receive(b *packet.Batch) int {
	r := q.ring.Load()
	if r == nil || r.broken {
		return 0
	}
	b.Reset()
	if r.begin(); r.free > 0 {
		r.ahead.asked = 0
		q.take(r, b, r.stage(0, burst, false))
		b.FillWindows()
		b.PrefetchSegments()
	}
	if r.broken {
		q.onError()
	}
	q.borrowed = r
	if b.Len() == 0 {
		q.Release(b) // whatever was taken was dropped
		return 0
	}
	q.counters.Publish(uint64(b.Len()), b.Bytes())
	return b.Len()
}

// take turns n staged buffers into packets, and stops early when b is full of segments or the ring breaks.
func (q *RxQueue) take(r *Ring, b *packet.Batch, n int) {
	for i := range r.bufs[:n] {
		if i >= r.ahead.due {
			r.readAhead(i, n)
		}
		buf := &r.bufs[i]
		if frame := int(buf.len) - r.headerLen; buf.plain(0) &&
			frame >= packet.MinFrame && frame <= packet.MaxFrame {
			if b.SegmentsFree() == 0 {
				return
			}
			p := b.Add(min(frame, packet.WindowSize))
			copy(p.Header(), buf.after(r.headerLen).Bytes())
			if frame > packet.WindowSize {
				b.AddSegment(p, buf.after(r.headerLen+packet.WindowSize))
			}
			r.taken++
			continue
		}
		whole := chain{pieces: b.FreeSegments(), fits: true}
		if !r.walk(&whole, buf, 0) {
			return
		}
		frame := whole.total - r.headerLen
		switch {
		case !whole.fits && b.SegmentsFree() < packet.MaxSegments:
			return // an empty batch may have room for it
		case frame <= 0:
			q.counters.Drop(packet.DropBadDescriptor, 1)
		case frame < packet.MinFrame:
			q.counters.Drop(packet.DropRunt, 1)
		case !whole.fits || frame > packet.MaxFrame:
			q.counters.Drop(packet.DropTooManySegments, 1)
		default:
			// The header tells nothing: no offload is offered, so its fields are zero by specification and ignored in fact.
			b.AddPieces(whole.pieces, r.headerLen, frame)
		}
		r.taken++
	}
}

// Release returns the buffers of the last Receive to the guest.
func (q *RxQueue) Release(*packet.Batch) {
	r := q.borrowed
	n := int(r.taken)
	if n == 0 {
		return
	}
	r.taken = 0
	if r.batches {
		r.publishBatch(n)
	} else {
		for i := range r.bufs[:n] {
			r.put(i, &r.bufs[i], 0)
		}
		r.publish(n)
	}
	r.interrupt()
}
