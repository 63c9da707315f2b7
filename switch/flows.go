package vswitch

import (
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"time"

	"weft/flowtable"
	"weft/flowtable/flow"
	"weft/flowtable/ofctl"
)

// ruleSet is the rules of a bridge, the groups and meters that they use, and which of these the configuration put there.
// See docs/decisions/0005-reload-and-runtime-rules.md for what a reload does to which.
type ruleSet struct {
	pipeline *flowtable.Pipeline
	// configured are the rules of the configuration as they were applied last, tables its groups and meters.
	configured map[ruleID]*flow.Rule
	tables     tables
	goneCache  CacheStats // what closed lookups had counted
}

// ruleID is what makes two rules the same rule with other actions.
//
// It is a hash of table, priority and match by two secret seeds, since those are long and there may be millions: 128 bits
// do not collide.
type ruleID [2]uint64

var ruleSeeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func idOf(r *flow.Rule) ruleID {
	place := struct {
		table    uint8
		priority uint16
		match    flow.Match
	}{r.Table, r.Priority, r.Match}
	return ruleID{maphash.Comparable(ruleSeeds[0], place), maphash.Comparable(ruleSeeds[1], place)}
}

func newRuleSet() *ruleSet {
	return &ruleSet{pipeline: flowtable.NewPipeline(flowtable.Config{})}
}

// sizes are the number of rules and of those in each table that has any.
func (rs *ruleSet) sizes() (rules int, tables []TableRules) {
	st := rs.pipeline.Stats()
	for _, t := range st.ByTable {
		tables = append(tables, TableRules{Table: int(t.Table), Rules: t.Rules})
	}
	return st.Rules, tables
}

// live are the rules there are now.
func (rs *ruleSet) live() map[ruleID]*flow.Rule {
	live := make(map[ruleID]*flow.Rule)
	for _, st := range rs.pipeline.Dump(flow.Filter{}) {
		r := st.Rule
		live[idOf(&r)] = &r
	}
	return live
}

// isConfigured reports whether r is as the configuration put it there.
func (rs *ruleSet) isConfigured(r *flow.Rule) bool {
	c := rs.configured[idOf(r)]
	return c != nil && c.Equal(r)
}

// strictly selects one rule.
func strictly(r *flow.Rule) flow.Filter {
	return flow.Filter{HasTable: true, Table: r.Table, Match: r.Match, Strict: true, Priority: r.Priority}
}

// ruleChange is what a reload does to the rules of a bridge, and to its groups and meters.
type ruleChange struct {
	rs      *ruleSet
	wanted  map[ruleID]*flow.Rule
	tables  tables // wanted
	forward []flow.Change
	back    []flow.Change
}

// do notes a change and what takes it back.
func (rc *ruleChange) do(forward, back flow.Change) {
	rc.forward = append(rc.forward, forward)
	rc.back = append(rc.back, back)
}

// defaultRule is what a bridge has whose rules are not configured (Bridge.DefaultRule), as in Open vSwitch.
const defaultRule = "priority=0,actions=NORMAL"

// plan compares rules, groups and meters with those of the configuration, and says what changes. Groups and meters that
// come are first, so that rules can use them, and those that go are last, when no rule does any more.
func (rs *ruleSet) plan(bc *bridgeChange, c *change) (*ruleChange, ConfigErrors) {
	rc := &ruleChange{rs: rs}
	var errs ConfigErrors
	if rc.tables, errs = readTables(&bc.cfg, bc.names); len(errs) > 0 {
		return nil, errs
	}
	rules, errs := readRules(&bc.cfg, bc.names)
	if len(errs) > 0 {
		return nil, errs
	}
	rc.wanted = make(map[ruleID]*flow.Rule, len(rules))
	for _, r := range rules {
		rc.wanted[idOf(r)] = r
	}
	live, before := rs.live(), bc.br.names() // what goes is shown as it was
	tc := newTableChange(rc, bc.cfg.Name, before, bc.names)
	tc.come()
	lines := changeLines{what: "flow " + bc.cfg.Name}
	for id, r := range rs.configured {
		if rc.wanted[id] == nil && live[id] != nil && live[id].Equal(r) {
			lines.add("-", ofctl.FormatRule(r, before))
			rc.do(flow.Change{Command: flow.Delete, Filter: strictly(r)}, flow.Change{Command: flow.Add, Rule: r})
			delete(live, id)
		}
	}
	slices.Sort(lines.lines)
	for _, r := range rules {
		id := idOf(r)
		old := live[id]
		live[id] = r
		if old != nil && old.Equal(r) {
			continue
		}
		add := flow.Change{Command: flow.Add, Rule: r}
		if old == nil {
			lines.add("+", ofctl.FormatRule(r, bc.names))
			rc.do(add, flow.Change{Command: flow.Delete, Filter: strictly(r)})
		} else {
			lines.add("~", ofctl.FormatRule(old, before)+" -> "+ofctl.FormatRule(r, bc.names))
			rc.do(add, flow.Change{Command: flow.Add, Rule: old})
		}
	}
	tc.leave(live)
	c.lines = append(c.lines, slices.Concat(tc.meters.finish(), tc.groups.finish(), lines.finish())...)
	slices.Reverse(rc.back)
	return rc, nil
}

// readRules parses the rules of a bridge.
func readRules(cfg *Bridge, names portNames) ([]*flow.Rule, ConfigErrors) {
	flows := cfg.Flows
	if cfg.DefaultRule {
		flows = []FlowConfig{{Text: defaultRule}}
	}
	var rules []*flow.Rule
	var errs ConfigErrors
	for i := range flows {
		r, err := parseFlow(&flows[i], names)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		rules = append(rules, r)
	}
	return rules, errs
}

// maxRuleLines is how many rules, groups or meters of a bridge a plan names; the others are summed up.
const maxRuleLines = 100

// changeLines are a plan's lines about the rules, groups or meters of one bridge.
type changeLines struct {
	what  string // "flow br0"
	lines []string
	more  int
}

func (l *changeLines) add(sign, text string) {
	if len(l.lines) == maxRuleLines {
		l.more++
		return
	}
	l.lines = append(l.lines, fmt.Sprintf("%s %s %s", sign, l.what, text))
}

func (l *changeLines) finish() []string {
	if l.more > 0 {
		kind, _, _ := strings.Cut(l.what, " ")
		return append(l.lines, fmt.Sprintf("~ %s and %d more %ss", l.what, l.more, strings.Replace(kind, "flow", "rule", 1)))
	}
	return l.lines
}

// apply makes the change at once and returns what takes it back.
func (rc *ruleChange) apply() (undo func(), err error) {
	if len(rc.forward) == 0 {
		return func() {}, nil
	}
	if err := rc.rs.pipeline.Apply(rc.forward); err != nil {
		return nil, err
	}
	return func() {
		// What was there before fits again; rules that were removed begin to count anew.
		_ = rc.rs.pipeline.Apply(rc.back)
	}, nil
}

// done remembers what is the configuration's.
func (rc *ruleChange) done() { rc.rs.configured, rc.rs.tables = rc.wanted, rc.tables }

// FlowAdd adds rules, one in each text; see FlowApply.
func (s *Switch) FlowAdd(bridge string, rules []string) error {
	_, err := s.FlowApply(FlowRequest{Bridge: bridge, Kind: KindFlow, Command: CommandAdd},
		strings.NewReader(strings.Join(rules, "\n")))
	return err
}

// FlowDel deletes the rules that the filter selects (ovs-ofctl's del-flows syntax, "" for all) and returns how many.
// With strict, the match must be the rule's own, and the priority too.
func (s *Switch) FlowDel(bridge, filter string, strict bool) (int, error) {
	rules, names, err := s.rulesOf(bridge)
	if err != nil {
		return 0, err
	}
	f, err := parseFilter(filter, strict, names)
	if err != nil {
		return 0, err
	}
	return rules.pipeline.Delete(f), nil
}

// parseFilter reads a filter's text.
func parseFilter(text string, strict bool, names portNames) (flow.Filter, error) {
	f, err := ofctl.ParseFilter(text, strict, names)
	var syntax *ofctl.SyntaxError
	if errors.As(err, &syntax) {
		return f, ConfigErrors{{File: "filter", Line: 1, Column: syntax.Col, Message: syntax.Msg, Hint: syntax.Hint}}
	}
	return f, err
}

// FlowEach lists the rules that the filter selects ("" for all) of a bridge (of all with ""), with their counters: by
// bridge, table, falling priority and age. A filter that names ports needs a bridge when there are several. Rules may
// change while the list is read. What the list yields has its texts in memory that is used again for the next.
func (s *Switch) FlowEach(bridge, filter string) (iter.Seq[FlowInfo], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bridges, err := s.selected(bridge)
	if err != nil {
		return nil, err
	}
	type part struct {
		name   string
		rules  *ruleSet
		names  ofctl.PortNames
		filter flow.Filter
	}
	var parts []part
	for _, br := range bridges {
		names := br.names()
		p := part{name: br.cfg.Name, rules: br.rules, names: names}
		if p.filter, err = parseFilter(filter, false, names); err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return func(yield func(FlowInfo) bool) {
		var info FlowInfo
		for i := range parts {
			p := &parts[i]
			more := true
			p.rules.pipeline.Each(&p.filter, func(st *flow.RuleStats) bool {
				info.Bridge = p.name
				info.show(st, p.names, s.isConfigured(p.rules, &st.Rule))
				more = yield(info)
				return more
			})
			if !more {
				return
			}
		}
	}, nil
}

// isConfigured reports whether r is as the configuration put it there.
func (s *Switch) isConfigured(rs *ruleSet, r *flow.Rule) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return rs.isConfigured(r)
}

// show makes f show another rule of its bridge, in the memory of the one before.
func (f *FlowInfo) show(st *flow.RuleStats, names ofctl.PortNames, configured bool) {
	*f = FlowInfo{
		Bridge: f.Bridge, Text: ofctl.AppendRule(f.Text[:0], &st.Rule, names), Dump: ofctl.AppendStats(f.Dump[:0], st, names),
		Table: int(st.Rule.Table), Priority: int(st.Rule.Priority), Cookie: st.Rule.Cookie, Origin: OriginRuntime,
		Packets: st.Packets, Bytes: st.Bytes, Duration: st.Duration.Seconds(), Idle: st.IdleAge.Seconds(),
	}
	if configured {
		f.Origin = OriginConfig
	}
}

// FlowDump is FlowEach's list at once.
func (s *Switch) FlowDump(bridge, filter string) ([]FlowInfo, error) {
	list, err := s.FlowEach(bridge, filter)
	if err != nil {
		return nil, err
	}
	all := []FlowInfo{}
	for f := range list {
		f.Text, f.Dump = slices.Clone(f.Text), slices.Clone(f.Dump)
		all = append(all, f)
	}
	return all, nil
}

// expire removes rules whose time is over.
func (s *Switch) expire(br *bridge, now time.Time) {
	for _, st := range br.rules.pipeline.Expire(now) {
		s.log.Debug("rule expired", "bridge", br.cfg.Name, "rule", ofctl.FormatRule(&st.Rule, br.names()), "packets", st.Packets)
	}
}
