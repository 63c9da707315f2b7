package virtq_test

import (
	"fmt"
	"testing"

	"weft/vhostuser/vhosttest"
)

// TestOnlyWhatMayBeWrittenIsClaimed: of the buffers that a burst looks ahead to, those are left alone that are no longer than a
// header, not to be written, only part of a chain, or nowhere.
func TestOnlyWhatMayBeWrittenIsClaimed(t *testing.T) {
	for _, packed := range []bool{false, true} {
		for name, second := range map[string]vhosttest.Desc{
			"a header and no more": {Len: 12, Flags: vhosttest.DescWrite},
			"one to be read":       {Len: 200},
			"part of a chain":      {Len: 200, Flags: vhosttest.DescWrite | next, Next: 2},
			"a table":              {Len: 208, Flags: vhosttest.DescWrite | indirect},
			"nowhere":              {Len: 200, Flags: vhosttest.DescWrite, Addr: endGPA},
			"across the end":       {Len: 200, Flags: vhosttest.DescWrite, Addr: endGPA - 100},
		} {
			t.Run(fmt.Sprintf("%s, packed %v", name, packed), func(t *testing.T) {
				v := newVictim(t, attack{}, packed, true)
				for i := range v.buf.Bytes {
					v.buf.Bytes[i] = 0xa5
				}
				first := vhosttest.Desc{Addr: v.buf.GPA, Len: 200, Flags: vhosttest.DescWrite}
				if second.Addr == 0 {
					second.Addr = v.buf.GPA + 1024
				}
				for i, d := range []vhosttest.Desc{first, second, {Addr: v.buf.GPA + 512, Len: 200}} {
					if packed {
						v.at = v.packed.Offer(v.at, vhosttest.PackedDesc{Addr: d.Addr, Len: d.Len, ID: uint16(i), Flags: d.Flags})
						continue
					}
					v.ring.SetDesc(uint32(i), d)
					v.ring.Offer(uint16(i))
				}
				before := image(v.r.guest)
				v.r.transmit([][]byte{make([]byte, 60), make([]byte, 60)}, nil)
				if c := v.r.tx.Counters(); c.Packets != 1 {
					t.Errorf("counted %+v: the first frame had a buffer", c)
				}
				unchanged(t, v.r.guest, before,
					append(v.deviceParts(), vhosttest.Place{GPA: first.Addr, Bytes: v.buf.Bytes[:first.Len]})...)
			})
		}
	}
}
