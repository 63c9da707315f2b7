package adminq

// Element types of Get Switch Configuration.
const (
	elementVEB = 17
	elementVSI = 19
)

const (
	elementSize   = 16
	elementRev    = 1
	vebFloating   = 0x01
	vebDefault    = 0x02
	vebData       = 0x04
	vebL2Filter   = 0x08 // of old firmware
	vebNoStats    = 0x10
	vebFlagsKnown = 0x1F
)

// getSwitchConfig is command 0200: VEBs and VSIs from a SEID on. After a reset that is the PF's one VSI, which is what
// drivers expect. What does not fit is for another call, from the SEID in the reply.
func getSwitchConfig(f *Firmware, c *call) Code {
	var elements [][elementSize]byte
	for _, veb := range f.sw.VEBs() {
		elements = append(elements, element(elementVEB, veb.SEID, veb.Uplink, f.firstBelow(veb.SEID), connRegular))
	}
	for _, v := range f.sw.VSIs() {
		elements = append(elements, element(elementVSI, v.SEID, v.Uplink, seidPF, v.Conn))
	}
	start := c.d.u16(0)
	total := len(elements)
	for start != 0 && len(elements) > 0 && le.Uint16(elements[0][2:]) != start {
		elements = elements[1:]
	}
	if start != 0 && len(elements) == 0 {
		return CodeNoEnt
	}
	fit := min(len(elements), len(c.buf)/elementSize-1)
	out := make([]byte, elementSize, elementSize*(1+fit))
	le.PutUint16(out[0:], uint16(fit))
	le.PutUint16(out[2:], uint16(total))
	for _, e := range elements[:fit] {
		out = append(out, e[:]...)
	}
	next := uint16(0)
	if fit < len(elements) {
		next = le.Uint16(elements[fit][2:])
	}
	c.d.put16(0, next)
	return c.reply(out)
}

func (f *Firmware) firstBelow(seid uint16) uint16 {
	if below := f.sw.below(seid); len(below) > 0 {
		return below[0].SEID
	}
	return 0
}

func element(kind uint8, seid, uplink, downlink uint16, conn uint8) (e [elementSize]byte) {
	e[0], e[1] = kind, elementRev
	le.PutUint16(e[2:], seid)
	le.PutUint16(e[4:], uplink)
	le.PutUint16(e[6:], downlink)
	e[11] = conn
	return e
}

// addVEB is command 0230. A VEB goes between the port and a VSI, or floats without uplink.
func addVEB(f *Firmware, c *call) Code {
	uplink, downlink, flags, classes := c.d.u16(0), c.d.u16(2), c.d.u16(4), c.d.Params[6]
	floating := flags&vebFloating != 0
	if flags&^vebFlagsKnown != 0 || floating != (uplink == 0) || floating != (downlink == 0) {
		return f.badArgument(c, "uplink %d, downlink %d, flags %#04x", uplink, downlink, flags)
	}
	if classes == 0 {
		return f.badArgument(c, "no traffic class")
	}
	var below *VSI
	if !floating {
		below = f.sw.vsiBySEID(downlink)
		if !f.sw.isUplink(uplink) || below == nil || below.Uplink != uplink {
			return CodeNoEnt
		}
	}
	index, ok := f.sw.freeVEB()
	if !ok {
		c.d.put16(8, vebErrNoVEB)
		return CodeNoSpc
	}
	veb := &VEB{
		SEID: uint16(firstVEB + index), Uplink: uplink, StatIndex: uint16(index), Floating: floating,
		NoStats: flags&vebNoStats != 0, Default: flags&vebDefault != 0, Classes: classes, index: index,
		comp: newComponent(),
	}
	veb.comp.classes = classes
	f.sw.vebs[veb.SEID] = veb
	if below != nil {
		below.Uplink = veb.SEID
	}
	c.d.zeroFrom(0, 16)
	c.d.put16(6, uint16(index))
	c.d.put16(8, veb.SEID)
	f.vebCounts(c, 10, veb)
	f.switchChanged()
	return CodeOK
}

// vebErrNoVEB says in place of the SEID what was lacking.
const vebErrNoVEB = 1

func (f *Firmware) vebCounts(c *call, at int, veb *VEB) {
	c.d.put16(at, veb.StatIndex)
	c.d.put16(at+2, uint16(len(f.sw.vebs)))
	c.d.put16(at+4, uint16(maxVEBs-len(f.sw.vebs)))
}

func (s *Switch) freeVEB() (int, bool) {
	for i := range maxVEBs {
		if s.vebs[uint16(firstVEB+i)] == nil {
			return i, true
		}
	}
	return 0, false
}

// getVEB is command 0232.
func getVEB(f *Firmware, c *call) Code {
	veb := f.sw.vebs[c.d.u16(0)&seidMask]
	if veb == nil {
		return CodeNoEnt
	}
	flags := uint16(0)
	if veb.Floating {
		flags |= vebFloating
	}
	if veb.NoStats {
		flags |= vebNoStats
	}
	c.d.zeroFrom(0, 16)
	c.d.put16(0, veb.SEID)
	c.d.put16(2, uint16(veb.index))
	c.d.put16(4, flags)
	f.vebCounts(c, 6, veb)
	return CodeOK
}

// deleteElement is command 0243. The PF's own VSI stays for ever. A VEB goes once at most one VSI is below it, which then
// takes its place.
func deleteElement(f *Firmware, c *call) Code {
	seid := c.d.u16(0) & seidMask
	switch {
	case f.sw.vsis[seid] == f.sw.main && f.sw.main.SEID == seid:
		return f.badArgument(c, "the PF's own VSI %d", seid)
	case f.sw.vsis[seid] != nil:
	case f.sw.vebs[seid] != nil:
		below := f.sw.below(seid)
		if len(below) > 1 {
			return CodeBusy
		}
		for _, v := range below {
			if f.sw.vebs[seid].Floating {
				return CodeBusy
			}
			v.Uplink = f.sw.vebs[seid].Uplink
		}
	default:
		return CodeNoEnt
	}
	f.sw.remove(seid)
	f.switchChanged()
	return CodeOK
}
