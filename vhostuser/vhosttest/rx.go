package vhosttest

import (
	"fmt"
)

// Refill gives the device as many receive buffers as there is room for, and publishes them. It returns their number.
func (q *Queue) Refill() (int, error) {
	n := 0
	for q.refillOne() {
		n++
	}
	q.stats.Refills += uint64(n)
	if n == 0 {
		return 0, q.err
	}
	return n, q.Publish()
}

func (q *Queue) refillOne() bool {
	if q.err != nil || q.room == 0 {
		return false
	}
	l := q.layout
	q.cuts = l.appendCuts(q.cuts[:0], q.hdr, q.cfg.RxBuffer-q.hdr, q.cfg.SlotSize, q.rng)
	if !l.Indirect {
		if len(q.cuts) > q.cfg.RingSize {
			q.cuts = appendPart(q.cuts[:0], q.cfg.RxBuffer, q.cfg.SlotSize)
		}
		if len(q.cuts) > q.room {
			return false
		}
	}
	first := q.takeSlots(q.cuts)
	if first < 0 {
		return false
	}
	if q.cfg.Verify {
		q.guard(first)
	}
	return q.offer(first, len(q.cuts), l.Indirect) != nil
}

// next finds the next received frame: chains used buffers from the front, with written bytes in the last of them. It
// is ErrEmpty when there is none. Nothing is taken yet.
func (q *Queue) next() (chains uint16, last uint32, err error) {
	n, err := q.ready(1)
	if err != nil {
		return 0, 0, err
	}
	if n == 0 {
		return 0, 0, ErrEmpty
	}
	c, _, length, err := q.peek(0)
	if err != nil {
		return 0, 0, err
	}
	if length < uint32(q.hdr) || length > c.bytes {
		return 0, 0, q.violation(q.format.rules().length, "wrote %d bytes into a buffer of %d, header %d", length, c.bytes, q.hdr)
	}
	q.gather(c.slot, 0, q.hdrBuf[:q.hdr])
	buffers, err := q.checkHeader(q.hdrBuf[:q.hdr])
	if err != nil || buffers == 1 {
		return 1, length, err
	}
	return q.nextMerged(c, length, buffers)
}

// nextMerged checks a frame that is spread over several buffers: all are used together, and all but the last are filled
// (section 5.1.6.4.1).
func (q *Queue) nextMerged(c *chain, length uint32, buffers uint16) (uint16, uint32, error) {
	n, err := q.ready(buffers)
	if err != nil {
		return 0, 0, err
	}
	if n < buffers {
		return 0, 0, q.violation(q.format.rules().merged, "spread a frame over %d buffers and showed %d of them",
			buffers, n)
	}
	for i := uint16(1); i < buffers; i++ {
		if length != c.bytes {
			return 0, 0, q.violation("5.1.6.4.1", "wrote %d bytes into buffer %d of %d, which holds %d",
				length, i, buffers, c.bytes)
		}
		if c, _, length, err = q.peek(i); err != nil {
			return 0, 0, err
		}
	}
	if length == 0 || length > c.bytes {
		return 0, 0, q.violation(q.format.rules().length, "wrote %d bytes into a last buffer of %d", length, c.bytes)
	}
	q.stats.MultiBuffer++
	return buffers, length, nil
}

// gather copies from the slots of a chain, from byte skip of their contents on, until dst is full.
func (q *Queue) gather(first int32, skip int, dst []byte) int {
	n := 0
	for id := first; id >= 0 && n < len(dst); id = q.slots[id].next {
		s := &q.slots[id]
		if skip >= int(s.len) {
			skip -= int(s.len)
			continue
		}
		n += copy(dst[n:], s.buf[skip:s.len])
		skip = 0
	}
	return n
}

// Receive copies the next frame, without its virtio-net header, into buf and gives the buffers back to the free ones;
// the device gets them at the next Refill. It returns the frame's length, or ErrEmpty. A frame longer than buf is an
// error.
func (q *Queue) Receive(buf []byte) (int, error) {
	chains, last, err := q.next()
	if err != nil {
		return 0, err
	}
	n, skip := 0, q.hdr
	for ; chains > 0; chains-- {
		c, id, length, err := q.peek(0)
		if err != nil {
			return 0, err
		}
		if chains == 1 {
			length = last
		}
		want := int(length) - skip
		if want > len(buf)-n {
			return 0, fmt.Errorf("vhosttest: a received frame does not fit %d bytes", len(buf))
		}
		n += q.gather(c.slot, skip, buf[n:n+want])
		skip = 0
		if err := q.take(c, id); err != nil {
			return 0, err
		}
		q.giveSlots(c.slot)
	}
	q.stats.Packets++
	q.stats.Bytes += uint64(n)
	return n, nil
}

// ReceiveBurst receives up to len(frames) frames. Each element lends its capacity and comes back with its frame's
// length. The ring is refilled. It allocates nothing.
func (q *Queue) ReceiveBurst(frames [][]byte) (int, error) {
	for i := range frames {
		n, err := q.Receive(frames[i][:cap(frames[i])])
		if err != nil {
			if err == ErrEmpty {
				err = q.refillSome(i)
			}
			return i, err
		}
		frames[i] = frames[i][:n]
	}
	return len(frames), q.refillSome(len(frames))
}

// Drain receives up to limit frames without copying them, for generators that only count, and refills the ring. It
// allocates nothing.
func (q *Queue) Drain(limit int) (frames int, bytes uint64, err error) {
	for ; frames < limit; frames++ {
		chains, last, err := q.next()
		if err == ErrEmpty {
			break
		}
		if err != nil {
			return frames, bytes, err
		}
		n := uint64(0)
		for ; chains > 0; chains-- {
			c, id, length, err := q.peek(0)
			if err != nil {
				return frames, bytes, err
			}
			if chains == 1 {
				length = last
			}
			n += uint64(length)
			if err := q.take(c, id); err != nil {
				return frames, bytes, err
			}
			q.giveSlots(c.slot)
		}
		bytes += n - uint64(q.hdr)
	}
	q.stats.Packets += uint64(frames)
	q.stats.Bytes += bytes
	return frames, bytes, q.refillSome(frames)
}

// refillSome refills after n frames were received; with none, only an empty ring needs it.
func (q *Queue) refillSome(n int) error {
	if n == 0 && q.out > 0 {
		return q.err
	}
	_, err := q.Refill()
	return err
}
