package vhosttest

// Pair is a receive and a transmit queue that belong together.
type Pair struct {
	Rx, Tx *Queue
}

// Forward sends up to limit received frames back without copying them: the buffers change from one ring to the other,
// as in a forwarding guest. Frames for which the transmit ring has no room are dropped and counted. It returns how many
// were sent. It allocates nothing.
func (p *Pair) Forward(limit int) (int, error) {
	if _, err := p.Tx.Reap(); err != nil {
		return 0, err
	}
	sent := 0
	for range limit {
		chains, last, err := p.Rx.next()
		if err == ErrEmpty {
			break
		}
		if err != nil {
			return sent, err
		}
		ok, err := p.forwardOne(chains, last)
		if err != nil {
			return sent, err
		}
		if ok {
			sent++
		}
	}
	if err := p.Tx.Publish(); err != nil {
		return sent, err
	}
	// Buffers that came back from the transmit ring feed the receive ring.
	for want := p.Rx.room - len(p.Rx.freeSlots); want > 0 && len(p.Tx.freeSlots) > 0; want-- {
		last := len(p.Tx.freeSlots) - 1
		p.Rx.freeSlots = append(p.Rx.freeSlots, p.Tx.freeSlots[last])
		p.Tx.freeSlots = p.Tx.freeSlots[:last]
	}
	return sent, p.Rx.refillSome(sent)
}

// forwardOne moves one frame of the given number of chains, the last of them written for last bytes.
func (p *Pair) forwardOne(chains uint16, last uint32) (bool, error) {
	q, first, tail, n := p.Rx, int32(-1), int32(-1), 0
	bytes := -q.hdr
	for ; chains > 0; chains-- {
		c, id, length, err := q.peek(0)
		if err != nil {
			return false, err
		}
		if chains == 1 {
			length = last
		}
		if err := q.take(c, id); err != nil {
			return false, err
		}
		bytes += int(length)
		for at := c.slot; at >= 0; {
			s := &q.slots[at]
			next := s.next
			if length == 0 {
				q.freeSlots = append(q.freeSlots, at) // an unwritten end
			} else {
				s.len = min(s.len, length)
				length -= s.len
				if tail < 0 {
					first = at
				} else {
					q.slots[tail].next = at
				}
				tail = at
				s.next = -1
				n++
			}
			at = next
		}
	}
	q.stats.Packets++
	q.stats.Bytes += uint64(bytes)
	q.scatter(first, 0, noHeader[:q.hdr])
	if p.Tx.resend(first, n) {
		p.Tx.stats.Packets++
		p.Tx.stats.Bytes += uint64(bytes)
		return true, nil
	}
	q.giveSlots(first)
	q.stats.Dropped++
	return false, nil
}

// resend offers a chain of n slots that came from another queue.
func (q *Queue) resend(first int32, n int) bool {
	indirect := q.layout.Indirect && n > 1 && n <= q.tableEntries
	c := q.offer(first, n, indirect)
	if c == nil {
		return false
	}
	c.checked = false // what lies behind a received frame is its buffer's rest
	return true
}
