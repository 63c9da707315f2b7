package flowtable

import (
	"weft/flowtable/flow"
	"weft/internal/packet"
)

// Bounds on what one packet's way through the tables may cost. They are Open vSwitch's (ovs-actions(7), "resubmit"): 64
// resubmits to the same or an earlier table inside each other, 4096 in all. A group counts as one, and so does each of
// its buckets. The number of ops and of actions in the action set is bounded as well.
const (
	maxResubmitDepth = 64
	maxResubmits     = 4096
	maxOps           = 1024
	maxActionSet     = 512
)

// credit is a rule, a group or a bucket that a program's packets count for, and how many times each.
type credit struct {
	slot, times uint32
}

// composer runs a key through the tables and composes one program of all that happens on the way.
type composer struct {
	st        *state
	key       flow.Key
	ops       []Op          // capacity maxOps
	credits   []credit      // capacity maxResubmits + 1
	set       []flow.Action // the action set as written, capacity maxActionSet
	ordered   []flow.Action // the action set as executed
	arrival   uint32        // what the ops so far take for the port of arrival
	resubmits int
	depth     int
	exceeded  bool
	stuck     bool // there are more labels than a key holds, so that nobody knows what comes up
	exit      bool // an exit ended it all
	missed    bool // some table had no matching rule
	dropped   bool // some rule had no actions
	grouped   bool // the action set has a group

	trace *tracer // nil but for Pipeline.Trace
}

func newComposer() composer {
	return composer{
		ops: make([]Op, 0, maxOps), credits: make([]credit, 0, maxResubmits+1),
		set: make([]flow.Action, 0, maxActionSet), ordered: make([]flow.Action, 0, maxActionSet),
	}
}

// compose fills in ops and credits for key, masked by the layout's union.
func (c *composer) compose(st *state, key *flow.Key) {
	c.st, c.key = st, *key
	c.ops, c.credits, c.set = c.ops[:0], c.credits[:0], c.set[:0]
	c.arrival = key.InPort()
	c.resubmits, c.depth = 0, 0
	c.exceeded, c.stuck, c.exit, c.missed, c.dropped, c.grouped = false, false, false, false, false, false
	if st.fragments == flow.FragmentsDrop && key[flow.WordL4]&maskFrag != 0 && key.IsIP() {
		c.ops = append(c.ops, Op{Kind: OpDrop, A: uint32(packet.DropFragment)})
		return
	}
	c.table(0, flow.SamePort)
	if len(c.set) > 0 {
		// What a bucket may still write to the set is not executed, as in Open vSwitch.
		c.ordered = flow.AppendActionSet(c.ordered[:0], c.set)
		c.set = c.set[:0]
		if c.trace != nil {
			c.trace.line(-1, "action set:")
		}
		c.list(0, c.ordered)
	}
	c.finish()
}

// lookUp classifies the key as it is now, as if it had come from port.
func (c *composer) lookUp(table uint8, port uint32) (slot, list uint32) {
	hidden := c.st.fragments == flow.FragmentsNormal && c.key[flow.WordL4]&maskFrag != 0 && c.key.IsIP()
	if port == flow.SamePort && !hidden {
		return c.st.classify(table, &c.key)
	}
	// The lookup alone sees another port, or no ports: in_port and NORMAL still mean the true one (ovs-actions(7)).
	key := c.key
	if port != flow.SamePort {
		key.SetInPort(port)
	}
	if hidden {
		key[flow.WordL4] &^= maskPorts
	}
	return c.st.classify(table, &key)
}

// table looks the key up in one table, as if it had come from port, and does what the rule says.
func (c *composer) table(table uint8, port uint32) {
	slot, list := c.lookUp(table, port)
	if c.trace != nil {
		c.trace.rule(table, slot)
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
	c.list(table, actions)
}

// list does actions until something ends them.
func (c *composer) list(table uint8, actions []flow.Action) {
	if c.trace != nil {
		c.trace.depth++
		defer func() { c.trace.depth-- }()
	}
	for i := range actions {
		if c.exceeded || c.stuck || c.exit || !c.action(table, &actions[i]) {
			return
		}
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

// output emits an op that outputs, for which the port of arrival matters.
func (c *composer) output(op Op) {
	if c.trace != nil && op.Kind == OpOutput && op.A == c.key.InPort() {
		c.trace.note("-> not sent: the packet came from there, and only IN_PORT sends it back")
	}
	if port := c.key.InPort(); port != c.arrival {
		c.emit(Op{Kind: OpSetInPort, A: port})
		c.arrival = port
	}
	c.emit(op)
}

// outputOps are the ops of actions that are outputs without more.
var outputOps = [flow.NumActionKinds]OpKind{
	flow.ActionInPort: OpInPort, flow.ActionFlood: OpFlood, flow.ActionAll: OpAll, flow.ActionNormal: OpNormal,
	flow.ActionLocal: OpLocal,
}

// action does one action in a table: an op for the packet, and the same to the key that later tables see. It returns
// false if the rest of the list is not to be done.
func (c *composer) action(table uint8, a *flow.Action) bool {
	if c.trace != nil {
		c.trace.action(a, &c.key)
	}
	if a.InSet {
		c.write(a)
		return true
	}
	switch a.Kind {
	case flow.ActionOutput:
		c.output(Op{Kind: OpOutput, A: a.Port})
	case flow.ActionInPort, flow.ActionFlood, flow.ActionAll, flow.ActionNormal, flow.ActionLocal:
		c.output(Op{Kind: outputOps[a.Kind]})
	case flow.ActionOutputReg:
		c.outputReg(a)
	case flow.ActionGroup:
		return c.group(table, a.ID)
	case flow.ActionResubmit:
		target := a.Table
		if target == flow.SameTable {
			target = table
		}
		c.resubmit(table, target, a.Port)
	case flow.ActionGotoTable:
		c.resubmit(table, a.Table, flow.SamePort)
	case flow.ActionClearActions:
		c.set, c.grouped = c.set[:0], false
		c.setActsetOutput(0)
	case flow.ActionMeter:
		if slot, ok := c.st.meterSlots[a.ID]; ok {
			c.emit(Op{Kind: OpMeter, A: slot})
		}
	case flow.ActionExit:
		c.exit = true
	case flow.ActionNote:
	default:
		return c.edit(a)
	}
	return true
}

// resubmit looks up again in target, within the bounds.
func (c *composer) resubmit(from, target uint8, port uint32) {
	if c.resubmits == maxResubmits || c.depth == maxResubmitDepth {
		c.exceeded = true
		return
	}
	c.resubmits++
	backward := target <= from
	if backward {
		c.depth++
	}
	c.table(target, port)
	if backward {
		c.depth--
	}
}

// Port numbers of OpenFlow 1.0 that mean something else than a port (OpenFlow 1.0 §5.2.1): what a register that rules
// output to may hold.
var reservedPorts = map[uint64]OpKind{
	0xfff8: OpInPort, 0xfffa: OpNormal, 0xfffb: OpFlood, 0xfffc: OpAll, 0xfffe: OpLocal,
}

// outputReg outputs to the port whose number a field holds. Other numbers than those of ports, and those wider than 16
// bits, output nowhere, as in Open vSwitch.
func (c *composer) outputReg(a *flow.Action) {
	if !flow.Places[a.Src.Field].Need.Met(&c.key) {
		return
	}
	n := a.Src.Get(&c.key)
	if kind, ok := reservedPorts[n.Lo]; ok && n.Hi == 0 {
		c.output(Op{Kind: kind})
	} else if n.Hi == 0 && n.Lo >= 1 && n.Lo <= flow.MaxPort {
		c.output(Op{Kind: OpOutput, A: uint32(n.Lo)})
	}
}

// write adds an action to the action set, and keeps actset_output right: the port of the last output, unless there is a
// group.
func (c *composer) write(a *flow.Action) {
	if len(c.set) == maxActionSet {
		c.exceeded = true
		return
	}
	w := *a
	w.InSet = false
	c.set = append(c.set, w)
	switch {
	case c.grouped:
	case a.Kind == flow.ActionGroup:
		c.grouped = true
		c.setActsetOutput(0)
	case a.Kind < flow.ActionGroup:
		c.setActsetOutput(actsetPorts[a.Kind] | a.Port)
	}
}

// actsetPorts are the numbers of what is no port (OpenFlow 1.3 §A.2.1).
var actsetPorts = [flow.NumActionKinds]uint32{
	flow.ActionInPort: 0xfffffff8, flow.ActionNormal: 0xfffffffa, flow.ActionFlood: 0xfffffffb, flow.ActionAll: 0xfffffffc,
	flow.ActionLocal: flow.PortLocal,
}

// setActsetOutput sets what rules see as actset_output: 0 while it is unset.
func (c *composer) setActsetOutput(port uint32) {
	c.key[flow.WordMark] = c.key[flow.WordMark]&^0xffffffff | uint64(port)
}

// finish ends the program: without what nobody sees, and with the reason if it outputs nothing.
func (c *composer) finish() {
	var reason packet.DropReason
	switch {
	case c.exceeded:
		reason = packet.DropResubmitLimit
	case c.stuck:
		reason = packet.DropTooManyLabels
	case c.prune():
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

// prune removes ops that no output follows on their copy of the packet, and copies that nobody needs. A meter counts for
// every copy, since it may end them all. It reports whether anything is output.
func (c *composer) prune() bool {
	var keep [maxOps / 64]uint64
	// For each copy that is open, walking backwards: its OpRestore, whether anything is output after it.
	var restores [maxResubmitDepth + 1]struct {
		at    int
		after bool
	}
	nested, live, some := 0, false, false
	for i := len(c.ops) - 1; i >= 0; i-- {
		switch op := &c.ops[i]; {
		case op.output():
			live, some = true, true
		case op.Kind == OpRestore:
			restores[nested].at, restores[nested].after = i, live
			nested++
			live = false
			continue
		case op.Kind == OpSave:
			nested--
			r := &restores[nested]
			live = live || r.after
			if !r.after || !c.editsBetween(i, r.at, &keep) {
				continue
			}
			keep[r.at/64] |= 1 << (r.at % 64)
		case op.Kind == OpMeter:
			if !some {
				continue
			}
		case !live:
			continue
		}
		keep[i/64] |= 1 << (i % 64)
	}
	n := 0
	for i := range c.ops {
		if keep[i/64]>>(i%64)&1 != 0 {
			c.ops[n] = c.ops[i]
			n++
		}
	}
	c.ops = c.ops[:n]
	return some
}

// editsBetween reports whether any op between the OpSave at from and its OpRestore at to that is kept changes the packet
// that goes on behind it.
func (c *composer) editsBetween(from, to int, keep *[maxOps / 64]uint64) bool {
	nested := 0
	for i := from + 1; i < to; i++ {
		if keep[i/64]>>(i%64)&1 == 0 {
			continue
		}
		switch op := &c.ops[i]; {
		case op.Kind == OpSave:
			nested++
		case op.Kind == OpRestore:
			nested--
		case nested == 0 && op.edits():
			return true
		}
	}
	return false
}
