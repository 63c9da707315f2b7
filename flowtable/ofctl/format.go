package ofctl

import (
	"strconv"
	"time"

	"weft/flowtable/flow"
)

// usualLine is as long as most lines are.
const usualLine = 256

// FormatRule prints r as "ovs-ofctl dump-flows --names --no-stats" does, so that ParseRule, ovs-ofctl and people can read
// it. With nil ports, ports are numbers.
func FormatRule(r *flow.Rule, ports PortNames) string {
	return string(AppendRule(make([]byte, 0, usualLine), r, ports))
}

// AppendRule appends what FormatRule prints.
func AppendRule(dst []byte, r *flow.Rule, ports PortNames) []byte {
	w := ruleWriter{b: dst, ports: ports}
	if r.Cookie != 0 {
		w.hex("cookie=0x", r.Cookie)
		w.str(", ")
	}
	if r.Table != 0 {
		w.setting("table=", uint64(r.Table))
	}
	w.settings(r)
	w.rest(r)
	return w.b
}

// FormatStats prints one line of a dump as "ovs-ofctl dump-flows" does, with the same leading blank. Durations are whole
// seconds except the first. With nil ports, ports are numbers.
func FormatStats(s *flow.RuleStats, ports PortNames) string {
	return string(AppendStats(make([]byte, 0, usualLine), s, ports))
}

// AppendStats appends what FormatStats prints.
func AppendStats(dst []byte, s *flow.RuleStats, ports PortNames) []byte {
	w := ruleWriter{b: dst, ports: ports}
	r := &s.Rule
	w.hex(" cookie=0x", r.Cookie)
	w.str(", duration=")
	w.b = appendSeconds(w.b, s.Duration)
	w.str(", ")
	w.setting("table=", uint64(r.Table))
	w.setting("n_packets=", s.Packets)
	w.setting("n_bytes=", s.Bytes)
	w.settings(r)
	w.setting("idle_age=", uint64(s.IdleAge/time.Second))
	if s.HardAge/time.Second != s.Duration/time.Second {
		w.setting("hard_age=", uint64(s.HardAge/time.Second))
	}
	w.rest(r)
	return w.b
}

// ruleWriter appends the parts of rules to b.
type ruleWriter struct {
	b     []byte
	ports PortNames
	sep   string // before the next condition
}

func (w *ruleWriter) str(s string) { w.b = append(w.b, s...) }

// num writes text and a decimal number.
func (w *ruleWriter) num(text string, n uint64) {
	w.b = strconv.AppendUint(append(w.b, text...), n, 10)
}

// hex writes text, which ends in 0x, and a hexadecimal number.
func (w *ruleWriter) hex(text string, n uint64) { w.b = appendHex(append(w.b, text...), n, 1) }

// setting writes what stands before the conditions.
func (w *ruleWriter) setting(name string, n uint64) {
	w.num(name, n)
	w.str(", ")
}

// flagWords are the flags in ovs-ofctl's order.
var flagWords = [...]struct {
	flag flow.Flags
	word string
}{
	{flow.FlagSendRemoved, "send_flow_rem "},
	{flow.FlagCheckOverlap, "check_overlap "},
	{flow.FlagResetCounts, "reset_counts "},
	{flow.FlagNoPacketCounts, "no_packet_counts "},
	{flow.FlagNoByteCounts, "no_byte_counts "},
}

func (w *ruleWriter) settings(r *flow.Rule) {
	if r.IdleTimeout != 0 {
		w.setting("idle_timeout=", uint64(r.IdleTimeout))
	}
	if r.HardTimeout != 0 {
		w.setting("hard_timeout=", uint64(r.HardTimeout))
	}
	for i := range flagWords {
		if r.Flags&flagWords[i].flag != 0 {
			w.str(flagWords[i].word)
		}
	}
	if r.Importance != 0 {
		w.setting("importance=", uint64(r.Importance))
	}
}

// rest prints priority, conditions and actions.
func (w *ruleWriter) rest(r *flow.Rule) {
	if r.Priority != flow.DefaultPriority {
		w.put("priority=", uint64(r.Priority))
	}
	w.match(&r.Match)
	if w.sep != "" {
		w.str(" ")
	}
	w.str("actions=")
	w.actions(r.Actions)
}

// begin begins a condition.
func (w *ruleWriter) begin(text string) {
	w.str(w.sep)
	w.str(text)
	w.sep = ","
}

// put writes a condition on a decimal number.
func (w *ruleWriter) put(text string, n uint64) {
	w.begin(text)
	w.b = strconv.AppendUint(w.b, n, 10)
}

// putHex writes a condition on a hexadecimal number of so many digits.
func (w *ruleWriter) putHex(text string, n uint64, digits int) {
	w.begin(text)
	w.b = appendHex(w.b, n, digits)
}

// match prints conditions in ovs-ofctl's order.
func (w *ruleWriter) match(m *flow.Match) {
	ethType, proto := exact(m, flow.FieldEthType), exact(m, flow.FieldIPProto)
	var done bool
	w.field(m, flow.FieldPktMark)
	w.field(m, flow.FieldActsetOutput)
	if ethType >= 0 {
		for _, s := range flow.Shorthands {
			if int64(s.EthType) == ethType && (s.Proto == flow.AnyProto || int64(s.Proto) == proto) {
				w.begin(s.Name)
				done = true
				if s.Proto != flow.AnyProto {
					proto = -1
				}
				break
			}
		}
	}
	for id := flow.FieldReg0; id < flow.FieldXReg0; id++ {
		w.field(m, id)
	}
	w.field(m, flow.FieldTunID)
	w.field(m, flow.FieldMetadata)
	w.field(m, flow.FieldInPort)
	w.vlan(m)
	w.field(m, flow.FieldEthSrc)
	w.field(m, flow.FieldEthDst)
	if ethType >= 0 && !done {
		w.putHex("dl_type=0x", uint64(ethType), 4)
	}
	if ethType == flow.EthARP || ethType == flow.EthRARP {
		for _, id := range []flow.FieldID{flow.FieldARPSPA, flow.FieldARPTPA, flow.FieldARPOp, flow.FieldARPSHA, flow.FieldARPTHA} {
			w.field(m, id)
		}
		return
	}
	w.field(m, flow.FieldIPSrc)
	w.field(m, flow.FieldIPDst)
	w.field(m, flow.FieldIPv6Src)
	w.field(m, flow.FieldIPv6Dst)
	if label := &flow.Fields[flow.FieldIPv6Label]; label.Get(&m.Mask) == label.Max {
		w.putHex("ipv6_label=0x", label.Get(&m.Key), 5)
	} else if mask := label.Get(&m.Mask); mask != 0 {
		w.putHex("ipv6_label=0x", label.Get(&m.Key), 5)
		w.b = appendHex(append(w.b, "/0x"...), mask, 5)
	}
	if proto >= 0 {
		w.put("nw_proto=", uint64(proto))
	}
	if tos := m.Mask[flow.WordL4] >> flow.ShiftTOS & 0xff; tos&0xfc == 0xfc {
		w.put("nw_tos=", m.Key[flow.WordL4]>>flow.ShiftTOS&0xfc)
	}
	w.field(m, flow.FieldECN)
	w.field(m, flow.FieldTTL)
	for _, id := range []flow.FieldID{flow.FieldMPLSLabel, flow.FieldMPLSTC, flow.FieldMPLSTTL, flow.FieldMPLSBOS} {
		w.field(m, id)
	}
	w.frag(m)
	w.transport(m)
}

// exact is the value of a narrow field that is matched in all bits, or -1.
func exact(m *flow.Match, id flow.FieldID) int64 {
	f := &flow.Fields[id]
	if f.Get(&m.Mask) != 1<<f.Width-1 {
		return -1
	}
	return int64(f.Get(&m.Key))
}

func (w *ruleWriter) frag(m *flow.Match) {
	f := &flow.Fields[flow.FieldFrag]
	val, mask := f.Get(&m.Key), f.Get(&m.Mask)
	for _, n := range flow.FragNames {
		if mask != 0 && n.Val == val && n.Mask == mask {
			w.begin("nw_frag=")
			w.str(n.Name)
			return
		}
	}
}

func (w *ruleWriter) transport(m *flow.Match) {
	src, dst := flow.FieldTPSrc, flow.FieldTPDst
	ethType, proto := exact(m, flow.FieldEthType), exact(m, flow.FieldIPProto)
	if ethType == flow.EthIPv4 && proto == flow.ProtoICMP || ethType == flow.EthIPv6 && proto == flow.ProtoICMP6 {
		src, dst = flow.FieldICMPType, flow.FieldICMPCode
	}
	w.field(m, src)
	w.field(m, dst)
	w.tcpFlags(m)
	w.field(m, flow.FieldNDTarget)
	if ethType == flow.EthIPv6 {
		w.field(m, flow.FieldNDSLL)
		w.field(m, flow.FieldNDTLL)
	}
}

func (w *ruleWriter) tcpFlags(m *flow.Match) {
	f := &flow.Fields[flow.FieldTCPFlags]
	val, mask := f.Get(&m.Key), f.Get(&m.Mask)&0xfff
	if mask == 0 {
		return
	}
	w.begin("tcp_flags=")
	start := len(w.b)
	for i, name := range tcpFlagNames {
		switch bit := uint64(1) << i; {
		case mask&bit == 0:
		case mask == 0xfff && val&bit != 0:
			if len(w.b) > start {
				w.str("|")
			}
			w.str(name)
		case mask == 0xfff:
		case val&bit != 0:
			w.str("+")
			w.str(name)
		default:
			w.str("-")
			w.str(name)
		}
	}
	if len(w.b) == start {
		w.str("0")
	}
}

// vlan prints the outer tag in the plainest form that says all of it.
func (w *ruleWriter) vlan(m *flow.Match) {
	val, mask := m.Key[flow.WordPort]&flow.MaskTag, m.Mask[flow.WordPort]&flow.MaskTag
	vid, pcp := mask&flow.VLANVID, mask&flow.VLANPCP
	switch {
	case mask == 0:
	case val&flow.VLANPresent != 0 && vid|pcp != 0 && (vid == 0 || vid == flow.VLANVID) && (pcp == 0 || pcp == flow.VLANPCP):
		if vid != 0 {
			w.put("dl_vlan=", val&flow.VLANVID)
		}
		if pcp != 0 {
			w.put("dl_vlan_pcp=", val>>flow.VLANPCPLow)
		}
	case mask == flow.MaskTag:
		w.putHex("vlan_tci=0x", val, 4)
	default:
		w.putHex("vlan_tci=0x", val, 4)
		w.b = appendHex(append(w.b, "/0x"...), mask, 4)
	}
}

// field prints one field's condition, if there is one.
func (w *ruleWriter) field(m *flow.Match, id flow.FieldID) {
	f := &flow.Fields[id]
	if f.Width == 128 {
		if m.Mask[f.Word]|m.Mask[f.Word+1] != 0 {
			w.begin(f.Name)
			w.b = appendMaskedIPv6(append(w.b, '='), m.Key[f.Word], m.Key[f.Word+1], m.Mask[f.Word], m.Mask[f.Word+1])
		}
		return
	}
	val, mask := f.Get(&m.Key), f.Get(&m.Mask)
	full := uint64(1)<<f.Width - 1
	if mask == 0 {
		return
	}
	w.begin(f.Name)
	w.str("=")
	switch f.Syntax {
	case flow.SynPort:
		w.port(uint32(val))
	case flow.SynMAC:
		w.b = appendMaskedMAC(w.b, val, mask, full)
	case flow.SynIPv4:
		w.b = appendMaskedIPv4(w.b, val, mask)
	case flow.SynHex:
		w.b = append0x(w.b, val)
		if mask != full {
			w.b = append0x(append(w.b, '/'), mask)
		}
	default:
		if mask == full {
			w.num("", val)
		} else {
			w.hex("0x", val)
			w.hex("/0x", mask)
		}
	}
}

// FormatPort prints a port's number, or its name if ports has one.
func FormatPort(n uint32, ports PortNames) string {
	w := ruleWriter{ports: ports}
	w.port(n)
	return string(w.b)
}

// port prints a port's number or name.
func (w *ruleWriter) port(n uint32) {
	if n == flow.PortLocal {
		w.str("LOCAL")
		return
	}
	if w.ports != nil {
		if name, ok := w.ports.PortName(n); ok {
			w.b = appendName(w.b, name)
			return
		}
	}
	w.num("", uint64(n))
}
