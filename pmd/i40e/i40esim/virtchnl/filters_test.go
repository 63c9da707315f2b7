package virtchnl

import (
	"slices"
	"testing"

	"weft/pmd/i40e/i40esim/adminq"
)

// addresses is ADD_ETH_ADDR or DEL_ETH_ADDR.
func addresses(vsi uint16, macs ...adminq.MAC) []byte {
	msg := u16s(vsi, uint16(len(macs)))
	for _, mac := range macs {
		msg = append(append(msg, mac[:]...), 2, 0)
	}
	return msg
}

func TestAddresses(t *testing.T) {
	g := newRig(t, Config{})
	g.open(everything)
	vsi, own := g.vsi().Number, g.r.Address(0)
	g.must(OpAddAddresses, addresses(vsi, other, multicast))
	for _, mac := range []adminq.MAC{own, other, multicast} {
		if !g.accepts(adminq.Header{Dst: mac, Src: adminq.MAC{2, 8}}) || !g.r.Addresses(0)[mac] {
			t.Errorf("%s does not reach the VF", mac)
		}
	}
	g.must(OpDeleteAddresses, addresses(vsi, own))
	g.must(OpDeleteAddresses, append(addresses(vsi, own), make([]byte, addressSize)...)) // again, and in the old length
	if g.accepts(adminq.Header{Dst: own, Src: adminq.MAC{2, 8}}) {
		t.Error("an address that was deleted reaches the VF")
	}
	for what, msg := range map[string][]byte{
		"address 00:00": addresses(vsi, adminq.MAC{}),
		"address ff:ff": addresses(vsi, broadcast),
		"VSI 9":         addresses(9, other),
	} {
		g.refused(StatusParam, OpAddAddresses, msg, what)
		g.refused(StatusParam, OpDeleteAddresses, msg, what)
	}
}

func TestManyAddressesAndNoRoom(t *testing.T) {
	g := newRig(t, Config{})
	g.open(everything)
	vsi := g.vsi().Number
	var macs []adminq.MAC
	for i := range 400 {
		macs = append(macs, adminq.MAC{2, 5, 0, 0, byte(i >> 8), byte(i)})
	}
	g.must(OpAddAddresses, addresses(vsi, macs...))
	if !g.accepts(adminq.Header{Dst: macs[399], Src: other}) {
		t.Error("the last address does not reach the VF")
	}
	// Four VLANs make five filters of each address: more than the card has.
	vlans := append(u16s(vsi, 4), u16s(1, 2, 3, 4)...)
	if status, _ := g.ask(OpAddVLANs, vlans); status != StatusAdminQueue {
		t.Errorf("status %d", status)
	}
	if !g.accepts(adminq.Header{Dst: macs[0], Src: other, Tagged: true, TCI: 9}) ||
		!g.accepts(adminq.Header{Dst: macs[399], Src: other}) {
		t.Error("what there was before is not there any more")
	}
}

func TestFixedAddresses(t *testing.T) {
	g := newRig(t, Config{Fixed: true})
	g.open(everything)
	vsi := g.vsi().Number
	g.refused(StatusParam, OpAddAddresses, addresses(vsi, other), "")
	g.must(OpAddAddresses, addresses(vsi, multicast))
	g.must(OpAddAddresses, addresses(vsi, g.r.Address(0)))
	g.must(OpPromiscuous, u16s(vsi, 1)) // it is told that all is well
	if g.accepts(adminq.Header{Dst: other, Src: multicast}) {
		t.Error("another address reaches the VF")
	}
}

func TestVLANs(t *testing.T) {
	g := newRig(t, Config{})
	g.open(everything)
	vsi, own := g.vsi().Number, g.r.Address(0)
	tagged := func(vlan uint16) adminq.Header {
		return adminq.Header{Dst: own, Src: other, Tagged: true, TCI: vlan}
	}
	g.must(OpAddVLANs, u16s(vsi, 2, 0, 100))
	if g.vsi().TagMode() != adminq.TagStrip {
		t.Errorf("tag mode %d", g.vsi().TagMode())
	}
	if !g.accepts(tagged(100)) || g.accepts(tagged(101)) || !g.accepts(adminq.Header{Dst: own, Src: other}) {
		t.Error("VLAN 100 alone, and untagged frames, should reach the VF")
	}
	g.must(OpAddVLANs, u16s(vsi, 1, 101, 0)) // in the old length
	if !g.accepts(tagged(100)) || !g.accepts(tagged(101)) {
		t.Error("VLANs 100 and 101 should reach the VF")
	}
	g.must(OpDeleteVLANs, u16s(vsi, 2, 100, 101))
	if !g.accepts(tagged(7)) {
		t.Error("without VLANs, any should reach the VF")
	}
	g.must(OpDisableStrip, nil)
	if g.vsi().TagMode() != adminq.TagKeep {
		t.Errorf("tag mode %d", g.vsi().TagMode())
	}
	g.must(OpEnableStrip, nil)
	if g.vsi().TagMode() != adminq.TagStrip {
		t.Errorf("tag mode %d", g.vsi().TagMode())
	}
	for _, op := range []Op{OpAddVLANs, OpDeleteVLANs} {
		g.refused(StatusParam, op, u16s(vsi, 1, 4096), "VLAN 4096")
		g.refused(StatusParam, op, u16s(9, 1, 5), "VSI 9")
	}
}

// vlan2 is an element of ADD_VLAN_V2.
func vlan2(innerTPID, tci, outerTPID uint16) []byte {
	return slices.Concat(u16s(tci, 0, innerTPID, 0), u16s(0, 0, outerTPID, 0), make([]byte, 16))
}

func TestVLANsOfTheSecondVersion(t *testing.T) {
	g := newRig(t, Config{Offer: Offered | CapVLAN2})
	g.open(everything)
	vsi, own := g.vsi().Number, g.r.Address(0)
	caps := g.must(OpGetVLANCaps, nil)
	if len(caps) != 40 || le.Uint32(caps[0:]) != 0 || le.Uint32(caps[4:]) != vlan8100 || le.Uint16(caps[12:]) != maxVLAN2 ||
		le.Uint32(caps[20:]) != vlanToggle|vlan8100|vlanL2Tag1 || le.Uint32(caps[28:]) != vlanToggle|vlan8100|vlanL2Tag1 {
		t.Errorf("capabilities % x", caps)
	}
	g.must(OpAddVLANs2, slices.Concat(u16s(vsi, 2, 0, 0), vlan2(0x8100, 5, 0), vlan2(0x8100, 6, 0)))
	if !g.accepts(adminq.Header{Dst: own, Src: other, Tagged: true, TCI: 6}) ||
		g.accepts(adminq.Header{Dst: own, Src: other, Tagged: true, TCI: 7}) {
		t.Error("VLANs 5 and 6 should reach the VF, 7 not")
	}
	g.must(OpDeleteVLANs2, slices.Concat(u16s(vsi, 1, 0, 0), vlan2(0x8100, 6, 0)))
	if g.accepts(adminq.Header{Dst: own, Src: other, Tagged: true, TCI: 6}) {
		t.Error("VLAN 6 still reaches the VF")
	}
	setting := slices.Concat(u32s(0, vlan8100), u16s(vsi, 0, 0, 0))
	g.must(OpEnableStrip2, setting)
	if g.vsi().TagMode() != adminq.TagStrip {
		t.Errorf("tag mode %d", g.vsi().TagMode())
	}
	g.must(OpDisableStrip2, setting)
	if g.vsi().TagMode() != adminq.TagKeep {
		t.Errorf("tag mode %d", g.vsi().TagMode())
	}
	g.must(OpEnableInsert2, setting)
	g.must(OpDisableInsert2, setting)
	for _, op := range []Op{OpEnableStrip2, OpDisableStrip2, OpEnableInsert2} {
		g.refused(StatusParam, op, slices.Concat(u32s(vlan8100, 0), u16s(vsi, 0, 0, 0)), "inner 8100 was offered")
		g.refused(StatusParam, op, slices.Concat(u32s(0, vlan8100), u16s(9, 0, 0, 0)), "VSI 9")
	}
	for what, e := range map[string][]byte{
		"type 0x88a8":       vlan2(0x88A8, 5, 0),
		"outer type 0x8100": vlan2(0x8100, 5, 0x8100),
		"filter 4097":       vlan2(0x8100, 4097, 0),
	} {
		g.refused(StatusParam, OpAddVLANs2, append(u16s(vsi, 1, 0, 0), e...), what)
		g.refused(StatusParam, OpDeleteVLANs2, append(u16s(vsi, 1, 0, 0), e...), what)
	}
	msg := u16s(vsi, 65, 0, 0)
	for i := range uint16(65) {
		msg = append(msg, vlan2(0x8100, 100+i, 0)...)
	}
	g.refused(StatusParam, OpAddVLANs2, msg, "at most 64")
	g.refused(StatusParam, OpAddVLANs2, slices.Concat(u16s(9, 1, 0, 0), vlan2(0x8100, 5, 0)), "VSI 9")
}

func TestPromiscuousMode(t *testing.T) {
	g := newRig(t, Config{})
	g.open(everything)
	vsi := g.vsi().Number
	for flags, want := range [][2]bool{{false, false}, {true, false}, {false, true}, {true, true}} {
		g.must(OpPromiscuous, u16s(vsi, uint16(flags)))
		got := [2]bool{
			g.accepts(adminq.Header{Dst: other, Src: multicast}), g.accepts(adminq.Header{Dst: multicast, Src: other}),
		}
		if got != want {
			t.Errorf("flags %d: unicast and multicast %v", flags, got)
		}
		if !g.accepts(adminq.Header{Dst: broadcast, Src: other}) {
			t.Errorf("flags %d: no broadcasts", flags)
		}
	}
	g.refused(StatusParam, OpPromiscuous, u16s(vsi, 4), "promiscuous flags 0x4")
	g.refused(StatusParam, OpPromiscuous, u16s(9, 1), "VSI 9")
}
