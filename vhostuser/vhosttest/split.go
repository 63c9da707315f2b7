package vhosttest

import "fmt"

// split is the driver's part of a split virtqueue.
type split struct {
	q    *Queue
	ring *Ring

	links []uint16 // the driver's own copy of the links between descriptors, which no device can spoil

	avail    uint16 // next avail index; written to the ring by show
	next     uint16 // next used index to read
	usedSeen uint16 // the device's used index as last read
}

var splitRules = rules{
	id: "2.7.8", length: "2.7.8.2", readable: "2.7.5.1", buffer: "2.7.5", merged: "5.1.6.4.1", interrupt: "2.7.7.2",
	order: "2.7.13",
}

func (f *split) rules() *rules { return &splitRules }

func (f *split) parts() (desc, driver, device Place) { return f.ring.desc, f.ring.avail, f.ring.used }

// write fills descriptors that need not be neighbours and puts the first of them, which is the id, into the avail ring
// (section 2.7.13, steps 1 to 3).
func (f *split) write(c *chain, id uint16, n int) {
	q := f.q
	if c.indirect {
		c.bytes = f.writeTable(q.tables[id], c.slot)
		f.ring.SetDesc(uint32(id), Desc{q.tables[id].GPA, uint32(n) * DescSize, DescIndirect, 0})
	} else {
		at := id
		for s := c.slot; s >= 0; s = q.slots[s].next {
			d := Desc{q.slots[s].gpa, q.slots[s].len, q.access, 0}
			if q.slots[s].next >= 0 {
				d.Flags |= DescNext
				d.Next = q.takeID()
			}
			f.ring.SetDesc(uint32(at), d)
			f.links[at] = d.Next
			c.bytes += d.Len
			at = d.Next
		}
	}
	f.ring.SetAvail(f.avail, id)
	f.avail++
}

func (f *split) writeTable(table Place, first int32) (bytes uint32) {
	i, slots := uint32(0), f.q.slots
	for s := first; s >= 0; s = slots[s].next {
		d := Desc{slots[s].gpa, slots[s].len, f.q.access, 0}
		if slots[s].next >= 0 {
			d.Flags |= DescNext
			d.Next = uint16(i + 1)
		}
		putDesc(table.Ptr, i, d)
		bytes += d.Len
		i++
	}
	return bytes
}

func (f *split) show() {
	flags := uint16(availNoInterrupt)
	if f.q.intr {
		flags = 0
	}
	f.ring.SetAvailHead(flags, f.avail)
}

func (f *split) wantsKick() (bool, error) {
	flags, _ := f.ring.UsedHead()
	return flags&usedNoNotify == 0, nil
}

func (f *split) poll(want uint16) (uint16, error) {
	_, f.usedSeen = f.ring.UsedHead()
	n := f.usedSeen - f.next
	if uint32(n) > f.q.out {
		return 0, f.q.violation("2.7.8.2", "moved the used index from %d to %d while it had %d buffers",
			f.next, f.usedSeen, f.q.out)
	}
	if f.q.cfg.InOrder {
		return f.pollBatches(n, want)
	}
	return n, nil
}

// pollBatches unfolds batches as far as the used index shows n buffers. The used ring has an entry where each batch begins,
// with the id of its last buffer; those between were not written (section 2.7.9).
func (f *split) pollBatches(n, want uint16) (uint16, error) {
	q := f.q
	for seen := uint16(q.seen.count); seen < n; seen = uint16(q.seen.count) {
		e := f.ring.Used(f.next + seen)
		size, err := f.batch(e, n-seen)
		if err != nil {
			if seen < want {
				return 0, q.violation(err.Section, "%s", err.Text)
			}
			break // first what it did right
		}
		q.see(usedBuffer{id: uint16(e.ID), length: e.Len}, size)
	}
	return uint16(q.seen.count), nil
}

// batch is how many buffers a used entry tells of, when the used index is shown further on by left.
func (f *split) batch(e UsedElem, left uint16) (uint32, *ViolationError) {
	if e.ID >= f.ring.size {
		return 0, &ViolationError{Section: "2.7.8", Text: fmt.Sprintf(
			"returned descriptor %d of a ring of %d", e.ID, f.ring.size)}
	}
	n := f.q.batch(uint16(e.ID), f.q.seen.count)
	switch {
	case n == 0:
		return 0, &ViolationError{Section: "2.7.9", Text: fmt.Sprintf(
			"returned descriptor %d, with which none of its buffers starts", e.ID)}
	case n > uint32(left):
		return 0, &ViolationError{Section: "2.7.9", Text: fmt.Sprintf(
			"returned descriptor %d, which ends a batch of %d, and moved the used index on by %d", e.ID, n, left)}
	}
	return n, nil
}

func (f *split) used(k uint16) (id uint16, length uint32, err error) {
	if f.q.cfg.InOrder {
		u := f.q.seen.at(uint32(k))
		return u.id, u.length, nil
	}
	e := f.ring.Used(f.next + k)
	if e.ID >= f.ring.size {
		return 0, 0, f.q.violation("2.7.8", "returned descriptor %d of a ring of %d", e.ID, f.ring.size)
	}
	return uint16(e.ID), e.Len, nil
}

func (f *split) retire(c *chain, id uint16) {
	f.next++
	if f.q.cfg.InOrder {
		f.q.seen.popOldest()
	}
	for n := c.descs; n > 0; n-- {
		next := f.links[id]
		f.q.free.push(id)
		id = next
	}
}

func (f *split) intact(c *chain, id uint16) error {
	q := f.q
	if c.indirect {
		if d := f.ring.Desc(uint32(id)); d.Addr != q.tables[id].GPA || d.Flags != DescIndirect {
			return q.violation("2.7.5.1", "changed descriptor %d", id)
		}
		return nil
	}
	for s := c.slot; s >= 0; s = q.slots[s].next {
		if d := f.ring.Desc(uint32(id)); d.Addr != q.slots[s].gpa || d.Len != q.slots[s].len {
			return q.violation("2.7.5.1", "changed descriptor %d", id)
		}
		id = f.links[id]
	}
	return nil
}

func (f *split) restart(index uint16) {
	f.avail, f.next, f.usedSeen = index, index, index
	f.ring.SetUsedHead(0, index)
	f.show()
}

// base is the used index in guest memory.
func (f *split) base() uint32 {
	_, used := f.ring.UsedHead()
	return uint32(used)
}

func (f *split) indices() (avail, used uint16) { return f.avail, f.next }
