package adminq

import "testing"

// macElement is one element of Add MAC-VLAN.
func macElement(mac MAC, vlan, flags, queue uint16) []byte {
	e := append(mac[:], params16(vlan, flags, queue)...)
	return append(e, 0xFF, 0, 0, 0) // drivers put "no resources" where the answer comes
}

// macRemoval is one of Remove MAC-VLAN.
func macRemoval(mac MAC, vlan uint16, flags uint8) []byte {
	return append(append(mac[:], params16(vlan)...), flags, 0, 0, 0, 0xEE, 0, 0, 0)
}

func (p *port) addMAC(seid uint16, elements ...[]byte) {
	p.t.Helper()
	var buf []byte
	for _, e := range elements {
		buf = append(buf, e...)
	}
	p.must(OpAddMACVLAN, params16(uint16(len(elements)), seid|seidValid), buf, true)
}

func TestMACFiltersAreAddedAndRemoved(t *testing.T) {
	r := newRig(t)
	buf := append(macElement(mac1, 0, macAddPerfect|macAddIgnoreVLAN, 0),
		macElement(mcst, 5, macAddHash|macAddShared, 0)...)
	d := r.must(OpAddMACVLAN, params16(2, firstVSI|seidValid), buf, true)
	if buf[12] != macAddPerfect || buf[16+12] != macAddHash {
		t.Errorf("match methods %#x, %#x", buf[12], buf[28])
	}
	if d.u16(0) != 2 || d.u16(2) != maxMACFilters-2 || d.u16(4) != maxHashFilters || d.u16(6) != maxHashFilters-1 {
		t.Errorf("counts % x", d.Params[:8])
	}
	// Again is no error, and takes no room.
	d = r.must(OpAddMACVLAN, params16(1, firstVSI|seidValid), macElement(mac1, 0, macAddPerfect|macAddIgnoreVLAN, 0), true)
	if d.u16(0) != 2 {
		t.Errorf("%d filters", d.u16(0))
	}

	buf = append(macRemoval(mac1, 0, macDelPerfect|macDelIgnoreVLAN), macRemoval(mac2, 0, macDelPerfect)...)
	d, code := r.command(OpRemoveMACVLAN, params16(2, firstVSI|seidValid), buf, true)
	if code != CodeNoEnt || buf[12] != 0 || buf[28] != 0xFF || d.u16(0) != 1 {
		t.Errorf("%s, results %#x, %#x, %d filters", code, buf[12], buf[28], d.u16(0))
	}
	r.must(OpRemoveMACVLAN, params16(1, firstVSI|seidValid), macRemoval(mcst, 5, macDelHash), true)
}

// TestTheDefaultFilter is removed by Linux with its VLAN, and not by DPDK, which asks for one that ignores VLANs.
func TestTheDefaultFilter(t *testing.T) {
	r := newRig(t)
	mac := r.fw.Config().MAC
	one := params16(1, firstVSI|seidValid)
	r.want(CodeNoEnt, OpRemoveMACVLAN, one, macRemoval(mac, 0, macDelPerfect|macDelIgnoreVLAN), true)
	h := &Header{Dst: mac, Src: mac2, EtherType: 0x800}
	if got := r.fw.Switch().Receive(h); len(got.To) != 1 {
		t.Errorf("untagged: %+v", got)
	}
	h.Tagged, h.TCI = true, 7
	if got := r.fw.Switch().Receive(h); got.Drop != DropNoFilter {
		t.Errorf("tagged: %+v", got)
	}
	r.must(OpRemoveMACVLAN, params16(1, firstVSI|seidValid), macRemoval(mac, 0, macDelPerfect), true)
	h.Tagged = false
	if got := r.fw.Switch().Receive(h); got.Drop != DropNoFilter {
		t.Errorf("removed: %+v", got)
	}
}

func TestFiltersForSeveralVSIs(t *testing.T) {
	r := newRig(t)
	veb := r.addVEB()
	a, _ := r.addVSI(veb, VSITypeVMDq2, 0, mapping(8, 1))
	b, _ := r.addVSI(veb, VSITypeVMDq2, 0, mapping(16, 1))
	r.must(OpAddMACVLAN, params16(1, a|seidValid, b|seidValid), macElement(mcst, 0, macAddPerfect, 0), true)
	if got := r.fw.Switch().Receive(&Header{Dst: mcst, Src: mac3}); len(got.To) != 2 {
		t.Errorf("delivered to %+v", got.To)
	}
	r.must(OpRemoveMACVLAN, params16(1, a|seidValid), macRemoval(mcst, 0, macDelPerfect|macDelAllVSIs), true)
	if got := r.fw.Switch().Receive(&Header{Dst: mcst, Src: mac3}); len(got.To) != 0 {
		t.Errorf("delivered to %+v", got.To)
	}
}

// TestMACFilterOverflow is what makes drivers go promiscuous: what fits is added, the rest is told.
func TestMACFilterOverflow(t *testing.T) {
	r := newRig(t)
	for n := 1; n < maxMACFilters; { // one is there already
		count := min(256, maxMACFilters-n)
		var buf []byte
		for i := range count {
			buf = append(buf, macElement(MAC{2, 1, 0, 0, byte((n + i) >> 8), byte(n + i)}, 0, macAddPerfect, 0)...)
		}
		r.must(OpAddMACVLAN, params16(uint16(count), firstVSI|seidValid), buf, true)
		n += count
	}
	r.must(OpRemoveMACVLAN, params16(1, firstVSI|seidValid), macRemoval(MAC{2, 1, 0, 0, 0, 9}, 0, macDelPerfect), true)
	buf := append(macElement(mac1, 0, macAddPerfect, 0), macElement(mac2, 0, macAddPerfect, 0)...)
	d, code := r.command(OpAddMACVLAN, params16(2, firstVSI|seidValid), buf, true)
	if code != CodeNoSpc || buf[12] != macAddPerfect || buf[28] != matchNone || d.u16(2) != 0 {
		t.Errorf("%s, match methods %#x, %#x, %d free", code, buf[12], buf[28], d.u16(2))
	}
	for range 3 { // hashes have room of their own
		r.addMAC(firstVSI, macElement(mcst, 0, macAddHash, 0))
	}
}

func TestMACFiltersThatCannotBe(t *testing.T) {
	r := newRig(t)
	one := params16(1, firstVSI|seidValid)
	for what, e := range map[string][]byte{
		"flags 0x0000": macElement(mac1, 0, 0, 0),
		"flags 0x0003": macElement(mac1, 0, 3, 0),
		"flags 0x0101": macElement(mac1, 0, 0x101, 0),
		"VLAN 4096":    macElement(mac1, 4096, macAddPerfect, 0),
		"zero address": macElement(MAC{}, 0, macAddPerfect, 0),
	} {
		r.want(CodeInval, OpAddMACVLAN, one, e, true)
		r.expect(what)
	}
	for what, e := range map[string][]byte{
		"flags 0x00": macRemoval(mac1, 0, 0),
		"flags 0x21": macRemoval(mac1, 0, 0x21),
		"VLAN 5000":  macRemoval(mac1, 5000, 1),
	} {
		r.want(CodeInval, OpRemoveMACVLAN, one, e, true)
		r.expect(what)
	}
	good := macElement(mac1, 0, macAddPerfect, 0)
	for _, op := range []Opcode{OpAddMACVLAN, OpRemoveMACVLAN, OpAddVLAN, OpRemoveVLAN} {
		r.want(CodeInval, op, params16(0, firstVSI|seidValid), good, true)
		r.expect("0 elements")
		r.want(CodeInval, op, params16(3, firstVSI|seidValid), good, true)
		r.expect("3 elements")
		r.want(CodeInval, op, params16(1, firstVSI), good, true)
		r.expect("not marked valid")
		r.want(CodeNoEnt, op, params16(1, 3|seidValid), good, true)
	}
	veb := r.addVEB()
	seid, _ := r.addVSI(veb, VSITypeVF, 0, vsiProps(SectionQueueMap, func(p []byte) { p[28] = 1 }))
	r.want(CodeInval, OpAddMACVLAN, params16(1, seid|seidValid), macElement(mac1, 0, macAddPerfect|macAddToQueue, 20), true)
	r.expect("does not have")
}

func TestVLANMembership(t *testing.T) {
	r := newRig(t)
	one := params16(1, firstVSI|seidValid)
	d := r.must(OpAddVLAN, params16(2, firstVSI|seidValid), append(append(params16(10), 0, 0, 0xFF, 0, 0, 0),
		append(params16(11), 0, 0, 0xFF, 0, 0, 0)...), true)
	if d.u16(4) != 2 || d.u16(6) != maxVLANs-2 {
		t.Errorf("counts % x", d.Params[:8])
	}
	r.addMAC(firstVSI, macElement(mac1, 0, macAddPerfect|macAddIgnoreVLAN, 0))
	for vlan, want := range map[uint16]int{0: 1, 10: 1, 11: 1, 12: 0} {
		got := r.fw.Switch().Receive(&Header{Dst: mac1, Src: mac3, Tagged: true, TCI: vlan | 0xE000})
		if len(got.To) != want {
			t.Errorf("VLAN %d: %+v", vlan, got)
		}
	}
	r.must(OpSetPromiscuous, params16(promiscVLAN, promiscVLAN, firstVSI), nil, false)
	if got := r.fw.Switch().Receive(&Header{Dst: mac1, Src: mac3, Tagged: true, TCI: 12}); len(got.To) != 1 {
		t.Errorf("VLAN 12, promiscuous for VLANs: %+v", got)
	}

	buf := append(params16(10), 0, 0, 0xEE, 0, 0, 0)
	r.must(OpRemoveVLAN, one, buf, true)
	if _, code := r.command(OpRemoveVLAN, one, buf, true); code != CodeNoEnt || buf[4] != 0xFF {
		t.Errorf("again: %s, result %#x", code, buf[4])
	}
	r.must(OpRemoveVLAN, one, append(params16(0), vlanRemoveAll, 0, 0, 0, 0, 0), true)
	if n := r.fw.sw.vlansUsed(); n != 0 {
		t.Errorf("%d VLANs are left", n)
	}
	if _, code := r.command(OpAddVLAN, one, append(params16(10), 0x02, 0, 0, 0, 0, 0), true); code != CodeNoSpc {
		t.Errorf("private VLAN: %s", code)
	}
	for _, op := range []Opcode{OpAddVLAN, OpRemoveVLAN} {
		r.want(CodeInval, op, one, append(params16(4096), 0, 0, 0, 0, 0, 0), true)
		r.expect("VLAN 4096")
	}
	for n := range maxVLANs + 1 {
		want := CodeOK
		if n == maxVLANs {
			want = CodeNoSpc
		}
		r.want(want, OpAddVLAN, one, append(params16(uint16(n+1)), 0, 0, 0, 0, 0, 0), true)
	}
}

func TestPromiscuousModesThatCannotBe(t *testing.T) {
	r := newRig(t)
	r.want(CodeNoEnt, OpSetPromiscuous, params16(1, 1, 9), nil, false)
	for what, p := range map[string][]byte{
		"flags 0x0100":            params16(0x100, 0x100, firstVSI),
		"valid flags 0x0000":      params16(1, 0, firstVSI),
		"cannot be for one VLAN":  params16(promiscDefault, promiscDefault, firstVSI, seidValid|5),
		"tag 0x1005 has reserved": params16(1, 1, firstVSI, 0x1005),
	} {
		r.want(CodeInval, OpSetPromiscuous, p, nil, false)
		r.expect(what)
	}
}
