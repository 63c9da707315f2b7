package virtq_test

import (
	"errors"
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

// TestChainsNeverMislead has drivers with chains at every distance from the ring's start, with and without chains that no
// device has taken yet. The right base is believed, and that of the first start leads to the right place or to an error.
func TestChainsNeverMislead(t *testing.T) {
	for _, c := range []struct{ size, pieces int }{{16, 2}, {15, 2}, {16, 3}, {13, 4}} {
		for _, waiting := range []int{0, 1, 2, 8} {
			t.Run(fmt.Sprintf("ring of %d, chains of %d, %d wait", c.size, c.pieces, waiting), func(t *testing.T) {
				r := newRig(t, vhosttest.Config{
					Packed: true, RingSize: c.size, Verify: true, Slots: 64,
					TxLayout: vhosttest.Layout{HeaderPieces: 1, DataPieces: c.pieces - 1},
				})
				tx := r.guest.Tx(0)
				send := func(n int) {
					for range n {
						if err := r.guest.Send(0, make([]byte, 100)); err != nil {
							return // the ring is full
						}
					}
				}
				for n := range 5 * c.size {
					send(1)
					if r.poll(func([]byte) {}) == 0 {
						t.Fatal("no frame")
					}
					if _, err := tx.Reap(); err != nil {
						t.Fatal(err)
					}
					send(waiting)
					if n == 0 && waiting == 0 && c.pieces == 2 {
						continue // the rest of a chain looks like a buffer of its own: nothing else is in the ring
					}
					at := r.rxRing.Base() & 0xffff
					for _, base := range []uint32{at, vhosttest.WrapBit} {
						if base != at && at&^vhosttest.WrapBit < uint32(c.pieces) {
							continue // the rest of a chain over the ring's end looks like one that begins there
						}
						cfg := r.ringConfig(tx)
						cfg.Base, cfg.OldBase = base, true
						next, err := virtq.NewRing(cfg)
						if err != nil && base == at || err == nil && next.Base()&0xffff != at {
							t.Fatalf("round %d, at %#x: base %#x leads to %#x, %v", n, at, base, next.Base(), err)
						}
					}
				}
				r.healthy()
			})
		}
	}
}

// TestARingIsResumedWhileItsDriverRuns fills a ring while devices look where to go on, in the midst of a lap and with chains
// whose descriptors become visible before their first does.
func TestARingIsResumedWhileItsDriverRuns(t *testing.T) {
	for _, pieces := range []int{1, 3} {
		r := newRig(t, vhosttest.Config{
			Packed: true, RingSize: 1000, TxLayout: vhosttest.Layout{DataPieces: pieces},
		})
		for range 650 {
			if err := r.guest.Send(0, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			if r.poll(func([]byte) {}) != 1 {
				t.Fatal("the frame did not come")
			}
		}
		looks := 0
		for range 10 {
			looks += lookWhileFilling(t, r)
			for r.poll(func([]byte) {}) > 0 {
			}
			if _, err := r.guest.Tx(0).Reap(); err != nil {
				t.Fatal(err)
			}
		}
		if looks < 10 {
			t.Errorf("devices looked only %d times while the driver ran", looks)
		}
	}
}

// lookWhileFilling has the driver fill its transmitq, and returns how many devices looked where to go on meanwhile.
func lookWhileFilling(t *testing.T, r *rig) (looks int) {
	t.Helper()
	full := make(chan error)
	go func() {
		var err error
		for err == nil {
			err = r.guest.Send(0, make([]byte, 100))
		}
		full <- err
	}()
	cfg := r.ringConfig(r.guest.Tx(0))
	cfg.Base, cfg.OldBase = r.rxRing.Base()&0xffff, true
	for {
		next, err := virtq.NewRing(cfg)
		if err != nil || next.Base() != r.rxRing.Base() {
			t.Errorf("%v, where base %#x is right", err, r.rxRing.Base())
		}
		looks++
		select {
		case err := <-full:
			if !errors.Is(err, vhosttest.ErrFull) {
				t.Fatalf("the driver stopped: %v", err)
			}
			return looks
		default:
		}
	}
}
