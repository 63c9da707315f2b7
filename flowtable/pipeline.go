package flowtable

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weft/flowtable/flow"
)

// Pipeline is the tables of one bridge.
//
// Concurrency: every method may be called from any goroutine. Changes take a mutex; lookups (see Lookup) take none and
// never wait. A transaction becomes visible at once: each batch of packets sees the rules before it or after it.
type Pipeline struct {
	state atomic.Pointer[state]
	clock atomic.Uint64 // Unix seconds, as of the last change or Expire
	now   func() time.Time

	mu      sync.Mutex
	seed    uint64
	slab    slab
	actions actionStore
	tuples  [flow.NumTables]map[flow.Key]*tuple
	unions  [flow.NumTables]flow.Key // of the masks of each table's tuples
	byID    map[uint32]*tuple
	nextID  uint32
	rules   int
	serial  uint64
	lookups []*Lookup
	timed   map[uint32]struct{}            // slots of live rules with a timeout
	users   map[target]map[uint32]struct{} // slots of live rules by the groups and meters that they use
	groups  groupTable                     // as published
	meters  map[uint32]*meterEntry         // as published
	live    map[uint32]bool                // ports that have a link

	removed  []grace // invisible from a generation on, still linked
	unlinked []grace // not linked any more, not yet free
	wide     *layout // the layout in use, whose union may be wider than the rules need
	slackAt  int64   // since when it is wider, Unix seconds, 0 = it is not
}

// grace is a slot that becomes free when no Lookup is at a generation before gen.
type grace struct {
	slot uint32
	gen  uint64
}

// Config is what a pipeline needs from outside.
type Config struct {
	// Now is the clock for durations and timeouts; nil means time.Now.
	Now func() time.Time
}

// MaxRules is how many rules a pipeline takes.
const MaxRules = 1 << 24

// NewPipeline returns a pipeline without rules: it drops everything.
func NewPipeline(cfg Config) *Pipeline {
	p := &Pipeline{
		now:   cfg.Now,
		seed:  rand.Uint64() | 1,
		byID:  make(map[uint32]*tuple),
		timed: make(map[uint32]struct{}),
		users: make(map[target]map[uint32]struct{}),
		live:  make(map[uint32]bool),
	}
	if p.now == nil {
		p.now = time.Now
	}
	p.wide = makeLayout(new(flow.Key))
	p.state.Store(&state{gen: 1, layout: p.wide})
	p.clock.Store(uint64(p.now().Unix()))
	return p
}

// txn is a transaction on its way: everything in it is invisible until commit, and undone by abort.
type txn struct {
	p       *Pipeline
	gen     uint64 // the generation that will show it
	now     time.Time
	added   []uint32
	removed []uint32
	dirty   [flow.NumTables]bool // the list of tuples changes
	changed []tableMatch
	all     bool

	groups        groupTable
	groupsChanged bool
	newGroups     []*group // made by the transaction
	oldGroups     []*group // replaced or deleted by it
	meters        map[uint32]*meterEntry
	metersChanged bool
	takenSlots    map[uint32]bool // of meters in the last state
	nextMeter     uint32          // the first place that may be free
}

// tableMatch is the match of a rule that changed, and its table.
type tableMatch struct {
	table uint8
	match flow.Match
}

func (p *Pipeline) begin() *txn {
	p.reclaim()
	return &txn{p: p, gen: p.state.Load().gen + 1, now: p.now(), groups: p.groups, meters: p.meters}
}

// note remembers that match changed, for the log.
func (x *txn) note(table uint8, m *flow.Match) {
	if len(x.changed) == logMatches {
		x.all = true
		return
	}
	x.changed = append(x.changed, tableMatch{table, *m})
}

// changeSet is the log entry of what the transaction changed.
func (x *txn) changeSet() *changeSet {
	set := &changeSet{gen: x.gen, all: x.all}
	if set.all {
		return set
	}
	rewritable := x.p.actions.rewritable()
	for _, c := range x.changed {
		if x.p.actions.chained == 0 {
			// Without resubmit and goto_table, now and before, only table 0 is looked at, with the packet's own key.
			if c.table == 0 {
				set.matches = append(set.matches, c.match)
			}
			continue
		}
		for w := range rewritable {
			c.match.Mask[w] &^= rewritable[w]
			c.match.Key[w] &^= rewritable[w]
		}
		set.matches = append(set.matches, c.match)
	}
	return set
}

// tupleFor returns the tuple of table for mask, made if need be.
func (p *Pipeline) tupleFor(table uint8, mask *flow.Key) *tuple {
	if p.tuples[table] == nil {
		p.tuples[table] = make(map[flow.Key]*tuple)
	}
	t := p.tuples[table][*mask]
	if t == nil {
		p.nextID++
		t = newTuple(p.nextID, table, mask, p.seed, &p.slab.newest)
		p.tuples[table][*mask] = t
		p.byID[t.id] = t
	}
	return t
}

// exact returns the live slot with r's table, match and priority.
func (p *Pipeline) exact(table uint8, m *flow.Match, priority uint16) uint32 {
	t := p.tuples[table][m.Mask]
	if t == nil {
		return noSlot
	}
	var picked flow.Key
	hash := t.shape.Pick(&m.Key, &picked, t.seed)
	for slot := t.head(p.slab.chunks, hash, &picked); slot != noSlot; {
		c := p.slab.chunks.at(slot)
		if c.priority == priority && c.live() {
			return slot
		}
		slot = c.next
	}
	return noSlot
}

// insert adds a version of a rule.
func (x *txn) insert(r *flow.Rule, created time.Time) (uint32, error) {
	p := x.p
	if p.rules >= MaxRules {
		return noSlot, fmt.Errorf("flowtable: the pipeline is full: it holds %d rules", MaxRules)
	}
	if err := x.checkTargets(r.Actions); err != nil {
		return noSlot, err
	}
	slot := p.newSlot()
	p.serial++
	t := p.tupleFor(r.Table, &r.Match.Mask)
	c := p.slab.chunks.at(slot)
	*c = record{
		added: x.gen, removed: forever, priority: r.Priority, table: r.Table, flags: r.Flags,
		cookie: r.Cookie, created: created.UnixNano(), modified: x.now.UnixNano(), used: uint64(x.now.Unix()),
		tuple: t.id, serial: p.serial, idle: r.IdleTimeout, hard: r.HardTimeout, importance: r.Importance,
	}
	c.hash = t.shape.Pick(&r.Match.Key, &c.key, t.seed)
	c.actions = p.actions.acquire(r.Actions)
	t.link(p.slab.chunks, slot)
	x.count(slot, c)
	x.added = append(x.added, slot)
	x.note(r.Table, &r.Match)
	return slot, nil
}

// remove ends a rule's version.
func (x *txn) remove(slot uint32) {
	c := x.p.slab.chunks.at(slot)
	atomic.StoreUint64(&c.removed, x.gen)
	x.uncount(slot, c)
	x.removed = append(x.removed, slot)
	m := x.p.matchOf(c)
	x.note(c.table, &m)
}

// count takes a live rule into the sums. The table's list of tuples changes if it is the first or the best in its
// tuple.
func (x *txn) count(slot uint32, c *record) {
	p := x.p
	t := p.byID[c.tuple]
	if t.count++; t.count == 1 || c.priority > t.top {
		x.dirty[t.table] = true
	}
	t.priorities[c.priority]++
	p.rules++
	if c.idle != 0 || c.hard != 0 {
		p.timed[slot] = struct{}{}
	}
	for _, t := range p.actions.chunks.at(c.actions).targets {
		if p.users[t] == nil {
			p.users[t] = make(map[uint32]struct{})
		}
		p.users[t][slot] = struct{}{}
	}
}

// uncount is the opposite.
func (x *txn) uncount(slot uint32, c *record) {
	p := x.p
	t := p.byID[c.tuple]
	if t.priorities[c.priority]--; t.priorities[c.priority] == 0 {
		delete(t.priorities, c.priority)
		x.dirty[t.table] = x.dirty[t.table] || c.priority == t.top
	}
	if t.count--; t.count == 0 {
		x.dirty[t.table] = true
	}
	p.rules--
	delete(p.timed, slot)
	for _, t := range p.actions.chunks.at(c.actions).targets {
		if delete(p.users[t], slot); len(p.users[t]) == 0 {
			delete(p.users, t)
		}
	}
}

// abort undoes everything that was done since begin.
func (x *txn) abort() {
	p := x.p
	for _, slot := range x.added {
		c := p.slab.chunks.at(slot)
		if c.live() {
			x.uncount(slot, c)
		}
		// No reader ever saw it; it goes as removed versions do.
		atomic.StoreUint64(&c.removed, 0)
		c.pred, c.succ = noSlot, noSlot
		p.removed = append(p.removed, grace{slot, x.gen - 1})
	}
	for _, slot := range x.removed {
		c := p.slab.chunks.at(slot)
		if c.added == x.gen {
			continue
		}
		atomic.StoreUint64(&c.removed, forever)
		c.succ = noSlot
		x.count(slot, c)
	}
	for _, g := range x.newGroups {
		p.dropGroup(g, x.gen)
	}
	p.reclaim()
}

// commit publishes the transaction.
func (x *txn) commit() {
	p := x.p
	if len(x.added)+len(x.removed) == 0 && !x.groupsChanged && !x.metersChanged {
		return
	}
	old := p.state.Load()
	st := &state{
		gen: x.gen, recs: p.slab.chunks, actions: p.actions.chunks, tables: old.tables, log: old.log,
		groups: x.groups, meters: old.meters, meterSlots: old.meterSlots,
	}
	for i, dirty := range x.dirty {
		if dirty {
			st.tables[i] = p.sortedTuples(uint8(i))
		}
	}
	st.log[x.gen%logLength] = x.changeSet()
	for _, slot := range x.removed {
		p.removed = append(p.removed, grace{slot, x.gen})
	}
	p.widen(x.now.Unix())
	st.layout = p.wide
	x.publishMeters(st)
	p.groups = x.groups
	p.clock.Store(uint64(x.now.Unix()))
	p.state.Store(st)
	x.dropOldGroups()
}

// dropOldGroups gives back what the groups had that are gone, those that came and went in this transaction included.
func (x *txn) dropOldGroups() {
	for _, g := range x.oldGroups {
		x.p.dropGroup(g, x.gen)
	}
}

// sortedTuples lists a table's tuples that have rules, highest priority first, and brings the table's union up to date.
func (p *Pipeline) sortedTuples(table uint8) []tupleRef {
	var refs []tupleRef
	union := &p.unions[table]
	*union = flow.Key{}
	for _, t := range p.tuples[table] {
		if t.count > 0 {
			t.top = t.highest()
			for w, m := range t.mask {
				union[w] |= m
			}
			refs = append(refs, tupleRef{t, t.top})
		}
	}
	slices.SortFunc(refs, func(a, b tupleRef) int {
		if a.top != b.top {
			return int(b.top) - int(a.top)
		}
		return int(a.t.id) - int(b.t.id)
	})
	return refs
}

// Rules that come and go must not make the cache lose everything each time, as a new layout does: the layout widens at
// once when a rule looks at something new, and narrows only when nobody needed the extra bits for slackTime.
const slackTime = 10 // seconds

// need is the union of everything that the rules look at now.
func (p *Pipeline) need() flow.Key {
	var need flow.Key
	for i := range p.unions {
		for w, m := range p.unions[i] {
			need[w] |= m
		}
	}
	p.actions.need(&need)
	clear(need[flow.PacketWords:]) // zero in every packet
	return need
}

// widen sets the layout for a new state, at the time now.
func (p *Pipeline) widen(now int64) {
	need := p.need()
	both := need
	for w, m := range p.wide.union {
		both[w] |= m
	}
	if both != p.wide.union {
		p.wide = makeLayout(&both)
	}
	switch {
	case need == p.wide.union:
		p.slackAt = 0
	case p.slackAt == 0:
		p.slackAt = now
	}
}

// narrow drops what has been unneeded for long enough. It reports whether the layout changed.
func (p *Pipeline) narrow(now int64) bool {
	if p.slackAt == 0 || now-p.slackAt < slackTime {
		return false
	}
	need := p.need()
	p.wide, p.slackAt = makeLayout(&need), 0
	return true
}

// oldest is the oldest generation that a Lookup may be looking at.
func (p *Pipeline) oldest() uint64 {
	oldest := uint64(forever)
	for _, l := range p.lookups {
		if g := atomic.LoadUint64(&l.active); g != 0 {
			oldest = min(oldest, g)
		}
	}
	return oldest
}

// reclaim takes apart what no reader needs any more. It never waits: what is still in use is left for the next time.
func (p *Pipeline) reclaim() {
	oldest := p.oldest()
	// What is unlinked below is not released before the next time: a Lookup may have met it since oldest was asked for.
	n := 0
	for ; n < len(p.unlinked) && p.unlinked[n].gen <= oldest; n++ {
		p.slab.release(p.unlinked[n].slot)
	}
	p.unlinked = slices.Delete(p.unlinked, 0, n)
	n = 0
	for ; n < len(p.removed) && p.removed[n].gen <= oldest; n++ {
		p.dismantle(p.removed[n].slot)
	}
	p.removed = slices.Delete(p.removed, 0, n)
}

// dismantle unlinks a version that nobody sees and hands its counts on to the version that replaced it.
func (p *Pipeline) dismantle(slot uint32) {
	c := p.slab.chunks.at(slot)
	if c.succ != noSlot {
		s := p.slab.chunks.at(c.succ)
		s.packets, s.bytes, s.used = p.counts(slot, s.packets, s.bytes, s.used)
		s.pred = noSlot
	}
	t := p.byID[c.tuple]
	t.unlink(p.slab.chunks, slot)
	if t.places == 0 {
		delete(p.byID, t.id)
		delete(p.tuples[t.table], t.mask)
	}
	p.actions.release(c.actions)
	p.unlinked = append(p.unlinked, grace{slot, p.state.Load().gen + 1})
}

// counts adds what was counted for slot by anyone, its predecessors included, to packets and bytes.
func (p *Pipeline) counts(slot uint32, packets, bytes, used uint64) (uint64, uint64, uint64) {
	for slot != noSlot {
		c := p.slab.chunks.at(slot)
		packets, bytes, used = packets+c.packets, bytes+c.bytes, max(used, c.used)
		for _, l := range p.lookups {
			n := l.counter(slot)
			packets += atomic.LoadUint64(&n.packets)
			bytes += atomic.LoadUint64(&n.bytes)
			used = max(used, atomic.LoadUint64(&n.used))
		}
		slot = c.pred
	}
	return packets, bytes, used
}

// matchOf reconstructs the match of a record.
func (p *Pipeline) matchOf(c *record) flow.Match {
	t := p.byID[c.tuple]
	m := flow.Match{Mask: t.mask}
	for i := range t.shape.N {
		m.Key[t.shape.Word[i]] = c.key[i]
	}
	return m
}

// ruleOf reconstructs the rule of a record. The actions are shared and not to be changed.
func (p *Pipeline) ruleOf(c *record) flow.Rule {
	return flow.Rule{
		Match: p.matchOf(c), Table: c.table, Priority: c.priority, Flags: c.flags, IdleTimeout: c.idle, HardTimeout: c.hard,
		Importance: c.importance, Cookie: c.cookie, Actions: p.actions.chunks.at(c.actions).actions,
	}
}
