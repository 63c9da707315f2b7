package flowtable

import (
	"fmt"
	"strings"

	"weft/flowtable/flow"
	"weft/flowtable/ofctl"
	"weft/internal/packet"
)

// Trace is what would happen to a packet, in the style of Open vSwitch's ofproto/trace.
type Trace struct {
	// Steps are the rules that it meets, table by table, and what they do, one a line.
	Steps []TraceStep
	// Final is the packet's key in the end, as later tables would see it.
	Final flow.Key
	// Flow is what a cached flow of this packet compares: its key under everything that any rule looks at.
	Flow flow.Match
	// Program is what the switch does.
	Program []Op
}

// TraceStep is one line of a trace.
type TraceStep struct {
	Depth int    // resubmits and buckets inside each other
	Table int    // of a rule that is met or missed; -1 in other lines
	Text  string // the rule, the action, or what happens
	// Normal is the packet's key where NORMAL forwards it; what that means is for the switch to say.
	Normal *flow.Key
}

// tracer writes down what a composer does. There is none on the way of packets.
type tracer struct {
	p     *Pipeline
	ports ofctl.PortNames
	steps []TraceStep
	depth int
}

// maxTrace bounds a trace's steps: resubmits may go thousands of ways.
const maxTrace = 10000

// Trace says what would happen to a packet with this key. Nothing is counted and nothing is cached.
func (p *Pipeline) Trace(key *flow.Key, ports ofctl.PortNames) *Trace {
	p.mu.Lock() // nothing that the trace reads is given up meanwhile
	defer p.mu.Unlock()
	st := p.state.Load()
	c := newComposer()
	c.trace = &tracer{p: p, ports: ports}
	c.compose(st, key)
	t := &Trace{Steps: c.trace.steps, Final: c.key, Program: c.ops, Flow: flow.Match{Mask: st.layout.union}}
	for w, m := range st.layout.union {
		t.Flow.Key[w] = key[w] & m
	}
	return t
}

func (t *tracer) line(table int, format string, args ...any) {
	if len(t.steps) < maxTrace {
		t.steps = append(t.steps, TraceStep{Depth: t.depth, Table: table, Text: fmt.Sprintf(format, args...)})
	}
}

// rule notes the rule that a table has for the packet.
func (t *tracer) rule(table uint8, slot uint32) {
	if slot == noSlot {
		t.line(int(table), "No match.")
		return
	}
	r := t.p.ruleOf(slot)
	match := ofctl.FormatMatch(&r.Match, t.ports)
	if match != "" {
		match += ", "
	}
	text := fmt.Sprintf("%spriority %d", match, r.Priority)
	if r.Cookie != 0 {
		text += fmt.Sprintf(", cookie %#x", r.Cookie)
	}
	t.line(int(table), "%s", text)
	if len(r.Actions) == 0 {
		t.note("drop")
	}
}

// note adds to the line before it.
func (t *tracer) note(text string) {
	t.depth++
	t.line(-1, "%s", text)
	t.depth--
}

// action notes an action before it is done.
func (t *tracer) action(a *flow.Action, key *flow.Key) {
	t.line(-1, "%s", ofctl.FormatActions([]flow.Action{*a}, t.ports))
	if a.Kind == flow.ActionNormal && !a.InSet && len(t.steps) > 0 {
		k := *key
		t.steps[len(t.steps)-1].Normal = &k
	}
}

// OpText writes an operation as Open vSwitch writes datapath actions, as far as it has the like.
func OpText(o *Op, ports ofctl.PortNames) string {
	switch o.Kind {
	case OpOutput:
		return "output:" + ofctl.FormatPort(o.A, ports)
	case OpSetInPort:
		return "set_in_port:" + ofctl.FormatPort(o.A, ports)
	case OpPushVLAN:
		return fmt.Sprintf("push_vlan(tpid=%#x)", o.A)
	case OpSetVLANVID:
		return fmt.Sprintf("set(vlan_vid=%d)", o.A)
	case OpSetVLANPCP:
		return fmt.Sprintf("set(vlan_pcp=%d)", o.A)
	case OpPushMPLS:
		return fmt.Sprintf("push_mpls(lse=%#08x,eth_type=%#x)", o.B, o.A)
	case OpPopMPLS:
		return fmt.Sprintf("pop_mpls(eth_type=%#x)", o.A)
	case OpMeter:
		return fmt.Sprintf("meter(%d)", o.A)
	case OpDrop:
		return "drop: " + packet.DropReason(o.A).Sentence()
	}
	f := &opTexts[o.Kind]
	if f.bits == 0 {
		return f.name
	}
	value, full := f.format(o.B), uint64(1)<<f.bits-1
	if o.Mask&full != full {
		value += "/" + f.format(o.Mask)
	}
	return fmt.Sprintf("set(%s=%s)", f.name, value)
}

// opText is how an operation is written: its name, and for those that set a field how wide that is and how it is written.
type opText struct {
	name   string
	bits   uint8
	format func(uint64) string
}

func hexText(v uint64) string     { return fmt.Sprintf("%#x", v) }
func decimalText(v uint64) string { return fmt.Sprint(v) }

var opTexts = [...]opText{
	OpInPort: {name: "in_port"}, OpFlood: {name: "flood"}, OpAll: {name: "all"}, OpNormal: {name: "normal"},
	OpLocal: {name: "local"}, OpPopVLAN: {name: "pop_vlan"}, OpSave: {name: "clone("}, OpRestore: {name: ")"},

	OpSetEthSrc: {"eth_src", 48, ofctl.FormatMAC}, OpSetEthDst: {"eth_dst", 48, ofctl.FormatMAC},
	OpSetIPv4Src: {"ip_src", 32, ofctl.FormatIPv4}, OpSetIPv4Dst: {"ip_dst", 32, ofctl.FormatIPv4},
	OpSetIPv6SrcHi: {"ipv6_src[64..127]", 64, hexText}, OpSetIPv6SrcLo: {"ipv6_src[0..63]", 64, hexText},
	OpSetIPv6DstHi: {"ipv6_dst[64..127]", 64, hexText}, OpSetIPv6DstLo: {"ipv6_dst[0..63]", 64, hexText},
	OpSetIPv6Label: {"ipv6_label", 20, hexText}, OpSetTOS: {"nw_tos", 8, hexText}, OpSetTTL: {"nw_ttl", 8, decimalText},
	OpSetTPSrc: {"tp_src", 16, decimalText}, OpSetTPDst: {"tp_dst", 16, decimalText},
	OpSetARPOp: {"arp_op", 16, decimalText}, OpSetARPSPA: {"arp_spa", 32, ofctl.FormatIPv4},
	OpSetARPTPA: {"arp_tpa", 32, ofctl.FormatIPv4}, OpSetARPSHA: {"arp_sha", 48, ofctl.FormatMAC},
	OpSetARPTHA: {"arp_tha", 48, ofctl.FormatMAC}, OpSetNDTargetHi: {"nd_target[64..127]", 64, hexText},
	OpSetNDTargetLo: {"nd_target[0..63]", 64, hexText}, OpSetNDSLL: {"nd_sll", 48, ofctl.FormatMAC},
	OpSetNDTLL: {"nd_tll", 48, ofctl.FormatMAC}, OpSetMPLS: {"mpls_lse", 32, hexText},
}

// ProgramText writes a program: what is between OpSave and OpRestore works on a copy.
func ProgramText(ops []Op, ports ofctl.PortNames) string {
	var b strings.Builder
	for i := range ops {
		if i > 0 && ops[i-1].Kind != OpSave && ops[i].Kind != OpRestore {
			b.WriteByte(',')
		}
		b.WriteString(OpText(&ops[i], ports))
	}
	return b.String()
}
