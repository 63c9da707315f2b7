package vhosttest_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"weft/vhostuser/vhosttest"
)

// takeSplit is take on a split ring.
func (d *echoDevice) takeSplit(e *echoEnd) (c echoChain, found bool) {
	if _, end := e.split.AvailHead(); end == e.avail {
		return c, false
	}
	c.id = e.split.Avail(e.avail)
	e.avail++
	for i := c.id; ; {
		if d.inOrder && i != e.next {
			d.t.Fatalf("descriptor %d follows what ended before %d (section 2.7.5)", i, e.next)
		}
		desc := e.split.Desc(uint32(i))
		e.next = uint16((uint32(i) + 1) % e.split.Size())
		if c.descs++; uint32(c.descs) > e.split.Size() || uint32(i) >= e.split.Size() {
			d.t.Fatalf("a chain of more descriptors than the ring has (section 2.7.5.2)")
		}
		if desc.Flags&vhosttest.DescIndirect != 0 {
			if c.descs > 1 || desc.Flags&vhosttest.DescNext != 0 {
				d.t.Fatalf("an indirect descriptor in a chain: %+v (section 2.7.5.3.1)", desc)
			}
			d.readSplitTable(e, desc, &c)
		} else {
			d.add(e, packedOf(desc), &c)
		}
		if desc.Flags&vhosttest.DescNext == 0 {
			return c, true
		}
		i = desc.Next
	}
}

// readSplitTable expects the entries to follow each other, as use in order demands of all tables (section 2.7.5.3.1).
func (d *echoDevice) readSplitTable(e *echoEnd, desc vhosttest.Desc, c *echoChain) {
	table, err := d.mem.At(desc.Addr, uint64(desc.Len))
	if err != nil || desc.Len == 0 || desc.Len%vhosttest.DescSize != 0 {
		d.t.Fatalf("an indirect table of %d bytes at %#x: %v", desc.Len, desc.Addr, err)
	}
	n := desc.Len / vhosttest.DescSize
	for i := range n {
		b := table.Bytes[i*vhosttest.DescSize:]
		entry := vhosttest.Desc{
			Addr: binary.LittleEndian.Uint64(b), Len: binary.LittleEndian.Uint32(b[8:]),
			Flags: binary.LittleEndian.Uint16(b[12:]), Next: binary.LittleEndian.Uint16(b[14:]),
		}
		goesOn := entry.Flags&vhosttest.DescNext != 0
		if goesOn != (i+1 < n) || goesOn && uint32(entry.Next) != i+1 {
			d.t.Fatalf("entry %d of an indirect table of %d: %+v", i, n, entry)
		}
		d.add(e, packedOf(entry), c)
	}
}

// packedOf is what descriptors of both formats have in common.
func packedOf(desc vhosttest.Desc) vhosttest.PackedDesc {
	return vhosttest.PackedDesc{Addr: desc.Addr, Len: desc.Len, Flags: desc.Flags}
}

// giveSplit is give on a split ring. The entries that a batch skips hold what nobody may read.
func (d *echoDevice) giveSplit(e *echoEnd, chains []echoChain, written []int) {
	for len(chains) > 0 {
		n := d.batch(e, chains, written)
		e.split.SetUsed(e.used, vhosttest.UsedElem{ID: uint32(chains[n-1].id), Len: uint32(written[n-1])})
		for k := 1; k < n; k++ {
			e.split.SetUsed(e.used+uint16(k), vhosttest.UsedElem{ID: d.rng.Uint32() % e.split.Size(), Len: d.rng.Uint32()})
		}
		e.used += uint16(n)
		chains, written = chains[n:], written[n:]
	}
	e.split.SetUsedHead(0, e.used)
}

// TestSplitRingsCarryFrames goes round rings whose indices wrap early, with frames that come back changed by nothing.
func TestSplitRingsCarryFrames(t *testing.T) {
	for name, cfg := range everyLayout(false) {
		for _, size := range []int{1, 2, 4, 8, 256} {
			for _, first := range []uint16{0, 65533} {
				cfg.RingSize, cfg.FirstIndex, cfg.Seed = size, first, uint64(size)
				t.Run(fmt.Sprintf("%s, ring of %d from %d", name, size, first), func(t *testing.T) { carryFrames(t, cfg) })
			}
		}
	}
}
