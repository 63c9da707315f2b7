package adminq

import (
	"bytes"
	"testing"
)

// nvmParams are those of commands 0701 to 0703.
func nvmParams(flags, module uint8, length uint16, offset uint32) []byte {
	return append([]byte{flags, module}, append(params16(length), params32(offset)...)...)
}

func (p *port) own(access uint16) {
	p.t.Helper()
	p.must(OpRequestResource, params16(resourceNVM, access), nil, false)
}

func TestNVMIsRead(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.NVM[0x10], c.NVM[0x48], c.NVM[0x1000+3] = 0x1234, 0x1000, 0xBEEF
		c.NVM[0x49], c.NVM[0x4A], c.NVM[0x4B] = nvmAbsent, 0x7FFF, 0x8000|40
	})
	buf := make([]byte, 4)
	r.want(CodePerm, OpReadNVM, nvmParams(nvmLast, 0, 4, 0x20), buf, false)
	r.expect("without owning")
	r.own(accessRead)
	r.must(OpReadNVM, nvmParams(nvmLast, 0, 4, 0x20), buf, false)
	if le.Uint16(buf) != 0x1234 {
		t.Errorf("word 10 is % x", buf)
	}
	r.must(OpReadNVM, nvmParams(nvmLast, 0x48, 2, 6), buf, false)
	if le.Uint16(buf) != 0xBEEF {
		t.Errorf("third word of a module is % x", buf)
	}
	for _, module := range []uint8{0x49, 0x4A, 0x50} {
		r.want(CodeNoEnt, OpReadNVM, nvmParams(0, module, 2, 0), buf, false)
	}
	r.want(CodeRange, OpReadNVM, nvmParams(0, 0x4B, 2, 0), buf, false) // beyond the shadow RAM
	r.want(CodeRange, OpReadNVM, nvmParams(0, 0, 4, 65536-2), buf, false)
	r.want(CodeNoMem, OpReadNVM, nvmParams(0, 0, 8, 0), buf, false)
	r.want(CodeInval, OpReadNVM, nvmParams(0, 0, 2, 1<<24), buf, false)
	r.expect("offset")
	small := newRig(t, func(c *Config) { c.NVM = make([]uint16, 16) })
	small.own(accessRead)
	small.want(CodeNoEnt, OpReadNVM, nvmParams(0, 0x48, 2, 0), buf, false)
}

func TestNVMIsUpdatedWhenTheLastPartIsThere(t *testing.T) {
	r := newRig(t)
	r.own(accessWrite)
	nvm := r.fw.cfg.NVM
	r.must(OpUpdateNVM, nvmParams(0, 0, 4, 0x100), []byte{1, 2, 3, 4}, true)
	if nvm[0x80] != 0 || r.fw.Commits() != 0 {
		t.Error("committed before the last part")
	}
	buf := make([]byte, 4)
	r.must(OpReadNVM, nvmParams(0, 0, 4, 0x100), buf, false)
	if !bytes.Equal(buf, []byte{1, 2, 3, 4}) {
		t.Errorf("what was written reads % x", buf)
	}
	r.must(OpUpdateNVM, nvmParams(nvmLast, 0, 2, 0x104), []byte{5, 6}, true)
	if nvm[0x80] != 0x0201 || nvm[0x82] != 0x0605 || r.fw.Commits() != 1 {
		t.Errorf("words %#x, %#x, %d commits", nvm[0x80], nvm[0x82], r.fw.Commits())
	}
	for range 2 { // each command is reported when it is done
		if d, _, ok := r.event(); !ok || d.Opcode != OpUpdateNVM {
			t.Errorf("event %v %+v", ok, d)
		}
	}
	// What was not committed is dropped with the ownership.
	r.must(OpUpdateNVM, nvmParams(0, 0, 2, 0x100), []byte{9, 9}, true)
	r.must(OpReleaseResource, params16(resourceNVM), nil, false)
	r.own(accessWrite)
	r.must(OpUpdateNVM, nvmParams(nvmLast, 0, 2, 0x106), []byte{7, 8}, true)
	if nvm[0x80] != 0x0201 || nvm[0x83] != 0x0807 {
		t.Errorf("words %#x, %#x", nvm[0x80], nvm[0x83])
	}
}

func TestNVMIsErasedBySectors(t *testing.T) {
	r := newRig(t)
	r.own(accessWrite)
	r.must(OpEraseNVM, nvmParams(nvmLast, 0, 2, 3), nil, false)
	nvm := r.fw.cfg.NVM
	for word, want := range map[int]uint16{3*2048 - 1: 0, 3 * 2048: 0xFFFF, 5*2048 - 1: 0xFFFF, 5 * 2048: 0} {
		if nvm[word] != want {
			t.Errorf("word %#x is %#x", word, nvm[word])
		}
	}
	if d, _, ok := r.event(); !ok || d.Opcode != OpEraseNVM || d.u32(4) != 3 {
		t.Errorf("event %v %+v", ok, d)
	}
	r.want(CodeRange, OpEraseNVM, nvmParams(0, 0, 2, 15), nil, false)
	r.want(CodeInval, OpEraseNVM, nvmParams(0, 0, 0, 1), nil, false)
	r.expect("0 sectors")
	r.want(CodeInval, OpEraseNVM, nvmParams(0, 0, 1, 1<<23), nil, false)
	r.expect("sectors at")
}

func TestNVMUpdatesThatCannotBe(t *testing.T) {
	r := newRig(t)
	for _, op := range []Opcode{OpEraseNVM, OpUpdateNVM} {
		r.own(accessRead)
		var buf []byte
		if op == OpUpdateNVM {
			buf = []byte{1}
		}
		r.want(CodePerm, op, nvmParams(0, 0, 1, 0), buf, true)
		r.expect("without owning")
	}
	r.own(accessWrite)
	for _, c := range []struct {
		length uint16
		offset uint32
		buf    []byte
		what   string
	}{
		{4, 0, []byte{1, 2}, "buffer of 2"},
		{4, 4094, []byte{1, 2, 3, 4}, "one sector"},
		{1, 0, []byte{1}, "one sector"},
		{2, 1, []byte{1, 2}, "one sector"},
		{0, 0, nil, "length 0"},
	} {
		r.want(CodeInval, OpUpdateNVM, nvmParams(0, 0, c.length, c.offset), c.buf, true)
		r.expect(c.what)
	}
	r.want(CodeMode, OpUpdateNVM, nvmParams(0x20, 0, 0, 0), nil, false)
	r.want(CodeSrch, OpOEMPostUpdate, nil, nil, false)
}

func TestNVMConfiguration(t *testing.T) {
	r := newRig(t)
	feature := params16(0x11, 0, 0x77)
	buf := make([]byte, 12)
	r.want(CodeNoEnt, OpReadNVMConfig, params16(0, 0, 0x11), buf, false)
	r.want(CodePerm, OpWriteNVMConfig, params16(0, 1), feature, true)
	r.expect("without owning")
	r.own(accessWrite)
	r.must(OpWriteNVMConfig, params16(0, 1), feature, true)
	d := r.must(OpReadNVMConfig, params16(0, 0, 0x11), buf, false)
	if le.Uint16(buf[4:]) != 0x77 || d.u16(2) != 1 || d.DataLen != featureSize {
		t.Errorf("% x, %d elements, %d bytes", buf, d.u16(2), d.DataLen)
	}
	field := append(params32(0x00120034, 99), 0, 0, 0, 0)
	r.must(OpWriteNVMConfig, params16(anvmImmediate, 1), field, true)
	r.must(OpReadNVMConfig, params16(anvmImmediate, 0, 0x34, 0x12), buf, false)
	if le.Uint32(buf[4:]) != 99 {
		t.Errorf("% x", buf)
	}
	r.want(CodeNoSys, OpReadNVMConfig, params16(anvmMultiple), buf, false)
	r.want(CodeInval, OpWriteNVMConfig, params16(0, 3), params16(1, 0, 0), true)
	r.expect("3 elements")
}

func TestNVMUpdateFlow(t *testing.T) {
	r := newRig(t)
	r.must(OpNVMUpdateInProcess, []byte{1}, nil, false)
	if !r.fw.nvm.updating {
		t.Error("not in process")
	}
	r.must(OpNVMUpdateInProcess, []byte{0}, nil, false)
	r.want(CodeInval, OpNVMUpdateInProcess, []byte{2}, nil, false)
	r.expect("command 2")

	r.must(OpRollbackRevision, nil, nil, false)
	r.must(OpRollbackRevision, append([]byte{1, 3, 0, 0}, params32(5)...), nil, false)
	r.want(CodePerm, OpRollbackRevision, append([]byte{1, 3, 0, 0}, params32(4)...), nil, false)
	r.want(CodeInval, OpRollbackRevision, []byte{1, 9}, nil, false)
	r.expect("module 9")
}

func TestRegistersByCommand(t *testing.T) {
	r := newRig(t)
	r.regs[0x245900], r.regs[0x245904] = 0xCAFE, 0
	d := r.must(OpReadRxControl, params32(0, 0x245900), nil, false)
	if d.u32(12) != 0xCAFE {
		t.Errorf("value %#x", d.u32(12))
	}
	r.must(OpWriteRxControl, params32(0, 0x245900, 0, 0xF00D), nil, false)
	if d = r.must(OpReadDebugRegister, params32(0, 0x245900), nil, false); d.u32(12) != 0xF00D || d.u32(8) != 0 {
		t.Errorf("debug value %#x %08x", d.u32(8), d.u32(12))
	}
	d = r.must(OpModifyDebugRegister, params32(0x245900, 0, 0xF0, 0x0F), nil, false)
	if d.u32(4) != 0xF00F || r.regs[0x245900] != 0xF00F {
		t.Errorf("modified to %#x, register %#x", d.u32(4), r.regs[0x245900])
	}
	r.must(OpWriteDebugRegister, params32(0, 0x245900, 7, 8), nil, false)
	if r.regs[0x245900] != 8 || r.regs[0x245904] != 7 {
		t.Errorf("registers %v", r.regs)
	}
	for op, p := range map[Opcode][]byte{
		OpReadRxControl: params32(0, 4), OpWriteRxControl: params32(0, 4), OpReadDebugRegister: params32(0, 4),
		OpWriteDebugRegister: params32(0, 4), OpModifyDebugRegister: params32(4),
	} {
		r.want(CodeNXIO, op, p, nil, false)
	}
	for op, p := range map[Opcode][]byte{OpReadRxControl: params32(0, 2), OpWriteDebugRegister: params32(0, 1)} {
		r.want(CodeInval, op, p, nil, false)
		r.expect("not aligned")
	}
}

func TestInternalDump(t *testing.T) {
	r := newRig(t)
	d := r.must(OpDumpInternals, []byte{3}, make([]byte, 4096), false)
	if d.Params[1] != lastTable || d.DataLen != 0 {
		t.Errorf("table %#x, %d bytes", d.Params[1], d.DataLen)
	}
	r.want(CodeNoEnt, OpDumpInternals, []byte{12}, make([]byte, 64), false)
}

func TestAlternateRAM(t *testing.T) {
	r := newRig(t)
	r.must(OpWriteAlternate, params32(10, 0x11, 11, 0x22), nil, false)
	if d := r.must(OpReadAlternate, params32(11, 0, 10, 0), nil, false); d.u32(4) != 0x22 || d.u32(12) != 0x11 {
		t.Errorf("% x", d.Params)
	}
	// The indirect ones come without BUF from the drivers.
	d := Descriptor{Opcode: OpWriteAlternateIndirect, Flags: FlagSI | FlagRD, DataLen: 8}
	copy(d.Params[:], params32(20, 2))
	if got := Code(r.send(d, params32(7, 8)).RetVal); got != CodeOK {
		t.Errorf("writing: %s", got)
	}
	d = Descriptor{Opcode: OpReadAlternateIndirect, Flags: FlagSI | FlagRD, DataLen: 8}
	copy(d.Params[:], params32(20, 2))
	buf := make([]byte, 8)
	if got := Code(r.send(d, buf).RetVal); got != CodeOK || !bytes.Equal(buf, params32(7, 8)) {
		t.Errorf("reading: %s, % x", got, buf)
	}
	for _, op := range []Opcode{OpWriteAlternate, OpReadAlternate} {
		r.want(CodeRange, op, params32(alternateWords), nil, false)
		r.want(CodeRange, op, params32(0, 0, alternateWords), nil, false)
	}
	for _, op := range []Opcode{OpWriteAlternateIndirect, OpReadAlternateIndirect} {
		r.want(CodeRange, op, params32(alternateWords-1, 2), make([]byte, 8), true)
		r.want(CodeRange, op, params32(0xFFFFFFFF, 0xFFFFFFFF), make([]byte, 8), true)
		r.want(CodeInval, op, params32(0, 3), make([]byte, 8), true)
		r.expect("3 words")
	}
	r.must(OpAlternateWriteDone, params16(1), nil, false)
	r.must(OpSetAlternateMode, params32(1), nil, false)
	r.want(CodeInval, OpSetAlternateMode, params32(2), nil, false)
	r.expect("mode 2")
	r.must(OpClearAlternate, nil, nil, false)
	if d := r.must(OpReadAlternate, params32(11), nil, false); d.u32(4) != 0 {
		t.Errorf("%#x after clearing", d.u32(4))
	}
}
