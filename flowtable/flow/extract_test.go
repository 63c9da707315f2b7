package flow_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/flowtable/flow"
)

// says is what a frame says of a field.
type says struct {
	field flow.FieldID
	value flow.Value
}

func number[T ~uint8 | ~uint16 | ~uint32](n T) flow.Value { return flow.Value{Lo: uint64(n)} }

func address(b []byte) flow.Value {
	var wide [16]byte
	copy(wide[16-len(b):], b)
	return flow.Value{Hi: binary.BigEndian.Uint64(wide[:]), Lo: binary.BigEndian.Uint64(wide[8:])}
}

// randomFrame builds a frame with gopacket and lists what it says.
func randomFrame(t *testing.T, r *rand.Rand) ([]byte, []says) {
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	eth := &layers.Ethernet{SrcMAC: random(6), DstMAC: random(6)}
	frame := []gopacket.SerializableLayer{eth}
	want := []says{
		{flow.FieldInPort, flow.Value{Lo: 7}},
		{flow.FieldEthSrc, address(eth.SrcMAC)},
		{flow.FieldEthDst, address(eth.DstMAC)},
	}
	next := &eth.EthernetType
	if tags := r.IntN(3); tags > 0 {
		for i := range tags {
			tag := &layers.Dot1Q{Priority: byte(r.UintN(8)), VLANIdentifier: uint16(r.UintN(4096))}
			if i == 0 {
				want = append(want, says{flow.FieldVLANVID, number(tag.VLANIdentifier)}, says{flow.FieldVLANPCP, number(tag.Priority)})
			}
			*next, next = [...]layers.EthernetType{layers.EthernetTypeDot1Q, layers.EthernetTypeQinQ}[r.IntN(2)], &tag.Type
			frame = append(frame, tag)
		}
	} else {
		want = append(want, says{flow.FieldVLANTCI, flow.Value{}})
	}
	var checked interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}
	transport := func() layers.IPProtocol {
		src, dst := uint16(r.Uint32()), uint16(r.Uint32())
		if r.IntN(2) == 0 {
			want = append(want, says{flow.FieldUDPSrc, number(src)}, says{flow.FieldUDPDst, number(dst)})
			udp := &layers.UDP{SrcPort: layers.UDPPort(src), DstPort: layers.UDPPort(dst)}
			frame, checked = append(frame, udp), udp
			return layers.IPProtocolUDP
		}
		tcp := &layers.TCP{SrcPort: layers.TCPPort(src), DstPort: layers.TCPPort(dst), SYN: r.IntN(2) == 0, FIN: r.IntN(2) == 0}
		flags := uint16(0)
		if tcp.SYN {
			flags |= 2
		}
		if tcp.FIN {
			flags |= 1
		}
		want = append(want, says{flow.FieldTCPSrc, number(src)}, says{flow.FieldTCPDst, number(dst)},
			says{flow.FieldTCPFlags, number(flags)})
		frame, checked = append(frame, tcp), tcp
		return layers.IPProtocolTCP
	}
	switch r.IntN(3) {
	case 0:
		*next = layers.EthernetTypeIPv4
		ip := &layers.IPv4{Version: 4, TOS: byte(r.Uint32()), TTL: byte(r.Uint32()), SrcIP: random(4), DstIP: random(4)}
		for range r.IntN(3) {
			ip.Options = append(ip.Options, layers.IPv4Option{OptionType: 1})
		}
		frame = append(frame, ip)
		ip.Protocol = transport()
		check(t, checked.SetNetworkLayerForChecksum(ip))
		want = append(want, says{flow.FieldIPSrc, address(ip.SrcIP)}, says{flow.FieldIPDst, address(ip.DstIP)},
			says{flow.FieldIPProto, number(uint8(ip.Protocol))}, says{flow.FieldTTL, number(ip.TTL)},
			says{flow.FieldECN, number(ip.TOS & 3)}, says{flow.FieldDSCP, number(ip.TOS >> 2)})
	case 1:
		*next = layers.EthernetTypeIPv6
		ip := &layers.IPv6{
			Version: 6, TrafficClass: byte(r.Uint32()), FlowLabel: r.Uint32N(1 << 20), HopLimit: byte(r.Uint32()),
			SrcIP: random(16), DstIP: random(16),
		}
		frame = append(frame, ip)
		ip.NextHeader = transport()
		check(t, checked.SetNetworkLayerForChecksum(ip))
		want = append(want, says{flow.FieldIPv6Src, address(ip.SrcIP)}, says{flow.FieldIPv6Dst, address(ip.DstIP)},
			says{flow.FieldIPProto, number(uint8(ip.NextHeader))}, says{flow.FieldTTL, number(ip.HopLimit)},
			says{flow.FieldIPv6Label, number(ip.FlowLabel)}, says{flow.FieldECN, number(ip.TrafficClass & 3)})
	default:
		*next = layers.EthernetTypeARP
		arp := &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: uint16(1 + r.UintN(2)), SourceHwAddress: random(6), DstHwAddress: random(6),
			SourceProtAddress: net.IP(random(4)), DstProtAddress: net.IP(random(4)),
		}
		frame = append(frame, arp)
		want = append(want, says{flow.FieldARPOp, number(arp.Operation)},
			says{flow.FieldARPSHA, address(arp.SourceHwAddress)}, says{flow.FieldARPTHA, address(arp.DstHwAddress)},
			says{flow.FieldARPSPA, address(arp.SourceProtAddress)}, says{flow.FieldARPTPA, address(arp.DstProtAddress)})
	}
	want = append(want, says{flow.FieldEthType, number(uint16(*next))})
	buf := gopacket.NewSerializeBuffer()
	check(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, frame...))
	return buf.Bytes(), want
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestExtractReadsWhatAnotherCodecWrote(t *testing.T) {
	const seed = 3
	r := rand.New(rand.NewPCG(seed, 0))
	for range 5000 {
		frame, want := randomFrame(t, r)
		var k flow.Key
		if !flow.Extract(frame, len(frame), 7, flow.DepthND, &k) {
			t.Fatalf("%x: not read", frame)
		}
		for _, w := range want {
			if got := flow.Places[w.field].Get(&k); got != w.value {
				t.Fatalf("%x: %s is %x, want %x", frame, flow.Fields[w.field].Name, got, w.value)
			}
		}
	}
}

// Of a frame of which no more than two tags and a network header are in sight, extraction says that it needs more, or what
// it says of the whole.
func TestExtractAsksForMoreOrNeedsNone(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 0))
	for range 500 {
		frame, _ := randomFrame(t, r)
		var whole flow.Key
		flow.Extract(frame, len(frame), 7, flow.DepthND, &whole)
		for n := flow.EthHeader + 8 + flow.IPv6Header; n < len(frame); n++ {
			var k flow.Key
			if flow.Extract(frame[:n:n], len(frame), 7, flow.DepthND, &k) && k != whole {
				t.Fatalf("%x: its first %d bytes say %x, all %x", frame, n, k, whole)
			}
		}
	}
}
