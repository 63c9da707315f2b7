package classifier

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"weft/flowtable/flow"
)

// prober is a reader on its way to an entry, one place at a time.
type prober struct {
	seg  *segment
	i    uint32
	hash uint32
	ref  uint32
}

// step looks at one place. It fails when the place is free, behind which nobody looks.
func (p *prober) step(t *testing.T) (found bool) {
	t.Helper()
	at := p.seg.places[p.i]
	if at == 0 {
		t.Fatalf("entry %d of hash %#x is not found: a free place is before it", p.ref, p.hash)
	}
	p.i = (p.i + 1) & uint32(len(p.seg.places)-1)
	return at == uint64(p.hash)<<32|uint64(p.ref)
}

// TestEntriesAreFoundWhileOthersComeAndGo has readers take a step between any two changes of a tuple, whose entries have
// few hashes or many, and checks what is counted.
func TestEntriesAreFoundWhileOthersComeAndGo(t *testing.T) {
	for _, c := range []struct{ most, hashes int }{{6, 3}, {100, 40}, {1500, 1500}, {9000, 1 << 20}} {
		t.Run(fmt.Sprintf("entries=%d", c.most), func(t *testing.T) {
			r := rand.New(rand.NewPCG(rand.Uint64(), uint64(c.most)))
			tuple := newTuple(newShape(new(flow.Key)))
			hashes := make([]uint32, c.hashes)
			for i := range hashes {
				hashes[i] = r.Uint32()
			}
			type entry struct{ hash, ref uint32 }
			var entries []entry
			var probers []prober
			next := uint32(0)
			for step := range 20 * c.most {
				if full := step / (2 * c.most) % 2; len(entries) == 0 || len(entries) < c.most && r.IntN(3) > full {
					next++
					e := entry{hashes[r.IntN(len(hashes))], next}
					tuple.insert(e.hash, e.ref)
					entries = append(entries, e)
				} else {
					i := r.IntN(len(entries))
					e := entries[i]
					entries[i] = entries[len(entries)-1]
					entries = entries[:len(entries)-1]
					probers = without(probers, e.ref)
					bury(t, tuple, e.hash, e.ref)
				}
				if len(entries) > 0 && len(probers) < 50 {
					e := entries[r.IntN(len(entries))]
					seg := tuple.segment(e.hash)
					probers = append(probers, prober{seg, e.hash & uint32(len(seg.places)-1), e.hash, e.ref})
				}
				for i := len(probers) - 1; i >= 0; i-- {
					if r.IntN(2) == 0 && probers[i].step(t) {
						probers = append(probers[:i], probers[i+1:]...)
					}
				}
				if step%(1+c.most/10) == 0 {
					checkCounts(t, tuple, len(entries))
				}
			}
			for _, e := range entries {
				bury(t, tuple, e.hash, e.ref)
			}
			checkCounts(t, tuple, 0)
		})
	}
}

func bury(t *testing.T, tuple *Tuple, hash, ref uint32) {
	t.Helper()
	place := tuple.place(hash, func(r uint32) bool { return r == ref })
	if place == nil {
		t.Fatalf("entry %d of hash %#x is lost", ref, hash)
	}
	tuple.bury(hash, place)
}

// without is probers without those that look for what goes.
func without(probers []prober, ref uint32) []prober {
	kept := probers[:0]
	for _, p := range probers {
		if p.ref != ref {
			kept = append(kept, p)
		}
	}
	return kept
}

// checkCounts checks what segments know of their places, and that no grave has a free place behind it.
func checkCounts(t *testing.T, tuple *Tuple, entries int) {
	t.Helper()
	d := tuple.dir.Load()
	var last *segment
	total := 0
	for i := range d.segs {
		seg := d.segs[i].Load()
		if seg == last {
			continue
		}
		last = seg
		used, graves := 0, 0
		for j, p := range seg.places {
			switch {
			case p == 0:
				continue
			case uint32(p) == grave:
				graves++
				if seg.places[(j+1)%len(seg.places)] == 0 {
					t.Fatalf("place %d is a grave before a free place", j)
				}
			}
			used++
		}
		if used != seg.used || graves != seg.graves || used == len(seg.places) {
			t.Fatalf("%d of %d places used, of them %d graves; it says %d and %d", used, len(seg.places), graves, seg.used, seg.graves)
		}
		total += used - graves
	}
	if total != entries {
		t.Fatalf("%d entries, want %d", total, entries)
	}
}

// routes are n matches on an address each.
func routes(n int) []flow.Match {
	list := make([]flow.Match, n)
	for i := range list {
		list[i].Mask[flow.WordIPv4] = 0xffffffff
		list[i].Key[flow.WordIPv4] = uint64(198<<24 | 18<<16 | i)
	}
	return list
}

// TestRulesThatComeAndGoFindTheirPlacesAgain: what they were in is kept, up to a bound, for the table whose it was.
func TestRulesThatComeAndGoFindTheirPlacesAgain(t *testing.T) {
	s := NewStore(1)
	table, other := s.NewTable(), s.NewTable()
	gen := uint64(1)
	comeAndGo := func(table *Table, list []flow.Match) *Tuple {
		t.Helper()
		s.Epoch(gen + 1)
		for i := range list {
			table.Insert(uint32(1+i), &list[i], 7, 0, gen+1)
		}
		used := table.tuples[0]
		for i := range list {
			table.Remove(uint32(1+i), gen+2)
		}
		if table.View(); len(table.tuples) != 1 {
			t.Fatalf("%d tuples for one mask", len(table.tuples))
		}
		for i := range list {
			table.Unlink(uint32(1 + i))
		}
		gen += 2
		s.Reclaim(forever)
		if len(table.tuples) != 0 || used.live != 0 || used.entries != 0 || len(used.priorities) != 0 {
			t.Fatalf("%d tuples are left; the tuple has %d live, %d entries", len(table.tuples), used.live, used.entries)
		}
		checkCounts(t, used, 0)
		return used
	}
	first := comeAndGo(table, routes(1000))
	seg := first.only.Load()
	if n := s.Bytes(); n < uint64(len(seg.places)*8) {
		t.Errorf("%d bytes with a tuple that is kept", n)
	}
	if p := comeAndGo(other, routes(1000)); p == first {
		t.Error("another table got the tuple")
	}
	if p := comeAndGo(table, routes(900)); p != first || p.only.Load() != seg {
		t.Error("the rules came back to another tuple or segment")
	}
	for i := range 2 * keptTuples { // others come and go meanwhile
		list := routes(1)
		list[0].Mask[flow.WordL4] = 1 << i
		comeAndGo(table, list)
	}
	if len(s.asleep) != keptTuples {
		t.Errorf("%d tuples are kept, want %d", len(s.asleep), keptTuples)
	}
	large := comeAndGo(table, routes(2*maxSegment))
	for _, a := range s.asleep {
		if a.tuple == large || a.tuple == first {
			t.Error("a large tuple is kept, or one for longer than it should be")
		}
	}
}

// TestReadersFindRulesBesideOthersThatComeAndGo: in one tuple, and in one that comes back.
func TestReadersFindRulesBesideOthersThatComeAndGo(t *testing.T) {
	type state struct {
		view  View
		gen   uint64
		other bool // whether the rules of the second mask are seen
	}
	s := NewStore(rand.Uint64())
	table := s.NewTable()
	list := routes(700)
	const stay = 200
	others := routes(50)
	for i := range others {
		others[i].Mask[flow.WordL4] = 0xffff
	}
	for i := range list {
		table.Insert(uint32(1+i), &list[i], 7, 3, 2)
	}
	gen := uint64(2)
	var now atomic.Pointer[state]
	now.Store(&state{table.View(), gen, false})
	var active [2]atomic.Uint64
	var stop atomic.Bool
	var missed atomic.Uint64
	var wg sync.WaitGroup
	for i := range active {
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				active[i].Store(now.Load().gen)
				st := now.Load()
				slot, _ := st.view.Lookup(st.gen, &list[n%stay].Key)
				if got := int(slot); st.other && n%stay < len(others) && got != 1001+n%stay || got == 0 {
					missed.Add(1)
				}
				active[i].Store(0)
			}
		})
	}
	publish := func(other bool) {
		gen++
		now.Store(&state{table.View(), gen, other})
		for i := range active { // until nobody sees what was before
			for e := active[i].Load(); e != 0 && e < gen; e = active[i].Load() {
				continue
			}
		}
	}
	for range 60 {
		s.Epoch(gen + 1)
		for i := stay; i < len(list); i++ {
			table.Remove(uint32(1+i), gen+1)
		}
		for i := range others {
			table.Insert(uint32(1001+i), &others[i], 9, 3, gen+1)
		}
		publish(true)
		s.Epoch(gen + 1)
		for _, i := range rand.Perm(len(list) - stay) {
			table.Unlink(uint32(1 + stay + i))
		}
		for i := range others {
			table.Remove(uint32(1001+i), gen+1)
		}
		publish(false)
		s.Epoch(gen + 1)
		s.Reclaim(gen)
		for i := range others {
			table.Unlink(uint32(1001 + i))
		}
		for i := stay; i < len(list); i++ {
			table.Insert(uint32(1+i), &list[i], 7, 3, gen+1)
		}
		publish(false)
		s.Reclaim(gen)
	}
	stop.Store(true)
	wg.Wait()
	if n := missed.Load(); n > 0 {
		t.Errorf("%d lookups missed a rule that is there", n)
	}
}
