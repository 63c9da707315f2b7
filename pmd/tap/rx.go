package tap

import (
	"encoding/binary"
	"os"

	"weft/internal/packet"
)

// RxQueue is what the switch receives from one queue of the interface: what the host's stack sent.
type RxQueue struct {
	ring *ring

	// Written by the PMD thread.
	head     uint32 // frames released
	lent     uint32 // frames of the batch that is out
	counters packet.Counters
	_        [cacheLine]byte

	// Written by the reader.
	refused packet.Counters
}

// Receive fills b with frames that the reader has ready. They are borrowed until Release.
func (q *RxQueue) Receive(b *packet.Batch) int {
	b.Reset()
	n := q.ring.tail.Load() - q.head
	if n == 0 {
		return 0
	}
	n = min(n, packet.BatchSize)
	var bytes uint64
	for i := range n {
		length := q.ring.lens[(q.head+i)&q.ring.mask]
		b.AddOwned(q.ring.buffer(q.head+i), packet.Headroom, int(length))
		bytes += uint64(length)
	}
	q.lent = n
	q.counters.Publish(uint64(n), bytes)
	return int(n)
}

// Release gives the buffers of the last Receive back to the reader.
func (q *RxQueue) Release(*packet.Batch) {
	q.head += q.lent
	q.lent = 0
	q.ring.head.Store(q.head)
	// A reader that found the ring full sleeps until half of it is free, so that an overload does not cost a system
	// call a batch.
	if q.ring.tail.Load()-q.head <= q.ring.size()/2 {
		q.ring.wakeSleeper()
	}
}

// Counters are the totals of the queue: frames handed to the switch, and drops by reason.
func (q *RxQueue) Counters() packet.CounterSnapshot {
	s, r := q.counters.Snapshot(), q.refused.Snapshot()
	s.Add(&r)
	return s
}

// read moves frames from the descriptor to the ring until the session ends, for the reader's goroutine.
func (q *RxQueue) read(s *session, f *os.File) {
	r := q.ring
	tail := r.tail.Load()
	for {
		for tail-r.head.Load() == r.size() {
			if r.sleepUnless(func() bool { return s.ended() || tail-r.head.Load() <= r.size()/2 }) != nil || s.ended() {
				return
			}
		}
		buf := r.buffer(tail)[packet.Headroom-vnetHeaderLen:]
		n, err := f.Read(buf)
		switch {
		case err == nil:
		case lostInterface(err):
			s.lose(err)
			return
		default:
			// The interface is down, or the kernel is short of memory: it is not worth a new interface, which would
			// lose its addresses.
			if !s.pause() {
				return
			}
			continue
		}
		if reason, bad := refuse(buf, n); bad {
			q.refused.Drop(reason, 1)
			continue
		}
		r.lens[tail&r.mask] = uint32(n - vnetHeaderLen)
		tail++
		r.tail.Store(tail)
	}
}

// refuse judges n bytes that the kernel put into buf: virtio-net header and frame.
func refuse(buf []byte, n int) (packet.DropReason, bool) {
	switch {
	case n < vnetHeaderLen+packet.MinFrame:
		return packet.DropRunt, true
	case n == len(buf):
		// The buffer is longer than any frame that fits: a full one means that the kernel cut the frame off.
		return packet.DropFrameTooLong, true
	case buf[0]&vnetNeedsChecksum != 0 || buf[1] != vnetGSONone || binary.LittleEndian.Uint16(buf[2:]) != 0:
		// With offloads off the kernel completes checksums and segments itself. A frame that still asks for it (another
		// process changed the interface's offloads) would arrive broken: better to count it here.
		return packet.DropBadDescriptor, true
	}
	return 0, false
}
