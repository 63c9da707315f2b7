package adminq

// Sections of VSI properties, bits of their first word (datasheet, "VSI Properties").
const (
	SectionSwitch   = 0x0001
	SectionSecurity = 0x0002
	SectionVLAN     = 0x0004
	SectionCascade  = 0x0008
	SectionIngress  = 0x0010
	SectionEgress   = 0x0020
	SectionQueueMap = 0x0040
	SectionQueueOpt = 0x0080
	SectionOuterUP  = 0x0100
	SectionSched    = 0x0200

	sectionsKnown = 0x03FF
)

// VSIPropertiesSize is the size of VSI properties. The last 32 bytes are the firmware's.
const (
	VSIPropertiesSize = 128
	vsiSoftwareSize   = 96
)

// span is where a section lies in the properties.
type span struct {
	section  uint16
	from, to int
}

// sectionSpans is the layout of what drivers write.
var sectionSpans = [...]span{
	{SectionSwitch, 2, 6},
	{SectionSecurity, 6, 8},
	{SectionVLAN, 8, 16},
	{SectionIngress, 16, 20},
	{SectionEgress, 20, 24},
	{SectionCascade, 24, 28},
	{SectionQueueMap, 28, 78},
	{SectionQueueOpt, 78, 82},
	{SectionSched, 82, 84},
	{SectionOuterUP, 84, 88},
}

// Flags of the switch and security sections.
const (
	SwitchNotSTag  = 0x1000
	SwitchAllowLB  = 0x2000 // what it sends may be looped back to other VSIs
	SwitchLocalLB  = 0x4000 // and what it sent itself may come back: no source pruning
	switchIDMask   = 0x0FFF
	SecurityDest   = 0x01 // may name destinations
	SecurityVLAN   = 0x02 // VLAN anti-spoof
	SecurityMAC    = 0x04 // MAC anti-spoof
	securityKnown  = 0x07
	portVLANTagged = 0x01 // admits tagged frames
	portVLANPlain  = 0x02 // admits untagged frames
	portVLANInsert = 0x04
	portVLANKnown  = 0x1F
	queueScattered = 0x0001
	queueMask      = 0x07FF
	queueOptLUTVSI = 0x40
	queueOptKnown  = 0x7C
)

// noQueueSet marks a traffic class without queue set.
const noQueueSet = 0xFFFF

// maxLogQueues is the largest power of two of queues in a traffic class: 64. Only the X722 has 128.
const maxLogQueues = 6

// VSIType is what a VSI belongs to.
type VSIType uint8

// The types.
const (
	VSITypeVF VSIType = iota
	VSITypeVMDq2
	VSITypePF
	VSITypeEMP
)

// VSI is a virtual station interface: a port of the embedded switch with queues behind it.
type VSI struct {
	Number uint16 // absolute; queue contexts, RSS tables and statistics go by it
	SEID   uint16
	Uplink uint16 // SEID of the VEB or the port
	Type   VSIType
	VF     int   // of a VF's VSI, as the PF counts; -1 else
	Conn   uint8 // connection type

	props   [VSIPropertiesSize]byte
	base    int // absolute number of the PF's queue 0
	macs    map[macKey]macFilter
	vlans   map[uint16]struct{}
	promisc uint16            // promiscuous flags that hold for every VLAN
	onVLAN  map[uint16]uint16 // and for one
	bw      bandwidth
}

func (v *VSI) u16(at int) uint16       { return le.Uint16(v.props[at:]) }
func (v *VSI) put16(at int, to uint16) { le.PutUint16(v.props[at:], to) }

// Properties returns the 128 bytes that Get VSI answers.
func (v *VSI) Properties() [VSIPropertiesSize]byte { return v.props }

// Security returns the security flags.
func (v *VSI) Security() uint8 { return v.props[6] }

// AllowsLoopback says whether what the VSI sends may reach other VSIs of its VEB.
func (v *VSI) AllowsLoopback() bool { return v.u16(2)&SwitchAllowLB != 0 }

// PrunesSource says whether frames that carry the VSI's own source address are kept from it.
func (v *VSI) PrunesSource() bool { return v.u16(2)&SwitchLocalLB == 0 }

// StatIndex is the index of its counters (GLV_*).
func (v *VSI) StatIndex() uint16 { return v.u16(112) }

// QueueSet is the handle of a traffic class's queue set, which transmit queue contexts name as RDYLIST. ok is false for a
// class that the VSI does not have.
func (v *VSI) QueueSet(tc int) (handle uint16, ok bool) {
	handle = v.u16(96 + 2*tc)
	return handle, handle != noQueueSet
}

// TrafficClasses is the bitmap of classes that have a queue set.
func (v *VSI) TrafficClasses() (bitmap uint8) {
	for tc := range 8 {
		if _, ok := v.QueueSet(tc); ok {
			bitmap |= 1 << tc
		}
	}
	return bitmap
}

// Region is a traffic class's share of the VSI's queues: the first, and how many (a power of two).
func (v *VSI) Region(tc int) (first, count int) {
	m := v.u16(62 + 2*tc)
	return int(m & 0x1FF), 1 << (m >> 9 & 7)
}

// Queue returns the absolute number of the VSI's n-th queue. ok is false when its map has no such queue.
func (v *VSI) Queue(n int) (queue int, ok bool) {
	if n < 0 {
		return 0, false
	}
	if v.u16(28)&queueScattered == 0 {
		return v.base + int(v.u16(30)&queueMask) + n, true
	}
	if n >= 16 {
		return 0, false
	}
	return v.base + int(v.u16(30+2*n)&queueMask), true
}

// RSSTableOfVSI says that the VSI hashes by its own lookup table, not by the PF's.
func (v *VSI) RSSTableOfVSI() bool { return v.props[78]&queueOptLUTVSI != 0 }

// UserPriority is what a user priority is turned into on reception (side Receive, ingress table) or transmission (side
// Send, egress table).
func (v *VSI) UserPriority(table Side, up uint8) uint8 {
	at := 16 // ingress
	if table == Send {
		at = 20
	}
	return uint8(le.Uint32(v.props[at:]) >> (3 * (up & 7)) & 7)
}

// TagMode is what becomes of a received VLAN tag.
type TagMode uint8

// The modes, by the EMOD field of the VLAN section.
const (
	TagStrip         TagMode = iota // strip, report VLAN and priority
	TagStripPriority                // strip, report the priority
	TagStripSilent                  // strip, report nothing
	TagKeep                         // leave it in the frame
)

// TagMode is what the VSI wants done with the VLAN tag of frames that it receives.
func (v *VSI) TagMode() TagMode { return TagMode(v.props[12] >> 3 & 3) }

// PortVLAN is the tag that is put into everything that the VSI sends. ok is false when there is none.
func (v *VSI) PortVLAN() (tci uint16, ok bool) { return v.u16(8), v.props[12]&portVLANInsert != 0 }

// AdmitsTagged and AdmitsUntagged say what the VSI may send.
func (v *VSI) AdmitsTagged() bool { return v.props[12]&portVLANTagged != 0 }

// AdmitsUntagged is AdmitsTagged for frames without tag.
func (v *VSI) AdmitsUntagged() bool { return v.props[12]&portVLANPlain != 0 }

// apply takes over the sections that a driver declares valid.
func (v *VSI) apply(p []byte) {
	valid := le.Uint16(p)
	for _, s := range sectionSpans {
		if valid&s.section != 0 {
			copy(v.props[s.from:s.to], p[s.from:s.to])
		}
	}
	v.put16(0, v.u16(0)|valid)
}

// checkProperties refuses sections that cannot be.
func (f *Firmware) checkProperties(c *call, p []byte, conn uint8) Code {
	valid := le.Uint16(p)
	if valid&^sectionsKnown != 0 {
		return f.badArgument(c, "valid_sections %#04x has unknown bits", valid)
	}
	if valid&SectionSecurity != 0 && p[6]&^securityKnown != 0 {
		return f.badArgument(c, "sec_flags %#02x has unknown bits", p[6])
	}
	if valid&SectionVLAN != 0 && p[12]&^portVLANKnown != 0 {
		return f.badArgument(c, "port_vlan_flags %#02x has unknown bits", p[12])
	}
	if valid&SectionCascade != 0 && conn != connCascaded {
		return f.badArgument(c, "a cascaded port virtualizer section on a connection of type %d", conn)
	}
	if valid&SectionQueueOpt != 0 && p[78]&^queueOptKnown != 0 {
		return f.badArgument(c, "queueing_opt_flags %#02x has unknown bits", p[78])
	}
	if valid&(SectionIngress|SectionEgress|SectionOuterUP) != 0 {
		for _, at := range []int{16, 20, 84} {
			if le.Uint32(p[at:])>>24 != 0 {
				return f.badArgument(c, "a user priority table %#08x has reserved bits", le.Uint32(p[at:]))
			}
		}
	}
	if valid&SectionQueueMap != 0 {
		return f.checkQueueMap(c, p)
	}
	return CodeOK
}

// checkQueueMap bounds what the map names by the PF's queues. Drivers round the size of a class up to a power of two, so
// its end may lie beyond the last queue, but not its start.
func (f *Firmware) checkQueueMap(c *call, p []byte) Code {
	flags := le.Uint16(p[28:])
	if flags&^queueScattered != 0 {
		return f.badArgument(c, "mapping_flags %#04x has unknown bits", flags)
	}
	last := 1
	if flags&queueScattered != 0 {
		last = 16
	}
	for i := range last {
		q := le.Uint16(p[30+2*i:])
		if q&^queueMask != 0 || int(q) >= f.cfg.Queues {
			return f.badArgument(c, "queue_mapping[%d] is %d, the PF has %d queues", i, q, f.cfg.Queues)
		}
	}
	for tc := range 8 {
		m := le.Uint16(p[62+2*tc:])
		first, log := int(m&0x1FF), m>>9&7
		switch {
		case m>>12 != 0:
			return f.badArgument(c, "tc_mapping[%d] %#04x has reserved bits", tc, m)
		case log > maxLogQueues:
			return f.badArgument(c, "tc_mapping[%d] asks for %d queues, a class has at most %d", tc, 1<<log, 1<<maxLogQueues)
		case flags&queueScattered != 0 && first+1<<log > 16:
			return f.badArgument(c, "tc_mapping[%d] reaches queue %d of a map of 16", tc, first+1<<log)
		case flags&queueScattered == 0 && int(le.Uint16(p[30:]))+first >= f.cfg.Queues:
			return f.badArgument(c, "tc_mapping[%d] starts at queue %d, the PF has %d", tc, first, f.cfg.Queues)
		}
	}
	return CodeOK
}

// Connection types of a VSI.
const (
	connRegular  = 1
	connDefault  = 2
	connCascaded = 3
)

// addVSI is command 0210.
func addVSI(f *Firmware, c *call) Code {
	uplink, conn, vf, flags := c.d.u16(0), c.d.Params[2], int(c.d.Params[4]), c.d.u16(6)
	kind := VSIType(flags & 3)
	if flags&^0x7 != 0 || conn < connRegular || conn > connCascaded {
		return f.badArgument(c, "connection type %d, flags %#04x", conn, flags)
	}
	if kind == VSITypeEMP {
		return f.badArgument(c, "a VSI of the management firmware")
	}
	if kind == VSITypeVF && (vf < f.cfg.FirstVF || vf >= f.cfg.FirstVF+f.cfg.VFs) {
		f.violation("%s: command %s: VF %d, the PF's are %d to %d", c.function(f), c.d.Opcode, vf, f.cfg.FirstVF,
			f.cfg.FirstVF+f.cfg.VFs-1)
		return CodeNXIO
	}
	if conn == connCascaded || flags&0x4 != 0 {
		return CodeMode
	}
	if !f.sw.isUplink(uplink) {
		return CodeNoEnt
	}
	if code := f.checkProperties(c, c.buf, conn); code != CodeOK {
		return code
	}
	v := f.sw.newVSI(uplink, kind, conn)
	if v == nil {
		return CodeNoSpc
	}
	if kind == VSITypeVF {
		v.VF = vf - f.cfg.FirstVF
	}
	v.apply(c.buf)
	classes := uint8(1)
	if le.Uint16(c.buf)&SectionSched != 0 && c.buf[82] != 0 {
		classes = c.buf[82]
	}
	if !f.sw.setClasses(v, classes) {
		f.sw.remove(v.SEID)
		return CodeNoSpc
	}
	f.switchChanged()
	return f.replyVSI(c, v)
}

// updateVSI is command 0211.
func updateVSI(f *Firmware, c *call) Code {
	v := f.sw.vsiBySEID(c.d.u16(0))
	if v == nil {
		return CodeNoEnt
	}
	if code := f.checkProperties(c, c.buf, v.Conn); code != CodeOK {
		return code
	}
	v.apply(c.buf)
	f.switchChanged()
	return f.replyVSI(c, v)
}

// getVSI is command 0212.
func getVSI(f *Firmware, c *call) Code {
	v := f.sw.vsiBySEID(c.d.u16(0))
	if v == nil {
		return CodeNoEnt
	}
	return f.replyVSI(c, v)
}

// replyVSI answers with the properties as they are now, and the counts.
func (f *Firmware) replyVSI(c *call, v *VSI) Code {
	code := c.reply(v.props[:])
	if code != CodeOK {
		return code
	}
	c.d.put16(0, v.SEID)
	c.d.put16(2, v.Number)
	c.d.put16(4, uint16(len(f.sw.vsis)))
	c.d.put16(6, uint16(f.cfg.VSIs-len(f.sw.vsis)))
	return CodeOK
}
