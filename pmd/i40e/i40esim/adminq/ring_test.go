package adminq

import (
	"slices"
	"strings"
	"testing"
)

func TestDescriptorsAreCodedAsInMemory(t *testing.T) {
	want := Descriptor{
		Flags: 0x3001, Opcode: 0x0210, DataLen: 128, RetVal: 14, CookieHigh: 0x11223344, CookieLow: 0x55667788,
		Params: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
	}
	var raw [DescriptorSize]byte
	want.Encode(raw[:])
	head := []byte{0x01, 0x30, 0x10, 0x02, 0x80, 0, 14, 0, 0x44, 0x33, 0x22, 0x11, 0x88, 0x77, 0x66, 0x55}
	if !slices.Equal(raw[:16], head) {
		t.Errorf("encoded % x", raw[:16])
	}
	var got Descriptor
	got.Decode(raw[:])
	if got != want {
		t.Errorf("decoded %+v", got)
	}
	got.SetAddress(0x1122334455667788)
	if got.Params[8] != 0x44 || got.Params[12] != 0x88 || got.Address() != 0x1122334455667788 {
		t.Errorf("address in % x", got.Params)
	}
	got.SetParam(1, 0xCAFE)
	if got.Param(1) != 0xCAFE {
		t.Errorf("param1 is %#x", got.Param(1))
	}
}

func TestCommandsAreCompletedInOrderAroundTheRing(t *testing.T) {
	r := newRig(t)
	for i := range 3 * entries {
		d := r.must(OpGetVersion, nil, nil, false)
		if d.Flags != FlagSI|FlagDD|FlagCMP {
			t.Fatalf("command %d: flags %#04x", i, d.Flags)
		}
		if got := r.pair.Read(Send, HEAD); got != r.tail {
			t.Fatalf("command %d: head %d, tail %d", i, got, r.tail)
		}
	}
}

func TestSeveralCommandsWithOneDoorbell(t *testing.T) {
	r := newRig(t)
	for i := range uint32(5) {
		r.put(asqAt, i, &Descriptor{Opcode: OpGetVersion, Flags: FlagSI})
	}
	r.pair.Write(Send, TAIL, 5)
	for i := range uint32(5) {
		if d := r.get(asqAt, i); d.Flags&FlagDD == 0 {
			t.Errorf("command %d is not done", i)
		}
	}
}

func TestInterruptOnlyWhenAskedFor(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		name  string
		flags uint16
		op    Opcode
		want  int
	}{
		{"silent", FlagSI, OpGetVersion, 0},
		{"not silent", 0, OpGetVersion, 1},
		{"silent but for errors, no error", FlagSI | FlagEI, OpGetVersion, 0},
		{"silent but for errors, error", FlagSI | FlagEI, OpGetVEB, 1},
		{"silent, error", FlagSI, OpGetVEB, 0},
	} {
		r.raised = 0
		r.send(Descriptor{Opcode: c.op, Flags: c.flags}, nil)
		if r.raised != c.want {
			t.Errorf("%s: %d interrupts, want %d", c.name, r.raised, c.want)
		}
	}
}

func TestFlushOnErrorFlushesWhatFollows(t *testing.T) {
	r := newRig(t)
	r.put(asqAt, 0, &Descriptor{Opcode: OpGetVEB, Flags: FlagSI | FlagFE})
	r.put(asqAt, 1, &Descriptor{Opcode: OpGetVersion, Flags: FlagSI})
	r.pair.Write(Send, TAIL, 2)
	if d := r.get(asqAt, 1); Code(d.RetVal) != CodeFlushed {
		t.Errorf("the second command: %s", Code(d.RetVal))
	}
	r.tail = 2
	r.must(OpGetVersion, nil, nil, false) // a later doorbell is not affected
}

func TestUnknownOpcode(t *testing.T) {
	r := newRig(t)
	r.want(CodeSrch, 0x7777, nil, nil, false)
	r.expect("unknown (7777)")
}

func TestFlagsThatAreNotTheDrivers(t *testing.T) {
	r := newRig(t)
	for _, flags := range []uint16{FlagDD, FlagERR, 1 << 5} {
		if d := r.send(Descriptor{Opcode: OpGetVersion, Flags: flags | FlagSI}, nil); Code(d.RetVal) != CodeOK {
			t.Errorf("flags %#x: %s", flags, Code(d.RetVal))
		}
		r.expect("not the driver's")
	}
}

func TestRegistersReadBack(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		side Side
		reg  Register
		want uint32
	}{
		{Send, BAL, asqAt & 0xFFFFFFFF},
		{Send, BAH, asqAt >> 32},
		{Send, LEN, LenEnable | entries},
		{Send, HEAD, 0},
		{Receive, BAL, arqAt & 0xFFFFFFFF},
		{Receive, TAIL, entries - 1},
	} {
		if got := r.pair.Read(c.side, c.reg); got != c.want {
			t.Errorf("%s%s is %#x, want %#x", c.side, c.reg, got, c.want)
		}
	}
	r.pair.Reset()
	for _, side := range []Side{Send, Receive} {
		for reg := BAL; reg <= TAIL; reg++ {
			if got := r.pair.Read(side, reg); got != 0 {
				t.Errorf("%s%s is %#x after a reset", side, reg, got)
			}
		}
	}
}

func TestRegisterMistakesAreViolations(t *testing.T) {
	for _, c := range []struct {
		name, what string
		do         func(p *Pair)
	}{
		{"tail beyond the ring", "has 32 entries", func(p *Pair) { p.Write(Send, TAIL, 32) }},
		{"tail of a queue that is off", "not enabled", func(p *Pair) { p.Reset(); p.Write(Send, TAIL, 3) }},
		{"head", "only 0", func(p *Pair) { p.Write(Receive, HEAD, 4) }},
		{"unaligned base", "aligned", func(p *Pair) { p.Write(Send, BAL, 0x1004) }},
		{"reserved bits of LEN", "reserved", func(p *Pair) { p.Write(Send, LEN, LenEnable|entries|1<<12) }},
		{"no entries", "without entries", func(p *Pair) { p.Write(Send, LEN, LenEnable) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			c.do(r.pair)
			r.expect(c.what)
		})
	}
}

// TestShutDownWhileEntriesWereUsed writes HEAD before TAIL, as drivers do when they end: nothing may be executed again.
func TestShutDownWhileEntriesWereUsed(t *testing.T) {
	r := newRig(t)
	for range 5 {
		r.must(OpGetVersion, nil, nil, false)
	}
	before := r.fw.Counts()[OpGetVersion]
	for _, reg := range []Register{HEAD, TAIL, LEN, BAL, BAH} {
		r.pair.Write(Send, reg, 0)
	}
	if got := r.fw.Counts()[OpGetVersion]; got != before {
		t.Errorf("%d commands were executed by the shutdown", got-before)
	}
	r.start()
	r.must(OpGetVersion, nil, nil, false)
}

func TestRingOutsideOfMemoryStopsTheQueue(t *testing.T) {
	r := newRig(t)
	r.pair.Write(Send, BAH, 7)
	r.pair.Write(Send, TAIL, 1)
	if got := r.pair.Read(Send, LEN); got&LenCRIT == 0 {
		t.Errorf("LEN is %#x, without CRIT", got)
	}
	if r.raised != 1 {
		t.Errorf("%d interrupts", r.raised)
	}
	r.expect("not mapped")
	r.start()
	r.must(OpGetVersion, nil, nil, false)
}

func TestCompletionThatCannotBeWritten(t *testing.T) {
	r := newRig(t)
	r.put(asqAt, 0, &Descriptor{Opcode: OpGetVersion, Flags: FlagSI})
	r.mem.readOnly = true
	r.pair.Write(Send, TAIL, 1)
	if r.pair.Read(Send, LEN)&LenCRIT == 0 || r.pair.Read(Send, HEAD) != 0 {
		t.Errorf("LEN %#x, head %d", r.pair.Read(Send, LEN), r.pair.Read(Send, HEAD))
	}
	r.expect("read only")
}

func TestBufferOutsideOfMemory(t *testing.T) {
	r := newRig(t)
	d := Descriptor{Opcode: OpListFunctionCapabilities, Flags: FlagSI | FlagBUF | FlagLB, DataLen: 2048}
	d.SetAddress(0xDEAD0000)
	if got := Code(r.send(d, nil).RetVal); got != CodeBadAddr {
		t.Errorf("reading: %s", got)
	}
	r.expect("0xdead0000")
	d = Descriptor{Opcode: OpAddMACVLAN, Flags: FlagSI | FlagBUF | FlagRD, DataLen: 16, Params: [16]byte{1, 0, 0, 0x82}}
	d.SetAddress(memBase + memSize - 8)
	if got := Code(r.send(d, nil).RetVal); got != CodeBadAddr {
		t.Errorf("half of it mapped: %s", got)
	}
	r.expect("not mapped")
	if got := len(r.fw.sw.main.macs); got != 1 {
		t.Errorf("a filter was added from a buffer that cannot be read: %d", got)
	}
}

func TestEventsGoIntoPostedBuffers(t *testing.T) {
	r := newRig(t)
	for i := range 2 * entries {
		msg := strings.Repeat("x", i*40)
		if !r.pair.Post(Event{Opcode: OpSendToPF, RetVal: uint16(i), CookieHigh: 1, CookieLow: 2, Buffer: []byte(msg)}) {
			t.Fatalf("event %d is lost", i)
		}
		d, got, ok := r.event()
		if !ok || string(got) != msg || d.RetVal != uint16(i) || d.CookieHigh != 1 || d.CookieLow != 2 ||
			d.Flags != FlagDD|FlagCMP|FlagBUF|FlagLB {
			t.Fatalf("event %d: %v %+v, %d bytes", i, ok, d, len(got))
		}
	}
	if r.raised != 2*entries {
		t.Errorf("%d interrupts", r.raised)
	}
}

func TestEventsWaitForDescriptorsAndOverflow(t *testing.T) {
	r := newRig(t)
	for i := range entries - 1 + maxPending {
		if !r.pair.Post(Event{Opcode: OpSendToPF, RetVal: uint16(i)}) {
			t.Fatalf("event %d is lost", i)
		}
	}
	if r.pair.Read(Receive, LEN)&LenOVFL != 0 {
		t.Error("overflow before there is one")
	}
	if r.pair.Post(Event{Opcode: OpSendToPF}) {
		t.Error("one more was accepted")
	}
	if r.pair.Read(Receive, LEN)&LenOVFL == 0 {
		t.Error("no overflow bit")
	}
	for i := range entries - 1 + maxPending {
		if d, _, ok := r.event(); !ok || d.RetVal != uint16(i) {
			t.Fatalf("event %d: %v %+v", i, ok, d)
		}
	}
	if _, _, ok := r.event(); ok {
		t.Error("an event too many")
	}
	// The driver clears the bit by writing the register back without it; the queue goes on.
	r.pair.Write(Receive, LEN, LenEnable|entries)
	if got := r.pair.Read(Receive, LEN); got != LenEnable|entries {
		t.Errorf("LEN is %#x", got)
	}
	r.pair.Post(Event{Opcode: OpSendToPF, RetVal: 99})
	if d, _, ok := r.event(); !ok || d.RetVal != 99 {
		t.Errorf("after the overflow: %v %+v", ok, d)
	}
}

func TestEventsWithoutQueueAreLost(t *testing.T) {
	r := newRig(t)
	r.pair.Write(Receive, LEN, 0)
	if r.pair.Post(Event{Opcode: OpSendToPF}) || r.raised != 0 {
		t.Error("an event was posted to a queue that is off")
	}
}

func TestEventLargerThanItsBuffer(t *testing.T) {
	r := newRig(t)
	d := Descriptor{Flags: FlagBUF, DataLen: 16}
	d.SetAddress(eventsAt)
	r.put(arqAt, 0, &d)
	clear(r.mem.data[eventsAt-memBase:][:64])
	r.pair.Post(Event{Opcode: OpSendToPF, Buffer: []byte(strings.Repeat("x", 32))})
	got, msg, _ := r.event()
	if got.Flags&FlagERR == 0 || len(msg) != 16 || r.mem.data[eventsAt-memBase+16] != 0 {
		t.Errorf("flags %#x, %d bytes, behind them %#x", got.Flags, len(msg), r.mem.data[eventsAt-memBase+16])
	}
	r.expect("does not fit")
}

func TestBadReceiveDescriptorsAreViolations(t *testing.T) {
	for what, d := range map[string]Descriptor{
		"has no buffer":  {DataLen: 64},
		"not cleaned":    {Flags: FlagBUF | FlagDD, DataLen: 64},
		"but no LB":      {Flags: FlagBUF, DataLen: 4096},
		"buffer of 0":    {Flags: FlagBUF},
		"buffer of 5000": {Flags: FlagBUF | FlagLB, DataLen: 5000},
	} {
		r := newRig(t)
		d.SetAddress(eventsAt)
		r.put(arqAt, 0, &d)
		r.pair.Post(Event{Opcode: OpSendToPF})
		r.expect(what)
	}
}

func TestEventBufferOutsideOfMemoryStopsTheQueue(t *testing.T) {
	r := newRig(t)
	d := Descriptor{Flags: FlagBUF, DataLen: 16}
	d.SetAddress(1)
	r.put(arqAt, 0, &d)
	r.pair.Post(Event{Opcode: OpSendToPF, Buffer: []byte{1}})
	if r.pair.Read(Receive, LEN)&LenCRIT == 0 || r.pair.Read(Receive, HEAD) != 0 {
		t.Errorf("LEN %#x, head %d", r.pair.Read(Receive, LEN), r.pair.Read(Receive, HEAD))
	}
	r.expect("not mapped")
}

func TestFaults(t *testing.T) {
	r := newRig(t)
	pf := r.pair.Function()
	r.fw.Inject(Fault{Function: pf, Opcode: OpGetVersion, Skip: 1, Times: 2, Code: CodeIO})
	var got []Code
	for range 4 {
		_, code := r.command(OpGetVersion, nil, nil, false)
		got = append(got, code)
	}
	if !slices.Equal(got, []Code{CodeOK, CodeIO, CodeIO, CodeOK}) {
		t.Errorf("codes %v", got)
	}

	r.fw.Inject(Fault{Function: pf, Opcode: OpSetMACConfig, Code: CodeAgain})
	r.want(CodeAgain, OpSetMACConfig, []byte{0, 8, 4}, nil, false)
	if r.fw.FrameLimit() != MaxFrame {
		t.Error("a command that failed on purpose had an effect")
	}
	r.fw.ClearFaults()
	r.fw.Inject(Fault{Function: pf, Opcode: OpSetMACConfig, Code: CodeAgain, After: true, Times: 1})
	r.want(CodeAgain, OpSetMACConfig, []byte{0, 8, 4}, nil, false)
	if r.fw.FrameLimit() != 2048 {
		t.Error("a command that was to fail after its execution had no effect")
	}

	r.fw.Inject(Fault{Function: Function{VF: true}, Code: CodeIO}) // somebody else's
	r.must(OpGetVersion, nil, nil, false)
	r.fw.Inject(Fault{Function: pf, Code: CodePerm, Times: 1}) // any command
	r.want(CodePerm, OpGetVersion, nil, nil, false)
}

func TestACommandThatHangs(t *testing.T) {
	r := newRig(t)
	r.fw.Inject(Fault{Function: r.pair.Function(), Opcode: OpGetVersion, Times: 1, Hang: true})
	d := r.send(Descriptor{Opcode: OpGetVersion, Flags: FlagSI}, nil)
	if d.Flags&FlagDD != 0 || r.pair.Read(Send, HEAD) != 0 || r.pair.Read(Send, LEN)&LenCRIT != 0 {
		t.Errorf("flags %#x, head %d", d.Flags, r.pair.Read(Send, HEAD))
	}
	// Drivers begin anew without disabling the queue first (i40e_resume_aq).
	r.start()
	r.must(OpGetVersion, nil, nil, false)

	r.fw.Inject(Fault{Function: r.pair.Function(), Times: 1, Hang: true, Critical: true})
	r.send(Descriptor{Opcode: OpGetVersion, Flags: FlagSI}, nil)
	if r.pair.Read(Send, LEN)&LenCRIT == 0 {
		t.Error("no critical error")
	}
}

func TestTraceIsTheSameWhateverTheAddress(t *testing.T) {
	r := newRig(t)
	buf := make([]byte, 64)
	r.must(OpQueryVSIBandwidth, params16(firstVSI), buf, false)
	d := Descriptor{Opcode: OpQueryVSIBandwidth, Flags: FlagSI | FlagBUF, DataLen: 64, Params: [16]byte{0, 2}}
	d.SetAddress(bufAt + 0x400)
	r.send(d, nil)
	n := len(r.lines)
	if n < 2 || r.lines[n-1] != r.lines[n-2] {
		t.Fatalf("trace %q", r.lines)
	}
	const want = "PF0 aq query_vsi_bw_config (0408) flags=3000 len=64 params=0002000000000000 -> OK"
	if r.lines[n-1] != want {
		t.Errorf("line %q, want %q", r.lines[n-1], want)
	}
	r.pair.Post(Event{Opcode: OpSendToPF, RetVal: 3, CookieHigh: 1, Buffer: []byte{1}})
	const event = "PF0 aq event send_msg_to_pf (0801) retval=3 cookie=00000001:00000000 len=1"
	if got := r.lines[n]; !strings.HasPrefix(got, event) {
		t.Errorf("event line %q", got)
	}
}
