package adminq

import "time"

// Bits of link status (0607).
const (
	lseMask    = 0x3
	lseDisable = 0x2
	lseEnable  = 0x3
	lseEnabled = 0x1

	linkUp     = 0x01
	linkUpPort = 0x20
	linkMedia  = 0x40
	linkSignal = 0x80

	anCompleted = 0x01
	anPartner   = 0x02
	anPauseTx   = 0x20
	anPauseRx   = 0x40
	anQualified = 0x80

	configCRC     = 0x04
	configPacing  = 0x78
	configDrop    = 0x80
	configFECMask = 0x03
)

// Abilities of the PHY (0600) and its configuration (0601).
const (
	phyPauseTx    = 0x01
	phyPauseRx    = 0x02
	phyLowPower   = 0x04
	phyLinkEnable = 0x08
	phyANEnable   = 0x10
	phyQualified  = 0x20 // of abilities
	phyAtomicLink = 0x20 // of a configuration: restart the link with it
	phyFECKR      = 0x40
	phyFECRS      = 0x80

	phyAbilitiesSize  = 536
	phyQualifiedAt    = 24 // first of 16 qualified modules of 32 bytes
	phyReportModules  = 0x0001
	phyReportInitial  = 0x0002
	phyReportKnown    = 0x0003
	fecConfigMask     = 0x1F
	anRestart         = 0x02
	anLinkEnable      = 0x04
	eventLinkUpDown   = 0x0002
	eventMediaMissing = 0x0004
	eventANCompleted  = 0x0080
	eventTxSuspended  = 0x0200
	eventsKnown       = 0x03FE
)

// negotiation is how long the link is down when auto-negotiation starts anew. Model: real PHYs take up to seconds; what
// matters to drivers is that it is not at once.
const negotiation = 20 * time.Millisecond

// MaxFrame is the largest frame of the port in bytes, with its checksum (datasheet, "Set MAC Config").
const MaxFrame = 9728

// link is the port's medium.
type link struct {
	cable       bool // something is plugged in that has a link itself
	up          bool
	negotiating int // auto-negotiations under way
	epoch       int // counts resets and restarts: what a timer began before means nothing after

	phy      phyConfig // now
	initial  phyConfig // after power on
	maxFrame uint16
	mac      uint8 // params of Set MAC Config
	loopback uint16
	advert   [6]byte

	lse  bool   // the next change is to be reported
	mask uint16 // events that are not

	registers map[uint32]uint16 // of external PHYs
}

// phyConfig is what Set PHY Config sets.
type phyConfig struct {
	types     uint64
	speeds    Speed
	abilities uint8
	eee       uint16
	eeer      uint32
	lowPower  uint8
	fec       uint8
}

func (l *link) resetPort(cfg *Config) {
	l.initial = phyConfig{
		types: cfg.PHYTypes, speeds: cfg.Speeds, abilities: phyLinkEnable | phyANEnable,
	}
	l.phy = l.initial
	l.maxFrame, l.mac, l.loopback, l.advert = MaxFrame, configCRC, 0, [6]byte{}
	l.registers = make(map[uint32]uint16)
}

// resetEvents is what every reset does: nothing is reported, and what a timer was to end has ended.
func (l *link) resetEvents() {
	l.lse, l.mask = false, 0
	l.negotiating = 0
	l.epoch++
}

// SetLink plugs the cable in or out.
func (f *Firmware) SetLink(plugged bool) {
	f.link.cable = plugged
	f.updateLink()
}

// LinkUp says whether the port has a link: plugged in, enabled, negotiated.
func (f *Firmware) LinkUp() bool { return f.link.up }

// LinkSpeed is the speed of a link that is up, 0 otherwise.
func (f *Firmware) LinkSpeed() Speed {
	if !f.link.up {
		return 0
	}
	return f.speed()
}

// Loopback returns the loopback mode that a driver set: 0 for none, 1 PHY local, 2 PHY remote, 4 MAC local.
func (f *Firmware) Loopback() uint16 { return f.link.loopback }

// FrameLimit is the largest frame that the port takes, in bytes with checksum.
func (f *Firmware) FrameLimit() int { return int(f.link.maxFrame) }

// speed is the fastest that is configured; the configured one if that is allowed.
func (f *Firmware) speed() Speed {
	if f.link.phy.speeds&f.cfg.Speed != 0 {
		return f.cfg.Speed
	}
	var best Speed
	for bit := range 8 {
		if s := Speed(1 << bit); f.link.phy.speeds&f.cfg.Speeds&s != 0 && s.Mbps() > best.Mbps() {
			best = s
		}
	}
	return best
}

// updateLink finds out whether the link is up and tells everybody when that changed.
func (f *Firmware) updateLink() {
	l := &f.link
	enabled := l.phy.abilities&phyLinkEnable != 0 && l.phy.types != 0 && f.speed() != 0
	up := (l.cable || l.loopback != 0) && enabled && l.negotiating == 0
	if up == l.up {
		return
	}
	l.up = up
	if f.hooks.LinkChanged != nil {
		f.hooks.LinkChanged(up)
	}
	f.linkEvent(eventLinkUpDown)
}

// linkEvent reports the link's state on the PF's receive queue, if the driver wants that kind of event. Reporting is one
// shot: the driver asks for more by reading the link status.
func (f *Firmware) linkEvent(kind uint16) {
	if !f.link.lse || f.link.mask&kind != 0 {
		return
	}
	f.link.lse = false
	e := Event{Opcode: OpGetLinkStatus}
	f.putLinkStatus(&e.Params)
	f.pf.Post(e)
}

// restart takes the link down and up again, as negotiating does.
func (f *Firmware) restart() {
	l := &f.link
	l.negotiating++
	epoch := l.epoch
	f.updateLink()
	f.after(negotiation, func() {
		if l.epoch != epoch {
			return
		}
		l.negotiating--
		f.updateLink()
	})
}

// putLinkStatus writes the 16 bytes of a link status.
func (f *Firmware) putLinkStatus(p *[16]byte) {
	l := &f.link
	*p = [16]byte{}
	if l.lse {
		p[0] = lseEnabled
	}
	p[2] = uint8(f.cfg.PHYType)
	p[5] = anQualified
	p[4] = linkMedia
	if l.cable {
		p[4] |= linkSignal
	}
	if l.up {
		p[3] = uint8(f.speed())
		p[4] |= linkUp | linkUpPort
		p[5] |= anCompleted | anPartner
		if l.phy.abilities&phyPauseTx != 0 {
			p[5] |= anPauseTx
		}
		if l.phy.abilities&phyPauseRx != 0 {
			p[5] |= anPauseRx
		}
	}
	p[7] = uint8(l.loopback)
	le.PutUint16(p[8:], l.maxFrame)
	p[10] = l.mac&(configPacing|configCRC) | l.phy.fec&configFECMask
	// Since API 1.7 the end holds the PHY types instead of the power class.
	le.PutUint32(p[11:], uint32(f.cfg.PHYTypes))
	p[15] = uint8(f.cfg.PHYTypes >> 32)
}

// getLinkStatus is command 0607.
func getLinkStatus(f *Firmware, c *call) Code {
	switch c.d.u16(0) & lseMask {
	case lseEnable:
		f.link.lse = true
	case lseDisable:
		f.link.lse = false
	}
	f.putLinkStatus(&c.d.Params)
	return CodeOK
}

// getPHYAbilities is command 0600.
func getPHYAbilities(f *Firmware, c *call) Code {
	what := c.d.u32(0)
	if what&^phyReportKnown != 0 {
		return f.badArgument(c, "param0 %#08x", what)
	}
	phy := &f.link.phy
	if what&phyReportInitial != 0 {
		phy = &f.link.initial
	}
	var out [phyAbilitiesSize]byte
	le.PutUint32(out[0:], uint32(phy.types))
	out[4], out[5] = uint8(phy.speeds), phy.abilities|phyQualified
	le.PutUint16(out[6:], phy.eee)
	le.PutUint32(out[8:], phy.eeer)
	out[12], out[13], out[14] = phy.lowPower, uint8(phy.types>>32), phy.fec
	copy(out[20:23], moduleType(f.cfg.PHYType))
	if what&phyReportModules != 0 {
		out[23] = 1
		copy(out[phyQualifiedAt:], "\x00\x1b\x21")           // Intel's OUI
		copy(out[phyQualifiedAt+4:], "MODEL SFP+      1.0 ") // part number and revision
	}
	return c.reply(out[:])
}

// moduleType is what SFF-8472 says of a module: identifier, 10G compliance, 1G compliance and copper.
func moduleType(t PHYType) []byte {
	switch t {
	case PHY10GBaseSR:
		return []byte{3, 0x10, 0}
	case PHY10GBaseLR:
		return []byte{3, 0x20, 0}
	case PHY10GBaseSFPP, PHY10GBaseCR1:
		return []byte{3, 0, 0x04}
	case PHY1000BaseSX:
		return []byte{3, 0, 0x01}
	case PHY40GBaseCR4, PHY40GBaseSR4:
		return []byte{0x0D, 0, 0}
	case PHY25GBaseCR, PHY25GBaseSR:
		return []byte{3, 0, 0}
	}
	return []byte{0, 0, 0}
}

// setPHYConfig is command 0601.
func setPHYConfig(f *Firmware, c *call) Code {
	p := c.d.Params[:]
	phy := phyConfig{
		types: uint64(le.Uint32(p)) | uint64(p[13])<<32, speeds: Speed(p[4]), abilities: p[5] &^ phyAtomicLink,
		eee: le.Uint16(p[6:]), eeer: le.Uint32(p[8:]), lowPower: p[12], fec: p[14],
	}
	switch {
	case phy.speeds != 0 && phy.speeds&f.cfg.Speeds == 0:
		return f.badArgument(c, "speeds %#02x, the port can %#02x", uint8(phy.speeds), uint8(f.cfg.Speeds))
	case phy.fec&^fecConfigMask != 0:
		return f.badArgument(c, "FEC %#02x", phy.fec)
	}
	phy.types &= f.cfg.PHYTypes // DPDK asks for every type and speed that there is, to bring the link up
	phy.speeds &= f.cfg.Speeds
	changed := phy != f.link.phy
	f.link.phy = phy
	if changed && p[5]&phyAtomicLink != 0 && f.link.up {
		f.restart()
		return CodeOK
	}
	f.updateLink()
	return CodeOK
}

// setMACConfig is command 0603.
func setMACConfig(f *Firmware, c *call) Code {
	size := c.d.u16(0)
	if size < 64 || size > MaxFrame {
		return f.badArgument(c, "frames of %d bytes, 64 to %d are possible", size, MaxFrame)
	}
	f.link.maxFrame, f.link.mac = size, c.d.Params[2]
	return CodeOK
}

// restartAN is command 0605.
func restartAN(f *Firmware, c *call) Code {
	cmd := c.d.Params[0]
	if cmd&^(anRestart|anLinkEnable) != 0 {
		return f.badArgument(c, "command %#02x", cmd)
	}
	f.link.phy.abilities &^= phyLinkEnable
	if cmd&anLinkEnable != 0 {
		f.link.phy.abilities |= phyLinkEnable
	}
	if cmd&anRestart != 0 && cmd&anLinkEnable != 0 {
		f.restart()
		return CodeOK
	}
	f.updateLink()
	return CodeOK
}

// setEventMask is command 0613: a set bit keeps an event from being reported.
func setEventMask(f *Firmware, c *call) Code {
	f.link.mask = c.d.u16(8)
	return CodeOK
}

// getAdvertisement is commands 0614 and 0616. What the partner advertises is what we do.
func getAdvertisement(f *Firmware, c *call) Code {
	if c.d.Opcode == OpGetPartnerAdvertisement && !f.link.up {
		return CodeAgain
	}
	c.d.zeroFrom(0, 16)
	copy(c.d.Params[:6], f.link.advert[:])
	return CodeOK
}

// setAdvertisement is command 0615.
func setAdvertisement(f *Firmware, c *call) Code {
	copy(f.link.advert[:], c.d.Params[:6])
	return CodeOK
}

// setLoopback is command 0618.
func setLoopback(f *Firmware, c *call) Code {
	switch mode := c.d.u16(0); mode {
	case 0, 1, 2, 4:
		f.link.loopback = mode
		f.updateLink()
		return CodeOK
	default:
		return f.badArgument(c, "loopback mode %#04x", mode)
	}
}
