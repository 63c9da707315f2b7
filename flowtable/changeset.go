package flowtable

import (
	"slices"

	"weft/flowtable/flow"
)

// A cached flow that was resolved some generations ago is still right if none of the changes since could affect it. The
// state remembers the matches of the last few changes, so that rules which have nothing to do with a flow, a thousand
// times a second one or a hundred times a second a thousand, do not make it be classified again.

const (
	logLength  = 64   // generations that are remembered
	listed     = 16   // matches of a generation that are listed; more are kept as filters, one for each mask
	maxFilters = 8    // masks of a generation, and
	maxNoted   = 8192 // matches of it; more count as having changed everything
)

// changeSet is what one generation changed.
type changeSet struct {
	gen     uint64
	all     bool
	matches []flow.Match
	filters []filter
}

// affects reports whether the change could matter to flows of this key. It may say so of one to which it does not.
func (set *changeSet) affects(key *flow.Key) bool {
	if set.all {
		return true
	}
	for i := range set.matches {
		if set.matches[i].Matches(key) {
			return true
		}
	}
	for i := range set.filters {
		if set.filters[i].mayHave(key) {
			return true
		}
	}
	return false
}

// unaffected reports whether what key, masked by the union of all matches, resolved to in generation gen still holds.
func (st *state) unaffected(key *flow.Key, gen uint64) bool {
	if st.gen-gen > logLength {
		return false
	}
	for g := gen + 1; g <= st.gen; g++ {
		set := st.log[g%logLength]
		if set == nil || set.gen != g || set.affects(key) {
			return false
		}
	}
	return true
}

// filter is a set of matches with one mask, as a Bloom filter of the masked keys: what is in it is always found, and of
// what is not, one key in seventy.
type filter struct {
	mask  flow.Key
	words []uint8 // of the mask that are not 0
	seed  uint64
	bits  []uint64 // a power of two of them
	n     int      // matches to come, while they are counted
}

// filterBits is how many bits there are, at least, for each match.
const filterBits = 16

func newFilter(mask *flow.Key, seed uint64) filter {
	f := filter{mask: *mask, seed: seed, words: make([]uint8, 0, 8)}
	for w := range mask {
		if mask[w] != 0 {
			f.words = append(f.words, uint8(w))
		}
	}
	return f
}

// hash is that of a key under the mask.
func (f *filter) hash(key *flow.Key) uint64 {
	h := f.seed
	for _, w := range f.words {
		h = flow.Mix(h, key[w]&f.mask[w])
	}
	return flow.Finish(h)
}

// places are the two bits of a hash.
func (f *filter) places(h uint64) (a, b uint64) {
	last := uint64(len(f.bits))*64 - 1
	return h & last, h >> 32 & last
}

func (f *filter) mayHave(key *flow.Key) bool {
	a, b := f.places(f.hash(key))
	return f.bits[a/64]>>(a%64)&1 != 0 && f.bits[b/64]>>(b%64)&1 != 0
}

// add adds the match whose key has the hash h.
func (f *filter) add(h uint64) {
	a, b := f.places(h)
	f.bits[a/64] |= 1 << (a % 64)
	f.bits[b/64] |= 1 << (b % 64)
}

// size makes room for n matches.
func (f *filter) size() {
	words := 1
	for words*64 < f.n*filterBits {
		words *= 2
	}
	f.bits = make([]uint64, words)
}

// note remembers that the rule of a slot changed, for the log. What it matches is known as long as the transaction lasts,
// whether it came or went: only a later one takes it apart.
func (x *txn) note(slot uint32) {
	if len(x.p.noted) == maxNoted {
		x.all = true
		return
	}
	x.p.noted = append(x.p.noted, slot)
}

// changeSet is the log entry of what the transaction changed.
func (x *txn) changeSet() *changeSet {
	set := &changeSet{gen: x.gen, all: x.all}
	if set.all {
		return set
	}
	noted := x.visible()
	rewritable := x.rewritable()
	if len(noted) > listed {
		set.filters, set.all = x.filters(noted, rewritable)
		return set
	}
	if len(noted) > 0 {
		set.matches = make([]flow.Match, len(noted))
	}
	for i, slot := range noted {
		set.matches[i] = x.seen(slot, rewritable)
	}
	return set
}

// visible leaves out of what was noted what no packet meets: without resubmit and goto_table, now and before, only table 0
// is looked at.
func (x *txn) visible() []uint32 {
	p := x.p
	if p.actions.chained == 0 {
		p.noted = slices.DeleteFunc(p.noted, func(slot uint32) bool { return p.slab.chunks.at(slot).table != 0 })
	}
	return p.noted
}

// rewritable is what packets may have changed on their way to a table that is not the first one, nil when there is no way.
func (x *txn) rewritable() *flow.Key {
	if x.p.actions.chained == 0 {
		return nil
	}
	all := x.p.actions.rewritable()
	return &all
}

// seen is what the key of a packet as it came is to be compared with, for the rule of a slot.
func (x *txn) seen(slot uint32, rewritable *flow.Key) flow.Match {
	m := x.p.classes.Match(slot)
	if x.p.fragments == flow.FragmentsNormal && m.Key[flow.WordL4]&maskPorts == 0 {
		m.Mask[flow.WordL4] &^= maskPorts // rules see the ports of fragments as 0, though cached flows have them
	}
	if rewritable != nil {
		for w, bits := range rewritable {
			m.Mask[w] &^= bits
			m.Key[w] &^= bits
		}
	}
	return m
}

// notedHash is a noted rule's place in the filters.
type notedHash struct {
	hash   uint64
	filter uint8
}

// filters sorts the rules of slots into filters by their masks. all: there are too many masks.
func (x *txn) filters(slots []uint32, rewritable *flow.Key) (list []filter, all bool) {
	p := x.p
	p.hashes = p.hashes[:0]
	i := 0
	for _, slot := range slots {
		m := x.seen(slot, rewritable)
		if i >= len(list) || list[i].mask != m.Mask { // most are like the one before
			i = slices.IndexFunc(list, func(f filter) bool { return f.mask == m.Mask })
		}
		if i < 0 {
			if len(list) == maxFilters {
				return nil, true
			}
			i = len(list)
			list = append(list, newFilter(&m.Mask, p.seed))
		}
		list[i].n++
		p.hashes = append(p.hashes, notedHash{list[i].hash(&m.Key), uint8(i)})
	}
	for i := range list {
		list[i].size()
	}
	for _, h := range p.hashes {
		list[h.filter].add(h.hash)
	}
	return list, false
}
