package adminq

import "fmt"

// DMA is a function's view of its driver's memory. An error says that not all of p is mapped, or may not be written.
type DMA interface {
	Read(addr uint64, p []byte) error
	Write(addr uint64, p []byte) error
}

// Side is one of the two queues of a pair.
type Side uint8

// The queues: commands go out on Send (ASQ, ATQ in register names), events come in on Receive (ARQ).
const (
	Send Side = iota
	Receive
)

func (s Side) String() string { return [...]string{"ATQ", "ARQ"}[s] }

// Register is one of a queue's registers. PF and VF have them at different offsets, with the same content.
type Register uint8

// The registers of a queue (datasheet, "PF_ATQBAL" and following).
const (
	BAL  Register = iota // base address, low half
	BAH                  // base address, high half
	LEN                  // entries [9:0], error bits, enable
	HEAD                 // [9:0], next entry of the firmware
	TAIL                 // [9:0], next entry of the driver
)

func (r Register) String() string { return [...]string{"BAL", "BAH", "LEN", "H", "T"}[r] }

// Bits of register LEN.
const (
	LenVFE    = 1 << 28 // a VF's queue failed
	LenOVFL   = 1 << 29 // an event was lost for want of descriptors
	LenCRIT   = 1 << 30 // the queue itself is broken: no command is executed
	LenEnable = 1 << 31

	lenErrors   = LenVFE | LenOVFL | LenCRIT
	indexMask   = 0x3FF
	lenWritable = indexMask | lenErrors | LenEnable
)

// maxPending bounds the events that wait for a descriptor. Model: real firmware keeps few, how many is not said.
const maxPending = 64

// ring is the register file of one queue.
type ring struct {
	bal, bah, len, head, tail uint32
}

func (r *ring) enabled() bool {
	return r.len&LenEnable != 0 && r.len&indexMask != 0 && r.len&LenCRIT == 0
}
func (r *ring) entries() uint32 { return r.len & indexMask }
func (r *ring) base() uint64    { return uint64(r.bah)<<32 | uint64(r.bal) }

func (r *ring) address(index uint32) uint64 { return r.base() + uint64(index)*DescriptorSize }

func (r *ring) next(index uint32) uint32 {
	if index++; index >= r.entries() {
		return 0
	}
	return index
}

// Pair is the two admin queues of one function. The device passes on what the driver does to their registers.
type Pair struct {
	fw    *Firmware
	fn    Function
	dma   DMA
	raise func() // interrupt cause ADMINQ of the function

	send, receive ring

	running bool // a command is being executed: TAIL is only noted
	stalled bool // a fault keeps the command at HEAD from ever completing
	pending []Event
}

// Function returns whose queues these are.
func (p *Pair) Function() Function { return p.fn }

// Read returns what a driver reads from a register.
func (p *Pair) Read(side Side, reg Register) uint32 { return *p.register(side, reg) }

func (p *Pair) ring(side Side) *ring {
	if side == Send {
		return &p.send
	}
	return &p.receive
}

func (p *Pair) register(side Side, reg Register) *uint32 {
	r := p.ring(side)
	return [...]*uint32{BAL: &r.bal, BAH: &r.bah, LEN: &r.len, HEAD: &r.head, TAIL: &r.tail}[reg]
}

// Write does what a driver's write to a register does: enabling a queue, executing commands (Send, TAIL), taking new
// buffers for events (Receive, TAIL).
func (p *Pair) Write(side Side, reg Register, v uint32) {
	r := p.ring(side)
	switch reg {
	case BAL:
		if v%64 != 0 {
			p.violation("%sBAL %#x: the ring must be aligned to 64 bytes", side, v)
		}
		r.bal = v
	case BAH:
		r.bah = v
	case LEN:
		p.writeLen(side, v)
	case HEAD:
		if v != 0 {
			p.violation("%sH written %d: only 0 may be written, before the queue is enabled", side, v)
		}
		r.head = v & indexMask
	case TAIL:
		p.writeTail(side, v)
	}
}

// writeLen keeps a running queue running: a driver clears error bits by writing the register back without them.
func (p *Pair) writeLen(side Side, v uint32) {
	r := p.ring(side)
	if v&^lenWritable != 0 {
		p.violation("%sLEN written %#x: reserved bits", side, v)
	}
	was := r.len
	r.len = v&(indexMask|LenEnable) | was&v&lenErrors
	if v&LenEnable != 0 && r.entries() == 0 {
		p.violation("%sLEN enables a queue without entries", side)
		r.len |= LenCRIT
	}
	if side == Send {
		p.stalled = false
	} else if was&LenEnable == 0 || v&LenEnable == 0 {
		p.pending = nil
	}
}

func (p *Pair) writeTail(side Side, v uint32) {
	r := p.ring(side)
	if r.len&LenEnable != 0 && v >= max(r.entries(), 1) {
		p.violation("%sT written %d: the queue has %d entries", side, v, r.entries())
		return
	}
	r.tail = v & indexMask
	if !r.enabled() {
		if v != 0 {
			p.violation("%sT written %d: the queue is not enabled", side, v)
		}
		return
	}
	if side == Send {
		p.run()
	} else {
		p.drain()
	}
}

// Reset puts both queues into the state after a function reset: disabled, nothing pending.
func (p *Pair) Reset() {
	p.send, p.receive = ring{}, ring{}
	p.stalled, p.pending = false, nil
}

// run executes what lies between HEAD and TAIL of the send queue.
func (p *Pair) run() {
	if p.running {
		return
	}
	p.running = true
	defer func() { p.running = false }()
	flush, interrupt := false, false
	for p.send.enabled() && !p.stalled && p.send.head != p.send.tail {
		d, err := p.fetch(&p.send, p.send.head)
		if err != nil {
			p.critical(Send, "fetching the command at %d: %v", p.send.head, err)
			break
		}
		flags := d.Flags
		if p.serve(&d, flush); p.stalled || !p.send.enabled() {
			break // it hangs, or has reset the function and with it this queue
		}
		failed := d.RetVal != uint16(CodeOK)
		flush = flush || failed && flags&FlagFE != 0
		interrupt = interrupt || flags&FlagSI == 0 || failed && flags&FlagEI != 0
		if err := p.store(&p.send, p.send.head, &d); err != nil {
			p.critical(Send, "writing the completion at %d: %v", p.send.head, err)
			break
		}
		p.send.head = p.send.next(p.send.head)
	}
	if interrupt {
		p.interrupt()
	}
}

// serve turns a command into its completion.
func (p *Pair) serve(d *Descriptor, flush bool) {
	if d.Flags&firmwareFlags != 0 || d.Flags&^knownFlags != 0 {
		p.violation("command %s: flags %#04x have bits that are not the driver's", d.Opcode, d.Flags)
	}
	d.Flags &^= firmwareFlags
	if flush {
		d.complete(CodeFlushed)
		return
	}
	p.fw.serve(p, d)
}

func (d *Descriptor) complete(code Code) {
	d.RetVal = uint16(code)
	d.Flags |= FlagDD | FlagCMP
	if code != CodeOK {
		d.Flags |= FlagERR
	}
}

func (p *Pair) fetch(r *ring, index uint32) (Descriptor, error) {
	var raw [DescriptorSize]byte
	var d Descriptor
	if err := p.dma.Read(r.address(index), raw[:]); err != nil {
		return d, err
	}
	d.Decode(raw[:])
	return d, nil
}

func (p *Pair) store(r *ring, index uint32, d *Descriptor) error {
	var raw [DescriptorSize]byte
	d.Encode(raw[:])
	return p.dma.Write(r.address(index), raw[:])
}

// critical stops a queue for good: the driver sees LenCRIT and must set it up again.
func (p *Pair) critical(side Side, format string, args ...any) {
	p.ring(side).len |= LenCRIT
	p.violation("%s stopped: %s", side, fmt.Sprintf(format, args...))
	p.interrupt()
}

func (p *Pair) interrupt() {
	if p.raise != nil {
		p.raise()
	}
}

func (p *Pair) violation(format string, args ...any) {
	p.fw.violation("%s: %s", p.fn, fmt.Sprintf(format, args...))
}
