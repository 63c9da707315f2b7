package classifier

import (
	"cmp"
	"slices"

	"weft/flowtable/flow"
)

// Where rules go. A rule may be in any tuple whose mask its own mask includes. The tuples of the plan are asked first, in
// the plan's order, then others, those with most bits first; the first wins in which the rule's block is not full.

const (
	// bucketLimit is how many entries a block may have when a rule with more bits than the tuple joins it.
	bucketLimit = 24

	// fewTuples is up to how many tuples a table has one for every mask: none is merged.
	fewTuples = 6
)

// home returns the tuple for a rule with the mask and key.
func (t *Table) home(info *maskInfo, key *flow.Key) *Tuple {
	t.refresh(info)
	for _, p := range info.candidates {
		if p == info.own {
			return p // its own: what is there already has the same match, or had room elsewhere and did not take it
		}
		if t.store.lengthOf(t.chain(p, key), bucketLimit) < bucketLimit {
			return p
		}
	}
	return t.newTuple(t.freshMask(info, key))
}

// refresh brings the candidates of a mask up to date.
func (t *Table) refresh(info *maskInfo) {
	if info.version == t.version {
		return
	}
	info.version = t.version
	info.candidates, info.own = info.candidates[:0], nil
	for _, p := range t.tuples {
		if p.leaving || !p.shape.within(&info.mask) {
			continue
		}
		if p.shape == *info.shape {
			info.own = p
		} else if t.plan.masks == nil && len(t.tuples) < fewTuples {
			continue // while there are few, every mask has its own
		}
		info.candidates = append(info.candidates, p)
	}
	slices.SortStableFunc(info.candidates, func(a, b *Tuple) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.shape.bits(), a.shape.bits()), cmp.Compare(a.id, b.id))
	})
}

// newTuple makes a tuple.
func (t *Table) newTuple(mask flow.Key) *Tuple {
	s := t.store
	s.lastID++
	p := s.wake(t, newShape(&mask))
	p.begin(s.lastID)
	s.tuples[p.id] = p
	t.tuples = append(slices.Clip(t.tuples), p)
	t.version++
	return p
}

// freshMask is the mask of a new tuple for a rule that no tuple takes: a coarse one, unless its block is what is full.
func (t *Table) freshMask(info *maskInfo, key *flow.Key) flow.Key {
	if len(t.tuples) < fewTuples {
		return info.mask
	}
	for level := range coarseLevels {
		m := coarse(&info.mask, level)
		if m == (flow.Key{}) || slices.ContainsFunc(t.tuples, func(p *Tuple) bool { return !p.leaving && p.shape.key() == m }) {
			continue
		}
		return m
	}
	return info.mask
}
