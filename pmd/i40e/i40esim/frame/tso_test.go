package frame

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// large makes a packet of n bytes of payload for segmentation, as a driver hands it over: gopacket makes the headers of
// a small one, whose lengths then mean nothing.
func large(t *testing.T, n int, l ...gopacket.SerializableLayer) ([]byte, Offload, Layers) {
	t.Helper()
	b := build(t, l...)
	p := testParser().Parse(b)
	o := offloadOf(&p)
	if o.L4 != L4TCP && o.L4 != L4UDP {
		t.Fatalf("no TCP or UDP header in %x", b)
	}
	b = prepare(b[:o.HeaderLen()], &p, 0)
	return append(b, payload(n)...), o, p
}

// oracle re-serialises what gopacket decodes of a segment, lengths and checksums made anew, and wants the same bytes.
func oracle(t *testing.T, s []byte) gopacket.Packet {
	t.Helper()
	p := gopacket.NewPacket(s, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("gopacket cannot decode %x: %v", s[:100], e.Error())
	}
	var out []gopacket.SerializableLayer
	var network gopacket.NetworkLayer
	for i, l := range p.Layers() {
		if n, isNetwork := l.(gopacket.NetworkLayer); isNetwork {
			network = n
		}
		if c, has := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); has {
			mustChecksum(c.SetNetworkLayerForChecksum(network))
		}
		switch x := l.(type) {
		case *layers.UDP:
			if i != len(p.Layers())-2 { // a tunnel's, whose checksum the silicon leaves alone
				x.Checksum = binary.BigEndian.Uint16(x.Contents[6:])
				out = append(out, gopacket.Payload(x.Contents))
				checkUDPLength(t, x)
				continue
			}
			out = append(out, x)
		case *layers.Geneve: // which gopacket reads only
			out = append(out, gopacket.Payload(x.Contents))
		default:
			out = append(out, l.(gopacket.SerializableLayer))
		}
	}
	if again := build(t, out...); !bytes.Equal(again, s) {
		t.Fatalf("segment  %x\ngopacket %x", s, again)
	}
	return p
}

func checkUDPLength(t *testing.T, u *layers.UDP) {
	t.Helper()
	if int(u.Length) != len(u.Contents)+len(u.Payload) {
		t.Errorf("outer UDP length %d, want %d", u.Length, len(u.Contents)+len(u.Payload))
	}
}

// tsoShapes are the header stacks that are segmented.
func tsoShapes(proto Inner) map[string][]gopacket.SerializableLayer {
	out := make(map[string][]gopacket.SerializableLayer)
	for _, version := range []int{4, 6} {
		inner := innerLayers(version, 1)[proto]
		name := fmt.Sprintf("IPv%d", version)
		out[name] = append([]gopacket.SerializableLayer{eth(etherTypeOf(version))}, inner...)
		out[name+" tagged"] = append([]gopacket.SerializableLayer{
			eth(layers.EthernetTypeDot1Q), tag(5, etherTypeOf(version)),
		}, inner...)
		for _, outer := range []int{4, 6} {
			for _, kind := range []Tunnel{TunnelIPIP, TunnelGRENAT, TunnelMAC, TunnelMACVLAN} {
				for _, over := range []TunnelType{OverUDP, OverGRE} {
					out[fmt.Sprintf("%s in IPv%d tunnel %d over %d", name, outer, kind, over)] = append(
						outerLayers(outer, kind, over, version), inner...)
				}
			}
		}
	}
	return out
}

func TestSegmentsAreWhatGopacketWouldBuild(t *testing.T) {
	const mss, n = 536, 5*536 + 77
	for _, proto := range []Inner{InnerTCP, InnerUDP} {
		for name, stack := range tsoShapes(proto) {
			t.Run(fmt.Sprintf("%s/%d", name, proto), func(t *testing.T) {
				b, o, l := large(t, n, stack...)
				segments := o.Segment(b, mss, DefaultFlagMasks())
				if len(segments) != 6 || len(segments) != Segments(n, mss) {
					t.Fatalf("%d segments", len(segments))
				}
				var data []byte
				for i, s := range segments {
					p := oracle(t, s)
					data = append(data, s[o.HeaderLen():]...)
					again := testParser().Parse(s)
					if c := again.Verify(s); c.BadIP || c.BadL4 || c.BadOuterIP {
						t.Errorf("segment %d: %+v", i, c)
					}
					checkSegment(t, p, s, &l, i, len(segments), proto)
				}
				if !bytes.Equal(data, payload(n)) {
					t.Error("the payload is not what it was")
				}
			})
		}
	}
}

// checkSegment wants identification, sequence number and flags of segment i.
func checkSegment(t *testing.T, p gopacket.Packet, s []byte, l *Layers, i, total int, proto Inner) {
	t.Helper()
	for _, h := range []IP{l.IP, l.Outer} {
		if h.Version == 4 {
			if id := binary.BigEndian.Uint16(s[h.Offset+4:]); id != 0xFFFE+uint16(i) {
				t.Errorf("segment %d: identification %#04x", i, id)
			}
		}
	}
	if proto != InnerTCP {
		return
	}
	c := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if c.Seq != 0xFFFFFC00+uint32(i)*536 {
		t.Errorf("segment %d: sequence number %#08x", i, c.Seq)
	}
	first, last := i == 0, i == total-1
	if c.CWR != first || c.FIN != last || c.PSH != last || !c.ACK {
		t.Errorf("segment %d: CWR %v FIN %v PSH %v ACK %v", i, c.CWR, c.FIN, c.PSH, c.ACK)
	}
}

func TestOnlySegmentKeepsAllFlags(t *testing.T) {
	b, o, _ := large(t, 100, tsoShapes(InnerTCP)["IPv4"]...)
	s := o.Segment(b, 100, DefaultFlagMasks())
	if len(s) != 1 {
		t.Fatalf("%d segments", len(s))
	}
	c := oracle(t, s[0]).Layer(layers.LayerTypeTCP).(*layers.TCP)
	if !c.CWR || !c.FIN || !c.PSH {
		t.Errorf("CWR %v FIN %v PSH %v", c.CWR, c.FIN, c.PSH)
	}
}

func TestKeepOuterIDKeepsTheOuterIdentificationAlone(t *testing.T) {
	b, o, l := large(t, 300, tsoShapes(InnerTCP)["IPv4 in IPv4 tunnel 3 over 1"]...)
	o.KeepOuterID = true
	for i, s := range o.Segment(b, 100, DefaultFlagMasks()) {
		oracle(t, s)
		inner, outer := binary.BigEndian.Uint16(s[l.IP.Offset+4:]), binary.BigEndian.Uint16(s[l.Outer.Offset+4:])
		if outer != 0xFFFE || inner != 0xFFFE+uint16(i) {
			t.Errorf("segment %d: outer %#04x, inner %#04x", i, outer, inner)
		}
	}
}

func TestWithoutChecksumOffloadTheOuterHeaderKeepsItsChecksum(t *testing.T) {
	b, o, l := large(t, 300, tsoShapes(InnerTCP)["IPv4 in IPv4 tunnel 3 over 1"]...)
	o.OuterIP = IPv4
	binary.BigEndian.PutUint16(b[l.Outer.Offset+10:], 0x1234)
	for i, s := range o.Segment(b, 100, DefaultFlagMasks()) {
		if got := binary.BigEndian.Uint16(s[l.Outer.Offset+10:]); got != 0x1234 {
			t.Errorf("segment %d: outer checksum %#04x", i, got)
		}
	}
}
