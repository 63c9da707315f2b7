package flowtable

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"time"

	"weft/flowtable/flow"
	"weft/flowtable/ofctl"
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

// selected returns the live slots that f selects, in memory that the next call uses again.
func (p *Pipeline) selected(f *flow.Filter) []uint32 {
	slots := again(p.slots)
	take := func(slot uint32) {
		c := p.slab.chunks.at(slot)
		if (!f.Strict || c.priority == f.Priority) && accepts(f, c, p.actions.chunks.at(c.actions).actions) {
			slots = append(slots, slot)
		}
	}
	for i, t := range p.used() {
		switch {
		case t == nil || f.HasTable && i != int(f.Table):
		case f.Strict:
			t.Same(&f.Match, func(slot uint32, _ uint16) { take(slot) })
		default:
			t.Select(&f.Match, take)
		}
	}
	p.slots = slots
	return slots
}

// bulkChanges is from how many changes in one transaction on tables are laid out anew while it goes on.
const bulkChanges = 1024

// Apply makes all changes in their order, or none: on an error, which names the change by its index from 1, nothing has
// happened. Lookups see them all from their next batch on. Adding to a million rules costs microseconds; a filter that
// is not strict walks the rules whose masks can fit it.
func (p *Pipeline) Apply(changes []flow.Change) error {
	_, err := p.applyAll(func(yield func(*flow.Change, error) bool) {
		for i := range changes {
			if !yield(&changes[i], nil) {
				return
			}
		}
	}, len(changes))
	return err
}

// applyAll makes n changes, or as many as there are when n is 0.
func (p *Pipeline) applyAll(changes iter.Seq2[*flow.Change, error], n int) (Applied, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.begin()
	x.bulk = n >= bulkChanges
	i := 0
	for c, err := range changes {
		i++
		if i%bulkChanges == 0 {
			x.bulk = true
			p.turn()
		}
		if err == nil {
			err = x.apply(c)
		}
		if err != nil {
			x.abort()
			if n > 1 {
				err = fmt.Errorf("flowtable: change %d of %d: %w", i, n, err)
			}
			return Applied{}, err
		}
	}
	return x.settle(x.modified)
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

// Diff compares rules with those of the pipeline: what ReplaceEach would change, by table, falling priority and match. Of two
// rules with the same table, priority and match the later one counts. As with ovs-ofctl diff-flows, counters, ages and
// flags do not matter.
func (p *Pipeline) Diff(rules []*flow.Rule) []flow.RuleDiff {
	have := make([]*flow.Rule, 0)
	for _, s := range p.Dump(flow.Filter{}) {
		have = append(have, &s.Rule)
	}
	return flow.DiffRules(have, rules)
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
		if old := x.p.ruleOf(slot); old.Equal(r) {
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
	x.superseded++
	if !reset {
		x.p.slab.chunks.at(old).succ = slot
		x.p.slab.chunks.at(slot).pred = old
	}
}

// checkOverlap fails if another rule of the same priority matches packets that r matches.
func (x *txn) checkOverlap(r *flow.Rule) error {
	p := x.p
	var found *flow.Rule
	if t := p.tables[r.Table]; t != nil {
		t.Overlapping(&r.Match, r.Priority, func(slot uint32) bool {
			o := p.ruleOf(slot)
			found = &o
			return false
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
		r := p.ruleOf(slot)
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
		x.modified++
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
	s := flow.RuleStats{Rule: p.ruleOf(slot)}
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
	slots := p.sorted(&f)
	out := make([]flow.RuleStats, len(slots))
	for i, slot := range slots {
		out[i] = p.stats(slot, now)
	}
	return out
}

// Expire removes rules whose timeouts are over and returns them with their last counts. It also tells lookups the time,
// for idle ages, and tidies up: call it once a second.
func (p *Pipeline) Expire(now time.Time) []flow.RuleStats {
	gone := p.expire(now)
	p.improve()
	return gone
}

func (p *Pipeline) expire(now time.Time) []flow.RuleStats {
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
		st.epoch++
		p.publish(&st)
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
	Masks      int          // distinct masks, by table
	Actions    int          // distinct action lists
	Groups     int
	Meters     int
	Generation uint64 // grows with every transaction that changed something
}

// TableStats are the sizes of a table that has rules.
type TableStats struct {
	Table uint8
	Rules int
	Masks int // distinct masks
	// Tuples is how many hash tables a classification searches at most: rules of several masks share one.
	Tuples int
}

// Stats returns the sizes.
func (p *Pipeline) Stats() PipelineStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.state.Load()
	s := PipelineStats{Rules: p.rules, Actions: len(p.actions.byText), Generation: st.gen}
	s.Groups, s.Meters = len(p.groups), len(p.meters)
	for i, t := range p.used() {
		if t != nil && t.Rules() > 0 {
			s.ByTable = append(s.ByTable, TableStats{Table: uint8(i), Rules: t.Rules(), Masks: t.Masks(), Tuples: t.Tuples()})
			s.Tables++
			s.Masks += t.Masks()
		}
	}
	return s
}
