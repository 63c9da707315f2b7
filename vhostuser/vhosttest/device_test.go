package vhosttest_test

import (
	"math/rand/v2"
	"testing"

	"weft/vhostuser/vhosttest"
)

// echoDevice is a device of one pair of rings that sends every frame back, and judges the driver by section 2.7 or 2.8. It
// knows the guest by its memory only, as a device does.
type echoDevice struct {
	t      *testing.T
	g      *vhosttest.Guest
	mem    *vhosttest.Memory
	rng    *rand.Rand
	rx, tx echoEnd

	// With reorder, frames that the guest sent are returned in any order, some of them late.
	reorder bool
	late    []echoChain

	// With inOrder, buffers are returned late and in batches of random sizes.
	inOrder bool
	filled  []echoChain // with frames for the guest
	written []int
}

// echoEnd is where the device is on one ring: of a packed one, bit 15 is the wrap counter.
type echoEnd struct {
	ring        *vhosttest.PackedRing
	split       *vhosttest.Ring // or ring
	avail, used uint16
	next        uint16 // the descriptor of a split ring used in order that follows the last chain
	writable    bool
	skipped     int // buffers of which the driver was not told by themselves
}

// echoChain is one buffer.
type echoChain struct {
	id     uint16
	descs  uint16
	pieces [][]byte
	size   int
}

func newEchoDevice(t *testing.T, g *vhosttest.Guest, seed uint64) *echoDevice {
	d := &echoDevice{t: t, g: g, mem: g.Memory(), rng: rand.New(rand.NewPCG(seed, 1))}
	d.rx, d.tx = newEchoEnd(g.Rx(0), true), newEchoEnd(g.Tx(0), false)
	return d
}

func newEchoEnd(q *vhosttest.Queue, writable bool) echoEnd {
	base := q.Base()
	if q.Ring() != nil {
		return echoEnd{split: q.Ring(), avail: uint16(base), used: uint16(base), writable: writable}
	}
	return echoEnd{ring: q.PackedRing(), avail: uint16(base), used: uint16(base >> 16), writable: writable}
}

// take reads the next available chain, and checks what a driver must keep to.
func (d *echoDevice) take(e *echoEnd) (c echoChain, found bool) {
	if e.split != nil {
		return d.takeSplit(e)
	}
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

func (d *echoDevice) readTable(e *echoEnd, desc vhosttest.PackedDesc, c *echoChain) {
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

func (d *echoDevice) add(e *echoEnd, desc vhosttest.PackedDesc, c *echoChain) {
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
func (d *echoDevice) give(e *echoEnd, chains []echoChain, written []int) {
	if e.split != nil {
		d.giveSplit(e, chains, written)
		return
	}
	var at []uint16 // where each batch begins
	var last []int  // its last chain
	for i := 0; i < len(chains); {
		n := d.batch(e, chains[i:], written[i:])
		at, last = append(at, e.used), append(last, i+n-1)
		for _, c := range chains[i : i+n] {
			e.used = e.ring.Advance(e.used, c.descs)
		}
		if n > 1 {
			d.scribble(e, at[len(at)-1])
		}
		i += n
	}
	for i := len(at) - 1; i >= 0; i-- {
		e.ring.Use(at[i], chains[last[i]].id, uint32(written[last[i]]))
	}
}

// batch is how many of the chains the driver is told of by the last of them. Those before are used completely (sections
// 2.7.9 and 2.8.8).
func (d *echoDevice) batch(e *echoEnd, chains []echoChain, written []int) int {
	n := 1
	for d.inOrder && n < len(chains) && (!e.writable || written[n-1] == chains[n-1].size) && d.rng.IntN(4) > 0 {
		n++
	}
	e.skipped += n - 1
	return n
}

// scribble writes to the descriptors of a batch behind its first: they are the device's until it returns the batch.
func (d *echoDevice) scribble(e *echoEnd, at uint16) {
	for at = e.ring.Advance(at, 1); at != e.used; at = e.ring.Advance(at, 1) {
		i := uint32(at &^ vhosttest.WrapBit)
		desc := e.ring.Desc(i)
		switch d.rng.IntN(3) {
		case 0:
			desc.Len = d.rng.Uint32()
		case 1:
			desc.ID, desc.Flags = uint16(d.rng.Uint32()), vhosttest.UsedFlags(at)|vhosttest.DescWrite
		}
		e.ring.SetDesc(i, desc)
	}
}

// poll sends back all that there is room for, and returns how many frames that were.
func (d *echoDevice) poll() int {
	n := 0
	for ; ; n++ {
		before := d.tx
		c, found := d.take(&d.tx)
		if !found {
			break
		}
		if !d.echo(c) {
			d.tx = before
			break
		}
		d.late = append(d.late, c)
	}
	if d.inOrder {
		d.giveSome()
		return n
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

// giveSome returns some of what is kept back: any number of what the guest sent, and of what it receives all or nothing, as
// frames are not to be torn.
func (d *echoDevice) giveSome() {
	n := d.rng.IntN(len(d.late) + 1)
	d.give(&d.tx, d.late[:n], make([]int, n))
	d.late = d.late[n:]
	if d.rng.IntN(3) > 0 {
		d.give(&d.rx, d.filled, d.written)
		d.filled, d.written = nil, nil
	}
}

// echo puts a frame with its header into as many receive buffers as it takes.
func (d *echoDevice) echo(c echoChain) bool {
	var frame []byte
	for _, p := range c.pieces {
		frame = append(frame, p...)
	}
	var to []echoChain
	var written []int
	before := d.rx
	for left := len(frame); left > 0; {
		b, found := d.take(&d.rx)
		if !found {
			d.rx = before
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
	if d.inOrder {
		d.filled, d.written = append(d.filled, to...), append(d.written, written...)
	} else {
		d.give(&d.rx, to, written)
	}
	return true
}
