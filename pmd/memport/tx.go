package memport

import (
	"sync/atomic"

	"weft/internal/packet"
)

// ethernetOverhead is what a frame may have beside its L3 payload: the Ethernet header and two VLAN tags.
const ethernetOverhead = 14 + 2*4

// TxQueue is the side of a port that the switch transmits to.
type TxQueue struct {
	ring     *ring
	longest  int // frame, by MTU
	room     int // frame, by slot
	down     atomic.Bool
	counters packet.Counters
}

func newTxQueue(cfg Config) *TxQueue {
	q := &TxQueue{ring: newRing(cfg.RingSize, cfg.FrameSize), longest: packet.MaxFrame, room: cfg.FrameSize}
	if cfg.MTU != 0 {
		q.longest = cfg.MTU + ethernetOverhead
	}
	return q
}

// Counters are the queue's totals.
func (q *TxQueue) Counters() packet.CounterSnapshot { return q.counters.Snapshot() }

// SetDown makes Transmit drop everything as packet.DropPortDown, or ends that.
func (q *TxQueue) SetDown(down bool) { q.down.Store(down) }

// Transmit copies packets idx of b into the ring, in order. It keeps nothing of b. What is not taken is counted by
// reason.
func (q *TxQueue) Transmit(b *packet.Batch, idx []uint8) {
	if len(idx) == 0 {
		return
	}
	if q.down.Load() {
		q.counters.Drop(packet.DropPortDown, uint64(len(idx)))
		return
	}
	r := q.ring
	head := r.head.Load()
	free := r.size() - (head - r.tail.Load())
	packets, bytes := uint64(0), uint64(0)
	overMTU, tooLong, full := uint64(0), uint64(0), uint64(0)
	for _, i := range idx {
		p := b.Packet(int(i))
		switch n := p.Len(); {
		case n > q.longest:
			overMTU++
		case n > q.room:
			tooLong++
		case packets == free:
			full++
		default:
			b.CopyTo(r.slot(head)[packet.Headroom:], p)
			r.length[head&r.mask] = n
			head++
			packets++
			bytes += uint64(n)
		}
	}
	if packets > 0 {
		r.head.Store(head)
		q.counters.Publish(packets, bytes)
	}
	if overMTU|tooLong|full != 0 {
		q.drop(overMTU, tooLong, full)
	}
}

func (q *TxQueue) drop(overMTU, tooLong, full uint64) {
	if overMTU > 0 {
		q.counters.Drop(packet.DropOverMTU, overMTU)
	}
	if tooLong > 0 {
		q.counters.Drop(packet.DropFrameTooLong, tooLong)
	}
	if full > 0 {
		q.counters.Drop(packet.DropNoDescriptor, full)
	}
}
