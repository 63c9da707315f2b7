package flowtable

import (
	"cmp"
	"iter"
	"slices"

	"weft/flowtable/flow"
)

// Applied is what a transaction did to rules, and to groups and meters.
type Applied struct {
	Added    int // rules that were added, those that replaced another included
	Modified int // rules that have other actions now
	Deleted  int
	Entries  int // groups and meters that were added, changed or deleted
}

// ApplyEach makes changes as they come, in one transaction, without keeping them: either all of them or, when the
// sequence yields an error or a change is wrong, none. The pipeline is locked to other changes meanwhile, and lookups go
// on. What the sequence yields may be used again for the next.
func (p *Pipeline) ApplyEach(changes iter.Seq2[*flow.Change, error]) (Applied, error) {
	return p.applyAll(changes, 0)
}

// ReplaceEach makes the rules that come the only ones, in one transaction. Rules that are there already in every respect
// are left alone and keep their counters and ages. Of two rules with the same table, priority and match the later one
// counts.
func (p *Pipeline) ReplaceEach(rules iter.Seq2[*flow.Rule, error]) (Applied, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.begin()
	keep := make(map[uint32]struct{})
	for r, err := range rules {
		x.bulk = len(keep) >= bulkChanges
		slot := uint32(noSlot)
		if err == nil {
			slot, err = x.replace(r)
		}
		if err != nil {
			x.abort()
			return Applied{}, err
		}
		keep[slot] = struct{}{}
	}
	for _, slot := range p.selected(&flow.Filter{}) {
		if _, kept := keep[slot]; !kept {
			x.remove(slot)
		}
	}
	return x.settle(x.superseded)
}

// settle ends a transaction whose changes have all been made. modified is how many of the new versions are not rules that
// were added.
func (x *txn) settle(modified int) (Applied, error) {
	if x.groupsChanged {
		if err := x.settleGroups(); err != nil {
			x.abort()
			return Applied{}, err
		}
	}
	n := Applied{
		Added: len(x.added) - modified, Modified: modified, Deleted: len(x.removed) - x.superseded, Entries: x.entries,
	}
	x.commit()
	return n, nil
}

// eachPiece is how many rules Each looks at under the lock.
const eachPiece = 64

// walk is the memory of one Each.
type walk struct {
	places []place
	piece  [eachPiece]flow.RuleStats
}

// place is where a rule was.
type place struct {
	slot   uint32
	serial uint64
}

// Each calls visit for what f selects, by table, falling priority and age, until it returns false. Which rules those are
// is decided at the start; one that goes meanwhile is left out. Between some dozens of rules changes may happen, so that a
// slow visitor keeps nobody waiting. What visit gets is valid until it returns.
func (p *Pipeline) Each(f *flow.Filter, visit func(*flow.RuleStats) bool) {
	w, _ := p.walks.Get().(*walk)
	if w == nil {
		w = new(walk)
	}
	defer p.end(w)
	p.mu.Lock()
	slots := p.sorted(f)
	w.places = slices.Grow(w.places, len(slots))
	for _, slot := range slots {
		w.places = append(w.places, place{slot, p.slab.chunks.at(slot).serial})
	}
	p.mu.Unlock()
	for places := w.places; len(places) > 0; {
		piece := w.piece[:0]
		p.mu.Lock()
		now := p.now()
		for _, at := range places[:min(len(places), eachPiece)] {
			if c := p.slab.chunks.at(at.slot); c.serial == at.serial && c.live {
				piece = append(piece, p.stats(at.slot, now))
			}
		}
		p.mu.Unlock()
		places = places[min(len(places), eachPiece):]
		for i := range piece {
			if !visit(&piece[i]) {
				return
			}
		}
	}
}

// end keeps a walk's memory for the next one, unless it is much.
func (p *Pipeline) end(w *walk) {
	clear(w.piece[:]) // which would hold on to actions
	if cap(w.places) > keptSlots {
		w.places = nil
	}
	w.places = w.places[:0]
	p.walks.Put(w)
}

// sorted are the slots that f selects, by table, falling priority and age.
func (p *Pipeline) sorted(f *flow.Filter) []uint32 {
	slots := p.selected(f)
	recs := p.slab.chunks
	slices.SortFunc(slots, func(a, b uint32) int {
		x, y := recs.at(a), recs.at(b)
		return cmp.Or(cmp.Compare(x.table, y.table), cmp.Compare(y.priority, x.priority),
			cmp.Compare(x.created, y.created), cmp.Compare(x.serial, y.serial))
	})
	return slots
}
