package vhosttest

import (
	"bytes"
	"hash/maphash"
)

// poison fills what a device must not touch.
const poison = 0xa5

// guard surrounds the slots of a chain with poison, before it goes to the device.
func (q *Queue) guard(first int32) {
	for id := first; id >= 0; id = q.slots[id].next {
		s := &q.slots[id]
		fill(s.buf[s.len:])
		if q.rx {
			fill(s.buf[:s.len])
		}
	}
}

// poisonBlock is poison to copy from and to compare with.
var poisonBlock = bytes.Repeat([]byte{poison}, 4096)

func fill(b []byte) {
	for len(b) > 0 {
		b = b[copy(b, poisonBlock):]
	}
}

// verify checks that the device left alone what is not its own: descriptors, what it was to read, and the memory around
// each buffer.
func (q *Queue) verify(c *chain, id uint16) error {
	for at := c.slot; at >= 0; at = q.slots[at].next {
		s := &q.slots[at]
		p, err := q.mem.At(s.gpa-slotGuard, uint64(len(s.buf))+2*slotGuard)
		if err != nil {
			return err
		}
		before, after := p.Bytes[:slotGuard], p.Bytes[slotGuard+int(s.len):]
		if !poisoned(before) || !poisoned(after) {
			return q.violation(q.format.rules().buffer, "wrote outside the %d bytes of the buffer at %#x", s.len, s.gpa)
		}
	}
	if !q.rx && c.sum != 0 && q.sum(c.slot) != c.sum {
		return q.violation(q.format.rules().readable, "wrote to a device-readable buffer of descriptor %d", id)
	}
	return q.format.intact(c, id)
}

func poisoned(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(poisonBlock))
		if !bytes.Equal(b[:n], poisonBlock[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

// sum is a checksum of the slots' contents, never 0.
func (q *Queue) sum(first int32) uint64 {
	var h maphash.Hash
	h.SetSeed(q.seed)
	for id := first; id >= 0; id = q.slots[id].next {
		s := &q.slots[id]
		_, _ = h.Write(s.buf[:s.len])
	}
	return h.Sum64() | 1
}
