package flowtable

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"weft/flowtable/flow"
)

// group is an entry of the group table as lookups see it. It is replaced, never changed.
type group struct {
	def     flow.Group
	slot    uint32 // of its counters
	buckets []bucket

	// Control side only.
	created int64 // Unix time, nanoseconds
	effects []*effects
}

// bucket is what lookups know of a bucket.
type bucket struct {
	id      uint32
	slot    uint32 // of its counters
	weight  uint16
	live    bool
	actions []flow.Action // in the order in which they are executed
}

// groupTable is all groups by their number. It is replaced, never changed.
type groupTable map[uint32]*group

// newSlot takes a record for its counters alone: of a group or a bucket.
func (p *Pipeline) newSlot() uint32 {
	slot, grew := p.slab.alloc()
	if grew {
		for _, l := range p.lookups {
			l.growCounters(len(p.slab.chunks))
		}
	}
	for _, l := range p.lookups {
		l.clearCounter(slot)
	}
	*p.slab.chunks.at(slot) = record{}
	return slot
}

// groupMod changes the group table (OpenFlow 1.3 §6.7).
func (x *txn) groupMod(m *flow.GroupMod) error {
	id := m.Group.ID
	switch m.Command {
	case flow.GroupDelete:
		x.deleteGroup(id)
		return nil
	case flow.GroupDeleteAll:
		for _, id := range slices.Sorted(maps.Keys(x.groups)) {
			x.deleteGroup(id)
		}
		return nil
	case flow.GroupAdd, flow.GroupModify, flow.GroupAddOrModify:
	default:
		return fmt.Errorf("flowtable: unknown group command %d", m.Command)
	}
	if err := m.Group.Validate(); err != nil {
		return err
	}
	old := x.groups[id]
	switch {
	case old != nil && m.Command == flow.GroupAdd:
		return fmt.Errorf("flowtable: group %d exists; modify it", id)
	case old == nil && m.Command == flow.GroupModify:
		return fmt.Errorf("flowtable: group %d does not exist; add it", id)
	case old == nil && len(x.groups) == MaxGroups:
		return fmt.Errorf("flowtable: there are %d groups, which is the most", MaxGroups)
	case old != nil && old.def.Equal(&m.Group):
		return nil
	}
	g := x.p.newGroup(&m.Group, x.now)
	x.entries++
	x.newGroups = append(x.newGroups, g)
	if old != nil {
		g.created = old.created
		x.oldGroups = append(x.oldGroups, old)
	}
	x.writableGroups()[id] = g
	return nil
}

// MaxGroups is how many groups a pipeline takes.
const MaxGroups = 1 << 16

// newGroup makes a group that nobody sees yet.
func (p *Pipeline) newGroup(def *flow.Group, now time.Time) *group {
	g := &group{def: *def, slot: p.newSlot(), created: now.UnixNano()}
	g.def.Buckets = slices.Clone(def.Buckets)
	for i := range g.def.Buckets {
		b := &g.def.Buckets[i]
		b.Actions = slices.Clone(b.Actions)
		actions := flow.AppendActionSet(nil, b.Actions)
		g.buckets = append(g.buckets, bucket{id: b.ID, slot: p.newSlot(), weight: b.Weight, actions: actions})
		g.effects = append(g.effects, p.actions.addEffects(actions, def.Type == flow.GroupSelect))
	}
	return g
}

// dropGroup gives back what newGroup took. Lookups of epochs before epoch may still use it.
func (p *Pipeline) dropGroup(g *group, epoch uint64) {
	for _, e := range g.effects {
		p.actions.removeEffects(e)
	}
	p.unlinked = append(p.unlinked, grace{g.slot, epoch})
	for i := range g.buckets {
		p.unlinked = append(p.unlinked, grace{g.buckets[i].slot, epoch})
	}
}

// writableGroups returns the transaction's own copy of the group table.
func (x *txn) writableGroups() groupTable {
	if !x.groupsChanged {
		x.groups = maps.Clone(x.groups)
		if x.groups == nil {
			x.groups = groupTable{}
		}
		x.groupsChanged = true
	}
	return x.groups
}

// deleteGroup deletes a group and the rules that use it.
func (x *txn) deleteGroup(id uint32) {
	g := x.groups[id]
	if g == nil {
		return
	}
	x.removeUsers(target{false, id})
	x.entries++
	x.oldGroups = append(x.oldGroups, g)
	delete(x.writableGroups(), id)
}

// removeUsers removes the rules that use t.
func (x *txn) removeUsers(t target) {
	for _, slot := range slices.Sorted(maps.Keys(x.p.users[t])) {
		x.remove(slot)
	}
}

// checkTargets refuses actions that use groups or meters which do not exist.
func (x *txn) checkTargets(actions []flow.Action) error {
	for i := range actions {
		switch a := &actions[i]; a.Kind {
		case flow.ActionGroup:
			if x.groups[a.ID] == nil {
				return &flow.ActionError{I: i, Msg: fmt.Sprintf("group %d does not exist", a.ID), Hint: "add it first"}
			}
		case flow.ActionMeter:
			if x.meters[a.ID] == nil {
				return &flow.ActionError{I: i, Msg: fmt.Sprintf("meter %d does not exist", a.ID), Hint: "add it first"}
			}
		}
	}
	return nil
}

// settleGroups checks the groups as a whole and brings up to date which buckets are live. It notes the rules whose
// packets the transaction may send another way.
func (x *txn) settleGroups() error {
	p := x.p
	if x.groupsChanged {
		if err := x.groups.check(); err != nil {
			return err
		}
	}
	affected := make(map[uint32]bool)
	alive := liveness{groups: x.groups, ports: p.live, known: make(map[uint32]bool)}
	for _, id := range slices.Sorted(maps.Keys(x.groups)) {
		g := x.groups[id]
		if fresh := alive.revive(g); fresh != nil {
			x.writableGroups()[id] = fresh
			g = fresh
		}
		if before := p.groups[id]; before != nil && before != g {
			affected[id] = true
		}
	}
	// Groups that send packets on to those are affected as well.
	for again := len(affected) > 0; again; {
		again = false
		for id, g := range x.groups {
			if !affected[id] && g.uses(affected) {
				affected[id], again = true, true
			}
		}
	}
	for id := range affected {
		x.noteUsers(target{false, id})
	}
	return nil
}

// noteUsers notes that the rules which use t may do something else now.
func (x *txn) noteUsers(t target) {
	users := x.p.users[t]
	if len(users)+len(x.p.noted) > maxNoted {
		x.all = true
		return
	}
	for slot := range users {
		x.note(slot)
	}
}

// uses reports whether a bucket of g sends packets to one of groups.
func (g *group) uses(groups map[uint32]bool) bool {
	for i := range g.buckets {
		for _, t := range targetsOf(g.buckets[i].actions) {
			if !t.meter && groups[t.id] {
				return true
			}
		}
	}
	return false
}

// liveness finds out which buckets are live, and asks for each group that is watched only once.
type liveness struct {
	groups groupTable
	ports  map[uint32]bool // those that have a link
	known  map[uint32]bool // groups that were watched, and whether they have a live bucket
}

// revive returns g with its buckets' liveness as it is now, nil if it is so already.
func (l *liveness) revive(g *group) *group {
	var fresh *group
	for i := range g.buckets {
		live := l.bucket(g, i)
		if g.buckets[i].live == live {
			continue
		}
		if fresh == nil {
			clone := *g
			clone.buckets = slices.Clone(g.buckets)
			fresh = &clone
		}
		fresh.buckets[i].live = live
	}
	return fresh
}

// bucket reports whether bucket i of g can be used: one that watches a port or a group, while either of them is live.
// That ends, since groups do not form loops.
func (l *liveness) bucket(g *group, i int) bool {
	b := &g.def.Buckets[i]
	switch {
	case g.def.Type == flow.GroupSelect && b.Weight == 0:
		return false
	case !b.Watched(), b.WatchPort != 0 && l.ports[b.WatchPort]:
		return true
	case b.WatchGroup == flow.NoGroup:
		return false
	}
	return l.group(b.WatchGroup)
}

// group reports whether a group has a live bucket.
func (l *liveness) group(id uint32) bool {
	live, ok := l.known[id]
	if ok {
		return live
	}
	if g := l.groups[id]; g != nil {
		for i := range g.def.Buckets {
			if live = l.bucket(g, i); live {
				break
			}
		}
	}
	l.known[id] = live
	return live
}

// maxGroupChain is how many groups may follow each other (Open vSwitch bounds liveness checks likewise).
const maxGroupChain = 64

// GroupError is what is wrong with a group among others.
type GroupError struct {
	ID  uint32
	Msg string
}

func (e *GroupError) Error() string { return fmt.Sprintf("flowtable: group %d %s", e.ID, e.Msg) }

// CheckGroups reports what would keep groups from being all the groups of a pipeline, as a *GroupError: one names a group
// that is not there, or leads back to itself. Each alone must be valid, and none there twice.
func CheckGroups(groups []*flow.Group) error {
	t := make(groupTable, len(groups))
	for _, g := range groups {
		t[g.ID] = &group{def: *g}
	}
	return t.check()
}

// check refuses groups that name one which does not exist, and chains that are loops or too long.
func (t groupTable) check() error {
	depth := make(map[uint32]int, len(t)) // of the chain from a group on; -1 while it is being looked at
	var visit func(id uint32) (int, error)
	visit = func(id uint32) (int, error) {
		if d, ok := depth[id]; ok {
			if d < 0 {
				return 0, &GroupError{id, "leads back to itself; groups must not form loops"}
			}
			return d, nil
		}
		depth[id] = -1
		longest := 0
		for _, next := range t[id].def.Groups() {
			if t[next] == nil {
				return 0, &GroupError{id, fmt.Sprintf("names group %d, which does not exist; add it, or change group %d first",
					next, id)}
			}
			d, err := visit(next)
			if err != nil {
				return 0, err
			}
			longest = max(longest, d)
		}
		depth[id] = longest + 1
		if longest == maxGroupChain {
			return 0, &GroupError{id, fmt.Sprintf("begins a chain of more than %d groups", maxGroupChain)}
		}
		return longest + 1, nil
	}
	for _, id := range slices.Sorted(maps.Keys(t)) {
		if _, err := visit(id); err != nil {
			return err
		}
	}
	return nil
}

// SetPortLive tells whether a port has a link, which buckets with watch_port go by. Ports that were never named have
// none. Only flows whose way through a group may change are classified again.
func (p *Pipeline) SetPortLive(port uint32, live bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live[port] == live {
		return
	}
	if live {
		p.live[port] = true
	} else {
		delete(p.live, port)
	}
	x := p.begin()
	if err := x.settleGroups(); err != nil {
		return // groups that were right before are right now
	}
	x.commit()
}

// SetFragments says how fragments are treated from now on.
func (p *Pipeline) SetFragments(mode flow.Fragments) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fragments == mode {
		return
	}
	x := p.begin()
	p.fragments, x.all = mode, true
	x.commit()
}

// Groups returns the groups by their numbers, with their counters.
func (p *Pipeline) Groups() []flow.GroupStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	out := make([]flow.GroupStats, 0, len(p.groups))
	for _, g := range p.groups {
		s := flow.GroupStats{Group: g.def, Refs: len(p.users[target{false, g.def.ID}])}
		s.Packets, s.Bytes, _ = p.counts(g.slot, 0, 0, 0)
		s.Duration = max(0, now.Sub(time.Unix(0, g.created)))
		for i := range g.buckets {
			var n flow.BucketStats
			n.Packets, n.Bytes, _ = p.counts(g.buckets[i].slot, 0, 0, 0)
			s.Buckets = append(s.Buckets, n)
			s.Live = append(s.Live, g.buckets[i].live)
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b flow.GroupStats) int { return cmp.Compare(a.Group.ID, b.Group.ID) })
	return out
}
