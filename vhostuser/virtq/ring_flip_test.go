package virtq_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/vhostuser/vhosttest"
)

// TestValuesThatChangeBetweenTwoReads flips one field between a good and a bad value as fast as a CPU can. A device
// that checks one reading and uses another leaves guest memory, where it faults, or hands out a segment outside.
func TestValuesThatChangeBetweenTwoReads(t *testing.T) {
	type desc = vhosttest.Desc
	const edge = endGPA - 2000
	for name, c := range map[string]struct{ good, bad desc }{
		"length":    {desc{Addr: edge, Len: 2000}, desc{Addr: edge, Len: 9000}},
		"address":   {desc{Addr: edge, Len: 2000}, desc{Addr: edge + 1900, Len: 2000}},
		"flags":     {desc{Addr: edge, Len: 2000}, desc{Addr: edge, Len: 2000, Flags: indirect}},
		"direction": {desc{Addr: edge, Len: 2000}, desc{Addr: edge, Len: 2000, Flags: vhosttest.DescWrite}},
		"next": {
			desc{Addr: edge, Len: 2000, Flags: next, Next: 1},
			desc{Addr: edge, Len: 2000, Flags: next, Next: 0x7fff},
		},
		"end of a chain": {desc{Addr: edge, Len: 2000, Next: 1}, desc{Addr: edge, Len: 2000, Flags: next, Next: 1}},
	} {
		for _, inTable := range []bool{false, true} {
			for _, rx := range []bool{false, true} {
				where := map[bool]string{false: "in the ring", true: "in a table"}[inTable]
				side := map[bool]string{false: "transmitq", true: "receiveq"}[rx]
				name := name + " " + where + " of the " + side
				t.Run(name, func(t *testing.T) { flip(t, newVictim(t, attack{}, false, rx), c.good, c.bad, inTable) })
				t.Run(name+", packed", func(t *testing.T) { flip(t, newVictim(t, attack{}, true, rx), c.good, c.bad, inTable) })
			}
		}
	}
}

func flip(t *testing.T, v *victim, good, bad vhosttest.Desc, inTable bool) {
	good.Flags ^= v.w
	bad.Flags ^= v.w
	prepare := v.flipSplit
	if v.packed != nil {
		prepare = v.flipPacked
	}
	set, offer := prepare(good, inTable)
	var stop atomic.Bool
	var flipper sync.WaitGroup
	flipper.Go(func() {
		for !stop.Load() {
			for range 64 {
				set(bad)
				set(good)
			}
		}
	})
	defer flipper.Wait()
	defer stop.Store(true)
	r, rx := v.r, v.w != 0
	rng := rand.New(rand.NewPCG(1, 1))
	frame := make([]byte, 1800)
	well, broken := 0, 0
	for deadline := time.Now().Add(60 * time.Millisecond); time.Now().Before(deadline); {
		offer()
		ring := r.rxRing
		if rx {
			ring = r.txRing
			r.transmit([][]byte{frame, frame, frame, frame, frame, frame, frame, frame}, rng)
		} else if n := r.rx.Receive(r.batch); n > 0 {
			r.segmentsInside(n)
			r.rx.Release(r.batch)
		}
		if ring.Err() == nil {
			well++
			continue
		}
		broken++
		if v.ring != nil {
			_, used := v.ring.UsedHead()
			v.ring.SetAvailHead(0, used)
		}
		r.attach()
	}
	t.Logf("%d rounds went well, %d broke the ring", well, broken)
}

// flipSplit returns what writes a descriptor that is offered eight times by offer, in the ring or at the head of a table.
func (v *victim) flipSplit(good vhosttest.Desc, inTable bool) (set func(vhosttest.Desc), offer func()) {
	set = func(d vhosttest.Desc) { v.ring.SetDesc(0, d) }
	v.desc(1, good.Addr, 500, 0, 0)
	if inTable {
		set = func(d vhosttest.Desc) { v.write(d) }
		v.write(good, vhosttest.Desc{Addr: good.Addr, Len: 500, Flags: v.w})
		v.ring.SetDesc(0, vhosttest.Desc{Addr: v.tab.GPA, Len: 32, Flags: indirect})
	}
	return set, func() { v.ring.Offer(0, 0, 0, 0, 0, 0, 0, 0) }
}

// flipPacked is the same for a packed ring, where a descriptor is only read while its flags make it available: set makes
// one after the other so all the time, lap after lap, whatever the device does with them meanwhile.
func (v *victim) flipPacked(good vhosttest.Desc, inTable bool) (set func(vhosttest.Desc), offer func()) {
	head := vhosttest.PackedDesc{Addr: v.tab.GPA, Len: 32, Flags: indirect}
	if inTable {
		v.write(good, vhosttest.Desc{Addr: good.Addr, Len: 500, Flags: v.w})
	}
	id, at := uint16(0), uint16(0)
	set = func(d vhosttest.Desc) {
		id++
		if inTable {
			v.write(d)
		} else {
			head = vhosttest.PackedDesc{Addr: d.Addr, Len: d.Len, Flags: d.Flags}
		}
		d2 := head
		d2.ID = id
		v.packed.Offer(at, d2)
		if id%2 == 0 { // after good and bad
			at = v.packed.Advance(at, 1)
		}
	}
	return set, func() {}
}
