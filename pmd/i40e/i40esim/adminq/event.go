package adminq

// Event is what the firmware posts on a receive queue: a descriptor's fields and, for messages, a buffer.
type Event struct {
	Opcode     Opcode
	RetVal     uint16
	CookieHigh uint32
	CookieLow  uint32
	Params     [16]byte // of an event without buffer; the first eight bytes of one with
	Buffer     []byte
}

// Post puts an event on the receive queue, or keeps it until the driver provides a descriptor. It returns false when the
// event is lost: the queue is not enabled, or too much is waiting already, which sets LenOVFL.
func (p *Pair) Post(e Event) bool {
	if !p.receive.enabled() {
		return false
	}
	if len(p.pending) >= maxPending {
		p.receive.len |= LenOVFL
		return false
	}
	p.pending = append(p.pending, e)
	p.drain()
	return true
}

// drain delivers waiting events into the descriptors that there are.
func (p *Pair) drain() {
	posted := false
	for len(p.pending) > 0 && p.receive.enabled() && p.receive.head != p.receive.tail {
		e := p.pending[0]
		p.pending = p.pending[1:]
		if !p.deliver(&e) {
			return
		}
		posted = true
		p.receive.head = p.receive.next(p.receive.head)
		p.fw.traceEvent(p, &e)
	}
	if posted {
		p.interrupt()
	}
}

// deliver writes one event. A message that is longer than the driver's buffer is cut off and marked: an event has no way
// back to who caused it.
func (p *Pair) deliver(e *Event) bool {
	d, err := p.fetch(&p.receive, p.receive.head)
	if err != nil {
		p.critical(Receive, "fetching the descriptor at %d: %v", p.receive.head, err)
		return false
	}
	p.checkPosted(&d)
	size, addr := int(d.DataLen), d.Address()
	done := Descriptor{
		Flags: d.Flags&(FlagLB|FlagBUF) | FlagDD | FlagCMP, Opcode: e.Opcode, RetVal: e.RetVal,
		CookieHigh: e.CookieHigh, CookieLow: e.CookieLow, Params: e.Params,
	}
	if len(e.Buffer) > 0 {
		msg := e.Buffer
		if len(msg) > size {
			p.violation("event %s of %d bytes does not fit the posted buffer of %d", e.Opcode, len(msg), size)
			msg = msg[:size]
			done.Flags |= FlagERR
		}
		if err := p.dma.Write(addr, msg); err != nil {
			p.critical(Receive, "writing %d bytes of event %s to %#x: %v", len(msg), e.Opcode, addr, err)
			return false
		}
		done.DataLen = uint16(len(msg))
		done.SetAddress(addr)
	}
	if err := p.store(&p.receive, p.receive.head, &done); err != nil {
		p.critical(Receive, "writing the event at %d: %v", p.receive.head, err)
		return false
	}
	return true
}

// checkPosted looks at a descriptor that the driver gave to the firmware.
func (p *Pair) checkPosted(d *Descriptor) {
	switch {
	case d.Flags&FlagBUF == 0:
		p.violation("receive descriptor at %d has no buffer (flags %#04x)", p.receive.head, d.Flags)
	case d.Flags&firmwareFlags != 0:
		p.violation("receive descriptor at %d was not cleaned (flags %#04x)", p.receive.head, d.Flags)
	case d.DataLen > MaxBuffer || d.DataLen == 0:
		p.violation("receive descriptor at %d has a buffer of %d bytes", p.receive.head, d.DataLen)
	case d.DataLen > LargeBuffer && d.Flags&FlagLB == 0:
		p.violation("receive descriptor at %d has %d bytes but no LB", p.receive.head, d.DataLen)
	}
}
