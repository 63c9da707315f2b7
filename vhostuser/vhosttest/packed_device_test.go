package vhosttest_test

import (
	"math/rand/v2"
	"testing"

	"weft/vhostuser/vhosttest"
)

// packedDevice is a device of one pair of packed rings that sends every frame back, and judges the driver by section 2.8.
// It knows the guest by its memory only, as a device does.
type packedDevice struct {
	t      *testing.T
	g      *vhosttest.Guest
	mem    *vhosttest.Memory
	rng    *rand.Rand
	rx, tx packedEnd

	// With reorder, frames that the guest sent are returned in any order, some of them late.
	reorder bool
	late    []packedChain
}

// packedEnd is where the device is on one ring: bit 15 is the wrap counter.
type packedEnd struct {
	ring        *vhosttest.PackedRing
	avail, used uint16
	writable    bool
}

// packedChain is one buffer.
type packedChain struct {
	id     uint16
	descs  uint16
	pieces [][]byte
	size   int
}

func newPackedDevice(t *testing.T, g *vhosttest.Guest, seed uint64) *packedDevice {
	d := &packedDevice{t: t, g: g, mem: g.Memory(), rng: rand.New(rand.NewPCG(seed, 1))}
	d.rx, d.tx = newPackedEnd(g.Rx(0), true), newPackedEnd(g.Tx(0), false)
	return d
}

func newPackedEnd(q *vhosttest.Queue, writable bool) packedEnd {
	base := q.Base()
	return packedEnd{q.PackedRing(), uint16(base), uint16(base >> 16), writable}
}

// take reads the next available chain, and checks what a driver must keep to.
func (d *packedDevice) take(e *packedEnd) (c packedChain, found bool) {
	for {
		desc := e.ring.Desc(uint32(e.avail &^ vhosttest.WrapBit))
		const marks = vhosttest.DescAvail | vhosttest.DescUsed
		wrap := e.avail&vhosttest.WrapBit != 0
		if got := desc.Flags & marks; wrap && got != vhosttest.DescAvail || !wrap && got != vhosttest.DescUsed {
			if c.descs > 0 {
				d.t.Fatalf("a chain goes on at %#x with a descriptor that is not available: %+v (section 2.8.17)", e.avail, desc)
			}
			return c, false
		}
		e.avail = e.ring.Advance(e.avail, 1)
		c.descs++
		if desc.Flags&vhosttest.DescIndirect != 0 {
			if c.descs > 1 || desc.Flags&vhosttest.DescNext != 0 {
				d.t.Fatalf("an indirect descriptor in a chain: %+v (section 2.8.19)", desc)
			}
			d.readTable(e, desc, &c)
		} else {
			d.add(e, desc, &c)
		}
		if uint32(c.descs) > e.ring.Size() {
			d.t.Fatalf("a chain of more descriptors than the ring has (section 2.8.17)")
		}
		if desc.Flags&vhosttest.DescNext == 0 {
			c.id = desc.ID
			return c, true
		}
	}
}

func (d *packedDevice) readTable(e *packedEnd, desc vhosttest.PackedDesc, c *packedChain) {
	table, err := d.mem.At(desc.Addr, uint64(desc.Len))
	if err != nil || desc.Len == 0 || desc.Len%vhosttest.DescSize != 0 {
		d.t.Fatalf("an indirect table of %d bytes at %#x: %v", desc.Len, desc.Addr, err)
	}
	for i := range desc.Len / vhosttest.DescSize {
		entry := packedDescAt(table.Bytes[i*vhosttest.DescSize:])
		if entry.Flags&^vhosttest.DescWrite != 0 {
			d.t.Fatalf("entry %d of an indirect table: %+v (section 2.8.19)", i, entry)
		}
		d.add(e, entry, c)
	}
}

func (d *packedDevice) add(e *packedEnd, desc vhosttest.PackedDesc, c *packedChain) {
	if e.writable != (desc.Flags&vhosttest.DescWrite != 0) {
		d.t.Fatalf("a descriptor of the wrong direction: %+v", desc)
	}
	p, err := d.mem.At(desc.Addr, uint64(desc.Len))
	if err != nil {
		d.t.Fatal(err)
	}
	c.pieces = append(c.pieces, p.Bytes)
	c.size += len(p.Bytes)
}

// give returns chains of written[i] bytes each: the first last, so that all appear at once (section 2.8.9).
func (d *packedDevice) give(e *packedEnd, chains []packedChain, written []int) {
	at := make([]uint16, len(chains))
	for i, c := range chains {
		at[i] = e.used
		e.used = e.ring.Advance(e.used, c.descs)
	}
	for i := len(chains) - 1; i >= 0; i-- {
		e.ring.Use(at[i], chains[i].id, uint32(written[i]))
	}
}

// poll sends back all that there is room for, and returns how many frames that were.
func (d *packedDevice) poll() int {
	n := 0
	for ; ; n++ {
		before := d.tx.avail
		c, found := d.take(&d.tx)
		if !found {
			break
		}
		if !d.echo(c) {
			d.tx.avail = before
			break
		}
		d.late = append(d.late, c)
	}
	if d.reorder {
		d.rng.Shuffle(len(d.late), func(i, j int) { d.late[i], d.late[j] = d.late[j], d.late[i] })
	}
	for len(d.late) > 0 && (!d.reorder || d.rng.IntN(4) > 0) {
		d.give(&d.tx, d.late[:1], []int{0})
		d.late = d.late[1:]
	}
	return n
}

// echo puts a frame with its header into as many receive buffers as it takes.
func (d *packedDevice) echo(c packedChain) bool {
	var frame []byte
	for _, p := range c.pieces {
		frame = append(frame, p...)
	}
	var to []packedChain
	var written []int
	before := d.rx.avail
	for left := len(frame); left > 0; {
		b, found := d.take(&d.rx)
		if !found {
			d.rx.avail = before
			return false
		}
		n := min(left, b.size)
		to, written, left = append(to, b), append(written, n), left-n
	}
	frame[10] = byte(len(to)) // num_buffers
	for i, b := range to {
		part := frame[:written[i]]
		frame = frame[written[i]:]
		for _, p := range b.pieces {
			part = part[copy(p, part):]
		}
	}
	d.give(&d.rx, to, written)
	return true
}
