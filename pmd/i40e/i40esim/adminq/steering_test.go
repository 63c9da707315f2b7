package adminq

import (
	"fmt"
	"slices"
	"testing"
)

// receivers names the VSIs of a verdict by number.
func receivers(v Verdict) []uint16 {
	var out []uint16
	for _, d := range v.To {
		out = append(out, d.VSI.Number)
	}
	slices.Sort(out)
	return out
}

// three is a switch of the PF's VSI 0 and two VSIs 1 and 2 below a VEB, with one address each.
func three(t *testing.T) (r *rig, a, b uint16) {
	t.Helper()
	r = newRig(t)
	veb := r.addVEB()
	loop := func(base uint16) []byte {
		return vsiProps(SectionQueueMap|SectionSwitch, func(p []byte) {
			le.PutUint16(p[2:], SwitchAllowLB)
			le.PutUint16(p[30:], base)
			le.PutUint16(p[62:], 2<<9)
		})
	}
	r.must(OpUpdateVSI, params16(firstVSI), loop(0), true)
	a, _ = r.addVSI(veb, VSITypeVMDq2, 0, loop(8))
	b, _ = r.addVSI(veb, VSITypeVMDq2, 0, loop(16))
	r.must(OpRemoveMACVLAN, params16(1, firstVSI|seidValid), macRemoval(r.fw.Config().MAC, 0, macDelPerfect), true)
	for i, seid := range []uint16{firstVSI, a, b} {
		r.addMAC(seid, macElement(MAC{2, 0, 0, 0, 0, byte(i + 1)}, 0, macAddPerfect|macAddIgnoreVLAN, 0))
		r.must(OpSetPromiscuous, params16(promiscBroadcast, promiscBroadcast, seid), nil, false)
	}
	return r, a, b
}

func TestFramesFromTheWire(t *testing.T) {
	r, a, b := three(t)
	out := MAC{2, 9, 9, 9, 9, 9}
	check := func(what string, h Header, want ...uint16) {
		t.Helper()
		got := r.fw.Switch().Receive(&h)
		if !slices.Equal(receivers(got), want) || got.Wire || (got.Drop == DropNoFilter) != (len(want) == 0) {
			t.Errorf("%s: to %v, %s, want %v", what, receivers(got), got.Drop, want)
		}
		for _, d := range got.To {
			if d.Loopback {
				t.Errorf("%s: marked as looped back", what)
			}
		}
	}
	check("unicast", Header{Dst: mac2, Src: out}, 1)
	check("unicast with a tag", Header{Dst: mac2, Src: out, Tagged: true, TCI: 9}, 1)
	check("unicast to nobody", Header{Dst: out, Src: out})
	check("broadcast", Header{Dst: bcst, Src: out}, 0, 1, 2)
	check("broadcast that a VSI itself has sent", Header{Dst: bcst, Src: mac2}, 0, 2)
	check("multicast to nobody", Header{Dst: mcst, Src: out})

	r.must(OpSetPromiscuous, params16(promiscMulticast, promiscMulticast, a), nil, false)
	r.must(OpSetPromiscuous, params16(promiscUnicast, promiscUnicast, b), nil, false)
	check("multicast, one is promiscuous", Header{Dst: mcst, Src: out}, 1)
	check("unicast, one is promiscuous", Header{Dst: out, Src: out}, 2)
	check("unicast to another, one is promiscuous", Header{Dst: mac1, Src: out}, 0, 2)
	r.must(OpSetPromiscuous, params16(0, promiscUnicast, b), nil, false)
	check("no longer promiscuous", Header{Dst: out, Src: out})

	r.must(OpSetPromiscuous, params16(promiscUnicast, promiscUnicast, b, seidValid|7), nil, false)
	check("promiscuous on VLAN 7", Header{Dst: out, Src: out, Tagged: true, TCI: 7}, 2)
	check("on VLAN 8", Header{Dst: out, Src: out, Tagged: true, TCI: 8})
	r.must(OpSetPromiscuous, params16(0, promiscUnicast, b, seidValid|7), nil, false)
	check("no longer on VLAN 7", Header{Dst: out, Src: out, Tagged: true, TCI: 7})

	r.must(OpSetPromiscuous, params16(promiscDefault, promiscDefault, a), nil, false)
	check("to the default VSI", Header{Dst: out, Src: out}, 1)
	check("not to it if somebody wants it", Header{Dst: mac3, Src: out}, 2)
	r.want(CodeExist, OpSetPromiscuous, params16(promiscDefault, promiscDefault, b), nil, false)
	r.must(OpSetPromiscuous, params16(0, promiscDefault, a), nil, false)
	check("without default VSI", Header{Dst: out, Src: out})

	// Source pruning ends with LOCAL_LB.
	r.must(OpUpdateVSI, params16(a), vsiProps(SectionSwitch, func(p []byte) { le.PutUint16(p[2:], SwitchLocalLB) }), true)
	check("its own broadcast, not pruned", Header{Dst: bcst, Src: mac2}, 0, 1, 2)
}

func TestVLANFilters(t *testing.T) {
	r := newRig(t)
	r.addMAC(firstVSI, macElement(mac1, 0, macAddPerfect, 0), macElement(mac1, 20, macAddPerfect, 0),
		macElement(mac2, 30, macAddHash, 0), macElement(mac3, 0, macAddPerfect|macAddIgnoreVLAN|macAddToQueue, 3))
	for _, c := range []struct {
		h     Header
		why   Match
		queue int
		ok    bool
	}{
		{Header{Dst: mac1}, MatchMAC, -1, true},
		{Header{Dst: mac1, Tagged: true, TCI: 0x6000}, MatchMAC, -1, true}, // priority tag
		{Header{Dst: mac1, Tagged: true, TCI: 20}, MatchMAC, -1, true},
		{Header{Dst: mac1, Tagged: true, TCI: 21}, 0, 0, false},
		{Header{Dst: mac2}, 0, 0, false},
		{Header{Dst: mac2, Tagged: true, TCI: 30}, MatchHash, -1, true},
		{Header{Dst: mac3, Tagged: true, TCI: 99}, MatchMAC, 3, true},
	} {
		got := r.fw.Switch().Receive(&c.h)
		if (len(got.To) == 1) != c.ok || c.ok && (got.To[0].Why != c.why || got.To[0].Queue != c.queue) {
			t.Errorf("%+v: %+v", c.h, got)
		}
	}
}

func TestFramesFromVSIs(t *testing.T) {
	r, a, b := three(t)
	out := MAC{2, 9, 9, 9, 9, 9}
	check := func(what string, vsi uint16, h Header, wire bool, want ...uint16) {
		t.Helper()
		got := r.fw.Switch().Transmit(vsi, &h)
		if !slices.Equal(receivers(got), want) || got.Wire != wire {
			t.Errorf("%s: to %v, wire %v, %s; want %v, %v", what, receivers(got), got.Wire, got.Drop, want, wire)
		}
		for _, d := range got.To {
			if !d.Loopback {
				t.Errorf("%s: not marked as looped back", what)
			}
		}
	}
	check("to the wire", 1, Header{Dst: out, Src: mac2}, true)
	check("to a neighbour", 1, Header{Dst: mac3, Src: mac2}, false, 2)
	check("to the PF", 1, Header{Dst: mac1, Src: mac2}, false, 0)
	check("broadcast", 1, Header{Dst: bcst, Src: mac2}, true, 0, 2)
	check("to itself", 1, Header{Dst: mac2, Src: mac2}, true)

	r.must(OpSetPromiscuous, params16(promiscUnicast, promiscUnicast, b), nil, false)
	check("to the wire, a neighbour listens", 1, Header{Dst: out, Src: mac2}, true, 2)
	r.must(OpSetPromiscuous, params16(promiscUnicast|promiscRxOnly, promiscUnicast|promiscRxOnly, b), nil, false)
	check("a neighbour listens to the wire only", 1, Header{Dst: out, Src: mac2}, true)

	r.must(OpUpdateVSI, params16(a), vsiProps(SectionSwitch, nil), true)
	check("without loopback", 1, Header{Dst: mac3, Src: mac2}, true)
	r.must(OpUpdateVSI, params16(a), vsiProps(SectionSwitch, func(p []byte) {
		le.PutUint16(p[2:], SwitchAllowLB|SwitchLocalLB)
	}), true)
	check("to itself, not pruned", 1, Header{Dst: mac2, Src: mac2}, false, 1)
	if got := r.fw.Switch().Transmit(77, &Header{Dst: out}); got.Drop != DropNoVSI {
		t.Errorf("from no VSI: %+v", got)
	}
}

func TestFloatingVEBHasNoWire(t *testing.T) {
	r := newRig(t)
	veb := r.must(OpAddVEB, append(params16(0, 0, vebFloating), 1), nil, false).u16(8)
	props := vsiProps(SectionQueueMap|SectionSwitch, func(p []byte) { le.PutUint16(p[2:], SwitchAllowLB) })
	r.addVSI(veb, VSITypeVMDq2, 0, slices.Clone(props))
	b, _ := r.addVSI(veb, VSITypeVMDq2, 0, slices.Clone(props))
	r.addMAC(b, macElement(mac2, 0, macAddPerfect, 0))
	got := r.fw.Switch().Transmit(1, &Header{Dst: mac2, Src: mac1})
	if got.Wire || !slices.Equal(receivers(got), []uint16{2}) {
		t.Errorf("within: %+v", got)
	}
	if got := r.fw.Switch().Transmit(1, &Header{Dst: mac3, Src: mac1}); got.Wire || got.Drop != DropNoFilter {
		t.Errorf("to nobody: %+v", got)
	}
	if got := r.fw.Switch().Receive(&Header{Dst: mac2, Src: mac1}); got.Drop != DropNoFilter {
		t.Errorf("from the wire: %+v", got)
	}
}

func TestWithoutVEBEverythingGoesToTheWire(t *testing.T) {
	r := newRig(t)
	r.addMAC(firstVSI, macElement(mac1, 0, macAddPerfect, 0))
	if got := r.fw.Switch().Transmit(0, &Header{Dst: mac1, Src: mac1}); !got.Wire || len(got.To) != 0 {
		t.Errorf("%+v", got)
	}
	// And what comes back is not pruned: that is the VEB's.
	if got := r.fw.Switch().Receive(&Header{Dst: mac1, Src: mac1}); len(got.To) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestWhatAVSIMaySend(t *testing.T) {
	plain, tagged := Header{Dst: bcst, Src: mac2}, Header{Dst: bcst, Src: mac2, Tagged: true, TCI: 5}
	foreign := Header{Dst: bcst, Src: MAC{2, 7, 7, 7, 7, 7}}
	portVLAN := func(p []byte) { p[8], p[12] = 9, portVLANTagged|portVLANInsert }
	for _, c := range []struct {
		name     string
		sections uint16
		change   func(p []byte)
		h        Header
		want     DropReason
	}{
		{"all tags", SectionVLAN, func(p []byte) { p[12] = 3 }, tagged, NotDropped},
		{"untagged only, tagged", SectionVLAN, func(p []byte) { p[12] = portVLANPlain }, tagged, DropTagMode},
		{"untagged only", SectionVLAN, func(p []byte) { p[12] = portVLANPlain }, plain, NotDropped},
		{"tagged only, untagged", SectionVLAN, func(p []byte) { p[12] = portVLANTagged }, plain, DropTagMode},
		// With a port VLAN drivers admit tagged frames only, and the tag is the switch's.
		{"port VLAN", SectionVLAN, portVLAN, plain, NotDropped},
		{"port VLAN, own tag", SectionVLAN, portVLAN, tagged, DropTagMode},
		{"MAC anti-spoof", SectionSecurity, func(p []byte) { p[6] = SecurityMAC }, plain, NotDropped},
		{"MAC anti-spoof, foreign", SectionSecurity, func(p []byte) { p[6] = SecurityMAC }, foreign, DropSpoofMAC},
		{"no anti-spoof, foreign", SectionSecurity, nil, foreign, NotDropped},
	} {
		r, a, _ := three(t)
		r.must(OpUpdateVSI, params16(a), vsiProps(c.sections, c.change), true)
		if got := r.fw.Switch().Transmit(1, &c.h); got.Drop != c.want {
			t.Errorf("%s: %s, want %s", c.name, got.Drop, c.want)
		}
	}
}

func TestVLANAntiSpoof(t *testing.T) {
	r := newRig(t)
	veb := r.addVEB()
	props := vsiProps(SectionQueueMap|SectionSecurity, func(p []byte) { p[6] = SecurityVLAN })
	a, _ := r.addVSI(veb, VSITypeVMDq2, 0, props)
	r.addMAC(a, macElement(mac2, 5, macAddPerfect, 0))
	r.must(OpAddVLAN, params16(1, a|seidValid), append(params16(6), 0, 0, 0, 0, 0, 0), true)
	for vlan, want := range map[uint16]DropReason{0: NotDropped, 5: NotDropped, 6: NotDropped, 7: DropSpoofVLAN} {
		got := r.fw.Switch().Transmit(1, &Header{Dst: mac3, Src: mac2, Tagged: true, TCI: vlan})
		if got.Drop != want {
			t.Errorf("VLAN %d: %s", vlan, got.Drop)
		}
	}
}

// TestPortVLANIsWhatTheSwitchSees: a neighbour in the same port VLAN gets it, one in another does not.
func TestPortVLANIsWhatTheSwitchSees(t *testing.T) {
	r, a, b := three(t)
	r.must(OpUpdateVSI, params16(a), vsiProps(SectionVLAN, func(p []byte) { p[8], p[12] = 9, 7 }), true)
	r.must(OpRemoveMACVLAN, params16(1, b|seidValid), macRemoval(mac3, 0, macDelPerfect|macDelIgnoreVLAN), true)
	h := &Header{Dst: mac3, Src: mac2}
	r.addMAC(b, macElement(mac3, 8, macAddPerfect, 0))
	if got := r.fw.Switch().Transmit(1, h); !got.Wire || len(got.To) != 0 {
		t.Errorf("other VLAN: %+v", got)
	}
	r.addMAC(b, macElement(mac3, 9, macAddPerfect, 0))
	if got := r.fw.Switch().Transmit(1, h); got.Wire || !slices.Equal(receivers(got), []uint16{2}) {
		t.Errorf("same VLAN: %+v", got)
	}
	if h.Tagged {
		t.Error("the caller's header was changed")
	}
	if tci, ok := r.fw.Switch().VSI(1).PortVLAN(); !ok || tci != 9 {
		t.Errorf("port VLAN %d, %v", tci, ok)
	}
}

func TestDestinationOverride(t *testing.T) {
	r, a, _ := three(t)
	h := &Header{Dst: mac1, Src: mac2, Target: &Target{VSI: 2}}
	if got := r.fw.Switch().Transmit(1, h); got.Drop != DropOverride {
		t.Errorf("without the right: %+v", got)
	}
	r.must(OpUpdateVSI, params16(a), vsiProps(SectionSecurity, func(p []byte) { p[6] = SecurityDest }), true)
	if got := r.fw.Switch().Transmit(1, h); got.Wire || !slices.Equal(receivers(got), []uint16{2}) {
		t.Errorf("to a VSI: %+v", got)
	}
	h.Target = &Target{Uplink: true}
	if got := r.fw.Switch().Transmit(1, h); !got.Wire || len(got.To) != 0 {
		t.Errorf("to the uplink: %+v", got)
	}
	h.Target = &Target{VSI: 50}
	if got := r.fw.Switch().Transmit(1, h); got.Drop != DropNoVSI {
		t.Errorf("to nobody: %+v", got)
	}
}

// control is the parameters of a control packet filter.
func control(mac MAC, etype, flags, seid, queue uint16) []byte {
	return append(mac[:], params16(etype, flags, seid, queue)...)
}

func TestControlPacketFilters(t *testing.T) {
	r, a, _ := three(t)
	// What both drivers begin with: pause frames do not leave.
	drop := control(MAC{}, 0x8808, controlIgnoreMAC|controlDrop|controlTx, firstVSI, 0)
	d := r.must(OpAddControlFilter, drop, nil, false)
	if d.u16(2) != 1 || d.u16(6) != maxEtypes-1 || d.u16(0) != 0 {
		t.Errorf("counts % x", d.Params)
	}
	r.want(CodeExist, OpAddControlFilter, drop, nil, false)
	pause := &Header{Dst: MAC{1, 0x80, 0xC2, 0, 0, 1}, Src: mac2, EtherType: 0x8808}
	for _, vsi := range []uint16{0, 1, 2} {
		if got := r.fw.Switch().Transmit(vsi, pause); got.Drop != DropControl {
			t.Errorf("pause frame of VSI %d: %+v", vsi, got)
		}
	}
	if got := r.fw.Switch().Receive(pause); got.Drop == DropControl {
		t.Error("a received pause frame is subject to a filter for sent ones")
	}

	r.must(OpAddControlFilter, control(MAC{}, 0x88F7, controlIgnoreMAC|controlToQueue, a, 2), nil, false)
	r.must(OpAddControlFilter, control(mac3, 0x88F7, controlDrop, a, 0), nil, false)
	got := r.fw.Switch().Receive(&Header{Dst: mac1, Src: mac3, EtherType: 0x88F7})
	if !slices.Equal(receivers(got), []uint16{1}) || got.To[0].Queue != 2 || got.To[0].Why != MatchControl {
		t.Errorf("by EtherType: %+v", got)
	}
	if got := r.fw.Switch().Receive(&Header{Dst: mac3, Src: mac1, EtherType: 0x88F7}); got.Drop != DropControl {
		t.Errorf("by address and EtherType: %+v", got)
	}
	d = r.must(OpRemoveControlFilter, control(mac3, 0x88F7, controlDrop, a, 0), nil, false)
	if d.u16(0) != 0 || d.u16(2) != 2 {
		t.Errorf("counts % x", d.Params)
	}
	r.want(CodeNoEnt, OpRemoveControlFilter, control(mac3, 0x88F7, controlDrop, a, 0), nil, false)

	r.want(CodeNoEnt, OpAddControlFilter, control(MAC{}, 0x9999, controlIgnoreMAC, 9, 0), nil, false)
	for what, p := range map[string][]byte{
		"flags 0x0010":     control(MAC{}, 0x9999, 0x10, a, 0),
		"flags 0x0006":     control(MAC{}, 0x9999, controlDrop|controlToQueue, a, 0),
		"EtherType 0x0010": control(MAC{}, 0x10, controlIgnoreMAC, a, 0),
	} {
		r.want(CodeInval, OpAddControlFilter, p, nil, false)
		r.expect(what)
	}
	for i := range uint16(maxEtypes) {
		want := CodeOK
		if i >= maxEtypes-2 {
			want = CodeNoSpc
		}
		r.want(want, OpAddControlFilter, control(MAC{}, 0xA000+i, controlIgnoreMAC, a, 0), nil, false)
	}
	// A VSI that goes takes its filters along.
	r.must(OpDeleteElement, params16(a), nil, false)
	if n := len(r.fw.sw.control); n != 1 {
		t.Errorf("%d filters are left", n)
	}
}

func TestLLDPIsTheAgents(t *testing.T) {
	r, _, _ := three(t)
	h := &Header{Dst: MAC{1, 0x80, 0xC2, 0, 0, 0x0E}, Src: mac3, EtherType: 0x88CC}
	r.must(OpSetPromiscuous, params16(promiscMulticast, promiscMulticast, firstVSI), nil, false)
	if got := r.fw.Switch().Receive(h); got.Drop != DropLLDP {
		t.Errorf("agent running: %+v", got)
	}
	r.must(OpStopLLDP, []byte{0}, nil, false)
	if got := r.fw.Switch().Receive(h); !slices.Equal(receivers(got), []uint16{0}) {
		t.Errorf("agent stopped: %+v", got)
	}
}

func TestMirrorRules(t *testing.T) {
	for _, c := range []struct {
		name    string
		kind    uint16
		entries []uint16
		receive []uint16 // who gets a frame to VSI 1 on VLAN 5 from the wire
		send    []uint16 // who gets a frame of VSI 1 to the wire, on VLAN 5
	}{
		{"what a VSI receives", mirrorIngress, []uint16{firstVSI + 1}, []uint16{1, 2}, nil},
		{"what another VSI receives", mirrorIngress, []uint16{firstVSI}, []uint16{1}, nil},
		{"what a VSI sends", mirrorEgress, []uint16{firstVSI + 1}, []uint16{1}, []uint16{2}},
		{"a VLAN", mirrorVLAN, []uint16{5, 6}, []uint16{1, 2}, []uint16{2}},
		{"another VLAN", mirrorVLAN, []uint16{6}, []uint16{1}, nil},
		{"all from the wire", mirrorAllIngress, nil, []uint16{1, 2}, nil},
		{"all to the wire", mirrorAllEgress, nil, []uint16{1}, []uint16{2}},
	} {
		r, _, b := three(t)
		params := params16(firstVEB, c.kind, uint16(len(c.entries)), b)
		var buf []byte
		if c.entries != nil {
			buf = params16(c.entries...)
		}
		d := r.must(OpAddMirrorRule, params, buf, true)
		if d.u16(2) != 0 || d.u16(4) != 1 || d.u16(6) != maxMirrorRules-1 {
			t.Errorf("%s: completion % x", c.name, d.Params[:8])
		}
		out := MAC{2, 9, 9, 9, 9, 9}
		got := r.fw.Switch().Receive(&Header{Dst: mac2, Src: out, Tagged: true, TCI: 5})
		if !slices.Equal(receivers(got), c.receive) {
			t.Errorf("%s: received by %v, want %v", c.name, receivers(got), c.receive)
		}
		got = r.fw.Switch().Transmit(1, &Header{Dst: out, Src: mac2, Tagged: true, TCI: 5})
		if !got.Wire || !slices.Equal(receivers(got), c.send) {
			t.Errorf("%s: sent to %v, wire %v, want %v", c.name, receivers(got), got.Wire, c.send)
		}
		buf = nil
		if c.kind == mirrorVLAN {
			buf = params16(c.entries...)
		}
		d = r.must(OpDeleteMirrorRule, params16(firstVEB, c.kind, uint16(len(c.entries)), 0), buf, true)
		if d.u16(4) != 0 || len(r.fw.sw.mirrors) != 0 {
			t.Errorf("%s: %d rules are left", c.name, d.u16(4))
		}
	}
}

func TestMirrorRulesThatCannotBe(t *testing.T) {
	r, a, b := three(t)
	r.want(CodeInval, OpAddMirrorRule, params16(firstVEB, 7, 1, b), params16(1), true)
	r.expect("rule type 7")
	r.want(CodeInval, OpAddMirrorRule, params16(firstVEB, mirrorVLAN, 3, b), params16(1), true)
	r.expect("3 entries")
	r.want(CodeNoEnt, OpAddMirrorRule, params16(firstVEB, mirrorVLAN, 1, 1), params16(1), true)
	r.want(CodeNoEnt, OpAddMirrorRule, params16(77, mirrorVLAN, 1, b), params16(1), true)
	r.want(CodeNoEnt, OpAddMirrorRule, params16(firstVEB, mirrorIngress, 1, b), params16(1), true)
	r.want(CodeNoEnt, OpAddMirrorRule, params16(firstVEB, mirrorVLAN, 1, b), params16(4096), true)
	r.want(CodeNoEnt, OpDeleteMirrorRule, params16(firstVEB, mirrorAllIngress, 0, 3), nil, true)
	// A VLAN is taken out of a rule; the rule stays for the other.
	r.must(OpAddMirrorRule, params16(firstVEB, mirrorVLAN, 2, b), params16(5, 6), true)
	if d := r.must(OpDeleteMirrorRule, params16(firstVEB, mirrorVLAN, 1, 0), params16(5), true); d.u16(4) != 1 {
		t.Errorf("%d rules", d.u16(4))
	}
	for i := range maxMirrorRules {
		want := CodeOK
		if i == maxMirrorRules-1 {
			want = CodeNoSpc
		}
		r.want(want, OpAddMirrorRule, params16(firstVEB, mirrorAllIngress, 0, a), nil, true)
	}
	r.must(OpDeleteElement, params16(a), nil, false)
	if n := len(r.fw.sw.mirrors); n != 1 {
		t.Errorf("%d rules are left when their target is gone", n)
	}
}

func TestNamesOfReasons(t *testing.T) {
	if got := fmt.Sprint(MatchMirror, " ", DropSpoofMAC, " ", CodeNoSpc, " ", Code(99), " ", Opcode(0x250)); got !=
		"mirror MAC anti-spoof ENOSPC code 99 add_macvlan (0250)" {
		t.Errorf("%q", got)
	}
}
