package virtq_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"weft/vhostuser/vhosttest"
	"weft/vhostuser/virtq"
)

// attack is one thing that a guest does to a ring. Each is tried on the transmitq and on the receiveq, and in both layouts
// unless it is in a list of one.
type attack struct {
	name string
	// want is how the ring breaks; 0 when the guest harms nobody, and the ring goes on.
	want    virtq.Violation
	ignored bool // by packed rings: what is not for their tables' entries to say
	noInd   bool // INDIRECT_DESC is not negotiated
	do      func(v *victim)
	onlyRx  bool // only on the guest's receiveq
	onlyTx  bool
}

// victim is the ring under attack.
type victim struct {
	t      *testing.T
	r      *rig
	q      *vhosttest.Queue
	ring   *vhosttest.Ring       // nil if packed
	packed *vhosttest.PackedRing // else nil
	at     uint16                // packed: where the next chain goes
	w      uint16                // the flag that makes a buffer's direction right
	buf    vhosttest.Place
	tab    vhosttest.Place
}

const (
	next     = vhosttest.DescNext
	indirect = vhosttest.DescIndirect
)

func newVictim(t *testing.T, a attack, packed, rx bool) *victim {
	r := hostileRig(t, !a.noInd, func(c *vhosttest.Config) { c.Packed = packed })
	v := &victim{t: t, r: r, q: r.guest.Tx(0), at: vhosttest.WrapBit}
	if rx {
		v.q, v.w = r.guest.Rx(0), vhosttest.DescWrite
		empty(v.q)
	}
	v.ring, v.packed = v.q.Ring(), v.q.PackedRing()
	var err, err2 error
	v.buf, err = r.guest.Memory().Alloc(2048, 64)
	v.tab, err2 = r.guest.Memory().Alloc(tableEntries*vhosttest.DescSize, 16)
	if err = errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return v
}

// empty takes back what the driver has offered to a device that has not begun.
func empty(q *vhosttest.Queue) {
	if ring := q.PackedRing(); ring != nil {
		clear(ring.DescPlace().Bytes)
	} else {
		q.Ring().SetAvailHead(0, 0)
	}
}

// desc writes descriptor i of a split ring.
func (v *victim) desc(i uint32, addr uint64, n uint32, flags, next uint16) {
	v.ring.SetDesc(i, vhosttest.Desc{Addr: addr, Len: n, Flags: flags | v.w, Next: next})
}

// chain offers descriptors as one chain, from descriptor 0 on in a split ring. DescWrite among the flags makes a direction
// wrong.
func (v *victim) chain(descs ...vhosttest.Desc) {
	last := len(descs) - 1
	var list []vhosttest.PackedDesc
	for i, d := range descs {
		d.Flags ^= v.w
		if i < last {
			d.Flags |= next
		}
		list = append(list, vhosttest.PackedDesc{Addr: d.Addr, Len: d.Len, ID: uint16(i), Flags: d.Flags})
		if v.ring != nil {
			d.Next = uint16(i + 1)
			v.ring.SetDesc(uint32(i), d)
		}
	}
	if v.ring != nil {
		v.ring.Offer(0)
		return
	}
	v.at = v.packed.Offer(v.at, list...)
}

// table writes an indirect table of entries, each made by f, and offers it.
func (v *victim) table(n int, f func(i int) vhosttest.Desc) {
	descs := make([]vhosttest.Desc, n)
	for i := range descs {
		descs[i] = f(i)
		descs[i].Flags ^= v.w
	}
	v.write(descs...)
	v.chain(vhosttest.Desc{Addr: v.tab.GPA, Len: uint32(n * vhosttest.DescSize), Flags: indirect ^ v.w})
}

// write writes descriptors to the victim's table.
func (v *victim) write(descs ...vhosttest.Desc) {
	if v.packed != nil {
		for i, d := range descs { // id and flags lie where flags and next do in a split ring's table
			descs[i].Flags, descs[i].Next = d.Next, d.Flags
		}
	}
	if err := v.r.guest.Memory().WriteDescs(v.tab.GPA, descs...); err != nil {
		v.t.Fatal(err)
	}
}

// deviceParts are where the device may write, buffers aside.
func (v *victim) deviceParts() []vhosttest.Place {
	if v.packed != nil {
		return []vhosttest.Place{v.packed.DescPlace(), v.packed.DevicePlace()}
	}
	return []vhosttest.Place{v.ring.UsedPlace()}
}

// descs is a copy of a packed ring.
func (v *victim) descs() (all []vhosttest.PackedDesc) {
	for i := range v.q.Size() {
		if v.packed != nil {
			all = append(all, v.packed.Desc(i))
		}
	}
	return all
}

// onlyUsed fails unless each descriptor of a packed ring is as before, or marked used with an id that was there. If the ring
// broke before anything was used, none may be.
func (v *victim) onlyUsed(before []vhosttest.PackedDesc) {
	v.t.Helper()
	for i, d := range v.descs() {
		is := func(b vhosttest.PackedDesc) bool { return b.ID == d.ID }
		both := d.Flags & (vhosttest.DescAvail | vhosttest.DescUsed)
		used := both == 0 || both == vhosttest.DescAvail|vhosttest.DescUsed
		if d != before[i] && (!used || d.Addr != before[i].Addr || !slices.ContainsFunc(before, is)) {
			v.t.Errorf("descriptor %d became %+v, was %+v", i, d, before[i])
		}
	}
	if v.packed != nil {
		if off, flags := v.packed.DeviceEvent(); off != 0 || flags != vhosttest.EventsDisable {
			v.t.Errorf("the device's event area is %d, %d", off, flags)
		}
	}
}

// image is a copy of all guest memory, the secret region included.
func image(g *vhosttest.Guest) [][]byte {
	var all [][]byte
	for _, l := range g.Memory().Layout() {
		p, err := g.Memory().At(l.GPA, l.Size)
		if err != nil {
			panic(err)
		}
		all = append(all, bytes.Clone(p.Bytes))
	}
	return all
}

// unchanged fails when memory differs from before elsewhere than in the places allowed.
func unchanged(t *testing.T, g *vhosttest.Guest, before [][]byte, allowed ...vhosttest.Place) {
	t.Helper()
	for i, l := range g.Memory().Layout() {
		p, _ := g.Memory().At(l.GPA, l.Size)
		for _, a := range allowed {
			if a.GPA >= l.GPA && a.GPA-l.GPA < l.Size {
				off := a.GPA - l.GPA
				copy(before[i][off:off+uint64(len(a.Bytes))], p.Bytes[off:])
			}
		}
		if !bytes.Equal(p.Bytes, before[i]) {
			t.Errorf("the device changed memory of the region at %#x that is not its to change", l.GPA)
		}
	}
}
