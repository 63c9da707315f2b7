package adminq

import "slices"

// Types of mirror rules. Model: ingress is what a VSI receives (all of it: from the wire), egress what it sends.
const (
	mirrorIngress    = 1
	mirrorEgress     = 2
	mirrorVLAN       = 3
	mirrorAllIngress = 4
	mirrorAllEgress  = 5
)

// mirrorRule copies frames of a switch element to a VSI.
type mirrorRule struct {
	id      uint16
	kind    uint16
	seid    uint16   // of the element, a VEB or the port
	to      uint16   // SEID of the VSI that gets the copies
	entries []uint16 // SEIDs or VLANs
}

// addMirrorRule is command 0260.
func addMirrorRule(f *Firmware, c *call) Code {
	r := &mirrorRule{seid: c.d.u16(0), kind: c.d.u16(2), to: c.d.u16(6) & seidMask}
	entries, code := f.mirrorEntries(c, r.kind)
	if code != CodeOK {
		return code
	}
	r.entries = entries
	if !f.sw.isUplink(r.seid) || f.sw.vsis[r.to] == nil {
		return CodeNoEnt
	}
	for _, e := range entries {
		if r.kind == mirrorVLAN && e > vlanMask || r.kind != mirrorVLAN && f.sw.vsiBySEID(e) == nil {
			return CodeNoEnt
		}
	}
	id, ok := f.sw.freeRule()
	if ok {
		r.id = id
		f.sw.mirrors = append(f.sw.mirrors, r)
		f.switchChanged()
	}
	c.d.put16(0, 0)
	c.d.put16(2, id)
	f.mirrorCounts(c)
	if !ok {
		return CodeNoSpc
	}
	return CodeOK
}

// mirrorEntries reads the list of a rule, which those of everything do not have.
func (f *Firmware) mirrorEntries(c *call, kind uint16) ([]uint16, Code) {
	count := int(c.d.u16(4))
	switch kind {
	case mirrorAllIngress, mirrorAllEgress:
		return nil, CodeOK
	case mirrorIngress, mirrorEgress, mirrorVLAN:
		if count == 0 || 2*count > len(c.buf) {
			return nil, f.badArgument(c, "%d entries in a buffer of %d bytes", count, len(c.buf))
		}
	default:
		return nil, f.badArgument(c, "rule type %d", kind)
	}
	entries := make([]uint16, count)
	for i := range entries {
		entries[i] = le.Uint16(c.buf[2*i:])
	}
	return entries, CodeOK
}

// deleteMirrorRule is command 0261. A rule for VLANs loses those that are listed, and is gone when none is left.
func deleteMirrorRule(f *Firmware, c *call) Code {
	seid, kind, id := c.d.u16(0), c.d.u16(2), c.d.u16(6)
	i := slices.IndexFunc(f.sw.mirrors, func(r *mirrorRule) bool {
		return r.id == id && r.kind == kind && r.seid == seid
	})
	if i < 0 {
		return CodeNoEnt
	}
	rule := f.sw.mirrors[i]
	if kind == mirrorVLAN {
		gone, code := f.mirrorEntries(c, kind)
		if code != CodeOK {
			return code
		}
		rule.entries = slices.DeleteFunc(rule.entries, func(e uint16) bool { return slices.Contains(gone, e) })
	}
	if kind != mirrorVLAN || len(rule.entries) == 0 {
		f.sw.mirrors = slices.Delete(f.sw.mirrors, i, i+1)
	}
	c.d.put32(0, 0)
	f.mirrorCounts(c)
	f.switchChanged()
	return CodeOK
}

func (f *Firmware) mirrorCounts(c *call) {
	n := len(f.sw.mirrors)
	c.d.put16(4, uint16(n))
	c.d.put16(6, uint16(maxMirrorRules-n))
}

func (s *Switch) freeRule() (uint16, bool) {
	for id := uint16(0); id < maxMirrorRules; id++ {
		if !slices.ContainsFunc(s.mirrors, func(r *mirrorRule) bool { return r.id == id }) {
			return id, true
		}
	}
	return 0, false
}

// mirrorReceived adds the copies of a frame from the wire.
func (s *Switch) mirrorReceived(h *Header, out *Verdict) {
	for _, r := range s.mirrors {
		if r.kind == mirrorAllIngress || r.kind == mirrorVLAN && h.Tagged && slices.Contains(r.entries, h.VLAN()) ||
			r.kind == mirrorIngress && r.names(out.To) {
			out.add(Delivery{VSI: s.vsis[r.to], Queue: unnamedQueue, Why: MatchMirror})
		}
	}
}

// mirrorSent adds the copies of a frame of v.
func (s *Switch) mirrorSent(v *VSI, h *Header, out *Verdict) {
	for _, r := range s.mirrors {
		if r.kind == mirrorAllEgress && out.Wire || r.kind == mirrorEgress && slices.Contains(r.entries, v.SEID) ||
			r.kind == mirrorVLAN && h.Tagged && slices.Contains(r.entries, h.VLAN()) ||
			r.kind == mirrorIngress && r.names(out.To) {
			out.add(Delivery{VSI: s.vsis[r.to], Queue: unnamedQueue, Why: MatchMirror, Loopback: true})
		}
	}
}

func (r *mirrorRule) names(to []Delivery) bool {
	return slices.ContainsFunc(to, func(d Delivery) bool { return slices.Contains(r.entries, d.VSI.SEID) })
}
