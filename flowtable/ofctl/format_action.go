package ofctl

import "weft/flowtable/flow"

// actions prints a list, those of write_actions inside it.
func (w *ruleWriter) actions(actions []flow.Action) {
	if len(actions) == 0 {
		w.str("drop")
	}
	inSet := false
	for i := range actions {
		a := &actions[i]
		if inSet && !a.InSet {
			w.str(")")
		}
		if i > 0 {
			w.str(",")
		}
		if a.InSet && !inSet {
			w.str("write_actions(")
		}
		inSet = a.InSet
		w.action(a)
	}
	if inSet {
		w.str(")")
	}
}

// plainActions are those that have no value.
var plainActions = [flow.NumActionKinds]string{
	flow.ActionInPort: "IN_PORT", flow.ActionFlood: "FLOOD", flow.ActionAll: "ALL", flow.ActionNormal: "NORMAL",
	flow.ActionLocal: "LOCAL", flow.ActionClearActions: "clear_actions", flow.ActionExit: "exit",
	flow.ActionPopVLAN: "strip_vlan", flow.ActionDecMPLSTTL: "dec_mpls_ttl",
}

// numberedActions are those that have one number: what stands before it, how many hexadecimal digits it has at least, 0
// for a decimal one, and what stands behind it.
var numberedActions = [flow.NumActionKinds]struct {
	before string
	digits int
	behind string
}{
	flow.ActionPushVLAN: {"push_vlan:0x", 1, ""}, flow.ActionPushMPLS: {"push_mpls:0x", 4, ""},
	flow.ActionPopMPLS:    {"pop_mpls:0x", 4, ""},
	flow.ActionModVLANVID: {"mod_vlan_vid:", 0, ""}, flow.ActionModVLANPCP: {"mod_vlan_pcp:", 0, ""},
	flow.ActionModTOS: {"mod_nw_tos:", 0, ""}, flow.ActionModECN: {"mod_nw_ecn:", 0, ""},
	flow.ActionModTTL:   {"mod_nw_ttl:", 0, ""},
	flow.ActionModTPSrc: {"mod_tp_src:", 0, ""}, flow.ActionModTPDst: {"mod_tp_dst:", 0, ""},
	flow.ActionSetMPLSLabel: {"set_mpls_label(", 0, ")"}, flow.ActionSetMPLSTC: {"set_mpls_tc(", 0, ")"},
	flow.ActionSetMPLSTTL: {"set_mpls_ttl(", 0, ")"},
	flow.ActionSetTunnel:  {"set_tunnel:0x", 1, ""}, flow.ActionSetTunnel64: {"set_tunnel64:0x", 1, ""},
}

func (w *ruleWriter) action(a *flow.Action) {
	if a.Kind >= flow.NumActionKinds {
		return
	}
	if s := plainActions[a.Kind]; s != "" {
		w.str(s)
		return
	}
	if n := &numberedActions[a.Kind]; n.before != "" {
		if n.digits > 0 {
			w.str(n.before)
			w.b = appendHex(w.b, a.Value.Lo, n.digits)
		} else {
			w.num(n.before, a.Value.Lo)
		}
		w.str(n.behind)
		return
	}
	switch a.Kind {
	case flow.ActionOutput:
		w.str("output:")
		w.port(a.Port)
	case flow.ActionOutputReg:
		w.subfield("output:", a.Src)
	case flow.ActionGroup:
		w.num("group:", uint64(a.ID))
	case flow.ActionResubmit:
		w.resubmit(a)
	case flow.ActionGotoTable:
		w.num("goto_table:", uint64(a.Table))
	case flow.ActionWriteMetadata:
		w.hex("write_metadata:0x", a.Value.Lo)
		if a.Mask != flow.Ones(64) {
			w.hex("/0x", a.Mask.Lo)
		}
	case flow.ActionDecTTL:
		w.decTTL(a)
	case flow.ActionMeter:
		w.num("meter:", uint64(a.ID))
	case flow.ActionNote:
		w.note(a)
	case flow.ActionModEthSrc:
		w.b = appendMAC(append(w.b, "mod_dl_src:"...), a.Value.Lo)
	case flow.ActionModEthDst:
		w.b = appendMAC(append(w.b, "mod_dl_dst:"...), a.Value.Lo)
	case flow.ActionModIPSrc:
		w.b = appendIPv4(append(w.b, "mod_nw_src:"...), a.Value.Lo)
	case flow.ActionModIPDst:
		w.b = appendIPv4(append(w.b, "mod_nw_dst:"...), a.Value.Lo)
	case flow.ActionSetField:
		w.setField(a)
	case flow.ActionLoad:
		w.str("load:")
		w.value(a.Value)
		w.subfield("->", a.Dst)
	case flow.ActionMove:
		w.subfield("move:", a.Src)
		w.subfield("->", a.Dst)
	}
}

func (w *ruleWriter) note(a *flow.Action) {
	w.str("note:")
	for i := range len(a.Note) {
		if i > 0 {
			w.str(".")
		}
		w.b = appendHex(w.b, uint64(a.Note[i]), 2)
	}
}

// decTTL writes dec_ttl and the controllers that it names.
func (w *ruleWriter) decTTL(a *flow.Action) {
	w.str("dec_ttl")
	sep := "("
	for ids := a.Note; len(ids) >= 2; ids = ids[2:] {
		w.num(sep, uint64(ids[0])<<8|uint64(ids[1]))
		sep = ","
	}
	if a.Note != "" {
		w.str(")")
	}
}

func (w *ruleWriter) resubmit(a *flow.Action) {
	if a.Table == flow.SameTable {
		w.str("resubmit:")
		w.port(a.Port)
		return
	}
	w.str("resubmit(")
	if a.Port != flow.SamePort {
		w.port(a.Port)
	}
	w.num(",", uint64(a.Table))
	w.str(")")
}

// value writes a number of 128 bits in hexadecimal.
func (w *ruleWriter) value(v flow.Value) {
	if v.Hi == 0 {
		w.b = append0x(w.b, v.Lo)
		return
	}
	w.hex("0x", v.Hi)
	w.b = appendHex(w.b, v.Lo, 16)
}

// subfield writes text and some bits of a field.
func (w *ruleWriter) subfield(text string, s flow.Subfield) {
	w.str(text)
	w.str(flow.Places[s.Field].NXM)
	switch {
	case s.IsWhole():
		w.str("[]")
		return
	case s.Bits == 1:
		w.num("[", uint64(s.Ofs))
	default:
		w.num("[", uint64(s.Ofs))
		w.num("..", uint64(s.Ofs)+uint64(s.Bits)-1)
	}
	w.str("]")
}

// hexFields are the fields, beside registers, whose values set_field prints in hexadecimal.
var hexFields = map[flow.FieldID]bool{
	flow.FieldVLANTCI: true, flow.FieldIPv6Label: true, flow.FieldMetadata: true, flow.FieldTunID: true,
	flow.FieldPktMark: true,
}

func (w *ruleWriter) setField(a *flow.Action) {
	w.str("set_field:")
	w.fieldValue(a)
	w.str("->")
	w.str(flow.Places[a.Dst.Field].Name)
}

// fieldValue writes the value and mask of a set_field.
func (w *ruleWriter) fieldValue(a *flow.Action) {
	id := a.Dst.Field
	full := flow.Ones(int(a.Dst.Bits))
	v, m := a.Value, a.Mask
	switch flow.Fields[id].Syntax {
	case flow.SynMAC:
		w.b = appendMaskedMAC(w.b, v.Lo, m.Lo, full.Lo)
		return
	case flow.SynIPv4:
		w.b = appendMaskedIPv4(w.b, v.Lo, m.Lo)
		return
	case flow.SynIPv6:
		w.b = appendMaskedIPv6(w.b, v.Hi, v.Lo, m.Hi, m.Lo)
		return
	case flow.SynPort:
		w.portField(v.Lo)
		return
	case flow.SynVLANVID:
		v.Lo |= flow.VLANPresent
		if m != full {
			m.Lo |= flow.VLANPresent
		}
	}
	if id >= flow.FieldReg0 || hexFields[id] {
		w.value(v)
	} else {
		w.num("", v.Lo)
	}
	if m != full {
		w.str("/")
		w.value(m)
	}
}

// portField writes in_port's 16 bits.
func (w *ruleWriter) portField(n uint64) {
	switch {
	case n == flow.PortLocal&0xffff:
		w.str("LOCAL")
	case n == 0 || n > flow.MaxPort:
		w.num("", n)
	default:
		w.port(uint32(n))
	}
}

// FormatActions prints a list of actions as rules have it.
func FormatActions(actions []flow.Action, ports PortNames) string {
	w := ruleWriter{ports: ports}
	w.actions(actions)
	return string(w.b)
}
