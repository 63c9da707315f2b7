package flowtable

import "weft/flowtable/flow"

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

func (f *filter) add(key *flow.Key) {
	a, b := f.places(f.hash(key))
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
	for w := range f.mask {
		if f.mask[w] != 0 {
			f.words = append(f.words, uint8(w))
		}
	}
}

// tableMatch is the match of a rule that changed, and its table.
type tableMatch struct {
	table uint8
	match flow.Match
}

// note remembers that match changed, for the log.
func (x *txn) note(table uint8, m *flow.Match) {
	if len(x.p.noted) == maxNoted {
		x.all = true
		return
	}
	x.p.noted = append(x.p.noted, tableMatch{table, *m})
}

// changeSet is the log entry of what the transaction changed.
func (x *txn) changeSet() *changeSet {
	set := &changeSet{gen: x.gen, all: x.all}
	if set.all {
		return set
	}
	noted := x.visible()
	if len(noted) > listed {
		set.filters, set.all = x.filters(noted)
		return set
	}
	for i := range noted {
		set.matches = append(set.matches, noted[i].match)
	}
	return set
}

// visible turns what was noted into what keys of packets are to be compared with, and leaves out what no packet meets.
func (x *txn) visible() []tableMatch {
	rewritable := x.p.actions.rewritable()
	kept := x.p.noted[:0]
	for _, c := range x.p.noted {
		c.match = x.unhidden(c.match)
		switch {
		case x.p.actions.chained == 0 && c.table != 0:
			// Without resubmit and goto_table, now and before, only table 0 is looked at, with the packet's own key, but for
			// the ports of fragments.
			continue
		case x.p.actions.chained != 0:
			for w := range rewritable {
				c.match.Mask[w] &^= rewritable[w]
				c.match.Key[w] &^= rewritable[w]
			}
		}
		kept = append(kept, c)
	}
	return kept
}

// filters sorts matches into filters by their masks. all: there are too many masks.
func (x *txn) filters(noted []tableMatch) (list []filter, all bool) {
	find := func(mask *flow.Key) *filter {
		for i := range list {
			if list[i].mask == *mask {
				return &list[i]
			}
		}
		return nil
	}
	for i := range noted {
		mask := &noted[i].match.Mask
		f := find(mask)
		if f == nil {
			if len(list) == maxFilters {
				return nil, true
			}
			list = append(list, filter{mask: *mask, seed: x.p.seed})
			f = &list[len(list)-1]
		}
		f.n++
	}
	for i := range list {
		list[i].size()
	}
	for i := range noted {
		find(&noted[i].match.Mask).add(&noted[i].match.Key)
	}
	return list, false
}

// unhidden is what packets have that m matches, where rules see the ports of fragments as 0 though cached flows have them.
func (x *txn) unhidden(m flow.Match) flow.Match {
	if x.p.fragments == flow.FragmentsNormal && m.Key[flow.WordL4]&maskPorts == 0 {
		m.Mask[flow.WordL4] &^= maskPorts
	}
	return m
}
