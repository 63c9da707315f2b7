package ofctl

import (
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"weft/flowtable/flow"
)

// How long a rule is as a rule, and what a dump puts before it.
const (
	usualRule  = 112
	usualStats = 80
)

// FormatRule prints r as "ovs-ofctl dump-flows --names --no-stats" does, so that ParseRule, ovs-ofctl and people can read
// it. With nil ports, ports are numbers.
func FormatRule(r *flow.Rule, ports PortNames) string {
	var w ruleWriter
	w.b.Grow(usualRule)
	w.ports = ports
	if r.Cookie != 0 {
		fmt.Fprintf(&w.b, "cookie=%#x, ", r.Cookie)
	}
	if r.Table != 0 {
		fmt.Fprintf(&w.b, "table=%d, ", r.Table)
	}
	w.settings(r)
	w.rest(r)
	return w.b.String()
}

// FormatStats prints one line of a dump as "ovs-ofctl dump-flows" does, with the same leading blank. Durations are whole
// seconds except the first. With nil ports, ports are numbers.
func FormatStats(s *flow.RuleStats, ports PortNames) string {
	var w ruleWriter
	w.b.Grow(usualStats + usualRule)
	w.ports = ports
	r := &s.Rule
	fmt.Fprintf(&w.b, " cookie=%#x, duration=%d.%03ds, table=%d, n_packets=%d, n_bytes=%d, ", r.Cookie,
		int64(s.Duration/time.Second), int64(s.Duration/time.Millisecond%1000), r.Table, s.Packets, s.Bytes)
	w.settings(r)
	fmt.Fprintf(&w.b, "idle_age=%d, ", int64(s.IdleAge/time.Second))
	if s.HardAge/time.Second != s.Duration/time.Second {
		fmt.Fprintf(&w.b, "hard_age=%d, ", int64(s.HardAge/time.Second))
	}
	w.rest(r)
	return w.b.String()
}

type ruleWriter struct {
	b     strings.Builder
	ports PortNames
	sep   string // before the next condition
}

func (w *ruleWriter) settings(r *flow.Rule) {
	if r.IdleTimeout != 0 {
		fmt.Fprintf(&w.b, "idle_timeout=%d, ", r.IdleTimeout)
	}
	if r.HardTimeout != 0 {
		fmt.Fprintf(&w.b, "hard_timeout=%d, ", r.HardTimeout)
	}
	for _, f := range []struct {
		flag flow.Flags
		name string
	}{
		{flow.FlagSendRemoved, "send_flow_rem "},
		{flow.FlagCheckOverlap, "check_overlap "},
		{flow.FlagResetCounts, "reset_counts "},
		{flow.FlagNoPacketCounts, "no_packet_counts "},
		{flow.FlagNoByteCounts, "no_byte_counts "},
	} {
		if r.Flags&f.flag != 0 {
			w.b.WriteString(f.name)
		}
	}
	if r.Importance != 0 {
		fmt.Fprintf(&w.b, "importance=%d, ", r.Importance)
	}
}

// rest prints priority, conditions and actions.
func (w *ruleWriter) rest(r *flow.Rule) {
	if r.Priority != flow.DefaultPriority {
		w.put("priority=%d", r.Priority)
	}
	w.match(&r.Match)
	if w.sep != "" {
		w.b.WriteByte(' ')
	}
	w.b.WriteString("actions=")
	w.actions(r.Actions)
}

func (w *ruleWriter) put(format string, args ...any) {
	w.b.WriteString(w.sep)
	fmt.Fprintf(&w.b, format, args...)
	w.sep = ","
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
				w.put("%s", s.Name)
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
		w.put("dl_type=0x%04x", ethType)
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
		w.put("ipv6_label=0x%05x", label.Get(&m.Key))
	} else if mask := label.Get(&m.Mask); mask != 0 {
		w.put("ipv6_label=0x%05x/0x%05x", label.Get(&m.Key), mask)
	}
	if proto >= 0 {
		w.put("nw_proto=%d", proto)
	}
	if tos := m.Mask[flow.WordL4] >> flow.ShiftTOS & 0xff; tos&0xfc == 0xfc {
		w.put("nw_tos=%d", m.Key[flow.WordL4]>>flow.ShiftTOS&0xfc)
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
			w.put("nw_frag=%s", n.Name)
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
	var s strings.Builder
	for i, name := range tcpFlagNames {
		switch bit := uint64(1) << i; {
		case mask&bit == 0:
		case mask == 0xfff && val&bit != 0:
			if s.Len() > 0 {
				s.WriteByte('|')
			}
			s.WriteString(name)
		case mask == 0xfff:
		case val&bit != 0:
			s.WriteString("+" + name)
		default:
			s.WriteString("-" + name)
		}
	}
	if s.Len() == 0 {
		s.WriteByte('0')
	}
	w.put("tcp_flags=%s", s.String())
}

// vlan prints the outer tag in the plainest form that says all of it.
func (w *ruleWriter) vlan(m *flow.Match) {
	val, mask := m.Key[flow.WordPort]&flow.MaskTag, m.Mask[flow.WordPort]&flow.MaskTag
	vid, pcp := mask&flow.VLANVID, mask&flow.VLANPCP
	switch {
	case mask == 0:
	case val&flow.VLANPresent != 0 && vid|pcp != 0 && (vid == 0 || vid == flow.VLANVID) && (pcp == 0 || pcp == flow.VLANPCP):
		if vid != 0 {
			w.put("dl_vlan=%d", val&flow.VLANVID)
		}
		if pcp != 0 {
			w.put("dl_vlan_pcp=%d", val>>flow.VLANPCPLow)
		}
	case mask == flow.MaskTag:
		w.put("vlan_tci=0x%04x", val)
	default:
		w.put("vlan_tci=0x%04x/0x%04x", val, mask)
	}
}

// field prints one field's condition, if there is one.
func (w *ruleWriter) field(m *flow.Match, id flow.FieldID) {
	f := &flow.Fields[id]
	if f.Width == 128 {
		if m.Mask[f.Word]|m.Mask[f.Word+1] != 0 {
			w.put("%s=%s", f.Name, formatIPv6(m.Key[f.Word], m.Key[f.Word+1], m.Mask[f.Word], m.Mask[f.Word+1]))
		}
		return
	}
	val, mask := f.Get(&m.Key), f.Get(&m.Mask)
	full := uint64(1)<<f.Width - 1
	if mask == 0 {
		return
	}
	switch f.Syntax {
	case flow.SynPort:
		w.put("%s=%s", f.Name, w.port(uint32(val)))
	case flow.SynMAC:
		w.put("%s=%s", f.Name, FormatMAC(val))
		if mask != full {
			w.b.WriteString("/" + FormatMAC(mask))
		}
	case flow.SynIPv4:
		w.put("%s=%s", f.Name, FormatIPv4(val))
		if n := bits.OnesCount64(mask); mask == full<<(32-n)&full {
			if n != 32 {
				fmt.Fprintf(&w.b, "/%d", n)
			}
		} else {
			w.b.WriteString("/" + FormatIPv4(mask))
		}
	case flow.SynHex:
		w.put("%s=%s", f.Name, hex(val))
		if mask != full {
			w.b.WriteString("/" + hex(mask))
		}
	default:
		if mask == full {
			w.put("%s=%d", f.Name, val)
		} else {
			w.put("%s=0x%x/0x%x", f.Name, val, mask)
		}
	}
}

// hex prints a number as C's %#x does.
func hex(v uint64) string {
	if v == 0 {
		return "0"
	}
	return fmt.Sprintf("%#x", v)
}

// FormatPort prints a port's number, or its name if ports has one.
func FormatPort(n uint32, ports PortNames) string {
	w := ruleWriter{ports: ports}
	return w.port(n)
}

// port prints a port's number or name.
func (w *ruleWriter) port(n uint32) string {
	if n == flow.PortLocal {
		return "LOCAL"
	}
	if w.ports != nil {
		if name, ok := w.ports.PortName(n); ok {
			return quoteName(name)
		}
	}
	return strconv.FormatUint(uint64(n), 10)
}

// quoteName quotes a port's name unless it is a plain word that could not be taken for anything else.
func quoteName(name string) string {
	plain := name != ""
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			plain = false
		}
	}
	for _, r := range reservedPorts {
		if strings.EqualFold(r, name) {
			plain = false
		}
	}
	if plain {
		return name
	}
	return strconv.Quote(name)
}

// FormatMAC prints an Ethernet address, the low 48 bits of v.
func FormatMAC(v uint64) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", v>>40&0xff, v>>32&0xff, v>>24&0xff, v>>16&0xff, v>>8&0xff, v&0xff)
}

// FormatIPv4 prints an IPv4 address.
func FormatIPv4(v uint64) string {
	return fmt.Sprintf("%d.%d.%d.%d", v>>24&0xff, v>>16&0xff, v>>8&0xff, v&0xff)
}

func ipv6Text(hi, lo uint64) string {
	var b [16]byte
	for i := range 8 {
		b[i], b[8+i] = byte(hi>>(56-8*i)), byte(lo>>(56-8*i))
	}
	return netip.AddrFrom16(b).String()
}

// formatIPv6 prints an address with its prefix length, or with its mask if that is not a prefix.
func formatIPv6(hi, lo, maskHi, maskLo uint64) string {
	s := ipv6Text(hi, lo)
	n := bits.LeadingZeros64(^maskHi)
	if n == 64 {
		n += bits.LeadingZeros64(^maskLo)
	}
	switch {
	case n == 128:
		return s
	case bits.OnesCount64(maskHi)+bits.OnesCount64(maskLo) == n:
		return s + "/" + strconv.Itoa(n)
	}
	return s + "/" + ipv6Text(maskHi, maskLo)
}
