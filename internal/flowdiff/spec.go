package flowdiff

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// EtherTypes and protocol numbers that generated packets have (IEEE 802 and IANA numbers).
const (
	etIPv4  = 0x0800
	etARP   = 0x0806
	etRARP  = 0x8035
	etVLAN  = 0x8100
	etQinQ  = 0x88a8
	etIPv6  = 0x86dd
	etMPLS  = 0x8847
	etMPLSM = 0x8848
	etLLDP  = 0x88cc

	protoICMP  = 1
	protoIGMP  = 2
	protoTCP   = 6
	protoUDP   = 17
	protoGRE   = 47
	protoICMP6 = 58
	protoSCTP  = 132

	ndSolicitation  = 135
	ndAdvertisement = 136
)

// Fragments.
const (
	fragNone = iota
	fragFirst
	fragLater
)

// Checksums.
const (
	sumRight = iota
	sumWrong
	sumZero
)

// wide is 128 bits.
type wide struct{ hi, lo uint64 }

func (v wide) bytes() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, v.hi), v.lo)
}

// tag is a VLAN tag.
type tag struct{ tpid, tci uint16 }

// spec describes a packet by what rules look at. Rules change a spec into one that they match; bytes makes the frame.
type spec struct {
	inPort         uint64
	ethDst, ethSrc uint64
	tags           []tag
	mpls           []uint32 // label stack entries, top first; ethType is what is under them
	mplsType       uint16
	ethType        uint64

	proto, tos, ttl  uint64
	src, dst         uint64
	src6, dst6       wide
	label            uint64
	frag             int
	options          int     // words of IPv4 options
	extensions       []uint8 // IPv6 extension headers
	arpOp            uint64
	sha, tha         uint64
	sport, dport     uint64
	flags            uint64
	icmpType         uint64
	icmpCode         uint64
	target           wide
	linkLayer        uint64 // nd_sll or nd_tll, whichever the message has
	payload          int
	sum              int
	dontFragment     bool
	fragmentsOfIPv6  bool
	snap             bool // as IEEE 802.3 with LLC and SNAP instead of an EtherType
	trailer, skipped int  // bytes behind the datagram; bytes missing at its end
}

// newSpec draws a packet without regard to rules. Values come from small sets, so that rules and packets meet.
func newSpec(r *rand.Rand) *spec {
	s := &spec{
		inPort: 1 + r.Uint64N(Ports), ethDst: pick(r, someMACs), ethSrc: pick(r, someMACs[:3]), ethType: etIPv4,
		proto: pick(r, someProtos), tos: pick(r, someTOS), ttl: pick(r, someTTLs), src: pick(r, someIPs),
		dst: pick(r, someIPs), src6: pick(r, someIP6s), dst6: pick(r, someIP6s), label: pick(r, someLabels),
		arpOp: 1 + r.Uint64N(2), sha: pick(r, someMACs), tha: pick(r, someMACs), sport: pick(r, somePorts),
		dport: pick(r, somePorts), flags: pick(r, someFlags), icmpType: pick(r, []uint64{0, 3, 8, 11}),
		icmpCode: r.Uint64N(3), target: pick(r, someIP6s), linkLayer: pick(r, someMACs), payload: r.IntN(40),
		mplsType: etMPLS, dontFragment: r.IntN(2) == 0,
	}
	switch r.IntN(12) {
	case 0:
		s.payload = r.IntN(1400)
	case 1:
		s.sum = 1 + r.IntN(2)
	case 2:
		s.options = 1 + r.IntN(10)
	case 3:
		s.frag = 1 + r.IntN(2)
	case 4:
		s.trailer = r.IntN(20)
	case 5:
		s.snap = r.IntN(4) == 0
	}
	for r.IntN(4) == 0 {
		s.tags = append(s.tags, tag{etVLAN, pick(r, someTCIs)})
		if len(s.tags) > 1 && r.IntN(2) == 0 {
			s.tags[0].tpid = etQinQ
		}
	}
	for r.IntN(6) == 0 && len(s.extensions) < 4 {
		s.extensions = append(s.extensions, pick(r, []uint8{0, 43, 60, 60, 51}))
	}
	return s
}

// under makes sure that there is a tag and returns it.
func (s *spec) under() *tag {
	if len(s.tags) == 0 {
		s.tags = []tag{{tpid: etVLAN}}
	}
	return &s.tags[0]
}

func mac(v uint64) net.HardwareAddr {
	return net.HardwareAddr{byte(v >> 40), byte(v >> 32), byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
}

func ip4(v uint64) net.IP { return binary.BigEndian.AppendUint32(nil, uint32(v)) }

// bytes makes the frame.
func (s *spec) bytes(r *rand.Rand) ([]byte, error) {
	var ls []gopacket.SerializableLayer
	inner := layers.EthernetType(s.ethType)
	next := inner
	if len(s.mpls) > 0 {
		next = layers.EthernetType(s.mplsType)
	}
	eth := &layers.Ethernet{SrcMAC: mac(s.ethSrc), DstMAC: mac(s.ethDst), EthernetType: next}
	if len(s.tags) > 0 {
		eth.EthernetType = layers.EthernetType(s.tags[0].tpid)
	}
	ls = append(ls, eth)
	for i, t := range s.tags {
		q := &layers.Dot1Q{
			Priority: uint8(t.tci >> 13), DropEligible: t.tci&0x1000 != 0, VLANIdentifier: t.tci & 0xfff, Type: next,
		}
		if i+1 < len(s.tags) {
			q.Type = layers.EthernetType(s.tags[i+1].tpid)
		}
		ls = append(ls, q)
	}
	for i, e := range s.mpls {
		ls = append(ls, &layers.MPLS{
			Label: e >> 12, TrafficClass: uint8(e >> 9 & 7), StackBottom: i == len(s.mpls)-1, TTL: uint8(e),
		})
	}
	ls = append(ls, s.network(r)...)
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, ls...); err != nil {
		return nil, fmt.Errorf("flowdiff: packet: %w", err)
	}
	f := append([]byte(nil), buf.Bytes()...)
	if at := 12 + 4*len(s.tags); s.snap && len(f) < 1400 {
		// LLC with the SNAP extension (IEEE 802-2014 §9) in front of the type.
		head := binary.BigEndian.AppendUint16(f[:at:at], uint16(len(f)-at-2+8))
		f = append(append(head, 0xaa, 0xaa, 3, 0, 0, 0), f[at:]...)
	}
	f = append(f, make([]byte, s.trailer)...)
	return f[:max(14, len(f)-s.skipped)], nil
}

// network is the layers from the network's on.
func (s *spec) network(r *rand.Rand) []gopacket.SerializableLayer {
	switch s.ethType {
	case etIPv4:
		return s.ipv4(r)
	case etIPv6:
		return s.ipv6(r)
	case etARP, etRARP:
		return []gopacket.SerializableLayer{&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: uint16(s.arpOp), SourceHwAddress: mac(s.sha), SourceProtAddress: ip4(s.src),
			DstHwAddress: mac(s.tha), DstProtAddress: ip4(s.dst),
		}, gopacket.Payload(make([]byte, r.IntN(20)))}
	}
	return []gopacket.SerializableLayer{gopacket.Payload(s.content(r))}
}

// content is what the packet carries.
func (s *spec) content(r *rand.Rand) []byte {
	b := make([]byte, s.payload)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func (s *spec) ipv4(r *rand.Rand) []gopacket.SerializableLayer {
	ip := &layers.IPv4{
		Version: 4, TOS: uint8(s.tos), TTL: uint8(s.ttl), Protocol: layers.IPProtocol(s.proto), Id: uint16(r.Uint32()),
		SrcIP: ip4(s.src), DstIP: ip4(s.dst),
	}
	if s.options > 0 {
		// One option that nobody knows (class 2, number 30: experimental, RFC 4727) over the whole room.
		ip.Options = []layers.IPv4Option{{
			OptionType: 0x5e, OptionLength: uint8(4 * s.options), OptionData: make([]byte, 4*s.options-2),
		}}
	}
	switch {
	case s.frag == fragFirst:
		ip.Flags = layers.IPv4MoreFragments
	case s.frag == fragLater:
		ip.FragOffset = uint16(1 + r.IntN(100))
	case s.dontFragment:
		ip.Flags = layers.IPv4DontFragment
	}
	return append([]gopacket.SerializableLayer{ip}, s.transport(r, ip)...)
}

func (s *spec) ipv6(r *rand.Rand) []gopacket.SerializableLayer {
	exts := append([]uint8(nil), s.extensions...)
	if s.frag != fragNone || s.fragmentsOfIPv6 {
		exts = append(exts, 44)
	}
	first := uint8(s.proto)
	if len(exts) > 0 {
		first = exts[0]
	}
	ip := &layers.IPv6{
		Version: 6, TrafficClass: uint8(s.tos), FlowLabel: uint32(s.label), HopLimit: uint8(s.ttl),
		NextHeader: layers.IPProtocol(first), SrcIP: s.src6.bytes(), DstIP: s.dst6.bytes(),
	}
	if first == 0 {
		ip.NextHeader = 255 // see bytes of the extension: gopacket takes over when it meets number 0
	}
	var chain []byte
	for i, e := range exts {
		next := uint8(s.proto)
		if i+1 < len(exts) {
			next = exts[i+1]
		}
		chain = append(chain, s.extension(r, e, next)...)
	}
	if first == 0 {
		return append([]gopacket.SerializableLayer{&hopByHopFix{ip}, gopacket.Payload(chain)}, s.transport(r, ip)...)
	}
	return append([]gopacket.SerializableLayer{ip, gopacket.Payload(chain)}, s.transport(r, ip)...)
}

// hopByHopFix is an IPv6 header whose next header is 0: gopacket itself writes only hop-by-hop options that it made.
type hopByHopFix struct{ ip *layers.IPv6 }

func (h *hopByHopFix) LayerType() gopacket.LayerType { return layers.LayerTypeIPv6 }

func (h *hopByHopFix) SerializeTo(b gopacket.SerializeBuffer, o gopacket.SerializeOptions) error {
	err := h.ip.SerializeTo(b, o)
	b.Bytes()[6] = 0
	return err
}

// extension is one IPv6 extension header (RFC 8200 §4), of a random length where it has one.
func (s *spec) extension(r *rand.Rand, kind, next uint8) []byte {
	switch kind {
	case 44: // fragment
		b := []byte{next, 0, 0, 0}
		switch s.frag {
		case fragFirst:
			b[3] = 1
		case fragLater:
			binary.BigEndian.PutUint16(b[2:], uint16(1+r.IntN(100))<<3)
		}
		return binary.BigEndian.AppendUint32(b, r.Uint32())
	case 51: // authentication (RFC 4302 §2.2): its length counts words, less 2
		n := 1 + 2*r.IntN(3)
		return append([]byte{next, byte(n + 1)}, make([]byte, 4*(n+3)-2)...)
	}
	n := r.IntN(3)
	b := append([]byte{next, byte(n)}, make([]byte, 8*(n+1)-2)...)
	if kind != 43 { // options are padded with one PadN
		b[2], b[3] = 1, byte(8*(n+1)-4)
	}
	return b
}

// transport is the layers from the transport's on. A later fragment has none.
func (s *spec) transport(r *rand.Rand, ip gopacket.NetworkLayer) []gopacket.SerializableLayer {
	content := gopacket.Payload(s.content(r))
	if s.frag == fragLater {
		return []gopacket.SerializableLayer{content}
	}
	switch s.proto {
	case protoTCP:
		f := s.flags
		t := &layers.TCP{
			SrcPort: layers.TCPPort(s.sport), DstPort: layers.TCPPort(s.dport), Seq: r.Uint32(), Window: 1000,
			FIN: f&1 != 0, SYN: f&2 != 0, RST: f&4 != 0, PSH: f&8 != 0, ACK: f&16 != 0, URG: f&32 != 0, ECE: f&64 != 0,
			CWR: f&128 != 0, NS: f&256 != 0,
		}
		_ = t.SetNetworkLayerForChecksum(ip)
		return s.checked(t, content, 16)
	case protoUDP:
		u := &layers.UDP{SrcPort: layers.UDPPort(s.sport), DstPort: layers.UDPPort(s.dport)}
		_ = u.SetNetworkLayerForChecksum(ip)
		return s.checked(u, content, 6)
	case protoSCTP:
		return s.checked(&layers.SCTP{SrcPort: layers.SCTPPort(s.sport), DstPort: layers.SCTPPort(s.dport)}, content, 8)
	case protoICMP:
		return s.checked(&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(uint8(s.icmpType), uint8(s.icmpCode))},
			content, 2)
	case protoICMP6:
		c := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(uint8(s.icmpType), uint8(s.icmpCode))}
		_ = c.SetNetworkLayerForChecksum(ip)
		if s.icmpType == ndSolicitation || s.icmpType == ndAdvertisement {
			content = s.neighbour(r)
		}
		return s.checked(c, content, 2)
	}
	return []gopacket.SerializableLayer{content}
}

// neighbour is the rest of a neighbour solicitation or advertisement (RFC 4861 §4.3 and §4.4).
func (s *spec) neighbour(r *rand.Rand) []byte {
	b := append(make([]byte, 4), s.target.bytes()...)
	kind := byte(1)
	if s.icmpType == ndAdvertisement {
		kind = 2
	}
	if r.IntN(8) == 0 {
		b = append(b, 14, 1, 0, 0, 0, 0, 0, 1) // a nonce (RFC 3971 §5.3.2) before it
	}
	if r.IntN(8) != 0 {
		b = append(append(b, kind, 1), mac(s.linkLayer)...)
	}
	return b
}

// checked is a transport header and its content, with the checksum at offset at damaged if that is wanted.
func (s *spec) checked(l gopacket.SerializableLayer, content gopacket.Payload, at int) []gopacket.SerializableLayer {
	if s.sum == sumRight {
		return []gopacket.SerializableLayer{l, content}
	}
	return []gopacket.SerializableLayer{&damaged{l, at, s.sum}, content}
}

// damaged is a layer with a checksum that is not right.
type damaged struct {
	gopacket.SerializableLayer
	at, how int
}

func (d *damaged) SerializeTo(b gopacket.SerializeBuffer, o gopacket.SerializeOptions) error {
	if err := d.SerializableLayer.SerializeTo(b, o); err != nil {
		return err
	}
	sum := b.Bytes()[d.at : d.at+2]
	if d.how == sumZero {
		sum[0], sum[1] = 0, 0
	} else {
		sum[0] ^= 0x5a
	}
	return nil
}
