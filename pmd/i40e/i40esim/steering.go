package i40esim

import (
	"encoding/binary"

	"weft/pmd/i40e/i40esim/adminq"
	"weft/pmd/i40e/i40esim/frame"
	"weft/pmd/i40e/i40esim/lan"
)

// Fields of the filter registers.
const (
	hashTableLarge  = 1 << 16 // PFQF_CTL_0.HASHLUTSIZE
	fdEnable        = 1 << 17 // PFQF_CTL_0.FD_ENA
	hashEntryPF     = 0x3F
	hashEntryVF     = 0xF
	hashToeplitz    = 1 << 1 // GLQF_CTL.HTOEP
	hashSymmetric   = 1 << 0 // PRTQF_CTL_0.HSYM_ENA, GLQF_HSYM.SYMH_ENA
	queueTableOn    = 1 << 11
	hashMasks       = 2 // mask registers of a classifier type
	maskOffsetShift = 16
)

// steering is what decides where frames go, beside the firmware's switch and the registers.
type steering struct {
	parser frame.Parser
	tx     lan.TxSettings
}

// flowDirector are the exact-match filters of the card.
type flowDirector struct{ table *lan.FlowDirector }

// Receive takes a frame from the wire, without frame check sequence. It borrows it.
func (d *Device) Receive(b []byte) {
	d.lock()
	defer d.unlock()
	if d.link.up && !d.reset.active && d.fw.Loopback() == 0 {
		d.receive(b)
	}
}

// receive is a frame that the MAC takes in.
func (c *card) receive(b []byte) {
	port := c.port()
	switch {
	case len(b) < frame.MinLen:
		c.count("GLPRT_RUC", 1, port)
		return
	case len(b)+lan.CRCLen > c.fw.FrameLimit():
		c.count("GLPRT_ROC", 1, port)
		return
	}
	c.countPort(b, received)
	p := c.parse(b)
	verdict := c.fw.Switch().Receive(&p.header)
	for i := range verdict.To {
		c.deliver(&verdict.To[i], &p)
	}
}

// parsed is a frame with what was found out about it.
type parsed struct {
	b      []byte
	layers frame.Layers
	header adminq.Header
	cast   lan.Cast
}

// parse fills in what the switch looks at.
func (c *card) parse(b []byte) parsed {
	p := parsed{b: b, layers: c.parseLayers(b)}
	h, l := &p.header, &p.layers
	copy(h.Dst[:], b)
	copy(h.Src[:], b[6:])
	h.EtherType = l.L2.EtherType
	if l.L2.NumTags > 0 && c.isVLAN(l.L2.Tags[0].TPID) {
		h.Tagged, h.TCI = true, l.L2.Tags[0].TCI
	}
	h.L3 = layer3(b, l)
	if l.Tunnel != frame.TunnelNone {
		t := &adminq.Tunnel{ID: l.TunnelID, Inner: h.L3, Kind: c.tunnelKind(b, l)}
		if l.InnerL2.Len > 0 {
			copy(t.InnerDst[:], b[l.InnerL2.Offset:])
			if l.InnerL2.NumTags > 0 {
				t.InnerVLAN = l.InnerL2.Tags[0].TCI & 0xFFF
			}
		}
		h.Tunnel = t
	}
	switch {
	case h.Dst == adminq.MAC{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}:
		p.cast = lan.Broadcast
	case h.Dst[0]&1 != 0:
		p.cast = lan.Multicast
	}
	return p
}

// isVLAN says whether the port takes a tag of an EtherType as a VLAN tag.
func (c *card) isVLAN(tpid uint16) bool {
	outer, inner, double := c.fw.Switch().VLANTypes()
	return tpid == inner || double && tpid == outer
}

func layer3(b []byte, l *frame.Layers) *adminq.L3 {
	if l.IP.Version == 0 {
		return nil
	}
	out := &adminq.L3{IPv6: l.IP.Version == 6, Protocol: l.L4.Protocol, SrcPort: l.L4.SrcPort, DstPort: l.L4.DstPort}
	if out.IPv6 {
		copy(out.Dst[:], b[l.IP.Offset+24:])
	} else {
		copy(out.Dst[12:], b[l.IP.Offset+16:l.IP.Offset+20])
	}
	return out
}

func (c *card) tunnelKind(b []byte, l *frame.Layers) adminq.TunnelKind {
	switch {
	case l.Tunnel == frame.TunnelIPIP:
		return adminq.TunnelIP
	case l.OuterUDP == 0:
		return adminq.TunnelNVGRE
	}
	kind, _ := c.fw.Switch().TunnelPort(binary.BigEndian.Uint16(b[l.OuterUDP+2:]))
	return kind
}

// deliver gives one VSI its copy of a frame.
func (c *card) deliver(d *adminq.Delivery, p *parsed) {
	v := d.VSI
	c.countVSI(v, p, received)
	meta := lan.RxMeta{Layers: p.layers, Cast: p.cast, Loopback: d.Loopback, TagMode: lan.TagMode(v.TagMode())}
	if d.Why == adminq.MatchMirror {
		meta.Cast = lan.Mirrored
	}
	if p.header.Tagged {
		meta.Strip = 1
	}
	n, drop := c.chooseQueue(v, d.Queue, p, &meta)
	if drop {
		return
	}
	c.ptp.received(c, p, &meta)
	q := c.queueOf(v, n)
	verdict := lan.Stopped
	if q != nil && q.running() {
		q.use("receives")
		verdict = q.rxq.Deliver(p.b, &meta)
	}
	switch verdict {
	case lan.Received:
	case lan.NoDescriptors, lan.Stopped:
		// Not in GLPRT_RDPC, too: that is for a full packet buffer, and DPDK adds the two.
		c.count("GLV_RDPC", 1, uint32(v.StatIndex()))
	case lan.Oversize:
		c.count48("GL_RXERR1", 1, c.errorIndex(v))
	}
}

// errorIndex is where a VSI's receive errors count: behind those of 128 VFs, by port, for the PF.
func (c *card) errorIndex(v *adminq.VSI) uint32 {
	if v.VF >= 0 {
		return uint32(v.VF)
	}
	return 128 + c.port()
}

// chooseQueue is the VSI's queue for a frame: the one that a filter names, else by traffic class and RSS.
func (c *card) chooseQueue(v *adminq.VSI, named int, p *parsed, meta *lan.RxMeta) (n int, drop bool) {
	fields := p.layers.Fields(p.b)
	if named < 0 {
		named, drop = c.directFlow(v, p, &fields, meta)
		if drop {
			return 0, true
		}
	}
	tc := 0
	if p.header.Tagged {
		up := v.UserPriority(adminq.Receive, uint8(p.header.TCI>>13))
		tc = int(c.get("PRTDCB_RUP2TC") >> (3 * up) & 7)
	}
	first, count := v.Region(tc)
	n = first
	if c.hash(v, p, fields, meta) {
		n = first + int(c.hashEntry(v, meta.Hash))&(count-1)
	}
	if named >= 0 {
		n = named
	}
	return n, false
}

// directFlow asks the flow director; -1 means that no filter names a queue.
func (c *card) directFlow(
	v *adminq.VSI, p *parsed, fields *frame.FieldVector, meta *lan.RxMeta,
) (queue int, drop bool) {
	if c.fdir.table.Len() == 0 || c.get("PFQF_CTL_0")&fdEnable == 0 {
		return -1, false
	}
	t := p.layers.PCType()
	f, found := c.fdir.table.Lookup(t, v.Number, fields, c.fdirInputSet(t))
	if !found {
		return -1, false
	}
	if f.Count {
		c.count("GLQF_PCNT", 1, uint32(f.Counter))
	}
	meta.Filtered, meta.ReportID, meta.FilterID = true, f.Report == lan.ReportID, f.ID
	switch f.Dest {
	case lan.DestDrop:
		return 0, true
	case lan.DestQueue:
		return int(f.Queue), false
	case lan.DestOther:
	}
	return -1, false
}

func (c *card) fdirInputSet(t frame.PCType) frame.InputSet {
	return frame.InputSet(c.get("PRTQF_FD_INSET", uint32(t), 1))<<32 |
		frame.InputSet(c.get("PRTQF_FD_INSET", uint32(t), 0))
}

// programFilter does what a filter programming descriptor asks. What fails is told to the receive queue of the same
// index.
func (c *card) programFilter(q *queue, f lan.FilterProgram, b []byte) {
	layers := c.parseLayers(b)
	fields := layers.Fields(b)
	status := c.fdir.table.Program(&f, &fields, c.fdirInputSet(f.PCType))
	c.showFilters()
	if rx := c.rx[q.index]; status != lan.Programmed && rx.running() {
		rx.rxq.PostProgramStatus(f.ID, status)
	}
}

// showFilters updates the counts of filters: guaranteed space is used first.
func (c *card) showFilters() {
	n := uint32(c.fdir.table.Len())
	guaranteed := min(n, fdGuaranteed)
	c.set("PFQF_FDSTAT", guaranteed|(n-guaranteed)<<16)
	c.set("GLQF_FDCNT_0", guaranteed|(n-guaranteed)<<13)
}

// hash computes the RSS hash, if the frame's classifier type is enabled for the VSI.
func (c *card) hash(v *adminq.VSI, p *parsed, fields frame.FieldVector, meta *lan.RxMeta) bool {
	t := uint32(p.layers.PCType())
	enabled := c.get("PFQF_HENA", t/32)
	if v.VF >= 0 {
		enabled = c.get("VFQF_HENA1", t/32, uint32(v.VF))
	}
	if enabled>>(t%32)&1 == 0 {
		return false
	}
	set := frame.InputSet(c.get("GLQF_HASH_INSET", 1, t))<<32 | frame.InputSet(c.get("GLQF_HASH_INSET", 0, t))
	if c.get("PRTQF_CTL_0")&hashSymmetric != 0 && c.get("GLQF_HSYM", t)&hashSymmetric != 0 {
		for i := range uint32(2) {
			swap(&fields, c.get("GLQF_SWAP", i, t))
		}
	}
	for i := range uint32(hashMasks) {
		m := c.get("GLQF_HASH_MSK", i, t)
		fields[m>>maskOffsetShift&0x3F] &^= uint16(m)
	}
	meta.HashValid = true
	if c.get("GLQF_CTL")&hashToeplitz == 0 {
		meta.Hash = simpleHash(fields.Select(nil, set))
		return true
	}
	key := c.hashKey(v)
	meta.Hash = fields.Hash(key[:], set)
	return true
}

// swap makes two pairs of fields equal for both directions of a flow (datasheet, "Symmetric hash").
func swap(fields *frame.FieldVector, reg uint32) {
	for ; reg != 0; reg >>= 16 {
		a, b, n := int(reg&0x3F), int(reg>>6&0x3F), int(reg>>12&0xF)
		for i := range n {
			if a+i < len(fields) && b+i < len(fields) {
				v := fields[a+i] ^ fields[b+i]
				fields[a+i], fields[b+i] = v, v
			}
		}
	}
}

// simpleHash is the hash when GLQF_CTL.HTOEP is clear: the exclusive or of the input's 32-bit words.
func simpleHash(b []byte) uint32 {
	var sum uint32
	for len(b) >= 4 {
		sum ^= binary.BigEndian.Uint32(b)
		b = b[4:]
	}
	if len(b) >= 2 {
		sum ^= uint32(binary.BigEndian.Uint16(b)) << 16
	}
	return sum
}

func (c *card) hashKey(v *adminq.VSI) (key [frame.HashKeyLen]byte) {
	for i := range uint32(frame.HashKeyLen / 4) {
		word := c.get("PFQF_HKEY", i)
		if v.VF >= 0 {
			word = c.get("VFQF_HKEY1", i, uint32(v.VF))
		}
		binary.LittleEndian.PutUint32(key[4*i:], word)
	}
	return key
}

// hashEntry looks the hash up in the VSI's table.
func (c *card) hashEntry(v *adminq.VSI, hash uint32) uint32 {
	if v.VF >= 0 {
		i := hash & 63
		return c.get("VFQF_HLUT1", i/4, uint32(v.VF)) >> (8 * (i % 4)) & hashEntryVF
	}
	i := hash & 127
	if c.get("PFQF_CTL_0")&hashTableLarge != 0 {
		i = hash & 511
	}
	return c.get("PFQF_HLUT", i/4) >> (8 * (i % 4)) & hashEntryPF
}

// queueOf is the PF's queue behind queue n of a VSI; nil when there is none.
func (c *card) queueOf(v *adminq.VSI, n int) *queue {
	var index int
	if c.get("VSILAN_QBASE", uint32(v.Number))&queueTableOn != 0 {
		if n >= 16 {
			return nil
		}
		pair := c.get("VSILAN_QTABLE", uint32(n/2), uint32(v.Number))
		index = int(pair >> (16 * (n % 2)) & queueNone)
	} else {
		absolute, ok := v.Queue(n)
		if !ok {
			return nil
		}
		index = absolute - c.cfg.Card.FirstQueue
	}
	if index < 0 || index >= len(c.rx) {
		return nil
	}
	return c.rx[index]
}

// parseLayers finds the headers of a frame, behind the UDP tunnels that the firmware knows, too.
func (c *card) parseLayers(b []byte) frame.Layers {
	l := c.steering.parser.Parse(b)
	if l.L4.Protocol != frame.ProtoUDP {
		return l
	}
	kind, known := c.fw.Switch().TunnelPort(l.L4.DstPort)
	if !known {
		return l
	}
	udp := map[adminq.TunnelKind]frame.UDPTunnel{
		adminq.TunnelVXLAN: frame.UDPTunnelVXLAN, adminq.TunnelGeneve: frame.UDPTunnelGeneve,
		adminq.TunnelVXLANGPE: frame.UDPTunnelVXLANGPE,
	}[kind]
	tunnel := frame.Parser{UDPPorts: map[uint16]frame.UDPTunnel{l.L4.DstPort: udp}}
	return tunnel.Parse(b)
}
