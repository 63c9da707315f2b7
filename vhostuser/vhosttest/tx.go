package vhosttest

// scatter copies src into the slots of a chain, from byte skip of their contents on.
func (q *Queue) scatter(first int32, skip int, src []byte) {
	for id := first; id >= 0 && len(src) > 0; id = q.slots[id].next {
		s := &q.slots[id]
		if skip >= int(s.len) {
			skip -= int(s.len)
			continue
		}
		n := copy(s.buf[skip:s.len], src)
		src, skip = src[n:], 0
	}
}

// noHeader is the header of a frame without offloads: all zero (section 5.1.6.2.1).
var noHeader [netHeader]byte

// Enqueue puts a frame into the transmit ring in the configured layout. The device sees it after Publish. The error is
// ErrFull when there is no room, also after reaping.
func (q *Queue) Enqueue(frame []byte) error { return q.EnqueueWithHeader(noHeader[:q.hdr], frame) }

// EnqueueWithHeader is Enqueue with a virtio-net header of the caller's, of any length and content.
func (q *Queue) EnqueueWithHeader(header, frame []byte) error {
	l := q.layout
	q.cuts = l.appendCuts(q.cuts[:0], len(header), len(frame), q.cfg.SlotSize, q.rng)
	if !l.Indirect && len(q.cuts) > q.cfg.RingSize {
		// Fewer, longer parts for a small ring.
		q.cuts = appendPart(q.cuts[:0], len(header)+len(frame), q.cfg.SlotSize)
	}
	return q.EnqueuePieces(header, frame, q.cuts, l.Indirect)
}

// EnqueuePieces sends header and frame in buffers of exactly the lengths cuts, which add up to both.
func (q *Queue) EnqueuePieces(header, frame []byte, cuts []int, indirect bool) error {
	if q.err != nil {
		return q.err
	}
	if need := len(cuts); len(q.freeSlots) < need || !indirect && q.room < need || q.room == 0 {
		if _, err := q.Reap(); err != nil {
			return err
		}
	}
	if q.room == 0 || !indirect && q.room < len(cuts) {
		return ErrFull
	}
	first := q.takeSlots(cuts)
	if first < 0 {
		return ErrFull
	}
	if q.cfg.Verify {
		q.guard(first)
	}
	q.scatter(first, 0, header)
	q.scatter(first, len(header), frame)
	c := q.offer(first, len(cuts), indirect)
	if q.cfg.Verify {
		c.sum = q.sum(first)
	}
	q.stats.Packets++
	q.stats.Bytes += uint64(len(frame))
	return q.err
}

// Send is Enqueue and Publish.
func (q *Queue) Send(frame []byte) error {
	if err := q.Enqueue(frame); err != nil {
		return err
	}
	return q.Publish()
}

// SendBurst sends as many of frames as there is room for, published at once, and returns their number. It allocates
// nothing.
func (q *Queue) SendBurst(frames [][]byte) (int, error) {
	if q.room < len(frames) {
		if _, err := q.Reap(); err != nil {
			return 0, err
		}
	}
	for i, f := range frames {
		if err := q.Enqueue(f); err != nil {
			if err == ErrFull {
				return i, q.Publish()
			}
			return i, err
		}
	}
	return len(frames), q.Publish()
}

// Reap takes back the frames that the device has sent, and returns their number.
func (q *Queue) Reap() (int, error) {
	n, err := q.ready(1)
	if err != nil {
		return 0, err
	}
	for i := uint16(0); i < n; i++ {
		c, id, length, err := q.peek(0)
		if err != nil {
			return int(i), err
		}
		if length != 0 {
			return int(i), q.violation(q.format.rules().length, "claims to have written %d bytes to what it may only read", length)
		}
		if err := q.take(c, id); err != nil {
			return int(i), err
		}
		q.giveSlots(c.slot)
	}
	return int(n), nil
}
