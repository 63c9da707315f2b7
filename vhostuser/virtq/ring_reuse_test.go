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
	for name, mergeable := range map[string]bool{"mergeable": true, "legacy": false} {
		t.Run(name, func(t *testing.T) {
			r := hostileRig(t, true, func(c *vhosttest.Config) { c.Mergeable, c.Legacy = mergeable, !mergeable })
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
			ring := r.guest.Rx(0).Ring()
			ring.SetAvailHead(0, 0)
			size := uint16(ring.Size())
			for i := range uint16(4 * n) {
				copy(buf.Bytes, want)
				if at := int(i) / 2; i%2 == 0 && at < n { // every other one is right
					buf.Bytes[at] ^= byte(1 + rng.IntN(255))
				}
				f := randomFrame(rng, 60, 200)
				ring.SetDesc(uint32(i%size), vhosttest.Desc{Addr: buf.GPA, Len: 256, Flags: vhosttest.DescWrite})
				ring.SetUsed(i, []vhosttest.UsedElem{
					{ID: uint32(i % size), Len: uint32(n + len(f))},
					{ID: uint32(i % size), Len: 7},
					{ID: 1 << 31, Len: uint32(n + len(f))},
				}[i%3])
				ring.Offer(i % size)
				r.transmit([][]byte{f}, rng)
				if !bytes.Equal(buf.Bytes[:n], want) || !bytes.Equal(buf.Bytes[n:n+len(f)], f) {
					t.Fatalf("buffer %d: header %x, want %x, or the frame differs: %v", i, buf.Bytes[:n], want, r.txRing.Err())
				}
				if e := ring.Used(i); e.ID != uint32(i%size) || e.Len != uint32(n+len(f)) {
					t.Fatalf("used entry %d: %+v", i, e)
				}
			}
		})
	}
}
