package adminq

import (
	"bytes"
	"testing"
)

func TestLocalMIB(t *testing.T) {
	r := newRig(t)
	buf := make([]byte, 1500)
	d := r.must(OpGetLLDPMIB, []byte{mibLocal}, buf, false)
	mib := buf[:d.u16(2)]
	if int(d.DataLen) != len(mib) || d.u16(4) != 0 || !bytes.Equal(mib[:6], []byte{1, 0x80, 0xC2, 0, 0, 0x0E}) ||
		mib[12] != 0x88 || mib[13] != 0xCC || !bytes.Equal(mib[len(mib)-2:], []byte{0, 0}) {
		t.Errorf("MIB % x", mib)
	}
	if classes(mib) != 1 {
		t.Errorf("classes %#x", classes(mib))
	}
	r.want(CodeNoEnt, OpGetLLDPMIB, []byte{mibRemote}, buf, false)
	r.want(CodeNoEnt, OpGetLLDPMIB, []byte{mibBoth}, buf, false)
	r.want(CodeInval, OpGetLLDPMIB, []byte{3}, buf, false)
	r.expect("MIB type 3")
	r.want(CodeNoMem, OpGetLLDPMIB, []byte{mibLocal}, make([]byte, 20), false)
}

func TestRemoteMIBAndEvents(t *testing.T) {
	r := newRig(t)
	partner := append(bytes.Clone(r.fw.lldp.local()), 1, 2, 3)
	r.fw.SetRemoteMIB(partner)
	if _, _, ok := r.event(); ok {
		t.Error("an event that nobody asked for")
	}
	r.must(OpConfigureMIBEvent, []byte{0}, nil, false)
	r.fw.SetRemoteMIB(partner)
	e, msg, ok := r.event()
	if !ok || e.Opcode != OpConfigureMIBEvent || e.Params[0] != mibRemote || !bytes.Equal(msg, partner) {
		t.Errorf("event %v %+v, % x", ok, e, msg)
	}
	buf := make([]byte, 1500)
	d := r.must(OpGetLLDPMIB, []byte{mibBoth}, buf, false)
	if int(d.u16(4)) != len(partner) || !bytes.Equal(buf[d.u16(2):][:len(partner)], partner) {
		t.Errorf("lengths %d and %d", d.u16(2), d.u16(4))
	}
	r.must(OpConfigureMIBEvent, []byte{1}, nil, false)
	r.fw.SetRemoteMIB(partner)
	if _, _, ok := r.event(); ok {
		t.Error("an event after they were turned off")
	}
	r.want(CodeInval, OpConfigureMIBEvent, []byte{2}, nil, false)
	r.expect("command 2")
}

// TestTheAgentIsStoppedAndStarted with the codes that drivers look for.
func TestTheAgentIsStoppedAndStarted(t *testing.T) {
	r := newRig(t)
	buf := make([]byte, 1500)
	r.want(CodeExist, OpStartLLDP, []byte{1}, nil, false)
	r.want(CodeNoEnt, OpGetCEEConfig, nil, make([]byte, 32), false)
	r.must(OpStopLLDP, []byte{1}, nil, false)
	r.want(CodePerm, OpStopLLDP, []byte{1}, nil, false)
	r.want(CodePerm, OpGetLLDPMIB, []byte{mibLocal}, buf, false)
	r.want(CodePerm, OpGetCEEConfig, nil, make([]byte, 32), false)
	r.want(CodePerm, OpConfigureMIBEvent, []byte{0}, nil, false)
	r.fw.SetRemoteMIB(buf) // nobody listens
	r.must(OpStartLLDP, []byte{1}, nil, false)
	r.must(OpGetLLDPMIB, []byte{mibLocal}, buf, false)
	r.want(CodeInval, OpStartLLDP, []byte{2}, nil, false)
	r.expect("command 0x02")
	r.want(CodeInval, OpStopLLDP, []byte{8}, nil, false)
	r.expect("command 0x08")

	// Lasting settings count after the next power on.
	r.must(OpStopLLDP, []byte{lldpStopPersist}, nil, false)
	r.fw.Reset(ResetEMP)
	r.port.start()
	r.want(CodePerm, OpGetLLDPMIB, []byte{mibLocal}, buf, false)
	r.must(OpStartLLDP, []byte{lldpStartBit | lldpStartPersist}, nil, false)
	r.fw.Reset(ResetEMP)
	r.port.start()
	r.must(OpGetLLDPMIB, []byte{mibLocal}, buf, false)
	r.must(OpRestoreLLDP, []byte{1}, nil, false)
	r.want(CodeInval, OpRestoreLLDP, []byte{2}, nil, false)
	r.expect("command 2")

	off := newRig(t, func(c *Config) { c.NoLLDP = true })
	off.want(CodePerm, OpGetLLDPMIB, []byte{mibLocal}, buf, false)
	off.must(OpStartLLDP, []byte{1}, nil, false)
	off.fw.Reset(ResetPF)
	if !off.fw.lldp.running || !off.fw.sw.lldp {
		t.Error("a PF reset stopped the agent")
	}
}

func TestLocalMIBIsSet(t *testing.T) {
	r := newRig(t)
	mib := bytes.Clone(r.fw.lldp.local())
	at := bytes.Index(mib, []byte{0, 0x80, 0xC2, etsSubtype})
	mib[at+5], mib[at+6] = 0x01, 0x23 // priorities 0 to 3 in classes 0 to 3
	d := r.must(OpSetLocalMIB, append([]byte{0, 0}, params16(uint16(len(mib)))...), bytes.Clone(mib), true)
	if d.Params[0] != 1 {
		t.Errorf("status %d", d.Params[0])
	}
	if caps := r.capabilities(OpListFunctionCapabilities); caps[capDCB][1] != 0x0F {
		t.Errorf("enabled classes %#x", caps[capDCB][1])
	}
	buf := make([]byte, 1500)
	d = r.must(OpGetLLDPMIB, []byte{mibLocal}, buf, false)
	if !bytes.Equal(buf[:d.u16(2)], mib) {
		t.Error("the MIB that was set is not read back")
	}
	r.want(CodeInval, OpSetLocalMIB, []byte{0, 0, 4, 0}, make([]byte, 64), true)
	r.expect("4 bytes")
	r.want(CodeInval, OpSetLocalMIB, []byte{0, 0, 100, 0}, make([]byte, 64), true)
	r.expect("100 bytes")
	if classes([]byte("cut off")) != 1 || classes(append(make([]byte, 14), 0xFE, 0xFF)) != 1 {
		t.Error("classes of what is no MIB")
	}
}

func TestTLVs(t *testing.T) {
	r := newRig(t)
	name := tlv(5, []byte("weft")...)
	other := tlv(5, []byte("loom")...)
	r.must(OpAddLLDPTLV, append([]byte{0, 0}, params16(uint16(len(name)))...), bytes.Clone(name), true)
	if !bytes.Contains(r.fw.lldp.local(), name) {
		t.Error("the TLV is not in the MIB")
	}
	both := append(bytes.Clone(name), other...)
	n := uint16(len(name))
	r.must(OpUpdateLLDPTLV, append([]byte{0, 0}, params16(n, n, n)...), bytes.Clone(both), true)
	if bytes.Contains(r.fw.lldp.local(), name) || !bytes.Contains(r.fw.lldp.local(), other) {
		t.Error("the TLV was not replaced")
	}
	r.want(CodeNoEnt, OpUpdateLLDPTLV, append([]byte{0, 0}, params16(n, n, n)...), bytes.Clone(both), true)
	r.must(OpDeleteLLDPTLV, append([]byte{0, 0}, params16(n)...), bytes.Clone(other), true)
	r.want(CodeNoEnt, OpDeleteLLDPTLV, append([]byte{0, 0}, params16(n)...), bytes.Clone(other), true)
	for _, c := range []struct {
		op     Opcode
		params []byte
		buf    []byte
		what   string
	}{
		{OpAddLLDPTLV, params16(0, 9), name, "9 bytes"},
		{OpAddLLDPTLV, params16(0, 3), []byte{10, 9, 0}, "a TLV of 11 bytes"},
		{OpAddLLDPTLV, params16(0, 1), name, "cut off"},
		{OpUpdateLLDPTLV, params16(0, 6, 2, 6), both, "old 6 bytes"},
		{OpUpdateLLDPTLV, params16(0, 6, 6, 5), both, "a TLV of 6"},
		{OpDeleteLLDPTLV, params16(0, 0), name, "0 bytes"},
	} {
		r.want(CodeInval, c.op, c.params, bytes.Clone(c.buf), true)
		r.expect(c.what)
	}
}

func TestDCBSettings(t *testing.T) {
	r := newRig(t)
	if d := r.must(OpIgnorePFC, []byte{0x06, 0x80}, nil, false); d.Params[0] != 6 {
		t.Errorf("ignored %#x", d.Params[0])
	}
	if d := r.must(OpIgnorePFC, []byte{0x02, 0}, nil, false); d.Params[0] != 4 {
		t.Errorf("ignored %#x", d.Params[0])
	}
	r.want(CodeInval, OpIgnorePFC, []byte{1, 1}, nil, false)
	r.expect("flags 0x01")
	r.must(OpDCBUpdated, nil, nil, false)
	r.must(OpSetDCBParameters, []byte{1, 1}, nil, false)
	r.want(CodeInval, OpSetDCBParameters, []byte{2, 1}, nil, false)
	r.expect("command 2")
	r.must(OpStopStartAgent, []byte{0}, nil, false)
	if !r.fw.lldp.dcbxOff {
		t.Error("DCBX is on")
	}
	r.want(CodeInval, OpStopStartAgent, []byte{2}, nil, false)
	r.expect("command 2")
}
