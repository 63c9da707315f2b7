package virtq_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"weft/vhostuser/vhosttest"
	"weft/vhostuser/virtq"
)

// TestOneDescriptorTellsOfABurst: the driver learns of a burst from the used descriptor where the burst began, and of those
// behind it the device wrote the last alone.
func TestOneDescriptorTellsOfABurst(t *testing.T) {
	const size, sent = 64, 20
	r := newRig(t, vhosttest.Config{Packed: true, InOrder: true, RingSize: size, Verify: true})
	ring := r.guest.Tx(0).PackedRing()
	for range sent {
		if err := r.guest.Tx(0).Enqueue(make([]byte, 60)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.guest.Tx(0).Publish(); err != nil {
		t.Fatal(err)
	}
	before := make([]vhosttest.PackedDesc, size)
	for i := range before {
		before[i] = ring.Desc(uint32(i))
	}
	if got := r.poll(func([]byte) {}); got != sent {
		t.Fatalf("%d frames arrived", got)
	}
	for i, want := range before {
		if i == 0 || i == sent-1 {
			want.ID, want.Len, want.Flags = before[sent-1].ID, 0, vhosttest.UsedFlags(vhosttest.WrapBit)
		}
		if i == sent-1 {
			want.Len = ofBatch(sent)
		}
		if got := ring.Desc(uint32(i)); got != want {
			t.Errorf("descriptor %d is %+v, want %+v", i, got, want)
		}
	}
	if n, err := r.guest.Tx(0).Reap(); n != sent || err != nil {
		t.Errorf("the driver took %d buffers back: %v", n, err)
	}
}

// ofBatch is the length at the end of a batch of n descriptors.
func ofBatch(n int) uint32 { return 0x5765<<16 | uint32(n) }

// batchLayouts are those of frames in transmitqs whose positions a new device must find.
var batchLayouts = map[string]vhosttest.Layout{
	"one descriptor": {},
	"indirect":       {DataPieces: 3, Indirect: true},
	"chains of two":  {HeaderPieces: 1, DataPieces: 1},
	"random chains":  {DataPieces: 5, Random: true},
}

// TestARingOfBatchesGoesOnWhereTheLastDeviceStopped has devices vanish without a word at every distance from the ring's start,
// with frames that none has taken yet, up to a full ring, and others go on with the base of the first.
func TestARingOfBatchesGoesOnWhereTheLastDeviceStopped(t *testing.T) {
	for name, l := range batchLayouts {
		for _, size := range []int{1, 2, 7, 16, 100} {
			t.Run(fmt.Sprintf("%s, ring of %d", name, size), func(t *testing.T) {
				r := newRig(t, vhosttest.Config{
					Packed: true, InOrder: true, RingSize: size, Indirect: true, Verify: true, TxLayout: l, Slots: 8 * size,
				})
				rng := rand.New(rand.NewPCG(1, uint64(size)))
				var sent [][]byte
				for range 8 * size {
					sent = r.sendSome(rng, sent, 1+rng.IntN(size))
					for range rng.IntN(3) { // one burst, two, or none
						r.poll(func(f []byte) {
							if !bytes.Equal(f, sent[0]) {
								t.Fatal("another frame came than was next")
							}
							sent = sent[1:]
						})
						sent = r.sendSome(rng, sent, rng.IntN(3))
					}
					if rng.IntN(2) == 0 {
						if _, err := r.guest.Tx(0).Reap(); err != nil {
							t.Fatal(err)
						}
						sent = r.sendSome(rng, sent, rng.IntN(size+1))
					}
					r.restart()
				}
				r.healthy()
			})
		}
	}
}

// TestANewRingOfBatchesBeginsAtItsBeginning: no descriptor was used yet. DPDK's driver numbers those that it has not made
// available; else they are zero.
func TestANewRingOfBatchesBeginsAtItsBeginning(t *testing.T) {
	for _, numbered := range []bool{false, true} {
		for waiting := range 16 {
			r := newRig(t, vhosttest.Config{Packed: true, InOrder: true, RingSize: 16})
			ring := r.guest.Tx(0).PackedRing()
			for i := range ring.Size() {
				if numbered {
					ring.SetDesc(i, vhosttest.PackedDesc{ID: uint16(i)})
				}
			}
			r.sendSome(rand.New(rand.NewPCG(5, 5)), nil, waiting)
			r.restart()
		}
	}
}

// sendSome sends up to n frames, as many as there is room for, and returns those that were sent before and these.
func (r *rig) sendSome(rng *rand.Rand, sent [][]byte, n int) [][]byte {
	r.t.Helper()
	for range n {
		f := randomFrame(rng, 60, 1000)
		err := r.guest.Send(0, f)
		if errors.Is(err, vhosttest.ErrFull) {
			break
		}
		if err != nil {
			r.t.Fatal(err)
		}
		sent = append(sent, f)
	}
	return sent
}

// restart has another device go on with the guest's transmitq, with the base at which all began.
func (r *rig) restart() {
	r.t.Helper()
	cfg := r.ringConfig(r.guest.Tx(0))
	cfg.OldBase = true
	next, err := virtq.NewRing(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	if got, want := next.Base(), r.rxRing.Base(); got != want {
		r.t.Fatalf("the ring goes on at %#x, want %#x", got, want)
	}
	r.rxRing = next
	r.rx.Attach(next)
}

// TestABatchThatWasHalfTold: a device that was killed between its two stores for a batch had sent the frames, so the next one
// tells the driver.
func TestABatchThatWasHalfTold(t *testing.T) {
	for name, l := range batchLayouts {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, vhosttest.Config{
				Packed: true, InOrder: true, RingSize: 23, Indirect: true, Verify: true, TxLayout: l, Slots: 200,
			})
			rng := rand.New(rand.NewPCG(2, 2))
			tx, ring := r.guest.Tx(0), r.guest.Tx(0).PackedRing()
			halves := 0
			for range 200 {
				sent := r.sendSome(rng, nil, 1+rng.IntN(4))
				first := uint32(r.rxRing.Base() & 0x7fff)
				before := ring.Desc(first)
				if got := r.poll(func([]byte) {}); got != len(sent) {
					t.Fatalf("%d of %d frames came", got, len(sent))
				}
				if used := ring.Desc(first); used.Len == 0 { // not the batch's end as well
					ring.SetDesc(first, before)
					halves++
				}
				r.restart()
				if n, err := tx.Reap(); n != len(sent) || err != nil {
					t.Fatalf("the driver took %d of %d buffers back: %v", n, len(sent), err)
				}
			}
			if r.healthy(); halves < 100 {
				t.Errorf("only %d batches were told by halves", halves)
			}
		})
	}
}

// TestBatchesOfOthersAreNotGuessed: devices that tell of batches mark the first descriptor alone, and leave its length as it was,
// so where the last batch ends is open. A base that may be right is believed, as after a migration.
func TestBatchesOfOthersAreNotGuessed(t *testing.T) {
	const size = 16
	r := newRig(t, vhosttest.Config{Packed: true, InOrder: true, RingSize: size, FirstIndex: 5, Verify: true})
	rng := rand.New(rand.NewPCG(3, 3))
	tx, ring := r.guest.Tx(0), r.guest.Tx(0).PackedRing()
	for round := range 3 * size {
		sent := r.sendSome(rng, nil, 1+rng.IntN(5))
		var before [size]vhosttest.PackedDesc
		for i := range before {
			before[i] = ring.Desc(uint32(i))
		}
		first := uint16(r.rxRing.Base())
		if got := r.poll(func([]byte) {}); got != len(sent) {
			t.Fatalf("%d of %d frames came", got, len(sent))
		}
		pos := uint32(first &^ vhosttest.WrapBit)
		if len(sent) > 1 {
			last := (pos + uint32(len(sent)) - 1) % size
			ring.SetDesc(last, before[last])
		}
		used := ring.Desc(pos)
		used.Len = before[pos].Len
		ring.SetDesc(pos, used)
		if _, err := tx.Reap(); err != nil {
			t.Fatal(err)
		}
		right := uint16(r.rxRing.Base())
		for range 2 {
			wrong := []uint16{first, right ^ vhosttest.WrapBit}
			if tx.Outstanding() < size {
				wrong = append(wrong, ring.Advance(tx.AvailIndex(), 1))
			}
			if ring.Advance(first, 1) != vhosttest.WrapBit && right != vhosttest.WrapBit {
				wrong = append(wrong, vhosttest.WrapBit) // the first start's
			}
			r.expectBases(right, wrong...)
			r.sendSome(rng, nil, size-len(sent)) // all but the last batch's place
		}
		for r.poll(func([]byte) {}) > 0 {
		}
		if _, err := tx.Reap(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	r.healthy()
}

// expectBases fails unless the right base for the guest's transmitq is believed, and wrong ones lead there or to an error. The
// first start's base, which is repeated most often, need not be believed.
func (r *rig) expectBases(right uint16, wrong ...uint16) {
	r.t.Helper()
	for i, base := range append(wrong, right) {
		cfg := r.ringConfig(r.guest.Tx(0))
		cfg.OldBase, cfg.Base = true, uint32(base)
		switch next, err := virtq.NewRing(cfg); {
		case err == nil && uint16(next.Base()) != right:
			r.t.Fatalf("base %#x, where %#x is right: goes on at %#x", base, right, next.Base())
		case err != nil && (i == len(wrong) && right != vhosttest.WrapBit || !strings.Contains(err.Error(), "reset")):
			r.t.Fatalf("base %#x, where %#x is right: %v", base, right, err)
		}
	}
}

// TestADriverInTheMidstOfAChain has written all of it but the first descriptor's flags, over the last batch's end, and its CPU
// is taken away. No device goes on anywhere before it is done.
func TestADriverInTheMidstOfAChain(t *testing.T) {
	const size, pieces = 6, 3
	for _, bursts := range [][]int{{2}, {1, 1}} {
		r := newRig(t, vhosttest.Config{
			Packed: true, InOrder: true, RingSize: size, TxLayout: vhosttest.Layout{DataPieces: pieces},
		})
		rng := rand.New(rand.NewPCG(6, 6))
		for _, n := range bursts {
			r.sendSome(rng, nil, n)
			r.poll(func([]byte) {})
		}
		ring := r.guest.Tx(0).PackedRing()
		first := ring.Desc(pieces)
		if _, err := r.guest.Tx(0).Reap(); err != nil {
			t.Fatal(err)
		}
		r.sendSome(rng, nil, 2) // the second lap, and the ring is full
		whole := ring.Desc(pieces)
		ring.SetDesc(pieces, first)
		for _, base := range []uint16{0, vhosttest.WrapBit, pieces, pieces | vhosttest.WrapBit} {
			cfg := r.ringConfig(r.guest.Tx(0))
			cfg.OldBase, cfg.Base = true, uint32(base)
			if next, err := virtq.NewRing(cfg); err == nil {
				t.Errorf("bursts of %v, base %#x: a device goes on at %#x", bursts, base, next.Base())
			}
		}
		ring.SetDesc(pieces, whole)
		r.restart()
	}
}

// TestARingOfBatchesIsResumedWhileItsDriverRuns until its ring is full.
func TestARingOfBatchesIsResumedWhileItsDriverRuns(t *testing.T) {
	for _, pieces := range []int{1, 3} {
		r := newRig(t, vhosttest.Config{
			Packed: true, InOrder: true, RingSize: 999, TxLayout: vhosttest.Layout{DataPieces: pieces},
		})
		looks := 0
		for range 10 {
			looks += lookWhileFilling(t, r)
			for r.poll(func([]byte) {}) > 0 {
			}
		}
		if looks < 10 {
			t.Errorf("devices looked only %d times while the driver ran", looks)
		}
	}
}

// TestASpoiledRingOfBatchesHarmsNobody: whatever stands in a ring, a device that looks where to go on stays inside it.
func TestASpoiledRingOfBatchesHarmsNobody(t *testing.T) {
	const size = 16
	r := newRig(t, vhosttest.Config{Packed: true, InOrder: true, RingSize: size})
	rng := rand.New(rand.NewPCG(4, 4))
	ring := r.guest.Tx(0).PackedRing()
	for range 300 {
		for i := range uint32(size) {
			d := vhosttest.PackedDesc{Addr: rng.Uint64(), Len: rng.Uint32N(3 * size), ID: uint16(rng.Uint32())}
			d.Flags = uint16(rng.Uint32())
			if rng.IntN(4) == 0 {
				d.Len = rng.Uint32()
			}
			ring.SetDesc(i, d)
		}
		before := image(r.guest)
		cfg := r.ringConfig(r.guest.Tx(0))
		cfg.OldBase = true
		next, err := virtq.NewRing(cfg)
		if err == nil && next.Base()&0x7fff >= size {
			t.Fatalf("the ring goes on at %#x", next.Base())
		}
		unchanged(t, r.guest, before, ring.DescPlace(), ring.DevicePlace())
	}
}
