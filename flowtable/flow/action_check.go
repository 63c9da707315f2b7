package flow

import "fmt"

// ActionError is what is wrong with action i of a rule.
type ActionError struct {
	I         int
	Msg, Hint string
}

func (e *ActionError) Error() string {
	return fmt.Sprintf("flowtable: action %d: %s: %s", e.I+1, e.Msg, e.Hint)
}

// Limits of numbers in actions.
const (
	MaxGroup = 0xffffff00 // OFPG_MAX (OpenFlow 1.3 §A.3.4.2)
	MaxMeter = 0xffff0000 // OFPM_MAX (OpenFlow 1.3 §A.3.4.4)
	maxNote  = 4096       // bytes
)

// ValidateActions checks a rule's actions against its table and match, as Open vSwitch does: what is wrong by itself, in
// the wrong order, or needs a header that the match does not promise. The actions of OpenFlow 1.0 that change a header,
// such as mod_nw_src, need no promise, unless the rule has something that OpenFlow 1.0 does not: packets without the
// header are left as they are.
func ValidateActions(r *Rule) error {
	if len(r.Actions) > MaxActions {
		return &ActionError{MaxActions, "too many actions", fmt.Sprintf("a rule has at most %d", MaxActions)}
	}
	c := actionCheck{rule: r, key: r.Match.Key, loose: -1}
	for i := range r.Actions {
		a := &r.Actions[i]
		if msg, hint := c.order(a); msg != "" {
			return &ActionError{i, msg, hint}
		}
		if a.InSet && !c.inSet {
			// What write_actions does, it does later: to the actions behind it the packet is as it was.
			c.inSet, c.before = true, c.key
		} else if !a.InSet && c.inSet {
			c.inSet, c.key = false, c.before
		}
		if msg, hint := a.check(); msg != "" {
			return &ActionError{i, msg, hint}
		}
		if msg, hint := c.consistent(a, i); msg != "" {
			return &ActionError{i, msg, hint}
		}
		c.apply(a)
	}
	if c.loose >= 0 && c.newer != "" {
		return &ActionError{
			c.loose, "the match does not promise the header that this action changes, which " + c.newer + " demands", c.looseHint,
		}
	}
	return nil
}

// actionCheck walks along a rule's actions.
type actionCheck struct {
	rule      *Rule
	key       Key // what is known of the packet: bits that the match fixes and actions set, others zero
	before    Key // the same before write_actions
	inSet     bool
	last      instruction
	started   bool
	loose     int // the first action that only OpenFlow 1.0 allows here, -1 if none
	looseHint string
	newer     string // an action that OpenFlow 1.0 does not have
}

// instruction is OpenFlow's, in the order in which they are executed (OpenFlow 1.3 §5.9).
type instruction uint8

const (
	instMeter instruction = iota
	instApply
	instClear
	instWrite
	instMetadata
	instGoto
)

var instructionNames = [...]string{
	"meter", "other actions", "clear_actions", "write_actions", "write_metadata", "goto_table",
}

func (a *Action) instruction() instruction {
	switch {
	case a.InSet:
		return instWrite
	case a.Kind == ActionMeter:
		return instMeter
	case a.Kind == ActionClearActions:
		return instClear
	case a.Kind == ActionWriteMetadata:
		return instMetadata
	case a.Kind == ActionGotoTable:
		return instGoto
	}
	return instApply
}

// order checks that instructions follow each other as OpenFlow has it.
func (c *actionCheck) order(a *Action) (msg, hint string) {
	next, last, started := a.instruction(), c.last, c.started
	c.last, c.started = next, true
	switch {
	case !started || next > last || next == last && (next == instApply || next == instWrite):
		return "", ""
	case next == last:
		return instructionNames[next] + " is given twice", "remove one of the two"
	}
	hint = "the order is meter, other actions, clear_actions, write_actions, write_metadata, goto_table"
	if last == instGoto {
		hint += "; resubmit(,N) goes to a table and comes back"
	}
	return instructionNames[next] + " must stand before " + instructionNames[last], hint
}

// consistent checks that the packet has what a reads or changes.
func (c *actionCheck) consistent(a *Action, i int) (msg, hint string) {
	for _, n := range a.needs() {
		if !n.Met(&c.key) {
			return a.what(n) + " needs a header that the match does not promise", needHints[n]
		}
	}
	switch a.Kind {
	case ActionPushVLAN:
		c.newer = "push_vlan"
		if c.key.InnerTag()&VLANPresent != 0 {
			return "a third VLAN tag", "rules see two; remove a push_vlan"
		}
	case ActionMeter:
		c.newer = "meter"
	case ActionGotoTable:
		if a.Table <= c.rule.Table {
			return fmt.Sprintf("goto_table from table %d back to table %d", c.rule.Table, a.Table),
				"goto_table only goes to a higher table; resubmit(,N) goes anywhere"
		}
	}
	if n := a.looseNeed(); !a.InSet && c.loose < 0 && !n.Met(&c.key) && !(a.isTransport() && c.anyTransport()) {
		c.loose, c.looseHint = i, needHints[n]
	}
	return "", ""
}

func (a *Action) isTransport() bool { return a.Kind == ActionModTPSrc || a.Kind == ActionModTPDst }

func (c *actionCheck) anyTransport() bool {
	return NeedTCP.Met(&c.key) || NeedUDP.Met(&c.key) || NeedSCTP.Met(&c.key)
}

// needs are the prerequisites that the match must promise.
func (a *Action) needs() (n [2]Need) {
	switch a.Kind {
	case ActionSetField, ActionLoad:
		n[0] = Places[a.Dst.Field].Need
	case ActionMove:
		n[0], n[1] = Places[a.Src.Field].Need, Places[a.Dst.Field].Need
	case ActionOutputReg:
		n[0] = Places[a.Src.Field].Need
	}
	return n
}

// looseNeed is the prerequisite that OpenFlow 1.0 does not want promised.
func (a *Action) looseNeed() Need {
	switch a.Kind {
	case ActionPopVLAN:
		return NeedTag
	case ActionPopMPLS, ActionDecMPLSTTL:
		return NeedMPLS
	case ActionDecTTL:
		return NeedIP
	case ActionModVLANVID, ActionModVLANPCP:
		return NeedNothing
	}
	if a.Kind >= ActionModEthSrc && a.Kind < NumActionKinds {
		return Places[modFields[a.Kind]].Need
	}
	return NeedNothing
}

// what names the field of a that has the prerequisite n.
func (a *Action) what(n Need) string {
	if src := &Places[a.Src.Field]; (a.Kind == ActionMove || a.Kind == ActionOutputReg) && src.Need == n {
		return src.Name
	}
	return Places[a.Dst.Field].Name
}

// apply does to what is known of the packet what a does to the packet, as far as prerequisites look at it.
func (c *actionCheck) apply(a *Action) {
	switch a.Kind {
	case ActionPushVLAN:
		c.key.PushTag()
	case ActionPopVLAN:
		c.key.PopTag()
	case ActionModVLANVID, ActionModVLANPCP:
		c.key.SetOuterTag(c.key.OuterTag() | VLANPresent)
	case ActionSetField:
		if a.Dst.Field == FieldVLANTCI {
			c.key.SetOuterTag(uint16(a.Value.Lo))
		}
	case ActionPushMPLS:
		c.key.SetEthType(uint16(a.Value.Lo))
		c.key[WordL4] &^= maskProto
	case ActionPopMPLS:
		c.key.SetEthType(uint16(a.Value.Lo))
	}
}

// check says what is wrong with a by itself and what to do, or nothing.
func (a *Action) check() (msg, hint string) {
	if a.InSet && setSlots[a.Kind%NumActionKinds] == slotNever {
		return "this cannot be part of an action set",
			"write_actions takes changes to the packet and outputs; put the rest before it"
	}
	switch a.Kind {
	case ActionOutput:
		if a.Port == 0 || a.Port > MaxPort {
			return fmt.Sprintf("output to port %d", a.Port), fmt.Sprintf("ports are numbered 1 to %d", MaxPort)
		}
	case ActionResubmit:
		return a.checkResubmit()
	case ActionGotoTable:
		if a.Table >= NumTables {
			return fmt.Sprintf("goto_table to table %d", a.Table), fmt.Sprintf("tables are 0 to %d", NumTables-1)
		}
	case ActionGroup:
		if a.ID > MaxGroup {
			return fmt.Sprintf("group %d", a.ID), fmt.Sprintf("groups are numbered 0 to %d", uint32(MaxGroup))
		}
	case ActionMeter:
		if a.ID == 0 || a.ID > MaxMeter {
			return fmt.Sprintf("meter %d", a.ID), fmt.Sprintf("meters are numbered 1 to %d", uint32(MaxMeter))
		}
	case ActionPushVLAN:
		if v := a.Value; v != (Value{0, EthVLAN}) && v != (Value{0, EthQinQ}) {
			return fmt.Sprintf("%#x is not a VLAN EtherType", v.Lo), "use 0x8100 or 0x88a8"
		}
	case ActionPushMPLS:
		if v := a.Value; v != (Value{0, EthMPLS}) && v != (Value{0, EthMPLSMC}) {
			return fmt.Sprintf("%#x is not an MPLS EtherType", v.Lo), "use 0x8847 or 0x8848"
		}
	case ActionPopMPLS:
		if a.Value.Len() > 16 {
			return fmt.Sprintf("%#x is not an EtherType", a.Value.Lo), "write the EtherType of what is below the label"
		}
	case ActionNote:
		if len(a.Note) > maxNote {
			return fmt.Sprintf("a note of %d bytes", len(a.Note)), fmt.Sprintf("at most %d", maxNote)
		}
	case ActionDecTTL:
		if len(a.Note) > maxNote || len(a.Note)%2 != 0 {
			return fmt.Sprintf("%d bytes of controllers", len(a.Note)), fmt.Sprintf("two for each, at most %d", maxNote)
		}
	case ActionInPort, ActionFlood, ActionAll, ActionNormal, ActionLocal, ActionPopVLAN, ActionExit, ActionClearActions,
		ActionDecMPLSTTL:
	default:
		return a.checkFields()
	}
	return "", ""
}

// checkFields checks the actions that have fields.
func (a *Action) checkFields() (msg, hint string) {
	switch a.Kind {
	case ActionOutputReg:
		if !a.Src.valid() {
			return "the source is not a field", "name a field and bits that it has"
		}
		return "", ""
	case ActionMove:
		switch {
		case !a.Src.valid() || !a.Dst.valid():
			return "move between bits that no field has", "name fields and bits that they have"
		case a.Src.Bits != a.Dst.Bits:
			return fmt.Sprintf("the source is %d bits wide and the destination %d", a.Src.Bits, a.Dst.Bits),
				"name as many bits of each, such as reg0[0..15]"
		}
		return a.Dst.checkWritable()
	case ActionSetField:
		return a.checkSetField()
	}
	dst, value, ok := a.Setting()
	switch {
	case !ok:
		return fmt.Sprintf("unknown action kind %d", a.Kind), "see the ActionKind constants"
	case !dst.valid():
		return "the destination is not a field", "name a field and bits that it has"
	case value.Len() > int(dst.Bits):
		return fmt.Sprintf("value %#x does not fit into %d bits", value.Lo, dst.Bits),
			fmt.Sprintf("the largest is %#x", Ones(int(dst.Bits)).Lo)
	case a.Kind == ActionWriteMetadata && !value.And(a.Mask.Not()).IsZero():
		return "metadata and mask disagree", "value bits must lie within the mask"
	case a.Kind == ActionModTOS && value.Lo&3 != 0:
		return fmt.Sprintf("%d is not a TOS", value.Lo), "the two low bits belong to ECN: use a multiple of 4, at most 252"
	}
	return dst.checkWritable()
}

func (a *Action) checkSetField() (msg, hint string) {
	p := &Places[a.Dst.Field%NumFields]
	full := Ones(int(p.Bits))
	switch {
	case a.Dst.Field >= NumFields || !a.Dst.IsWhole() || p.Bits == 0:
		return "the destination is not a field", "set_field sets a field; load sets some of its bits"
	case a.Mask.IsZero():
		return "set_field of no bits", "give a value, or remove the action"
	case !a.Mask.And(full.Not()).IsZero():
		return fmt.Sprintf("the mask does not fit into the %d bits of %s", p.Bits, p.Name), "use a narrower one"
	case !a.Value.And(a.Mask.Not()).IsZero():
		return p.Name + " and its mask disagree", "value bits must lie within the mask"
	case a.Mask != full && !p.Maskable:
		return p.Name + " takes no mask", "write the value alone"
	case a.Dst.Field == FieldTOS && a.Value.Lo&3 != 0:
		return fmt.Sprintf("%d is not a TOS", a.Value.Lo), "the two low bits belong to ECN: use a multiple of 4, at most 252"
	}
	return a.Dst.checkWritable()
}

func (s Subfield) checkWritable() (msg, hint string) {
	if p := &Places[s.Field]; !p.Writable {
		return p.Name + " is read-only", "actions cannot change it"
	}
	return "", ""
}

func (a *Action) checkResubmit() (msg, hint string) {
	switch {
	case a.Table != SameTable && a.Table >= NumTables:
		return fmt.Sprintf("resubmit to table %d", a.Table), fmt.Sprintf("tables are 0 to %d", NumTables-1)
	case a.Port != SamePort && a.Port != PortLocal && (a.Port == 0 || a.Port > MaxPort):
		return fmt.Sprintf("resubmit as port %d", a.Port), fmt.Sprintf("ports are numbered 1 to %d", MaxPort)
	case a.Port == SamePort && a.Table == SameTable:
		return "resubmit names neither a port nor a table", "write resubmit(PORT,TABLE), resubmit(,TABLE) or resubmit:PORT"
	}
	return "", ""
}
