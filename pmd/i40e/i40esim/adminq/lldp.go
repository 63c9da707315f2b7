package adminq

import (
	"bytes"
	"slices"
)

// lldp is the firmware's LLDP and DCBX agent.
type lldp struct {
	running  bool
	factory  bool   // running after power on
	persist  *bool  // what the driver wants after the next power on
	events   bool   // changes are reported
	custom   []byte // local MIB set by the driver
	extra    []byte // TLVs added by the driver
	remote   []byte // what the partner sent
	dcbxOff  bool
	ignore   uint8 // classes whose priority flow control is ignored
	agent    bool
	portMAC  MAC
	chassis  MAC
	agentSet bool
}

// MIB types and sizes (0A00). A MIB is a whole frame, with its Ethernet header.
const (
	mibLocal   = 0
	mibRemote  = 1
	mibBoth    = 2
	mibMask    = 3
	mibHeader  = 14
	tlvHeader  = 2
	tlvChassis = 1
	tlvPort    = 2
	tlvTTL     = 3
	tlvOrg     = 127
	lldpTTL    = 120 // seconds

	// maxExtra bounds the TLVs that a driver adds: what is left of an Ethernet frame. Model: the code of what is more.
	maxExtra = 1500 - 128

	etsSubtype = 9
	pfcSubtype = 11
)

func (l *lldp) reset(cfg *Config) {
	if l.persist != nil {
		l.factory = *l.persist
	} else {
		l.factory = !cfg.NoLLDP
	}
	*l = lldp{factory: l.factory, persist: l.persist, running: l.factory, chassis: cfg.MAC, portMAC: cfg.PortMAC}
}

func (l *lldp) resetLocal() { l.custom, l.extra, l.remote, l.events = nil, nil, nil, false }

// lldpChanged tells the switch whether LLDP frames are the firmware's.
func (f *Firmware) lldpChanged() {
	f.sw.lldp = f.lldp.running
	f.switchChanged()
}

// SetRemoteMIB is the LLDP frame that the partner sends now; nil for none. The driver is told if it wants to know.
func (f *Firmware) SetRemoteMIB(frame []byte) {
	if !f.lldp.running {
		return
	}
	f.lldp.remote = slices.Clone(frame)
	if f.lldp.events {
		f.pf.Post(Event{Opcode: OpConfigureMIBEvent, Params: [16]byte{0: mibRemote}, Buffer: slices.Clone(frame)})
	}
}

// tlv is a TLV of IEEE 802.1AB 8.4: seven bits of type, nine of length, big endian.
func tlv(kind int, value ...byte) []byte {
	return append([]byte{byte(kind<<1 | len(value)>>8), byte(len(value))}, value...)
}

// local is the local MIB: who we are, and one traffic class for all priorities (IEEE 802.1Q D.2).
func (l *lldp) local() []byte {
	if l.custom != nil {
		return l.custom
	}
	mib := append([]byte{0x01, 0x80, 0xC2, 0x00, 0x00, 0x0E}, l.portMAC[:]...)
	mib = append(mib, 0x88, 0xCC)
	mib = append(mib, tlv(tlvChassis, append([]byte{4}, l.chassis[:]...)...)...)
	mib = append(mib, tlv(tlvPort, append([]byte{3}, l.portMAC[:]...)...)...)
	mib = append(mib, tlv(tlvTTL, 0, lldpTTL)...)
	ets := make([]byte, 4+21)
	copy(ets, []byte{0x00, 0x80, 0xC2, etsSubtype, 0x80}) // willing
	ets[9], ets[17] = 100, 2                              // class 0 has all bandwidth, ETS
	mib = append(mib, tlv(tlvOrg, ets...)...)
	mib = append(mib, tlv(tlvOrg, 0x00, 0x80, 0xC2, pfcSubtype, 0x88, 0x00)...) // willing, eight classes, none enabled
	mib = append(mib, l.extra...)
	return append(mib, 0, 0)
}

// classes is the bitmap of traffic classes that a MIB's ETS configuration uses.
func classes(mib []byte) uint8 {
	for at := mibHeader; at+tlvHeader <= len(mib); {
		kind, size := int(mib[at]>>1), int(mib[at]&1)<<8|int(mib[at+1])
		value := mib[at+tlvHeader:]
		if kind == 0 || size > len(value) {
			break
		}
		value = value[:size]
		if kind == tlvOrg && size >= 9 && bytes.Equal(value[:4], []byte{0x00, 0x80, 0xC2, etsSubtype}) {
			bitmap := uint8(0)
			for _, two := range value[5:9] {
				bitmap |= 1<<(two>>4&7) | 1<<(two&7)
			}
			return bitmap
		}
		at += tlvHeader + size
	}
	return 1
}

// getMIB is command 0A00. An agent that does not run answers EPERM, one that has heard nothing ENOENT (both are what
// drivers look for).
func getMIB(f *Firmware, c *call) Code {
	kind := c.d.Params[0] & mibMask
	switch {
	case !f.lldp.running:
		return CodePerm
	case kind > mibBoth:
		return f.badArgument(c, "MIB type %d", kind)
	case kind != mibLocal && f.lldp.remote == nil:
		return CodeNoEnt
	}
	var local, remote []byte
	if kind != mibRemote {
		local = f.lldp.local()
	}
	if kind != mibLocal {
		remote = f.lldp.remote
	}
	code := c.reply(slices.Concat(local, remote))
	c.d.put16(2, uint16(len(local)))
	c.d.put16(4, uint16(len(remote)))
	return code
}

// configureMIBEvent is command 0A01.
func configureMIBEvent(f *Firmware, c *call) Code {
	if c.d.Params[0] > 1 {
		return f.badArgument(c, "command %d", c.d.Params[0])
	}
	if !f.lldp.running {
		return CodePerm // what drivers that have stopped the agent look for
	}
	f.lldp.events = c.d.Params[0] == 0
	return CodeOK
}

// checkTLVs refuses what is no sequence of whole TLVs.
func (f *Firmware) checkTLVs(c *call, p []byte) Code {
	for len(p) > 0 {
		if len(p) < tlvHeader {
			return f.badArgument(c, "a TLV is cut off")
		}
		size := tlvHeader + int(p[0]&1)<<8 + int(p[1])
		if size > len(p) || p[0]>>1 == 0 {
			return f.badArgument(c, "a TLV of %d bytes where %d are left", size, len(p))
		}
		p = p[size:]
	}
	return CodeOK
}

// addTLV is command 0A02.
func addTLV(f *Firmware, c *call) Code {
	size := int(c.d.u16(2))
	if size == 0 || size > len(c.buf) {
		return f.badArgument(c, "%d bytes in a buffer of %d", size, len(c.buf))
	}
	if code := f.checkTLVs(c, c.buf[:size]); code != CodeOK {
		return code
	}
	if len(f.lldp.extra)+size > maxExtra {
		return CodeNoSpc
	}
	f.lldp.extra = append(f.lldp.extra, c.buf[:size]...)
	return c.echo()
}

// updateTLV is command 0A03: the buffer holds the old TLV and, from an offset on, the new one.
func updateTLV(f *Firmware, c *call) Code {
	oldSize, offset, newSize := int(c.d.u16(2)), int(c.d.u16(4)), int(c.d.u16(6))
	if oldSize == 0 || oldSize > offset || newSize == 0 || offset+newSize > len(c.buf) {
		return f.badArgument(c, "old %d bytes, new %d at %d, in a buffer of %d", oldSize, newSize, offset, len(c.buf))
	}
	before, after := c.buf[:oldSize], c.buf[offset:offset+newSize]
	if code := f.checkTLVs(c, after); code != CodeOK {
		return code
	}
	at := bytes.Index(f.lldp.extra, before)
	if at < 0 {
		return CodeNoEnt
	}
	if len(f.lldp.extra)-oldSize+newSize > maxExtra {
		return CodeNoSpc
	}
	f.lldp.extra = slices.Replace(f.lldp.extra, at, at+oldSize, after...)
	return c.echo()
}

// deleteTLV is command 0A04.
func deleteTLV(f *Firmware, c *call) Code {
	size := int(c.d.u16(2))
	if size == 0 || size > len(c.buf) {
		return f.badArgument(c, "%d bytes in a buffer of %d", size, len(c.buf))
	}
	at := bytes.Index(f.lldp.extra, c.buf[:size])
	if at < 0 {
		return CodeNoEnt
	}
	f.lldp.extra = slices.Delete(f.lldp.extra, at, at+size)
	return CodeOK
}

// Commands of Stop and Start LLDP.
const (
	lldpStopKnown    = 0x3
	lldpStopPersist  = 0x2
	lldpStartBit     = 0x1
	lldpStartPersist = 0x2
)

// stopLLDP is command 0A05.
func stopLLDP(f *Firmware, c *call) Code {
	if c.d.Params[0]&^lldpStopKnown != 0 {
		return f.badArgument(c, "command %#02x", c.d.Params[0])
	}
	if c.d.Params[0]&lldpStopPersist != 0 {
		off := false
		f.lldp.persist = &off
	}
	if !f.lldp.running {
		return CodePerm
	}
	f.lldp.running = false
	f.lldp.remote = nil
	f.lldpChanged()
	return CodeOK
}

// startLLDP is command 0A06. Linux takes EEXIST for an agent that runs already.
func startLLDP(f *Firmware, c *call) Code {
	if c.d.Params[0]&^(lldpStartBit|lldpStartPersist) != 0 || c.d.Params[0]&lldpStartBit == 0 {
		return f.badArgument(c, "command %#02x", c.d.Params[0])
	}
	if c.d.Params[0]&lldpStartPersist != 0 {
		on := true
		f.lldp.persist = &on
	}
	if f.lldp.running {
		return CodeExist
	}
	f.lldp.running = true
	f.lldpChanged()
	return CodeOK
}

// getCEE is command 0A07. Nobody speaks the old protocol with us: drivers go on with IEEE at ENOENT.
func getCEE(f *Firmware, c *call) Code {
	if !f.lldp.running {
		return CodePerm
	}
	return CodeNoEnt
}

// setLocalMIB is command 0A08. The ETS configuration in it decides which traffic classes the port has.
func setLocalMIB(f *Firmware, c *call) Code {
	size := int(c.d.u16(2))
	if size < mibHeader+tlvHeader || size > len(c.buf) {
		return f.badArgument(c, "%d bytes in a buffer of %d", size, len(c.buf))
	}
	f.lldp.custom = slices.Clone(c.buf[:size])
	f.sw.port.classes = classes(f.lldp.custom)
	c.d.Params[0] = 1 // an event follows from it
	return CodeOK
}

// stopStartAgent is command 0A09.
func stopStartAgent(f *Firmware, c *call) Code {
	if c.d.Params[0] > 1 {
		return f.badArgument(c, "command %d", c.d.Params[0])
	}
	f.lldp.dcbxOff = c.d.Params[0] == 0
	return CodeOK
}

// restoreLLDP is command 0A0A: the factory's setting from the next power on.
func restoreLLDP(f *Firmware, c *call) Code {
	if c.d.Params[0] > 1 {
		return f.badArgument(c, "command %d", c.d.Params[0])
	}
	if c.d.Params[0] == 1 {
		f.lldp.persist = nil
	}
	return CodeOK
}

// ignorePFC is command 0301.
func ignorePFC(f *Firmware, c *call) Code {
	const set = 0x80
	tcs, flags := c.d.Params[0], c.d.Params[1]
	if flags&^set != 0 {
		return f.badArgument(c, "flags %#02x", flags)
	}
	if flags&set != 0 {
		f.lldp.ignore |= tcs
	} else {
		f.lldp.ignore &^= tcs
	}
	c.d.Params[0] = f.lldp.ignore
	return CodeOK
}

// setDCBParameters is command 0303.
func setDCBParameters(f *Firmware, c *call) Code {
	if c.d.Params[0] > 1 || c.d.Params[1] != 1 {
		return f.badArgument(c, "command %d, valid flags %#02x", c.d.Params[0], c.d.Params[1])
	}
	f.lldp.agent, f.lldp.agentSet = c.d.Params[0] == 1, true
	return CodeOK
}
