package adminq

import (
	"bytes"
	"testing"
)

// sentByDrivers are the opcodes that Linux 6.12 i40e, iavf and DPDK's net_i40e and net_iavf have code to send.
var sentByDrivers = []Opcode{
	0x0001, 0x0002, 0x0003, 0x0008, 0x0009, 0x000A, 0x000B, 0x0104, 0x0105, 0x0107, 0x0108, 0x0110, 0x0120, 0x0121,
	0x0200, 0x0201, 0x0202, 0x0203, 0x0204, 0x0205, 0x0206, 0x0207, 0x0210, 0x0211, 0x0212, 0x0220, 0x0230, 0x0232,
	0x0243, 0x0250, 0x0251, 0x0252, 0x0253, 0x0254, 0x0255, 0x0256, 0x0257, 0x0258, 0x0259, 0x025A, 0x025B, 0x025C,
	0x025D, 0x025E, 0x025F, 0x0260, 0x0261, 0x0270, 0x0271, 0x0301, 0x0302, 0x0303, 0x0400, 0x0406, 0x0407, 0x0408,
	0x040A, 0x0410, 0x0413, 0x0414, 0x0415, 0x0416, 0x0417, 0x0418, 0x0419, 0x041A, 0x041C, 0x041D, 0x0600, 0x0601,
	0x0603, 0x0605, 0x0607, 0x0613, 0x0614, 0x0615, 0x0616, 0x0618, 0x0622, 0x0626, 0x0628, 0x0629, 0x0701, 0x0702,
	0x0703, 0x0704, 0x0705, 0x0706, 0x0707, 0x0720, 0x0801, 0x0802, 0x0900, 0x0901, 0x0902, 0x0903, 0x0904, 0x0905,
	0x0906, 0x0A00, 0x0A01, 0x0A05, 0x0A06, 0x0A07, 0x0A08, 0x0A09, 0x0A0A, 0x0B00, 0x0B01, 0x0B02, 0x0B03, 0x0B04,
	0x0B05, 0xFF03, 0xFF04, 0xFF08,
}

func TestEveryOpcodeOfTheDriversIsInTheTable(t *testing.T) {
	table := commandTable()
	for _, op := range sentByDrivers {
		if _, has := table[op]; !has {
			t.Errorf("opcode %04x is not in the table", uint16(op))
		}
	}
	for op := range table {
		if opcodeNames[op] == "" {
			t.Errorf("opcode %04x has no name", uint16(op))
		}
	}
	for op, name := range opcodeNames {
		if _, has := table[op]; !has && op != OpLANOverflow { // that one is an event
			t.Errorf("opcode %s (%04x) has no command", name, uint16(op))
		}
	}
}

func TestCommandsOfOtherCards(t *testing.T) {
	r := newRig(t)
	for op := range unsupportedCommands() {
		r.want(CodeNoSys, op, nil, nil, false)
		r.expect("not one that this card knows")
		r.want(CodeNoSys, op, nil, make([]byte, 600), true)
		r.expect("not one that this card knows")
	}
	for _, op := range []Opcode{OpAddPV, OpUpdatePV, OpGetPV, OpAddTag, OpRemoveTag, OpAddMulticastETag, OpUpdateTag} {
		r.want(CodeMode, op, nil, nil, false)
	}
}

// TestBuffersAreCheckedAgainstTheForm tries each command with the buffer that it must not have, or without the one that it
// needs, or with the wrong flags.
func TestBuffersAreCheckedAgainstTheForm(t *testing.T) {
	r := newRig(t)
	for op, cmd := range commandTable() {
		if cmd.who == vfOnly || cmd.form == anyForm {
			continue
		}
		buffer := make([]byte, max(cmd.min, 16))
		switch cmd.form {
		case direct:
			r.want(CodeInval, op, nil, buffer, false)
			r.expect("needs none")
			continue
		case in, inOut, out:
			r.want(CodeInval, op, nil, nil, false)
			r.expect("has no buffer")
		}
		if cmd.form == in || cmd.form == inOut || cmd.form == inMaybe {
			r.want(CodeInval, op, nil, buffer, false)
			r.expect("without RD")
		}
		d := Descriptor{Opcode: op, Flags: FlagSI | FlagBUF | FlagRD, DataLen: LargeBuffer + 1}
		d.SetAddress(bufAt)
		if got := Code(r.send(d, nil).RetVal); got != CodeInval {
			t.Errorf("%s: large buffer without LB: %s", op, got)
		}
		r.expect("without LB")
		d.Flags, d.DataLen = d.Flags|FlagLB, MaxBuffer+1
		if got := Code(r.send(d, nil).RetVal); got != CodeInval {
			t.Errorf("%s: buffer beyond the largest: %s", op, got)
		}
		r.expect("at most 4096")
		if cmd.min > 0 {
			got, code := r.command(op, nil, make([]byte, cmd.min-1), true)
			if code != CodeNoMem || int(got.DataLen) != cmd.min {
				t.Errorf("%s: buffer of %d: %s, wants %d", op, cmd.min-1, code, got.DataLen)
			}
			r.expect("needs")
		}
	}
}

// TestNoReplyIsLargerThanTheCallersBuffer asks every command that answers for its answer, with buffers from nothing up, and
// looks at the bytes behind.
func TestNoReplyIsLargerThanTheCallersBuffer(t *testing.T) {
	r := newRig(t)
	r.fw.HoldNVM(false)
	r.must(OpRequestResource, params16(resourceNVM, accessRead), nil, false)
	params := map[Opcode][]byte{
		OpGetVSI: params16(firstVSI), OpQueryVSIBandwidth: params16(firstVSI), OpQueryVSIETS: params16(firstVSI),
		OpQuerySwitchETS: params16(seidMAC), OpQueryPortETS: params16(seidMAC), OpQuerySwitchBandwidth: params16(seidMAC),
		OpReadNVM: params16(0, 64), OpReadAlternateIndirect: params32(0, 16),
	}
	for op, cmd := range commandTable() {
		if cmd.form != out && cmd.form != outRD {
			continue
		}
		succeeded := false
		for size := 1; size <= 1100; size++ {
			all := bytes.Repeat([]byte{0xA5}, size+64)
			copy(r.mem.data[bufAt-memBase:], all)
			d := Descriptor{Opcode: op, Flags: FlagSI | FlagBUF, DataLen: uint16(size)}
			if cmd.form == outRD {
				d.Flags |= FlagRD
			}
			if size > LargeBuffer {
				d.Flags |= FlagLB
			}
			copy(d.Params[:8], params[op])
			d.SetAddress(bufAt)
			done := r.send(d, nil)
			if behind := r.mem.data[bufAt-memBase+size:][:64]; !bytes.Equal(behind, all[size:]) {
				t.Fatalf("%s with %d bytes wrote behind them", op, size)
			}
			if code := Code(done.RetVal); code == CodeOK {
				succeeded = true
			} else if succeeded {
				t.Fatalf("%s: %s with %d bytes, after success with fewer", op, code, size)
			}
		}
		if expected := op != OpGetCEEConfig && op != OpReadNVMConfig; succeeded != expected {
			t.Errorf("%s: success is %v", op, succeeded)
		}
	}
	r.violations = nil // of buffers that are too small
}

func TestVFsMayNotSendThePFsCommands(t *testing.T) {
	r := newRig(t)
	vf := r.addVF(t, 3)
	for op, cmd := range commandTable() {
		_, code := vf.command(op, nil, nil, false)
		switch {
		case cmd.who == pfOnly && code != CodePerm:
			t.Errorf("%s: %s", op, code)
		case cmd.who != pfOnly && code == CodePerm:
			t.Errorf("%s is refused", op)
		}
		r.violations = nil
		if op == OpQueueShutdown && code != CodeOK {
			t.Errorf("%s: %s", op, code)
		}
	}
	r.want(CodePerm, OpSendToPF, nil, nil, false)
	r.expect("not for this kind of function")
}

// addVF plugs in a VF and starts its queues.
func (r *rig) addVF(t *testing.T, index int) *port {
	t.Helper()
	p := newPort(t, func(m *memory, raise func()) *Pair {
		pair, err := r.fw.AttachVF(index, m, raise)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	})
	p.start()
	return p
}
