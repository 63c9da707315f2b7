package vswitch

import (
	"errors"
	"fmt"
	"strings"

	"weft/flowtable"
	"weft/flowtable/flow"
	"weft/flowtable/ofctl"
)

// tables are the configured groups and meters of a bridge.
type tables struct {
	groups []*flow.Group
	meters []*flow.Meter
}

// readTables parses the groups and meters of a bridge. What each alone cannot tell is for parser.tables.
func readTables(br *Bridge, names portNames) (tables, ConfigErrors) {
	var t tables
	var errs ConfigErrors
	for i := range br.Groups {
		g, err := parseText(&br.Groups[i], "group", func(s string) (*flow.Group, error) { return ofctl.ParseGroup(s, names) })
		if err != nil {
			errs = append(errs, err)
			continue
		}
		t.groups = append(t.groups, g)
	}
	for i := range br.Meters {
		m, err := parseText(&br.Meters[i], "meter", ofctl.ParseMeter)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		t.meters = append(t.meters, m)
	}
	return t, errs
}

// numbers are the groups or meters that there are, and whether all of them are known.
type numbers struct {
	ids map[uint32]*FlowConfig
	all bool
}

// lacks reports that id is not there, as far as is known.
func (n *numbers) lacks(id uint32) bool { return n.all && n.ids[id] == nil }

// tableNumbers are the numbers of a bridge's groups and meters.
type tableNumbers struct{ groups, meters numbers }

// tables parses the groups and meters of a bridge and returns their numbers.
func (p *parser) tables(br *Bridge, names portNames) tableNumbers {
	t, errs := readTables(br, names)
	p.errs = append(p.errs, errs...)
	if len(errs) > 0 {
		return tableNumbers{} // rules may well use those that could not be read
	}
	n := tableNumbers{numbers{make(map[uint32]*FlowConfig), true}, numbers{make(map[uint32]*FlowConfig), true}}
	for i, g := range t.groups {
		p.once(n.groups.ids, &br.Groups[i], "group", g.ID)
	}
	for i, m := range t.meters {
		p.once(n.meters.ids, &br.Meters[i], "meter", m.ID)
	}
	var wrong *flowtable.GroupError
	if errors.As(flowtable.CheckGroups(t.groups), &wrong) {
		f := n.groups.ids[wrong.ID]
		msg, hint, _ := strings.Cut(wrong.Msg, "; ")
		p.fail(position{f.File, f.Line, f.Column}, hint, "group: group %d %s", wrong.ID, msg)
	}
	return n
}

// once notes a group or meter and reports a second one of its number.
func (p *parser) once(ids map[uint32]*FlowConfig, f *FlowConfig, kind string, id uint32) {
	if first := ids[id]; first != nil {
		hint := fmt.Sprintf("it is at %s:%d already: remove one of them, or change a number", first.File, first.Line)
		p.fail(position{f.File, f.Line, f.Column}, hint, "%s: the number %d appears twice", kind, id)
		return
	}
	ids[id] = f
}

// targets reports groups and meters that a configured rule uses and that are not configured: a switch that starts with
// this configuration does not have them.
func (p *parser) targets(f *FlowConfig, r *flow.Rule, n tableNumbers) {
	at := position{f.File, f.Line, f.Column}
	for i := range r.Actions {
		switch a := &r.Actions[i]; {
		case a.Kind == flow.ActionGroup && n.groups.lacks(a.ID):
			p.fail(at, "add it to the groups of the bridge", "rule: group %d does not exist", a.ID)
		case a.Kind == flow.ActionMeter && n.meters.lacks(a.ID):
			p.fail(at, "add it to the meters of the bridge", "rule: meter %d does not exist", a.ID)
		}
	}
}
