package adminq

const (
	etherTypeLLDP = 0x88CC
	unnamedQueue  = -1
)

// Receive says who gets a frame from the wire. It changes nothing.
func (s *Switch) Receive(h *Header) Verdict {
	if s.lldp && h.EtherType == etherTypeLLDP {
		return Verdict{Drop: DropLLDP}
	}
	var out Verdict
	if c := s.controlMatch(h, false); c != nil {
		if c.flags&controlDrop != 0 {
			return Verdict{Drop: DropControl}
		}
		out.add(Delivery{VSI: s.vsis[c.seid], Queue: c.target(), Why: MatchControl})
		s.mirrorReceived(h, &out)
		return out
	}
	s.addCloud(h, &out)
	for _, v := range s.VSIs() {
		if !s.reachesWire(v) || s.VEBOf(v) != nil && v.PrunesSource() && v.owns(h.Src) {
			continue
		}
		if queue, why, ok := v.accepts(h, false); ok {
			out.add(Delivery{VSI: v, Queue: queue, Why: why})
		}
	}
	if v := s.vsis[s.deflt]; v != nil && len(out.To) == 0 {
		out.add(Delivery{VSI: v, Queue: unnamedQueue, Why: MatchDefault})
	}
	s.mirrorReceived(h, &out)
	if len(out.To) == 0 {
		out.Drop = DropNoFilter
	}
	return out
}

// Transmit says where a frame that a VSI sends goes. It changes nothing. The header is the frame's as the driver built it;
// the tag that the VSI's port VLAN adds (VSI.PortVLAN) is taken into account here and put into the frame by the device.
func (s *Switch) Transmit(vsi uint16, header *Header) Verdict {
	v := s.VSI(vsi)
	if v == nil {
		return Verdict{Drop: DropNoVSI}
	}
	h, drop := v.egress(header)
	if drop != NotDropped {
		return Verdict{Drop: drop}
	}
	if c := s.controlMatch(&h, true); c != nil {
		if c.flags&controlDrop != 0 {
			return Verdict{Drop: DropControl}
		}
		return Verdict{To: []Delivery{{VSI: s.vsis[c.seid], Queue: c.target(), Why: MatchControl, Loopback: true}}}
	}
	if h.Target != nil {
		return s.directed(v, h.Target)
	}
	out := s.bridge(v, &h)
	s.mirrorSent(v, &h, &out)
	if !out.Wire && len(out.To) == 0 {
		out.Drop = DropNoFilter
	}
	return out
}

// egress applies the sender's own rules: port VLAN, which frames it may send, and anti-spoofing.
func (v *VSI) egress(header *Header) (Header, DropReason) {
	h := *header
	if tci, insert := v.PortVLAN(); insert {
		if h.Tagged {
			return h, DropTagMode
		}
		h.Tagged, h.TCI = true, tci
	}
	// The mode is about what leaves the VSI: with a port VLAN, drivers admit tagged frames only.
	if h.Tagged && !v.AdmitsTagged() || !h.Tagged && !v.AdmitsUntagged() {
		return h, DropTagMode
	}
	if v.Security()&SecurityMAC != 0 && !v.owns(h.Src) {
		return h, DropSpoofMAC
	}
	if v.Security()&SecurityVLAN != 0 && !v.mayUse(&h) {
		return h, DropSpoofVLAN
	}
	return h, NotDropped
}

// directed sends a frame where its transmit descriptor says, if the sender may do so.
func (s *Switch) directed(v *VSI, to *Target) Verdict {
	switch {
	case v.Security()&SecurityDest == 0:
		return Verdict{Drop: DropOverride}
	case to.Uplink:
		return Verdict{Wire: true}
	case s.VSI(to.VSI) == nil:
		return Verdict{Drop: DropNoVSI}
	}
	return Verdict{To: []Delivery{{VSI: s.VSI(to.VSI), Queue: unnamedQueue, Why: MatchTarget, Loopback: true}}}
}

// bridge forwards between the VSIs of a VEB and its uplink.
func (s *Switch) bridge(v *VSI, h *Header) Verdict {
	veb := s.VEBOf(v)
	if veb == nil {
		return Verdict{Wire: true}
	}
	out := Verdict{Wire: s.reachesWire(v)}
	if !v.AllowsLoopback() {
		return out
	}
	known := false
	for _, member := range s.below(veb.SEID) {
		if member == v && v.PrunesSource() {
			continue
		}
		queue, why, ok := member.accepts(h, true)
		if !ok {
			continue
		}
		out.add(Delivery{VSI: member, Queue: queue, Why: why, Loopback: true})
		known = known || why == MatchMAC || why == MatchHash
	}
	if known && !h.Dst.multicast() {
		out.Wire = false
	}
	return out
}

// reachesWire says whether there is an unbroken way up to the port.
func (s *Switch) reachesWire(v *VSI) bool {
	uplink := v.Uplink
	for range maxVEBs + 1 {
		if uplink == seidMAC {
			return true
		}
		veb := s.vebs[uplink]
		if veb == nil || veb.Floating {
			return false
		}
		uplink = veb.Uplink
	}
	return false
}

// accepts says whether the VSI's filters take a frame. A filter for the frame's very VLAN is a membership; all else is
// subject to the list of VLANs, if the VSI has one.
func (v *VSI) accepts(h *Header, sent bool) (queue int, why Match, ok bool) {
	vlan := h.VLAN()
	for _, key := range [...]macKey{{mac: h.Dst, vlan: vlan}, {mac: h.Dst, vlan: vlan, hash: true}} {
		if f, has := v.macs[key]; has {
			return f.queue, key.why(), true
		}
	}
	if h.Tagged && vlan != 0 && len(v.vlans) > 0 && v.promisc&promiscVLAN == 0 {
		if _, member := v.vlans[vlan]; !member {
			return 0, 0, false
		}
	}
	for _, key := range [...]macKey{{mac: h.Dst, anyVLAN: true}, {mac: h.Dst, anyVLAN: true, hash: true}} {
		if f, has := v.macs[key]; has {
			return f.queue, key.why(), true
		}
	}
	flags := v.promisc
	if sent && flags&promiscRxOnly != 0 {
		flags &^= promiscUnicast | promiscMulticast
	}
	if (flags|v.onVLAN[vlan])&promiscFor(h.Dst) != 0 {
		return unnamedQueue, MatchPromisc, true
	}
	return 0, 0, false
}

func (k macKey) why() Match {
	if k.hash {
		return MatchHash
	}
	return MatchMAC
}

func promiscFor(mac MAC) uint16 {
	switch {
	case mac.broadcast():
		return promiscBroadcast
	case mac.multicast():
		return promiscMulticast
	}
	return promiscUnicast
}

// owns says whether one of the VSI's filters is for mac.
func (v *VSI) owns(mac MAC) bool {
	for key := range v.macs {
		if key.mac == mac {
			return true
		}
	}
	return false
}

// mayUse says whether the VSI may send on the frame's VLAN: it is a member, or has a filter for it.
func (v *VSI) mayUse(h *Header) bool {
	vlan := h.VLAN()
	if _, member := v.vlans[vlan]; member || vlan == 0 {
		return true
	}
	for key := range v.macs {
		if key.anyVLAN || key.vlan == vlan {
			return true
		}
	}
	return false
}

// add appends a copy. A VSI gets one, to the queue that the more specific filter names.
func (v *Verdict) add(d Delivery) {
	if d.VSI == nil {
		return
	}
	for i := range v.To {
		if v.To[i].VSI == d.VSI {
			if v.To[i].Queue == unnamedQueue {
				v.To[i].Queue = d.Queue
			}
			return
		}
	}
	v.To = append(v.To, d)
}
