package adminq

// Mailbox answers the messages of VFs where no PF driver does.
type Mailbox interface {
	// FromVF takes a message: a virtchnl opcode, the VF's status and its payload, which is only lent. It answers by
	// Firmware.SendToVF, then or later.
	FromVF(vf int, op, status uint32, msg []byte)
}

// SendToVF posts a message of the PF on a VF's receive queue. It returns false when it is lost.
func (f *Firmware) SendToVF(vf int, op, status uint32, msg []byte) bool {
	p := f.VF(vf)
	if p == nil {
		return false
	}
	return p.Post(Event{Opcode: OpSendToVF, CookieHigh: op, CookieLow: status, Buffer: append([]byte(nil), msg...)})
}

// sendToPF is what a VF sends with. The firmware copies the cookies, which carry the virtchnl opcode and status, and puts
// the VF's number as the hardware counts them into the descriptor's return value (virtchnl.h, "Admin queue buffer usage").
func sendToPF(f *Firmware, c *call) Code {
	vf := int(c.pair.fn.Index)
	if f.mailbox != nil {
		f.mailbox.FromVF(vf, c.d.CookieHigh, c.d.CookieLow, c.buf)
		return CodeOK
	}
	ok := f.pf.Post(Event{
		Opcode: OpSendToPF, RetVal: uint16(f.cfg.FirstVF + vf), CookieHigh: c.d.CookieHigh, CookieLow: c.d.CookieLow,
		Buffer: append([]byte(nil), c.buf...),
	})
	if !ok {
		return CodeNoSpc
	}
	return CodeOK
}

// sendToVF is what the PF answers with; param0 is the VF as the PF counts them, or as the hardware does.
func sendToVF(f *Firmware, c *call) Code {
	vf := int(c.d.u32(0)) - f.cfg.FirstVF
	p := f.VF(vf)
	if vf < 0 || vf >= len(f.vfs) {
		return CodeNoEnt
	}
	if p == nil || !p.receive.enabled() {
		return CodeNXIO
	}
	if !f.SendToVF(vf, c.d.CookieHigh, c.d.CookieLow, c.buf) {
		return CodeNoSpc
	}
	return CodeOK
}

// sendToPeer goes to another PF, of which a Firmware has none.
func sendToPeer(*Firmware, *call) Code { return CodeNXIO }
