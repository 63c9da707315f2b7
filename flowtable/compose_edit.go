package flowtable

import (
	"weft/flowtable/flow"
	"weft/internal/packet"
)

// setOp is the op that sets a field in a packet, and where the field lies in the op's value.
type setOp struct {
	kind  OpKind // for 128 bits: of the high half, the next kind is that of the low half
	shift uint8
	sets  bool // false: nothing in the packet, as for registers
}

// segments are the parts of a key that one op each sets.
var segments = [...]struct {
	word, shift, bits uint8
	need              flow.Need // NeedNothing: whatever the packet is
	kind              OpKind
}{
	{flow.WordSrc, flow.ShiftEth, 48, flow.NeedNothing, OpSetEthSrc},
	{flow.WordDst, flow.ShiftEth, 48, flow.NeedNothing, OpSetEthDst},
	{flow.WordIPv4, flow.ShiftIPSrc, 32, flow.NeedIPv4, OpSetIPv4Src},
	{flow.WordIPv4, 0, 32, flow.NeedIPv4, OpSetIPv4Dst},
	{flow.WordIPv4, flow.ShiftIPSrc, 32, flow.NeedARP, OpSetARPSPA},
	{flow.WordIPv4, 0, 32, flow.NeedARP, OpSetARPTPA},
	{flow.WordIPv6S, 0, 64, flow.NeedIPv6, OpSetIPv6SrcHi},
	{flow.WordIPv6D, 0, 64, flow.NeedIPv6, OpSetIPv6DstHi},
	{flow.WordLabel, 0, 20, flow.NeedIPv6, OpSetIPv6Label},
	{flow.WordL4, flow.ShiftTOS, 8, flow.NeedNothing, OpSetTOS},
	{flow.WordL4, flow.ShiftTTL, 8, flow.NeedNothing, OpSetTTL},
	{flow.WordL4, flow.ShiftTPSrc, 16, flow.NeedNothing, OpSetTPSrc},
	{flow.WordL4, 0, 16, flow.NeedNothing, OpSetTPDst},
	{flow.WordL4, flow.ShiftProto, 8, flow.NeedNothing, OpSetARPOp},
	{flow.WordSHA, flow.ShiftEth, 48, flow.NeedARP, OpSetARPSHA},
	{flow.WordTHA, flow.ShiftEth, 48, flow.NeedARP, OpSetARPTHA},
	{flow.WordSHA, flow.ShiftEth, 48, flow.NeedNDSolicit, OpSetNDSLL},
	{flow.WordTHA, flow.ShiftEth, 48, flow.NeedNDAdvert, OpSetNDTLL},
	{flow.WordND, 0, 64, flow.NeedND, OpSetNDTargetHi},
	{flow.WordMPLS, flow.ShiftLSE, 32, flow.NeedMPLS, OpSetMPLS},
}

// setOps is the op of each field that actions can set. Tags and in_port are set otherwise.
var setOps = makeSetOps()

func makeSetOps() (t [flow.NumFields]setOp) {
	for id := range flow.Places {
		p := &flow.Places[id]
		if !p.Writable {
			continue
		}
		for _, s := range segments {
			if p.Word == s.word && p.Shift >= s.shift && p.Shift < s.shift+s.bits &&
				(s.need == flow.NeedNothing || s.need == p.Need) {
				t[id] = setOp{s.kind, p.Shift - s.shift, true}
				break
			}
		}
	}
	return t
}

// edit does an action that changes the packet. It returns false if the rest of the list is not to be done.
func (c *composer) edit(a *flow.Action) bool {
	switch a.Kind {
	case flow.ActionPushVLAN:
		c.push(uint32(a.Value.Lo))
	case flow.ActionPopVLAN:
		if c.tagged() {
			c.emit(Op{Kind: OpPopVLAN})
			c.key.PopTag()
		}
	case flow.ActionModVLANVID:
		c.setTag(a.Value.Lo|flow.VLANPresent, flow.VLANVID|flow.VLANPresent)
	case flow.ActionModVLANPCP:
		c.setTag(a.Value.Lo<<flow.VLANPCPLow|flow.VLANPresent, flow.VLANPCP|flow.VLANPresent)
	case flow.ActionPushMPLS:
		c.pushMPLS(uint16(a.Value.Lo))
	case flow.ActionPopMPLS:
		c.popMPLS(uint16(a.Value.Lo))
	case flow.ActionDecTTL:
		return c.decTTL()
	case flow.ActionDecMPLSTTL:
		return c.decMPLSTTL()
	case flow.ActionMove:
		src := &flow.Places[a.Src.Field]
		if src.Need.Met(&c.key) {
			ofs := int(a.Dst.Ofs)
			c.setField(a.Dst.Field, a.Src.Get(&c.key).Shl(ofs), flow.Ones(int(a.Dst.Bits)).Shl(ofs))
		}
	case flow.ActionSetField:
		c.setField(a.Dst.Field, a.Value, a.Mask)
	case flow.ActionWriteMetadata:
		c.setField(flow.FieldMetadata, a.Value, a.Mask)
	case flow.ActionModTPSrc:
		c.setTransport(OpSetTPSrc, flow.ShiftTPSrc, a.Value.Lo)
	case flow.ActionModTPDst:
		c.setTransport(OpSetTPDst, 0, a.Value.Lo)
	default:
		if dst, v, ok := a.Setting(); ok {
			ofs := int(dst.Ofs)
			c.setField(dst.Field, v.Shl(ofs), flow.Ones(int(dst.Bits)).Shl(ofs))
		}
	}
	return true
}

// setField sets the bits of mask of a field, if the packet has it.
func (c *composer) setField(id flow.FieldID, v, mask flow.Value) {
	p := &flow.Places[id]
	if !p.Need.Met(&c.key) {
		return
	}
	op := setOps[id]
	switch {
	case id == flow.FieldInPort:
		c.setInPort(v, mask)
		return
	case p.Word == flow.WordPort:
		c.setTag(v.Lo<<p.Shift, mask.Lo<<p.Shift)
		return
	case op.kind == OpSetTOS && op.shift == 0 && p.Bits == 8:
		mask.Lo &= 0xfc // nw_tos is the DSCP in its place; the other two bits are nw_ecn
	}
	p.Put(&c.key, v, mask)
	if !op.sets || needsProto(p.Need) && c.key.Proto() == 0 {
		return // such headers are broken, and Open vSwitch lets them be
	}
	if p.Bits == 128 {
		c.set64(op.kind, v.Hi, mask.Hi)
		c.set64(op.kind+1, v.Lo, mask.Lo)
		return
	}
	m0, _ := p.Spread(mask)
	c.set64(op.kind, v.Lo<<op.shift, m0>>p.Shift<<op.shift)
}

// set64 emits an op that sets bits, or makes the one before it set them as well.
func (c *composer) set64(kind OpKind, v, mask uint64) {
	if mask == 0 {
		return
	}
	v &= mask
	if n := len(c.ops); n > 0 && c.ops[n-1].Kind == kind {
		last := &c.ops[n-1]
		last.B, last.Mask = last.B&^mask|v, last.Mask|mask
		return
	}
	c.emit(Op{Kind: kind, B: v, Mask: mask})
}

// setInPort changes what counts as the port of arrival. The field has 16 bits, in which reserved numbers are those of
// OpenFlow 1.0; keys have OpenFlow 1.3's.
func (c *composer) setInPort(v, mask flow.Value) {
	n := uint32(uint64(c.key.InPort())&^mask.Lo|v.Lo&mask.Lo) & 0xffff
	if n >= 0xff00 {
		n |= 0xffff0000
	}
	c.key.SetInPort(n)
}

// setTransport sets a port as OpenFlow 1.0 does: of whatever protocol the packet has. To ICMP, it is the type or the code.
func (c *composer) setTransport(kind OpKind, shift uint, v uint64) {
	if !c.key.IsIP() || c.key[flow.WordL4]>>flow.ShiftFrag&flow.FragLater != 0 {
		return
	}
	c.key[flow.WordL4] = c.key[flow.WordL4]&^(0xffff<<shift) | v<<shift
	switch c.key.Proto() {
	case flow.ProtoTCP, flow.ProtoUDP, flow.ProtoSCTP:
		c.set64(kind, v, 0xffff)
	case flow.ProtoICMP:
		if c.key.EthType() == flow.EthIPv4 {
			c.set64(kind, v, 0xff)
		}
	case flow.ProtoICMP6:
		if c.key.EthType() == flow.EthIPv6 {
			c.set64(kind, v, 0xff)
		}
	}
}

func (c *composer) tagged() bool { return c.key.OuterTag()&flow.VLANPresent != 0 }

func (c *composer) push(tpid uint32) {
	c.emit(Op{Kind: OpPushVLAN, A: tpid})
	c.key.PushTag()
}

// setTag sets bits of the outer tag. Setting the bit that says that there is one pushes it, clearing that bit takes all
// tags away.
func (c *composer) setTag(v, mask uint64) {
	had := c.tagged()
	tci := uint16(uint64(c.key.OuterTag())&^mask | v&mask)
	if tci&flow.VLANPresent == 0 {
		for ; c.tagged(); c.key.PopTag() {
			c.emit(Op{Kind: OpPopVLAN})
		}
		return
	}
	if !had {
		c.push(packet.TPID8021Q)
	}
	c.key.SetOuterTag(tci)
	if mask&flow.VLANVID != 0 {
		c.set32(OpSetVLANVID, uint32(tci&flow.VLANVID))
	}
	if mask&flow.VLANPCP != 0 {
		c.set32(OpSetVLANPCP, uint32(tci>>flow.VLANPCPLow))
	}
}

// set32 emits an op that sets a part of the tag, or changes the one before it.
func (c *composer) set32(kind OpKind, v uint32) {
	if n := len(c.ops); n > 0 && c.ops[n-1].Kind == kind {
		c.ops[n-1].A = v
		return
	}
	c.emit(Op{Kind: kind, A: v})
}

// labels is how many label stack entries the key holds, and whether none is below them. A stack that the frame cuts off
// has those that are there, and entries of zero count as none unless the bottom is below them, as in Open vSwitch.
func (c *composer) labels() (n int, bottom bool) {
	if !c.key.IsMPLS() {
		return 0, true
	}
	for i, e := range c.stack() {
		if e&lseBottom != 0 {
			return i + 1, true
		}
		if e != 0 {
			n++
		}
	}
	return n, n < maxLabels
}

// maxLabels is how many label stack entries a key holds, as Open vSwitch does.
const maxLabels = 3

func (c *composer) stack() [maxLabels]uint32 {
	return [maxLabels]uint32{
		uint32(c.key[flow.WordMPLS] >> flow.ShiftLSE), uint32(c.key[flow.WordMPLS]),
		uint32(c.key[flow.WordLabel] >> flow.ShiftLSE),
	}
}

func (c *composer) setStack(s [maxLabels]uint32) {
	c.key[flow.WordMPLS] = uint64(s[0])<<flow.ShiftLSE | uint64(s[1])
	c.key[flow.WordLabel] = c.key[flow.WordLabel]&(1<<flow.ShiftLSE-1) | uint64(s[2])<<flow.ShiftLSE
}

// pushMPLS pushes a label stack entry: a copy of the top one or, on the first, an explicit null label with the TTL and
// traffic class of the IP header (OpenFlow 1.3 §5.12.1, RFC 3032 §2.1).
func (c *composer) pushMPLS(ethType uint16) {
	n, _ := c.labels()
	if n == maxLabels {
		c.stuck = true
		return
	}
	s := c.stack()
	top := s[0] &^ lseBottom
	if n == 0 {
		label, class, ttl := uint32(0), uint32(0), uint32(64)
		if c.key.EthType() == flow.EthIPv6 {
			label = 2
		}
		if c.key.IsIP() {
			class = uint32(c.key[flow.WordL4]>>(flow.ShiftTOS+2)) & 7
			if t := uint32(c.key[flow.WordL4]>>flow.ShiftTTL) & 0xff; t != 0 {
				ttl = t
			}
		}
		top = label<<12 | class<<9 | lseBottom | ttl
		s = [maxLabels]uint32{}
	}
	c.setStack([maxLabels]uint32{top, s[0], s[1]})
	c.key.SetEthType(ethType)
	c.emit(Op{Kind: OpPushMPLS, A: uint32(ethType), B: uint64(top)})
}

// popMPLS removes the top label stack entry. A stack deeper than a key is left alone, since nobody knows what comes up.
func (c *composer) popMPLS(ethType uint16) {
	n, bottom := c.labels()
	switch {
	case n == 0:
		return
	case !bottom:
		c.stuck = true
		return
	}
	s := c.stack()
	copy(s[:], s[1:])
	s[n-1] = 0
	c.setStack(s)
	c.key.SetEthType(ethType)
	c.emit(Op{Kind: OpPopMPLS, A: uint32(ethType)})
}

// decTTL decrements the TTL or hop limit. A packet that has none left ends its list of actions here.
func (c *composer) decTTL() bool {
	if !c.key.IsIP() {
		return true
	}
	ttl := c.key[flow.WordL4] >> flow.ShiftTTL & 0xff
	if ttl <= 1 {
		return false
	}
	c.key[flow.WordL4] -= 1 << flow.ShiftTTL
	if c.key.Proto() != 0 {
		c.set64(OpSetTTL, ttl-1, 0xff)
	}
	return true
}

// decMPLSTTL does the same to the top label stack entry. A packet without one ends its list of actions as well.
func (c *composer) decMPLSTTL() bool {
	ttl := c.key[flow.WordMPLS] >> flow.ShiftLSE & lseTTL
	if !c.key.IsMPLS() || ttl <= 1 {
		return false
	}
	c.key[flow.WordMPLS] -= 1 << flow.ShiftLSE
	c.set64(OpSetMPLS, ttl-1, lseTTL)
	return true
}
