package virtq_test

import (
	"slices"

	"weft/vhostuser/vhosttest"
	"weft/vhostuser/virtq"
)

// packedAttacks are those on the flags and ids of a packed ring, and on chains that are neighbours in it.
var packedAttacks = []attack{
	// Harms nobody, and DPDK's driver does it.
	{name: "a transmit buffer marked writable in a table", onlyTx: true, do: wrongInTable},
	{name: "a chain that never ends", want: virtq.ChainTooLong, do: func(v *victim) {
		v.packed.Offer(v.at, slices.Repeat([]vhosttest.PackedDesc{{Addr: v.buf.GPA, Len: 1, Flags: next | v.w}}, hostileRing)...)
	}},
	{name: "a chain that ends in itself, a lap on", want: virtq.ChainTooLong, do: func(v *victim) {
		d := vhosttest.PackedDesc{Addr: v.buf.GPA, Len: 1, Flags: v.w}
		v.at = v.packed.Offer(v.at, d, d, d)
		d.Flags |= next
		v.packed.Offer(v.at, slices.Repeat([]vhosttest.PackedDesc{d}, hostileRing-3)...)
		d.Flags |= vhosttest.AvailFlags(vhosttest.WrapBit)
		for i := range uint32(3) { // part of it, while the device has them
			v.packed.SetDesc(i, d)
		}
	}},
	{name: "a chain as long as the ring", do: func(v *victim) {
		v.chain(slices.Repeat([]vhosttest.Desc{{Addr: v.buf.GPA, Len: 7}}, hostileRing)...)
	}},
	{name: "a chain of descriptors that were not made available", do: func(v *victim) {
		v.packed.SetDesc(1, vhosttest.PackedDesc{Addr: v.buf.GPA, Len: 60, ID: 9, Flags: v.w})
		v.packed.SetDesc(0, vhosttest.PackedDesc{Addr: v.buf.GPA, Len: 60, Flags: next | v.w | vhosttest.DescAvail})
	}},
	{name: "the largest id", do: ids(0xffff)},
	{name: "the id of the ring's size", do: ids(hostileRing)},
	{name: "one id for all buffers", do: ids(slices.Repeat([]uint16{3}, hostileRing)...)},
	{name: "every flag set", noInd: true, want: virtq.ChainTooLong, do: func(v *victim) {
		for i := range uint32(hostileRing) {
			v.packed.SetDesc(i, vhosttest.PackedDesc{Addr: v.buf.GPA, Len: 64, Flags: 0x7fff})
		}
	}},
	{name: "reserved flags alone", do: func(v *victim) {
		v.packed.SetDesc(0, vhosttest.PackedDesc{Addr: v.buf.GPA, Len: 64, Flags: 0x7ff8 | v.w})
	}},
	{name: "neither available nor used", do: func(v *victim) {
		for i := range uint32(hostileRing) {
			v.packed.SetDesc(i, vhosttest.PackedDesc{Addr: endGPA, Len: 64, Flags: vhosttest.DescUsed})
		}
	}},
	{name: "used by the guest itself", do: func(v *victim) {
		for i := range uint32(hostileRing) {
			v.packed.SetDesc(i, vhosttest.PackedDesc{Addr: endGPA, Len: 64, Flags: vhosttest.DescUsed | vhosttest.DescAvail})
		}
	}},
	{name: "available behind a gap", do: func(v *victim) {
		v.packed.Offer(v.packed.Advance(v.at, 1), vhosttest.PackedDesc{Addr: endGPA, Len: 64, Flags: v.w})
	}},
	{name: "indirect behind a buffer", want: virtq.IndirectWithNext, do: func(v *victim) {
		v.chain(vhosttest.Desc{Addr: v.buf.GPA, Len: 12}, vhosttest.Desc{Addr: v.tab.GPA, Len: 16, Flags: indirect})
	}},
	{name: "indirect before a buffer", want: virtq.IndirectWithNext, do: func(v *victim) {
		v.chain(vhosttest.Desc{Addr: v.tab.GPA, Len: 16, Flags: indirect}, vhosttest.Desc{Addr: v.buf.GPA, Len: 12})
	}},
	{name: "a large id of a table that is broken", want: virtq.IndirectBadLength, do: func(v *victim) {
		v.packed.Offer(v.at, vhosttest.PackedDesc{Addr: v.tab.GPA, Len: 15, ID: 0xffff, Flags: indirect})
	}},
	{name: "every flag in a table", do: func(v *victim) {
		v.table(2, func(int) vhosttest.Desc {
			return vhosttest.Desc{Addr: v.buf.GPA, Len: 40, Flags: 0xffff &^ vhosttest.DescWrite, Next: 0xffff}
		})
	}},
	{name: "good buffers before a bad one", want: virtq.BadAddress, do: func(v *victim) {
		d := vhosttest.PackedDesc{Addr: v.buf.GPA, Len: 100, Flags: v.w}
		v.at = v.packed.Offer(v.at, d)
		v.at = v.packed.Offer(v.at, d)
		d.Addr = endGPA
		v.packed.Offer(v.at, d)
	}},
	{name: "every value in the guest's event area", do: func(v *victim) {
		for i := range uint16(hostileRing) {
			v.packed.SetDriverEvent(0xffff-i, 0xffff-i)
			v.at = v.packed.Offer(v.at, vhosttest.PackedDesc{Addr: v.buf.GPA, Len: 100, ID: i, Flags: v.w})
		}
	}},
}

// ids offers a buffer with each id.
func ids(list ...uint16) func(*victim) {
	return func(v *victim) {
		for _, id := range list {
			v.at = v.packed.Offer(v.at, vhosttest.PackedDesc{Addr: v.buf.GPA, Len: 100, ID: id, Flags: v.w})
		}
	}
}
