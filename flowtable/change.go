package flowtable

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Command is what a Change does.
type Command uint8

// The commands. Strict forms are a property of the Filter.
const (
	Add    Command = iota // Rule replaces a rule with the same table, priority and match, or is added
	Modify                // every rule that Filter selects gets Rule's actions; nothing is added
	Delete                // every rule that Filter selects goes
)

// Change is one step of a transaction (OpenFlow 1.3 §6.4).
type Change struct {
	Command Command
	// Rule is what Add adds. Of it, Modify takes Actions, FlagResetCounts and, with SetCookie, Cookie.
	Rule      *Rule
	Filter    Filter
	SetCookie bool
}

// Filter selects rules. The zero Filter selects all.
type Filter struct {
	HasTable bool // only rules of Table
	Table    uint8
	// Match selects rules that are equal to it or more special; with Strict, only those equal to it, with Priority.
	Match      Match
	Strict     bool
	Priority   uint16
	Cookie     uint64 // of rules, in the bits of CookieMask
	CookieMask uint64
	OutPort    uint32 // only rules that output to this port, PortAny = all
}

// accepts checks everything except table, match and priority.
func (f *Filter) accepts(c *record, actions []Action) bool {
	if (c.cookie^f.Cookie)&f.CookieMask != 0 {
		return false
	}
	if f.OutPort == PortAny {
		return true
	}
	for i := range actions {
		a := &actions[i]
		if a.Kind == ActionOutput && a.Port == f.OutPort || a.Kind == ActionLocal && f.OutPort == PortLocal {
			return true
		}
	}
	return false
}

// selected returns the live slots that f selects.
func (p *Pipeline) selected(f *Filter) []uint32 {
	var slots []uint32
	take := func(slot uint32) {
		c := p.slab.chunks.at(slot)
		if c.live() && (!f.Strict || c.priority == f.Priority) && f.accepts(c, p.actions.chunks.at(c.actions).actions) {
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
func (p *Pipeline) selectIn(t *tuple, f *Filter, take func(uint32)) {
	if t.mask == f.Match.Mask {
		// One probe instead of a walk.
		var picked Key
		hash := t.shape.pick(&f.Match.Key, &picked, t.seed)
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
func (p *Pipeline) Apply(changes []Change) error {
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
	x.commit()
	return nil
}

// Add adds rules in one transaction; see Apply.
func (p *Pipeline) Add(rules ...*Rule) error {
	changes := make([]Change, len(rules))
	for i, r := range rules {
		changes[i].Rule = r
	}
	return p.Apply(changes)
}

// Delete deletes what f selects and returns how many rules that were.
func (p *Pipeline) Delete(f Filter) int {
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
func (p *Pipeline) ReplaceAll(rules []*Rule) error {
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
	for _, slot := range p.selected(&Filter{}) {
		if _, ok := keep[slot]; !ok {
			x.remove(slot)
		}
	}
	x.commit()
	return nil
}

func (x *txn) apply(c *Change) error {
	switch c.Command {
	case Add:
		if c.Rule == nil {
			return fmt.Errorf("flowtable: change without a rule to add")
		}
		return x.add(c.Rule)
	case Modify:
		if c.Rule == nil {
			return fmt.Errorf("flowtable: change without actions to set")
		}
		return x.modify(c)
	case Delete:
		x.delete(&c.Filter)
		return nil
	}
	return fmt.Errorf("flowtable: unknown command %d", c.Command)
}

// replace adds r unless an equal rule is there.
func (x *txn) replace(r *Rule) (uint32, error) {
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
func (x *txn) add(r *Rule) error {
	if err := r.Validate(); err != nil {
		return err
	}
	old := x.p.exact(r.Table, &r.Match, r.Priority)
	if old == noSlot && r.Flags&FlagCheckOverlap != 0 {
		if err := x.checkOverlap(r); err != nil {
			return err
		}
	}
	slot, err := x.insert(r, x.now)
	if err != nil || old == noSlot {
		return err
	}
	x.supersede(old, slot, r.Flags&FlagResetCounts != 0)
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
func (x *txn) checkOverlap(r *Rule) error {
	p := x.p
	var found *Rule
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
			" change a priority or narrow a match", found.Format(nil))
	}
	return nil
}

// modify gives new actions to what the filter selects. Counters, duration and timeouts stay (OpenFlow 1.3 §6.4).
func (x *txn) modify(c *Change) error {
	p := x.p
	for _, slot := range p.selected(&c.Filter) {
		old := p.slab.chunks.at(slot)
		r := p.ruleOf(old)
		was := r
		r.Actions = c.Rule.Actions
		if c.SetCookie {
			r.Cookie = c.Rule.Cookie
		}
		if err := r.Validate(); err != nil {
			return fmt.Errorf("flowtable: modify %q: %w", was.Format(nil), err)
		}
		reset := c.Rule.Flags&FlagResetCounts != 0
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

func (x *txn) delete(f *Filter) {
	for _, slot := range x.p.selected(f) {
		x.remove(slot)
	}
}

// Reason says why a rule ended.
type Reason uint8

// The reasons.
const (
	ReasonNone        Reason = iota // the rule is there
	ReasonIdleTimeout               // no packet for its idle_timeout
	ReasonHardTimeout               // its hard_timeout is over
)

// RuleStats is a rule and what it did. Counts are exact; ages are good to a second, the rhythm of Expire.
type RuleStats struct {
	Rule    Rule
	Packets uint64
	Bytes   uint64 // frames without their check sequence
	// Duration is how long the rule has been there, IdleAge how long ago its last packet was (or it came), HardAge how
	// long ago its actions were set.
	Duration, IdleAge, HardAge time.Duration
	Reason                     Reason
}

func (p *Pipeline) stats(slot uint32, now time.Time) RuleStats {
	c := p.slab.chunks.at(slot)
	s := RuleStats{Rule: p.ruleOf(c)}
	var used uint64
	s.Packets, s.Bytes, used = p.counts(slot, 0, 0, 0)
	s.Duration = max(0, now.Sub(time.Unix(0, c.created)))
	s.HardAge = max(0, now.Sub(time.Unix(0, c.modified)))
	s.IdleAge = max(0, time.Duration(now.Unix()-int64(used))*time.Second)
	return s
}

// Dump returns what f selects with its counters, by table, falling priority and age.
func (p *Pipeline) Dump(f Filter) []RuleStats {
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
	out := make([]RuleStats, len(slots))
	for i, slot := range slots {
		out[i] = p.stats(slot, now)
	}
	return out
}

// Expire removes rules whose timeouts are over and returns them with their last counts. It also tells lookups the time,
// for idle ages, and tidies up: call it once a second.
func (p *Pipeline) Expire(now time.Time) []RuleStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock.Store(uint64(now.Unix()))
	x := p.begin()
	x.now = now
	var gone []RuleStats
	for slot := range p.timed {
		if reason := p.expired(slot, now); reason != ReasonNone {
			s := p.stats(slot, now)
			s.Reason = reason
			gone = append(gone, s)
			x.remove(slot)
		}
	}
	slices.SortFunc(gone, func(a, b RuleStats) int {
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
func (p *Pipeline) expired(slot uint32, now time.Time) Reason {
	c := p.slab.chunks.at(slot)
	if c.hard != 0 && now.Sub(time.Unix(0, c.modified)) >= time.Duration(c.hard)*time.Second {
		return ReasonHardTimeout
	}
	last := uint64(max(0, now.Unix()-int64(c.idle)))
	if c.idle == 0 || c.used > last {
		return ReasonNone
	}
	if _, _, c.used = p.counts(slot, 0, 0, 0); c.used > last {
		return ReasonNone
	}
	return ReasonIdleTimeout
}

// PipelineStats are the sizes of a pipeline.
type PipelineStats struct {
	Rules      int          // in all tables
	Tables     int          // tables with rules
	ByTable    []TableStats // tables with rules, in their order
	Masks      int          // distinct masks, by table: the bound on the work of one classification in a table
	Actions    int          // distinct action lists
	Generation uint64       // grows with every transaction that changed something
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
