package adminq

import (
	"maps"
	"slices"
)

// Sizes of cloud filter elements; the big one has 32 more words of general fields.
const (
	cloudElement    = 64
	cloudBigElement = 128
	cloudBigFlag    = 1
	cloudResult     = 56 // allocation_result
	// The destination port of filters by port: word 15 of the general fields (FV_FLU_0X16_WORD0).
	cloudPortAt = cloudElement + 2*15
)

// Types of cloud filters, bits 5:0 of an element's flags.
const (
	cloudOIP         = 0x01
	cloudIMACIVLAN   = 0x03
	cloudIMACIVLANID = 0x04
	cloudIMACID      = 0x06
	cloudOMAC        = 0x09
	cloudIMAC        = 0x0A
	cloudOMACIDIMAC  = 0x0B
	cloudIIP         = 0x0C
	cloudIPPort      = 0x10
	cloudMACPort     = 0x11
	cloudMACVLANPort = 0x12
	cloudLastCustom  = 0x17

	cloudTypeMask = 0x003F
	cloudToQueue  = 0x0080
	cloudIPv6     = 0x0100
)

// cloudFilter is one filter. Two with the same key are the same.
type cloudFilter struct {
	seid  uint16
	key   [cloudBigElement]byte // the element without queue and result
	queue int
}

func (c *cloudFilter) flags() uint16  { return le.Uint16(c.key[30:]) }
func (c *cloudFilter) kind() uint8    { return uint8(c.flags() & cloudTypeMask) }
func (c *cloudFilter) outerMAC() MAC  { return MAC(c.key[0:6]) }
func (c *cloudFilter) innerMAC() MAC  { return MAC(c.key[6:12]) }
func (c *cloudFilter) vlan() uint16   { return le.Uint16(c.key[12:]) & vlanMask }
func (c *cloudFilter) tenant() uint32 { return le.Uint32(c.key[32:]) }
func (c *cloudFilter) tunnel() uint8  { return uint8(c.flags() >> 9 & 0xF) }

// cloudElements checks a command and returns its elements' size and number.
func (f *Firmware) cloudElements(c *call) (v *VSI, size, count int, code Code) {
	count, size = int(c.d.Params[0]), cloudElement
	if c.d.Params[4]&cloudBigFlag != 0 {
		size = cloudBigElement
	}
	if count == 0 || count*size > len(c.buf) {
		return nil, 0, 0, f.badArgument(c, "%d elements of %d bytes in a buffer of %d", count, size, len(c.buf))
	}
	if v = f.sw.vsiBySEID(c.d.u16(2)); v == nil {
		return nil, 0, 0, CodeNoEnt
	}
	for i := range count {
		e := c.buf[i*size:]
		kind := le.Uint16(e[30:]) & cloudTypeMask
		if !f.sw.cloudTypeExists(uint8(kind)) {
			return nil, 0, 0, f.badArgument(c, "filter type %#02x", kind)
		}
		if q := int(le.Uint16(e[40:]) & queueMask); le.Uint16(e[30:])&cloudToQueue != 0 {
			if _, ok := v.Queue(q); !ok {
				return nil, 0, 0, f.badArgument(c, "to queue %d, which VSI %d does not have", q, v.Number)
			}
		}
	}
	return v, size, count, CodeOK
}

func (s *Switch) cloudTypeExists(kind uint8) bool {
	switch kind {
	case cloudOIP, cloudIMACIVLAN, cloudIMACIVLANID, cloudIMACID, cloudOMAC, cloudIMAC, cloudOMACIDIMAC, cloudIIP:
		return true
	}
	_, replaced := s.types[cloudTypeKey{kind: kind}]
	return replaced || kind >= cloudIPPort && kind <= cloudLastCustom
}

func newCloudFilter(v *VSI, e []byte) *cloudFilter {
	r := &cloudFilter{seid: v.SEID, queue: unnamedQueue}
	copy(r.key[:], e)
	if r.flags()&cloudToQueue != 0 {
		r.queue = int(le.Uint16(e[40:]) & queueMask)
	}
	clear(r.key[40:cloudElement])
	return r
}

// addCloudFilters is command 025C.
func addCloudFilters(f *Firmware, c *call) Code {
	v, size, count, code := f.cloudElements(c)
	if code != CodeOK {
		return code
	}
	result := CodeOK
	for i := range count {
		e := c.buf[i*size : (i+1)*size]
		r := newCloudFilter(v, e)
		e[cloudResult] = 0
		switch {
		case f.sw.cloudIndex(r) >= 0:
			e[cloudResult], result = 0xFF, CodeExist
		case len(f.sw.cloud) >= maxCloud:
			e[cloudResult], result = 0xFF, CodeNoSpc
		default:
			f.sw.cloud = append(f.sw.cloud, r)
		}
	}
	return f.cloudDone(c, result)
}

// removeCloudFilters is command 025D.
func removeCloudFilters(f *Firmware, c *call) Code {
	v, size, count, code := f.cloudElements(c)
	if code != CodeOK {
		return code
	}
	result := CodeOK
	for i := range count {
		e := c.buf[i*size : (i+1)*size]
		e[cloudResult] = 0
		if at := f.sw.cloudIndex(newCloudFilter(v, e)); at >= 0 {
			f.sw.cloud = slices.Delete(f.sw.cloud, at, at+1)
		} else {
			e[cloudResult], result = 0xFF, CodeNoEnt
		}
	}
	return f.cloudDone(c, result)
}

func (f *Firmware) cloudDone(c *call, result Code) Code {
	c.echo()
	n := uint16(len(f.sw.cloud))
	c.d.put16(0, n)
	c.d.put16(2, maxCloud-n)
	c.d.put16(4, uint16(f.sw.vlansUsed()))
	c.d.put16(6, uint16(maxVLANs-f.sw.vlansUsed()))
	f.switchChanged()
	return result
}

// cloudIndex finds a filter with the same key, whatever its VSI: the hardware has one table.
func (s *Switch) cloudIndex(r *cloudFilter) int {
	const ignore = cloudToQueue
	return slices.IndexFunc(s.cloud, func(o *cloudFilter) bool {
		a, b := o.key, r.key
		le.PutUint16(a[30:], o.flags()&^ignore)
		le.PutUint16(b[30:], r.flags()&^ignore)
		return a == b && o.seid == r.seid
	})
}

// cloudTypes are the filter types that were replaced: what they are made of, and what they took the place of.
type cloudTypes map[cloudTypeKey]cloudType

// cloudTypeKey is a type. Those of the first stage (L1) are numbered on their own.
type cloudTypeKey struct {
	l1   bool
	kind uint8
}

type cloudType struct {
	old, flags uint8
	trBit      [2]uint8
	input      [32]byte
}

// Flags of Replace Cloud Filters.
const (
	replaceCloud     = 0x01
	replaceGet       = 0x02
	replaceKnown     = 0x0F
	replaceInputSize = 32
)

// replaceCloudFilters is command 025F: it changes what a filter type compares, or says what it does. A type that is given
// back to itself (old equals new) is as it was. Model: what a replaced type matches depends on field vectors that are
// not documented; filters of such types are kept, but match nothing.
func replaceCloudFilters(f *Firmware, c *call) Code {
	flags, old, fresh := c.d.Params[0], c.d.Params[1], c.d.Params[2]
	if flags&^replaceKnown != 0 {
		return f.badArgument(c, "valid_flags %#02x", flags)
	}
	if flags&replaceGet != 0 {
		return c.reply(f.sw.types.list())
	}
	key := cloudTypeKey{l1: flags&replaceCloud == 0, kind: fresh}
	if old == fresh {
		delete(f.sw.types, key)
		f.switchChanged()
		return c.echo()
	}
	t := cloudType{old: old, flags: flags, trBit: [2]uint8{c.d.Params[3], c.d.Params[4]}}
	copy(t.input[:], c.buf)
	f.sw.types[key] = t
	f.switchChanged()
	return c.echo()
}

// list is what Replace Cloud Filters answers when asked: four bytes for each replaced type.
func (t cloudTypes) list() []byte {
	out := make([]byte, replaceInputSize)
	kinds := slices.SortedFunc(maps.Keys(t), func(a, b cloudTypeKey) int { return int(a.kind) - int(b.kind) })
	for i, key := range kinds[:min(len(kinds), replaceInputSize/4)] {
		in := t[key].input
		copy(out[4*i:], []byte{key.kind, in[0], in[4], in[8]})
	}
	return out
}

// addCloud adds what cloud filters give to VSIs.
func (s *Switch) addCloud(h *Header, out *Verdict) {
	for _, r := range s.cloud {
		if _, replaced := s.types[cloudTypeKey{kind: r.kind()}]; !replaced && r.matches(h) {
			out.add(Delivery{VSI: s.vsis[r.seid], Queue: r.queue, Why: MatchCloud})
		}
	}
}

func (c *cloudFilter) matches(h *Header) bool {
	switch c.kind() {
	case cloudOMAC:
		return h.Dst == c.outerMAC()
	case cloudOIP:
		return h.L3 != nil && c.sameIP(h.L3)
	case cloudIPPort, cloudMACPort, cloudMACVLANPort:
		return c.matchesPort(h)
	}
	t := h.Tunnel
	if t == nil || uint8(t.Kind) != c.tunnel() {
		return false
	}
	id := c.tenant()
	if t.Kind == TunnelGeneve {
		id >>= 8 // DPDK's i40e_fix_up_geneve_vni: the hardware wants it one byte higher
	}
	switch c.kind() {
	case cloudIMACIVLAN:
		return t.InnerDst == c.innerMAC() && t.InnerVLAN == c.vlan()
	case cloudIMACIVLANID:
		return t.InnerDst == c.innerMAC() && t.InnerVLAN == c.vlan() && t.ID == id
	case cloudIMACID:
		return t.InnerDst == c.innerMAC() && t.ID == id
	case cloudIMAC:
		return t.InnerDst == c.innerMAC()
	case cloudOMACIDIMAC:
		return h.Dst == c.outerMAC() && t.InnerDst == c.innerMAC() && t.ID == id
	case cloudIIP:
		return t.Inner != nil && c.sameIP(t.Inner)
	}
	return false
}

func (c *cloudFilter) matchesPort(h *Header) bool {
	if h.L3 == nil || h.L3.DstPort != le.Uint16(c.key[cloudPortAt:]) {
		return false
	}
	switch c.kind() {
	case cloudIPPort:
		return c.sameIP(h.L3)
	case cloudMACPort:
		return h.Dst == c.outerMAC()
	}
	return h.Dst == c.outerMAC() && h.Tagged && h.VLAN() == c.vlan()
}

// sameIP compares an address, which elements hold least significant byte first. The words of an IPv6 address are in
// reverse order with Linux and in order with DPDK; the silicon's order is not documented, so both are taken.
func (c *cloudFilter) sameIP(l *L3) bool {
	if l.IPv6 != (c.flags()&cloudIPv6 != 0) {
		return false
	}
	field := c.key[14:30]
	var reversed, swapped [16]byte
	for i := range 16 {
		reversed[i] = l.Dst[15-i]
		swapped[i] = l.Dst[i/4*4+3-i%4]
	}
	if !l.IPv6 {
		return slices.Equal(field[12:], swapped[12:])
	}
	return slices.Equal(field, reversed[:]) || slices.Equal(field, swapped[:])
}
