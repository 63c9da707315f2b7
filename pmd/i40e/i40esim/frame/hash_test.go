package frame

import (
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// The key and the vectors are Microsoft's, "Verifying the RSS Hash Calculation".
var microsoftKey = []byte{
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
	0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
	0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
}

type vector struct {
	dst     string
	dstPort uint16
	src     string
	srcPort uint16
	ip      uint32 // hash of the addresses
	tcp     uint32 // hash of addresses and ports
}

var vectors = []vector{
	{"161.142.100.80", 1766, "66.9.149.187", 2794, 0x323e8fc2, 0x51ccc178},
	{"65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718262a, 0xc626b0ea},
	{"12.22.207.184", 38024, "24.19.198.95", 12898, 0xd2d0a5de, 0x5c2b394a},
	{"209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xafc7327f},
	{"202.188.127.2", 1303, "153.39.163.191", 44251, 0x5d1809c5, 0x10e828a2},
	{"3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2cc18cd5, 0x40207d3d},
	{"ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0f0c461c, 0xdde51bbf},
	{"fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, 0x4b61e985, 0x02d1feef},
}

func (v *vector) network(proto layers.IPProtocol) (gopacket.SerializableLayer, gopacket.NetworkLayer, int) {
	src, dst := net.ParseIP(v.src), net.ParseIP(v.dst)
	if src.To4() != nil {
		h := ip4(proto)
		h.SrcIP, h.DstIP = src.To4(), dst.To4()
		return h, h, 4
	}
	h := ip6(proto)
	h.SrcIP, h.DstIP = src, dst
	return h, h, 6
}

// hardwareKey is the key as the 13 registers hold it, with zeros after Microsoft's 40 bytes.
func hardwareKey() []byte {
	key := make([]byte, HashKeyLen)
	copy(key, microsoftKey)
	return key
}

func TestRSSHashAgreesWithThePublishedVectors(t *testing.T) {
	for i := range vectors {
		v := &vectors[i]
		h, nl, version := v.network(layers.IPProtocolTCP)
		c := tcp(nl)
		c.SrcPort, c.DstPort = layers.TCPPort(v.srcPort), layers.TCPPort(v.dstPort)
		plain := []gopacket.SerializableLayer{eth(etherTypeOf(version)), h, c, payload(10)}
		tunnelled := append(outerLayers(4, TunnelMAC, OverUDP, version), h, c, payload(10))
		other, _, _ := v.network(layers.IPProtocolOSPF)
		for name, x := range map[string]struct {
			l    []gopacket.SerializableLayer
			want uint32
		}{
			"TCP":              {plain, v.tcp},
			"TCP inside VXLAN": {tunnelled, v.tcp},
			"another L4, two tags": {[]gopacket.SerializableLayer{
				eth(layers.EthernetTypeQinQ), tag(9, layers.EthernetTypeDot1Q), tag(7, etherTypeOf(version)), other, payload(3),
			}, v.ip},
		} {
			b := build(t, x.l...)
			l := testParser().Parse(b)
			f := l.Fields(b)
			if got := f.Hash(hardwareKey(), DefaultInputSet(l.PCType())); got != x.want {
				t.Errorf("%s %s -> %s: hash %#08x, want %#08x", name, v.src, v.dst, got, x.want)
			}
		}
	}
}

// TestToeplitzAgreesWithItsDefinition compares with the textbook loop over single bits.
func TestToeplitzAgreesWithItsDefinition(t *testing.T) {
	key := make([]byte, HashKeyLen)
	for i := range key {
		key[i] = byte(i*i + 17)
	}
	bitAt := func(b []byte, n int) bool { return n/8 < len(b) && b[n/8]&(0x80>>(n%8)) != 0 }
	for n := range 60 { // past the end of what the key covers
		data := []byte(payload(n))
		var want uint32
		for i := range n * 8 {
			if !bitAt(data, i) {
				continue
			}
			for j := range 32 {
				if bitAt(key, i+j) {
					want ^= 1 << (31 - j)
				}
			}
		}
		if got := Toeplitz(key, data); got != want {
			t.Errorf("%d bytes: %#08x, want %#08x", n, got, want)
		}
	}
}

// TestInputSetsAreTheRegistersOfTheDrivers holds the register values that DPDK writes for each field.
func TestInputSetsAreTheRegistersOfTheDrivers(t *testing.T) {
	for name, x := range map[string][2]InputSet{
		"source IPv4":      {SetSrcIPv4, 0x0001800000000000},
		"destination IPv4": {SetDstIPv4, 0x0000001800000000},
		"source IPv6":      {SetSrcIPv6, 0x0007F80000000000},
		"destination IPv6": {SetDstIPv6, 0x000007F800000000},
		"source port":      {SetSrcPort, 0x0000000400000000},
		"destination port": {SetDstPort, 0x0000000200000000},
		"SCTP tag":         {SetSCTPTag, 0x0000000180000000},
		"EtherType":        {SetEtherType, 0x0000000000004000},
	} {
		if x[0] != x[1] {
			t.Errorf("%s: %#016x, want %#016x", name, x[0], x[1])
		}
	}
}

func TestFieldVectorOfTunnelsTagsAndSCTP(t *testing.T) {
	inner := innerLayers(4, 8)[InnerSCTP]
	b := build(t, append(outerLayers(6, TunnelMACVLAN, OverUDP, 4), inner...)...)
	l := testParser().Parse(b)
	f := l.Fields(b)
	for name, x := range map[string]struct {
		set  InputSet
		want []byte
	}{
		"source MAC":            {0x1C00000000000000, []byte{2, 0, 0, 0, 0, 1}},
		"tunnel destination":    {0x0000000001C00000, []byte{2, 0, 0, 0, 0, 2}},
		"tunnel UDP ports":      {0x0000000000300000, []byte{0xC0, 0, vxlanPort >> 8, vxlanPort & 0xFF}},
		"tunnel ID":             {0x00000000000C0000, []byte{0, 0x12, 0x34, 0x56}},
		"addresses":             {SetSrcIPv4 | SetDstIPv4, []byte{10, 1, 2, 3, 192, 168, 250, 251}},
		"ports and tag of SCTP": {SetSrcPort | SetDstPort | SetSCTPTag, []byte{0x13, 0x88, 0x13, 0x89, 0xDE, 0xAD, 0xBE, 0xEF}},
		"TTL and protocol":      {0x0004000000000000, []byte{64, ProtoSCTP}},
		"nothing":               {0, nil},
	} {
		if got := f.Select(nil, x.set); string(got) != string(x.want) {
			t.Errorf("%s: %x, want %x", name, got, x.want)
		}
	}
	b = build(t, eth(layers.EthernetTypeQinQ), tag(9, layers.EthernetTypeDot1Q), tag(7, 0x1234), payload(50))
	l = testParser().Parse(b)
	f = l.Fields(b)
	if got := f.Select(nil, 0x0080000004000000); string(got) != "\x60\x07\x60\x09" {
		t.Errorf("tags: %x", got)
	}
}

func TestExchangeSwapsTheDirectionOfAFlow(t *testing.T) {
	for _, version := range []int{4, 6} {
		b := build(t, append([]gopacket.SerializableLayer{eth(etherTypeOf(version))}, innerLayers(version, 4)[InnerTCP]...)...)
		l := testParser().Parse(b)
		f := l.Fields(b)
		x := f.Exchange(l.PCType())
		if x == f {
			t.Errorf("IPv%d: exchange changed nothing", version)
		}
		src, dst := addresses(b, l.IP)
		want := append(append(append([]byte(nil), dst...), src...), 0, 80, 1234>>8, 1234&0xFF)
		if got := x.Select(nil, DefaultInputSet(l.PCType())); string(got) != string(want) {
			t.Errorf("IPv%d: %x, want %x", version, got, want)
		}
	}
}
