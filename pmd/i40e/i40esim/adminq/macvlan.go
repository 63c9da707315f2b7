package adminq

// macKey is what a MAC/VLAN filter compares.
type macKey struct {
	mac     MAC
	vlan    uint16
	anyVLAN bool
	hash    bool
}

// macFilter is what it does.
type macFilter struct {
	queue int // of the VSI; -1 when not named
}

// Flags of Add and Remove MAC-VLAN.
const (
	macAddPerfect    = 0x01
	macAddHash       = 0x02
	macAddIgnoreVLAN = 0x04
	macAddToQueue    = 0x08
	macAddShared     = 0x10
	macAddKnown      = 0x1F

	macDelPerfect    = 0x01
	macDelHash       = 0x02
	macDelIgnoreVLAN = 0x08
	macDelAllVSIs    = 0x10
	macDelKnown      = 0x1B

	matchNone = 0xFF // match_method: no resources

	seidValid      = 0x8000
	macElementSize = 16
	vlanElement    = 8
)

// targets are the VSIs that a filter command names, up to three.
func (f *Firmware) targets(c *call, size int) ([]*VSI, int, Code) {
	count := int(c.d.u16(0))
	if count == 0 || count*size > len(c.buf) {
		return nil, 0, f.badArgument(c, "%d elements of %d bytes in a buffer of %d", count, size, len(c.buf))
	}
	var vsis []*VSI
	for at := 2; at < 8; at += 2 {
		seid := c.d.u16(at)
		if seid&seidValid == 0 {
			if at == 2 {
				return nil, 0, f.badArgument(c, "SEID %#04x is not marked valid", seid)
			}
			continue
		}
		v := f.sw.vsiBySEID(seid)
		if v == nil {
			return nil, 0, CodeNoEnt
		}
		vsis = append(vsis, v)
	}
	return vsis, count, CodeOK
}

// addMACVLAN is command 0250. Each element is told how it is matched, or that there was no room; what fits is added even
// when something else does not.
func addMACVLAN(f *Firmware, c *call) Code {
	vsis, count, code := f.targets(c, macElementSize)
	if code != CodeOK {
		return code
	}
	for i := range count {
		if code := f.checkAddMAC(c, c.buf[i*macElementSize:], vsis); code != CodeOK {
			return code
		}
	}
	result := CodeOK
	for i := range count {
		e := c.buf[i*macElementSize : (i+1)*macElementSize]
		e[12] = f.sw.addMAC(vsis, e)
		if e[12] == matchNone {
			result = CodeNoSpc
		}
	}
	c.echo()
	f.macCounts(c)
	f.switchChanged()
	return result
}

func (f *Firmware) checkAddMAC(c *call, e []byte, vsis []*VSI) Code {
	mac, vlan, flags, queue := MAC(e[:6]), le.Uint16(e[6:]), le.Uint16(e[8:]), le.Uint16(e[10:])
	method := flags & (macAddPerfect | macAddHash)
	if flags&^macAddKnown != 0 || method == 0 || method == macAddPerfect|macAddHash {
		return f.badArgument(c, "%s: flags %#04x", mac, flags)
	}
	if vlan > vlanMask {
		return f.badArgument(c, "%s: VLAN %d", mac, vlan)
	}
	if mac.zero() {
		return f.badArgument(c, "the zero address")
	}
	if flags&macAddToQueue != 0 {
		for _, v := range vsis {
			if _, ok := v.Queue(int(queue & queueMask)); !ok {
				return f.badArgument(c, "%s: to queue %d, which VSI %d does not have", mac, queue, v.Number)
			}
		}
	}
	return CodeOK
}

// addMAC adds one filter to each of vsis and returns the match method.
func (s *Switch) addMAC(vsis []*VSI, e []byte) uint8 {
	flags := le.Uint16(e[8:])
	key := macKey{mac: MAC(e[:6]), anyVLAN: flags&macAddIgnoreVLAN != 0, hash: flags&macAddHash != 0}
	if !key.anyVLAN {
		key.vlan = le.Uint16(e[6:])
	}
	filter := macFilter{queue: -1}
	if flags&macAddToQueue != 0 {
		filter.queue = int(le.Uint16(e[10:]) & queueMask)
	}
	for _, v := range vsis {
		if _, has := v.macs[key]; !has && s.free(key) == 0 {
			return matchNone
		}
		v.macs[key] = filter
	}
	if key.hash {
		return macAddHash
	}
	return macAddPerfect
}

// used counts filters: perfect ones, unicast and multicast hashes.
func (s *Switch) used() (perfect, unicast, multicast int) {
	for _, v := range s.vsis {
		for key := range v.macs {
			switch {
			case !key.hash:
				perfect++
			case key.mac.multicast():
				multicast++
			default:
				unicast++
			}
		}
	}
	return perfect, unicast, multicast
}

// free is how many more filters like key there may be.
func (s *Switch) free(key macKey) int {
	perfect, unicast, multicast := s.used()
	switch {
	case !key.hash:
		return maxMACFilters - perfect
	case key.mac.multicast():
		return maxHashFilters - multicast
	}
	return maxHashFilters - unicast
}

func (f *Firmware) macCounts(c *call) {
	perfect, unicast, multicast := f.sw.used()
	c.d.put16(0, uint16(perfect))
	c.d.put16(2, uint16(maxMACFilters-perfect))
	c.d.put16(4, uint16(maxHashFilters-unicast))
	c.d.put16(6, uint16(maxHashFilters-multicast))
}

// removeMACVLAN is command 0251. An element that names no filter is marked and makes the command fail, but the others are
// removed.
func removeMACVLAN(f *Firmware, c *call) Code {
	vsis, count, code := f.targets(c, macElementSize)
	if code != CodeOK {
		return code
	}
	for i := range count {
		e := c.buf[i*macElementSize:]
		method := e[8] & (macDelPerfect | macDelHash)
		if e[8]&^macDelKnown != 0 || method == 0 || method == macDelPerfect|macDelHash || le.Uint16(e[6:]) > vlanMask {
			return f.badArgument(c, "%s: VLAN %d, flags %#02x", MAC(e[:6]), le.Uint16(e[6:]), e[8])
		}
	}
	result := CodeOK
	for i := range count {
		e := c.buf[i*macElementSize : (i+1)*macElementSize]
		e[12] = f.sw.removeMAC(vsis, e)
		if e[12] != 0 {
			result = CodeNoEnt
		}
	}
	c.echo()
	f.macCounts(c)
	f.switchChanged()
	return result
}

func (s *Switch) removeMAC(vsis []*VSI, e []byte) uint8 {
	key := macKey{mac: MAC(e[:6]), anyVLAN: e[8]&macDelIgnoreVLAN != 0, hash: e[8]&macDelHash != 0}
	if !key.anyVLAN {
		key.vlan = le.Uint16(e[6:])
	}
	if e[8]&macDelAllVSIs != 0 {
		vsis = s.VSIs()
	}
	found := false
	for _, v := range vsis {
		if _, has := v.macs[key]; has {
			delete(v.macs, key)
			found = true
		}
	}
	if !found {
		return 0xFF
	}
	return 0
}

// Results and flags of Add and Remove VLAN.
const (
	vlanFlagsKnown  = 0x1F
	vlanPrivate     = 0x1E // types other than regular
	vlanFailRequest = 0xFE
	vlanFailNoRes   = 0xFF
	vlanRemoveAll   = 0x01
)

// addVLAN is command 0252: VLANs that a VSI is a member of.
func addVLAN(f *Firmware, c *call) Code {
	vsis, count, code := f.targets(c, vlanElement)
	if code != CodeOK {
		return code
	}
	result := CodeOK
	for i := range count {
		e := c.buf[i*vlanElement:]
		tag := le.Uint16(e)
		if tag > vlanMask || e[2]&^vlanFlagsKnown != 0 {
			return f.badArgument(c, "VLAN %d, flags %#02x", tag, e[2])
		}
		e[4] = 0
		for _, v := range vsis {
			if r := f.sw.joinVLAN(v, tag, e[2]); r != 0 {
				e[4] = r
				result = CodeNoSpc
			}
		}
	}
	c.echo()
	f.vlanCounts(c)
	f.switchChanged()
	return result
}

func (s *Switch) joinVLAN(v *VSI, tag uint16, flags uint8) uint8 {
	if flags&vlanPrivate != 0 {
		return vlanFailRequest // Model: private VLANs need a mode that nobody turns on
	}
	if _, member := v.vlans[tag]; !member && s.vlansUsed() >= maxVLANs {
		return vlanFailNoRes
	}
	v.vlans[tag] = struct{}{}
	return 0
}

func (s *Switch) vlansUsed() (n int) {
	for _, v := range s.vsis {
		n += len(v.vlans)
	}
	return n
}

func (f *Firmware) vlanCounts(c *call) {
	n := f.sw.vlansUsed()
	c.d.zeroFrom(0, 4)
	c.d.put16(4, uint16(n))
	c.d.put16(6, uint16(maxVLANs-n))
}

// removeVLAN is command 0253.
func removeVLAN(f *Firmware, c *call) Code {
	vsis, count, code := f.targets(c, vlanElement)
	if code != CodeOK {
		return code
	}
	result := CodeOK
	for i := range count {
		e := c.buf[i*vlanElement:]
		tag := le.Uint16(e)
		if tag > vlanMask {
			return f.badArgument(c, "VLAN %d", tag)
		}
		e[4] = 0
		for _, v := range vsis {
			if e[2]&vlanRemoveAll != 0 {
				clear(v.vlans)
			} else if _, member := v.vlans[tag]; member {
				delete(v.vlans, tag)
			} else {
				e[4] = 0xFF
				result = CodeNoEnt
			}
		}
	}
	c.echo()
	f.vlanCounts(c)
	f.switchChanged()
	return result
}

// Promiscuous flags (0254).
const (
	promiscUnicast   = 0x0001
	promiscMulticast = 0x0002
	promiscBroadcast = 0x0004
	promiscDefault   = 0x0008
	promiscVLAN      = 0x0010
	promiscRxOnly    = 0x8000
	promiscKnown     = 0x801F
	promiscPerVLAN   = promiscUnicast | promiscMulticast | promiscBroadcast
)

// setPromiscuous is command 0254.
func setPromiscuous(f *Firmware, c *call) Code {
	flags, valid, seid, tag := c.d.u16(0), c.d.u16(2), c.d.u16(4), c.d.u16(6)
	if flags&^promiscKnown != 0 || valid&^promiscKnown != 0 || valid == 0 {
		return f.badArgument(c, "flags %#04x, valid flags %#04x", flags, valid)
	}
	if tag&^(seidValid|vlanMask) != 0 {
		return f.badArgument(c, "VLAN tag %#04x has reserved bits", tag)
	}
	v := f.sw.vsiBySEID(seid)
	if v == nil {
		return CodeNoEnt
	}
	if tag&seidValid != 0 {
		if valid&^(promiscPerVLAN|promiscRxOnly) != 0 {
			return f.badArgument(c, "flags %#04x cannot be for one VLAN", valid)
		}
		vlan := tag & vlanMask
		if v.onVLAN[vlan] = v.onVLAN[vlan]&^valid | flags&valid; v.onVLAN[vlan]&promiscPerVLAN == 0 {
			delete(v.onVLAN, vlan)
		}
		f.switchChanged()
		return CodeOK
	}
	if valid&promiscDefault != 0 {
		if code := f.sw.setDefault(v, flags&promiscDefault != 0); code != CodeOK {
			return code
		}
	}
	v.promisc = v.promisc&^valid | flags&valid&^promiscDefault
	f.switchChanged()
	return CodeOK
}

// setDefault makes v the VSI that gets what nobody wants, or no longer. There is one.
func (s *Switch) setDefault(v *VSI, on bool) Code {
	switch {
	case on && s.deflt != 0 && s.deflt != v.SEID:
		return CodeExist
	case on:
		s.deflt = v.SEID
	case s.deflt == v.SEID:
		s.deflt = 0
	}
	return CodeOK
}
