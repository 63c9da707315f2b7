package virtq_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"weft/vhostuser/vhosttest"
	"weft/vhostuser/virtq"
)

// TestAPackedRingGoesOnWhereTheLastDeviceStopped has devices vanish without a word at every distance from the ring's start,
// and others go on with the base of the first.
func TestAPackedRingGoesOnWhereTheLastDeviceStopped(t *testing.T) {
	for _, size := range []int{1, 2, 7, 16} {
		t.Run(fmt.Sprint("ring of ", size), func(t *testing.T) {
			r := newRig(t, vhosttest.Config{
				Packed: true, RingSize: size, Indirect: true, Verify: true,
				TxLayout: vhosttest.Layout{DataPieces: 3, Indirect: true},
			})
			rng := rand.New(rand.NewPCG(1, uint64(size)))
			for lap := range 6 * size {
				n := 1 + rng.IntN(size)
				frames := make([][]byte, n)
				for i := range frames {
					frames[i] = randomFrame(rng, 60, 1000)
					if err := r.guest.Send(0, frames[i]); err != nil {
						t.Fatalf("restart %d: %v", lap, err)
					}
				}
				if got := r.poll(func([]byte) {}); got != n {
					t.Fatalf("restart %d: %d frames arrived, want %d", lap, got, n)
				}
				r.transmit(frames, rng)
				for range frames {
					if _, err := r.guest.Receive(0, 0); err != nil {
						t.Fatalf("restart %d: %v", lap, err)
					}
				}
				if _, err := r.guest.Tx(0).Reap(); err != nil {
					t.Fatal(err)
				}
				for i, q := range []*vhosttest.Queue{r.guest.Tx(0), r.guest.Rx(0)} {
					cfg := r.ringConfig(q) // with the base at which all began
					cfg.OldBase = true
					next, err := virtq.NewRing(cfg)
					if err != nil {
						t.Fatalf("restart %d: %v", lap, err)
					}
					if want := []*virtq.Ring{r.rxRing, r.txRing}[i].Base(); next.Base() != want {
						t.Fatalf("restart %d: queue %d goes on at %#x, want %#x", lap, q.Index(), next.Base(), want)
					}
					if i == 0 {
						r.rxRing = next
						r.rx.Attach(next)
					} else {
						r.txRing = next
						r.tx.Attach(next)
					}
				}
			}
			r.healthy()
		})
	}
}

// TestABaseThatChainsHideIsBelievedUnlessItIsWrong: where chains have several descriptors, the descriptors do not tell.
func TestABaseThatChainsHideIsBelievedUnlessItIsWrong(t *testing.T) {
	r := newRig(t, vhosttest.Config{
		Packed: true, RingSize: 16, Verify: true, TxLayout: vhosttest.Layout{HeaderPieces: 1, DataPieces: 1},
	})
	for range 5 { // the third lap begins
		for range 7 {
			if err := r.guest.Send(0, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
		if got := r.poll(func([]byte) {}); got != 7 {
			t.Fatalf("%d frames arrived", got)
		}
		if _, err := r.guest.Tx(0).Reap(); err != nil {
			t.Fatal(err)
		}
	}
	cfg := r.ringConfig(r.guest.Tx(0))
	cfg.OldBase = true
	at := r.rxRing.Base() & 0xffff
	for _, c := range []struct {
		base uint32
		ok   bool
	}{{at, true}, {at ^ 0x8000, false}, {cfg.Base, false}, {at + 3, false}, {at - 3, false}} {
		cfg.Base = c.base
		next, err := virtq.NewRing(cfg)
		switch {
		case c.ok && err != nil:
			t.Errorf("base %#x: %v", c.base, err)
		case c.ok && next.Base()&0xffff != c.base:
			t.Errorf("base %#x: goes on at %#x", c.base, next.Base())
		case !c.ok && (err == nil || !strings.Contains(err.Error(), "reset")):
			t.Errorf("base %#x, where %#x is right: %v", c.base, at, err)
		}
	}
}
