package vhosttest

import "fmt"

// packed is the driver's part of a packed virtqueue. Positions carry the wrap counter in bit 15 (section 2.8.1).
type packed struct {
	q    *Queue
	ring *PackedRing

	avail uint16 // where the next chain goes
	head  packedHead
	next  uint16 // where the device writes the next used descriptor that the driver has not retired
	scan  uint16 // and the next that it has not seen

	// shadow is the ring as it was last seen or written, nil without Config.Verify.
	shadow []PackedDesc
}

// packedHead is the first descriptor written since the last show. It keeps all others from the device.
type packedHead struct {
	at        uint16
	id, flags uint16
}

var packedRules = rules{
	id: "2.8.13", length: "2.8.4", readable: "2.8.15", buffer: "2.8.4", merged: "2.8.9", interrupt: "2.8.10",
	order: "2.8.12",
}

func (f *packed) rules() *rules { return &packedRules }

func (f *packed) parts() (desc, driver, device Place) {
	return f.ring.desc, f.ring.driver, f.ring.device
}

// write fills the next descriptors of the ring (section 2.8.21.1). The flags of the first that was written since the last
// show stay back, so that the device sees nothing behind it either.
func (f *packed) write(c *chain, id uint16, n int) {
	q := f.q
	if f.shadow != nil && f.untouched(f.avail, c.descs) != nil {
		return
	}
	if c.indirect {
		c.bytes = f.writeTable(q.tables[id], c.slot)
		f.put(PackedDesc{q.tables[id].GPA, uint32(n) * DescSize, id, DescIndirect}, q.hidden == 0)
		return
	}
	first := q.hidden == 0
	for s := c.slot; s >= 0; s = q.slots[s].next {
		d := PackedDesc{q.slots[s].gpa, q.slots[s].len, id, q.access}
		if q.slots[s].next >= 0 {
			d.Flags |= DescNext
			d.ID = ^id // only the last descriptor's counts (section 2.8.6)
		}
		c.bytes += d.Len
		f.put(d, first)
		first = false
	}
}

// put writes one descriptor. With hold, its id and flags stay as they are until show.
func (f *packed) put(d PackedDesc, hold bool) {
	i := uint32(f.avail &^ WrapBit)
	d.Flags |= AvailFlags(f.avail)
	if hold {
		f.head = packedHead{f.avail, d.ID, d.Flags}
		f.ring.setBuffer(i, d.Addr, d.Len)
	} else {
		f.ring.putHidden(i, d)
	}
	if f.shadow != nil {
		f.shadow[i] = d
	}
	f.avail = f.ring.Advance(f.avail, 1)
}

// writeTable fills an indirect table, whose entries follow each other: only WRITE may be set, and ids are nobody's
// business (section 2.8.7).
func (f *packed) writeTable(table Place, first int32) (bytes uint32) {
	i, slots := uint32(0), f.q.slots
	for s := first; s >= 0; s = slots[s].next {
		putPackedDesc(table.Ptr, i, PackedDesc{slots[s].gpa, slots[s].len, ^uint16(i), f.q.access})
		bytes += slots[s].len
		i++
	}
	return bytes
}

// show writes the flags of the first hidden chain's first descriptor, and with it shows all of them.
func (f *packed) show() {
	if f.q.hidden > 0 {
		f.ring.SetState(uint32(f.head.at&^WrapBit), f.head.id, f.head.flags)
	}
	want := uint16(EventsDisable)
	if f.q.intr {
		want = EventsEnable
	}
	if _, is := f.ring.DriverEvent(); is != want {
		f.ring.SetDriverEvent(0, want)
	}
}

func (f *packed) wantsKick() (bool, error) {
	_, flags := f.ring.DeviceEvent()
	if flags&eventFlags > EventsDisable {
		return false, f.q.violation("2.8.10", "set its event flags to %d without EVENT_IDX", flags)
	}
	return flags&eventFlags == EventsEnable, nil
}

// poll reads the used descriptors that it has not seen. The length of the chain, or of all chains of a batch, says where the
// next one is (sections 2.8.6 and 2.8.8).
func (f *packed) poll(want uint16) (uint16, error) {
	q := f.q
	for q.seen.count < q.out-q.hidden {
		d := f.ring.load(uint32(f.scan &^ WrapBit))
		n, end, err := f.batch(f.scan, q.seen.count, d)
		if err == nil && n > 0 && f.shadow != nil {
			err = f.remember(d, end)
		}
		if err != nil && q.seen.count < uint32(want) {
			return 0, q.violation(err.Section, "%s", err.Text)
		}
		if err != nil || n == 0 {
			break
		}
		q.see(usedBuffer{d.ID, d.Flags, d.Len}, n)
		f.scan = end
	}
	if f.shadow != nil && q.seen.count == q.out && q.room > 0 {
		if err := f.untouched(f.avail, 1); err != nil {
			return 0, err
		}
	}
	return uint16(q.seen.count), nil
}

// batch is how many buffers the used descriptor d at a position tells of, and where the next will be, when seen buffers are
// known to be used before it. It is 0 while d is not used.
func (f *packed) batch(at uint16, seen uint32, d PackedDesc) (n uint32, end uint16, err *ViolationError) {
	q := f.q
	if found, err := f.isUsed(at, d); !found {
		return 0, at, err
	}
	end = at
	if n = 1; q.cfg.InOrder {
		if n = q.batch(d.ID, seen); n == 0 {
			return 0, at, &ViolationError{Section: "2.8.8", Text: fmt.Sprintf(
				"returned buffer %d at descriptor %d, which it does not have", d.ID, at&^WrapBit)}
		}
		for k := seen; k < seen+n-1; k++ {
			end = f.ring.Advance(end, q.chains[*q.order.at(k)].descs)
		}
	}
	return n, f.ring.Advance(end, q.chains[d.ID].descs), nil
}

// remember takes the used descriptor d at the next place into the shadow. In order, all descriptors from there up to end were
// the device's until now, and it may have written to any; but a buffer stays where it is.
func (f *packed) remember(d PackedDesc, end uint16) *ViolationError {
	if !f.q.cfg.InOrder {
		f.shadow[f.scan&^WrapBit] = d
		return nil
	}
	for at := f.scan; at != end; at = f.ring.Advance(at, 1) {
		i := uint32(at &^ WrapBit)
		is := f.ring.load(i)
		if was := f.shadow[i].Addr; is.Addr != was {
			return &ViolationError{Section: "2.8.15", Text: fmt.Sprintf(
				"changed the address of descriptor %d from %#x to %#x", i, was, is.Addr)}
		}
		f.shadow[i] = is
	}
	return nil
}

// isUsed judges the descriptor at a position where the device will write the next used one.
func (f *packed) isUsed(at uint16, d PackedDesc) (bool, *ViolationError) {
	i := at &^ WrapBit
	switch d.Flags & (DescAvail | DescUsed) {
	case AvailFlags(at):
		return false, nil
	case UsedFlags(at):
	default:
		return false, &ViolationError{Section: "2.8.1", Text: fmt.Sprintf(
			"set the flags of descriptor %d to %#x, which with wrap counter %d is neither available nor used",
			i, d.Flags, at>>wrapShift)}
	}
	if uint32(d.ID) >= f.ring.size {
		return false, &ViolationError{Section: "2.8.13", Text: fmt.Sprintf(
			"returned buffer %d at descriptor %d of a ring of %d", d.ID, i, f.ring.size)}
	}
	if c := &f.q.chains[d.ID]; !f.q.cfg.InOrder && (!c.out || c.seen) {
		return false, &ViolationError{Section: "2.8.13", Text: fmt.Sprintf(
			"returned buffer %d at descriptor %d, which it does not have", d.ID, i)}
	}
	return true, nil
}

func (f *packed) used(k uint16) (id uint16, length uint32, err error) {
	u := f.q.seen.at(uint32(k))
	written := u.flags&DescWrite != 0
	switch {
	case written && !f.q.rx:
		return 0, 0, f.q.violation("2.8.3", "claims to have written %d bytes to what it may only read", u.length)
	case !written && f.q.rx:
		return 0, 0, f.q.violation("2.8.3", "returned buffer %d with %d bytes and without the WRITE flag", u.id, u.length)
	case !written:
		return u.id, 0, nil // the length is reserved then (section 2.8.4)
	}
	return u.id, u.length, nil
}

func (f *packed) retire(c *chain, id uint16) {
	f.q.free.push(id)
	f.q.seen.popOldest()
	f.next = f.ring.Advance(f.next, c.descs)
}

// intact checks the descriptors from where the chain's used descriptor is to where the next will be: the first must not
// change any more (section 2.8.15), and the others were never the device's to write (section 2.8.6) or, in order, are so
// no more.
func (f *packed) intact(c *chain, _ uint16) error { return f.untouched(f.next, c.descs) }

// untouched compares n descriptors with what they were.
func (f *packed) untouched(at, n uint16) error {
	for range n {
		i := uint32(at &^ WrapBit)
		if d := f.ring.load(i); d != f.shadow[i] {
			return f.q.violation("2.8.15", "changed descriptor %d from %+v to %+v", i, f.shadow[i], d)
		}
		at = f.ring.Advance(at, 1)
	}
	return nil
}

// restart makes the ring what it is when driver and device have come to index, all buffers used: zeros at first (section
// 2.8.13). The wrap counters, 1 at first, change whenever index passes the end.
func (f *packed) restart(index uint16) {
	at := uint32(index)
	wrap := uint16(WrapBit)
	if at/f.ring.size%2 == 1 {
		wrap = 0
	}
	f.avail = uint16(at%f.ring.size) | wrap
	f.next, f.scan = f.avail, f.avail
	for i := range f.ring.size {
		lap := wrap
		if i >= at%f.ring.size {
			lap ^= WrapBit // the last one
		}
		d := PackedDesc{Flags: UsedFlags(lap)}
		f.ring.SetDesc(i, d)
		if f.shadow != nil {
			f.shadow[i] = d
		}
	}
	f.ring.SetDeviceEvent(0, EventsEnable)
	f.ring.SetDriverEvent(0, EventsDisable)
	f.show()
}

// base is where the used descriptors end that the driver has or could have seen, twice.
func (f *packed) base() uint32 {
	at, seen := f.scan, f.q.seen.count
	for seen < f.q.out-f.q.hidden {
		n, end, _ := f.batch(at, seen, f.ring.load(uint32(at&^WrapBit)))
		if n == 0 {
			break
		}
		at, seen = end, seen+n
	}
	return uint32(at) | uint32(at)<<16
}

func (f *packed) indices() (avail, used uint16) { return f.avail, f.next }
