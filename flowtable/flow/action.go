package flow

import "fmt"

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
	NumActionKinds
)

// FullEth is the mask of a whole Ethernet address.
const FullEth = 0xffffffffffff

// Action is one step of a rule. Fields that its kind does not use are zero, so actions compare with ==.
type Action struct {
	Kind  ActionKind
	Table uint8
	Port  uint32
	Value uint64 // VLAN id, priority, TPID, or an Ethernet address in the low 48 bits
	Mask  uint64 // ActionSetEthSrc and ActionSetEthDst: which bits of the address
}

// ActionError is what is wrong with action i of a rule.
type ActionError struct {
	I         int
	Msg, Hint string
}

func (e *ActionError) Error() string {
	return fmt.Sprintf("flowtable: action %d: %s: %s", e.I+1, e.Msg, e.Hint)
}

// ValidateActions checks a rule's actions against its table and match.
func ValidateActions(r *Rule) error {
	if len(r.Actions) > MaxActions {
		return &ActionError{MaxActions, "too many actions", fmt.Sprintf("a rule has at most %d", MaxActions)}
	}
	tagged := r.Match.Mask[WordPort]&VLANPresent != 0 && r.Match.Key[WordPort]&VLANPresent != 0
	for i := range r.Actions {
		a := &r.Actions[i]
		if msg, hint := a.check(r, tagged, i == len(r.Actions)-1); msg != "" {
			return &ActionError{i, msg, hint}
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
		if a.Value != EthVLAN && a.Value != EthQinQ {
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
		if a.Value > FullEth || a.Mask > FullEth || a.Value&^a.Mask != 0 {
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
		if a.Value > VLANVID {
			return fmt.Sprintf("%d is not a VLAN id", a.Value), "VLAN ids are 0 to 4095"
		}
	} else if a.Value > 7 {
		return fmt.Sprintf("%d is not a VLAN priority", a.Value), "VLAN priorities are 0 to 7"
	}
	return "", ""
}
