package adminq

import (
	"slices"
	"testing"
)

// cloud is a cloud filter element.
func cloud(kind uint16, change func(e []byte)) []byte {
	e := make([]byte, cloudElement)
	le.PutUint16(e[30:], kind)
	e[cloudResult] = 0xEE
	if change != nil {
		change(e)
	}
	return e
}

func (p *port) addCloud(seid uint16, elements ...[]byte) {
	p.t.Helper()
	p.must(OpAddCloudFilters, append([]byte{byte(len(elements)), 0}, params16(seid)...), slices.Concat(elements...), true)
}

func TestCloudFiltersMatch(t *testing.T) {
	vxlan := func() *Header {
		return &Header{
			Dst: mac1, Src: mac3, EtherType: 0x800, L3: &L3{Dst: v4(192, 0, 2, 1), Protocol: 17, DstPort: 4789},
			Tunnel: &Tunnel{Kind: TunnelVXLAN, ID: 77, InnerDst: mac2, InnerVLAN: 5, Inner: &L3{Dst: v4(10, 0, 0, 1)}},
		}
	}
	inner := func(e []byte) { copy(e[6:], mac2[:]); le.PutUint16(e[12:], 5); le.PutUint32(e[32:], 77) }
	for _, c := range []struct {
		name    string
		element []byte
		miss    func(h *Header) // makes it not match
	}{
		{"outer MAC", cloud(cloudOMAC, func(e []byte) { copy(e, mac1[:]) }), func(h *Header) { h.Dst = mac3 }},
		{"inner MAC", cloud(cloudIMAC, inner), func(h *Header) { h.Tunnel.InnerDst = mac3 }},
		{"inner MAC and VLAN", cloud(cloudIMACIVLAN, inner), func(h *Header) { h.Tunnel.InnerVLAN = 6 }},
		{"inner MAC, VLAN, id", cloud(cloudIMACIVLANID, inner), func(h *Header) { h.Tunnel.ID = 78 }},
		{"inner MAC, id", cloud(cloudIMACID, inner), func(h *Header) { h.Tunnel = nil }},
		{"both MACs, id", cloud(cloudOMACIDIMAC, func(e []byte) { inner(e); copy(e, mac1[:]) }), func(h *Header) {
			h.Dst = mac3
		}},
		{"other tunnel", cloud(cloudIMAC, inner), func(h *Header) { h.Tunnel.Kind = TunnelGeneve }},
		{"outer IP", cloud(cloudOIP, func(e []byte) { copy(e[26:], []byte{1, 2, 0, 192}) }), func(h *Header) { h.L3 = nil }},
		{"inner IP", cloud(cloudIIP, func(e []byte) { copy(e[26:], []byte{1, 0, 0, 10}) }), func(h *Header) {
			h.Tunnel.Inner.Dst = v4(10, 0, 0, 2)
		}},
	} {
		r := newRig(t)
		element := slices.Clone(c.element)
		le.PutUint16(element[30:], le.Uint16(element[30:])|cloudToQueue)
		le.PutUint16(element[40:], 3)
		r.addCloud(firstVSI, element)
		got := r.fw.Switch().Receive(vxlan())
		if len(got.To) != 1 || got.To[0].Why != MatchCloud || got.To[0].Queue != 3 {
			t.Errorf("%s: %+v", c.name, got)
		}
		h := vxlan()
		c.miss(h)
		if got := r.fw.Switch().Receive(h); len(got.To) != 0 {
			t.Errorf("%s, changed: %+v", c.name, got)
		}
	}
}

func v4(a, b, c, d byte) (ip [16]byte) {
	copy(ip[12:], []byte{a, b, c, d})
	return ip
}

func TestCloudFiltersForGeneveShiftTheirID(t *testing.T) {
	r := newRig(t)
	r.addCloud(firstVSI, cloud(cloudIMACID|2<<9, func(e []byte) { copy(e[6:], mac2[:]); le.PutUint32(e[32:], 77<<8) }))
	h := &Header{Dst: mac1, Tunnel: &Tunnel{Kind: TunnelGeneve, ID: 77, InnerDst: mac2}}
	if got := r.fw.Switch().Receive(h); len(got.To) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestCloudFiltersByPort(t *testing.T) {
	r := newRig(t)
	big := func(kind uint16, change func(e []byte)) []byte {
		e := append(cloud(kind, change), make([]byte, cloudBigElement-cloudElement)...)
		le.PutUint16(e[cloudPortAt:], 80)
		return e
	}
	elements := slices.Concat(
		big(cloudIPPort|cloudToQueue, func(e []byte) { copy(e[26:], []byte{1, 0, 0, 10}); e[40] = 1 }),
		big(cloudMACPort|cloudToQueue, func(e []byte) { copy(e, mac2[:]); e[40] = 2 }),
		big(cloudMACVLANPort|cloudToQueue, func(e []byte) { copy(e, mac3[:]); e[12], e[40] = 9, 3 }),
		// IPv6 in the byte orders of Linux and of DPDK.
		big(cloudIPPort|cloudToQueue|cloudIPv6, func(e []byte) { e[14], e[29], e[40] = 1, 0x20, 4 }),
		big(cloudIPPort|cloudToQueue|cloudIPv6, func(e []byte) { e[17], e[26], e[40] = 0x20, 2, 5 }),
	)
	r.must(OpAddCloudFilters, append([]byte{5, 0}, append(params16(firstVSI), cloudBigFlag)...), elements, true)
	ip6 := func(last byte) (ip [16]byte) { ip[0], ip[15] = 0x20, last; return ip }
	for _, c := range []struct {
		h     Header
		queue int
	}{
		{Header{Dst: mac1, L3: &L3{Dst: v4(10, 0, 0, 1), DstPort: 80}}, 1},
		{Header{Dst: mac2, L3: &L3{Dst: v4(10, 0, 0, 9), DstPort: 80}}, 2},
		{Header{Dst: mac3, Tagged: true, TCI: 9, L3: &L3{DstPort: 80}}, 3},
		{Header{Dst: mac1, L3: &L3{IPv6: true, Dst: ip6(1), DstPort: 80}}, 4},
		{Header{Dst: mac1, L3: &L3{IPv6: true, Dst: ip6(2), DstPort: 80}}, 5},
		{Header{Dst: mac2, L3: &L3{DstPort: 81}}, -1},
		{Header{Dst: mac3, L3: &L3{DstPort: 80}}, -1},
		{Header{Dst: mac2}, -1},
	} {
		got := r.fw.Switch().Receive(&c.h)
		if c.queue < 0 && len(got.To) != 0 || c.queue >= 0 && (len(got.To) != 1 || got.To[0].Queue != c.queue) {
			t.Errorf("%+v %+v: %+v, want queue %d", c.h, c.h.L3, got, c.queue)
		}
	}
}

func TestCloudFiltersAreAddedAndRemoved(t *testing.T) {
	r := newRig(t)
	omac := cloud(cloudOMAC, func(e []byte) { copy(e, mac1[:]) })
	imac := cloud(cloudIMAC, func(e []byte) { copy(e[6:], mac1[:]) })
	buf := slices.Concat(omac, imac)
	params := append([]byte{2, 0}, params16(firstVSI)...)
	d := r.must(OpAddCloudFilters, params, buf, true)
	if buf[cloudResult] != 0 || buf[cloudElement+cloudResult] != 0 || d.u16(0) != 2 || d.u16(2) != maxCloud-2 {
		t.Errorf("results %#x, %#x, counts % x", buf[cloudResult], buf[cloudElement+cloudResult], d.Params[:8])
	}
	if _, code := r.command(OpAddCloudFilters, params, buf, true); code != CodeExist || buf[cloudResult] != 0xFF {
		t.Errorf("again: %s, result %#x", code, buf[cloudResult])
	}
	r.must(OpRemoveCloudFilters, params, buf, true)
	if _, code := r.command(OpRemoveCloudFilters, params, buf, true); code != CodeNoEnt || buf[cloudResult] != 0xFF {
		t.Errorf("removed again: %s, result %#x", code, buf[cloudResult])
	}
	r.want(CodeNoEnt, OpAddCloudFilters, []byte{1, 0, 9}, slices.Clone(omac), true)
	for what, c := range map[string]struct{ params, buf []byte }{
		"0 elements":            {[]byte{0, 0, 0, 2}, omac},
		"3 elements":            {[]byte{3, 0, 0, 2}, omac},
		"elements of 128 bytes": {[]byte{1, 0, 0, 2, cloudBigFlag}, omac},
		"filter type 0x02":      {[]byte{1, 0, 0, 2}, cloud(2, nil)},
	} {
		r.want(CodeInval, OpAddCloudFilters, c.params, slices.Clone(c.buf), true)
		r.expect(what)
	}
	for i := range maxCloud + 1 {
		want := CodeOK
		if i == maxCloud {
			want = CodeNoSpc
		}
		e := cloud(cloudOMAC, func(e []byte) { le.PutUint16(e[4:], uint16(i)) })
		r.want(want, OpAddCloudFilters, []byte{1, 0, 0, 2}, e, true)
	}
}

// TestReplacedFilterTypes does what DPDK does for QinQ and tunnels that it teaches the card.
func TestReplacedFilterTypes(t *testing.T) {
	r := newRig(t)
	buf := make([]byte, 64)
	buf[0], buf[4] = 12|0x80, 9|0x80
	r.must(OpReplaceCloudFilters, []byte{replaceCloud, cloudIIP, 0x11}, slices.Clone(buf), true)
	r.must(OpReplaceCloudFilters, []byte{0, 12, 0x11}, slices.Clone(buf), true) // of the first stage
	if len(r.fw.sw.types) != 2 {
		t.Errorf("types %v", r.fw.sw.types)
	}
	// What a replaced type compares is not known: it matches nothing.
	r.addCloud(firstVSI, cloud(0x11, func(e []byte) { copy(e, mac1[:]) }))
	if got := r.fw.Switch().Receive(&Header{Dst: mac1, L3: &L3{}}); len(got.To) != 0 {
		t.Errorf("%+v", got)
	}
	out := make([]byte, 32)
	r.must(OpReplaceCloudFilters, []byte{replaceGet}, out, true)
	if out[0] != 0x11 || out[1] != 12|0x80 || out[2] != 9|0x80 {
		t.Errorf("list % x", out)
	}
	r.must(OpReplaceCloudFilters, []byte{replaceCloud, 0x11, 0x11}, slices.Clone(buf), true)
	r.must(OpReplaceCloudFilters, []byte{0, 0x11, 0x11}, slices.Clone(buf), true)
	if len(r.fw.sw.types) != 0 {
		t.Errorf("types %v after they were given back", r.fw.sw.types)
	}
	r.want(CodeInval, OpReplaceCloudFilters, []byte{0x10}, slices.Clone(buf), true)
	r.expect("valid_flags")
}
