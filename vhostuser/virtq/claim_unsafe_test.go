package virtq_test

import (
	"runtime/debug"
	"testing"
	"unsafe"

	"weft/vhostuser/vhosttest"
	"weft/vhostuser/virtq"
)

// TestAMemoryFaultWhileBuffersAreClaimed: the memory of the second buffer is gone. Nothing of the burst is used, and when the
// guest has mended that, the ring goes on.
func TestAMemoryFaultWhileBuffersAreClaimed(t *testing.T) {
	gone := goneMemory(t)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	for _, packed := range []bool{false, true} {
		v := newVictim(t, attack{}, packed, true)
		const goneGPA = 1 << 41
		// SAFETY: the mapping has 4096 bytes, none of which is there; it stays until the test ends.
		regions := []virtq.Region{{GPA: goneGPA, Size: 4096, Base: unsafe.Pointer(unsafe.SliceData(gone))}}
		for _, r := range v.r.guest.Memory().Regions() {
			if r.GPA != secretGPA {
				regions = append(regions, virtq.Region(r))
			}
		}
		mem, err := virtq.NewMemory(regions)
		if err != nil {
			t.Fatal(err)
		}
		cfg := v.r.ringConfig(v.q)
		cfg.Memory = mem
		if v.r.txRing, err = virtq.NewRing(cfg); err != nil {
			t.Fatal(err)
		}
		v.r.tx.Attach(v.r.txRing)
		offer := func(i uint16, addr uint64) {
			if packed {
				v.at = v.packed.Offer(v.at, vhosttest.PackedDesc{Addr: addr, Len: 200, ID: i, Flags: v.w})
				return
			}
			v.desc(uint32(i), addr, 200, 0, 0)
			v.ring.Offer(i)
		}
		v.buf.Bytes[13] = 0xa5
		offer(0, v.buf.GPA)
		offer(1, goneGPA)
		base := v.r.txRing.Base()
		frames := [][]byte{make([]byte, 60), make([]byte, 60)}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("packed %v: no memory fault", packed)
				}
			}()
			v.r.transmit(frames, nil)
		}()
		if c := v.r.tx.Counters(); c.Packets != 0 || v.r.txRing.Base() != base {
			t.Errorf("packed %v: counted %+v, and the ring goes on at %#x, was %#x", packed, c, v.r.txRing.Base(), base)
		}
		if v.buf.Bytes[13] != 0xa5 {
			t.Errorf("packed %v: the fault came when the first frame was written, not before", packed)
		}
		if packed {
			d := v.packed.Desc(1)
			d.Addr = v.buf.GPA + 512
			v.packed.SetDesc(1, d)
		} else {
			v.desc(1, v.buf.GPA+512, 200, 0, 0)
		}
		v.r.transmit(frames, nil)
		if c := v.r.tx.Counters(); c.Packets != 2 || v.r.txRing.Err() != nil {
			t.Errorf("packed %v: counted %+v after the guest mended it: %v", packed, c, v.r.txRing.Err())
		}
	}
}
