package adminq

import "time"

// function is what a PF has for itself.
type function struct {
	laa       MAC // locally administered address; zero for none
	portMAC   MAC // written by the driver; zero for none
	preserve  bool
	unloading bool // the driver said that it goes away
	driver    [4]uint8
	name      string
	pxe       bool
	alternate [alternateWords]uint32
	altMode   uint32
}

// alternateWords is the size of the alternate RAM: 64 words for each of 16 PFs.
const alternateWords = 1024

// reset keeps the alternate RAM, and the address if the driver asked for it, over resets of the function.
func (o *function) reset(kind ResetKind) {
	fresh := function{pxe: true}
	if kind < ResetEMP {
		fresh.alternate, fresh.altMode = o.alternate, o.altMode
	}
	if kind == ResetPF && o.preserve {
		fresh.laa, fresh.preserve = o.laa, true
	}
	*o = fresh
}

// MAC is the PF's address now: the factory's, or what the driver wrote.
func (f *Firmware) MAC() MAC {
	if !f.own.laa.zero() {
		return f.own.laa
	}
	return f.cfg.MAC
}

// DriverName is what the driver called itself (0002), with its version.
func (f *Firmware) DriverName() (name string, version [4]uint8) { return f.own.name, f.own.driver }

// getVersion is command 0001.
func getVersion(f *Firmware, c *call) Code {
	v := f.cfg.Version
	c.d.zeroFrom(0, 16)
	c.d.put32(4, v.Build)
	c.d.put16(8, v.FirmwareMajor)
	c.d.put16(10, v.FirmwareMinor)
	c.d.put16(12, v.APIMajor)
	c.d.put16(14, v.APIMinor)
	return CodeOK
}

// driverVersion is command 0002.
func driverVersion(f *Firmware, c *call) Code {
	copy(f.own.driver[:], c.d.Params[:4])
	f.own.name = string(c.buf)
	return CodeOK
}

// queueShutdown is command 0003: the driver will disable its queues. One that unloads gives back what it holds.
func queueShutdown(f *Firmware, c *call) Code {
	if unloading := c.d.u32(0); unloading > 1 {
		return f.badArgument(c, "driver_unloading is %d", unloading)
	}
	if !c.function(f).VF {
		f.own.unloading = c.d.u32(0) == 1
		f.nvm.release()
	}
	return CodeOK
}

// Resources that functions must own to use (0008).
const (
	resourceNVM = 1
	resourceSDP = 2
	accessRead  = 1
	accessWrite = 2

	readLease  = 3000   // ms
	writeLease = 180000 // ms
)

// requestResource is command 0008. The timeout of the answer is how long the owner may keep it, or how long the present
// one may still.
func requestResource(f *Firmware, c *call) Code {
	id, access := c.d.u16(0), c.d.u16(2)
	if id != resourceNVM && id != resourceSDP || access != accessRead && access != accessWrite {
		return f.badArgument(c, "resource %d, access %d", id, access)
	}
	lease := uint32(readLease)
	if access == accessWrite {
		lease = writeLease
	}
	c.d.put32(4, lease)
	if id == resourceSDP {
		return CodeOK
	}
	if f.nvm.foreign {
		return CodeBusy
	}
	f.nvm.access = access
	return CodeOK
}

// releaseResource is command 0009. Drivers release what they do not own, to be sure.
func releaseResource(f *Firmware, c *call) Code {
	id := c.d.u16(0)
	if id != resourceNVM && id != resourceSDP {
		return f.badArgument(c, "resource %d", id)
	}
	if id == resourceNVM {
		f.nvm.release()
	}
	return CodeOK
}

// Flags of Manage MAC Address.
const (
	macLANValid      = 0x0010
	macSANValid      = 0x0020
	macPortValid     = 0x0040
	macWoLValid      = 0x0080
	macPreserve      = 0x0200
	macWriteMask     = 0xC000
	macWriteLAA      = 0x0000
	macWriteLAAWoL   = 0x4000
	macWritePort     = 0x8000
	macWriteMagic    = 0xC000
	macAddressesSize = 24
)

// readMAC is command 0107.
func readMAC(f *Firmware, c *call) Code {
	var out [macAddressesSize]byte
	flags := uint16(macLANValid | macPortValid | macWoLValid)
	lan, port := f.MAC(), f.cfg.PortMAC
	if !f.own.portMAC.zero() {
		port = f.own.portMAC
	}
	copy(out[0:], lan[:])
	if !f.cfg.SANMAC.zero() {
		copy(out[6:], f.cfg.SANMAC[:])
		flags |= macSANValid
	}
	copy(out[12:], port[:])
	copy(out[18:], lan[:])
	code := c.reply(out[:])
	if code == CodeOK {
		c.d.put16(0, flags)
	}
	return code
}

// writeMAC is command 0108. The address comes as a number of 48 bits, high half first.
func writeMAC(f *Firmware, c *call) Code {
	flags, high, low := c.d.u16(0), c.d.u16(2), c.d.u32(4)
	mac := MAC{byte(high >> 8), byte(high), byte(low >> 24), byte(low >> 16), byte(low >> 8), byte(low)}
	f.own.preserve = flags&macPreserve != 0
	if flags&macWriteMask == macWriteMagic {
		return CodeOK
	}
	if mac.zero() || mac.multicast() {
		return f.badArgument(c, "%s is no unicast address", mac)
	}
	if flags&macWriteMask == macWritePort {
		f.own.portMAC = mac
		return CodeOK
	}
	f.own.laa = mac
	return CodeOK
}

// clearPXE is command 0110.
func clearPXE(f *Firmware, c *call) Code {
	if c.d.Params[0] != 2 {
		return f.badArgument(c, "rx_cnt is %d, must be 2", c.d.Params[0])
	}
	f.own.pxe = false
	return CodeOK
}

// PXE says whether the card is still in the state for network boot (0110 was not sent).
func (f *Firmware) PXE() bool { return f.own.pxe }

// statKey is what a VLAN statistics counter counts.
type statKey struct{ seid, vlan uint16 }

// addStatistics is command 0201.
func addStatistics(f *Firmware, c *call) Code {
	key := statKey{c.d.u16(0) & seidMask, c.d.u16(2)}
	if key.vlan > vlanMask {
		return f.badArgument(c, "VLAN %d", key.vlan)
	}
	if f.sw.vsis[key.seid] == nil && f.sw.vebs[key.seid] == nil {
		return CodeNoEnt
	}
	if _, has := f.sw.stats[key]; has {
		return CodeExist
	}
	used := make(map[uint16]bool)
	for _, index := range f.sw.stats {
		used[index] = true
	}
	index := uint16(0)
	for used[index] {
		index++
	}
	if index >= maxVLANStats {
		return CodeNoSpc
	}
	f.sw.stats[key] = index
	c.d.put16(4, index)
	return CodeOK
}

const maxVLANStats = 128

// removeStatistics is command 0202.
func removeStatistics(f *Firmware, c *call) Code {
	key := statKey{c.d.u16(0) & seidMask, c.d.u16(2)}
	if index, has := f.sw.stats[key]; !has || index != c.d.u16(4) {
		return CodeNoEnt
	}
	delete(f.sw.stats, key)
	return CodeOK
}

// Flags of Set Port Parameters.
const (
	portSaveBad    = 0x1
	portPadShort   = 0x2
	portDoubleVLAN = 0x4
	portKnown      = 0x7
)

// setPortParameters is command 0203. Padding must be asked for (comment in the drivers' headers).
func setPortParameters(f *Firmware, c *call) Code {
	flags := c.d.u16(0)
	if flags&^portKnown != 0 || flags&portPadShort == 0 {
		return f.badArgument(c, "flags %#04x, must have %#x", flags, portPadShort)
	}
	if flags&portSaveBad != 0 && f.sw.vsiBySEID(c.d.u16(2)) == nil {
		return CodeNoEnt
	}
	f.sw.portFlags = flags
	c.d.put16(4, f.sw.main.SEID)
	f.switchChanged()
	return CodeOK
}

// SavesBadFrames says whether frames with errors are given to a VSI.
func (s *Switch) SavesBadFrames() bool { return s.portFlags&portSaveBad != 0 }

// Flags of Set Switch Configuration.
const (
	switchConfigKnown = 0x000F
	switchModeValid   = 0x80
)

// setSwitchConfig is command 0205. An EtherType of 0 means the default; the three must differ, as the port could not tell
// the tags apart.
func setSwitchConfig(f *Firmware, c *call) Code {
	flags, valid := c.d.u16(0), c.d.u16(2)
	tag, first, second, mode := c.d.u16(4), c.d.u16(6), c.d.u16(8), c.d.Params[10]
	if flags&^switchConfigKnown != 0 || valid&^switchConfigKnown != 0 {
		return f.badArgument(c, "flags %#04x, valid flags %#04x", flags, valid)
	}
	orDefault := func(v, standard uint16) uint16 {
		if v == 0 {
			return standard
		}
		return v
	}
	s := f.sw
	s.flags = s.flags&^valid | flags&valid
	s.switchTag, s.firstTag, s.secondTag = orDefault(tag, 0x88A8), orDefault(first, 0x8100), orDefault(second, 0x8100)
	if mode&switchModeValid != 0 {
		s.mode = mode &^ switchModeValid
	}
	f.switchChanged()
	return CodeOK
}

// Kinds of switch resources (0204).
const (
	resourceVEB     = 0x00
	resourceVSI     = 0x01
	resourceMAC     = 0x02
	resourceMcast   = 0x05
	resourceUcast   = 0x06
	resourceVLAN    = 0x07
	resourceMirror  = 0x0B
	resourceSets    = 0x0C
	resourceTunnels = 0x13
)

// getSwitchResources is command 0204.
func getSwitchResources(f *Firmware, c *call) Code {
	s := f.sw
	perfect, unicast, multicast := s.used()
	rows := []struct{ kind, used, total int }{
		{resourceVEB, len(s.vebs), maxVEBs},
		{resourceVSI, len(s.vsis), f.cfg.VSIs},
		{resourceMAC, perfect, maxMACFilters},
		{resourceMcast, multicast, maxHashFilters},
		{resourceUcast, unicast, maxHashFilters},
		{resourceVLAN, s.vlansUsed(), maxVLANs},
		{resourceMirror, len(s.mirrors), maxMirrorRules},
		{resourceSets, len(s.sets), maxQueueSets - 1},
		{resourceTunnels, s.tunnelsUsed(), maxUDPTunnels},
	}
	out := make([]byte, elementSize*len(rows))
	for i, r := range rows {
		e := out[elementSize*i:]
		e[0] = uint8(r.kind)
		le.PutUint16(e[4:], uint16(r.total))
		le.PutUint16(e[6:], uint16(r.used))
		le.PutUint16(e[8:], uint16(r.total-r.used))
	}
	code := c.reply(out)
	if code == CodeOK {
		c.d.Params[0] = uint8(len(rows))
	}
	return code
}

// udpTunnel is a UDP port that the parser takes for a tunnel's.
type udpTunnel struct {
	port uint16
	kind uint8
}

// Protocols of Add UDP Tunnel.
const (
	udpVXLAN    = 0x00
	udpGeneve   = 0x01
	udpTeredo   = 0x10
	udpVXLANGPE = 0x11
)

func (s *Switch) tunnelsUsed() (n int) {
	for _, t := range s.tunnels {
		if t != nil {
			n++
		}
	}
	return n
}

// TunnelPort says which tunnel a UDP destination port stands for.
func (s *Switch) TunnelPort(port uint16) (kind TunnelKind, ok bool) {
	for _, t := range s.tunnels {
		if t == nil || t.port != port {
			continue
		}
		switch t.kind {
		case udpVXLAN:
			return TunnelVXLAN, true
		case udpGeneve:
			return TunnelGeneve, true
		case udpVXLANGPE:
			return TunnelVXLANGPE, true
		}
	}
	return 0, false
}

// addUDPTunnel is command 0B00.
func addUDPTunnel(f *Firmware, c *call) Code {
	t := udpTunnel{port: c.d.u16(0), kind: c.d.Params[5]}
	switch t.kind {
	case udpVXLAN, udpGeneve, udpTeredo, udpVXLANGPE:
	default:
		return f.badArgument(c, "protocol %#02x", t.kind)
	}
	free := -1
	for i, o := range f.sw.tunnels {
		if o == nil && free < 0 {
			free = i
		} else if o != nil && o.port == t.port {
			return CodeExist
		}
	}
	if free < 0 {
		return CodeNoSpc
	}
	f.sw.tunnels[free] = &t
	c.d.zeroFrom(2, 16)
	c.d.Params[2], c.d.Params[4] = uint8(free), uint8(f.sw.tunnelsUsed())
	f.switchChanged()
	return CodeOK
}

// deleteUDPTunnel is command 0B01.
func deleteUDPTunnel(f *Firmware, c *call) Code {
	index := int(c.d.Params[2])
	if index >= maxUDPTunnels || f.sw.tunnels[index] == nil {
		return CodeNoEnt
	}
	port := f.sw.tunnels[index].port
	f.sw.tunnels[index] = nil
	c.d.zeroFrom(0, 16)
	c.d.put16(0, port)
	c.d.Params[2], c.d.Params[4] = uint8(index), uint8(f.sw.tunnelsUsed())
	f.switchChanged()
	return CodeOK
}

// eventDelay is how long the firmware takes for what it reports by an event when done.
const eventDelay = time.Millisecond
