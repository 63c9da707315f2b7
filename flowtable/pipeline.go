package flowtable

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weft/flowtable/classifier"
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
	classes *classifier.Store
	tables  [flow.NumTables]*classifier.Table // those that ever had rules
	top     int                               // from which on there are none
	rules   int
	serial  uint64
	lookups []*Lookup
	timed   map[uint32]struct{}            // slots of live rules with a timeout
	users   map[target]map[uint32]struct{} // slots of live rules by the groups and meters that they use
	groups  groupTable                     // as published
	meters  map[uint32]*meterEntry         // as published
	live    map[uint32]bool                // ports that have a link
	work    txn                            // the transaction on its way
	noted   []uint32                       // slots of what it changed, for the log
	hashes  []notedHash                    // of these, while the log's entry is made
	slots   []uint32                       // what selected returned
	walks   sync.Pool                      // of *walk

	fragments flow.Fragments

	removed  []grace // invisible from an epoch on, still linked
	unlinked []grace // not linked any more, not yet free
	wide     *layout // the layout in use, whose union may be wider than the rules need
	slackAt  int64   // since when it is wider, Unix seconds, 0 = it is not
}

// grace is a slot that becomes free when no Lookup is at an epoch before epoch.
type grace struct {
	slot  uint32
	epoch uint64
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
		timed: make(map[uint32]struct{}),
		users: make(map[target]map[uint32]struct{}),
		live:  make(map[uint32]bool),
	}
	if p.now == nil {
		p.now = time.Now
	}
	p.classes = classifier.NewStore(p.seed)
	p.wide = makeLayout(new(flow.Key), false)
	p.state.Store(&state{gen: 1, epoch: 1, layout: p.wide})
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
	// superseded counts those of removed that have a successor in added, modified those of them whose actions a change
	// of the kind Modify set.
	superseded, modified int
	entries              int // groups and meters that were added, changed or deleted

	groups        groupTable
	groupsChanged bool
	newGroups     []*group // made by the transaction
	oldGroups     []*group // replaced or deleted by it
	meters        map[uint32]*meterEntry
	metersChanged bool
	takenSlots    map[uint32]bool // of meters in the last state
	nextMeter     uint32          // the first place that may be free
	bulk          bool            // so many changes that placing them well now is worth some time
	all           bool            // so much changed that the log does not say what
}

func (p *Pipeline) begin() *txn {
	p.reclaim()
	p.noted = p.noted[:0]
	st := p.state.Load()
	p.classes.Epoch(st.epoch + 1)
	p.work = txn{
		p: p, gen: st.gen + 1, now: p.now(), groups: p.groups, meters: p.meters,
		added: again(p.work.added), removed: again(p.work.removed),
	}
	return &p.work
}

// keptSlots is up to how many slots a list keeps its memory for the next transaction.
const keptSlots = 1 << 14

// again is a list without its slots, to be filled anew.
func again(list []uint32) []uint32 {
	if cap(list) > keptSlots {
		return nil
	}
	return list[:0]
}

// used are the tables up to the last one that ever had rules.
func (p *Pipeline) used() []*classifier.Table { return p.tables[:p.top] }

// tableFor returns a table's classifier, made if need be.
func (p *Pipeline) tableFor(table uint8) *classifier.Table {
	if p.tables[table] == nil {
		p.tables[table] = p.classes.NewTable()
		p.top = max(p.top, int(table)+1)
	}
	return p.tables[table]
}

// exact returns the live slot with r's table, match and priority.
func (p *Pipeline) exact(table uint8, m *flow.Match, priority uint16) uint32 {
	if p.tables[table] == nil {
		return noSlot
	}
	return p.tables[table].Exact(m, priority)
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
	c := p.slab.chunks.at(slot)
	*c = record{
		added: x.gen, priority: r.Priority, table: r.Table, flags: r.Flags, live: true,
		cookie: r.Cookie, created: created.UnixNano(), modified: x.now.UnixNano(), used: uint64(x.now.Unix()),
		serial: p.serial, idle: r.IdleTimeout, hard: r.HardTimeout, importance: r.Importance,
		actions: p.actions.acquire(r.Actions),
	}
	t := p.tableFor(r.Table)
	t.Insert(slot, &r.Match, r.Priority, c.actions, x.gen)
	if x.bulk && t.Wanting() {
		t.Replan(x.gen - 1)
	}
	p.count(slot, c, 1)
	x.added = append(x.added, slot)
	x.note(slot)
	return slot, nil
}

// remove ends a rule's version.
func (x *txn) remove(slot uint32) {
	p := x.p
	c := p.slab.chunks.at(slot)
	x.note(slot)
	p.tables[c.table].Remove(slot, x.gen)
	c.live = false
	p.count(slot, c, -1)
	x.removed = append(x.removed, slot)
}

// count takes a live rule into the sums (1) or out of them (-1).
func (p *Pipeline) count(slot uint32, c *record, d int) {
	p.rules += d
	switch {
	case c.idle == 0 && c.hard == 0:
	case d > 0:
		p.timed[slot] = struct{}{}
	default:
		delete(p.timed, slot)
	}
	for _, t := range p.actions.chunks.at(c.actions).targets {
		if d < 0 {
			if delete(p.users[t], slot); len(p.users[t]) == 0 {
				delete(p.users, t)
			}
			continue
		}
		if p.users[t] == nil {
			p.users[t] = make(map[uint32]struct{})
		}
		p.users[t][slot] = struct{}{}
	}
}

// abort undoes everything that was done since begin.
func (x *txn) abort() {
	p := x.p
	for _, slot := range x.added {
		c := p.slab.chunks.at(slot)
		if c.live {
			p.count(slot, c, -1)
		}
		// No reader ever saw it; it goes as removed versions do.
		p.tables[c.table].Cancel(slot)
		c.live = false
		c.pred, c.succ = noSlot, noSlot
		p.removed = append(p.removed, grace{slot, p.state.Load().epoch})
	}
	for _, slot := range x.removed {
		c := p.slab.chunks.at(slot)
		if c.added == x.gen {
			continue
		}
		p.tables[c.table].Revive(slot)
		c.live = true
		c.succ = noSlot
		p.count(slot, c, 1)
	}
	for _, g := range x.newGroups {
		p.dropGroup(g, p.state.Load().epoch+1)
	}
	p.reclaim()
}

// commit publishes the transaction.
func (x *txn) commit() {
	p := x.p
	if len(x.added)+len(x.removed) == 0 && !x.groupsChanged && !x.metersChanged && !x.all {
		return
	}
	old := p.state.Load()
	st := &state{
		gen: x.gen, epoch: old.epoch + 1, actions: p.actions.chunks, log: old.log,
		groups: x.groups, meters: old.meters, meterSlots: old.meterSlots, fragments: p.fragments,
	}
	st.log[x.gen%logLength] = x.changeSet()
	for _, slot := range x.removed {
		p.removed = append(p.removed, grace{slot, st.epoch})
	}
	p.widen(x.now.Unix())
	x.publishMeters(st)
	p.groups = x.groups
	p.clock.Store(uint64(x.now.Unix()))
	p.publish(st)
	x.dropOldGroups(st.epoch)
}

// dropOldGroups gives back what the groups had that are gone, those that came and went in this transaction included.
func (x *txn) dropOldGroups(epoch uint64) {
	for _, g := range x.oldGroups {
		x.p.dropGroup(g, epoch)
	}
}

// publish shows st, with the tables and the layout as they are now.
func (p *Pipeline) publish(st *state) {
	p.classes.Epoch(st.epoch)
	st.tables = make([]classifier.View, p.top)
	for i, t := range p.used() {
		if t != nil {
			st.tables[i] = t.View()
		}
	}
	st.layout = p.wide
	p.state.Store(st)
}

// turn begins a new epoch in the middle of a transaction and shows nothing new, so that memory which a long one gives up
// on its way can be used again by itself.
func (p *Pipeline) turn() {
	st := *p.state.Load()
	st.epoch++
	p.state.Store(&st)
	p.reclaim()
}

// Rules that come and go must not make the cache lose everything each time, as a new layout does: the layout widens at
// once when a rule looks at something new, and narrows only when nobody needed the extra bits for slackTime.
const slackTime = 10 // seconds

// need is the union of everything that the rules look at now, and whether what they change needs the transport header.
func (p *Pipeline) need() (need flow.Key, deep bool) {
	for _, t := range p.used() {
		if t == nil {
			continue
		}
		for w, m := range t.Union() {
			need[w] |= m
		}
	}
	deep = p.actions.need(&need)
	if p.fragments == flow.FragmentsDrop || p.fragments == flow.FragmentsNormal && need[flow.WordL4]&maskPorts != 0 {
		need[flow.WordPort] |= maskEthType // only IP has fragments
		need[flow.WordL4] |= maskFrag
	}
	clear(need[flow.PacketWords:]) // zero in every packet
	return need, deep
}

// widen sets the layout for a new state, at the time now.
func (p *Pipeline) widen(now int64) {
	need, deep := p.need()
	both := need
	for w, m := range p.wide.union {
		both[w] |= m
	}
	if both != p.wide.union || deep && !p.wide.deep {
		p.wide = makeLayout(&both, deep || p.wide.deep)
	}
	switch {
	case need == p.wide.union && deep == p.wide.deep:
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
	need, deep := p.need()
	p.wide, p.slackAt = makeLayout(&need, deep), 0
	return true
}

// oldest is the oldest epoch that a Lookup may be looking at.
func (p *Pipeline) oldest() uint64 {
	oldest := uint64(math.MaxUint64)
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
	p.classes.Epoch(p.state.Load().epoch + 1)
	p.classes.Reclaim(oldest)
	// What is unlinked below is not released before the next time: a Lookup may have met it since oldest was asked for.
	n := 0
	for ; n < len(p.unlinked) && p.unlinked[n].epoch <= oldest; n++ {
		p.slab.release(p.unlinked[n].slot)
	}
	p.unlinked = slices.Delete(p.unlinked, 0, n)
	n = 0
	for ; n < len(p.removed) && p.removed[n].epoch <= oldest; n++ {
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
	p.tables[c.table].Unlink(slot)
	p.actions.release(c.actions)
	p.unlinked = append(p.unlinked, grace{slot, p.state.Load().epoch + 1})
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

// ruleOf reconstructs the rule of a slot. The actions are shared and not to be changed.
func (p *Pipeline) ruleOf(slot uint32) flow.Rule {
	c := p.slab.chunks.at(slot)
	return flow.Rule{
		Match: p.classes.Match(slot), Table: c.table, Priority: c.priority, Flags: c.flags, IdleTimeout: c.idle,
		HardTimeout: c.hard, Importance: c.importance, Cookie: c.cookie, Actions: p.actions.chunks.at(c.actions).actions,
	}
}
