package adminq

import "slices"

// Flags of control packet filters.
const (
	controlIgnoreMAC = 0x01
	controlDrop      = 0x02
	controlToQueue   = 0x04
	controlTx        = 0x08
	controlKnown     = 0x0F
)

// controlFilter sends frames of an EtherType, with or without a destination address, somewhere or nowhere.
type controlFilter struct {
	mac   MAC
	etype uint16
	flags uint16
	seid  uint16
	queue uint16
}

func (c *controlFilter) target() int {
	if c.flags&controlToQueue != 0 {
		return int(c.queue)
	}
	return unnamedQueue
}

func (c *controlFilter) same(o *controlFilter) bool {
	const what = controlIgnoreMAC | controlTx
	return c.etype == o.etype && c.flags&what == o.flags&what && (c.flags&controlIgnoreMAC != 0 || c.mac == o.mac)
}

// controlMatch returns the filter for a frame, one with an address before one without.
func (s *Switch) controlMatch(h *Header, sent bool) *controlFilter {
	var found *controlFilter
	for i := range s.control {
		c := &s.control[i]
		if c.etype != h.EtherType || (c.flags&controlTx != 0) != sent {
			continue
		}
		if c.flags&controlIgnoreMAC == 0 {
			if c.mac == h.Dst {
				return c
			}
		} else if found == nil {
			found = c
		}
	}
	return found
}

func decodeControl(d *Descriptor) controlFilter {
	return controlFilter{
		mac: MAC(d.Params[0:6]), etype: d.u16(6), flags: d.u16(8), seid: d.u16(10) & seidMask, queue: d.u16(12),
	}
}

func (f *Firmware) checkControl(c *call, r *controlFilter) Code {
	const conflict = controlDrop | controlToQueue
	if r.flags&^controlKnown != 0 || r.flags&conflict == conflict {
		return f.badArgument(c, "flags %#04x", r.flags)
	}
	// Below 1536 the field is a length, not a type (IEEE 802.3 3.2.6).
	if r.etype < 1536 {
		return f.badArgument(c, "EtherType %#04x", r.etype)
	}
	v := f.sw.vsiBySEID(r.seid)
	if v == nil {
		return CodeNoEnt
	}
	if _, ok := v.Queue(int(r.queue)); r.flags&controlToQueue != 0 && !ok {
		return f.badArgument(c, "to queue %d, which VSI %d does not have", r.queue, v.Number)
	}
	return CodeOK
}

// addControlFilter is command 025A.
func addControlFilter(f *Firmware, c *call) Code {
	r := decodeControl(c.d)
	if code := f.checkControl(c, &r); code != CodeOK {
		return code
	}
	if slices.ContainsFunc(f.sw.control, func(o controlFilter) bool { return o.same(&r) }) {
		return CodeExist
	}
	plain, withMAC := f.sw.controlUsed()
	if r.flags&controlIgnoreMAC != 0 && plain >= maxEtypes || r.flags&controlIgnoreMAC == 0 && withMAC >= maxEtypes {
		f.controlCounts(c)
		return CodeNoSpc
	}
	f.sw.control = append(f.sw.control, r)
	f.controlCounts(c)
	f.switchChanged()
	return CodeOK
}

// removeControlFilter is command 025B.
func removeControlFilter(f *Firmware, c *call) Code {
	r := decodeControl(c.d)
	i := slices.IndexFunc(f.sw.control, func(o controlFilter) bool { return o.same(&r) && o.seid == r.seid })
	if i < 0 {
		return CodeNoEnt
	}
	f.sw.control = slices.Delete(f.sw.control, i, i+1)
	f.controlCounts(c)
	f.switchChanged()
	return CodeOK
}

func (s *Switch) controlUsed() (plain, withMAC int) {
	for i := range s.control {
		if s.control[i].flags&controlIgnoreMAC != 0 {
			plain++
		} else {
			withMAC++
		}
	}
	return plain, withMAC
}

func (f *Firmware) controlCounts(c *call) {
	plain, withMAC := f.sw.controlUsed()
	c.d.zeroFrom(0, 16)
	c.d.put16(0, uint16(withMAC))
	c.d.put16(2, uint16(plain))
	c.d.put16(4, uint16(maxEtypes-withMAC))
	c.d.put16(6, uint16(maxEtypes-plain))
}
