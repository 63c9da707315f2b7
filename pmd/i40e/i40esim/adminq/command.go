package adminq

import (
	"fmt"
)

// form is what a command does with a buffer.
type form uint8

const (
	direct  form = iota // none
	in                  // the firmware reads it: BUF and RD
	out                 // the firmware writes it: BUF
	inOut               // both: BUF and RD
	outRD               // written, yet drivers set RD as well and may leave BUF out
	inRD                // read, RD alone is enough
	inMaybe             // read if there is one
	anyForm             // whatever: the command is refused
)

func (f form) reads() bool    { return f == in || f == inOut || f == inRD || f == inMaybe }
func (f form) optional() bool { return f == direct || f == inMaybe }

// who may send a command.
type who uint8

const (
	pfOnly who = iota
	anyone
	vfOnly
)

// command is a row of the command table.
type command struct {
	form form
	// min is the smallest buffer that makes sense; what a reply needs beyond that is the handler's to say.
	min int
	who who
	// run executes the command. It answers in c.d.Params and by c.reply.
	run func(f *Firmware, c *call) Code
}

// call is a command on its way through its handler.
type call struct {
	pair    *Pair // nil for commands of the model itself
	d       *Descriptor
	buf     []byte // the caller's buffer, DataLen bytes: its content if the form reads, zeros else
	written int    // bytes of buf to give back
	size    int    // DataLen to report; written, unless the handler asks for more room
	needed  bool   // size is what the caller should have provided
}

// reply gives p to the caller, who gets CodeNoMem when his buffer is too small for it: never a byte beyond it is written.
func (c *call) reply(p []byte) Code {
	if len(p) > len(c.buf) {
		c.size, c.needed = len(p), true
		return CodeNoMem
	}
	c.written = copy(c.buf, p)
	c.size = c.written
	return CodeOK
}

// echo gives the whole buffer back, changed in place.
func (c *call) echo() Code {
	c.written, c.size = len(c.buf), len(c.buf)
	return CodeOK
}

// function is who sent the command; the model acts as the PF.
func (c *call) function(f *Firmware) Function {
	if c.pair == nil {
		return f.pf.fn
	}
	return c.pair.fn
}

// badArgument reports what a driver must not ask for, and is the code for it.
func (f *Firmware) badArgument(c *call, format string, args ...any) Code {
	f.violation("%s: command %s: %s", c.function(f), c.d.Opcode, fmt.Sprintf(format, args...))
	return CodeInval
}

// serve executes a command that was fetched from a ring, with its buffer in the driver's memory.
func (f *Firmware) serve(p *Pair, d *Descriptor) {
	request := *d
	fault := f.takeFault(p.fn, d.Opcode)
	if fault != nil && fault.Hang {
		p.stalled = true
		f.trace(p, &request, nil, "no answer (injected)")
		if fault.Critical {
			p.send.len |= LenCRIT
		}
		return
	}
	if fault != nil && !fault.After {
		f.finish(p, &request, d, fault.Code)
		return
	}
	c := &call{pair: p, d: d}
	code := f.prepare(c)
	if code == CodeOK {
		code = f.fill(c)
	}
	if code == CodeOK {
		code = f.run(c)
	}
	if c.written > 0 {
		if err := p.dma.Write(request.Address(), c.buf[:c.written]); err != nil {
			p.violation("command %s: writing %d bytes to its buffer: %v", d.Opcode, c.written, err)
			code = CodeBadAddr
		}
	}
	if len(c.buf) > 0 && (code == CodeOK || c.written > 0) || c.needed {
		d.DataLen = uint16(c.size)
	}
	if fault != nil {
		code = fault.Code
	}
	f.finish(p, &request, d, code)
}

func (f *Firmware) finish(p *Pair, request, d *Descriptor, code Code) {
	d.complete(code)
	f.counts[request.Opcode]++
	f.trace(p, request, d, "")
}

// Execute runs a command without a ring, as the PF and on its behalf: buf is the buffer, read and written in place. The
// descriptor is completed as one on a ring. It serves who stands in for a PF driver (see Mailbox).
func (f *Firmware) Execute(d *Descriptor, buf []byte) Code {
	c := &call{d: d}
	d.DataLen = uint16(len(buf))
	code := f.prepare(c)
	if code == CodeOK {
		copy(c.buf, buf)
		code = f.run(c)
	}
	copy(buf, c.buf[:c.written])
	d.complete(code)
	return code
}

// prepare looks the command up and checks the descriptor's flags against it.
func (f *Firmware) prepare(c *call) Code {
	cmd, known := f.commands[c.d.Opcode]
	if !known {
		f.violation("%s: %s", c.function(f), c.d.Opcode)
		return CodeSrch
	}
	fn := c.function(f)
	if fn.VF && cmd.who == pfOnly || !fn.VF && cmd.who == vfOnly {
		f.violation("%s: command %s is not for this kind of function", fn, c.d.Opcode)
		return CodePerm
	}
	size := int(c.d.DataLen)
	hasBuffer := c.d.Flags&FlagBUF != 0 || (cmd.form == outRD || cmd.form == inRD) && c.d.Flags&FlagRD != 0
	switch {
	case cmd.form == anyForm:
		return CodeOK
	case cmd.form == direct:
		if hasBuffer {
			return f.badArgument(c, "has a buffer (flags %#04x), but needs none", c.d.Flags)
		}
		return CodeOK
	case !hasBuffer && !cmd.form.optional():
		return f.badArgument(c, "has no buffer (flags %#04x)", c.d.Flags)
	case !hasBuffer:
		return CodeOK
	case cmd.form.reads() && c.d.Flags&FlagRD == 0:
		return f.badArgument(c, "sends a buffer without RD (flags %#04x)", c.d.Flags)
	case size > MaxBuffer:
		return f.badArgument(c, "a buffer of %d bytes, at most %d", size, MaxBuffer)
	case size > LargeBuffer && c.d.Flags&FlagLB == 0:
		return f.badArgument(c, "a buffer of %d bytes without LB", size)
	case size < cmd.min:
		f.violation("%s: command %s: a buffer of %d bytes, needs %d", fn, c.d.Opcode, size, cmd.min)
		c.size, c.needed = cmd.min, true
		return CodeNoMem
	}
	c.buf = make([]byte, size)
	return CodeOK
}

// fill reads the caller's buffer. One that is only written is tried as well: a bad address must not change anything.
func (f *Firmware) fill(c *call) Code {
	if len(c.buf) == 0 {
		return CodeOK
	}
	if err := c.pair.dma.Read(c.d.Address(), c.buf); err != nil {
		c.pair.violation("command %s: its buffer of %d bytes at %#x: %v", c.d.Opcode, len(c.buf), c.d.Address(), err)
		return CodeBadAddr
	}
	if !f.commands[c.d.Opcode].form.reads() {
		clear(c.buf)
	}
	return CodeOK
}

func (f *Firmware) run(c *call) Code { return f.commands[c.d.Opcode].run(f, c) }

// unsupported is the handler of what drivers of the family know and the XL710 does not do, or the model.
func unsupported(f *Firmware, c *call) Code {
	f.violation("%s: command %s is not one that this card knows", c.function(f), c.d.Opcode)
	return CodeNoSys
}

// wrongMode is the handler of what works only with port virtualizers, which need a switch mode (S-channels, 802.1BR) that
// no driver turns on. Model: firmware is taken to answer EMODE.
func wrongMode(*Firmware, *call) Code { return CodeMode }

// accept is the handler of what has no effect that anybody can see.
func accept(*Firmware, *call) Code { return CodeOK }
