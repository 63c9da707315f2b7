package adminq

import (
	"slices"
	"testing"
)

func TestTrafficClassesOfAVSI(t *testing.T) {
	r := newRig(t)
	v := r.fw.Switch().Main()
	first, _ := v.QueueSet(0)
	buf := make([]byte, 32)
	buf[0], buf[4], buf[5], buf[7] = 0x0B, 1, 20, 30
	r.must(OpConfigureVSITCBandwidth, params16(v.SEID), buf, true)
	if got, _ := v.QueueSet(0); got != first || le.Uint16(buf[16:]) != first {
		t.Errorf("class 0 changed its queue set from %d to %d", first, got)
	}
	if v.TrafficClasses() != 0x0B || le.Uint16(buf[18:]) == noQueueSet || le.Uint16(buf[20:]) != noQueueSet {
		t.Errorf("classes %#x, queue sets % x", v.TrafficClasses(), buf[16:32])
	}
	ets := make([]byte, 32)
	r.must(OpQueryVSIETS, params16(v.SEID), ets, false)
	if ets[0] != 0x0B || !slices.Equal(ets[4:8], []byte{1, 20, 0, 30}) {
		t.Errorf("ETS % x", ets)
	}
	gone, _ := v.QueueSet(3)
	r.must(OpConfigureVSITCBandwidth, params16(v.SEID), append([]byte{1, 0, 0, 0, 1}, make([]byte, 27)...), true)
	if _, _, ok := r.fw.Switch().QueueSet(gone); ok || v.TrafficClasses() != 1 {
		t.Errorf("classes %#x, queue set %d is there: %v", v.TrafficClasses(), gone, ok)
	}
	r.want(CodeInval, OpConfigureVSITCBandwidth, params16(v.SEID), make([]byte, 32), true)
	r.expect("no traffic class")
}

func TestVSIBandwidth(t *testing.T) {
	r := newRig(t)
	v := r.fw.Switch().Main()
	r.must(OpConfigureVSIBandwidth, append(params16(v.SEID, 0, 20, 0), 2), nil, false)
	if v.VSIBandwidth() != 1000 {
		t.Errorf("%d Mbit/s", v.VSIBandwidth())
	}
	buf := make([]byte, 64)
	r.must(OpQueryVSIBandwidth, params16(v.SEID), buf, false)
	set, _ := v.QueueSet(0)
	if buf[0] != 1 || le.Uint16(buf[16:]) != set || le.Uint16(buf[36:]) != 20 || buf[40] != 2 {
		t.Errorf("% x", buf)
	}
	r.want(CodeInval, OpConfigureVSIBandwidth, append(params16(v.SEID, 0, 20, 0), 5), nil, false)
	r.expect("max_credit")

	limit := make([]byte, 64)
	limit[0], limit[16], limit[32] = 1, 99, 3
	r.must(OpConfigureVSIETSLimit, params16(v.SEID), limit, true)
	if le.Uint16(limit[16:]) != set {
		t.Errorf("queue set %d in the answer", le.Uint16(limit[16:]))
	}
	ets := make([]byte, 32)
	r.must(OpQueryVSIETS, params16(v.SEID), ets, false)
	if le.Uint16(ets[12:]) != 99 || le.Uint16(ets[28:]) != 3 {
		t.Errorf("ETS % x", ets)
	}
	limit[0] = 2 // a class that the VSI does not have
	r.want(CodeInval, OpConfigureVSIETSLimit, params16(v.SEID), limit, true)
	for op, size := range map[Opcode]int{
		OpConfigureVSIETSLimit: 64, OpConfigureVSITCBandwidth: 32, OpQueryVSIBandwidth: 64, OpQueryVSIETS: 32,
	} {
		r.want(CodeNoEnt, op, params16(9), make([]byte, size), true)
	}
	r.want(CodeNoEnt, OpConfigureVSIBandwidth, params16(9), nil, false)
}

func TestBandwidthOfPortAndVEB(t *testing.T) {
	r := newRig(t)
	for _, seid := range []uint16{seidMAC, r.addVEB()} {
		ets := make([]byte, 128)
		ets[4], ets[5], ets[6], ets[24], ets[25] = 3, 1, 2, 40, 60
		r.want(CodeNoEnt, OpModifySwitchETS, params16(seid), slices.Clone(ets), true)
		r.want(CodeNoEnt, OpDisableSwitchETS, params16(seid), slices.Clone(ets), true)
		r.must(OpEnableSwitchETS, params16(seid), slices.Clone(ets), true)
		r.must(OpModifySwitchETS, params16(seid), slices.Clone(ets), true)
		port := make([]byte, 68)
		r.must(OpQueryPortETS, params16(seid), port, false)
		if port[4] != 3 || port[6] != 2 || port[8] != 40 || port[9] != 60 {
			t.Errorf("port ETS % x", port[:16])
		}
		r.must(OpConfigureSwitchBandwidth, append(params16(seid, 0, 200, 0), 3), nil, false)
		limits := make([]byte, 64)
		limits[0], limits[18], limits[32] = 2, 7, 0x30
		r.must(OpConfigureSwitchETSLimit, params16(seid), limits, true)
		out := make([]byte, 64)
		r.must(OpQuerySwitchETS, params16(seid), out, false)
		if out[0] != 3 || le.Uint16(out[36:]) != 200 || out[40] != 3 {
			t.Errorf("ETS % x", out)
		}
		share := make([]byte, 32)
		share[0], share[3], share[4] = 1, 1, 100
		r.must(OpConfigureSwitchTCBandwidth, params16(seid), share, true)
		out = make([]byte, 32)
		r.must(OpQuerySwitchBandwidth, params16(seid), out, false)
		if out[0] != 1 || out[3] != 1 || out[4] != 100 || le.Uint16(out[14:]) != 7 || out[28] != 0x30 {
			t.Errorf("bandwidth % x", out)
		}
		r.must(OpDisableSwitchETS, params16(seid), slices.Clone(ets), true)
		r.want(CodeInval, OpEnableSwitchETS, params16(seid), make([]byte, 128), true)
		r.expect("no traffic class")
		r.want(CodeInval, OpConfigureSwitchTCBandwidth, params16(seid), make([]byte, 32), true)
		r.expect("no traffic class")
		r.want(CodeInval, OpConfigureSwitchBandwidth, append(params16(seid, 0, 200, 0), 9), nil, false)
		r.expect("max_bw")
	}
	for op, size := range map[Opcode]int{
		OpEnableSwitchETS: 128, OpConfigureSwitchETSLimit: 64, OpConfigureSwitchTCBandwidth: 32, OpQuerySwitchETS: 64,
		OpQueryPortETS: 68, OpQuerySwitchBandwidth: 32,
	} {
		r.want(CodeNoEnt, op, params16(9), make([]byte, size), true)
	}
	r.want(CodeNoEnt, OpConfigureSwitchBandwidth, params16(9), nil, false)
}

func TestThePortIsSuspended(t *testing.T) {
	r := newRig(t)
	r.must(OpSuspendPortTx, nil, nil, false)
	if !r.fw.Suspended() {
		t.Error("not suspended")
	}
	r.must(OpResumePortTx, nil, nil, false)
	if r.fw.Suspended() {
		t.Error("still suspended")
	}
}

func TestPartitionsAndProfiles(t *testing.T) {
	r := newRig(t)
	r.want(CodeMode, OpConfigurePartitionBandwidth, nil, make([]byte, partitionSize), true)
	r.must(OpSetHMCProfile, []byte{2, 5}, nil, false)
	if d := r.must(OpQueryHMCProfile, nil, nil, false); d.Params[0] != 2 || d.Params[1] != 5 {
		t.Errorf("profile % x", d.Params)
	}
	r.want(CodeInval, OpSetHMCProfile, []byte{4}, nil, false)
	r.expect("profile 4")
	many := newRig(t, func(c *Config) { c.PFs, c.Ports = 4, 2 })
	many.must(OpConfigurePartitionBandwidth, nil, append([]byte{1, 0, 50}, make([]byte, 31)...), true)
}

func TestQueueSetsRunOut(t *testing.T) {
	r := newRig(t, func(c *Config) { c.VSIs = 200 })
	props := vsiProps(SectionQueueMap|SectionSched, func(p []byte) { p[82] = 0xFF })
	added := 1
	for {
		_, code := r.command(OpAddVSI, params16(seidMAC, connRegular, 0, uint16(VSITypePF)), slices.Clone(props), true)
		if code != CodeOK {
			if code != CodeNoSpc {
				t.Errorf("%s", code)
			}
			break
		}
		added++
	}
	if len(r.fw.sw.vsis) != added || len(r.fw.sw.sets) > maxQueueSets-1 {
		t.Errorf("%d VSIs, %d queue sets; a VSI without queue sets is left", len(r.fw.sw.vsis), len(r.fw.sw.sets))
	}
}
