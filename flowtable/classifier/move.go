package classifier

import (
	"slices"

	"weft/flowtable/flow"
)

// Moving rules to the tuples of a better plan.

// planGrowth is how many times as many rules make a plan old.
const planGrowth = 3

// move is a rule that has a new place, and is to leave the old one when no reader of an epoch before epoch is left.
type move struct {
	slot  uint32
	from  *Tuple
	epoch uint64 // of the first view that has the new place, 0 before there is one
}

// Wanting reports whether the table has got so many tuples, or so many more rules, since it was last planned that
// planning it is worth while.
func (t *Table) Wanting() bool {
	n := len(t.tuples)
	return n >= planMin && !t.Moving() && (n > t.plan.tuples+t.plan.tuples/2+4 || t.entries > planGrowth*(t.plan.rules+64))
}

// Adopt takes masks as the table's plan, if that is better than what it has. The rules move with Move.
func (t *Table) Adopt(masks []flow.Key) {
	t.plan.rules, t.plan.tuples = t.entries, len(t.tuples)
	if len(masks) == 0 || len(masks)*4 > len(t.tuples)*3 {
		return
	}
	rank := make(map[flow.Key]int, len(masks))
	for i, m := range masks {
		rank[m] = i
	}
	for _, p := range t.tuples {
		r, ok := rank[p.shape.key()]
		p.leaving, p.rank = !ok, unplanned
		if ok {
			p.rank = r
			delete(rank, p.shape.key())
		}
	}
	for _, p := range slices.Clone(t.tuples) {
		if p.leaving && p.entries == 0 {
			t.forget(p)
		}
	}
	for _, m := range masks {
		if r, ok := rank[m]; ok {
			t.newTuple(m).rank = r
		}
	}
	t.plan.masks, t.plan.tuples = masks, len(masks)
	t.version++
}

// Moving reports whether rules are on their way, or to be sent there.
func (t *Table) Moving() bool {
	if len(t.moving) > 0 {
		return true
	}
	for _, p := range t.tuples {
		if p.leaving {
			return true
		}
	}
	return false
}

// Settle takes rules that moved from their old places, when the oldest epoch that a reader may be in is oldest.
func (t *Table) Settle(oldest uint64) {
	n := 0
	for ; n < len(t.moving) && t.moving[n].epoch != 0 && t.moving[n].epoch <= oldest; n++ {
		m := t.moving[n]
		if t.doubly[m.slot] != m.from {
			continue // it is gone
		}
		delete(t.doubly, m.slot)
		var buf entryBuffer
		e, _ := t.store.entry(m.slot, &buf)
		info := t.byID[e.mask()]
		key := keyOf(info.shape, e)
		t.unlink(m.from, info, &key, m.slot)
	}
	t.moving = t.moving[:copy(t.moving, t.moving[n:])]
}

// Move sends up to limit rules from tuples that are not in the plan to ones that are. Rules that no reader of generation
// gen or before ever saw leave their old place at once; the others when the view that follows has been published, and
// Settle finds nobody at an older epoch. While some are waiting it does nothing. It reports how many moved.
func (t *Table) Move(limit int, gen uint64) int {
	if len(t.moving) > 0 {
		return 0
	}
	var slots []uint32
	var from []*Tuple
	for _, p := range t.tuples {
		if !p.leaving {
			continue
		}
		p.emptied = p.blocks(p.emptied, func(first uint32) bool {
			t.store.each(first, func(ref uint32, e entry) {
				if t.store.locs.at(e.slot()).block == ref {
					slots, from = append(slots, e.slot()), append(from, p)
				}
			})
			return len(slots) < limit
		})
		if len(slots) >= limit {
			break
		}
	}
	for i, slot := range slots {
		t.move(slot, from[i], gen)
	}
	return len(slots)
}

// move sends one rule from p to where the plan has it.
func (t *Table) move(slot uint32, p *Tuple, gen uint64) {
	var buf entryBuffer
	e, _ := t.store.entry(slot, &buf)
	info := t.byID[e.mask()]
	key := keyOf(info.shape, e)
	to := t.home(info, &key)
	*t.store.locs.at(slot) = location{}
	t.link(to, info, &key, e)
	if e.live() {
		t.dirty = p.count(e.priority(), -1) || t.dirty
		t.dirty = to.count(e.priority(), 1) || t.dirty
	}
	if e[entryAdded] > gen {
		t.unlink(p, info, &key, slot)
		return
	}
	t.doubly[slot] = p
	t.moving = append(t.moving, move{slot: slot, from: p})
}

// Replan plans and moves everything at once, for a transaction that adds so much that it does not matter; see Move for
// gen.
func (t *Table) Replan(gen uint64) {
	p := t.Sample()
	for p.Next(planSample) {
		continue
	}
	t.Adopt(p.Plan())
	for len(t.moving) == 0 && t.Move(planSample, gen) > 0 {
		continue
	}
}
