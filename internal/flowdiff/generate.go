package flowdiff

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
)

// generator draws cases. What it may use of the tables depends on what both sides know.
type generator struct {
	r       *rand.Rand
	kinds   []kindRow
	fields  []fieldRow
	actions []actionRow
	// unsettable are fields that can be matched and not be set.
	unsettable map[string]bool
	ports      []portRow
	groupTypes []string
	meters     bool

	// Of the case at hand.
	groups  []string
	circles bool // rules may go round in circles
}

func newGenerator() *generator {
	return &generator{
		kinds: kinds(), fields: fields(), actions: actions(), ports: portRows(), unsettable: make(map[string]bool),
		r: rand.New(rand.NewPCG(0, 0)),
	}
}

// rule is a generated rule and what packets must be to match it.
type rule struct {
	text  string
	table int
	sets  []func(*spec)
}

// conditions draws what a rule matches. The fields of a rule differ from each other, and none is given twice under two
// names: what that means is a matter of syntax, which has tests of its own.
func (g *generator) conditions() (text string, has need, sets []func(*spec)) {
	k := weighted(g.r, g.kinds, func(k *kindRow) int { return k.weight })
	text, has, sets = k.text, k.has, []func(*spec){k.shape}
	given := strings.Split(k.text, "=")[0]
	used := map[string]bool{}
	for _, name := range []string{"icmp_type", "icmp_code"} {
		used[name] = strings.Contains(text, name)
	}
	for range 1 + g.r.IntN(4) {
		f := weighted(g.r, g.fields, func(f *fieldRow) int {
			if used[place(f.name)] || f.need != 0 && f.need&has == 0 || f.match == nil {
				return 0
			}
			if f.need != 0 {
				return f.weight * 3
			}
			return f.weight
		})
		if f == nil {
			break
		}
		used[place(f.name)] = true
		if strings.Contains(text, f.name+"=") || given == f.name {
			continue
		}
		c := f.match(g.r)
		text += "," + f.drawName(g.r) + "=" + c.text
		has |= c.has
		sets = append(sets, c.set)
	}
	return strings.TrimPrefix(text, ","), has, sets
}

// overlapping are names of fields that overlap others.
var overlapping = regexp.MustCompile(
	`^(dl|eth)_(src|dst)$|^(vlan|dl_vlan).*|^(nw|ip)_(src|dst)$|^(tp|tcp|udp|sctp)_(src|dst)$|^(nw_tos|ip_dscp)$|` +
		`^x?reg\d+$|^icmpv?6?_(type|code)$`)

func place(name string) string {
	if !overlapping.MatchString(name) {
		return name
	}
	switch {
	case strings.HasPrefix(name, "vlan"), strings.HasPrefix(name, "dl_vlan"):
		return "vlan"
	case strings.Contains(name, "reg"):
		return "reg"
	case strings.HasPrefix(name, "icmp"):
		return "icmp_" + name[len(name)-4:]
	case strings.HasPrefix(name, "nw_tos"), strings.HasPrefix(name, "ip_dscp"):
		return "tos"
	}
	if name[:2] == "nw" || name[:2] == "ip" {
		return "nw" + name[len(name)-4:]
	}
	if name[:2] == "dl" || name[:2] == "et" {
		return "dl" + name[len(name)-4:]
	}
	return "tp" + name[len(name)-4:]
}

// list draws the actions of a rule.
func (g *generator) list(at *position) string {
	byStage := make([][]string, numStages)
	loose := false
	for range 1 + g.r.IntN(5) {
		a := weighted(g.r, g.actions, func(a *actionRow) int {
			if a.need != 0 && a.need&at.has == 0 || a.stage != stageApply && len(byStage[a.stage]) > 0 ||
				g.circles && a.name == normalAction {
				return 0
			}
			if a.need != 0 {
				return a.weight * 3
			}
			return a.weight
		})
		if text := a.draw(g, at); text != "" {
			byStage[a.stage] = append(byStage[a.stage], text)
			loose = loose || at.has&needsTag == 0 && looseVLAN.MatchString(text)
			at.after(text)
		}
	}
	var all []string
	for _, s := range byStage {
		all = append(all, s...)
	}
	text := strings.Join(all, ",")
	switch {
	case text == "":
		return "drop"
	case loose && newer.MatchString(text):
		return "output:1"
	}
	return text
}

// looseVLAN are actions that in OpenFlow 1.1 and later mean something else than in 1.0, or are refused, unless the rule
// matches a tag: ovs-ofctl says mod_vlan_vid as push_vlan and set_field then. A rule with one of them and an action that
// only the newer versions have has no defined meaning.
var looseVLAN = regexp.MustCompile(`mod_vlan|strip_vlan|pop_vlan`)

// after brings what is known of the packet up to date behind an action.
func (at *position) after(action string) {
	switch {
	case strings.HasPrefix(action, "push_vlan"), strings.HasPrefix(action, "mod_vlan"):
		at.has |= needsTag
	case strings.HasSuffix(action, "_vlan"):
		at.has &^= needsTag
	case strings.HasPrefix(action, "push_mpls"):
		at.has = needsMPLS | at.has&needsTag
	case strings.HasPrefix(action, "pop_mpls:0x88"):
		at.has &= needsTag
		if strings.HasPrefix(action, "pop_mpls:0x884") {
			at.has |= needsMPLS
		}
	case action == "pop_mpls:0x0800":
		at.has = needsIPv4 | at.has&needsTag
	case action == "pop_mpls:0x86dd":
		at.has = needsIPv6 | at.has&needsTag
	}
}

// oddTCI are conditions on a tag that do not look at the bit which says that there is one.
var oddTCI = regexp.MustCompile(`vlan_tci=\w+/0x(e000|fff)\b`)

// draw draws one rule with this priority.
func (g *generator) draw(table, priority int) *rule {
	match, has, sets := g.conditions()
	text := fmt.Sprintf("table=%d,priority=%d,", table, priority)
	if match != "" {
		text += match + ","
	}
	acts := g.list(&position{table: table, has: has})
	if newer.MatchString(acts) && oddTCI.MatchString(match) {
		acts = "output:1" // OpenFlow 1.2 and later cannot say it, and ovs-ofctl leaves it out silently
	}
	return &rule{text + "actions=" + acts, table, sets}
}

// rules draws the rules of a case, each with a priority of its own within its table: which of two overlapping rules of
// one priority wins is not defined (OpenFlow 1.3.5 §6.4).
func (g *generator) rules() []*rule {
	var list []*rule
	n := 1 + g.r.IntN(14)
	order := g.r.Perm(100)
	for i := range n {
		table := 0
		if i > 0 {
			table = pick(g.r, []int{0, 0, 0, 1, 1, 2, 3})
		}
		list = append(list, g.draw(table, 1+order[i]))
	}
	if g.r.IntN(3) != 0 { // so that fewer packets end at a table without a match
		for table := range tables {
			list = append(list, &rule{
				fmt.Sprintf("table=%d,priority=0,actions=%s", table, g.list(&position{table: table})), table, nil,
			})
		}
	}
	return list
}

// packets draws the packets of a case: most of them match a rule.
func (g *generator) packets(rules []*rule, n int) ([]Step, error) {
	var steps []Step
	for range n {
		s := newSpec(g.r)
		for range 1 + g.r.IntN(2) {
			for _, set := range pick(g.r, rules).sets {
				set(s)
			}
		}
		if g.r.IntN(5) == 0 {
			s.skipped = g.r.IntN(60)
		}
		f, err := s.bytes(g.r)
		if err != nil {
			return nil, err
		}
		if g.r.IntN(6) == 0 {
			f = mutate(g.r, f)
		}
		steps = append(steps, Step{Port: int(s.inPort), Frame: f})
	}
	return steps, nil
}

// mutate damages a frame: changed bytes (lengths, types and offsets among them), cut, padded, headers repeated.
func mutate(r *rand.Rand, f []byte) []byte {
	m := append([]byte(nil), f...)
	for range 1 + r.IntN(3) {
		switch r.IntN(8) {
		case 6, 7: // lengths, versions and types in the network header
			at := 14 + 4*tagsOf(m) + pick(r, []int{0, 2, 3, 4, 5, 6, 7, 9, 20, 21, 24, 25, 32, 40, 41, 42, 52})
			if at < len(m) {
				m[at] = pick(r, []byte{0, 1, 5, 6, 8, 17, 20, 28, 40, 44, 50, 51, 58, 59, 60, 0x40, 0x44, 0x46, 0x4f, 0x60, 0xff})
			}
		case 0, 1:
			if len(m) > 14 {
				m[12+r.IntN(len(m)-12)] = byte(r.Uint32())
			}
		case 2:
			i := 12 + r.IntN(len(m)-11)
			if i < len(m) {
				m[i] ^= 1 << r.IntN(8)
			}
		case 3:
			m = m[:14+r.IntN(len(m)-13)]
		case 4:
			m = append(m, make([]byte, r.IntN(12))...)
		case 5:
			// Something of 4 bytes before the EtherType: a tag, or a type that is none.
			t := pick(r, []uint16{etVLAN, etQinQ, 0x9100, etMPLS, 0x0010, etIPv4})
			m = append(m[:12:12], append([]byte{byte(t >> 8), byte(t), byte(r.Uint32()), byte(r.Uint32())}, m[12:]...)...)
		}
	}
	return m
}

// generate draws a case from a seed.
func (g *generator) generate(seed uint64, packets int) (*Case, error) {
	g.r = rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	g.groups, g.circles = nil, g.r.IntN(4) == 0
	if g.r.IntN(6) == 0 && slices.ContainsFunc(g.actions, func(a actionRow) bool { return a.name == normalAction }) {
		return g.bridging(packets)
	}
	c := &Case{}
	if len(g.groupTypes) > 0 && g.r.IntN(2) == 0 {
		g.drawGroups()
		c.Groups = g.groups
	}
	if g.meters {
		c.Meters = []string{fastMeter}
	}
	rules := g.rules()
	for _, r := range rules {
		c.Rules = append(c.Rules, r.text)
	}
	var err error
	c.Steps, err = g.packets(rules, packets)
	return c, err
}

// fastMeter is so fast that it drops nothing: what a meter drops depends on the time.
const fastMeter = "meter=1,pktps,bands=type=drop,rate=4000000"

// maxGroups is how many groups a case has at most; they are numbered from 1.
const maxGroups = 3

// selectType is the type of group that sends each flow to one bucket of its choice.
const selectType = "select"

// drawGroups draws some groups. There is one of type select at most, whose choice is checked by trying each bucket.
func (g *generator) drawGroups() {
	n := 1 + g.r.IntN(maxGroups)
	selects := false
	for id := 1; id <= n; id++ {
		kind := pick(g.r, g.groupTypes)
		if kind == selectType && selects {
			kind = "all"
		}
		selects = selects || kind == selectType
		buckets := 1 + g.r.IntN(3)
		if kind == "indirect" {
			buckets = 1
		}
		text := fmt.Sprintf("group_id=%d,type=%s", id, kind)
		for range buckets {
			text += ",bucket="
			switch kind {
			case selectType:
				text += fmt.Sprintf("weight:%d,", 1+g.r.IntN(4))
			case "ff":
				text += fmt.Sprintf("watch_port:%d,", 1+g.r.IntN(Ports))
			}
			text += "actions=" + strings.Join(append(g.drawInner(&position{set: true}, g.r.IntN(3)),
				fmt.Sprintf("output:%d", 1+g.r.IntN(Ports))), ",")
		}
		g.groups = append(g.groups, text)
	}
}
