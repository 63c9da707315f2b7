package virtchnl

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"weft/pmd/i40e/i40esim/adminq"
)

// memory is a VF driver's, from address 0 on.
type memory []byte

func (m memory) Read(addr uint64, p []byte) error {
	if addr+uint64(len(p)) > uint64(len(m)) {
		return errors.New("not mapped")
	}
	copy(p, m[addr:])
	return nil
}

func (m memory) Write(addr uint64, p []byte) error {
	if addr+uint64(len(p)) > uint64(len(m)) {
		return errors.New("not mapped")
	}
	copy(m[addr:], p)
	return nil
}

// Where things are in a VF driver's memory.
const (
	asqAt    = 0x1000
	arqAt    = 0x2000
	bufAt    = 0x3000
	eventsAt = 0x8000
	entries  = 32
)

// rig is a card without PF driver, and the driver of VF 0.
type rig struct {
	t          *testing.T
	fw         *adminq.Firmware
	r          *Responder
	pair       *adminq.Pair
	mem        memory
	tail       uint32
	clean      uint32
	violations []string
	calls      []string
	fail       error // what hooks return
	stats      Statistics
}

func newRig(t *testing.T, cfg Config, change ...func(*adminq.Config)) *rig {
	t.Helper()
	rig := &rig{t: t, mem: make(memory, 0x40000)}
	card := adminq.DefaultConfig()
	card.FirstVF = 32
	for _, c := range change {
		c(&card)
	}
	violation := func(format string, args ...any) {
		rig.violations = append(rig.violations, fmt.Sprintf(format, args...))
	}
	fw, err := adminq.New(card, nil, adminq.Hooks{Violation: violation})
	if err != nil {
		t.Fatal(err)
	}
	rig.fw = fw
	if rig.pair, err = fw.AttachVF(0, rig.mem, nil); err != nil {
		t.Fatal(err)
	}
	call := func(format string, args ...any) { rig.calls = append(rig.calls, fmt.Sprintf(format, args...)) }
	rig.r, err = New(fw, cfg, Hooks{
		ConfigureTx: func(vf int, q TxQueue, set uint16) error { call("tx %d %+v %d", vf, q, set); return rig.fail },
		ConfigureRx: func(vf int, q RxQueue) error { call("rx %d %+v", vf, q); return rig.fail },
		Enable:      func(vf int, rx, tx uint32) error { call("enable %d %#x %#x", vf, rx, tx); return rig.fail },
		Disable:     func(vf int, rx, tx uint32) error { call("disable %d %#x %#x", vf, rx, tx); return rig.fail },
		Map:         func(vf int, v []Vector) error { call("map %d %+v", vf, v); return rig.fail },
		HashKey:     func(vf int, key []byte) { call("key %d %x", vf, key[:4]) },
		HashTable:   func(vf int, table []byte) { call("table %d %x", vf, table[:4]) },
		HashTypes:   func(vf int, types uint64) { call("types %d %#x", vf, types) },
		Statistics:  func(int) Statistics { return rig.stats },
		Reset:       func(vf int) { call("reset %d", vf); rig.pair.Reset() },
		Violation:   violation,
	})
	if err != nil {
		t.Fatal(err)
	}
	rig.start()
	t.Cleanup(func() {
		if len(rig.violations) > 0 {
			t.Errorf("violations: %s", strings.Join(rig.violations, "\n\t"))
		}
	})
	return rig
}

// start sets up the VF's queues.
func (g *rig) start() {
	g.tail, g.clean = 0, 0
	for side, at := range map[adminq.Side]uint32{adminq.Send: asqAt, adminq.Receive: arqAt} {
		g.pair.Write(side, adminq.LEN, adminq.LenEnable|entries)
		g.pair.Write(side, adminq.BAL, at)
	}
	for i := range uint32(entries) {
		g.post(i)
	}
	g.pair.Write(adminq.Receive, adminq.TAIL, entries-1)
}

func (g *rig) post(i uint32) {
	d := adminq.Descriptor{Flags: adminq.FlagBUF | adminq.FlagLB, DataLen: 4096}
	d.SetAddress(eventsAt + uint64(i)*4096%0x20000)
	d.Encode(g.mem[arqAt+i*adminq.DescriptorSize:])
}

// send is a message of the VF; answers are left on its receive queue.
func (g *rig) send(op Op, msg []byte) {
	g.t.Helper()
	d := adminq.Descriptor{
		Opcode: adminq.OpSendToPF, Flags: adminq.FlagSI, CookieHigh: uint32(op), DataLen: uint16(len(msg)),
	}
	if len(msg) > 0 {
		d.Flags |= adminq.FlagBUF | adminq.FlagRD
		d.SetAddress(bufAt)
		copy(g.mem[bufAt:], msg)
	}
	if len(msg) > adminq.LargeBuffer {
		d.Flags |= adminq.FlagLB
	}
	d.Encode(g.mem[asqAt+g.tail*adminq.DescriptorSize:])
	g.tail = (g.tail + 1) % entries
	g.pair.Write(adminq.Send, adminq.TAIL, g.tail)
}

// receive returns the next message for the VF.
func (g *rig) receive() (op Op, status Status, msg []byte, ok bool) {
	g.t.Helper()
	if g.pair.Read(adminq.Receive, adminq.HEAD) == g.clean {
		return 0, 0, nil, false
	}
	var d adminq.Descriptor
	d.Decode(g.mem[arqAt+g.clean*adminq.DescriptorSize:])
	if d.Opcode != adminq.OpSendToVF {
		g.t.Fatalf("event %s", d.Opcode)
	}
	if d.DataLen > 0 {
		msg = bytes.Clone(g.mem[d.Address():][:d.DataLen])
	}
	g.post(g.clean)
	g.pair.Write(adminq.Receive, adminq.TAIL, g.clean)
	g.clean = (g.clean + 1) % entries
	return Op(d.CookieHigh), Status(d.CookieLow), msg, true
}

// ask sends a message and returns its answer.
func (g *rig) ask(op Op, msg []byte) (Status, []byte) {
	g.t.Helper()
	g.send(op, msg)
	got, status, answer, ok := g.receive()
	if !ok || got != op {
		g.t.Fatalf("%s is answered by %v %s", op, ok, got)
	}
	return status, answer
}

// must is ask for what has to succeed.
func (g *rig) must(op Op, msg []byte) []byte {
	g.t.Helper()
	status, answer := g.ask(op, msg)
	if status != StatusOK {
		g.t.Fatalf("%s: status %d, violations %q", op, status, g.violations)
	}
	return answer
}

// refused is ask for what has to fail, with a violation about what; nothing for none.
func (g *rig) refused(want Status, op Op, msg []byte, what string) {
	g.t.Helper()
	before := len(g.calls)
	if status, answer := g.ask(op, msg); status != want || answer != nil {
		g.t.Errorf("%s: status %d, want %d; answer % x", op, status, want, answer)
	}
	got := strings.Join(g.violations, "\n")
	if what == "" && got != "" || !strings.Contains(got, what) {
		g.t.Errorf("%s: violations %q, want one about %q", op, got, what)
	}
	if g.violations = nil; g.fail == nil && len(g.calls) != before {
		g.t.Errorf("%s was refused, but called %q", op, g.calls[before:])
	}
}

// called returns what hooks were called since the last time.
func (g *rig) called() []string {
	out := g.calls
	g.calls = nil
	return out
}

// everything is what a VF driver asks for.
const everything = 0xFFFFFFFF

// open does what a VF driver begins with and returns its resources.
func (g *rig) open(want uint32) []byte {
	g.t.Helper()
	version := g.must(OpVersion, u32s(1, 1))
	if !bytes.Equal(version, u32s(1, 1)) {
		g.t.Fatalf("version % x", version)
	}
	return g.must(OpGetResources, u32s(want))
}

func u16s(values ...uint16) []byte {
	var out []byte
	for _, v := range values {
		out = le.AppendUint16(out, v)
	}
	return out
}

func u32s(values ...uint32) []byte {
	var out []byte
	for _, v := range values {
		out = le.AppendUint32(out, v)
	}
	return out
}

// vsi is the VF's.
func (g *rig) vsi() *adminq.VSI {
	g.t.Helper()
	v := g.fw.Switch().VSIOfVF(0)
	if v == nil {
		g.t.Fatal("the VF has no VSI")
	}
	return v
}

// accepts says whether a frame from the wire reaches the VF.
func (g *rig) accepts(h adminq.Header) bool {
	for _, d := range g.fw.Switch().Receive(&h).To {
		if d.VSI == g.vsi() {
			return true
		}
	}
	return false
}
