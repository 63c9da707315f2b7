package adminq

import "testing"

// vsiProps are properties with some sections, to be added or updated.
func vsiProps(sections uint16, change func(p []byte)) []byte {
	p := make([]byte, VSIPropertiesSize)
	le.PutUint16(p, sections)
	if change != nil {
		change(p)
	}
	return p
}

// mapping is a section of n queues in one traffic class from base on.
func mapping(base uint16, log uint16) []byte {
	return vsiProps(SectionQueueMap, func(p []byte) {
		le.PutUint16(p[30:], base)
		le.PutUint16(p[62:], log<<9)
	})
}

// addVSI adds a VSI below an uplink and returns its SEID and what came back in the buffer.
func (p *port) addVSI(uplink uint16, kind VSIType, vf uint16, props []byte) (seid uint16, back []byte) {
	p.t.Helper()
	d := p.must(OpAddVSI, params16(uplink, connRegular, vf, uint16(kind)), props, true)
	return d.u16(0), props
}

// addVEB puts a VEB above the PF's VSI.
func (p *port) addVEB() uint16 {
	p.t.Helper()
	d := p.must(OpAddVEB, append(params16(seidMAC, firstVSI, vebDefault), 1), nil, false)
	return d.u16(8)
}

func TestSwitchAfterAResetIsOneVSI(t *testing.T) {
	r := newRig(t)
	buf := make([]byte, LargeBuffer)
	r.must(OpGetSwitchConfig, nil, buf, false)
	if le.Uint16(buf[0:]) != 1 || le.Uint16(buf[2:]) != 1 {
		t.Fatalf("header % x", buf[:16])
	}
	e := buf[16:]
	if e[0] != elementVSI || e[1] != 1 || le.Uint16(e[2:]) != firstVSI || le.Uint16(e[4:]) != seidMAC ||
		le.Uint16(e[6:]) != seidPF {
		t.Errorf("element % x", e[:16])
	}
}

func TestSwitchConfigurationIsReadInParts(t *testing.T) {
	r := newRig(t)
	r.addVEB()
	for range 3 {
		r.addVSI(firstVEB, VSITypeVMDq2, 0, mapping(8, 2))
	}
	var kinds []byte
	start, rounds := uint16(0), 0
	for {
		buf := make([]byte, 3*elementSize)
		d := r.must(OpGetSwitchConfig, params16(start), buf, false)
		if le.Uint16(buf[2:]) != 5 {
			t.Fatalf("total of %d", le.Uint16(buf[2:]))
		}
		for i := range int(le.Uint16(buf)) {
			kinds = append(kinds, buf[16+16*i])
		}
		rounds++
		if start = d.u16(0); start == 0 {
			break
		}
	}
	if rounds != 3 || string(kinds) != string([]byte{elementVEB, elementVSI, elementVSI, elementVSI, elementVSI}) {
		t.Errorf("%d rounds, elements %v", rounds, kinds)
	}
	r.want(CodeNoEnt, OpGetSwitchConfig, params16(999), make([]byte, 64), false)
}

func TestThePFsVSIAfterAReset(t *testing.T) {
	r := newRig(t, func(c *Config) { c.FirstVSI, c.FirstQueue = 5, 256 })
	buf := make([]byte, VSIPropertiesSize)
	d := r.must(OpGetVSI, params16(firstVSI+5), buf, false)
	if d.u16(0) != firstVSI+5 || d.u16(2) != 5 || d.u16(4) != 1 || d.u16(6) != 65 {
		t.Errorf("completion % x", d.Params[:8])
	}
	v := r.fw.Switch().Main()
	if q, ok := v.Queue(3); !ok || q != 259 {
		t.Errorf("queue 3 is %d, %v", q, ok)
	}
	if handle, ok := v.QueueSet(0); !ok || le.Uint16(buf[96:]) != handle || le.Uint16(buf[98:]) != noQueueSet {
		t.Errorf("queue sets % x", buf[96:112])
	}
	if v.TagMode() != TagKeep || !v.AdmitsTagged() || !v.AdmitsUntagged() || v.StatIndex() != 5+portCounters ||
		v.TrafficClasses() != 1 {
		t.Errorf("VSI %+v", v)
	}
	r.want(CodeNoEnt, OpGetVSI, params16(77), buf, false)
}

// TestTheDriversUpdates sends what DPDK and Linux send to the PF's VSI.
func TestTheDriversUpdates(t *testing.T) {
	r := newRig(t)
	props := vsiProps(SectionVLAN|SectionQueueMap, func(p []byte) {
		p[12] = portVLANTagged | portVLANPlain // strip both
		le.PutUint16(p[30:], 1)
		le.PutUint16(p[62:], 6<<9)
		le.PutUint16(p[96:], 0xBEEF) // the firmware's own, which a driver may leave in
	})
	d := r.must(OpUpdateVSI, params16(firstVSI), props, true)
	v := r.fw.Switch().Main()
	if v.TagMode() != TagStrip || d.u16(4) != 1 || d.u16(6) != 65 {
		t.Errorf("tag mode %d, counts % x", v.TagMode(), d.Params[:8])
	}
	if first, n := v.Region(0); first != 0 || n != 64 {
		t.Errorf("class 0 has %d queues from %d", n, first)
	}
	if q, _ := v.Queue(2); q != 3 {
		t.Errorf("queue 2 is %d", q)
	}
	if handle, _ := v.QueueSet(0); handle == 0xBEEF || le.Uint16(props[96:]) != handle {
		t.Errorf("queue set %#x, in the answer %#x", handle, le.Uint16(props[96:]))
	}
	// A section that is not declared valid is not taken.
	r.must(OpUpdateVSI, params16(firstVSI), vsiProps(SectionSwitch, func(p []byte) {
		le.PutUint16(p[2:], SwitchAllowLB|SwitchLocalLB)
		p[12] = 0
	}), true)
	if v.TagMode() != TagStrip || !v.AdmitsTagged() || !v.AllowsLoopback() || v.PrunesSource() {
		t.Error("sections are mixed up")
	}
	r.want(CodeNoEnt, OpUpdateVSI, params16(5), props, true)
}

func TestPropertiesThatCannotBe(t *testing.T) {
	for what, props := range map[string][]byte{
		"valid_sections":       vsiProps(0x0400, nil),
		"sec_flags":            vsiProps(SectionSecurity, func(p []byte) { p[6] = 0x10 }),
		"port_vlan_flags":      vsiProps(SectionVLAN, func(p []byte) { p[12] = 0x20 }),
		"cascaded":             vsiProps(SectionCascade, nil),
		"queueing_opt_flags":   vsiProps(SectionQueueOpt, func(p []byte) { p[78] = 0x80 }),
		"user priority table":  vsiProps(SectionIngress, func(p []byte) { p[19] = 1 }),
		"mapping_flags":        vsiProps(SectionQueueMap, func(p []byte) { p[28] = 2 }),
		"queue_mapping[0]":     mapping(128, 0),
		"at most 64":           mapping(0, 7),
		"starts at queue":      vsiProps(SectionQueueMap, func(p []byte) { p[30] = 100; p[62] = 28 }),
		"reserved bits":        vsiProps(SectionQueueMap, func(p []byte) { p[63] = 0x10 }),
		"of a map of 16":       vsiProps(SectionQueueMap, func(p []byte) { p[28] = 1; p[62], p[63] = 14, 4 }),
		"queue_mapping[15] is": vsiProps(SectionQueueMap, func(p []byte) { p[28] = 1; le.PutUint16(p[60:], 0x800) }),
	} {
		r := newRig(t)
		r.want(CodeInval, OpUpdateVSI, params16(firstVSI), props, true)
		r.expect(what)
		r.want(CodeInval, OpAddVSI, params16(seidMAC, connRegular, 0, uint16(VSITypePF)), props, true)
		r.expect(what)
		if len(r.fw.sw.vsis) != 1 {
			t.Errorf("%s: a VSI was added", what)
		}
	}
}

func TestVSIsAreAddedAndDeleted(t *testing.T) {
	r := newRig(t, func(c *Config) { c.VSIs, c.FirstVF = 3, 32 })
	veb := r.addVEB()
	scattered := vsiProps(SectionQueueMap|SectionSwitch|SectionSched, func(p []byte) {
		p[28] = 1
		for i, q := range []uint16{40, 42, 44, 46} {
			le.PutUint16(p[30+2*i:], q)
		}
		le.PutUint16(p[62:], 2<<9)
		le.PutUint16(p[2:], SwitchAllowLB)
		p[82] = 0x03
	})
	seid, back := r.addVSI(veb, VSITypeVF, 34, scattered)
	v := r.fw.Switch().VSIOfVF(2)
	if v == nil || v.SEID != seid || v.VF != 2 || v.Uplink != veb {
		t.Fatalf("VSI of VF 2: %+v", v)
	}
	if q, ok := v.Queue(2); !ok || q != 44 {
		t.Errorf("queue 2 is %d, %v", q, ok)
	}
	if _, ok := v.Queue(16); ok {
		t.Error("a scattered map has more than 16 queues")
	}
	if le.Uint16(back[96:]) == noQueueSet || le.Uint16(back[98:]) == noQueueSet || le.Uint16(back[100:]) != noQueueSet {
		t.Errorf("queue sets % x", back[96:104])
	}
	if set, tc, ok := r.fw.Switch().QueueSet(le.Uint16(back[98:])); !ok || set != v || tc != 1 {
		t.Errorf("the second queue set belongs to %v, class %d", set, tc)
	}
	r.addVSI(veb, VSITypeVMDq2, 0, mapping(8, 2))
	r.want(CodeNoSpc, OpAddVSI, params16(veb, connRegular, 0, uint16(VSITypeVMDq2)), mapping(8, 2), true)
	r.must(OpDeleteElement, params16(seid), nil, false)
	if _, _, ok := r.fw.Switch().QueueSet(le.Uint16(back[98:])); ok {
		t.Error("the queue set of a VSI that is gone is still there")
	}
	again, _ := r.addVSI(veb, VSITypeVF, 34, mapping(8, 2))
	if again != seid {
		t.Errorf("SEID %d is not used again", seid)
	}

	r.want(CodeNoEnt, OpAddVSI, params16(99, connRegular, 0, uint16(VSITypePF)), mapping(0, 0), true)
	r.want(CodeMode, OpAddVSI, params16(veb, connCascaded, 0, uint16(VSITypePF)), mapping(0, 0), true)
	for what, params := range map[string][]byte{
		"VF 5":            params16(veb, connRegular, 5, uint16(VSITypeVF)),
		"connection type": params16(veb, 0, 0, uint16(VSITypePF)),
		"flags":           params16(veb, connRegular, 0, 0x80),
		"management":      params16(veb, connRegular, 0, uint16(VSITypeEMP)),
	} {
		if _, code := r.command(OpAddVSI, params, mapping(0, 0), true); code != CodeInval && code != CodeNXIO {
			t.Errorf("%s: %s", what, code)
		}
		r.expect(what)
	}
	r.want(CodeInval, OpDeleteElement, params16(firstVSI), nil, false)
	r.expect("own VSI")
	r.want(CodeNoEnt, OpDeleteElement, params16(900), nil, false)
}

func TestVEBs(t *testing.T) {
	r := newRig(t)
	d := r.must(OpAddVEB, append(params16(seidMAC, firstVSI, vebDefault|vebNoStats), 1), nil, false)
	veb := d.u16(8)
	if veb != firstVEB || d.u16(10) != 0 || d.u16(12) != 1 || d.u16(14) != maxVEBs-1 {
		t.Errorf("completion % x", d.Params)
	}
	if got := r.fw.Switch().Main().Uplink; got != veb {
		t.Errorf("the PF's VSI hangs below %d", got)
	}
	d = r.must(OpGetVEB, params16(veb), nil, false)
	if d.u16(0) != veb || d.u16(4) != vebNoStats || d.u16(8) != 1 || d.u16(10) != maxVEBs-1 {
		t.Errorf("parameters % x", d.Params)
	}
	r.want(CodeNoEnt, OpGetVEB, params16(5), nil, false)
	r.want(CodeNoEnt, OpAddVEB, append(params16(seidMAC, firstVSI, vebDefault), 1), nil, false) // it has moved
	for what, params := range map[string][]byte{
		"uplink 0":     append(params16(0, firstVSI, 0), 1),
		"flags 0x0100": append(params16(seidMAC, firstVSI, 0x100), 1),
		"no traffic":   append(params16(veb, firstVSI, 0), 0),
	} {
		r.want(CodeInval, OpAddVEB, params, nil, false)
		r.expect(what)
	}
	floating := r.must(OpAddVEB, append(params16(0, 0, vebFloating), 1), nil, false).u16(8)
	if d := r.must(OpGetVEB, params16(floating), nil, false); d.u16(4)&vebFloating == 0 {
		t.Errorf("floating VEB % x", d.Params)
	}
	seid, _ := r.addVSI(floating, VSITypeVMDq2, 0, mapping(8, 1))
	r.want(CodeBusy, OpDeleteElement, params16(floating), nil, false)
	r.must(OpDeleteElement, params16(seid), nil, false)
	r.must(OpDeleteElement, params16(floating), nil, false)

	second, _ := r.addVSI(veb, VSITypeVMDq2, 0, mapping(8, 1))
	r.want(CodeBusy, OpDeleteElement, params16(veb), nil, false)
	r.must(OpDeleteElement, params16(second), nil, false)
	r.must(OpDeleteElement, params16(veb), nil, false)
	if got := r.fw.Switch().Main().Uplink; got != seidMAC {
		t.Errorf("without VEB the PF's VSI hangs below %d", got)
	}
	for i := range maxVEBs + 1 {
		want := CodeOK
		if i == maxVEBs {
			want = CodeNoSpc
		}
		r.want(want, OpAddVEB, append(params16(0, 0, vebFloating), 1), nil, false)
	}
}

func TestResetsEmptyTheSwitch(t *testing.T) {
	for _, kind := range []ResetKind{ResetPF, ResetCore, ResetGlobal, ResetEMP} {
		r := newRig(t)
		r.addVSI(r.addVEB(), VSITypeVMDq2, 0, mapping(8, 1))
		r.fw.Reset(kind)
		if s := r.fw.Switch(); len(s.vsis) != 1 || len(s.vebs) != 0 || s.Main().Uplink != seidMAC {
			t.Errorf("reset %d leaves %d VSIs and %d VEBs", kind, len(s.vsis), len(s.vebs))
		}
		if r.pair.Read(Send, LEN) != 0 {
			t.Errorf("reset %d leaves the queue on", kind)
		}
	}
}

func TestPrioritiesAndHashTables(t *testing.T) {
	r := newRig(t)
	v := r.fw.Switch().Main()
	for up := range uint8(8) {
		if v.UserPriority(Receive, up) != up || v.UserPriority(Send, up) != up {
			t.Errorf("priority %d is not kept", up)
		}
	}
	r.must(OpUpdateVSI, params16(firstVSI), vsiProps(SectionIngress|SectionQueueOpt, func(p []byte) {
		le.PutUint32(p[16:], 6<<3) // priority 1 becomes 6, all others 0
		p[78] = queueOptLUTVSI
	}), true)
	if v.UserPriority(Receive, 1) != 6 || v.UserPriority(Receive, 2) != 0 || v.UserPriority(Send, 1) != 1 {
		t.Error("the ingress table is not used")
	}
	if !v.RSSTableOfVSI() || v.Properties()[78] != queueOptLUTVSI {
		t.Error("the VSI does not hash by a table of its own")
	}
}

// TestAFrameThatTwoFiltersAccept is delivered once, to the queue that one of them names.
func TestAFrameThatTwoFiltersAccept(t *testing.T) {
	r := newRig(t)
	r.addMAC(firstVSI, macElement(mac1, 0, macAddPerfect|macAddToQueue, 7))
	r.addCloud(firstVSI, cloud(cloudOMAC, func(e []byte) { copy(e, mac1[:]) }))
	got := r.fw.Switch().Receive(&Header{Dst: mac1, Src: mac2})
	if len(got.To) != 1 || got.To[0].Queue != 7 || got.To[0].Why != MatchCloud {
		t.Errorf("%+v", got)
	}
}
