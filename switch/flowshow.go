package vswitch

import (
	"io"
	"slices"
	"strings"

	"weft/flowtable"
	"weft/flowtable/flow"
	"weft/flowtable/ofctl"
)

// FlowDifference is what a text of rules and the rules of a bridge do not have in common.
type FlowDifference struct {
	// Lines are as ovs-ofctl diff-flows prints them: "-" for rules of the bridge alone, "+" for those of the text.
	Lines []string `json:"lines"`
}

// FlowDiff compares the rules of a bridge with those of a text, one a line.
func (s *Switch) FlowDiff(bridge string, text io.Reader) (FlowDifference, error) {
	memory := s.borrowTextMemory()
	defer s.returnTextMemory(memory)
	t := flowText{req: FlowRequest{Kind: KindFlow, Command: CommandAdd}, parser: memory.parser}
	if err := t.read(text, memory); err != nil {
		return FlowDifference{}, err
	}
	rules, names, err := s.rulesOf(bridge)
	if err != nil {
		return FlowDifference{}, err
	}
	t.use(names)
	var wanted []*flow.Rule
	for r, err := range t.rules() {
		if err != nil {
			return FlowDifference{}, t.explain(err)
		}
		kept := *r
		kept.Actions = slices.Clone(r.Actions)
		wanted = append(wanted, &kept)
	}
	d := FlowDifference{Lines: []string{}}
	for line := range strings.Lines(ofctl.FormatDiff(rules.pipeline.Diff(wanted), names)) {
		d.Lines = append(d.Lines, strings.TrimSuffix(line, "\n"))
	}
	return d, nil
}

// FlowStats is what some rules of a bridge did, as ovs-ofctl dump-aggregate says it.
type FlowStats struct {
	Bridge  string           `json:"bridge"`
	Rules   int              `json:"rules"`
	Packets uint64           `json:"packets"`
	Bytes   uint64           `json:"bytes"`
	Tables  []FlowTableStats `json:"tables"` // those that have some of the rules
}

// FlowTableStats is the same of one table, and its number of distinct masks, over all its rules.
type FlowTableStats struct {
	Table   int    `json:"table"`
	Rules   int    `json:"rules"`
	Masks   int    `json:"masks"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// FlowStats sums up what the rules did that the filter selects ("" for all), of a bridge (of all with "").
func (s *Switch) FlowStats(bridge, filter string) ([]FlowStats, error) {
	s.mu.Lock()
	bridges, err := s.selected(bridge)
	names := make([]portNames, len(bridges))
	for i, br := range bridges {
		names[i] = br.names()
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	out := make([]FlowStats, len(bridges))
	for i, br := range bridges {
		f, err := parseFilter(filter, false, names[i])
		if err != nil {
			return nil, err
		}
		out[i] = sumFlows(br.rules.pipeline, &f)
		out[i].Bridge = br.cfg.Name
	}
	return out, nil
}

func sumFlows(p *flowtable.Pipeline, f *flow.Filter) FlowStats {
	sum := FlowStats{Tables: []FlowTableStats{}}
	masks := make(map[int]int)
	for _, t := range p.Stats().ByTable {
		masks[int(t.Table)] = t.Masks
	}
	p.Each(f, func(st *flow.RuleStats) bool {
		n := len(sum.Tables)
		if table := int(st.Rule.Table); n == 0 || sum.Tables[n-1].Table != table {
			sum.Tables = append(sum.Tables, FlowTableStats{Table: table, Masks: masks[table]})
			n++
		}
		t := &sum.Tables[n-1]
		t.Rules, t.Packets, t.Bytes = t.Rules+1, t.Packets+st.Packets, t.Bytes+st.Bytes
		sum.Rules, sum.Packets, sum.Bytes = sum.Rules+1, sum.Packets+st.Packets, sum.Bytes+st.Bytes
		return true
	})
	return sum
}

// TableEntry is a group or a meter.
type TableEntry struct {
	Bridge  string `json:"bridge"`
	ID      uint32 `json:"id"`
	Text    string `json:"text"`  // in the syntax that FlowApply takes
	Stats   string `json:"stats"` // with its counters, as ovs-ofctl prints them
	Refs    int    `json:"rules"` // rules that use it
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	// Parts are the buckets of a group or the bands of a meter: what went through or was dropped.
	Parts []TablePart `json:"parts"`
}

// TablePart is a bucket or a band.
type TablePart struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	Live    *bool  `json:"live,omitempty"` // of buckets
}

// Groups lists the groups of a bridge (of all with "").
func (s *Switch) Groups(name string) ([]TableEntry, error) {
	return s.entries(name, func(br *bridge, add func(TableEntry)) {
		names := br.names()
		for _, g := range br.rules.pipeline.Groups() {
			e := TableEntry{
				ID: g.Group.ID, Text: ofctl.FormatGroup(&g.Group, names), Stats: ofctl.FormatGroupStats(&g), Refs: g.Refs,
				Packets: g.Packets, Bytes: g.Bytes, Parts: []TablePart{},
			}
			for i, b := range g.Buckets {
				e.Parts = append(e.Parts, TablePart{b.Packets, b.Bytes, &g.Live[i]})
			}
			add(e)
		}
	})
}

// Meters lists the meters of a bridge (of all with "").
func (s *Switch) Meters(name string) ([]TableEntry, error) {
	return s.entries(name, func(br *bridge, add func(TableEntry)) {
		for _, m := range br.rules.pipeline.Meters() {
			e := TableEntry{
				ID: m.Meter.ID, Text: ofctl.FormatMeter(&m.Meter), Stats: ofctl.FormatMeterStats(&m), Refs: m.Refs,
				Packets: m.Packets, Bytes: m.Bytes, Parts: []TablePart{},
			}
			for _, b := range m.Bands {
				e.Parts = append(e.Parts, TablePart{Packets: b.Packets, Bytes: b.Bytes})
			}
			add(e)
		}
	})
}

func (s *Switch) entries(name string, list func(br *bridge, add func(TableEntry))) ([]TableEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bridges, err := s.selected(name)
	if err != nil {
		return nil, err
	}
	var out []TableEntry
	for _, br := range bridges {
		list(br, func(e TableEntry) {
			e.Bridge = br.cfg.Name
			out = append(out, e)
		})
	}
	return out, nil
}
