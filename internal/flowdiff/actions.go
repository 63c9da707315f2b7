package flowdiff

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// stage is where in a rule an action stands: OpenFlow 1.1 and later fix the order of instructions (OpenFlow 1.3.5
// §5.9).
type stage uint8

const (
	stageMeter stage = iota
	stageApply
	stageClear
	stageWrite
	stageMetadata
	stageGoto
	numStages
)

// actionRow is an action: when it may be drawn, and how.
type actionRow struct {
	name   string
	weight int
	need   need
	stage  stage
	draw   func(g *generator, at *position) string
}

// position is what an action's row may want to know: the rule it is drawn for.
type position struct {
	table int
	has   need
	// inside: for a group's bucket, a clone or an action set, where actions that continue the search have no place; set:
	// an action set, which Open vSwitch lets no output to a register into.
	inside, set bool
}

func fixed(texts ...string) func(*generator, *position) string {
	return func(g *generator, _ *position) string { return pick(g.r, texts) }
}

func formatted(format string, draw func(r *rand.Rand) string) func(*generator, *position) string {
	return func(g *generator, _ *position) string { return fmt.Sprintf(format, draw(g.r)) }
}

func drawMAC(r *rand.Rand) string { return macText(pick(r, someMACs)) }
func drawIP(r *rand.Rand) string  { return ip4Text(pick(r, someIPs)) }
func drawL4(r *rand.Rand) string  { return decimal(pick(r, somePorts)) }

// actions is the table of actions, in the order of ovs-actions(7). What a side does not know is left out when a run
// begins, and the run says so.
func actions() []actionRow {
	return []actionRow{
		{"output", 30, 0, stageApply, fixed("output:1", "output:2", "output:3", "4", "output:2", "3")},
		{"output absent port", 1, 0, stageApply, fixed("output:9")},
		{"in_port", 4, 0, stageApply, fixed("in_port")},
		{"flood", 2, 0, stageApply, fixed("flood")},
		{"all", 2, 0, stageApply, fixed("all")},
		{"local", 1, 0, stageApply, fixed("local")},
		{"normal", 3, 0, stageApply, fixed("normal")},
		{"output register", 3, 0, stageApply, fixed("output:reg0", "output:reg1[0..15]", "output:xreg0[0..15]")},
		{"group", 4, 0, stageApply, (*generator).drawGroup},
		{"strip_vlan", 4, 0, stageApply, fixed("strip_vlan", "pop_vlan")},
		{"push_vlan", 3, 0, stageApply, fixed("push_vlan:0x8100", "push_vlan:0x88a8",
			"push_vlan:0x8100,set_field:4105->vlan_vid")},
		{"mod_vlan_vid", 4, 0, stageApply, fixed("mod_vlan_vid:5", "mod_vlan_vid:7", "mod_vlan_vid:0")},
		{"mod_vlan_pcp", 3, 0, stageApply, fixed("mod_vlan_pcp:3", "mod_vlan_pcp:0")},
		{"push_mpls", 3, 0, stageApply, fixed("push_mpls:0x8847", "push_mpls:0x8848")},
		{"pop_mpls", 4, needsMPLS, stageApply, fixed("pop_mpls:0x0800", "pop_mpls:0x86dd", "pop_mpls:0x8847",
			"pop_mpls:0x8847", "pop_mpls:0x88cc")},
		{"set_mpls_label", 2, needsMPLS, stageApply, formatted("set_mpls_label:%s",
			func(r *rand.Rand) string { return decimal(pick(r, someLabels)) })},
		{"set_mpls_tc", 1, needsMPLS, stageApply, fixed("set_mpls_tc:5")},
		{"set_mpls_ttl", 1, needsMPLS, stageApply, fixed("set_mpls_ttl:9", "set_mpls_ttl:0")},
		{"dec_mpls_ttl", 3, needsMPLS, stageApply, fixed("dec_mpls_ttl")},
		{"mod_dl_src", 4, 0, stageApply, formatted("mod_dl_src:%s", drawMAC)},
		{"mod_dl_dst", 4, 0, stageApply, formatted("mod_dl_dst:%s", drawMAC)},
		{"mod_nw_src", 4, needsIPv4, stageApply, formatted("mod_nw_src:%s", drawIP)},
		{"mod_nw_dst", 4, needsIPv4, stageApply, formatted("mod_nw_dst:%s", drawIP)},
		{"mod_nw_tos", 2, needsIP, stageApply, fixed("mod_nw_tos:184", "mod_nw_tos:0")},
		{"mod_nw_ecn", 2, needsIP, stageApply, fixed("mod_nw_ecn:3", "mod_nw_ecn:0")},
		{"mod_nw_ttl", 2, needsIP, stageApply, fixed("mod_nw_ttl:33", "mod_nw_ttl:0")},
		{"dec_ttl", 5, needsIP, stageApply, fixed("dec_ttl")},
		{"mod_tp_src", 3, needsPort, stageApply, formatted("mod_tp_src:%s", drawL4)},
		{"mod_tp_dst", 3, needsPort, stageApply, formatted("mod_tp_dst:%s", drawL4)},
		{"set_field", 14, 0, stageApply, (*generator).drawSetField},
		{"load", 6, 0, stageApply, (*generator).drawLoad},
		{"move", 6, 0, stageApply, (*generator).drawMove},
		{"set_tunnel", 1, 0, stageApply, fixed("set_tunnel:3", "set_tunnel64:0xffffffff00")},
		{"note", 1, 0, stageApply, fixed("note:00.11.22", "note:ff")},
		{"clone", 3, 0, stageApply, (*generator).drawClone},
		{"exit", 1, 0, stageApply, fixed("exit")},
		{"push", 1, 0, stageApply, fixed("push:reg0[0..15],pop:reg1[0..15]", "push:eth_src[],pop:eth_dst[]")},
		{"resubmit", 10, 0, stageApply, (*generator).drawResubmit},
		{"resubmit port", 2, 0, stageApply, (*generator).drawResubmitPort},
		{"meter", 2, 0, stageMeter, (*generator).drawMeter},
		{"clear_actions", 2, 0, stageClear, fixed("clear_actions")},
		{"write_actions", 4, 0, stageWrite, (*generator).drawWriteActions},
		{"write_metadata", 2, 0, stageMetadata, fixed("write_metadata:0x1", "write_metadata:0x2/0x3")},
		{"goto_table", 10, 0, stageGoto, (*generator).drawGoto},
	}
}

// settableFor are the fields that set_field may set in such packets.
func (g *generator) settableFor(has need) []*fieldRow {
	var rows []*fieldRow
	for i := range g.fields {
		f := &g.fields[i]
		if f.write != nil && !g.unsettable[f.name] && (f.need == 0 || f.need&has != 0) {
			rows = append(rows, f)
		}
	}
	return rows
}

func (g *generator) drawSetField(at *position) string {
	rows := g.settableFor(at.has)
	if len(rows) == 0 {
		return ""
	}
	f := pick(g.r, rows)
	return "set_field:" + f.write(g.r) + "->" + f.drawName(g.r)
}

// subfield is a field for load and move: NXM's or OXM's name, ovs-ofctl's, its width and what it needs.
type subfield struct {
	name, plain string
	bits        int
	need        need
}

// subfields are sources and destinations of load and move.
func subfields() []subfield {
	return []subfield{
		{"NXM_NX_REG0", "reg0", 32, 0},
		{"NXM_NX_REG1", "reg1", 32, 0},
		{"NXM_NX_REG7", "reg7", 32, 0},
		{"NXM_NX_REG15", "reg15", 32, 0},
		{"OXM_OF_METADATA", "metadata", 64, 0},
		{"NXM_NX_TUN_ID", "tun_id", 64, 0},
		{"NXM_OF_ETH_SRC", "eth_src", 48, 0},
		{"NXM_OF_ETH_DST", "eth_dst", 48, 0},
		{"NXM_OF_VLAN_TCI", "vlan_tci", 12, needsTag},
		{"NXM_OF_IP_SRC", "ip_src", 32, needsIPv4},
		{"NXM_OF_IP_DST", "ip_dst", 32, needsIPv4},
		{"NXM_NX_IPV6_SRC", "ipv6_src", 128, needsIPv6},
		{"NXM_NX_IPV6_DST", "ipv6_dst", 128, needsIPv6},
		{"NXM_NX_IP_TTL", "nw_ttl", 8, needsIP},
		{"NXM_NX_IP_ECN", "nw_ecn", 2, needsIP},
		{"NXM_OF_TCP_SRC", "tcp_src", 16, needsTCP},
		{"NXM_OF_TCP_DST", "tcp_dst", 16, needsTCP},
		{"NXM_OF_UDP_SRC", "udp_src", 16, needsUDP},
		{"NXM_OF_UDP_DST", "udp_dst", 16, needsUDP},
		{"NXM_NX_ARP_SHA", "arp_sha", 48, needsARP},
		{"NXM_NX_ARP_THA", "arp_tha", 48, needsARP},
		{"NXM_OF_ARP_SPA", "arp_spa", 32, needsARP},
		{"NXM_OF_ARP_TPA", "arp_tpa", 32, needsARP},
		{"NXM_OF_ARP_OP", "arp_op", 8, needsARP},
		{"NXM_NX_ND_TARGET", "nd_target", 128, needsND},
		{"NXM_NX_ND_SLL", "nd_sll", 48, needsSolicitation},
		{"NXM_NX_ND_TLL", "nd_tll", 48, needsAdvertisement},
		{"NXM_NX_PKT_MARK", "pkt_mark", 32, 0},
		{"OXM_OF_PKT_REG0", "xreg0", 64, 0},
		{"OXM_OF_MPLS_LABEL", "mpls_label", 20, needsMPLS},
		{"OXM_OF_MPLS_TC", "mpls_tc", 3, needsMPLS},
		{"NXM_NX_IPV6_LABEL", "ipv6_label", 20, needsIPv6},
		{"OXM_OF_SCTP_SRC", "sctp_src", 16, needsSCTP},
		{"OXM_OF_SCTP_DST", "sctp_dst", 16, needsSCTP},
	}
}

func (g *generator) drawSubfield(has need) subfield {
	var fit []subfield
	for _, f := range subfields() {
		if f.need == 0 || f.need&has != 0 {
			fit = append(fit, f)
		}
	}
	f := pick(g.r, fit)
	if g.r.IntN(2) == 0 {
		f.name = f.plain
	}
	return f
}

func (g *generator) drawLoad(at *position) string {
	f := g.drawSubfield(at.has)
	n := 1 + g.r.IntN(min(f.bits, 32))
	from := g.r.IntN(f.bits - n + 1)
	v := pick(g.r, someSmall) & (1<<n - 1)
	if g.r.IntN(3) == 0 { // a port's number, for output:REG
		n, from, v = min(f.bits, 16), 0, 1+g.r.Uint64N(Ports)
		v &= 1<<n - 1
	}
	return fmt.Sprintf("load:%#x->%s[%d..%d]", v, f.name, from, from+n-1)
}

func (g *generator) drawMove(at *position) string {
	src, dst := g.drawSubfield(at.has), g.drawSubfield(at.has)
	n := 1 + g.r.IntN(min(src.bits, dst.bits))
	if g.r.IntN(2) == 0 {
		n = min(src.bits, dst.bits)
	}
	a, b := g.r.IntN(src.bits-n+1), g.r.IntN(dst.bits-n+1)
	return fmt.Sprintf("move:%s[%d..%d]->%s[%d..%d]", src.name, a, a+n-1, dst.name, b, b+n-1)
}

func (g *generator) drawGroup(*position) string {
	if len(g.groups) == 0 {
		return ""
	}
	return fmt.Sprintf("group:%d", 1+g.r.IntN(len(g.groups)))
}

func (g *generator) drawMeter(*position) string {
	if !g.meters {
		return ""
	}
	return "meter:1"
}

// drawInner draws a short list of actions for a bucket, a clone or an action set.
func (g *generator) drawInner(at *position, length int) []string {
	inner := *at
	inner.inside = true
	var list []string
	for range length {
		a := weighted(g.r, g.actions, func(a *actionRow) int {
			if a.stage != stageApply || a.need != 0 && a.need&inner.has == 0 || notInside[a.name] ||
				at.set && a.name == "output register" {
				return 0
			}
			return a.weight
		})
		if text := a.draw(g, &inner); text != "" {
			list = append(list, text)
			inner.after(text)
		}
	}
	return list
}

// notInside are actions that go on with other rules or end a list.
var notInside = map[string]bool{
	"group": true, "resubmit": true, "resubmit port": true, "clone": true, "exit": true, "note": true, "push": true,
	"mod_vlan_vid": true, "mod_vlan_pcp": true, "normal": true,
}

func (g *generator) drawClone(at *position) string {
	if at.inside {
		return ""
	}
	return "clone(" + strings.Join(append(g.drawInner(at, 1+g.r.IntN(3)), "output:2"), ",") + ")"
}

func (g *generator) drawWriteActions(at *position) string {
	set := *at
	set.set = true
	return "write_actions(" + strings.Join(append(g.drawInner(&set, g.r.IntN(3)), pick(g.r, []string{
		"output:1", "output:2", "output:3",
	})), ",") + ")"
}

// Tables is over how many tables the rules are spread.
const tables = 4

// onwards draws a table to go on with, mostly one behind this one. Where rules may go round in circles, none of them is
// NORMAL: Open vSwitch learns from packets that it drops in the end for going round too often, and Weft does not.
func (g *generator) onwards(at *position) (table int, ok bool) {
	if g.circles && g.r.IntN(4) == 0 {
		return g.r.IntN(tables), true
	}
	table = at.table + 1 + g.r.IntN(tables)
	return table, table < tables
}

func (g *generator) drawResubmit(at *position) string {
	if to, ok := g.onwards(at); ok {
		return fmt.Sprintf("resubmit(,%d)", to)
	}
	return ""
}

func (g *generator) drawResubmitPort(at *position) string {
	if to, ok := g.onwards(at); ok {
		return fmt.Sprintf("resubmit(%d,%d)", 1+g.r.IntN(Ports), to)
	}
	if g.circles {
		return fmt.Sprintf("resubmit:%d", 1+g.r.IntN(Ports))
	}
	return ""
}

func (g *generator) drawGoto(at *position) string {
	if at.table == tables-1 {
		return ""
	}
	return fmt.Sprintf("goto_table:%d", at.table+1+g.r.IntN(tables-1-at.table))
}
