package flow

import "encoding/binary"

// ActionKind says what an action does.
type ActionKind uint8

// The actions, in ovs-ofctl's words. What outputs comes first.
const (
	ActionOutput    ActionKind = iota // output:Port
	ActionInPort                      // in_port
	ActionFlood                       // flood
	ActionAll                         // all
	ActionNormal                      // normal
	ActionLocal                       // local
	ActionOutputReg                   // output:Src
	ActionGroup                       // group:ID

	ActionResubmit      // resubmit(Port,Table)
	ActionGotoTable     // goto_table:Table
	ActionClearActions  // clear_actions
	ActionWriteMetadata // write_metadata:Value/Mask
	ActionMeter         // meter:ID
	ActionExit          // exit
	ActionNote          // note:Note

	ActionPushVLAN   // push_vlan:Value
	ActionPopVLAN    // strip_vlan
	ActionPushMPLS   // push_mpls:Value
	ActionPopMPLS    // pop_mpls:Value
	ActionDecTTL     // dec_ttl
	ActionDecMPLSTTL // dec_mpls_ttl

	ActionSetField // set_field:Value/Mask->Dst, all of a field
	ActionLoad     // load:Value->Dst
	ActionMove     // move:Src->Dst

	// What has names of its own: like set_field, but skipped instead of refused when the match does not promise the field.
	ActionModVLANVID   // mod_vlan_vid:Value
	ActionModVLANPCP   // mod_vlan_pcp:Value
	ActionModEthSrc    // mod_dl_src:Value
	ActionModEthDst    // mod_dl_dst:Value
	ActionModIPSrc     // mod_nw_src:Value
	ActionModIPDst     // mod_nw_dst:Value
	ActionModTOS       // mod_nw_tos:Value
	ActionModECN       // mod_nw_ecn:Value
	ActionModTTL       // mod_nw_ttl:Value
	ActionModTPSrc     // mod_tp_src:Value
	ActionModTPDst     // mod_tp_dst:Value
	ActionSetMPLSLabel // set_mpls_label:Value
	ActionSetMPLSTC    // set_mpls_tc:Value
	ActionSetMPLSTTL   // set_mpls_ttl:Value
	ActionSetTunnel    // set_tunnel:Value
	ActionSetTunnel64  // set_tunnel64:Value
	NumActionKinds
)

// Action is one step of a rule or of a bucket. Fields that its kind does not use are zero, so actions compare with ==.
//
// A rule's list is OpenFlow's instructions in their order: meter, the actions to apply, clear_actions, write_actions
// (its actions are marked InSet), write_metadata, goto_table (OpenFlow 1.3 §5.9).
type Action struct {
	Kind     ActionKind
	InSet    bool  // part of write_actions: waits in the action set until the tables are done
	Table    uint8 // SameTable: the table that the action is in
	Src, Dst Subfield
	Port     uint32
	ID       uint32 // of a group or meter
	Value    Value  // Dst's or the whole field's, counted from its lowest bit
	Mask     Value  // ActionSetField, ActionWriteMetadata: the bits of Value that count; others are zero
	Note     string // bytes; of ActionDecTTL the controllers to tell of what has no TTL left, 16 bits each: there are none
}

// FullEth is the mask of a whole Ethernet address.
const FullEth = 0xffffffffffff

// Output reports whether a sends the packet somewhere, or may.
func (a *Action) Output() bool { return a.Kind <= ActionGroup }

// PortOut is the number of the port that a outputs to by name: 0 if it does not.
func (a *Action) PortOut() uint32 {
	switch a.Kind {
	case ActionOutput:
		return a.Port
	case ActionLocal:
		return PortLocal
	}
	return 0
}

// Setting is what a sets, of the actions that set bits of one field to a constant.
func (a *Action) Setting() (dst Subfield, value Value, ok bool) {
	switch a.Kind {
	case ActionLoad:
		return a.Dst, a.Value, true
	case ActionWriteMetadata:
		return Whole(FieldMetadata), a.Value, true
	}
	if a.Kind >= ActionModVLANVID && a.Kind < NumActionKinds {
		return Whole(modFields[a.Kind]), a.Value, true
	}
	return Subfield{}, Value{}, false
}

// modFields are the fields of the actions with names of their own. Ports are a field of whichever transport protocol the
// packet has.
var modFields = [NumActionKinds]FieldID{
	ActionModVLANVID: FieldVLANVID, ActionModVLANPCP: FieldVLANPCP,
	ActionModEthSrc: FieldEthSrc, ActionModEthDst: FieldEthDst,
	ActionModIPSrc: FieldIPSrc, ActionModIPDst: FieldIPDst,
	ActionModTOS: FieldTOS, ActionModECN: FieldECN, ActionModTTL: FieldTTL,
	ActionModTPSrc: FieldTCPSrc, ActionModTPDst: FieldTCPDst,
	ActionSetMPLSLabel: FieldMPLSLabel, ActionSetMPLSTC: FieldMPLSTC, ActionSetMPLSTTL: FieldMPLSTTL,
	ActionSetTunnel: FieldTunID, ActionSetTunnel64: FieldTunID,
}

// Bits of an encoded action: which parts follow.
const (
	hasSrc = 1 << iota
	hasDst
	hasPort
	hasID
	hasValue
	hasMask
	hasNote
	isInSet
)

// AppendActions appends an encoding of actions to b: different lists have different encodings.
func AppendActions(b []byte, actions []Action) []byte {
	for i := range actions {
		b = actions[i].append(b)
	}
	return b
}

func (a *Action) append(b []byte) []byte {
	has := byte(0)
	set := func(bit byte, yes bool) {
		if yes {
			has |= bit
		}
	}
	set(hasSrc, a.Src != Subfield{})
	set(hasDst, a.Dst != Subfield{})
	set(hasPort, a.Port != 0)
	set(hasID, a.ID != 0)
	set(hasValue, !a.Value.IsZero())
	set(hasMask, !a.Mask.IsZero())
	set(hasNote, a.Note != "")
	set(isInSet, a.InSet)
	b = append(b, byte(a.Kind), has, a.Table)
	if has&hasSrc != 0 {
		b = append(b, byte(a.Src.Field), a.Src.Ofs, a.Src.Bits)
	}
	if has&hasDst != 0 {
		b = append(b, byte(a.Dst.Field), a.Dst.Ofs, a.Dst.Bits)
	}
	if has&hasPort != 0 {
		b = binary.AppendUvarint(b, uint64(a.Port))
	}
	if has&hasID != 0 {
		b = binary.AppendUvarint(b, uint64(a.ID))
	}
	for _, v := range []struct {
		bit byte
		v   Value
	}{{hasValue, a.Value}, {hasMask, a.Mask}} {
		if has&v.bit != 0 {
			b = binary.AppendUvarint(binary.AppendUvarint(b, v.v.Hi), v.v.Lo)
		}
	}
	if has&hasNote != 0 {
		b = append(binary.AppendUvarint(b, uint64(len(a.Note))), a.Note...)
	}
	return b
}

// setSlot is the place of a kind in the order in which an action set is executed.
type setSlot uint8

const (
	slotNever setSlot = iota // no part of an action set
	slotOnce                 // from here on: only the last of a kind counts
	slotSet   setSlot = 32   // all count, in the order in which they were written
	slotFinal setSlot = 33   // from here on: only the last of the highest slot counts
)

// setSlots is the order of OpenFlow 1.3 §5.10 as Open vSwitch extends it: resubmit is an output of the lowest rank.
var setSlots = [NumActionKinds]setSlot{
	ActionPopVLAN: slotOnce, ActionPopMPLS: slotOnce + 1, ActionPushMPLS: slotOnce + 2, ActionPushVLAN: slotOnce + 3,
	ActionDecTTL: slotOnce + 4, ActionDecMPLSTTL: slotOnce + 5,

	ActionSetField: slotSet, ActionLoad: slotSet, ActionMove: slotSet,
	ActionModVLANVID: slotSet, ActionModVLANPCP: slotSet, ActionModEthSrc: slotSet, ActionModEthDst: slotSet,
	ActionModIPSrc: slotSet, ActionModIPDst: slotSet, ActionModTOS: slotSet, ActionModECN: slotSet, ActionModTTL: slotSet,
	ActionModTPSrc: slotSet, ActionModTPDst: slotSet, ActionSetMPLSLabel: slotSet, ActionSetMPLSTC: slotSet,
	ActionSetMPLSTTL: slotSet, ActionSetTunnel: slotSet, ActionSetTunnel64: slotSet,

	ActionResubmit: slotFinal,
	ActionOutput:   slotFinal + 1, ActionInPort: slotFinal + 1, ActionFlood: slotFinal + 1, ActionAll: slotFinal + 1,
	ActionNormal: slotFinal + 1, ActionLocal: slotFinal + 1,
	ActionGroup: slotFinal + 2,
}

// AppendActionSet appends to list what executing set means, in order (OpenFlow 1.3 §5.10): nothing if it outputs
// nowhere. It allocates only when list has no room.
func AppendActionSet(list, set []Action) []Action {
	final := -1
	for i := range set {
		if s := setSlots[set[i].Kind]; s >= slotFinal && (final < 0 || s >= setSlots[set[final].Kind]) {
			final = i
		}
	}
	if final < 0 {
		return list
	}
	for slot := slotOnce; slot <= slotOnce+5; slot++ {
		for i := len(set) - 1; i >= 0; i-- {
			if setSlots[set[i].Kind] == slot {
				list = append(list, set[i])
				break
			}
		}
	}
	for i := range set {
		if setSlots[set[i].Kind] == slotSet {
			list = append(list, set[i])
		}
	}
	return append(list, set[final])
}
