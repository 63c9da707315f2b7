package flow

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

	MaxActions = 1024
)

// Flags of a rule.
type Flags uint8

// The flags. Weft keeps FlagSendRemoved for controllers; the others act when the rule is added.
const (
	FlagSendRemoved    Flags = 1 << iota // send_flow_rem
	FlagCheckOverlap                     // check_overlap: refuse the rule if another of equal priority overlaps it
	FlagResetCounts                      // reset_counts: a rule that replaces another starts from zero
	FlagNoPacketCounts                   // no_packet_counts: kept; packets are counted all the same
	FlagNoByteCounts                     // no_byte_counts: kept; bytes are counted all the same
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
	return r.SameSlot(o) && r.Flags == o.Flags && r.IdleTimeout == o.IdleTimeout && r.HardTimeout == o.HardTimeout &&
		r.Importance == o.Importance && r.Cookie == o.Cookie && slices.Equal(r.Actions, o.Actions)
}

// SameSlot reports whether adding r would replace o.
func (r *Rule) SameSlot(o *Rule) bool {
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
	if err := ValidateActions(r); err != nil {
		return err
	}
	return nil
}

// validate checks prerequisites bit by bit: every bit that is looked at must be meaningful for what else is matched.
func (m *Match) validate() error {
	for w := range m.Mask {
		extra := m.Mask[w]
		for i := 0; extra != 0 && i < len(fieldsByWord[w]); i++ {
			p := &fieldsByWord[w][i]
			if extra&p.bits != 0 && (p.need == nil || p.need.Fulfilled(m)) {
				extra &^= p.bits
			}
		}
		if extra != 0 {
			return fmt.Errorf("flowtable: match looks at bits %#x of word %d without their prerequisite", extra, w)
		}
	}
	for _, id := range []FieldID{FieldInPort, FieldEthType, FieldIPProto, FieldTTL, FieldECN} {
		f := &Fields[id]
		if mask := f.Get(&m.Mask); mask != 0 && mask != 1<<f.Width-1 {
			return fmt.Errorf("flowtable: %s is matched in part; match all of it or none", f.Name)
		}
	}
	if d := m.Mask[WordL4] >> ShiftTOS & 0xfc; d != 0 && d != 0xfc {
		return fmt.Errorf("flowtable: ip_dscp is matched in part; match all of it or none")
	}
	if !m.fragNamed() {
		return fmt.Errorf("flowtable: nw_frag has no name; match no, yes, first, later or not_later")
	}
	if !m.ICMPWhole() {
		return fmt.Errorf("flowtable: icmp_type and icmp_code are matched in part; match 0 to 255 or nothing")
	}
	return nil
}

// fragNamed reports whether the fragment condition is one that can be written.
func (m *Match) fragNamed() bool {
	f := &Fields[FieldFrag]
	val, mask := f.Get(&m.Key), f.Get(&m.Mask)
	for _, n := range FragNames {
		if n.Val == val && n.Mask == mask {
			return true
		}
	}
	return mask == 0
}

// ICMPWhole reports whether type and code, which lie where ports do, are matched as 8-bit numbers.
func (m *Match) ICMPWhole() bool {
	if !needICMP.Fulfilled(m) {
		return true
	}
	for _, id := range []FieldID{FieldICMPType, FieldICMPCode} {
		mask := Fields[id].Get(&m.Mask)
		if mask != 0 && mask != 0xffff || Fields[id].Get(&m.Key) > 255 {
			return false
		}
	}
	return true
}

// MaskBits sets the bits of f in k.
func (f *Field) MaskBits(k *Key) {
	if f.Width == 128 {
		k[f.Word], k[f.Word+1] = ^uint64(0), ^uint64(0)
		return
	}
	k[f.Word] |= (1<<f.Width - 1) << f.Shift
}

// fieldPart is what a field has in one word of a key.
type fieldPart struct {
	bits uint64
	need *prereq
}

// fieldsByWord lists by word the fields that lie in it: rules look at few words, and there may be millions of rules.
var fieldsByWord = indexByWord()

func indexByWord() [KeyWords][]fieldPart {
	var index [KeyWords][]fieldPart
	for i := range Fields {
		var bits Key
		Fields[i].MaskBits(&bits)
		for w := range bits {
			if bits[w] != 0 {
				index[w] = append(index[w], fieldPart{bits[w], Fields[i].Need})
			}
		}
	}
	return index
}
