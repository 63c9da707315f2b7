package flowtable

import (
	"fmt"
	"slices"

	"weft/flowtable/flow"
	"weft/internal/packet"
)

// sent is a copy of a packet that went out.
type sent struct {
	kind    OpKind
	port    uint32 // of OpOutput
	arrival uint32 // what counted as the port of arrival
	packet  flow.PacketKey
	meters  string // passed on the way
}

func (s sent) String() string {
	return fmt.Sprintf("{kind %d port %d from %d meters %s packet %x}", s.kind, s.port, s.arrival, s.meters, s.packet)
}

// execute does ops to a packet with key k, as a switch would: what goes out, or why nothing does.
func execute(ops []Op, k flow.Key) ([]sent, packet.DropReason) {
	type copied struct {
		key flow.Key
		in  uint32
	}
	meters := ""
	x := copied{key: k, in: k.InPort()}
	var saved []copied
	var out []sent
	set := func(word, shift, bits int, op *Op) {
		mask := op.Mask & (1<<bits - 1)
		x.key[word] = x.key[word]&^(mask<<shift) | op.B<<shift
	}
	for i := range ops {
		switch op := &ops[i]; op.Kind {
		case OpOutput, OpInPort, OpFlood, OpAll, OpNormal, OpLocal:
			out = append(out, sent{op.Kind, op.A, x.in, flow.PacketKey(x.key[:flow.PacketWords]), meters})
		case OpDrop:
			return nil, packet.DropReason(op.A)
		case OpSave:
			saved = append(saved, x)
		case OpRestore:
			x, saved = saved[len(saved)-1], saved[:len(saved)-1]
		case OpMeter:
			meters += fmt.Sprint(" ", op.A)
		case OpSetInPort:
			x.in = op.A
		case OpPushVLAN:
			x.key.PushTag()
		case OpPopVLAN:
			x.key.PopTag()
		case OpSetVLANVID:
			x.key[0] = x.key[0]&^0xfff | uint64(op.A)
		case OpSetVLANPCP:
			x.key[0] = x.key[0]&^0xe000 | uint64(op.A)<<13
		case OpPushMPLS:
			if !x.key.IsMPLS() { // what a pop to another EtherType left is not labels any more
				x.key[11], x.key[12] = 0, x.key[12]&0xffffffff
			}
			x.key[12] = x.key[12]&0xffffffff | x.key[11]<<32
			x.key[11] = op.B<<32 | x.key[11]>>32
			x.key.SetEthType(uint16(op.A))
		case OpPopMPLS:
			x.key[11] = x.key[11]<<32 | x.key[12]>>32
			x.key[12] &= 0xffffffff
			x.key.SetEthType(uint16(op.A))
		case OpSetEthSrc:
			set(2, 16, 48, op)
		case OpSetEthDst:
			set(1, 16, 48, op)
		case OpSetIPv4Src, OpSetARPSPA:
			set(3, 32, 32, op)
		case OpSetIPv4Dst, OpSetARPTPA:
			set(3, 0, 32, op)
		case OpSetIPv6SrcHi, OpSetIPv6SrcLo, OpSetIPv6DstHi, OpSetIPv6DstLo:
			set(7+int(op.Kind-OpSetIPv6SrcHi), 0, 64, op)
		case OpSetNDTargetHi, OpSetNDTargetLo:
			set(13+int(op.Kind-OpSetNDTargetHi), 0, 64, op)
		case OpSetIPv6Label:
			set(12, 0, 20, op)
		case OpSetTOS:
			set(4, 48, 8, op)
		case OpSetTTL:
			set(4, 40, 8, op)
		case OpSetTPSrc:
			set(4, 16, 16, op)
		case OpSetTPDst:
			set(4, 0, 16, op)
		case OpSetARPOp:
			set(4, 56, 8, op)
		case OpSetARPSHA, OpSetNDSLL:
			set(5, 16, 48, op)
		case OpSetARPTHA, OpSetNDTLL:
			set(6, 16, 48, op)
		case OpSetMPLS:
			set(11, 32, 32, op)
		default:
			panic(fmt.Sprint("unknown op ", op.Kind))
		}
	}
	return out, 0
}

// modelRun is one packet's way through the model: key is what rules see, pkt the packet as it is.
type modelRun struct {
	m        *model
	key, pkt flow.Key
	in       uint32
	meters   string
	out      []sent
	met      []*modelRule
	groups   map[uint32]int // how often each group and
	buckets  map[[2]uint32]int
	set      []flow.Action
	missed   bool
	dropped  bool
	depth    int
	steps    int
	exceeded bool
	stuck    bool
	exit     bool
}

func (m *model) run(k flow.Key) *modelRun {
	r := &modelRun{m: m, key: k, pkt: k, in: k.InPort(), groups: map[uint32]int{}, buckets: map[[2]uint32]int{}}
	r.table(0, k.InPort())
	r.list(0, orderSet(r.set))
	return r
}

// reason is why nothing goes out.
func (r *modelRun) reason() packet.DropReason {
	switch {
	case r.exceeded:
		return packet.DropResubmitLimit
	case r.stuck:
		return packet.DropTooManyLabels
	case r.missed:
		return packet.DropNoMatch
	case r.dropped:
		return packet.DropByRule
	}
	return packet.DropNoOutput
}

func (r *modelRun) ended() bool { return r.exceeded || r.stuck || r.exit }

func (r *modelRun) table(table uint8, port uint32) {
	k := r.key
	k.SetInPort(port)
	rule := r.m.best(table, &k)
	if rule == nil {
		r.missed = true
		return
	}
	r.met = append(r.met, rule)
	r.dropped = r.dropped || len(rule.Actions) == 0
	r.list(table, rule.Actions)
}

func (r *modelRun) list(table uint8, actions []flow.Action) {
	for i := range actions {
		if r.ended() || !r.action(table, &actions[i]) {
			return
		}
	}
}

// orderSet is OpenFlow 1.3 §5.10 in its plainest form.
func orderSet(set []flow.Action) []flow.Action {
	last := func(kinds ...flow.ActionKind) []flow.Action {
		for i := len(set) - 1; i >= 0; i-- {
			if slices.Contains(kinds, set[i].Kind) {
				return set[i : i+1]
			}
		}
		return nil
	}
	final := last(flow.ActionGroup)
	if final == nil {
		final = last(flow.ActionOutput, flow.ActionInPort, flow.ActionFlood, flow.ActionAll, flow.ActionNormal, flow.ActionLocal)
	}
	if final == nil {
		final = last(flow.ActionResubmit)
	}
	if final == nil {
		return nil
	}
	once := []flow.ActionKind{
		flow.ActionPopVLAN, flow.ActionPopMPLS, flow.ActionPushMPLS, flow.ActionPushVLAN, flow.ActionDecTTL,
		flow.ActionDecMPLSTTL,
	}
	var list []flow.Action
	for _, k := range once {
		list = append(list, last(k)...)
	}
	for _, a := range set {
		if a.Kind != flow.ActionResubmit && a.Kind != flow.ActionNote && !a.Output() && !slices.Contains(once, a.Kind) {
			list = append(list, a)
		}
	}
	return append(list, final...)
}

func (r *modelRun) send(kind OpKind, port uint32) {
	r.out = append(r.out, sent{kind, port, r.key.InPort(), flow.PacketKey(r.pkt[:flow.PacketWords]), r.meters})
}

func (r *modelRun) action(table uint8, a *flow.Action) bool {
	if a.InSet {
		plain := *a
		plain.InSet = false
		r.set = append(r.set, plain)
		return true
	}
	switch a.Kind {
	case flow.ActionOutput:
		r.send(OpOutput, a.Port)
	case flow.ActionInPort:
		r.send(OpInPort, 0)
	case flow.ActionFlood:
		r.send(OpFlood, 0)
	case flow.ActionAll:
		r.send(OpAll, 0)
	case flow.ActionNormal:
		r.send(OpNormal, 0)
	case flow.ActionLocal:
		r.send(OpLocal, 0)
	case flow.ActionOutputReg:
		r.outputReg(a)
	case flow.ActionGroup:
		r.group(table, r.m.groups[a.ID])
	case flow.ActionResubmit, flow.ActionGotoTable:
		r.resubmit(table, a)
	case flow.ActionClearActions:
		r.set = nil
	case flow.ActionMeter:
		r.meters += " 0"
	case flow.ActionExit:
		r.exit = true
	case flow.ActionNote:
	default:
		return r.edit(a)
	}
	return true
}

func (r *modelRun) outputReg(a *flow.Action) {
	switch n := a.Src.Get(&r.key).Lo; {
	case n == 0xfff8:
		r.send(OpInPort, 0)
	case n == 0xfffa:
		r.send(OpNormal, 0)
	case n == 0xfffb:
		r.send(OpFlood, 0)
	case n == 0xfffc:
		r.send(OpAll, 0)
	case n == 0xfffe:
		r.send(OpLocal, 0)
	case n > 0 && n <= flow.MaxPort:
		r.send(OpOutput, uint32(n))
	}
}

func (r *modelRun) step() bool {
	r.exceeded = r.exceeded || r.steps == 4096 || r.depth == 64
	r.steps++
	return !r.exceeded
}

func (r *modelRun) resubmit(table uint8, a *flow.Action) {
	port, target := r.key.InPort(), a.Table
	if a.Kind == flow.ActionResubmit && a.Port != flow.SamePort {
		port = a.Port
	}
	if target == flow.SameTable {
		target = table
	}
	if !r.step() {
		return
	}
	if target <= table {
		r.depth++
		defer func() { r.depth-- }()
	}
	r.table(target, port)
}

func (r *modelRun) group(table uint8, g *flow.Group) {
	if !r.step() {
		return
	}
	var through []flow.Bucket
	for _, b := range g.Buckets {
		switch live := r.m.alive(g, &b); {
		case g.Type == flow.GroupAll, g.Type == flow.GroupIndirect:
			through = append(through, b)
		case g.Type == flow.GroupFF && live && len(through) == 0:
			through = append(through, b)
		case g.Type == flow.GroupSelect && live && b.ID == r.m.choose(g, &r.key):
			through = append(through, b)
		}
	}
	if g.Type == flow.GroupSelect && len(through) == 0 &&
		slices.ContainsFunc(g.Buckets, func(b flow.Bucket) bool { return r.m.alive(g, &b) }) {
		panic("a select group with live buckets chose none of them")
	}
	if len(through) > 0 {
		r.groups[g.ID]++
	}
	for _, b := range through {
		if r.exceeded || !r.step() {
			return
		}
		r.buckets[[2]uint32{g.ID, b.ID}]++
		key, pkt, n := r.key, r.pkt, len(r.out)
		r.depth++
		r.list(table, orderSet(b.Actions))
		r.depth--
		r.key, r.pkt, r.exit = key, pkt, false
		if r.stuck {
			r.stuck, r.out = false, r.out[:n]
		}
	}
}

// stack is the label stack of a key.
func stack(k *flow.Key) [3]uint32 {
	return [3]uint32{uint32(k[11] >> 32), uint32(k[11]), uint32(k[12] >> 32)}
}

func setStack(k *flow.Key, s [3]uint32) {
	k[11] = uint64(s[0])<<32 | uint64(s[1])
	k[12] = k[12]&0xffffffff | uint64(s[2])<<32
}

// both does something to what rules see and to the packet.
func (r *modelRun) both(f func(k *flow.Key)) {
	f(&r.key)
	f(&r.pkt)
}

func (r *modelRun) edit(a *flow.Action) bool {
	isIP := r.key.EthType() == 0x0800 || r.key.EthType() == 0x86dd
	mpls := r.key.EthType() == 0x8847 || r.key.EthType() == 0x8848
	s := stack(&r.key)
	// How many labels there are: down to the bottom or, where that is not to be seen, those that are not zero.
	labels := 1 + slices.IndexFunc(s[:], func(e uint32) bool { return e&0x100 != 0 })
	bottom := labels > 0
	for i := 0; i < len(s) && !bottom; i++ {
		if s[i] != 0 {
			labels++
		}
	}
	switch a.Kind {
	case flow.ActionPushVLAN:
		r.both((*flow.Key).PushTag)
	case flow.ActionPopVLAN:
		if r.key[0]&0x1000 != 0 {
			r.both((*flow.Key).PopTag)
		}
	case flow.ActionModVLANVID:
		r.tag(0x1fff, 0x1000|a.Value.Lo)
	case flow.ActionModVLANPCP:
		r.tag(0xf000, 0x1000|a.Value.Lo<<13)
	case flow.ActionPushMPLS:
		if mpls && labels == 3 {
			r.stuck = true
			return true
		}
		top := s[0] &^ 0x100
		if !mpls || labels == 0 {
			s, top = [3]uint32{}, 0x140 // TTL 64
			if ttl := uint32(r.key[4]>>40) & 0xff; isIP && ttl != 0 {
				top = 0x100 | ttl
			}
			if isIP {
				top |= uint32(r.key[4]>>50) & 7 << 9
			}
			if r.key.EthType() == 0x86dd {
				top |= 2 << 12
			}
		}
		below := stack(&r.pkt) // what a pop to no label left there is under the new entry, though no rule sees it
		setStack(&r.key, [3]uint32{top, s[0], s[1]})
		setStack(&r.pkt, [3]uint32{top, below[0], below[1]})
		r.both(func(k *flow.Key) { k.SetEthType(uint16(a.Value.Lo)) })
	case flow.ActionPopMPLS:
		if !mpls || labels == 0 {
			return true
		}
		if labels == 3 && !bottom {
			r.stuck = true
			return true
		}
		copy(s[:labels-1], s[1:])
		s[labels-1] = 0
		below := stack(&r.pkt)
		setStack(&r.key, s)
		setStack(&r.pkt, [3]uint32{below[1], below[2], 0})
		r.both(func(k *flow.Key) { k.SetEthType(uint16(a.Value.Lo)) })
	case flow.ActionDecTTL:
		ttl := r.key[4] >> 40 & 0xff
		if !isIP {
			return true
		}
		if ttl < 2 {
			return false
		}
		r.field(flow.FieldTTL, flow.Value{Lo: ttl - 1}, flow.Ones(8))
	case flow.ActionDecMPLSTTL:
		if !mpls || s[0]&0xff < 2 {
			return false
		}
		r.both(func(k *flow.Key) { k[11] -= 1 << 32 })
	case flow.ActionModTPSrc, flow.ActionModTPDst:
		r.transport(a)
	case flow.ActionMove:
		if flow.Places[a.Src.Field].Need.Met(&r.key) {
			shift := int(a.Dst.Ofs)
			r.field(a.Dst.Field, a.Src.Get(&r.key).Shl(shift), flow.Ones(int(a.Dst.Bits)).Shl(shift))
		}
	case flow.ActionSetField:
		r.field(a.Dst.Field, a.Value, a.Mask)
	case flow.ActionWriteMetadata:
		r.key[15] = r.key[15]&^a.Mask.Lo | a.Value.Lo
	default:
		dst, v, ok := a.Setting()
		if !ok {
			panic(fmt.Sprint("unknown action ", a.Kind))
		}
		r.field(dst.Field, v.Shl(int(dst.Ofs)), flow.Ones(int(dst.Bits)).Shl(int(dst.Ofs)))
	}
	return true
}

// tag sets bits of the outer tag.
func (r *modelRun) tag(mask, v uint64) {
	tci := r.key[0]&0xffff&^mask | v
	if tci&0x1000 == 0 {
		for r.key[0]&0x1000 != 0 {
			r.both((*flow.Key).PopTag)
		}
		return
	}
	if r.key[0]&0x1000 == 0 {
		r.both((*flow.Key).PushTag)
	}
	r.both(func(k *flow.Key) { k[0] = k[0]&^0xffff | tci })
}

func (r *modelRun) transport(a *flow.Action) {
	if t := r.key.EthType(); t != 0x0800 && t != 0x86dd || r.key[4]>>32&2 != 0 {
		return
	}
	shift := 0
	if a.Kind == flow.ActionModTPSrc {
		shift = 16
	}
	mask := uint64(0)
	switch proto := r.key[4] >> 56; {
	case proto == 6 || proto == 17 || proto == 132:
		mask = 0xffff
	case proto == 1 && r.key.EthType() == 0x0800, proto == 58 && r.key.EthType() == 0x86dd:
		mask = 0xff
	}
	r.key[4] = r.key[4]&^(0xffff<<shift) | a.Value.Lo<<shift
	r.pkt[4] = r.pkt[4]&^(mask<<shift) | a.Value.Lo&mask<<shift
}

func (r *modelRun) field(id flow.FieldID, v, mask flow.Value) {
	p := &flow.Places[id]
	if !p.Need.Met(&r.key) {
		return
	}
	switch {
	case p.Name == "in_port":
		n := (r.key[0]>>32&0xffff)&^mask.Lo | v.Lo&mask.Lo
		if n >= 0xff00 {
			n |= 0xffff0000
		}
		r.key[0] = r.key[0]&0xffffffff | n<<32
		return
	case p.Word == 0:
		r.tag(mask.Lo<<p.Shift, v.Lo&mask.Lo<<p.Shift)
		return
	case p.Name == "nw_tos":
		mask.Lo &^= 3
	}
	p.Put(&r.key, v, mask)
	if p.Need == flow.NeedARP || p.Need == flow.NeedIP || p.Need == flow.NeedIPv4 || p.Need == flow.NeedIPv6 {
		if r.key[4]>>56 == 0 {
			return
		}
	}
	if p.Word < flow.PacketWords {
		p.Put(&r.pkt, v, mask)
	}
}
