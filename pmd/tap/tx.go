package tap

import (
	"errors"
	"os"
	"sync/atomic"

	"weft/internal/packet"
)

// TxQueue is what the switch transmits to one queue of the interface: what the host's stack receives.
type TxQueue struct {
	ring *ring
	mtu  int         // longest L3 payload, 0 = no limit
	open atomic.Bool // there is an interface behind the ring
	_    [cacheLine]byte

	// Written by the PMD thread.
	counters packet.Counters
	_        [cacheLine]byte

	// Written by the writer.
	written packet.Counters
}

// Transmit copies the packets idx of b into the ring, from which the writer takes them. A packet that cannot go there
// is dropped and counted by reason. Nothing of b is kept.
func (q *TxQueue) Transmit(b *packet.Batch, idx []uint8) {
	if !q.open.Load() {
		q.counters.Drop(packet.DropPortDown, uint64(len(idx)))
		return
	}
	r := q.ring
	start := r.tail.Load()
	tail, end := start, r.head.Load()+r.size()
	var overMTU, tooLong, full uint64
	for _, i := range idx {
		p := b.Packet(int(i))
		n := p.Len()
		switch {
		case q.mtu != 0 && n > q.mtu+packet.MinFrame && n > q.mtu+l2Len(p):
			overMTU++
			continue
		case n > r.slot-vnetHeaderLen:
			tooLong++
			continue
		case tail == end:
			full++
			continue
		}
		// The header before the frame stays as it was made: empty.
		b.CopyTo(r.buffer(tail)[vnetHeaderLen:], p)
		r.lens[tail&r.mask] = uint32(n)
		tail++
	}
	if tail != start {
		r.tail.Store(tail)
		r.wakeSleeper()
	}
	q.countDrops(overMTU, tooLong, full)
}

func (q *TxQueue) countDrops(overMTU, tooLong, full uint64) {
	if overMTU != 0 {
		q.counters.Drop(packet.DropOverMTU, overMTU)
	}
	if tooLong != 0 {
		q.counters.Drop(packet.DropFrameTooLong, tooLong)
	}
	if full != 0 {
		q.counters.Drop(packet.DropNoDescriptor, full)
	}
}

// l2Len is the length of p's Ethernet header with up to two VLAN tags, which the MTU does not count.
func l2Len(p *packet.Packet) int {
	n := packet.MinFrame
	h := p.Header()
	for n < packet.MinFrame+2*vlanTagLen && len(h) >= n {
		if t := uint16(h[n-2])<<8 | uint16(h[n-1]); t != packet.TPID8021Q && t != packet.TPID8021AD {
			break
		}
		n += vlanTagLen
	}
	return n
}

// Counters are the totals of the queue: frames that the kernel took, and drops by reason.
func (q *TxQueue) Counters() packet.CounterSnapshot {
	s, w := q.counters.Snapshot(), q.written.Snapshot()
	s.Add(&w)
	return s
}

// write moves frames from the ring to the descriptor until the session ends, for the writer's goroutine.
func (q *TxQueue) write(s *session, f *os.File) {
	r := q.ring
	head := r.head.Load()
	for {
		tail := r.tail.Load()
		if head == tail {
			if r.sleepUnless(func() bool { return s.ended() || r.tail.Load() != head }) != nil || s.ended() {
				return
			}
			continue
		}
		var packets, bytes uint64
		for ; head != tail; head++ {
			n := int(r.lens[head&r.mask])
			_, err := f.Write(r.buffer(head)[:vnetHeaderLen+n])
			switch {
			case err == nil:
				packets++
				bytes += uint64(n)
			case errors.Is(err, errDown):
				q.written.Drop(packet.DropPortDown, 1)
			case lostInterface(err):
				s.lose(err)
				return
			default:
				q.written.Drop(packet.DropBackendError, 1)
			}
			r.head.Store(head + 1)
		}
		if packets != 0 {
			q.written.Publish(packets, bytes)
		}
	}
}

// discard drops what a session that ended left in the ring. No writer runs.
func (q *TxQueue) discard() {
	head, tail := q.ring.head.Load(), q.ring.tail.Load()
	if n := tail - head; n != 0 {
		q.written.Drop(packet.DropPortDown, uint64(n))
		q.ring.head.Store(tail)
	}
}
