package flowtable

import (
	"weft/flowtable/flow"
	"weft/internal/packet"
)

// Bounds on what one packet's way through the tables may cost. They are Open vSwitch's (ovs-actions(7), "resubmit"): 64
// resubmits to the same or an earlier table inside each other, 4096 in all. The number of ops is bounded as well.
const (
	maxResubmitDepth = 64
	maxResubmits     = 4096
	maxOps           = 1024
)

// credit is a rule that a program's packets count for, and how many times each.
type credit struct {
	slot, times uint32
}

// composer runs a key through the tables and composes one program of all that happens on the way.
type composer struct {
	st        *state
	key       flow.Key
	ops       []Op     // capacity maxOps
	credits   []credit // capacity maxResubmits + 1
	resubmits int
	depth     int
	exceeded  bool
	missed    bool // some table had no matching rule
	dropped   bool // some rule had no actions
}

func newComposer() composer {
	return composer{ops: make([]Op, 0, maxOps), credits: make([]credit, 0, maxResubmits+1)}
}

// compose fills in ops and credits for key, masked by the layout's union.
func (c *composer) compose(st *state, key *flow.Key) {
	c.st, c.key = st, *key
	c.ops, c.credits = c.ops[:0], c.credits[:0]
	c.resubmits, c.depth = 0, 0
	c.exceeded, c.missed, c.dropped = false, false, false
	c.table(0, flow.SamePort)
	c.finish()
}

// table looks the key up in one table, as if it had come from port, and does what the rule says.
func (c *composer) table(table uint8, port uint32) {
	var slot, list uint32
	if port == flow.SamePort {
		slot, list = c.st.classify(table, &c.key)
	} else {
		// The lookup alone sees another port: in_port and NORMAL still mean the true one (ovs-actions(7)).
		original := c.key.InPort()
		c.key.SetInPort(port)
		slot, list = c.st.classify(table, &c.key)
		c.key.SetInPort(original)
	}
	if slot == noSlot {
		c.missed = true
		return
	}
	c.credit(slot)
	actions := c.st.actions.at(list).actions
	if len(actions) == 0 {
		c.dropped = true
	}
	for i := range actions {
		if c.exceeded {
			return
		}
		c.action(table, &actions[i])
	}
}

// creditWindow is how many of the last credits are searched for a rule that is met again. Two credits for one rule are
// right as well, just longer.
const creditWindow = 64

// credit counts slot once more.
func (c *composer) credit(slot uint32) {
	for i := max(0, len(c.credits)-creditWindow); i < len(c.credits); i++ {
		if c.credits[i].slot == slot {
			c.credits[i].times++
			return
		}
	}
	c.credits = append(c.credits, credit{slot, 1})
}

func (c *composer) emit(op Op) {
	if len(c.ops) == maxOps {
		c.exceeded = true
		return
	}
	c.ops = append(c.ops, op)
}

// outputOps are the ops of actions that are outputs without more.
var outputOps = [flow.NumActionKinds]OpKind{
	flow.ActionInPort: OpInPort, flow.ActionFlood: OpFlood, flow.ActionAll: OpAll, flow.ActionNormal: OpNormal,
	flow.ActionLocal: OpLocal,
}

// action does one action in a table: an op for the packet, and the same to the key that later tables see.
func (c *composer) action(table uint8, a *flow.Action) {
	switch a.Kind {
	case flow.ActionOutput:
		c.emit(Op{Kind: OpOutput, A: a.Port})
	case flow.ActionInPort, flow.ActionFlood, flow.ActionAll, flow.ActionNormal, flow.ActionLocal:
		c.emit(Op{Kind: outputOps[a.Kind]})
	case flow.ActionResubmit:
		target := a.Table
		if target == flow.SameTable {
			target = table
		}
		c.resubmit(table, target, a.Port)
	case flow.ActionGotoTable:
		c.resubmit(table, a.Table, flow.SamePort)
	case flow.ActionPushVLAN:
		c.push(uint32(a.Value))
	case flow.ActionPopVLAN:
		if c.tagged() {
			c.emit(Op{Kind: OpPopVLAN})
			c.key.PopTag()
		}
	case flow.ActionModVLANVID, flow.ActionModVLANPCP:
		if !c.tagged() {
			c.push(packet.TPID8021Q)
		}
		c.setTag(a)
	case flow.ActionSetVLANVID, flow.ActionSetVLANPCP:
		if c.tagged() {
			c.setTag(a)
		}
	case flow.ActionModEthSrc, flow.ActionSetEthSrc:
		c.setEth(OpSetEthSrc, &c.key[flow.WordSrc], a)
	case flow.ActionModEthDst, flow.ActionSetEthDst:
		c.setEth(OpSetEthDst, &c.key[flow.WordDst], a)
	}
}

func (c *composer) tagged() bool { return c.key.OuterTag()&flow.VLANPresent != 0 }

func (c *composer) push(tpid uint32) {
	c.emit(Op{Kind: OpPushVLAN, A: tpid})
	c.key.PushTag()
}

func (c *composer) setTag(a *flow.Action) {
	tci := c.key.OuterTag()
	if a.Kind == flow.ActionModVLANVID || a.Kind == flow.ActionSetVLANVID {
		c.emit(Op{Kind: OpSetVLANVID, A: uint32(a.Value)})
		tci = tci&^flow.VLANVID | uint16(a.Value)
	} else {
		c.emit(Op{Kind: OpSetVLANPCP, A: uint32(a.Value)})
		tci = tci&^flow.VLANPCP | uint16(a.Value)<<flow.VLANPCPLow
	}
	c.key.SetOuterTag(tci)
}

func (c *composer) setEth(kind OpKind, word *uint64, a *flow.Action) {
	mac := *word>>flow.ShiftEth&^a.Mask&flow.FullEth | a.Value
	c.emit(Op{Kind: kind, B: mac, Mask: flow.FullEth})
	*word = *word&^flow.MaskEth | mac<<flow.ShiftEth
}

// resubmit looks up again in target, within the bounds.
func (c *composer) resubmit(from, target uint8, port uint32) {
	backward := target <= from
	if c.resubmits == maxResubmits || backward && c.depth == maxResubmitDepth {
		c.exceeded = true
		return
	}
	c.resubmits++
	if backward {
		c.depth++
	}
	c.table(target, port)
	if backward {
		c.depth--
	}
}

// finish ends the program: without the edits that nobody sees, and with the reason if it outputs nothing.
func (c *composer) finish() {
	n := len(c.ops)
	for n > 0 && !c.ops[n-1].output() {
		n--
	}
	var reason packet.DropReason
	switch {
	case c.exceeded:
		reason = packet.DropResubmitLimit
	case n > 0:
		c.ops = c.ops[:n]
		return
	case c.missed:
		reason = packet.DropNoMatch
	case c.dropped:
		reason = packet.DropByRule
	default:
		reason = packet.DropNoOutput
	}
	c.ops = append(c.ops[:0], Op{Kind: OpDrop, A: uint32(reason)})
}
