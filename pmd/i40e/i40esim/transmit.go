package i40esim

import (
	"weft/pmd/i40e/i40esim/adminq"
	"weft/pmd/i40e/i40esim/frame"
	"weft/pmd/i40e/i40esim/lan"
)

// transmit processes what the driver gave to a transmit queue.
func (c *card) transmit(q *queue) {
	c.steering.tx.MinMSS = int(c.get("REG_MSS") >> 16 & 0x3FF)
	c.steering.tx.Flags = frame.FlagMasks{
		First:  uint16(c.get("GLLAN_TSOMSK_F") & 0xFFF),
		Middle: uint16(c.get("GLLAN_TSOMSK_M") & 0xFFF),
		Last:   uint16(c.get("GLLAN_TSOMSK_L") & 0xFFF),
	}
	outer, inner, _ := c.fw.Switch().VLANTypes()
	c.steering.tx.Tag1TPID, c.steering.tx.Tag2TPID = inner, outer
	q.txq.Run(func(p *lan.Packet) { c.switchPacket(q, p) })
}

// switchPacket takes a packet of a queue through the switch.
func (c *card) switchPacket(q *queue, out *lan.Packet) {
	handle := q.txq.Context.ReadyList
	v, _, ok := c.fw.Switch().QueueSet(handle)
	if !ok {
		c.violation("%s: its context's RDYLIST is %d, which is no VSI's queue set", q, handle)
		return
	}
	p := c.parse(out.Frame)
	switch out.Switch {
	case lan.SwitchUplink:
		p.header.Target = &adminq.Target{Uplink: true}
	case lan.SwitchVSI:
		p.header.Target = &adminq.Target{VSI: out.VSI}
	case lan.SwitchNormal, lan.SwitchLocal:
	}
	verdict := c.fw.Switch().Transmit(v.Number, &p.header)
	if verdict.Drop != adminq.NotDropped && verdict.Drop != adminq.DropNoFilter {
		c.count("GLV_TEPC", 1, uint32(v.StatIndex()))
		if verdict.Drop == adminq.DropSpoofMAC || verdict.Drop == adminq.DropSpoofVLAN {
			c.violation("%s: VSI %d sends what it may not: %s", q, v.Number, verdict.Drop)
		}
		return
	}
	if tci, insert := v.PortVLAN(); insert {
		p = c.parse(frame.InsertTag(out.Frame, frame.Tag{TPID: c.steering.tx.Tag1TPID, TCI: tci}))
	}
	c.countVSI(v, &p, sent)
	if out.Timesync {
		c.ptp.sent(c)
	}
	if verdict.Wire && out.Switch != lan.SwitchLocal {
		c.send(p.b)
	}
	for i := range verdict.To {
		c.deliver(&verdict.To[i], &p)
	}
}

// send puts a frame on the wire, padded as the MAC does.
func (c *card) send(b []byte) {
	if !c.link.up && c.fw.Loopback() == 0 {
		c.count("GLPRT_TDOLD", 1, c.port())
		return
	}
	b = frame.Pad(b)
	c.countPort(b, sent)
	if c.fw.Loopback() != 0 {
		c.receive(b)
		return
	}
	c.out.add(b)
}
