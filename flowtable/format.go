package flowtable

import (
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Format prints r as "ovs-ofctl dump-flows --names --no-stats" does, so that ParseRule, ovs-ofctl and people can read
// it. With nil ports, ports are numbers.
func (r *Rule) Format(ports PortNames) string {
	var w ruleWriter
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

// Format prints one line of a dump as "ovs-ofctl dump-flows" does, with the same leading blank. Durations are whole
// seconds except the first. With nil ports, ports are numbers.
func (s *RuleStats) Format(ports PortNames) string {
	var w ruleWriter
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

func (w *ruleWriter) settings(r *Rule) {
	if r.IdleTimeout != 0 {
		fmt.Fprintf(&w.b, "idle_timeout=%d, ", r.IdleTimeout)
	}
	if r.HardTimeout != 0 {
		fmt.Fprintf(&w.b, "hard_timeout=%d, ", r.HardTimeout)
	}
	for _, f := range []struct {
		flag Flags
		name string
	}{{FlagSendRemoved, "send_flow_rem "}, {FlagCheckOverlap, "check_overlap "}, {FlagResetCounts, "reset_counts "}} {
		if r.Flags&f.flag != 0 {
			w.b.WriteString(f.name)
		}
	}
	if r.Importance != 0 {
		fmt.Fprintf(&w.b, "importance=%d, ", r.Importance)
	}
}

// rest prints priority, conditions and actions.
func (w *ruleWriter) rest(r *Rule) {
	if r.Priority != DefaultPriority {
		w.put("priority=%d", r.Priority)
	}
	w.match(&r.Match)
	if w.sep != "" {
		w.b.WriteByte(' ')
	}
	w.b.WriteString("actions=")
	if len(r.Actions) == 0 {
		w.b.WriteString("drop")
	}
	for i := range r.Actions {
		if i > 0 {
			w.b.WriteByte(',')
		}
		w.action(&r.Actions[i])
	}
}

func (w *ruleWriter) put(format string, args ...any) {
	w.b.WriteString(w.sep)
	fmt.Fprintf(&w.b, format, args...)
	w.sep = ","
}

// match prints conditions in ovs-ofctl's order.
func (w *ruleWriter) match(m *Match) {
	ethType, proto := m.exact(fieldEthType), m.exact(fieldIPProto)
	var done bool
	if ethType >= 0 {
		for _, s := range shorthands {
			if int64(s.ethType) == ethType && (s.proto == anyProto || int64(s.proto) == proto) {
				w.put("%s", s.name)
				done = true
				if s.proto != anyProto {
					proto = -1
				}
				break
			}
		}
	}
	w.field(m, fieldInPort)
	w.vlan(m)
	w.field(m, fieldEthSrc)
	w.field(m, fieldEthDst)
	if ethType >= 0 && !done {
		w.put("dl_type=0x%04x", ethType)
	}
	if ethType == ethARP || ethType == ethRARP {
		for _, id := range []fieldID{fieldARPSPA, fieldARPTPA, fieldARPOp, fieldARPSHA, fieldARPTHA} {
			w.field(m, id)
		}
		return
	}
	w.field(m, fieldIPSrc)
	w.field(m, fieldIPDst)
	w.field(m, fieldIPv6Src)
	w.field(m, fieldIPv6Dst)
	if proto >= 0 {
		w.put("nw_proto=%d", proto)
	}
	if tos := m.Mask[wordL4] >> shiftTOS & 0xff; tos&0xfc == 0xfc {
		w.put("nw_tos=%d", m.Key[wordL4]>>shiftTOS&0xfc)
	}
	w.field(m, fieldECN)
	w.field(m, fieldTTL)
	w.frag(m)
	w.transport(m)
}

// exact is the value of a narrow field that is matched in all bits, or -1.
func (m *Match) exact(id fieldID) int64 {
	f := &fields[id]
	if f.get(&m.Mask) != 1<<f.width-1 {
		return -1
	}
	return int64(f.get(&m.Key))
}

func (w *ruleWriter) frag(m *Match) {
	f := &fields[fieldFrag]
	val, mask := f.get(&m.Key), f.get(&m.Mask)
	for _, n := range fragNames {
		if mask != 0 && n.val == val && n.mask == mask {
			w.put("nw_frag=%s", n.name)
			return
		}
	}
}

func (w *ruleWriter) transport(m *Match) {
	src, dst := fieldTPSrc, fieldTPDst
	ethType, proto := m.exact(fieldEthType), m.exact(fieldIPProto)
	if ethType == ethIPv4 && proto == protoICMP || ethType == ethIPv6 && proto == protoICMP6 {
		src, dst = fieldICMPType, fieldICMPCode
	}
	w.field(m, src)
	w.field(m, dst)
	w.tcpFlags(m)
}

func (w *ruleWriter) tcpFlags(m *Match) {
	f := &fields[fieldTCPFlags]
	val, mask := f.get(&m.Key), f.get(&m.Mask)&0xfff
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
func (w *ruleWriter) vlan(m *Match) {
	val, mask := m.Key[wordPort]&maskTag, m.Mask[wordPort]&maskTag
	vid, pcp := mask&vlanVID, mask&vlanPCP
	switch {
	case mask == 0:
	case val&vlanPresent != 0 && vid|pcp != 0 && (vid == 0 || vid == vlanVID) && (pcp == 0 || pcp == vlanPCP):
		if vid != 0 {
			w.put("dl_vlan=%d", val&vlanVID)
		}
		if pcp != 0 {
			w.put("dl_vlan_pcp=%d", val>>vlanPCPLow)
		}
	case mask == maskTag:
		w.put("vlan_tci=0x%04x", val)
	default:
		w.put("vlan_tci=0x%04x/0x%04x", val, mask)
	}
}

// field prints one field's condition, if there is one.
func (w *ruleWriter) field(m *Match, id fieldID) {
	f := &fields[id]
	if f.width == 128 {
		if m.Mask[f.word]|m.Mask[f.word+1] != 0 {
			w.put("%s=%s", f.name, formatIPv6(m.Key[f.word], m.Key[f.word+1], m.Mask[f.word], m.Mask[f.word+1]))
		}
		return
	}
	val, mask := f.get(&m.Key), f.get(&m.Mask)
	full := uint64(1)<<f.width - 1
	if mask == 0 {
		return
	}
	switch f.syntax {
	case synPort:
		w.put("%s=%s", f.name, w.port(uint32(val)))
	case synMAC:
		w.put("%s=%s", f.name, formatMAC(val))
		if mask != full {
			w.b.WriteString("/" + formatMAC(mask))
		}
	case synIPv4:
		w.put("%s=%s", f.name, formatIPv4(val))
		if n := bits.OnesCount64(mask); mask == full<<(32-n)&full {
			if n != 32 {
				fmt.Fprintf(&w.b, "/%d", n)
			}
		} else {
			w.b.WriteString("/" + formatIPv4(mask))
		}
	default:
		if mask == full {
			w.put("%s=%d", f.name, val)
		} else {
			w.put("%s=0x%x/0x%x", f.name, val, mask)
		}
	}
}

// port prints a port's number or name.
func (w *ruleWriter) port(n uint32) string {
	if n == PortLocal {
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

func formatMAC(v uint64) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", v>>40&0xff, v>>32&0xff, v>>24&0xff, v>>16&0xff, v>>8&0xff, v&0xff)
}

func formatIPv4(v uint64) string {
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

func (w *ruleWriter) action(a *Action) {
	b := &w.b
	switch a.Kind {
	case ActionOutput:
		b.WriteString("output:" + w.port(a.Port))
	case ActionInPort:
		b.WriteString("IN_PORT")
	case ActionFlood:
		b.WriteString("FLOOD")
	case ActionAll:
		b.WriteString("ALL")
	case ActionNormal:
		b.WriteString("NORMAL")
	case ActionLocal:
		b.WriteString("LOCAL")
	case ActionResubmit:
		w.resubmit(a)
	case ActionGotoTable:
		fmt.Fprintf(b, "goto_table:%d", a.Table)
	case ActionPushVLAN:
		fmt.Fprintf(b, "push_vlan:%#x", a.Value)
	case ActionPopVLAN:
		b.WriteString("strip_vlan")
	case ActionModVLANVID:
		fmt.Fprintf(b, "mod_vlan_vid:%d", a.Value)
	case ActionModVLANPCP:
		fmt.Fprintf(b, "mod_vlan_pcp:%d", a.Value)
	case ActionSetVLANVID:
		fmt.Fprintf(b, "set_field:%d->vlan_vid", a.Value|vlanPresent)
	case ActionSetVLANPCP:
		fmt.Fprintf(b, "set_field:%d->vlan_pcp", a.Value)
	case ActionModEthSrc:
		b.WriteString("mod_dl_src:" + formatMAC(a.Value))
	case ActionModEthDst:
		b.WriteString("mod_dl_dst:" + formatMAC(a.Value))
	case ActionSetEthSrc, ActionSetEthDst:
		b.WriteString("set_field:" + formatMAC(a.Value))
		if a.Mask != fullEth {
			b.WriteString("/" + formatMAC(a.Mask))
		}
		if a.Kind == ActionSetEthSrc {
			b.WriteString("->eth_src")
		} else {
			b.WriteString("->eth_dst")
		}
	}
}

func (w *ruleWriter) resubmit(a *Action) {
	switch {
	case a.Table == SameTable:
		w.b.WriteString("resubmit:" + w.port(a.Port))
	case a.Port == SamePort:
		fmt.Fprintf(&w.b, "resubmit(,%d)", a.Table)
	default:
		fmt.Fprintf(&w.b, "resubmit(%s,%d)", w.port(a.Port), a.Table)
	}
}
