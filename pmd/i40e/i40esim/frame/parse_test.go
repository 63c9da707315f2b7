package frame

import (
	"encoding/binary"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// frame6 is an Ethernet frame with an IPv6 header, the given extension headers and a UDP header with its checksum unset.
func frame6(t *testing.T, first layers.IPProtocol, extensions ...[]byte) []byte {
	t.Helper()
	var all []byte
	for _, e := range extensions {
		all = append(all, e...)
	}
	all = append(all, 0xC0, 0, 0, 9, 0, 12, 0, 0, 1, 2, 3, 4)
	return build(t, eth(layers.EthernetTypeIPv6), ip6(first), gopacket.Payload(all))
}

func TestIPv6ExtensionHeaders(t *testing.T) {
	padN := []byte{1, 4, 0, 0, 0, 0}
	options := func(next uint8, o []byte) []byte { return append([]byte{next, byte(len(o)+2)/8 - 1}, o...) }
	homeAddress := append(append([]byte{1, 2, 0, 0}, 0xC9, 16), make([]byte, 16)...)
	routing := func(left byte) []byte { return append([]byte{ProtoUDP, 2, 2, left}, make([]byte, 20)...) }
	ah := append([]byte{ProtoUDP, 4}, make([]byte, 22)...)
	for name, x := range map[string]struct {
		first     layers.IPProtocol
		ext       [][]byte
		len       int
		rewritten bool
	}{
		"none":                         {ProtoUDP, nil, 40, false},
		"hop by hop":                   {ProtoHopByHop, [][]byte{options(ProtoUDP, padN)}, 48, false},
		"destination options":          {ProtoDestOpts, [][]byte{options(ProtoUDP, padN)}, 48, false},
		"home address":                 {ProtoDestOpts, [][]byte{options(ProtoUDP, homeAddress)}, 64, true},
		"routing, no segments left":    {ProtoRouting, [][]byte{routing(0)}, 64, false},
		"routing, one segment left":    {ProtoRouting, [][]byte{routing(1)}, 64, true},
		"authentication":               {ProtoAH, [][]byte{ah}, 64, false},
		"hop by hop, then destination": {ProtoHopByHop, [][]byte{options(ProtoDestOpts, padN), options(ProtoUDP, padN)}, 56, false},
	} {
		b := frame6(t, x.first, x.ext...)
		l := testParser().Parse(b)
		if l.IP.Len != x.len || l.IP.Rewritten != x.rewritten || l.PType() != 90 {
			t.Errorf("%s: packet type %d, IP %+v", name, l.PType(), l.IP)
		}
		c := l.Verify(b)
		if c.Rewritten != x.rewritten || c.BadL4 == x.rewritten || c.UDPZero == x.rewritten {
			t.Errorf("%s: checks %+v: a zero UDP checksum over IPv6 is bad unless it is not looked at", name, c)
		}
	}
}

func TestIPv6FragmentsAreNotLookedInto(t *testing.T) {
	for offset, first := range map[uint16]bool{1: true, 8 | 1: false, 8: false, 0: true} {
		ext := []byte{ProtoUDP, 0, byte(offset >> 8), byte(offset), 0, 0, 0, 1}
		l := testParser().Parse(frame6(t, ProtoFragment, ext))
		if !l.IP.Fragment || l.IP.First != first || l.PType() != 88 || l.PCType() != PCTypeIPv6Frag || l.L4 != (L4{}) {
			t.Errorf("offset field %#x: %+v", offset, l)
		}
	}
}

func TestIPv4OptionsAndFragments(t *testing.T) {
	h := ip4(layers.IPProtocolUDP)
	h.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
	b := build(t, eth(layers.EthernetTypeIPv4), h, udp(h, 9), payload(30))
	l := testParser().Parse(b)
	if l.IP.Len != 24 || l.PType() != 24 || l.L4.DstPort != 9 {
		t.Errorf("options: %+v", l)
	}
	if c := l.Verify(b); c != (Checks{Checked: true}) {
		t.Errorf("options: %+v", c)
	}
	h = ip4(layers.IPProtocolUDP)
	h.Flags = layers.IPv4MoreFragments
	l = testParser().Parse(build(t, eth(layers.EthernetTypeIPv4), h, payload(64)))
	if !l.IP.Fragment || !l.IP.First || l.PType() != 22 {
		t.Errorf("first fragment: %+v", l)
	}
}

func TestUDPChecksums(t *testing.T) {
	h := ip4(layers.IPProtocolUDP)
	good := build(t, eth(layers.EthernetTypeIPv4), h, udp(h, 9), payload(31))
	at := macHeaderLen + ipv4HeaderLen
	for name, x := range map[string]struct {
		edit func([]byte)
		want Checks
	}{
		"good":                     {func([]byte) {}, Checks{Checked: true}},
		"absent":                   {func(b []byte) { b[at+6], b[at+7] = 0, 0 }, Checks{Checked: true, UDPZero: true}},
		"wrong":                    {func(b []byte) { b[at+6]++ }, Checks{Checked: true, BadL4: true}},
		"length beyond the packet": {func(b []byte) { b[at+4] = 0x7F }, Checks{Checked: true, BadL4: true}},
		"length below the header":  {func(b []byte) { b[at+4], b[at+5] = 0, 7 }, Checks{Checked: true, BadL4: true}},
	} {
		b := append([]byte(nil), good...)
		x.edit(b)
		l := testParser().Parse(b)
		if c := l.Verify(b); c != x.want {
			t.Errorf("%s: %+v, want %+v", name, c, x.want)
		}
	}
	b := build(t, append(outerLayers(4, TunnelMAC, OverUDP, 4), innerLayers(4, 9)[InnerTCP]...)...)
	l := testParser().Parse(b)
	b[l.OuterUDP+6], b[l.OuterUDP+7] = 0, 0
	if c := l.Verify(b); c != (Checks{Checked: true, OuterUDPZero: true}) {
		t.Errorf("tunnel without UDP checksum: %+v", c)
	}
}

func TestUnknownUDPPortIsNoTunnel(t *testing.T) {
	b := build(t, append(outerLayers(4, TunnelMAC, OverUDP, 4), innerLayers(4, 9)[InnerTCP]...)...)
	var p Parser
	if l := p.Parse(b); l.PType() != 24 || l.Tunnel != TunnelNone || l.L4.DstPort != vxlanPort {
		t.Errorf("%+v", l)
	}
	p.UDPPorts = map[uint16]UDPTunnel{vxlanPort: UDPTunnelVXLAN}
	if l := p.Parse(b); l.PType() != 63 || l.TunnelID != 0x123456 {
		t.Errorf("%+v", l)
	}
}

func TestTunnelsOfTheOtherUDPProtocols(t *testing.T) {
	h := ip6(layers.IPProtocolNoNextHeader)
	inner := build(t, h, payload(4))
	gpe := append(gopacket.Payload{0x0C, 0, 0, 2, 0, 0, 9, 0}, inner...)
	geneve := append(gopacket.Payload{1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 2, 3, 4}, build(t, eth(0x1234), payload(20))...)
	for name, x := range map[string]struct {
		kind    UDPTunnel
		payload gopacket.Payload
		want    PType
		id      uint32
	}{
		"VXLAN-GPE with IPv6":         {UDPTunnelVXLANGPE, gpe, 52, 9},
		"Teredo":                      {UDPTunnelTeredo, inner, 52, 0},
		"Geneve with options and MAC": {UDPTunnelGeneve, geneve, 58, 7},
	} {
		o := ip4(layers.IPProtocolUDP)
		p := Parser{UDPPorts: map[uint16]UDPTunnel{7777: x.kind}}
		l := p.Parse(build(t, eth(layers.EthernetTypeIPv4), o, udp(o, 7777), x.payload))
		if l.PType() != x.want || l.TunnelID != x.id || x.want == 58 && l.InnerL2.EtherType != 0x1234 {
			t.Errorf("%s: packet type %d, want %d: %+v", name, l.PType(), x.want, l)
		}
	}
}

func TestGREWithoutIPInside(t *testing.T) {
	for next, want := range map[layers.EthernetType]PType{
		layers.EthernetTypeMPLSUnicast:                 43,
		layers.EthernetTypeTransparentEthernetBridging: 58,
	} {
		b := build(t, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolGRE),
			&layers.GRE{Protocol: next, ChecksumPresent: true, SeqPresent: true, Seq: 5},
			eth(0x1234), payload(40))
		if l := testParser().Parse(b); l.PType() != want || l.TunnelLen != 12 {
			t.Errorf("GRE carrying %#x: packet type %d, want %d: %+v", next, l.PType(), want, l)
		}
	}
}

func TestFilterProgrammingPacketsHaveNoLengths(t *testing.T) {
	for _, version := range []int{4, 6} {
		b := build(t, append([]gopacket.SerializableLayer{eth(etherTypeOf(version))}, innerLayers(version, 30)[InnerUDP]...)...)
		lengthAt := map[int]int{4: macHeaderLen + 2, 6: macHeaderLen + 4}[version]
		binary.BigEndian.PutUint16(b[lengthAt:], 0)
		if l := testParser().Parse(b); l.L4.DstPort != 9 || !l.IP.Truncated {
			t.Errorf("IPv%d: %+v", version, l)
		}
	}
}

// TestPTPOverUDPIsSeen also covers that parsing allocates nothing.
func TestPTPOverUDPIsSeen(t *testing.T) {
	h := ip4(layers.IPProtocolUDP)
	b := build(t, eth(layers.EthernetTypeIPv4), h, udp(h, 319), payload(44))
	p := testParser()
	var l Layers
	if n := testing.AllocsPerRun(10, func() { l = p.Parse(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if !l.PTP || l.PType() != 24 {
		t.Errorf("%+v", l)
	}
}
