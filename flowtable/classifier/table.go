package classifier

import (
	"slices"
	"sync/atomic"

	"weft/flowtable/flow"
)

// Table is the rules of one OpenFlow table.
//
// A rule's life: Insert (live, seen from a generation on), Remove (not live, seen until a generation), Unlink when no
// reader sees it. Revive takes a Remove back, and Cancel an Insert, before the generation was published.
//
// Concurrency: belongs to the writer.
type Table struct {
	store  *Store
	masks  map[flow.Key]*maskInfo
	last   *maskInfo // that was asked for last: changes come with the same mask one after another
	byID   map[uint32]*maskInfo
	tuples []*Tuple
	bits   bitCounts // of masks with live rules

	rules   int // live
	entries int // live or not
	live    int // masks with live rules
	dirty   bool
	view    View
	version uint64 // grows with every change of tuples

	plan   plan
	moving []move
	doubly map[uint32]*Tuple // slots of rules on their way, and where from
}

// NewTable returns a table without rules.
func (s *Store) NewTable() *Table {
	return &Table{
		store: s, masks: make(map[flow.Key]*maskInfo), byID: make(map[uint32]*maskInfo), version: 1,
		doubly: make(map[uint32]*Tuple), view: View{store: s},
	}
}

// Rules is how many live rules there are.
func (t *Table) Rules() int { return t.rules }

// Masks is how many distinct masks they have.
func (t *Table) Masks() int { return t.live }

// Tuples is in how many hash tables they are: the bound on what one lookup searches.
func (t *Table) Tuples() int {
	n := 0
	for _, p := range t.tuples {
		if p.live > 0 {
			n++
		}
	}
	return n
}

// Union is the bits that live rules look at.
func (t *Table) Union() *flow.Key { return &t.bits.union }

// View is what readers of the generation that is published next, with the epoch that the store was told of, are to see.
// It is the same as before unless what it lists has changed.
func (t *Table) View() View {
	for i := len(t.moving) - 1; i >= 0 && t.moving[i].epoch == 0; i-- {
		t.moving[i].epoch = t.store.arena.label
	}
	if !t.dirty {
		return t.view
	}
	t.dirty = false
	list := make([]ranked, 0, len(t.tuples))
	for _, p := range t.tuples {
		if p.live > 0 {
			list = append(list, ranked{p, int(p.highest())})
		}
	}
	slices.SortFunc(list, func(a, b ranked) int {
		if a.top != b.top {
			return b.top - a.top
		}
		return int(a.t.id) - int(b.t.id)
	})
	t.view = View{t.store, list}
	return t.view
}

// info returns what is known of mask, made if need be.
func (t *Table) info(mask *flow.Key) *maskInfo {
	m := t.known(mask)
	if m == nil {
		m = &maskInfo{mask: *mask, shape: newShape(mask)}
		m.id = t.store.shapeID(m.shape)
		t.masks[*mask] = m
		t.byID[m.id] = m
	}
	return m
}

// known returns what is known of mask, nil if there is no rule with it.
func (t *Table) known(mask *flow.Key) *maskInfo {
	if t.last == nil || t.last.mask != *mask {
		t.last = t.masks[*mask]
	}
	return t.last
}

// Insert adds a rule that readers see from generation added on. The slot must not be in use.
func (t *Table) Insert(slot uint32, m *flow.Match, priority uint16, data uint32, added uint64) {
	info := t.info(&m.Mask)
	var words [entryHead + flow.KeyWords]uint64
	e := entry(words[:entryHead+int(info.shape.n)])
	e[entryMeta] = uint64(slot)<<32 | uint64(priority)<<16
	e[entryMask] = uint64(info.id)<<32 | uint64(data)
	e[entryAdded], e[entryRemoved] = added, forever
	for i := range int(info.shape.n) {
		e[entryHead+i] = m.Key[info.shape.word[i]]
	}
	t.store.locs.reach(slot)
	*t.store.locs.at(slot) = location{}
	info.rules++
	t.entries++
	home := t.home(info, &m.Key)
	t.link(home, info, &m.Key, e)
	t.count(home, info, priority, 1)
}

// link enters e in p.
func (t *Table) link(p *Tuple, info *maskInfo, key *flow.Key, e entry) {
	hash := p.shape.hash(key, t.store.seed)
	if place := p.place(hash, func(ref uint32) bool { return t.shares(p, key, ref) }); place != nil {
		first := t.store.add(p, uint32(*place), e)
		if first != uint32(*place) {
			atomic.StoreUint64(place, uint64(hash)<<32|uint64(first))
		}
	} else {
		p.insert(hash, t.store.add(p, 0, e))
	}
	p.entries++
	info.settle(p, 1)
}

// shares reports whether the chain of ref is that of key in p.
func (t *Table) shares(p *Tuple, key *flow.Key, ref uint32) bool {
	b := t.store.block(ref)
	return b.shares(&p.shape, key)
}

// chain returns the first block for key in p, 0 if there is none.
func (t *Table) chain(p *Tuple, key *flow.Key) uint32 {
	place := p.place(p.shape.hash(key, t.store.seed), func(ref uint32) bool { return t.shares(p, key, ref) })
	if place == nil {
		return 0
	}
	return uint32(*place)
}

// unlink takes slot's entry out of p.
func (t *Table) unlink(p *Tuple, info *maskInfo, key *flow.Key, slot uint32) {
	hash := p.shape.hash(key, t.store.seed)
	place := p.place(hash, func(ref uint32) bool { return t.shares(p, key, ref) })
	first := t.store.drop(p, uint32(*place), slot)
	switch {
	case first == 0:
		p.bury(hash, place)
	case first != uint32(*place):
		atomic.StoreUint64(place, uint64(hash)<<32|uint64(first))
	}
	info.settle(p, -1)
	if p.entries--; p.entries == 0 {
		t.forget(p)
	}
}

// forget ends a tuple without entries.
func (t *Table) forget(p *Tuple) {
	i := slices.Index(t.tuples, p)
	t.tuples = slices.Delete(slices.Clone(t.tuples), i, i+1)
	delete(t.store.tuples, p.id)
	t.store.rest(t, p)
	t.version++
	t.dirty = true
}

// count takes a live rule into the sums (1) or out of them (-1).
func (t *Table) count(p *Tuple, info *maskInfo, priority uint16, d int) {
	t.rules += d
	info.live += d
	switch {
	case d > 0 && info.live == 1:
		t.bits.add(&info.mask)
		t.live++
	case d < 0 && info.live == 0:
		t.bits.remove(&info.mask)
		t.live--
	}
	t.dirty = p.count(priority, d) || t.dirty
}

// homeOf is the tuple of slot's entry.
func (t *Table) homeOf(slot uint32) *Tuple { return t.store.tuples[t.store.locs.at(slot).tuple] }

// Remove ends a live rule: readers of generations before gen still see it.
func (t *Table) Remove(slot uint32, gen uint64) {
	var buf entryBuffer
	e, head := t.store.entry(slot, &buf)
	t.count(t.homeOf(slot), t.byID[e.mask()], e.priority(), -1)
	t.setRemoved(slot, e, head, gen)
}

// Revive takes a Remove back, before its generation was published.
func (t *Table) Revive(slot uint32) {
	var buf entryBuffer
	e, head := t.store.entry(slot, &buf)
	t.setRemoved(slot, e, head, forever)
	t.count(t.homeOf(slot), t.byID[e.mask()], e.priority(), 1)
}

// Cancel takes an Insert back: nobody will see the rule, which remains to be unlinked.
func (t *Table) Cancel(slot uint32) {
	var buf entryBuffer
	e, head := t.store.entry(slot, &buf)
	if e.live() {
		t.count(t.homeOf(slot), t.byID[e.mask()], e.priority(), -1)
	}
	t.setRemoved(slot, e, head, 0)
}

// setRemoved sets until when a rule is seen, wherever it is.
func (t *Table) setRemoved(slot uint32, e, head entry, gen uint64) {
	atomic.StoreUint64(&head[entryRemoved], gen)
	p := t.doubly[slot]
	if p == nil {
		return
	}
	key := keyOf(t.byID[e.mask()].shape, e)
	for ref := t.chain(p, &key); ref != 0; {
		b := t.store.block(ref)
		if i := b.find(slot); i >= 0 {
			atomic.StoreUint64(&b.headOf(i)[entryRemoved], gen)
			return
		}
		ref = nextOf(b.head)
	}
}

// Unlink takes away a rule that is not live and that no reader sees. The slot may be used again when no reader of this
// epoch is left.
func (t *Table) Unlink(slot uint32) {
	var buf entryBuffer
	e, _ := t.store.entry(slot, &buf)
	info := t.byID[e.mask()]
	key := keyOf(info.shape, e)
	if p := t.doubly[slot]; p != nil {
		delete(t.doubly, slot)
		t.unlink(p, info, &key, slot)
	}
	t.unlink(t.homeOf(slot), info, &key, slot)
	t.entries--
	if info.rules--; info.rules == 0 {
		t.last = nil
		delete(t.masks, info.mask)
		delete(t.byID, info.id)
		t.store.gone = append(t.store.gone, retired{epoch: t.store.arena.label, ref: info.id})
	}
}

// Exact returns the live rule with the match and the priority, 0 if there is none.
func (t *Table) Exact(m *flow.Match, priority uint16) (slot uint32) {
	t.Same(m, func(s uint32, p uint16) {
		if p == priority {
			slot = s
		}
	})
	return slot
}

// Same calls f with every live rule that has the match.
func (t *Table) Same(m *flow.Match, f func(slot uint32, priority uint16)) {
	info := t.known(&m.Mask)
	if info == nil {
		return
	}
	for _, h := range info.homes {
		for ref := t.chain(h.tuple, &m.Key); ref != 0; {
			b := t.store.block(ref)
			heads := b.words[b.heads():b.form.words()]
			for i := range b.n {
				e := entry(heads[entryHead*i:][:entryHead])
				if e.mask() == info.id && e.live() && b.hasKey(i, &m.Key) && t.store.locs.at(e.slot()).block == ref {
					f(e.slot(), e.priority())
				}
			}
			ref = nextOf(b.head)
		}
	}
}

// Select calls f with every live rule whose match is m or a special case of it. It walks the rules whose masks have at
// least the bits of m, unless m's mask is all of them.
func (t *Table) Select(m *flow.Match, f func(slot uint32)) {
	fits := make(map[uint32]bool)
	walk := make(map[*Tuple]bool)
	sh := newShape(&m.Mask)
	for _, info := range t.masks {
		if sh.within(&info.mask) && info.mask != m.Mask {
			fits[info.id] = true
			for _, h := range info.homes {
				walk[h.tuple] = true
			}
		}
	}
	t.Same(m, func(slot uint32, _ uint16) { f(slot) })
	t.walk(walk, func(ref uint32, e entry) {
		if !fits[e.mask()] || !e.live() {
			return
		}
		key := keyOf(t.byID[e.mask()].shape, e)
		for i := range int(sh.n) {
			if key[sh.word[i]]&sh.mask[i] != m.Key[sh.word[i]] {
				return
			}
		}
		f(e.slot())
	})
}

// Overlapping calls f with live rules of the priority that some key fulfils that fulfils m too, until f returns false.
func (t *Table) Overlapping(m *flow.Match, priority uint16, f func(slot uint32) bool) {
	walk := make(map[*Tuple]bool)
	for _, p := range t.tuples {
		if p.priorities[uint32(priority)] > 0 {
			walk[p] = true
		}
	}
	more := true
	t.walk(walk, func(_ uint32, e entry) {
		if !more || !e.live() || e.priority() != priority {
			return
		}
		sh := t.byID[e.mask()].shape
		for i := range int(sh.n) {
			if w := sh.word[i]; (e[entryHead+i]^m.Key[w])&sh.mask[i]&m.Mask[w] != 0 {
				return
			}
		}
		more = f(e.slot())
	})
}

// walk calls f with every entry of tuples, once if it is on its way from one to another. f must not change the table.
func (t *Table) walk(tuples map[*Tuple]bool, f func(ref uint32, e entry)) {
	for p := range tuples {
		p.blocks(0, func(first uint32) bool {
			t.store.each(first, func(ref uint32, e entry) {
				if t.store.locs.at(e.slot()).block == ref {
					f(ref, e)
				}
			})
			return true
		})
	}
}
