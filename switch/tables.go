package vswitch

import (
	"cmp"
	"slices"
	"strings"

	"weft/flowtable/flow"
	"weft/flowtable/ofctl"
)

// numbered is a table of entries that are known by their numbers: groups or meters.
type numbered[T any] struct {
	live, configured, wanted map[uint32]*T

	equal func(a, b *T) bool
	set   func(old, entry *T) flow.Change // old is nil for one that is not there
	drop  func(id uint32) flow.Change
	was   func(entry *T) string // as text, with the present names of ports
	is    func(entry *T) string // with those to be
}

// byNumber indexes entries.
func byNumber[T any](list []*T, id func(*T) uint32) map[uint32]*T {
	m := make(map[uint32]*T, len(list))
	for _, x := range list {
		m[id(x)] = x
	}
	return m
}

// sorted lists the keys of m.
func sorted[T any](m map[uint32]*T) []uint32 {
	ids := make([]uint32, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, cmp.Compare[uint32])
	return ids
}

// come adds what the configuration has and the switch has not, or has otherwise.
func (n *numbered[T]) come(rc *ruleChange, lines *changeLines) {
	for _, id := range sorted(n.wanted) {
		entry, old := n.wanted[id], n.live[id]
		switch {
		case old == nil:
			lines.add("+", n.is(entry))
			rc.do(n.set(nil, entry), n.drop(id))
		case !n.equal(old, entry):
			lines.add("~", n.was(old)+" -> "+n.is(entry))
			rc.do(n.set(old, entry), n.set(entry, old))
		}
	}
}

// leaving are the entries that the last configuration had and this one has not, and that are as they were.
func (n *numbered[T]) leaving() map[uint32]*T {
	m := make(map[uint32]*T)
	for id, c := range n.configured {
		if n.wanted[id] == nil && n.live[id] != nil && n.equal(n.live[id], c) {
			m[id] = c
		}
	}
	return m
}

// leave removes entries, except for those that something uses which stays: they stay as if added at run time.
func (n *numbered[T]) leave(rc *ruleChange, lines *changeLines, leaving map[uint32]*T, used map[uint32]bool) {
	for _, id := range sorted(leaving) {
		if used[id] {
			lines.add("~", n.was(leaving[id])+" stays: what was added at run time uses it")
			continue
		}
		lines.add("-", n.was(leaving[id]))
		rc.do(n.drop(id), n.set(nil, leaving[id]))
	}
}

// tableChange is the part of a ruleChange that is about groups and meters.
type tableChange struct {
	rc             *ruleChange
	groupTable     numbered[flow.Group]
	meterTable     numbered[flow.Meter]
	groups, meters changeLines
}

func newTableChange(rc *ruleChange, bridge string, before, after portNames) *tableChange {
	tc := &tableChange{rc: rc, groups: changeLines{what: "group " + bridge}, meters: changeLines{what: "meter " + bridge}}
	groupID := func(g *flow.Group) uint32 { return g.ID }
	tc.groupTable = numbered[flow.Group]{
		live:       make(map[uint32]*flow.Group),
		configured: byNumber(rc.rs.tables.groups, groupID), wanted: byNumber(rc.tables.groups, groupID),
		equal: (*flow.Group).Equal, set: setGroup, drop: dropGroup,
		was: func(g *flow.Group) string { return ofctl.FormatGroup(g, before) },
		is:  func(g *flow.Group) string { return ofctl.FormatGroup(g, after) },
	}
	for _, s := range rc.rs.pipeline.Groups() {
		tc.groupTable.live[s.Group.ID] = &s.Group
	}
	meterID := func(m *flow.Meter) uint32 { return m.ID }
	tc.meterTable = numbered[flow.Meter]{
		live:       make(map[uint32]*flow.Meter),
		configured: byNumber(rc.rs.tables.meters, meterID), wanted: byNumber(rc.tables.meters, meterID),
		equal: (*flow.Meter).Equal, set: setMeter, drop: dropMeter, was: meterLine, is: meterLine,
	}
	for _, s := range rc.rs.pipeline.Meters() {
		tc.meterTable.live[s.Meter.ID] = &s.Meter
	}
	return tc
}

// meterLine writes a meter on one line: ovs-ofctl, and so FormatMeter, has a line for each band.
func meterLine(m *flow.Meter) string {
	return strings.NewReplacer("bands=\n", "bands=", "\n", " ").Replace(ofctl.FormatMeter(m))
}

func setGroup(_, g *flow.Group) flow.Change {
	return flow.Change{Group: &flow.GroupMod{Command: flow.GroupAddOrModify, Group: *g}}
}

func dropGroup(id uint32) flow.Change {
	return flow.Change{Group: &flow.GroupMod{Command: flow.GroupDelete, Group: flow.Group{ID: id}}}
}

func setMeter(old, m *flow.Meter) flow.Change {
	command := flow.MeterModify
	if old == nil {
		command = flow.MeterAdd
	}
	return flow.Change{Meter: &flow.MeterMod{Command: command, Meter: *m}}
}

func dropMeter(id uint32) flow.Change {
	return flow.Change{Meter: &flow.MeterMod{Command: flow.MeterDelete, Meter: flow.Meter{ID: id}}}
}

// come adds and changes meters and groups.
func (tc *tableChange) come() {
	tc.meterTable.come(tc.rc, &tc.meters)
	tc.groupTable.come(tc.rc, &tc.groups)
}

// leave removes groups and meters, given the rules that there will be. Those that only rules or groups of run time use
// stay with them, since to remove a group or a meter is to remove the rules that use it.
func (tc *tableChange) leave(rules map[ruleID]*flow.Rule) {
	groups, meters := tc.groupTable.leaving(), tc.meterTable.leaving()
	if len(groups)+len(meters) == 0 {
		return
	}
	usedGroups, usedMeters := make(map[uint32]bool), make(map[uint32]bool)
	for _, r := range rules {
		for i := range r.Actions {
			switch a := &r.Actions[i]; a.Kind {
			case flow.ActionGroup:
				usedGroups[a.ID] = true
			case flow.ActionMeter:
				usedMeters[a.ID] = true
			}
		}
	}
	tc.follow(usedGroups, groups)
	tc.groupTable.leave(tc.rc, &tc.groups, groups, usedGroups)
	tc.meterTable.leave(tc.rc, &tc.meters, meters, usedMeters)
}

// follow adds to used the groups that groups name which stay.
func (tc *tableChange) follow(used map[uint32]bool, leaving map[uint32]*flow.Group) {
	var work []uint32
	for id, g := range tc.groupTable.live {
		switch {
		case tc.groupTable.wanted[id] != nil: // names others of the configuration
		case leaving[id] == nil || used[id]:
			work = append(work, g.Groups()...)
		}
	}
	for len(work) > 0 {
		id := work[len(work)-1]
		work = work[:len(work)-1]
		if !used[id] {
			used[id] = true
			if g := leaving[id]; g != nil {
				work = append(work, g.Groups()...)
			}
		}
	}
}
