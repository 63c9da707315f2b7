package ofctl

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"

	"weft/flowtable/flow"
)

// actions prints a list, those of write_actions inside it.
func (w *ruleWriter) actions(actions []flow.Action) {
	if len(actions) == 0 {
		w.b.WriteString("drop")
	}
	inSet := false
	for i := range actions {
		a := &actions[i]
		if inSet && !a.InSet {
			w.b.WriteByte(')')
		}
		if i > 0 {
			w.b.WriteByte(',')
		}
		if a.InSet && !inSet {
			w.b.WriteString("write_actions(")
		}
		inSet = a.InSet
		w.action(a)
	}
	if inSet {
		w.b.WriteByte(')')
	}
}

// plainActions are those that have no value.
var plainActions = map[flow.ActionKind]string{
	flow.ActionInPort: "IN_PORT", flow.ActionFlood: "FLOOD", flow.ActionAll: "ALL", flow.ActionNormal: "NORMAL",
	flow.ActionLocal: "LOCAL", flow.ActionClearActions: "clear_actions", flow.ActionExit: "exit",
	flow.ActionPopVLAN: "strip_vlan", flow.ActionDecMPLSTTL: "dec_mpls_ttl",
}

// numberedActions are those that have one number.
var numberedActions = map[flow.ActionKind]string{
	flow.ActionPushVLAN: "push_vlan:%#x", flow.ActionPushMPLS: "push_mpls:0x%04x", flow.ActionPopMPLS: "pop_mpls:0x%04x",
	flow.ActionModVLANVID: "mod_vlan_vid:%d", flow.ActionModVLANPCP: "mod_vlan_pcp:%d",
	flow.ActionModTOS: "mod_nw_tos:%d", flow.ActionModECN: "mod_nw_ecn:%d", flow.ActionModTTL: "mod_nw_ttl:%d",
	flow.ActionModTPSrc: "mod_tp_src:%d", flow.ActionModTPDst: "mod_tp_dst:%d",
	flow.ActionSetMPLSLabel: "set_mpls_label(%d)", flow.ActionSetMPLSTC: "set_mpls_tc(%d)",
	flow.ActionSetMPLSTTL: "set_mpls_ttl(%d)",
	flow.ActionSetTunnel:  "set_tunnel:%#x", flow.ActionSetTunnel64: "set_tunnel64:%#x",
}

func (w *ruleWriter) action(a *flow.Action) {
	b := &w.b
	if s, ok := plainActions[a.Kind]; ok {
		b.WriteString(s)
		return
	}
	if format, ok := numberedActions[a.Kind]; ok {
		fmt.Fprintf(b, format, a.Value.Lo)
		return
	}
	switch a.Kind {
	case flow.ActionOutput:
		b.WriteString("output:" + w.port(a.Port))
	case flow.ActionOutputReg:
		b.WriteString("output:" + subfieldText(a.Src))
	case flow.ActionGroup:
		fmt.Fprintf(b, "group:%d", a.ID)
	case flow.ActionResubmit:
		w.resubmit(a)
	case flow.ActionGotoTable:
		fmt.Fprintf(b, "goto_table:%d", a.Table)
	case flow.ActionWriteMetadata:
		fmt.Fprintf(b, "write_metadata:%#x", a.Value.Lo)
		if a.Mask != flow.Ones(64) {
			fmt.Fprintf(b, "/%#x", a.Mask.Lo)
		}
	case flow.ActionDecTTL:
		w.decTTL(a)
	case flow.ActionMeter:
		fmt.Fprintf(b, "meter:%d", a.ID)
	case flow.ActionNote:
		b.WriteString("note:")
		for i := range len(a.Note) {
			if i > 0 {
				b.WriteByte('.')
			}
			fmt.Fprintf(b, "%02x", a.Note[i])
		}
	case flow.ActionModEthSrc:
		b.WriteString("mod_dl_src:" + FormatMAC(a.Value.Lo))
	case flow.ActionModEthDst:
		b.WriteString("mod_dl_dst:" + FormatMAC(a.Value.Lo))
	case flow.ActionModIPSrc:
		b.WriteString("mod_nw_src:" + FormatIPv4(a.Value.Lo))
	case flow.ActionModIPDst:
		b.WriteString("mod_nw_dst:" + FormatIPv4(a.Value.Lo))
	case flow.ActionSetField:
		b.WriteString("set_field:" + w.fieldValue(a) + "->" + flow.Places[a.Dst.Field].Name)
	case flow.ActionLoad:
		w.load(a)
	case flow.ActionMove:
		b.WriteString("move:" + subfieldText(a.Src) + "->" + subfieldText(a.Dst))
	}
}

// decTTL writes dec_ttl and the controllers that it names.
func (w *ruleWriter) decTTL(a *flow.Action) {
	w.b.WriteString("dec_ttl")
	sep := byte('(')
	for ids := []byte(a.Note); len(ids) >= 2; ids = ids[2:] {
		fmt.Fprintf(&w.b, "%c%d", sep, binary.BigEndian.Uint16(ids))
		sep = ','
	}
	if a.Note != "" {
		w.b.WriteByte(')')
	}
}

func (w *ruleWriter) resubmit(a *flow.Action) {
	switch {
	case a.Table == flow.SameTable:
		w.b.WriteString("resubmit:" + w.port(a.Port))
	case a.Port == flow.SamePort:
		fmt.Fprintf(&w.b, "resubmit(,%d)", a.Table)
	default:
		fmt.Fprintf(&w.b, "resubmit(%s,%d)", w.port(a.Port), a.Table)
	}
}

func hexValue(v flow.Value) string {
	switch {
	case v.IsZero():
		return "0" // as C's %#x has it
	case v.Hi != 0:
		return fmt.Sprintf("%#x%016x", v.Hi, v.Lo)
	}
	return fmt.Sprintf("%#x", v.Lo)
}

func subfieldText(s flow.Subfield) string {
	name := flow.Places[s.Field].NXM
	switch {
	case s.IsWhole():
		return name + "[]"
	case s.Bits == 1:
		return fmt.Sprintf("%s[%d]", name, s.Ofs)
	}
	return fmt.Sprintf("%s[%d..%d]", name, s.Ofs, int(s.Ofs)+int(s.Bits)-1)
}

// load prints a load.
func (w *ruleWriter) load(a *flow.Action) {
	fmt.Fprintf(&w.b, "load:%s->%s", hexValue(a.Value), subfieldText(a.Dst))
}

// hexFields are the fields, beside registers, whose values set_field prints in hexadecimal.
var hexFields = map[flow.FieldID]bool{
	flow.FieldVLANTCI: true, flow.FieldIPv6Label: true, flow.FieldMetadata: true, flow.FieldTunID: true,
	flow.FieldPktMark: true,
}

// fieldValue is the value and mask of a set_field.
func (w *ruleWriter) fieldValue(a *flow.Action) string {
	id := a.Dst.Field
	full := flow.Ones(int(a.Dst.Bits))
	v, m := a.Value, a.Mask
	switch flow.Fields[id].Syntax {
	case flow.SynMAC:
		if m != full {
			return FormatMAC(v.Lo) + "/" + FormatMAC(m.Lo)
		}
		return FormatMAC(v.Lo)
	case flow.SynIPv4:
		return ipv4Text(v.Lo, m.Lo)
	case flow.SynIPv6:
		return formatIPv6(v.Hi, v.Lo, m.Hi, m.Lo)
	case flow.SynPort:
		return w.portField(v.Lo)
	case flow.SynVLANVID:
		v.Lo |= flow.VLANPresent
		if m != full {
			m.Lo |= flow.VLANPresent
		}
	}
	s := fmt.Sprint(v.Lo)
	if id >= flow.FieldReg0 || hexFields[id] {
		s = hexValue(v)
	}
	if m != full {
		s += "/" + hexValue(m)
	}
	return s
}

// portField prints in_port's 16 bits.
func (w *ruleWriter) portField(n uint64) string {
	switch {
	case n == flow.PortLocal&0xffff:
		return "LOCAL"
	case n == 0 || n > flow.MaxPort:
		return fmt.Sprint(n)
	}
	return w.port(uint32(n))
}

// ipv4Text prints an address with its prefix length, or with its mask if that is not a prefix.
func ipv4Text(v, mask uint64) string {
	const full = 0xffffffff
	n := bits.OnesCount64(mask)
	switch {
	case mask != full<<(32-n)&full:
		return FormatIPv4(v) + "/" + FormatIPv4(mask)
	case n != 32:
		return fmt.Sprintf("%s/%d", FormatIPv4(v), n)
	}
	return FormatIPv4(v)
}

// FormatActions prints a list of actions as rules have it.
func FormatActions(actions []flow.Action, ports PortNames) string {
	w := ruleWriter{ports: ports}
	w.actions(actions)
	return strings.Clone(w.b.String())
}
