package flowtable

import (
	"weft/flowtable/flow"
	"weft/flowtable/ofctl"
)

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// accepts checks everything except table, match and priority.
func accepts(f *flow.Filter, c *record, actions []flow.Action) bool {
	if (c.cookie^f.Cookie)&f.CookieMask != 0 {
		return false
	}
	port, group := f.OutPort == flow.PortAny, !f.ByOutGroup
	for i := range actions {
		a := &actions[i]
		port = port || a.PortOut() == f.OutPort
		group = group || a.Kind == flow.ActionGroup && a.ID == f.OutGroup
	}
	return port && group
}

// selected returns the live slots that f selects.
func (p *Pipeline) selected(f *flow.Filter) []uint32 {
	var slots []uint32
	take := func(slot uint32) {
		c := p.slab.chunks.at(slot)
		if c.live() && (!f.Strict || c.priority == f.Priority) && accepts(f, c, p.actions.chunks.at(c.actions).actions) {
			slots = append(slots, slot)
		}
	}
	for table := range p.tuples {
		if f.HasTable && table != int(f.Table) {
			continue
		}
		for _, t := range p.tuples[table] {
			p.selectIn(t, f, take)
		}
	}
	return slots
}

// selectIn calls take for the slots of t whose match fits f.
func (p *Pipeline) selectIn(t *tuple, f *flow.Filter, take func(uint32)) {
	if t.mask == f.Match.Mask {
		// One probe instead of a walk.
		var picked flow.Key
		hash := t.shape.Pick(&f.Match.Key, &picked, t.seed)
		for slot := t.head(p.slab.chunks, hash, &picked); slot != noSlot; slot = p.slab.chunks.at(slot).next {
			take(slot)
		}
		return
	}
	if f.Strict {
		return
	}
	for w := range t.mask {
		if f.Match.Mask[w]&^t.mask[w] != 0 {
			return
		}
	}
	t.each(p.slab.chunks, func(slot uint32) {
		m := p.matchOf(p.slab.chunks.at(slot))
		if m.Within(&f.Match) {
			take(slot)
		}
	})
}

// Apply makes all changes in their order, or none: on an error, which names the change by its index from 1, nothing has
// happened. Lookups see them all from their next batch on. Adding to a million rules costs microseconds; a filter that
// is not strict walks the rules whose masks can fit it.
func (p *Pipeline) Apply(changes []flow.Change) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.begin()
	for i := range changes {
		if err := x.apply(&changes[i]); err != nil {
			x.abort()
			if len(changes) == 1 {
				return err
			}
			return fmt.Errorf("flowtable: change %d of %d: %w", i+1, len(changes), err)
		}
	}
	if x.groupsChanged {
		if err := x.settleGroups(); err != nil {
			x.abort()
			return err
		}
	}
	x.commit()
	return nil
}

// Add adds rules in one transaction; see Apply.
func (p *Pipeline) Add(rules ...*flow.Rule) error {
	changes := make([]flow.Change, len(rules))
	for i, r := range rules {
		changes[i].Rule = r
	}
	return p.Apply(changes)
}

// Delete deletes what f selects and returns how many rules that were.
func (p *Pipeline) Delete(f flow.Filter) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.begin()
	x.delete(&f)
	n := len(x.removed)
	x.commit()
	return n
}

// ReplaceAll makes rules the only ones, in one transaction. Rules that are there already in every respect are left
// alone and keep their counters and ages. Of two rules with the same table, priority and match the later one counts.
func (p *Pipeline) ReplaceAll(rules []*flow.Rule) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.begin()
	keep := make(map[uint32]struct{}, len(rules))
	for i, r := range rules {
		slot, err := x.replace(r)
		if err != nil {
			x.abort()
			return fmt.Errorf("flowtable: rule %d of %d: %w", i+1, len(rules), err)
		}
		keep[slot] = struct{}{}
	}
	for _, slot := range p.selected(&flow.Filter{}) {
		if _, ok := keep[slot]; !ok {
			x.remove(slot)
		}
	}
	x.commit()
	return nil
}

func (x *txn) apply(c *flow.Change) error {
	switch {
	case c.Group != nil:
		return x.groupMod(c.Group)
	case c.Meter != nil:
		return x.meterMod(c.Meter)
	}
	switch c.Command {
	case flow.Add:
		if c.Rule == nil {
			return fmt.Errorf("flowtable: change without a rule to add")
		}
		return x.add(c.Rule)
	case flow.Modify:
		if c.Rule == nil {
			return fmt.Errorf("flowtable: change without actions to set")
		}
		return x.modify(c)
	case flow.Delete:
		x.delete(&c.Filter)
		return nil
	}
	return fmt.Errorf("flowtable: unknown command %d", c.Command)
}

// replace adds r unless an equal rule is there.
func (x *txn) replace(r *flow.Rule) (uint32, error) {
	if err := r.Validate(); err != nil {
		return noSlot, err
	}
	if slot := x.p.exact(r.Table, &r.Match, r.Priority); slot != noSlot {
		if old := x.p.ruleOf(x.p.slab.chunks.at(slot)); old.Equal(r) {
			return slot, nil
		}
	}
	if err := x.add(r); err != nil {
		return noSlot, err
	}
	return x.added[len(x.added)-1], nil
}

// add adds r. As OpenFlow 1.3 §6.4 has it, a rule that replaces another begins its duration anew, and keeps the
// counters unless FlagResetCounts is set. FlagCheckOverlap is not about the rule that is replaced, as in Open vSwitch.
func (x *txn) add(r *flow.Rule) error {
	if err := r.Validate(); err != nil {
		return err
	}
	old := x.p.exact(r.Table, &r.Match, r.Priority)
	if old == noSlot && r.Flags&flow.FlagCheckOverlap != 0 {
		if err := x.checkOverlap(r); err != nil {
			return err
		}
	}
	slot, err := x.insert(r, x.now)
	if err != nil || old == noSlot {
		return err
	}
	x.supersede(old, slot, r.Flags&flow.FlagResetCounts != 0)
	return nil
}

// supersede removes the version old, which slot replaces.
func (x *txn) supersede(old, slot uint32, reset bool) {
	x.remove(old)
	if !reset {
		x.p.slab.chunks.at(old).succ = slot
		x.p.slab.chunks.at(slot).pred = old
	}
}

// checkOverlap fails if another rule of the same priority matches packets that r matches.
func (x *txn) checkOverlap(r *flow.Rule) error {
	p := x.p
	var found *flow.Rule
	for _, t := range p.tuples[r.Table] {
		t.each(p.slab.chunks, func(slot uint32) {
			c := p.slab.chunks.at(slot)
			if found != nil || !c.live() || c.priority != r.Priority {
				return
			}
			if m := p.matchOf(c); m.Overlaps(&r.Match) {
				o := p.ruleOf(c)
				found = &o
			}
		})
	}
	if found != nil {
		return fmt.Errorf("flowtable: check_overlap: %q has the same priority and matches some of the same packets;"+
			" change a priority or narrow a match", ofctl.FormatRule(found, nil))
	}
	return nil
}

// modify gives new actions to what the filter selects. Counters, duration and timeouts stay (OpenFlow 1.3 §6.4).
func (x *txn) modify(c *flow.Change) error {
	p := x.p
	slots := p.selected(&c.Filter)
	if len(slots) == 0 && c.AddIfNone {
		return x.add(c.Rule)
	}
	for _, slot := range slots {
		old := p.slab.chunks.at(slot)
		r := p.ruleOf(old)
		was := r
		r.Actions = c.Rule.Actions
		if c.SetCookie {
			r.Cookie = c.Rule.Cookie
		}
		if err := r.Validate(); err != nil {
			return fmt.Errorf("flowtable: modify %q: %w", ofctl.FormatRule(&was, nil), err)
		}
		reset := c.Rule.Flags&flow.FlagResetCounts != 0
		if r.Equal(&was) && !reset {
			continue
		}
		fresh, err := x.insert(&r, time.Unix(0, old.created))
		if err != nil {
			return err
		}
		if !reset {
			p.slab.chunks.at(fresh).used = old.used
		}
		x.supersede(slot, fresh, reset)
	}
	return nil
}

func (x *txn) delete(f *flow.Filter) {
	for _, slot := range x.p.selected(f) {
		x.remove(slot)
	}
}

func (p *Pipeline) stats(slot uint32, now time.Time) flow.RuleStats {
	c := p.slab.chunks.at(slot)
	s := flow.RuleStats{Rule: p.ruleOf(c)}
	var used uint64
	s.Packets, s.Bytes, used = p.counts(slot, 0, 0, 0)
	s.Duration = max(0, now.Sub(time.Unix(0, c.created)))
	s.HardAge = max(0, now.Sub(time.Unix(0, c.modified)))
	s.IdleAge = max(0, time.Duration(now.Unix()-int64(used))*time.Second)
	return s
}

// Dump returns what f selects with its counters, by table, falling priority and age.
func (p *Pipeline) Dump(f flow.Filter) []flow.RuleStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	slots := p.selected(&f)
	recs := p.slab.chunks
	slices.SortFunc(slots, func(a, b uint32) int {
		x, y := recs.at(a), recs.at(b)
		return cmp.Or(cmp.Compare(x.table, y.table), cmp.Compare(y.priority, x.priority),
			cmp.Compare(x.created, y.created), cmp.Compare(x.serial, y.serial))
	})
	out := make([]flow.RuleStats, len(slots))
	for i, slot := range slots {
		out[i] = p.stats(slot, now)
	}
	return out
}

// Expire removes rules whose timeouts are over and returns them with their last counts. It also tells lookups the time,
// for idle ages, and tidies up: call it once a second.
func (p *Pipeline) Expire(now time.Time) []flow.RuleStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock.Store(uint64(now.Unix()))
	x := p.begin()
	x.now = now
	var gone []flow.RuleStats
	for slot := range p.timed {
		if reason := p.expired(slot, now); reason != flow.ReasonNone {
			s := p.stats(slot, now)
			s.Reason = reason
			gone = append(gone, s)
			x.remove(slot)
		}
	}
	slices.SortFunc(gone, func(a, b flow.RuleStats) int {
		return cmp.Or(cmp.Compare(a.Rule.Table, b.Rule.Table), cmp.Compare(b.Rule.Priority, a.Rule.Priority))
	})
	x.commit()
	p.widen(now.Unix())
	if p.narrow(now.Unix()) {
		st := *p.state.Load()
		st.layout = p.wide
		p.state.Store(&st)
	}
	return gone
}

// expired reports whether a rule's time is over. It is asked for every rule with a timeout, every second, so it looks at
// counters only when the rule's idle timeout would be over without them.
func (p *Pipeline) expired(slot uint32, now time.Time) flow.Reason {
	c := p.slab.chunks.at(slot)
	if c.hard != 0 && now.Sub(time.Unix(0, c.modified)) >= time.Duration(c.hard)*time.Second {
		return flow.ReasonHardTimeout
	}
	last := uint64(max(0, now.Unix()-int64(c.idle)))
	if c.idle == 0 || c.used > last {
		return flow.ReasonNone
	}
	if _, _, c.used = p.counts(slot, 0, 0, 0); c.used > last {
		return flow.ReasonNone
	}
	return flow.ReasonIdleTimeout
}

// PipelineStats are the sizes of a pipeline.
type PipelineStats struct {
	Rules      int          // in all tables
	Tables     int          // tables with rules
	ByTable    []TableStats // tables with rules, in their order
	Masks      int          // distinct masks, by table: the bound on the work of one classification in a table
	Actions    int          // distinct action lists
	Groups     int
	Meters     int
	Generation uint64 // grows with every transaction that changed something
}

// TableStats are the sizes of a table that has rules.
type TableStats struct {
	Table uint8
	Rules int
	Masks int // distinct masks: the bound on the work of one classification
}

// Stats returns the sizes.
func (p *Pipeline) Stats() PipelineStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.state.Load()
	s := PipelineStats{Rules: p.rules, Actions: len(p.actions.byText), Generation: st.gen}
	s.Groups, s.Meters = len(p.groups), len(p.meters)
	for i := range st.tables {
		if n := len(st.tables[i]); n > 0 {
			t := TableStats{Table: uint8(i), Masks: n}
			for _, ref := range st.tables[i] {
				t.Rules += ref.t.count
			}
			s.ByTable = append(s.ByTable, t)
			s.Tables++
			s.Masks += n
		}
	}
	return s
}
