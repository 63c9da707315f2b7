package virtq_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"weft/vhostuser/vhosttest"
	"weft/vhostuser/virtq"
)

// TestWhatABufferHeldBeforeDoesNotMatter: headers and used entries that are right already are not written again, all others
// are, whatever single byte of them is wrong.
func TestWhatABufferHeldBeforeDoesNotMatter(t *testing.T) {
	for name, vary := range map[string]func(*vhosttest.Config){
		"mergeable": func(c *vhosttest.Config) { c.Mergeable = true },
		"legacy":    func(c *vhosttest.Config) { c.Legacy = true },
		"packed":    func(c *vhosttest.Config) { c.Packed, c.RingSize = true, 15 },
	} {
		t.Run(name, func(t *testing.T) { reuse(t, hostileRig(t, true, vary)) })
	}
}

func reuse(t *testing.T, r *rig) {
	n := r.guest.HeaderLen()
	want := make([]byte, n)
	if n == virtq.HeaderMergeable {
		want[10] = 1 // num_buffers
	}
	rng := rand.New(rand.NewPCG(8, 8))
	buf, err := r.guest.Memory().Alloc(256, 64)
	if err != nil {
		t.Fatal(err)
	}
	empty(r.guest.Rx(0))
	offer, used := reuseSplit(r.guest.Rx(0).Ring(), buf)
	if r.cfg.Packed {
		offer, used = reusePacked(r.guest.Rx(0).PackedRing(), buf)
	}
	for i := range uint16(4 * n) {
		copy(buf.Bytes, want)
		if at := int(i) / 2; i%2 == 0 && at < n { // every other one is right
			buf.Bytes[at] ^= byte(1 + rng.IntN(255))
		}
		f := randomFrame(rng, 60, 200)
		offer(i, uint32(n+len(f)))
		r.transmit([][]byte{f}, rng)
		if !bytes.Equal(buf.Bytes[:n], want) || !bytes.Equal(buf.Bytes[n:n+len(f)], f) {
			t.Fatalf("buffer %d: header %x, want %x, or the frame differs: %v", i, buf.Bytes[:n], want, r.txRing.Err())
		}
		if id, length := used(i); id != uint32(i%uint16(r.cfg.RingSize)) || length != uint32(n+len(f)) {
			t.Fatalf("used entry %d: id %d, length %d", i, id, length)
		}
	}
}

type usedReader func(i uint16) (id, n uint32)

// reuseSplit returns what offers buf for the i-th time, in which n bytes will be used, and what reads the used entry.
func reuseSplit(ring *vhosttest.Ring, buf vhosttest.Place) (offer func(i uint16, n uint32), used usedReader) {
	offer = func(i uint16, n uint32) {
		head := i % uint16(ring.Size())
		ring.SetDesc(uint32(head), vhosttest.Desc{Addr: buf.GPA, Len: 256, Flags: vhosttest.DescWrite})
		ring.SetUsed(i, []vhosttest.UsedElem{
			{ID: uint32(head), Len: n},
			{ID: uint32(head), Len: 7},
			{ID: 1 << 31, Len: n},
		}[i%3])
		ring.Offer(head)
	}
	return offer, func(i uint16) (id, n uint32) { e := ring.Used(i); return e.ID, e.Len }
}

// reusePacked is the same for a packed ring, where the used descriptor takes the place of the one offered.
func reusePacked(ring *vhosttest.PackedRing, buf vhosttest.Place) (offer func(i uint16, n uint32), used usedReader) {
	at := func(i uint16) uint16 { return ring.Advance(vhosttest.WrapBit, i) }
	offer = func(i uint16, _ uint32) {
		id := i % uint16(ring.Size())
		ring.Offer(at(i), vhosttest.PackedDesc{Addr: buf.GPA, Len: 256, ID: id, Flags: vhosttest.DescWrite})
	}
	return offer, func(i uint16) (id, n uint32) {
		d := ring.Desc(uint32(at(i) &^ vhosttest.WrapBit))
		if d.Flags != vhosttest.UsedFlags(at(i))|vhosttest.DescWrite {
			return 1 << 16, 0
		}
		return uint32(d.ID), d.Len
	}
}
