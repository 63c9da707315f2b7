package virtq

import (
	"sync/atomic"

	"weft/internal/packet"
)

// TxQueue is a guest's receiveq, to which the switch transmits.
type TxQueue struct {
	ring     atomic.Pointer[Ring]
	absent   atomic.Uint32 // the packet.DropReason while there is no ring
	onError  func()
	counters packet.Counters
}

// NewTxQueue makes a queue without a ring. onError is called on the PMD thread when a ring breaks, once for each ring; it
// must not block.
func NewTxQueue(onError func()) *TxQueue {
	q := &TxQueue{onError: onError}
	q.SetAbsentReason(packet.DropPortDown)
	return q
}

// Attach makes the queue use r.
func (q *TxQueue) Attach(r *Ring) { q.ring.Store(r) }

// Detach takes the ring away and returns it, or nil when there was none. A PMD thread may use it until it has passed a
// quiescent point.
func (q *TxQueue) Detach() *Ring { return q.ring.Swap(nil) }

// SetAbsentReason says why frames are dropped while no ring is attached.
func (q *TxQueue) SetAbsentReason(why packet.DropReason) { q.absent.Store(uint32(why)) }

// Counters returns what was transmitted, and the frames dropped by reason.
func (q *TxQueue) Counters() packet.CounterSnapshot { return q.counters.Snapshot() }

// txBurst is the progress of one Transmit.
type txBurst struct {
	next     int // the next staged buffer
	staged   int // buffers staged
	taken    int // used entries written since the last publish
	packets  uint64
	bytes    uint64
	overMTU  uint64
	tooLong  uint64
	leftover int // packets without a buffer
}

// Transmit copies the packets of b that idx lists into the guest's buffers, in order, and keeps nothing. A packet that
// cannot be delivered is counted by reason; the buffers that it would have taken stay for the next, though their first bytes may
// have been written (claim).
func (q *TxQueue) Transmit(b *packet.Batch, idx []uint8) {
	r := q.ring.Load()
	if r == nil || r.broken {
		why := packet.DropReason(q.absent.Load())
		if r != nil {
			why = packet.DropBadDescriptor
		}
		q.counters.Drop(why, uint64(len(idx)))
		return
	}
	var t txBurst
	r.begin()
	for i, at := range idx {
		p := b.Packet(int(at))
		if p.Len() > r.maxPayload && overMTU(p, r.maxPayload) {
			t.overMTU++
			continue
		}
		if t.next == t.staged && !r.stageMore(&t, p, len(idx)-i) {
			t.leftover = len(idx) - i
			break
		}
		if t.next >= r.ahead.due {
			r.writeAhead(t.next, t.staged)
		}
		buf := &r.bufs[t.next]
		if need := r.headerLen + p.Len(); buf.plain(descWrite) && need <= int(buf.len) {
			r.fill(buf, b, p)
			r.put(t.taken, buf, uint32(need))
			t.next++
			t.taken++
			t.packets++
			t.bytes += uint64(p.Len())
			continue
		}
		if !r.scatter(&t, b, p, len(idx)-i) {
			t.leftover = len(idx) - i
			break
		}
	}
	q.finish(r, &t)
}

// stageMore stages buffers behind those that are staged and still to come, until there are as many as so many frames like p may
// take, or a burst. It fails when none is staged then: there is none, or the ring broke.
func (r *Ring) stageMore(t *txBurst, p *packet.Packet, frames int) bool {
	want, left := r.buffersFor(p, frames), t.staged-t.next
	more := min(want, burst) - left
	if more > 0 && !r.broken {
		r.makeRoom(t)
		copy(r.bufs[:], r.bufs[t.next:t.staged])
		r.ahead.several = want > frames
		r.ahead.asked = min(max(r.ahead.asked-t.next, 0), left)
		t.next, t.staged = 0, r.stage(left, more, true)
	}
	return t.next < t.staged
}

// buffersFor is how many buffers so many frames like p may take, if all buffers are like the first of those staged last.
func (r *Ring) buffersFor(p *packet.Packet, frames int) int {
	size := int(r.bufs[0].len) - r.headerLen
	if n := p.Len(); n > size && size > 0 && r.mergeable {
		return (n + size - 1) / size * frames
	}
	return frames
}

// makeRoom publishes what was put if a frame over as many buffers as can be, and one in each staged buffer behind it, might
// not find room in Ring.used. A burst has more frames than buffers are staged at a time: clones, too.
func (r *Ring) makeRoom(t *txBurst) {
	if t.taken > unpublished-maxChain-burst {
		r.publish(t.taken)
		t.taken = 0
	}
}

// scatter delivers p, the first of so many packets that are left of a burst, where one plain descriptor does not suffice: over
// several buffers when they are mergeable (virtio 1.3 §5.1.6.4), or to chains. It fails when the guest has too few buffers, or
// broke the ring.
func (r *Ring) scatter(t *txBurst, b *packet.Batch, p *packet.Packet, left int) bool {
	if !r.mergeable {
		return r.scatterChains(t, b, p)
	}
	need := r.headerLen + p.Len()
	pieces, plain := r.plainPieces(t, need)
	if len(pieces) == 0 && plain {
		r.stageMore(t, p, left)
		pieces, _ = r.plainPieces(t, need)
	}
	if len(pieces) == 0 {
		return r.scatterChains(t, b, p)
	}
	r.spread(pieces, b, p, len(pieces))
	bufs, rest := r.bufs[t.next:], uint32(need)
	for i := range bufs[:len(pieces)] {
		n := min(rest, bufs[i].len)
		r.put(t.taken+i, &bufs[i], n)
		rest -= n
	}
	t.delivered(p, len(pieces))
	return true
}

// plainPieces are the staged buffers that need bytes go to: none when there are too few, or one of them is not plain.
func (r *Ring) plainPieces(t *txBurst, need int) (pieces []packet.Segment, plain bool) {
	bufs := r.bufs[t.next:t.staged]
	chain := r.chain[:len(bufs)]
	for i := range chain {
		buf := &bufs[i]
		if !buf.plain(descWrite) || buf.len == 0 {
			return nil, false
		}
		chain[i] = buf.after(0)
		if need -= int(buf.len); need <= 0 {
			return chain[:i+1], true
		}
	}
	return nil, true
}

// scatterChains is scatter where buffers are not plain, or fewer than the frame needs, or not mergeable.
func (r *Ring) scatterChains(t *txBurst, b *packet.Batch, p *packet.Packet) bool {
	need := r.headerLen + p.Len()
	all := chain{pieces: r.chain[:0], fits: true}
	most := 1 // buffers that one frame may take
	if r.mergeable {
		most = maxChain
	}
	r.makeRoom(t)
	tail, free := r.tail, r.free
	n := 0
	for all.total < need {
		if n == most || !all.fits {
			t.tooLong++
			r.tail, r.free = tail, free // what was peeked at stays for the next
			return true
		}
		var buf *buffer
		if t.next+n < t.staged {
			buf = &r.bufs[t.next+n]
		} else if buf = r.peek(); buf == nil {
			return false
		}
		had := all.total
		if !r.walk(&all, buf, descWrite) {
			return false
		}
		r.put(t.taken+n, buf, uint32(min(need, all.total)-had)) // not published if the frame does not fit
		n++
	}
	r.spread(all.pieces, b, p, n)
	t.delivered(p, n)
	return true
}

// delivered counts p, which took n buffers.
func (t *txBurst) delivered(p *packet.Packet, n int) {
	t.taken += n
	t.packets++
	t.bytes += uint64(p.Len())
	if t.next += n; t.next > t.staged {
		t.next, t.staged = 0, 0
	}
}

// overMTU reports whether a frame's payload behind Ethernet header and VLAN tags is longer than mtu.
func overMTU(p *packet.Packet, mtu int) bool {
	over := p.Len() - mtu - packet.MinFrame
	if over <= 0 {
		return false
	}
	return over > p.TagBytes()
}

// finish publishes what the burst wrote and counts what it did.
func (q *TxQueue) finish(r *Ring, t *txBurst) {
	if t.packets > 0 {
		r.publish(t.taken)
		r.interrupt()
		q.counters.Publish(t.packets, t.bytes)
	}
	if t.overMTU > 0 {
		q.counters.Drop(packet.DropOverMTU, t.overMTU)
	}
	if t.tooLong > 0 {
		q.counters.Drop(packet.DropFrameTooLong, t.tooLong)
	}
	if t.leftover > 0 {
		why := packet.DropNoDescriptor
		if r.broken {
			why = packet.DropBadDescriptor
		}
		q.counters.Drop(why, uint64(t.leftover))
	}
	if r.broken {
		q.onError()
	}
}
