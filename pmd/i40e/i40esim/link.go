package i40esim

import "weft/pmd/i40e/i40esim/adminq"

// Bits of PRTMAC_LINKSTA and PRTMAC_MACC.
const (
	linkUpBits     = 1<<30 | 1<<7
	linkSpeedShift = 27
	macc25G        = 1 << 17
	icr0LinkChange = 1 << 25
)

// linkState is the link as registers and the data path see it; the firmware decides it.
type linkState struct{ up bool }

// SetLink plugs the cable in or out.
func (d *Device) SetLink(up bool) {
	d.lock()
	defer d.unlock()
	d.fw.SetLink(up)
}

// LinkUp says whether the link is up: the cable is in, and the driver has not turned the port off.
func (d *Device) LinkUp() bool {
	d.lock()
	defer d.unlock()
	return d.link.up
}

// linkChanged takes over what the firmware says of the link.
func (c *card) linkChanged() {
	if c.fw == nil {
		return
	}
	was := c.link.up
	c.link.up = c.fw.LinkUp()
	var v uint32
	if c.link.up {
		v = linkUpBits | speedCode(c.fw.LinkSpeed())<<linkSpeedShift
	}
	port := c.port()
	c.set("PRTMAC_LINKSTA", v, 0) // of the function's own port
	c.set("PRTMAC_LINKSTA", v, port)
	var macc uint32
	if c.fw.LinkSpeed() == adminq.Speed25G {
		macc = macc25G
	}
	c.set("PRTMAC_MACC", macc)
	if was != c.link.up {
		c.pf.raiseOther(icr0LinkChange)
		if c.standIn.active {
			c.standIn.responder.LinkChanged()
		}
	}
}

// speedCode is a speed as PRTMAC_LINKSTA has it.
func speedCode(s adminq.Speed) uint32 {
	switch s {
	case adminq.Speed1G:
		return 1
	case adminq.Speed10G:
		return 2
	case adminq.Speed25G, adminq.Speed40G:
		return 3
	case adminq.Speed20G:
		return 4
	}
	return 0
}
