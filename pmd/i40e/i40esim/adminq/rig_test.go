package adminq

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// memory is a driver's: mapped from base on.
type memory struct {
	base uint64
	data []byte
	// readOnly refuses writes, as a mapping without write permission does.
	readOnly bool
}

var errUnmapped = errors.New("not mapped")

func (m *memory) at(addr uint64, n int) ([]byte, error) {
	if addr < m.base || addr-m.base > uint64(len(m.data)) || uint64(n) > uint64(len(m.data))-(addr-m.base) {
		return nil, fmt.Errorf("%d bytes at %#x: %w", n, addr, errUnmapped)
	}
	return m.data[addr-m.base:][:n], nil
}

func (m *memory) Read(addr uint64, p []byte) error {
	b, err := m.at(addr, len(p))
	copy(p, b)
	return err
}

func (m *memory) Write(addr uint64, p []byte) error {
	if m.readOnly {
		return errors.New("read only")
	}
	b, err := m.at(addr, len(p))
	copy(b, p)
	return err
}

// registerFile is the device's registers: those that a test has put there.
type registerFile map[uint32]uint32

func (r registerFile) ReadRegister(offset uint32) (uint32, bool) {
	v, ok := r[offset]
	return v, ok
}

func (r registerFile) WriteRegister(offset, v uint32) bool {
	if _, ok := r[offset]; !ok {
		return false
	}
	r[offset] = v
	return true
}

// Where things are in a driver's memory.
const (
	memBase   = 0x1_0000_0000 // above 4 GiB: both halves of addresses count
	asqAt     = memBase
	arqAt     = memBase + 0x1000
	bufAt     = memBase + 0x4000
	eventsAt  = memBase + 0x8000
	memSize   = 0x40000
	entries   = 32
	eventSize = 4096
)

// port is a function's driver: its memory and its rings.
type port struct {
	t      *testing.T
	mem    *memory
	pair   *Pair
	tail   uint32 // of the send queue
	clean  uint32 // next event to look at
	raised int
}

// rig is a firmware with its PF driver.
type rig struct {
	*port
	fw         *Firmware
	regs       registerFile
	violations []string
	lines      []string
	links      []bool
	timers     []func()
	manual     bool // timers wait for run
}

func newRig(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	cfg := DefaultConfig()
	cfg.NVM = make([]uint16, 32*1024)
	for _, c := range change {
		c(&cfg)
	}
	r := &rig{regs: make(registerFile)}
	fw, err := New(cfg, r.regs, Hooks{
		Violation:   func(format string, args ...any) { r.violations = append(r.violations, fmt.Sprintf(format, args...)) },
		Trace:       func(line string) { r.lines = append(r.lines, line) },
		LinkChanged: func(up bool) { r.links = append(r.links, up) },
		AfterFunc: func(_ time.Duration, f func()) {
			if r.manual {
				r.timers = append(r.timers, f)
			} else {
				f()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.fw = fw
	r.links = nil
	r.port = newPort(t, func(m *memory, raise func()) *Pair { return fw.AttachPF(m, raise) })
	r.port.start()
	t.Cleanup(func() {
		if len(r.violations) > 0 {
			t.Errorf("violations: %s", strings.Join(r.violations, "\n\t"))
		}
	})
	return r
}

// expect takes back violations, which must name what.
func (r *rig) expect(what string) {
	r.t.Helper()
	if len(r.violations) == 0 || !strings.Contains(strings.Join(r.violations, "\n"), what) {
		r.t.Errorf("violations %q, none about %q", r.violations, what)
	}
	r.violations = nil
}

// run lets time pass: the timers that wait are due.
func (r *rig) run() {
	due := r.timers
	r.timers = nil
	for _, f := range due {
		f()
	}
}

func newPort(t *testing.T, attach func(*memory, func()) *Pair) *port {
	p := &port{t: t, mem: &memory{base: memBase, data: make([]byte, memSize)}}
	p.pair = attach(p.mem, func() { p.raised++ })
	return p
}

// start sets up both rings in the order of the drivers: length and enable first, then the address, then buffers.
func (p *port) start() {
	p.tail, p.clean = 0, 0
	for side, at := range map[Side]uint64{Send: asqAt, Receive: arqAt} {
		p.pair.Write(side, HEAD, 0)
		p.pair.Write(side, TAIL, 0)
		p.pair.Write(side, LEN, LenEnable|entries)
		p.pair.Write(side, BAL, uint32(at&0xFFFFFFFF))
		p.pair.Write(side, BAH, uint32(at>>32))
	}
	for i := range uint32(entries) {
		p.postBuffer(i)
	}
	p.pair.Write(Receive, TAIL, entries-1)
}

func (p *port) postBuffer(i uint32) {
	d := Descriptor{Flags: FlagBUF | FlagLB, DataLen: eventSize}
	d.SetAddress(eventsAt + uint64(i)*eventSize)
	p.put(arqAt, i, &d)
}

func (p *port) put(ring uint64, i uint32, d *Descriptor) {
	var raw [DescriptorSize]byte
	d.Encode(raw[:])
	copy(p.mem.data[ring-memBase+uint64(i)*DescriptorSize:], raw[:])
}

func (p *port) get(ring uint64, i uint32) (d Descriptor) {
	d.Decode(p.mem.data[ring-memBase+uint64(i)*DescriptorSize:][:DescriptorSize])
	return d
}

// send puts a descriptor on the ring, and a buffer behind it, and returns the completion. The buffer is changed in place.
func (p *port) send(d Descriptor, buf []byte) Descriptor {
	p.t.Helper()
	if buf != nil {
		copy(p.mem.data[bufAt-memBase:], buf)
		d.SetAddress(bufAt)
	}
	at := p.tail
	p.put(asqAt, at, &d)
	p.tail = (p.tail + 1) % entries
	p.pair.Write(Send, TAIL, p.tail)
	done := p.get(asqAt, at)
	if buf != nil {
		copy(buf, p.mem.data[bufAt-memBase:])
	}
	return done
}

// command sends what a driver would: flags by the buffer's size and direction.
func (p *port) command(op Opcode, params []byte, buf []byte, reads bool) (*Descriptor, Code) {
	p.t.Helper()
	d := Descriptor{Opcode: op, Flags: FlagSI, CookieHigh: 0xC00C1E, DataLen: uint16(len(buf))}
	copy(d.Params[:], params)
	if buf != nil {
		d.Flags |= FlagBUF
		if reads {
			d.Flags |= FlagRD
		}
		if len(buf) > LargeBuffer {
			d.Flags |= FlagLB
		}
	}
	done := p.send(d, buf)
	if done.Flags&(FlagDD|FlagCMP) != FlagDD|FlagCMP {
		p.t.Fatalf("%s: completion has flags %#04x", op, done.Flags)
	}
	if failed := done.Flags&FlagERR != 0; failed != (done.RetVal != 0) {
		p.t.Errorf("%s: flags %#04x with code %s", op, done.Flags, Code(done.RetVal))
	}
	if done.CookieHigh != 0xC00C1E {
		p.t.Errorf("%s: the cookie did not come back", op)
	}
	return &done, Code(done.RetVal)
}

// must is command for what has to succeed.
func (p *port) must(op Opcode, params []byte, buf []byte, reads bool) *Descriptor {
	p.t.Helper()
	d, code := p.command(op, params, buf, reads)
	if code != CodeOK {
		p.t.Fatalf("%s: %s", op, code)
	}
	return d
}

// want is command for what has to fail with a code.
func (p *port) want(code Code, op Opcode, params []byte, buf []byte, reads bool) {
	p.t.Helper()
	if _, got := p.command(op, params, buf, reads); got != code {
		p.t.Errorf("%s: %s, want %s", op, got, code)
	}
}

// event returns the next event and its message, and gives the buffer back. ok is false when there is none.
func (p *port) event() (d Descriptor, msg []byte, ok bool) {
	p.t.Helper()
	if p.pair.Read(Receive, HEAD) == p.clean {
		return d, nil, false
	}
	d = p.get(arqAt, p.clean)
	if d.Flags&FlagDD == 0 {
		p.t.Fatalf("event without DD: %+v", d)
	}
	msg = bytes.Clone(p.mem.data[eventsAt-memBase+uint64(p.clean)*eventSize:][:d.DataLen])
	p.postBuffer(p.clean)
	p.pair.Write(Receive, TAIL, p.clean)
	p.clean = (p.clean + 1) % entries
	return d, msg, true
}

// params16 are 16-bit words of a command's parameters.
func params16(values ...uint16) []byte {
	var out []byte
	for _, v := range values {
		out = le.AppendUint16(out, v)
	}
	return out
}

func params32(values ...uint32) []byte {
	var out []byte
	for _, v := range values {
		out = le.AppendUint32(out, v)
	}
	return out
}

var (
	mac1 = MAC{0x02, 0, 0, 0, 0, 1}
	mac2 = MAC{0x02, 0, 0, 0, 0, 2}
	mac3 = MAC{0x02, 0, 0, 0, 0, 3}
	mcst = MAC{0x01, 0, 0x5E, 0, 0, 1}
	bcst = MAC{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}
)
