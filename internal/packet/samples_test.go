package packet

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net"
	"testing"

	"github.com/google/gopacket"
	gplayers "github.com/google/gopacket/layers"
)

// edits is every edit of what stands behind the Ethernet header, with the kinds of frames it changes.
var edits = []struct {
	name  string
	edit  func(p *Packet)
	kinds string // words of frame names that it applies to, "" for none
}{
	{"SetIPv4Src", func(p *Packet) { p.SetIPv4Src(0xc0a80199, 0xffffffff) }, "ip4"},
	{"SetIPv4Src in part", func(p *Packet) { p.SetIPv4Src(0x00aa0000, 0x00ff0000) }, "ip4"},
	{"SetIPv4Dst", func(p *Packet) { p.SetIPv4Dst(0xffffffff, 0xffffffff) }, "ip4"},
	{"SetIPv6Src", func(p *Packet) { p.SetIPv6Src(0, 0x20010db800050000, ^uint64(0)); p.SetIPv6Src(1, 7, 0xffff) }, "ip6"},
	{"SetIPv6Dst", func(p *Packet) { p.SetIPv6Dst(0, ^uint64(0), ^uint64(0)); p.SetIPv6Dst(1, 7, 0xff) }, "ip6"},
	{"SetIPv6Label", func(p *Packet) { p.SetIPv6Label(0xfffff, 0xff0ff) }, "ip6"},
	{"SetTOS", func(p *Packet) { p.SetTOS(0xb9, 0xff) }, "ip4 ip6"},
	{"SetTOS in part", func(p *Packet) { p.SetTOS(0x03, 0x03) }, "ip4 ip6"},
	{"SetTTL", func(p *Packet) { p.SetTTL(1, 0xff) }, "ip4 ip6"},
	{"SetTPSrc", func(p *Packet) { p.SetTPSrc(65535, 0xffff) }, "tcp udp sctp icmp"},
	{"SetTPDst", func(p *Packet) { p.SetTPDst(0x0101, 0x0f0f) }, "tcp udp sctp icmp"},
	{"SetNDTarget", func(p *Packet) { p.SetNDTarget(0, 5, ^uint64(0)); p.SetNDTarget(1, 6, ^uint64(0)) }, "nd"},
	{"SetNDSLL", func(p *Packet) { p.SetNDSLL(0x0a0b0c0d0e0f, 0xffffffffffff) }, "nd"},
	{"SetARPOp", func(p *Packet) { p.SetARPOp(2, 0xffff) }, "arp"},
	{"SetARPSPA", func(p *Packet) { p.SetARPSPA(0x01020304, 0xffffffff) }, "arp"},
	{"SetARPTPA", func(p *Packet) { p.SetARPTPA(0x01020304, 0xffff0000) }, "arp"},
	{"SetARPSHA", func(p *Packet) { p.SetARPSHA(0x0a0b0c0d0e0f, 0xffffffffffff) }, "arp"},
	{"SetARPTHA", func(p *Packet) { p.SetARPTHA(0x0a0b0c0d0e0f, 0xffffffffffff) }, "arp"},
	{"SetMPLS", func(p *Packet) { p.SetMPLS(0xabcde000, 0xfffff000) }, "mpls"},
}

// sample is a frame with right checksums, and words for what it is.
type sample struct {
	kinds string
	frame []byte
}

func serialize(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, ls...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(buf.Bytes())
}

func eth(t gplayers.EthernetType) *gplayers.Ethernet {
	src, dst := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	return &gplayers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: t}
}

func samples(t testing.TB) []sample {
	ip4 := func(p gplayers.IPProtocol) *gplayers.IPv4 {
		return &gplayers.IPv4{
			Version: 4, TTL: 64, TOS: 0x28, Id: 7, Protocol: p, SrcIP: net.IP{10, 0, 0, 1}, DstIP: net.IP{10, 0, 1, 2},
		}
	}
	ip6 := func(p gplayers.IPProtocol) *gplayers.IPv6 {
		return &gplayers.IPv6{
			Version: 6, HopLimit: 63, TrafficClass: 0x28, FlowLabel: 0x12345, NextHeader: p,
			SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::1:0:2"),
		}
	}
	payload := gopacket.Payload("some payload that is an odd number of bytes long.")
	tag := &gplayers.Dot1Q{VLANIdentifier: 5, Priority: 3, Type: gplayers.EthernetTypeIPv4}
	var out []sample
	add := func(kinds string, ls ...gopacket.SerializableLayer) {
		out = append(out, sample{kinds, serialize(t, ls...)})
	}

	tcp := &gplayers.TCP{SrcPort: 1000, DstPort: 80, Seq: 1, ACK: true, Window: 100}
	udp := &gplayers.UDP{SrcPort: 53, DstPort: 2000}
	sctp := &gplayers.SCTP{SrcPort: 5, DstPort: 6, VerificationTag: 9}
	for _, net := range []struct {
		kind, tagged string
		eth          gplayers.EthernetType
		ip           func(p gplayers.IPProtocol) gopacket.SerializableLayer
	}{
		{"ip4", "ip4", gplayers.EthernetTypeIPv4, func(p gplayers.IPProtocol) gopacket.SerializableLayer {
			l := ip4(p)
			_, _ = tcp.SetNetworkLayerForChecksum(l), udp.SetNetworkLayerForChecksum(l)
			return l
		}},
		{"ip6", "", gplayers.EthernetTypeIPv6, func(p gplayers.IPProtocol) gopacket.SerializableLayer {
			l := ip6(p)
			_, _ = tcp.SetNetworkLayerForChecksum(l), udp.SetNetworkLayerForChecksum(l)
			return l
		}},
	} {
		add(net.kind+" tcp", eth(net.eth), net.ip(gplayers.IPProtocolTCP), tcp, payload)
		add(net.kind+" udp", eth(net.eth), net.ip(gplayers.IPProtocolUDP), udp, payload)
		add(net.kind+" sctp", eth(net.eth), net.ip(gplayers.IPProtocolSCTP), sctp, payload)
		add(net.kind, eth(net.eth), net.ip(gplayers.IPProtocolGRE), payload)
		if net.tagged != "" {
			add(net.kind+" tcp", eth(gplayers.EthernetTypeDot1Q), tag, net.ip(gplayers.IPProtocolTCP), tcp, payload)
		}
	}
	icmp4 := &gplayers.ICMPv4{TypeCode: 0x0800, Id: 1, Seq: 2}
	add("ip4 icmp", eth(gplayers.EthernetTypeIPv4), ip4(gplayers.IPProtocolICMPv4), icmp4, payload)
	icmp6 := func(kind uint8) *gplayers.ICMPv6 {
		l := &gplayers.ICMPv6{TypeCode: gplayers.CreateICMPv6TypeCode(kind, 0)}
		_ = l.SetNetworkLayerForChecksum(ip6(gplayers.IPProtocolICMPv6))
		return l
	}
	add("ip6 icmp", eth(gplayers.EthernetTypeIPv6), ip6(gplayers.IPProtocolICMPv6), icmp6(128), payload)
	nd := append([]byte{0, 0, 0, 0, 0xfe, 0x80}, make([]byte, 14)...)
	nd = append(nd, 14, 1, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 5)
	add("ip6 icmp nd", eth(gplayers.EthernetTypeIPv6), ip6(gplayers.IPProtocolICMPv6), icmp6(135), gopacket.Payload(nd))
	add("arp", eth(gplayers.EthernetTypeARP), &gplayers.ARP{
		AddrType: 1, Protocol: gplayers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
		SourceHwAddress: []byte{2, 0, 0, 0, 0, 1}, SourceProtAddress: []byte{10, 0, 0, 1},
		DstHwAddress: make([]byte, 6), DstProtAddress: []byte{10, 0, 0, 2},
	})
	label := &gplayers.MPLS{Label: 5, TTL: 64, StackBottom: true}
	add("mpls", eth(gplayers.EthernetTypeMPLSUnicast), label, ip4(gplayers.IPProtocolUDP), payload)
	add("lldp", eth(gplayers.EthernetTypeLinkLayerDiscovery), payload)
	return out
}

// load makes frame the only packet of b, its first split bytes in the window.
func load(b *Batch, frame []byte, split int) *Packet {
	b.Reset()
	n := min(len(frame), split, WindowSize)
	p := b.Add(n)
	copy(p.Header(), frame)
	if n < len(frame) {
		b.AddSegment(p, SegmentOf(frame[n:]))
	}
	return p
}

func wholeFrame(b *Batch, p *Packet) []byte {
	out := make([]byte, p.Len())
	b.CopyTo(out, p)
	return out
}

// rebuilt is frame with all checksums computed from scratch.
func rebuilt(frame []byte) []byte {
	pkt := gopacket.NewPacket(frame, gplayers.LayerTypeEthernet, gopacket.Default)
	out := bytes.Clone(frame)
	at := 0
	for _, l := range pkt.Layers() {
		body := out[at:]
		switch l.(type) {
		case *gplayers.IPv4:
			put16(body[10:], internet(body[:20], 0))
		case *gplayers.TCP:
			put16(body[16:], internet(zeroed(body, 16), pseudo(pkt, 6, len(body))))
		case *gplayers.UDP:
			s := internet(zeroed(body, 6), pseudo(pkt, 17, len(body)))
			if s == 0 {
				s = 0xffff
			}
			put16(body[6:], s)
		case *gplayers.ICMPv4:
			put16(body[2:], internet(zeroed(body, 2), 0))
		case *gplayers.ICMPv6:
			put16(body[2:], internet(zeroed(body, 2), pseudo(pkt, 58, len(body))))
		case *gplayers.SCTP:
			binary.LittleEndian.PutUint32(body[8:], 0)
			binary.LittleEndian.PutUint32(body[8:], crc32.Checksum(body, castagnoli))
		}
		at += len(l.LayerContents())
	}
	return out
}

func put16(b []byte, v uint16) { binary.BigEndian.PutUint16(b, v) }

func zeroed(b []byte, at int) []byte {
	b[at], b[at+1] = 0, 0
	return b
}

func internet(b []byte, sum uint32) uint16 {
	if len(b) == 20 && b[0]>>4 == 4 {
		zeroed(b, 10)
	}
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func pseudo(pkt gopacket.Packet, proto, n int) uint32 {
	src, dst := pkt.NetworkLayer().NetworkFlow().Endpoints()
	sum := uint32(proto + n)
	for _, a := range [][]byte{src.Raw(), dst.Raw()} {
		for i := 0; i < len(a); i += 2 {
			sum += uint32(a[i])<<8 | uint32(a[i+1])
		}
	}
	return sum
}
