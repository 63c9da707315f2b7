package flowtable

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/flowtable/ofctl"
	"weft/internal/packet"
)

// The model is a pipeline that anybody can see to be right: a list of rules, searched from end to end.

type modelRule struct {
	flow.Rule
	packets, bytes uint64
}

type model struct {
	rules  []*modelRule
	groups map[uint32]*flow.Group
	meters map[uint32]bool
	live   map[uint32]bool                           // ports
	choose func(g *flow.Group, key *flow.Key) uint32 // the bucket id that a select group takes, if some bucket is live
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
	has := func(f func(a flow.Action) bool) bool { return slices.ContainsFunc(r.Actions, f) }
	return (f.OutPort == flow.PortAny || has(func(a flow.Action) bool {
		return a.Kind == flow.ActionOutput && a.Port == f.OutPort || a.Kind == flow.ActionLocal && f.OutPort == flow.PortLocal
	})) && (!f.ByOutGroup || has(func(a flow.Action) bool { return a.Kind == flow.ActionGroup && a.ID == f.OutGroup }))
}

func (m *model) delete(f *flow.Filter) {
	m.rules = slices.DeleteFunc(m.rules, func(r *modelRule) bool { return m.selects(f, r) })
}

func (m *model) modify(c *flow.Change) {
	some := false
	for _, r := range m.rules {
		if m.selects(&c.Filter, r) {
			some = true
			r.Actions = c.Rule.Actions
			if c.SetCookie {
				r.Cookie = c.Rule.Cookie
			}
			if c.Rule.Flags&flow.FlagResetCounts != 0 {
				r.packets, r.bytes = 0, 0
			}
		}
	}
	if !some && c.AddIfNone {
		m.add(c.Rule)
	}
}

// use tells whether an action uses group id.
func usesGroup(id uint32) func(a flow.Action) bool {
	return func(a flow.Action) bool { return a.Kind == flow.ActionGroup && a.ID == id }
}

func (m *model) groupMod(g *flow.GroupMod) {
	if g.Command == flow.GroupDelete {
		delete(m.groups, g.Group.ID)
		m.rules = slices.DeleteFunc(m.rules, func(r *modelRule) bool {
			return slices.ContainsFunc(r.Actions, usesGroup(g.Group.ID))
		})
		return
	}
	m.groups[g.Group.ID] = &g.Group
}

// sound reports whether every group and meter that is named exists, and groups form no loops.
func (m *model) sound() bool {
	for _, r := range m.rules {
		for _, a := range r.Actions {
			if a.Kind == flow.ActionGroup && m.groups[a.ID] == nil || a.Kind == flow.ActionMeter && !m.meters[a.ID] {
				return false
			}
		}
	}
	for id := range m.groups {
		if !m.endsWithin(id, len(m.groups)) {
			return false
		}
	}
	return true
}

// endsWithin reports whether no chain of groups from id on is longer than n.
func (m *model) endsWithin(id uint32, n int) bool {
	g := m.groups[id]
	if g == nil || n == 0 {
		return false
	}
	for _, b := range g.Buckets {
		if b.WatchGroup != flow.NoGroup && !m.endsWithin(b.WatchGroup, n-1) {
			return false
		}
		for _, a := range b.Actions {
			if a.Kind == flow.ActionGroup && !m.endsWithin(a.ID, n-1) {
				return false
			}
		}
	}
	return true
}

func (m *model) alive(g *flow.Group, b *flow.Bucket) bool {
	if g.Type == flow.GroupSelect && b.Weight == 0 {
		return false
	}
	if b.WatchPort == 0 && b.WatchGroup == flow.NoGroup {
		return true
	}
	if m.live[b.WatchPort] {
		return true
	}
	w := m.groups[b.WatchGroup]
	return w != nil && slices.ContainsFunc(w.Buckets, func(o flow.Bucket) bool { return m.alive(w, &o) })
}

func (m *model) best(table uint8, k *flow.Key) *modelRule {
	if k[flow.WordL4]&(1<<flow.ShiftFrag) != 0 && k.IsIP() {
		hidden := *k
		hidden[flow.WordL4] &^= 0xffffffff // the ports of fragments
		k = &hidden
	}
	var best *modelRule
	for _, r := range m.rules {
		if r.Table == table && r.Match.Matches(k) && (best == nil || r.Priority > best.Priority) {
			best = r
		}
	}
	return best
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
	if chance(t, 10) {
		s += oneOf(t, "reg0=2,", "reg0=0x100/0x100,", "metadata=7,", "metadata=5/7,", "reg1=0x1/0xff,", "tun_id=5,", "pkt_mark=9,")
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

// someActions are right for some packets.
var someActions = []string{
	"output:1", "output:2", "output:3", "4", "flood", "all", "normal", "local", "in_port", "output:1", "output:2",
	"pop_vlan", "pop_vlan", "push_vlan:0x8100", "set_field:9->vlan_vid", "push_vlan:0x88a8", "mod_vlan_vid:5",
	"mod_vlan_vid:7", "mod_vlan_pcp:3", "set_field:2->vlan_pcp", "load:3->NXM_OF_VLAN_TCI[0..3]",
	"set_field:0x1005->vlan_tci", "set_field:0->vlan_tci", "move:NXM_NX_REG1[0..11]->NXM_OF_VLAN_TCI[0..11]",
	"move:NXM_OF_VLAN_TCI[]->NXM_NX_REG1[0..15]",
	"mod_dl_src:02:00:00:00:00:02", "mod_dl_dst:ff:ff:ff:ff:ff:ff", "set_field:02:00:00:00:00:01->eth_dst",
	"set_field:00:00:00:00:00:03/00:00:00:00:00:03->eth_src", "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]",
	"resubmit(,1)", "resubmit(,2)", "resubmit(2,1)", "resubmit(,3)", "resubmit:3", "resubmit(1,0)",
	"mod_nw_src:10.0.0.1", "mod_nw_dst:10.0.1.2", "mod_nw_tos:184", "mod_nw_ecn:1", "mod_nw_ttl:1", "mod_tp_src:53",
	"mod_tp_dst:80", "dec_ttl", "dec_ttl", "set_field:10.0.0.0/8->ip_src", "set_field:5->ip_dscp",
	"set_field:2001:db8::1:0:2->ipv6_dst", "set_field:0x5->ipv6_label", "set_field:2->tcp_src", "set_field:80->udp_dst",
	"set_field:1->icmp_code", "set_field:2->arp_op", "set_field:10.0.0.1->arp_spa", "set_field:02:00:00:00:00:01->arp_tha",
	"load:1->NXM_OF_IP_DST[0..7]", "move:NXM_OF_IP_SRC[]->NXM_OF_IP_DST[]", "move:NXM_NX_IP_TTL[]->NXM_NX_REG1[0..7]",
	"push_mpls:0x8847", "push_mpls:0x8848", "pop_mpls:0x0800", "pop_mpls:0x8847", "set_mpls_label:7", "set_mpls_tc:2",
	"set_mpls_ttl:1", "dec_mpls_ttl", "set_field:6->mpls_label",
	"load:0x2->NXM_NX_REG0[]", "set_field:0x100/0x100->reg0", "move:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15]", "output:reg0",
	"output:NXM_NX_REG0[0..3]", "set_tunnel:5", "set_field:7->metadata", "load:0->NXM_OF_IN_PORT[]",
	"set_field:2->in_port", "set_field:9->pkt_mark", "note:01", "exit", "group:1", "group:2", "group:3",
}

// setActions are those that write_actions and buckets take.
var setActions = []string{
	"output:1", "output:2", "normal", "in_port", "pop_vlan", "push_vlan:0x8100", "mod_vlan_vid:6", "mod_dl_src:02:00:00:00:00:02",
	"dec_ttl", "mod_nw_dst:10.0.0.1", "mod_tp_dst:80", "load:0x3->NXM_NX_REG0[]", "resubmit(,2)", "resubmit(,3)",
	"push_mpls:0x8847", "move:NXM_OF_ETH_DST[]->NXM_OF_ETH_SRC[]", "mod_nw_tos:4", "set_mpls_ttl:9",
}

// genActions draws actions that are right in table, for packets that match.
func genActions(t *rapid.T, table int, match string) string {
	s := ""
	try := func(more string) {
		all := strings.TrimPrefix(s+","+more, ",")
		if _, err := ofctl.ParseRule(fmt.Sprintf("table=%d,%sactions=%s", table, match, all), nil); err == nil {
			s = all
		}
	}
	if chance(t, 5) {
		try("meter:1")
	}
	for range rapid.IntRange(0, 6).Draw(t, "actions") {
		try(oneOf(t, someActions...))
	}
	if chance(t, 5) {
		try("clear_actions")
	}
	if chance(t, 15) {
		try("write_actions(" + oneOf(t, setActions...) + "," + oneOf(t, append(setActions, "group:1", "group:3")...) + ")")
	}
	if chance(t, 5) {
		try("write_metadata:5/7")
	}
	if table < modelTables-1 && chance(t, 30) {
		try(fmt.Sprintf("goto_table:%d", rapid.IntRange(table+1, modelTables-1).Draw(t, "goto")))
	}
	if s == "" {
		return "actions=drop"
	}
	return "actions=" + s
}

// genGroup draws a group. Those with a lower number may name those with a higher.
func genGroup(t *rapid.T, id uint32) flow.Group {
	s := fmt.Sprintf("group_id=%d,type=%s", id, oneOf(t, "all", "select", "select", "ff", "indirect"))
	kind := s[strings.LastIndexByte(s, '=')+1:]
	n := rapid.IntRange(1, 3).Draw(t, "buckets")
	if kind == "indirect" {
		n = 1
	}
	for range n {
		s += ",bucket="
		if kind == "select" {
			s += fmt.Sprintf("weight:%d,", rapid.IntRange(0, 3).Draw(t, "weight"))
		}
		if kind == "ff" || kind == "select" && chance(t, 30) {
			s += oneOf(t, "watch_port:1,", "watch_port:2,", "watch_port:3,")
		}
		if kind == "ff" && id < 3 && chance(t, 20) {
			s += "watch_group:3,"
		}
		for range rapid.IntRange(1, 3).Draw(t, "actions") {
			s += oneOf(t, setActions...) + ","
		}
		if id < 3 && chance(t, 20) {
			s += fmt.Sprintf("group:%d,", id+1)
		}
		s = strings.TrimSuffix(s, ",")
	}
	g, err := ofctl.ParseGroup(s, nil)
	if err != nil {
		t.Fatalf("generator: %s: %v", s, err)
	}
	return *g
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
		rapid.IntRange(0, 3).Draw(t, "cookie"), match, genActions(t, table, match)), nil)
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
