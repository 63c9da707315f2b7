package vswitch

import (
	"weft/flowtable"
	"weft/internal/packet"
)

// edit changes the packet's header. It reports whether the program goes on: not without room for what is pushed, nor
// without a copy to change.
func (x *run) edit(op *flowtable.Op) bool {
	if !x.own() {
		x.lose(packet.DropNoClone)
		return false
	}
	p := x.b.Packet(x.cur)
	v, mask := op.B, op.Mask
	switch op.Kind {
	case flowtable.OpPushVLAN:
		if !p.PushVLAN(uint16(op.A), 0) {
			x.lose(packet.DropHeadroom)
			return false
		}
	case flowtable.OpPushMPLS:
		if !p.PushMPLS(uint16(op.A), uint32(op.B)) {
			x.lose(packet.DropHeadroom)
			return false
		}
	case flowtable.OpPopVLAN:
		p.PopVLAN()
	case flowtable.OpPopMPLS:
		p.PopMPLS(uint16(op.A))
	case flowtable.OpSetVLANVID:
		p.SetVLANVID(uint16(op.A))
	case flowtable.OpSetVLANPCP:
		p.SetVLANPCP(uint8(op.A))
	case flowtable.OpSetEthSrc:
		p.SetEthSrc(v, mask)
	case flowtable.OpSetEthDst:
		p.SetEthDst(v, mask)
	case flowtable.OpSetMPLS:
		p.SetMPLS(uint32(v), uint32(mask))
	default:
		editNetwork(p, op)
	}
	return true
}

// editNetwork sets fields of IP, of what it carries, and of address resolution.
func editNetwork(p *packet.Packet, op *flowtable.Op) {
	v, mask := op.B, op.Mask
	switch op.Kind {
	case flowtable.OpSetIPv4Src:
		p.SetIPv4Src(uint32(v), uint32(mask))
	case flowtable.OpSetIPv4Dst:
		p.SetIPv4Dst(uint32(v), uint32(mask))
	case flowtable.OpSetIPv6SrcHi, flowtable.OpSetIPv6SrcLo:
		p.SetIPv6Src(int(op.Kind-flowtable.OpSetIPv6SrcHi), v, mask)
	case flowtable.OpSetIPv6DstHi, flowtable.OpSetIPv6DstLo:
		p.SetIPv6Dst(int(op.Kind-flowtable.OpSetIPv6DstHi), v, mask)
	case flowtable.OpSetIPv6Label:
		p.SetIPv6Label(uint32(v), uint32(mask))
	case flowtable.OpSetTOS:
		p.SetTOS(uint8(v), uint8(mask))
	case flowtable.OpSetTTL:
		p.SetTTL(uint8(v), uint8(mask))
	case flowtable.OpSetTPSrc:
		p.SetTPSrc(uint16(v), uint16(mask))
	case flowtable.OpSetTPDst:
		p.SetTPDst(uint16(v), uint16(mask))
	case flowtable.OpSetARPOp:
		p.SetARPOp(uint16(v), uint16(mask)|0xff00) // rules know 8 bits of it (ovs-fields(7)); the others become 0
	case flowtable.OpSetARPSPA:
		p.SetARPSPA(uint32(v), uint32(mask))
	case flowtable.OpSetARPTPA:
		p.SetARPTPA(uint32(v), uint32(mask))
	case flowtable.OpSetARPSHA:
		p.SetARPSHA(v, mask)
	case flowtable.OpSetARPTHA:
		p.SetARPTHA(v, mask)
	case flowtable.OpSetNDTargetHi, flowtable.OpSetNDTargetLo:
		p.SetNDTarget(int(op.Kind-flowtable.OpSetNDTargetHi), v, mask)
	case flowtable.OpSetNDSLL:
		p.SetNDSLL(v, mask)
	case flowtable.OpSetNDTLL:
		p.SetNDTLL(v, mask)
	}
}

// meter asks a meter whether the packet may go on.
func (x *run) meter(slot uint32) bool {
	m := x.br.lookup.Meter(slot)
	if m == nil || m.Pass(x.b.Time, x.b.Packet(x.cur).Len()) {
		return true
	}
	x.reason = packet.DropMeter
	return false
}

// savedPacket is a packet that the program comes back to.
type savedPacket struct {
	cur     int
	inPort  uint32
	lent    bool
	outputs int
}

// save remembers the packet at hand: what follows edits a copy.
func (x *run) save() {
	x.w.saved[x.saves] = savedPacket{x.cur, x.inPort, x.lent, x.outputs}
	x.saves++
	x.lent = true
}

// restore goes back to the packet as it was saved. Who output it in between may have done so before it was edited.
func (x *run) restore() {
	x.saves--
	s := &x.w.saved[x.saves]
	x.cur, x.inPort, x.lent = s.cur, s.inPort, s.lent || x.outputs != s.outputs
}

// own makes the packet at hand editable: when a pending list refers to it, or it is saved, the edits go to a clone.
func (x *run) own() bool {
	if !x.lent {
		return true
	}
	if !x.exhausted { // afterwards they are not handed out in their order any more
		if j, ok := x.b.Clone(x.cur); ok {
			x.cur, x.lent = j, false
			return true
		}
	}
	// No clone left. Once everything pending is out, only saves refer to the present headers.
	x.w.flush(x.br, x.b)
	x.exhausted = true
	if x.saves == 0 {
		x.lent = false
		return true
	}
	for j := packet.BatchSize; j < packet.BatchSize+packet.MaxClones; j++ {
		if !x.inUse(j) {
			if !x.b.CloneTo(x.cur, j) {
				return false
			}
			x.cur, x.lent = j, false
			return true
		}
	}
	return false
}

// inUse reports whether the program still needs clone j.
func (x *run) inUse(j int) bool {
	for i := range x.saves {
		if x.w.saved[i].cur == j {
			return true
		}
	}
	return x.cur == j
}
