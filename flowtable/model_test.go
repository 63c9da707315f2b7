package flowtable

import (
	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/flowtable/ofctl"
)

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"
	"weft/internal/packet"
)

// The model is a pipeline that anybody can see to be right: a list of rules, searched from end to end.

type modelRule struct {
	flow.Rule
	packets, bytes uint64
}

type model struct {
	rules []*modelRule
}

func (m *model) index(r *flow.Rule) int {
	return slices.IndexFunc(m.rules, func(o *modelRule) bool { return o.SameSlot(r) })
}

func (m *model) add(r *flow.Rule) {
	fresh := &modelRule{Rule: *r}
	if i := m.index(r); i >= 0 {
		if r.Flags&flow.FlagResetCounts == 0 {
			fresh.packets, fresh.bytes = m.rules[i].packets, m.rules[i].bytes
		}
		m.rules[i] = fresh
		return
	}
	m.rules = append(m.rules, fresh)
}

// replace is what ReplaceAll does with one rule: nothing if it is there.
func (m *model) replaceAll(rules []*flow.Rule) {
	for _, r := range rules {
		if i := m.index(r); i < 0 || !m.rules[i].Equal(r) {
			m.add(r)
		}
	}
	m.rules = slices.DeleteFunc(m.rules, func(o *modelRule) bool {
		return !slices.ContainsFunc(rules, func(r *flow.Rule) bool { return r.SameSlot(&o.Rule) })
	})
}

func (m *model) selects(f *flow.Filter, r *modelRule) bool {
	if f.HasTable && r.Table != f.Table || (r.Cookie^f.Cookie)&f.CookieMask != 0 {
		return false
	}
	if f.Strict && (r.Priority != f.Priority || r.Match != f.Match) || !f.Strict && !r.Match.Within(&f.Match) {
		return false
	}
	return f.OutPort == flow.PortAny || slices.ContainsFunc(r.Actions, func(a flow.Action) bool {
		return a.Kind == flow.ActionOutput && a.Port == f.OutPort || a.Kind == flow.ActionLocal && f.OutPort == flow.PortLocal
	})
}

func (m *model) delete(f *flow.Filter) {
	m.rules = slices.DeleteFunc(m.rules, func(r *modelRule) bool { return m.selects(f, r) })
}

func (m *model) modify(c *flow.Change) {
	for _, r := range m.rules {
		if m.selects(&c.Filter, r) {
			r.Actions = c.Rule.Actions
			if c.SetCookie {
				r.Cookie = c.Rule.Cookie
			}
			if c.Rule.Flags&flow.FlagResetCounts != 0 {
				r.packets, r.bytes = 0, 0
			}
		}
	}
}

func (m *model) best(table uint8, k *flow.Key) *modelRule {
	var best *modelRule
	for _, r := range m.rules {
		if r.Table == table && r.Match.Matches(k) && (best == nil || r.Priority > best.Priority) {
			best = r
		}
	}
	return best
}

// modelRun is one packet's way through the model.
type modelRun struct {
	m        *model
	key      flow.Key
	ops      []Op
	met      []*modelRule
	missed   bool
	dropped  bool
	depth    int
	steps    int
	exceeded bool
}

func (m *model) run(k flow.Key) ([]Op, []*modelRule) {
	r := &modelRun{m: m, key: k}
	r.table(0, k.InPort())
	for len(r.ops) > 0 && r.ops[len(r.ops)-1].Kind > OpLocal {
		r.ops = r.ops[:len(r.ops)-1]
	}
	reason := packet.DropNoOutput
	switch {
	case r.exceeded:
		reason = packet.DropResubmitLimit
	case len(r.ops) > 0:
		return r.ops, r.met
	case r.missed:
		reason = packet.DropNoMatch
	case r.dropped:
		reason = packet.DropByRule
	}
	return []Op{{Kind: OpDrop, A: uint32(reason)}}, r.met
}

func (r *modelRun) table(table uint8, port uint32) {
	k := r.key
	k[flow.WordPort] = k[flow.WordPort]&0xffffffff | uint64(port)<<32
	rule := r.m.best(table, &k)
	if rule == nil {
		r.missed = true
		return
	}
	r.met = append(r.met, rule)
	r.dropped = r.dropped || len(rule.Actions) == 0
	for _, a := range rule.Actions {
		if !r.exceeded {
			r.action(table, a)
		}
	}
}

func (r *modelRun) op(kind OpKind, a uint32, b uint64) {
	r.ops = append(r.ops, Op{Kind: kind, A: a, B: b})
}

func (r *modelRun) action(table uint8, a flow.Action) {
	tag, inner := r.key[flow.WordPort]&0xffff, r.key[flow.WordDst]&0xffff
	setTags := func(outer, inner uint64) {
		r.key[flow.WordPort] = r.key[flow.WordPort]&^0xffff | outer
		r.key[flow.WordDst] = r.key[flow.WordDst]&^0xffff | inner
	}
	push := func(tpid uint32) {
		r.op(OpPushVLAN, tpid, 0)
		setTags(0x1000, tag)
		tag, inner = 0x1000, tag
	}
	switch a.Kind {
	case flow.ActionOutput:
		r.op(OpOutput, a.Port, 0)
	case flow.ActionInPort:
		r.op(OpInPort, 0, 0)
	case flow.ActionFlood:
		r.op(OpFlood, 0, 0)
	case flow.ActionAll:
		r.op(OpAll, 0, 0)
	case flow.ActionNormal:
		r.op(OpNormal, 0, 0)
	case flow.ActionLocal:
		r.op(OpLocal, 0, 0)
	case flow.ActionPushVLAN:
		push(uint32(a.Value))
	case flow.ActionPopVLAN:
		if tag != 0 {
			r.op(OpPopVLAN, 0, 0)
			setTags(inner, 0)
		}
	case flow.ActionModVLANVID, flow.ActionSetVLANVID:
		if tag == 0 {
			push(0x8100)
		}
		r.op(OpSetVLANVID, uint32(a.Value), 0)
		setTags(tag&0xf000|a.Value, inner)
	case flow.ActionModVLANPCP, flow.ActionSetVLANPCP:
		if tag == 0 {
			push(0x8100)
		}
		r.op(OpSetVLANPCP, uint32(a.Value), 0)
		setTags(tag&0x1fff|a.Value<<13, inner)
	case flow.ActionModEthSrc, flow.ActionSetEthSrc:
		mac := r.key[flow.WordSrc]>>16&^a.Mask | a.Value
		r.op(OpSetEthSrc, 0, mac)
		r.ops[len(r.ops)-1].Mask = flow.FullEth
		r.key[flow.WordSrc] = r.key[flow.WordSrc]&0xffff | mac<<16
	case flow.ActionModEthDst, flow.ActionSetEthDst:
		mac := r.key[flow.WordDst]>>16&^a.Mask | a.Value
		r.op(OpSetEthDst, 0, mac)
		r.ops[len(r.ops)-1].Mask = flow.FullEth
		r.key[flow.WordDst] = r.key[flow.WordDst]&0xffff | mac<<16
	case flow.ActionResubmit, flow.ActionGotoTable:
		r.resubmit(table, a)
	}
}

func (r *modelRun) resubmit(table uint8, a flow.Action) {
	port, target := r.key.InPort(), a.Table
	if a.Kind == flow.ActionResubmit && a.Port != flow.SamePort {
		port = a.Port
	}
	if target == flow.SameTable {
		target = table
	}
	if r.steps == 4096 || target <= table && r.depth == 64 {
		r.exceeded = true
		return
	}
	r.steps++
	if target <= table {
		r.depth++
		defer func() { r.depth-- }()
	}
	r.table(target, port)
}

// Generators. Values come from small sets, so that rules meet packets and each other.

var (
	someMACs  = []uint64{0x020000000001, 0x020000000002, 0x0200000000ff, 0xffffffffffff}
	someMasks = []string{"", "/ff:ff:ff:ff:ff:00", "/01:00:00:00:00:00", "/00:00:00:00:00:03"}
	someNets  = []string{"10.0.0.1", "10.0.0.0/24", "10.0.1.2", "10.0.0.0/16", "10.0.0.2/0.0.0.255", "10.0.0.0/8"}
	someNet6  = []string{"2001:db8::1", "2001:db8::/32", "2001:db8::1:0:2", "::1:0:2/::ffff:0:ffff"}
)

func oneOf[T any](t *rapid.T, list ...T) T {
	return list[rapid.IntRange(0, len(list)-1).Draw(t, "choice")]
}

func chance(t *rapid.T, percent int) bool { return rapid.IntRange(0, 99).Draw(t, "chance") < percent }

// genMatch draws conditions as text.
func genMatch(t *rapid.T) string {
	s := oneOf(t, "", "", "ip,", "tcp,", "udp,", "icmp,", "arp,", "ipv6,", "tcp6,", "icmp6,", "dl_type=0x88cc,", "sctp,", "vlan,")
	tagged := s == "vlan,"
	if chance(t, 40) {
		s += fmt.Sprintf("in_port=%d,", rapid.IntRange(1, 3).Draw(t, "port"))
	}
	if chance(t, 25) && !tagged {
		s += oneOf(t, "dl_vlan=5,", "dl_vlan=0xffff,", "dl_vlan=0,", "dl_vlan_pcp=3,", "dl_vlan=7,dl_vlan_pcp=1,",
			"vlan_tci=0x1000/0x1000,", "vlan_tci=0x1001/0x1003,", "vlan_tci=0/0x1000,")
	}
	if chance(t, 20) {
		s += "dl_src=" + ofctl.FormatMAC(oneOf(t, someMACs...)) + oneOf(t, someMasks...) + ","
	}
	if chance(t, 20) {
		s += "dl_dst=" + ofctl.FormatMAC(oneOf(t, someMACs...)) + oneOf(t, someMasks...) + ","
	}
	kind := s
	if i := slices.IndexFunc([]byte(s), func(c byte) bool { return c == ',' }); i >= 0 {
		kind = s[:i]
	}
	switch kind {
	case "ip", "tcp", "udp", "icmp", "sctp":
		if chance(t, 50) {
			s += oneOf(t, "nw_src=", "nw_dst=") + oneOf(t, someNets...) + ","
		}
		if chance(t, 20) {
			s += oneOf(t, "nw_tos=184,", "nw_ecn=1,", "nw_ttl=64,", "nw_frag=no,", "nw_frag=first,", "nw_frag=yes,")
		}
	case "ipv6", "tcp6", "icmp6":
		if chance(t, 50) {
			s += oneOf(t, "ipv6_src=", "ipv6_dst=") + oneOf(t, someNet6...) + ","
		}
	case "arp":
		if chance(t, 50) {
			s += oneOf(t, "arp_op=1,", "arp_spa=10.0.0.1,", "arp_tpa=10.0.0.0/24,", "arp_sha=02:00:00:00:00:01,")
		}
	}
	switch kind {
	case "tcp", "tcp6", "udp", "sctp":
		if chance(t, 50) {
			s += oneOf(t, "tp_src=1000,", "tp_dst=80,", "tp_src=53,", "tp_dst=0/1,", "tp_dst=2000,")
		}
	case "icmp", "icmp6":
		if chance(t, 50) {
			s += oneOf(t, "icmp_type=8,", "icmp_code=1,", "icmp_type=135,icmp_code=0,")
		}
	}
	if (kind == "tcp" || kind == "tcp6") && chance(t, 30) {
		s += oneOf(t, "tcp_flags=+syn,", "tcp_flags=-ack,", "tcp_flags=0x12,")
	}
	return s
}

const modelTables = 4

// genActions draws actions that are right in table.
func genActions(t *rapid.T, table int) string {
	s := ""
	for range rapid.IntRange(0, 4).Draw(t, "actions") {
		s += "," + oneOf(t, "output:1", "output:2", "output:3", "4", "flood", "all", "normal", "local", "in_port",
			"pop_vlan", "pop_vlan", "push_vlan:0x8100,set_field:9->vlan_vid", "push_vlan:0x88a8", "mod_vlan_vid:5",
			"mod_vlan_vid:7", "mod_vlan_pcp:3", "mod_dl_src:02:00:00:00:00:02", "mod_dl_dst:ff:ff:ff:ff:ff:ff",
			"set_field:02:00:00:00:00:01->eth_dst", "set_field:00:00:00:00:00:03/00:00:00:00:00:03->eth_src",
			"resubmit(,1)", "resubmit(,2)", "resubmit(2,1)", "resubmit(,3)", "resubmit:3", "resubmit(1,0)")
	}
	if table < modelTables-1 && chance(t, 30) {
		s += fmt.Sprintf(",goto_table:%d", rapid.IntRange(table+1, modelTables-1).Draw(t, "goto"))
	}
	if s == "" {
		return "actions=drop"
	}
	return "actions=" + s[1:]
}

// slotOf is a table and a priority, which in a generated world belong to one match for ever: what happens when
// different rules tie is undefined.
type slotOf struct {
	table    uint8
	priority uint16
}

// genRule draws a rule.
func genRule(t *rapid.T, taken map[slotOf]flow.Match) *flow.Rule {
	table := oneOf(t, 0, 0, 0, 1, 2, 3)
	match := genMatch(t)
	r, err := ofctl.ParseRule(fmt.Sprintf("table=%d,priority=%d,cookie=%d,%s%s", table, rapid.IntRange(0, 30).Draw(t, "priority"),
		rapid.IntRange(0, 3).Draw(t, "cookie"), match, genActions(t, table)), nil)
	if err != nil {
		t.Fatalf("generator: %v", err)
	}
	for ; ; r.Priority++ {
		k := slotOf{r.Table, r.Priority}
		if m, ok := taken[k]; !ok || m == r.Match {
			taken[k] = r.Match
			break
		}
	}
	if chance(t, 10) {
		r.Flags |= flow.FlagResetCounts
	}
	return r
}

// fill puts frames into a batch.
func fill(b *packet.Batch, port uint32, frames []flowtest.Frame) {
	b.Reset()
	b.InPort = port
	for _, f := range frames {
		p := b.Add(min(len(f), packet.WindowSize))
		rest := f[copy(p.Header(), f):]
		if len(rest) > 0 {
			b.AddSegment(p, packet.SegmentOf(rest))
		}
	}
}

// checkCounters compares a dump with the model.
func checkCounters(t interface {
	Helper()
	Fatalf(string, ...any)
}, p *Pipeline, m *model,
) {
	t.Helper()
	dump := p.Dump(flow.Filter{})
	if len(dump) != len(m.rules) {
		t.Fatalf("%d rules, want %d", len(dump), len(m.rules))
	}
	for _, s := range dump {
		i := m.index(&s.Rule)
		if i < 0 {
			t.Fatalf("rule %s should not be there", ofctl.FormatStats(&s, nil))
		}
		want := m.rules[i]
		if s.Packets != want.packets || s.Bytes != want.bytes || !s.Rule.Equal(&want.Rule) {
			t.Fatalf("dump has %s\nwant %s with %d packets and %d bytes", ofctl.FormatStats(&s, nil), ofctl.FormatRule(&want.Rule, nil),
				want.packets, want.bytes)
		}
	}
}
