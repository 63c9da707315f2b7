package classifier

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"weft/flowtable/flow"
)

// The model is a list of versions of rules, searched from end to end.

type version struct {
	slot           uint32
	match          flow.Match
	priority       uint16
	added, removed uint64
}

// world is a table under test beside the model.
type world struct {
	t        testing.TB
	r        *rand.Rand
	s        *Store
	table    *Table
	versions []*version // live or not, linked
	free     []uint32
	waiting  map[uint64][]uint32 // slots unlinked in an epoch
	gen      uint64              // published
	epoch    uint64
	next     uint32
	masks    []flow.Key
	keep     map[*version]bool // that do not go
}

func newWorld(t testing.TB, r *rand.Rand, masks int) *world {
	w := &world{t: t, r: r, s: NewStore(r.Uint64()), gen: 1, epoch: 1, next: 1, waiting: map[uint64][]uint32{}}
	w.table = w.s.NewTable()
	w.s.Epoch(2)
	for range masks {
		w.masks = append(w.masks, someMask(r))
	}
	return w
}

// someMask is prefixes of addresses and ports and some other fields, with now and then a hole.
func someMask(r *rand.Rand) (m flow.Key) {
	cut := func(word, shift, width, step int) {
		n := r.IntN(width/step+1) * step
		m[word] |= (1<<width - 1) &^ (1<<(width-n) - 1) << shift
	}
	cut(flow.WordIPv4, 32, 32, 4)
	cut(flow.WordIPv4, 0, 32, 4)
	if r.IntN(2) == 0 {
		cut(flow.WordL4, 0, 16, 1)
	}
	if r.IntN(4) == 0 {
		cut(flow.WordL4, 16, 16, 2)
	}
	if r.IntN(2) == 0 {
		m[flow.WordL4] |= 0xff << 56
	}
	if r.IntN(8) == 0 {
		m[flow.WordReg+r.IntN(8)] |= r.Uint64()
	}
	if r.IntN(8) == 0 {
		m[flow.WordIPv6S], m[flow.WordIPv6S+1] = ^uint64(0), r.Uint64()
	}
	if r.IntN(16) == 0 {
		m[r.IntN(flow.KeyWords)] ^= 1 << r.IntN(64)
	}
	return m
}

// someKey draws from few values, so that rules meet keys and each other.
func (w *world) someKey() (k flow.Key) {
	for i := range k {
		k[i] = uint64(w.r.IntN(4)) * 0x4000_1000_1000_0401
	}
	k[flow.WordIPv4] = uint64(w.r.IntN(8))<<61 | uint64(w.r.IntN(8))<<29 | uint64(w.r.IntN(3))<<32 | uint64(w.r.IntN(3))
	k[flow.WordL4] = uint64(w.r.IntN(3))<<56 | uint64(1)<<w.r.IntN(16) | uint64(1)<<(16+w.r.IntN(16))
	return k
}

func (w *world) best(gen uint64, key *flow.Key) (priority int) {
	priority = -1
	for _, v := range w.versions {
		if v.added <= gen && gen < v.removed && int(v.priority) > priority && v.match.Matches(key) {
			priority = int(v.priority)
		}
	}
	return priority
}

// transaction makes some changes, publishes them or takes them back, and tidies up as if no reader were older than
// oldest.
func (w *world) transaction(changes int, oldest uint64) View {
	w.s.Epoch(w.epoch + 1)
	w.s.Reclaim(oldest)
	for epoch, slots := range w.waiting {
		if epoch <= oldest {
			w.free = append(w.free, slots...)
			delete(w.waiting, epoch)
		}
	}
	w.versions = slices.DeleteFunc(w.versions, func(v *version) bool {
		if v.removed > w.gen || oldest < w.epoch {
			return false
		}
		w.table.Unlink(v.slot)
		w.waiting[w.epoch+1] = append(w.waiting[w.epoch+1], v.slot)
		return true
	})
	w.table.Settle(min(oldest, w.epoch))
	var added, removed []*version
	for range changes {
		if n := len(w.versions); n > 0 && w.r.IntN(5) < 2 {
			if v := w.versions[w.r.IntN(n)]; v.removed == forever && !w.keep[v] {
				w.table.Remove(v.slot, w.gen+1)
				v.removed = w.gen + 1
				removed = append(removed, v)
			}
			continue
		}
		v := w.version()
		if w.table.Exact(&v.match, v.priority) == 0 {
			w.insert(v)
			added = append(added, v)
		}
	}
	switch w.r.IntN(4) {
	case 0:
		w.table.Move(w.r.IntN(50), w.gen)
	case 1:
		if !w.table.Moving() {
			p := w.table.Sample()
			for p.Next(10) {
				continue
			}
			w.table.Adopt(p.Plan())
		}
	case 2:
		w.table.Replan(w.gen)
	}
	if w.r.IntN(8) == 0 {
		w.abort(added, removed)
		return w.table.View()
	}
	w.gen++
	w.epoch++
	return w.table.View()
}

func (w *world) version() *version {
	v := &version{priority: uint16(w.r.IntN(200)), added: w.gen + 1, removed: forever}
	v.match.Mask = w.masks[w.r.IntN(len(w.masks))]
	key := w.someKey()
	for i, m := range v.match.Mask {
		v.match.Key[i] = key[i] & m
	}
	return v
}

func (w *world) insert(v *version) {
	if n := len(w.free); n > 0 {
		v.slot, w.free = w.free[n-1], w.free[:n-1]
	} else {
		v.slot = w.next
		w.next++
	}
	w.table.Insert(v.slot, &v.match, v.priority, v.slot+7, v.added)
	w.versions = append(w.versions, v)
}

func (w *world) abort(added, removed []*version) {
	for _, v := range added {
		w.table.Cancel(v.slot)
		v.removed = 0
	}
	for _, v := range removed {
		if v.added <= w.gen {
			w.table.Revive(v.slot)
			v.removed = forever
		}
	}
	// Where rules are may have changed.
	w.epoch++
}

// check compares lookups, and what the writer knows, with the model.
func (w *world) check(view View, gen uint64) {
	w.t.Helper()
	for range 50 {
		key := w.someKey()
		want := w.best(gen, &key)
		slot, data := view.Lookup(gen, &key)
		got := -1
		if slot != 0 {
			v := w.find(slot)
			if v == nil || !v.match.Matches(&key) || v.added > gen || v.removed <= gen || data != slot+7 {
				w.t.Fatalf("generation %d: slot %d, data %d, version %+v", gen, slot, data, v)
			}
			got = int(v.priority)
		}
		if got != want {
			w.t.Fatalf("generation %d, key %x: priority %d, want %d (%d tuples)", gen, key, got, want, len(view.tuples))
		}
		if s, _ := view.Explain(gen, &key); s != slot {
			w.t.Fatalf("Explain says slot %d, Lookup %d", s, slot)
		}
	}
}

func (w *world) find(slot uint32) *version {
	for _, v := range w.versions {
		if v.slot == slot {
			return v
		}
	}
	return nil
}

func (w *world) checkWriter() {
	w.t.Helper()
	live, masks := 0, map[flow.Key]bool{}
	var union flow.Key
	for _, v := range w.versions {
		if got := w.s.Match(v.slot); got != v.match {
			w.t.Fatalf("slot %d has match %+v, want %+v", v.slot, got, v.match)
		}
		if w.s.Live(v.slot) != (v.removed == forever) {
			w.t.Fatalf("slot %d is live: %v", v.slot, w.s.Live(v.slot))
		}
		if v.removed != forever {
			continue
		}
		live++
		masks[v.match.Mask] = true
		for i, m := range v.match.Mask {
			union[i] |= m
		}
		if got := w.table.Exact(&v.match, v.priority); got != v.slot {
			w.t.Fatalf("Exact finds slot %d, want %d", got, v.slot)
		}
	}
	if w.table.Rules() != live || w.table.Masks() != len(masks) || *w.table.Union() != union {
		w.t.Fatalf("%d rules, %d masks; want %d, %d", w.table.Rules(), w.table.Masks(), live, len(masks))
	}
	filter := w.version().match
	var got, want []uint32
	w.table.Select(&filter, func(slot uint32) { got = append(got, slot) })
	for _, v := range w.versions {
		if v.removed == forever && v.match.Within(&filter) {
			want = append(want, v.slot)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Fatalf("filter selects %v, want %v", got, want)
	}
	overlap, priority := map[uint32]bool{}, uint16(w.r.IntN(200))
	w.table.Overlapping(&filter, priority, func(slot uint32) bool { overlap[slot] = true; return true })
	for _, v := range w.versions {
		if want := v.removed == forever && v.priority == priority && v.match.Overlaps(&filter); want != overlap[v.slot] {
			w.t.Fatalf("slot %d overlaps: %v, want %v", v.slot, overlap[v.slot], want)
		}
	}
}

func TestTableDoesWhatTheModelDoes(t *testing.T) {
	for _, masks := range []int{1, 4, 12, 60, 400} {
		t.Run(fmt.Sprintf("masks=%d", masks), func(t *testing.T) {
			r := rand.New(rand.NewPCG(rand.Uint64(), uint64(masks)))
			w := newWorld(t, r, masks)
			type reader struct {
				view       View
				gen, epoch uint64
			}
			var readers []reader
			tuples := 0
			for range 60 {
				oldest := w.epoch
				for _, old := range readers {
					oldest = min(oldest, old.epoch)
				}
				if len(readers) == 0 && r.IntN(2) == 0 {
					oldest = forever
				}
				view := w.transaction(1+r.IntN(60), oldest)
				tuples = max(tuples, w.table.Tuples())
				w.check(view, w.gen)
				w.checkWriter()
				for _, old := range readers {
					w.check(old.view, old.gen)
				}
				if readers = append(readers, reader{view, w.gen, w.epoch}); r.IntN(3) == 0 || len(readers) > 4 {
					readers = readers[r.IntN(len(readers)+1):]
				}
			}
			for _, v := range w.versions {
				if v.removed == forever {
					w.table.Remove(v.slot, w.gen+1)
				}
			}
			w.gen++
			w.epoch++
			w.s.Epoch(w.epoch + 1)
			w.table.Settle(w.epoch)
			for _, v := range w.versions {
				w.table.Unlink(v.slot)
			}
			if n := len(w.table.masks) + len(w.table.byID) + len(w.table.doubly) + w.table.entries + w.table.Tuples(); n != 0 {
				t.Errorf("%d things are left of all that went", n)
			}
			for _, p := range w.table.tuples {
				if p.entries != 0 || p.live != 0 || len(p.priorities) != 0 {
					t.Errorf("a tuple has %d entries, %d live", p.entries, p.live)
				}
			}
			t.Logf("%d tuples at most", tuples)
		})
	}
}

// TestReadersSeeTheirGenerationWhileRulesComeGoAndMove has readers look for rules that are always there, in all the
// places in which they may be, beside others that come and go.
func TestReadersSeeTheirGenerationWhileRulesComeGoAndMove(t *testing.T) {
	r := rand.New(rand.NewPCG(1, rand.Uint64()))
	w := newWorld(t, r, 80)
	for range 20 {
		w.transaction(100, forever)
	}
	type state struct {
		view       View
		gen, epoch uint64
	}
	var now atomic.Pointer[state]
	// The keys, and what the rules that stay say about them at least.
	var keys []flow.Key
	var stay []*version
	for _, v := range w.versions {
		if v.removed == forever {
			stay = append(stay, v)
			keys = append(keys, v.match.Key)
		}
	}
	now.Store(&state{w.table.View(), w.gen, w.epoch})
	const threads = 3
	var active [threads]atomic.Uint64
	var stop atomic.Bool
	var wg sync.WaitGroup
	var failed atomic.Pointer[string]
	for i := range threads {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 2))
			for !stop.Load() {
				active[i].Store(now.Load().epoch)
				st := now.Load()
				for range 20 {
					n := r.IntN(len(keys))
					slot, data := st.view.Lookup(st.gen, &keys[n])
					if slot == 0 || data != slot+7 {
						s := fmt.Sprintf("generation %d: slot %d, data %d for a key whose rule stays", st.gen, slot, data)
						failed.Store(&s)
					}
				}
				active[i].Store(0)
			}
		})
	}
	kept := map[*version]bool{}
	for _, v := range stay {
		kept[v] = true
	}
	w.keep = kept
	for range 150 {
		oldest := uint64(forever)
		for i := range active {
			if e := active[i].Load(); e != 0 {
				oldest = min(oldest, e)
			}
		}
		view := w.transaction(1+r.IntN(20), oldest)
		now.Store(&state{view, w.gen, w.epoch})
		w.check(view, w.gen)
	}
	stop.Store(true)
	wg.Wait()
	if s := failed.Load(); s != nil {
		t.Fatal(*s)
	}
}
