package flowtable

import (
	"fmt"
	"slices"
)

// Limits of rules.
const (
	// NumTables is how many tables a pipeline has: 0 to 253. Open vSwitch keeps 254 for itself.
	NumTables = 254

	// DefaultPriority is a rule's priority when its text names none (ovs-ofctl(8), "Flow Syntax").
	DefaultPriority = 0x8000

	// MaxPort is the highest number of an ordinary port (OpenFlow 1.0's, which ovs-ofctl keeps to: 0xfeff).
	MaxPort = 0xfeff

	// PortLocal is the port number of the bridge itself (OFPP_LOCAL, OpenFlow 1.3 §A.2.1).
	PortLocal = 0xfffffffe

	// SamePort stands for "the port as it is" in a resubmit (OFPP_IN_PORT).
	SamePort = 0xfffffff8

	// SameTable stands for "the table as it is" in a resubmit (OFPTT_ALL).
	SameTable = 0xff

	// PortAny, in a Filter, means that outputs do not matter.
	PortAny = 0

	maxActions = 1024
)

// ActionKind says what an action does.
type ActionKind uint8

// The actions, in ovs-ofctl's words.
const (
	ActionOutput     ActionKind = iota // output:Port
	ActionInPort                       // in_port
	ActionFlood                        // flood
	ActionAll                          // all
	ActionNormal                       // normal
	ActionLocal                        // local
	ActionResubmit                     // resubmit(Port,Table)
	ActionGotoTable                    // goto_table:Table
	ActionPushVLAN                     // push_vlan:Value
	ActionPopVLAN                      // pop_vlan
	ActionModVLANVID                   // mod_vlan_vid:Value
	ActionModVLANPCP                   // mod_vlan_pcp:Value
	ActionSetVLANVID                   // set_field:Value->vlan_vid
	ActionSetVLANPCP                   // set_field:Value->vlan_pcp
	ActionModEthSrc                    // mod_dl_src:Value
	ActionModEthDst                    // mod_dl_dst:Value
	ActionSetEthSrc                    // set_field:Value/Mask->eth_src
	ActionSetEthDst                    // set_field:Value/Mask->eth_dst
	numActionKinds
)

// fullEth is the mask of a whole Ethernet address.
const fullEth = 0xffffffffffff

// Action is one step of a rule. Fields that its kind does not use are zero, so actions compare with ==.
type Action struct {
	Kind  ActionKind
	Table uint8
	Port  uint32
	Value uint64 // VLAN id, priority, TPID, or an Ethernet address in the low 48 bits
	Mask  uint64 // ActionSetEthSrc and ActionSetEthDst: which bits of the address
}

// Flags of a rule.
type Flags uint8

// The flags. Weft keeps FlagSendRemoved for controllers; the others act when the rule is added.
const (
	FlagSendRemoved  Flags = 1 << iota // send_flow_rem
	FlagCheckOverlap                   // check_overlap: refuse the rule if another of equal priority overlaps it
	FlagResetCounts                    // reset_counts: a rule that replaces another starts from zero
)

// Rule is a match, a priority and actions. Empty Actions drop the packet.
type Rule struct {
	Match       Match
	Table       uint8
	Priority    uint16
	Flags       Flags
	IdleTimeout uint16 // seconds, 0 = none
	HardTimeout uint16 // seconds, 0 = none
	Importance  uint16 // kept, not used
	Cookie      uint64
	Actions     []Action
}

// Equal reports whether r and o are the same rule in all that a user can write.
func (r *Rule) Equal(o *Rule) bool {
	return r.sameSlot(o) && r.Flags == o.Flags && r.IdleTimeout == o.IdleTimeout && r.HardTimeout == o.HardTimeout &&
		r.Importance == o.Importance && r.Cookie == o.Cookie && slices.Equal(r.Actions, o.Actions)
}

// sameSlot reports whether adding r would replace o.
func (r *Rule) sameSlot(o *Rule) bool {
	return r.Table == o.Table && r.Priority == o.Priority && r.Match == o.Match
}

// Validate checks what ParseRule checks, for rules that a program made.
func (r *Rule) Validate() error {
	if r.Table >= NumTables {
		return fmt.Errorf("flowtable: table %d is not between 0 and %d", r.Table, NumTables-1)
	}
	for i := range r.Match.Key {
		if r.Match.Key[i]&^r.Match.Mask[i] != 0 {
			return fmt.Errorf("flowtable: match has value bits outside its mask in word %d", i)
		}
	}
	if err := r.Match.validate(); err != nil {
		return err
	}
	if err := validateActions(r); err != nil {
		return err
	}
	return nil
}

// validate checks prerequisites bit by bit: every bit that is looked at must be meaningful for what else is matched.
func (m *Match) validate() error {
	var known Key
	for i := range fields {
		f := &fields[i]
		var bits Key
		f.maskBits(&bits)
		usable := f.need == nil || f.need.fulfilled(m)
		for w := range bits {
			if usable {
				known[w] |= bits[w]
			}
		}
	}
	for w := range known {
		if extra := m.Mask[w] &^ known[w]; extra != 0 {
			return fmt.Errorf("flowtable: match looks at bits %#x of word %d without their prerequisite", extra, w)
		}
	}
	for _, id := range []fieldID{fieldInPort, fieldEthType, fieldIPProto, fieldTTL, fieldECN} {
		f := &fields[id]
		if mask := f.get(&m.Mask); mask != 0 && mask != 1<<f.width-1 {
			return fmt.Errorf("flowtable: %s is matched in part; match all of it or none", f.name)
		}
	}
	if d := m.Mask[wordL4] >> shiftTOS & 0xfc; d != 0 && d != 0xfc {
		return fmt.Errorf("flowtable: ip_dscp is matched in part; match all of it or none")
	}
	if !m.fragNamed() {
		return fmt.Errorf("flowtable: nw_frag has no name; match no, yes, first, later or not_later")
	}
	if !m.icmpWhole() {
		return fmt.Errorf("flowtable: icmp_type and icmp_code are matched in part; match 0 to 255 or nothing")
	}
	return nil
}

// fragNamed reports whether the fragment condition is one that can be written.
func (m *Match) fragNamed() bool {
	f := &fields[fieldFrag]
	val, mask := f.get(&m.Key), f.get(&m.Mask)
	for _, n := range fragNames {
		if n.val == val && n.mask == mask {
			return true
		}
	}
	return mask == 0
}

// icmpWhole reports whether type and code, which lie where ports do, are matched as 8-bit numbers.
func (m *Match) icmpWhole() bool {
	if !needICMP.fulfilled(m) {
		return true
	}
	for _, id := range []fieldID{fieldICMPType, fieldICMPCode} {
		mask := fields[id].get(&m.Mask)
		if mask != 0 && mask != 0xffff || fields[id].get(&m.Key) > 255 {
			return false
		}
	}
	return true
}

// maskBits sets the bits of f in k.
func (f *field) maskBits(k *Key) {
	if f.width == 128 {
		k[f.word], k[f.word+1] = ^uint64(0), ^uint64(0)
		return
	}
	k[f.word] |= (1<<f.width - 1) << f.shift
}

// actionError is what is wrong with action i of a rule.
type actionError struct {
	i         int
	msg, hint string
}

func (e *actionError) Error() string {
	return fmt.Sprintf("flowtable: action %d: %s: %s", e.i+1, e.msg, e.hint)
}

// validateActions checks a rule's actions against its table and match.
func validateActions(r *Rule) error {
	if len(r.Actions) > maxActions {
		return &actionError{maxActions, "too many actions", fmt.Sprintf("a rule has at most %d", maxActions)}
	}
	tagged := r.Match.Mask[wordPort]&vlanPresent != 0 && r.Match.Key[wordPort]&vlanPresent != 0
	for i := range r.Actions {
		a := &r.Actions[i]
		if msg, hint := a.check(r, tagged, i == len(r.Actions)-1); msg != "" {
			return &actionError{i, msg, hint}
		}
		switch a.Kind {
		case ActionPushVLAN, ActionModVLANVID, ActionModVLANPCP:
			tagged = true
		case ActionPopVLAN:
			tagged = false
		}
	}
	return nil
}

// check says what is wrong with a and what to do, or nothing. tagged: the packet is known to have a tag here.
func (a *Action) check(r *Rule, tagged, last bool) (msg, hint string) {
	switch a.Kind {
	case ActionOutput:
		if a.Port == 0 || a.Port > MaxPort {
			return fmt.Sprintf("output to port %d", a.Port), fmt.Sprintf("ports are numbered 1 to %d", MaxPort)
		}
	case ActionResubmit:
		return a.checkResubmit()
	case ActionGotoTable:
		switch {
		case a.Table >= NumTables:
			return fmt.Sprintf("goto_table to table %d", a.Table), fmt.Sprintf("tables are 0 to %d", NumTables-1)
		case a.Table <= r.Table:
			return fmt.Sprintf("goto_table from table %d back to table %d", r.Table, a.Table),
				"goto_table only goes to a higher table; resubmit(,N) goes anywhere"
		case !last:
			return "goto_table must be the last action", "move it to the end, or use resubmit(,N)"
		}
	case ActionPushVLAN:
		if a.Value != ethVLAN && a.Value != ethQinQ {
			return fmt.Sprintf("%#x is not a VLAN EtherType", a.Value), "use 0x8100 or 0x88a8"
		}
	case ActionSetVLANVID, ActionSetVLANPCP:
		if !tagged {
			return "set_field of a VLAN field on a packet that may be untagged",
				"match dl_vlan, dl_vlan_pcp or vlan_tci=0x1000/0x1000, or put push_vlan before it"
		}
		return a.checkVLANValue()
	case ActionModVLANVID, ActionModVLANPCP:
		return a.checkVLANValue()
	case ActionModEthSrc, ActionModEthDst, ActionSetEthSrc, ActionSetEthDst:
		if a.Value > fullEth || a.Mask > fullEth || a.Value&^a.Mask != 0 {
			return "Ethernet address and mask disagree", "value bits must lie within the mask's 48 bits"
		}
	case ActionInPort, ActionFlood, ActionAll, ActionNormal, ActionLocal, ActionPopVLAN:
	default:
		return fmt.Sprintf("unknown action kind %d", a.Kind), "see the ActionKind constants"
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

func (a *Action) checkVLANValue() (msg, hint string) {
	if a.Kind == ActionModVLANVID || a.Kind == ActionSetVLANVID {
		if a.Value > vlanVID {
			return fmt.Sprintf("%d is not a VLAN id", a.Value), "VLAN ids are 0 to 4095"
		}
	} else if a.Value > 7 {
		return fmt.Sprintf("%d is not a VLAN priority", a.Value), "VLAN priorities are 0 to 7"
	}
	return "", ""
}
