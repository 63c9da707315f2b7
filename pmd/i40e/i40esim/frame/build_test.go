package frame

import (
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// What the frames of the tests are made of. gopacket builds them, so that it, and not this package, is the authority on
// lengths and checksums.

const vxlanPort, genevePort = 4789, 6081

func testParser() *Parser {
	return &Parser{UDPPorts: map[uint16]UDPTunnel{vxlanPort: UDPTunnelVXLAN, genevePort: UDPTunnelGeneve}}
}

func build(t testing.TB, l ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, l...); err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), buf.Bytes()...)
}

func eth(next layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{
		DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, EthernetType: next,
	}
}

func tag(id uint16, next layers.EthernetType) *layers.Dot1Q {
	return &layers.Dot1Q{VLANIdentifier: id, Priority: 3, Type: next}
}

func ip4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{
		Version: 4, TTL: 64, Id: 0xFFFE, Protocol: proto,
		SrcIP: net.IP{10, 1, 2, 3}, DstIP: net.IP{192, 168, 250, 251},
	}
}

func ip6(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{
		Version: 6, HopLimit: 64, TrafficClass: 0xA5, FlowLabel: 0x12345, NextHeader: next,
		SrcIP: net.ParseIP("2001:db8::1:ffff"), DstIP: net.ParseIP("fe80::dead:beef"),
	}
}

func udp(ip gopacket.NetworkLayer, dst uint16) *layers.UDP {
	u := &layers.UDP{SrcPort: 49152, DstPort: layers.UDPPort(dst)}
	mustChecksum(u.SetNetworkLayerForChecksum(ip))
	return u
}

func tcp(ip gopacket.NetworkLayer) *layers.TCP {
	c := &layers.TCP{
		SrcPort: 1234, DstPort: 80, Seq: 0xFFFFFC00, Ack: 7, Window: 4096, PSH: true, FIN: true, ACK: true, CWR: true,
		Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: make([]byte, 8)}},
	}
	mustChecksum(c.SetNetworkLayerForChecksum(ip))
	return c
}

func icmp6(ip gopacket.NetworkLayer) *layers.ICMPv6 {
	i := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)}
	mustChecksum(i.SetNetworkLayerForChecksum(ip))
	return i
}

func sctp() *layers.SCTP {
	return &layers.SCTP{SrcPort: 5000, DstPort: 5001, VerificationTag: 0xDEADBEEF}
}

func mustChecksum(err error) {
	if err != nil {
		panic(err)
	}
}

func payload(n int) gopacket.Payload {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i>>8)
	}
	return p
}

// inner are the seven kinds of payload of an IP header, in the order of Inner; the unused one is nil.
func innerLayers(version, n int) [innerCount][]gopacket.SerializableLayer {
	network := func(p layers.IPProtocol) (gopacket.SerializableLayer, gopacket.NetworkLayer) {
		if version == 4 {
			h := ip4(p)
			return h, h
		}
		h := ip6(p)
		return h, h
	}
	var out [innerCount][]gopacket.SerializableLayer
	out[InnerFragment] = fragment(version, n)
	h, _ := network(layers.IPProtocolOSPF)
	out[InnerPayload] = []gopacket.SerializableLayer{h, payload(n)}
	h, nl := network(layers.IPProtocolUDP)
	out[InnerUDP] = []gopacket.SerializableLayer{h, udp(nl, 9), payload(n)}
	h, nl = network(layers.IPProtocolTCP)
	out[InnerTCP] = []gopacket.SerializableLayer{h, tcp(nl), payload(n)}
	h, _ = network(layers.IPProtocolSCTP)
	out[InnerSCTP] = []gopacket.SerializableLayer{h, sctp(), payload(n)}
	if version == 4 {
		h, _ = network(layers.IPProtocolICMPv4)
		echo := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0)}
		out[InnerICMP] = []gopacket.SerializableLayer{h, echo, payload(n)}
		return out
	}
	h, nl = network(layers.IPProtocolICMPv6)
	out[InnerICMP] = []gopacket.SerializableLayer{h, icmp6(nl), payload(n)}
	return out
}

// fragment is a middle fragment of a UDP datagram.
func fragment(version, n int) []gopacket.SerializableLayer {
	if version == 4 {
		h := ip4(layers.IPProtocolUDP)
		h.Flags, h.FragOffset = layers.IPv4MoreFragments, 3
		return []gopacket.SerializableLayer{h, payload(n)}
	}
	header := gopacket.Payload{ProtoUDP, 0, 0, 3<<3 | 1, 0, 0, 0, 9}
	return []gopacket.SerializableLayer{ip6(layers.IPProtocolIPv6Fragment), append(header, payload(n)...)}
}

// etherTypeOf is the EtherType of an IP version.
func etherTypeOf(version int) layers.EthernetType {
	if version == 4 {
		return layers.EthernetTypeIPv4
	}
	return layers.EthernetTypeIPv6
}

// outerLayers are the headers of a tunnel up to what it carries.
func outerLayers(version int, kind Tunnel, over TunnelType, innerVersion int) []gopacket.SerializableLayer {
	proto := map[TunnelType]layers.IPProtocol{OverUDP: layers.IPProtocolUDP, OverGRE: layers.IPProtocolGRE}[over]
	if kind == TunnelIPIP {
		proto = map[int]layers.IPProtocol{4: layers.IPProtocolIPv4, 6: layers.IPProtocolIPv6}[innerVersion]
	}
	out := []gopacket.SerializableLayer{eth(etherTypeOf(version))}
	var network gopacket.NetworkLayer
	if version == 4 {
		h := ip4(proto)
		out, network = append(out, h), h
	} else {
		h := ip6(proto)
		out, network = append(out, h), h
	}
	next := etherTypeOf(innerVersion)
	mac := kind == TunnelMAC || kind == TunnelMACVLAN
	switch {
	case kind == TunnelIPIP:
		return out
	case over == OverGRE && mac:
		out = append(out, &layers.GRE{Protocol: layers.EthernetTypeTransparentEthernetBridging, KeyPresent: true, Key: 0xABCDE00})
	case over == OverGRE:
		return append(out, &layers.GRE{Protocol: next})
	case mac:
		out = append(out, udp(network, vxlanPort), &layers.VXLAN{ValidIDFlag: true, VNI: 0x123456})
	default:
		geneve := gopacket.Payload{0, 0, byte(next >> 8), byte(next), 0x65, 0x43, 0x21, 0}
		return append(out, udp(network, genevePort), geneve)
	}
	if kind == TunnelMACVLAN {
		return append(out, eth(layers.EthernetTypeDot1Q), tag(77, next))
	}
	return append(out, eth(next))
}
