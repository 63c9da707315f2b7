package classifier

import (
	"sync/atomic"

	"weft/flowtable/flow"
)

// View is what readers see of one table: its tuples by falling highest priority, as of one publication. The zero View
// has no rules. Copies are equal in all respects.
type View struct {
	store  *Store
	tuples []ranked
}

// ranked is a tuple and the highest priority in it.
type ranked struct {
	t   *Tuple
	top int
}

// Lookup returns the slot and the data of the rule of highest priority that key fulfils, among those that readers of
// generation gen see; 0 if there is none.
func (v *View) Lookup(gen uint64, key *flow.Key) (slot, data uint32) {
	if v.store == nil {
		return 0, 0
	}
	floor := -1
	seed := v.store.seed
	for i := range v.tuples {
		t := v.tuples[i].t
		if v.tuples[i].top <= floor {
			break
		}
		hash := t.shape.hash(key, seed)
		seg := t.segment(hash)
		mask := uint32(len(seg.places) - 1)
		for j := hash & mask; ; j = (j + 1) & mask {
			p := atomic.LoadUint64(&seg.places[j])
			if p == 0 {
				break
			}
			if uint32(p>>32) != hash || uint32(p) == grave {
				continue
			}
			if s, d, prio := v.store.scan(t, uint32(p), gen, key, floor); s != 0 {
				slot, data, floor = s, d, prio
				break
			}
		}
	}
	return slot, data
}

// scan returns the first entry of a chain that key fulfils and readers of gen see, if its priority is above floor.
func (s *Store) scan(t *Tuple, ref uint32, gen uint64, key *flow.Key, floor int) (slot, data uint32, priority int) {
	chunks := *s.arena.newest.Load() // has every block that can be reached now
	for ref != 0 {
		words := at(chunks, ref)
		head := atomic.LoadUint64(&words[0])
		if topOf(head) <= floor {
			break
		}
		f := formOf(head)
		heads := words[f.heads():][:f.n*entryHead]
		switch {
		case f.own:
			if !t.shape.matches(key, words[1:1+f.common]) {
				return 0, 0, floor
			}
			for i := 0; i < len(heads); i += entryHead {
				if h := heads[i:]; visible(h, gen) {
					return above(h, floor)
				}
			}
		case f.agrees(key, words):
			cells := words[f.cells():][:2*f.columns*f.n]
			for i := f.next(key, words, cells, 0); i < f.n; i = f.next(key, words, cells, i+1) {
				if h := heads[i*entryHead:]; visible(h, gen) {
					return above(h, floor)
				}
			}
		}
		if ref = nextOf(head); ref != 0 {
			chunks = *s.arena.newest.Load()
		}
	}
	return 0, 0, floor
}

func visible(head []uint64, gen uint64) bool {
	return atomic.LoadUint64(&head[entryAdded]) <= gen && atomic.LoadUint64(&head[entryRemoved]) > gen
}

// above is what scan returns for an entry.
func above(head []uint64, floor int) (slot, data uint32, priority int) {
	if priority = int(head[entryMeta] >> 16 & 0xffff); priority <= floor {
		return 0, 0, floor
	}
	return uint32(head[entryMeta] >> 32), uint32(head[entryMask]), priority
}

// agrees reports whether key has what all entries want.
func (f form) agrees(key *flow.Key, words []uint64) bool {
	pairs := words[f.pairs():][:2*f.common]
	var differ uint64
	ids := words[1]
	for i := 0; i+1 < len(pairs); i += 2 {
		if i == 16 || i == 32 || i == 48 {
			ids = words[1+i/16]
		}
		differ |= key[ids&0xff]&pairs[i] ^ pairs[i+1]
		ids >>= 8
	}
	return differ == 0
}

// next is the first entry from i on whose columns key has, n if there is none.
func (f form) next(key *flow.Key, words, cells []uint64, i int) int {
	switch f.columns {
	case 0:
		return i
	case 1:
		a := key[id(words, f.common)]
		for ; i < f.n; i++ {
			c := cells[2*i:][:2]
			if a&c[0]^c[1] == 0 {
				break
			}
		}
	case 2:
		a, b := key[id(words, f.common)], key[id(words, f.common+1)]
		for ; i < f.n; i++ {
			c := cells[4*i:][:4]
			if a&c[0]^c[1]|(b&c[2]^c[3]) == 0 {
				break
			}
		}
	default:
		for ; i < f.n; i++ {
			c := cells[2*i*f.columns:][:2*f.columns]
			var differ uint64
			for j := range f.columns {
				differ |= key[id(words, f.common+j)]&c[2*j] ^ c[2*j+1]
			}
			if differ == 0 {
				break
			}
		}
	}
	return i
}

// Work is what one lookup costs, in steps.
type Work struct {
	Tuples  int // searched
	Blocks  int // read: cache lines of a tuple's hash table led to one
	Entries int // compared
}

// Explain is Lookup with a count of its steps.
func (v *View) Explain(gen uint64, key *flow.Key) (slot uint32, w Work) {
	floor := -1
	for i := range v.tuples {
		t := v.tuples[i].t
		if v.tuples[i].top <= floor {
			break
		}
		w.Tuples++
		hash := t.shape.hash(key, v.store.seed)
		seg := t.segment(hash)
		mask := uint32(len(seg.places) - 1)
		for j := hash & mask; ; j = (j + 1) & mask {
			p := atomic.LoadUint64(&seg.places[j])
			if p == 0 {
				break
			}
			if uint32(p>>32) != hash || uint32(p) == grave {
				continue
			}
			w.count(v.store, uint32(p), key, floor)
			if s, _, prio := v.store.scan(t, uint32(p), gen, key, floor); s != 0 {
				slot, floor = s, prio
				break
			}
		}
	}
	return slot, w
}

// count adds the steps of a scan.
func (w *Work) count(s *Store, ref uint32, key *flow.Key, floor int) {
	for ref != 0 {
		words := at(*s.arena.newest.Load(), ref)
		head := atomic.LoadUint64(&words[0])
		w.Blocks++
		if topOf(head) <= floor {
			return
		}
		if f := formOf(head); !f.own && f.agrees(key, words) {
			i := f.next(key, words, words[f.cells():], 0)
			w.Entries += min(i+1, f.n)
			if i < f.n {
				return
			}
		}
		ref = nextOf(head)
	}
}
