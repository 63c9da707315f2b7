package virtq_test

import (
	"bytes"
	"slices"

	"weft/vhostuser/vhosttest"
	"weft/vhostuser/virtq"
)

// splitAttacks are those on available ring and links of a split ring.
var splitAttacks = []attack{
	{name: "a transmit buffer marked writable in a table", want: virtq.WrongDirection, onlyTx: true, do: wrongInTable},
	{name: "a head outside the table", want: virtq.HeadOutOfRange, do: func(v *victim) { v.ring.Offer(hostileRing) }},
	{name: "the largest head", want: virtq.HeadOutOfRange, do: func(v *victim) { v.ring.Offer(0xffff) }},
	{name: "an index one too far", want: virtq.AvailIndexJump, do: func(v *victim) {
		v.ring.SetAvailHead(0, hostileRing+1)
	}},
	{name: "an index that went back", want: virtq.AvailIndexJump, do: func(v *victim) {
		v.ring.SetAvailHead(0, 0xffff)
	}},
	{name: "an index half the range away", want: virtq.AvailIndexJump, do: func(v *victim) {
		v.ring.SetAvailHead(0, 0x8000)
	}},
	{name: "one head in every entry", do: func(v *victim) {
		v.desc(3, v.buf.GPA, 100, 0, 0)
		v.ring.Offer(3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3)
	}},
	{name: "a descriptor that follows itself", want: virtq.ChainTooLong, do: func(v *victim) {
		v.desc(5, v.buf.GPA, 1, next, 5)
		v.ring.Offer(5)
	}},
	{name: "two descriptors in a circle, empty", want: virtq.ChainTooLong, do: func(v *victim) {
		v.desc(1, v.buf.GPA, 0, next, 2)
		v.desc(2, v.buf.GPA, 0, next, 1)
		v.ring.Offer(1)
	}},
	{name: "all descriptors in a circle", want: virtq.ChainTooLong, do: func(v *victim) {
		for i := range uint32(hostileRing) {
			v.desc(i, v.buf.GPA, 1, next, uint16(i+1)%hostileRing)
		}
		v.ring.Offer(0)
	}},
	{name: "a next outside the table", want: virtq.NextOutOfRange, do: func(v *victim) {
		v.desc(0, v.buf.GPA, 1, next, hostileRing)
		v.ring.Offer(0)
	}},
	{name: "the largest next", want: virtq.NextOutOfRange, do: func(v *victim) {
		v.desc(0, v.buf.GPA, 1, next, 0xffff)
		v.ring.Offer(0)
	}},
}

// attacks are the classes of malformed rings, those of the CVEs of other back ends among them.
var attacks = append([]attack{
	{name: "all descriptors in a chain, empty", do: func(v *victim) {
		v.chain(slices.Repeat([]vhosttest.Desc{{Addr: endGPA}}, hostileRing)...)
	}},
	{name: "an address that is not mapped", want: virtq.BadAddress, do: one(endGPA, 64)},
	{name: "address 0", want: virtq.BadAddress, do: one(0, 64)},
	{name: "memory that the device was not told of", want: virtq.BadAddress, do: one(secretGPA, 64)},
	{name: "a byte before the first region", want: virtq.BadAddress, do: one(lowGPA-1, 64)},
	{name: "a byte behind the last region", want: virtq.BadAddress, do: one(endGPA-63, 64)},
	{name: "the last bytes of the last region", do: one(endGPA-64, 64)},
	{name: "the largest address", want: virtq.BadAddress, do: one(1<<64-1, 1)},
	{name: "an address that wraps", want: virtq.BadAddress, do: one(1<<64-32, 64)},
	{name: "an address that wraps into a region", want: virtq.BadAddress, do: one(1<<64-1<<20, 0xffffffff)},
	{name: "the largest length", want: virtq.BadAddress, do: one(lowGPA, 0xffffffff)},
	{name: "a length of all regions and a byte", want: virtq.BadAddress, do: one(lowGPA, endGPA-lowGPA+1)},
	{name: "an empty buffer", do: one(lowGPA, 0)},
	{name: "an empty buffer nowhere", do: one(endGPA, 0)},
	{name: "a buffer shorter than the header", do: func(v *victim) { one(v.buf.GPA, 11)(v) }},
	{name: "a buffer as long as the header", do: func(v *victim) { one(v.buf.GPA, 12)(v) }},
	{name: "a runt", do: func(v *victim) { one(v.buf.GPA, 12+13)(v) }},
	{name: "the wrong direction", want: virtq.WrongDirection, do: func(v *victim) {
		v.chain(vhosttest.Desc{Addr: v.buf.GPA, Len: 100, Flags: vhosttest.DescWrite})
	}},
	{name: "the wrong direction at the end", want: virtq.WrongDirection, do: func(v *victim) {
		v.chain(vhosttest.Desc{Addr: v.buf.GPA, Len: 12},
			vhosttest.Desc{Addr: v.buf.GPA, Len: 100, Flags: vhosttest.DescWrite})
	}},
	{name: "a frame longer than a batch describes", onlyTx: true, do: func(v *victim) {
		d := vhosttest.Desc{Addr: lowGPA, Len: regionSize}
		v.chain(d, d)
	}},
	{name: "indirect without INDIRECT_DESC", noInd: true, want: virtq.IndirectNotNegotiated, do: func(v *victim) {
		ind(v.tab.GPA, 16, 0)(v)
	}},
	{name: "indirect and chained", want: virtq.IndirectWithNext, do: func(v *victim) { ind(v.tab.GPA, 16, next)(v) }},
	{name: "an empty table", want: virtq.IndirectBadLength, do: func(v *victim) { ind(v.tab.GPA, 0, 0)(v) }},
	{name: "a table of 15 bytes", want: virtq.IndirectBadLength, do: func(v *victim) { ind(v.tab.GPA, 15, 0)(v) }},
	{name: "a table of 17 bytes", want: virtq.IndirectBadLength, do: func(v *victim) { ind(v.tab.GPA, 17, 0)(v) }},
	{name: "a table of 4 GiB less 1", want: virtq.IndirectBadLength, do: func(v *victim) {
		ind(v.tab.GPA, 0xffffffff, 0)(v)
	}},
	{name: "a table of 4 GiB less 16", want: virtq.BadAddress, do: func(v *victim) {
		ind(v.tab.GPA, 0xfffffff0, 0)(v)
	}},
	{name: "a table that is not mapped", want: virtq.BadAddress, do: ind(endGPA, 16, 0)},
	{name: "a table that ends outside", want: virtq.BadAddress, do: ind(endGPA-16, 32, 0)},
	{name: "a table that wraps", want: virtq.BadAddress, do: ind(1<<64-16, 32, 0)},
}, tableAttacks...)

// wrongInTable offers an indirect table whose entry has the other direction.
func wrongInTable(v *victim) {
	v.table(1, func(int) vhosttest.Desc {
		return vhosttest.Desc{Addr: v.buf.GPA, Len: 100, Flags: vhosttest.DescWrite}
	})
}

// one offers a single buffer of n bytes at addr.
func one(addr uint64, n uint32) func(*victim) {
	return func(v *victim) { v.chain(vhosttest.Desc{Addr: addr, Len: n}) }
}

// ind offers an indirect table of n bytes at addr.
func ind(addr uint64, n uint32, flags uint16) func(*victim) {
	return func(v *victim) { v.chain(vhosttest.Desc{Addr: addr, Len: n, Flags: indirect | flags}) }
}

// tableAttacks are those inside indirect tables.
var tableAttacks = []attack{
	{name: "a table inside a table", ignored: true, want: virtq.NestedIndirect, do: func(v *victim) {
		v.table(1, func(int) vhosttest.Desc { return vhosttest.Desc{Addr: v.tab.GPA, Len: 16, Flags: indirect} })
	}},
	{name: "a table at the end of a table", ignored: true, want: virtq.NestedIndirect, do: func(v *victim) {
		v.table(2, func(i int) vhosttest.Desc {
			if i == 0 {
				return vhosttest.Desc{Addr: v.buf.GPA, Len: 12, Flags: next, Next: 1}
			}
			return vhosttest.Desc{Addr: v.tab.GPA, Len: 16, Flags: indirect}
		})
	}},
	{name: "a table that loops", ignored: true, want: virtq.ChainTooLong, do: func(v *victim) {
		v.table(4, func(i int) vhosttest.Desc {
			return vhosttest.Desc{Addr: v.buf.GPA, Len: 1, Flags: next, Next: uint16(i+1) % 4}
		})
	}},
	{name: "a table's next outside it", ignored: true, want: virtq.NextOutOfRange, do: func(v *victim) {
		v.table(2, func(int) vhosttest.Desc {
			return vhosttest.Desc{Addr: v.buf.GPA, Len: 1, Flags: next, Next: 2}
		})
	}},
	{name: "an unmapped buffer in a table", want: virtq.BadAddress, do: func(v *victim) {
		v.table(1, func(int) vhosttest.Desc { return vhosttest.Desc{Addr: endGPA, Len: 100} })
	}},
	{name: "the wrong direction in a table", want: virtq.WrongDirection, onlyRx: true, do: wrongInTable},
	{name: "a table at an odd address", do: func(v *victim) {
		v.write(vhosttest.Desc{Addr: v.buf.GPA, Len: 100, Flags: v.w})
		copy(v.tab.Bytes[17:], bytes.Clone(v.tab.Bytes[:16]))
		ind(v.tab.GPA+17, 16, 0)(v)
	}},
	{name: "a long table of single bytes", onlyTx: true, do: func(v *victim) {
		v.table(1000, func(i int) vhosttest.Desc {
			d := vhosttest.Desc{Addr: v.buf.GPA + uint64(i), Len: 1, Flags: next, Next: uint16(i + 1)}
			if i == 999 {
				d.Flags = 0
			}
			return d
		})
	}},
	{name: "a long table of empty buffers that loops", do: func(v *victim) {
		v.table(tableEntries, func(i int) vhosttest.Desc {
			return vhosttest.Desc{Addr: v.buf.GPA, Flags: next, Next: uint16(i+1) % tableEntries}
		})
	}},
}
