package frame

import "encoding/binary"

// EtherTypes that the parser knows.
const (
	EtherTypeIPv4     = 0x0800
	EtherTypeARP      = 0x0806
	EtherTypeTEB      = 0x6558 // transparent Ethernet bridging: NVGRE
	EtherTypeVLAN     = 0x8100
	EtherTypeIPv6     = 0x86DD
	EtherTypeEAPOL    = 0x888E
	EtherTypeQinQ     = 0x88A8
	EtherTypeLLDP     = 0x88CC
	EtherTypeTimesync = 0x88F7
	EtherTypeFCoE     = 0x8906
	EtherTypeFIP      = 0x8914
	EtherTypeECP      = 0x8940
	EtherTypeQinQOld  = 0x9100
)

// IP protocol numbers that the parser knows.
const (
	ProtoHopByHop  = 0
	ProtoICMP      = 1
	ProtoIPv4      = 4
	ProtoTCP       = 6
	ProtoUDP       = 17
	ProtoIPv6      = 41
	ProtoRouting   = 43
	ProtoFragment  = 44
	ProtoGRE       = 47
	ProtoAH        = 51
	ProtoICMPv6    = 58
	ProtoNoNext    = 59
	ProtoDestOpts  = 60
	ProtoSCTP      = 132
	ProtoMobility  = 135
	portPTPEvent   = 319
	portPTPGeneral = 320
)

// Header lengths in bytes.
const (
	macHeaderLen  = 14
	addressesLen  = 12
	tagLen        = 4
	ipv4HeaderLen = 20
	ipv6HeaderLen = 40
	udpHeaderLen  = 8
	tcpHeaderLen  = 20
	sctpHeaderLen = 12
	icmpHeaderLen = 4
	vxlanLen      = 8
	geneveLen     = 8
	greLen        = 4
)

// maxTags is how many VLAN tags the parser skips in one Ethernet header; maxExtensions, how many IPv6 extensions.
const (
	maxTags       = 2
	maxExtensions = 8
)

// Tunnel is the kind of a tunnel, named as the packet types name it.
type Tunnel uint8

const (
	// TunnelNone: no tunnel that the parser knows.
	TunnelNone Tunnel = iota
	// TunnelIPIP: an IP header directly in an IP header.
	TunnelIPIP
	// TunnelGRENAT: IP in GRE or in UDP ("NAT" in the datasheet's table: any of the two), without a MAC header.
	TunnelGRENAT
	// TunnelMAC: as TunnelGRENAT, with an inner MAC header.
	TunnelMAC
	// TunnelMACVLAN: as TunnelMAC, and the inner MAC header has a VLAN tag.
	TunnelMACVLAN
)

// UDPTunnel is what a UDP port means to the parser (admin command 0x0B00, "Add UDP tunnel").
type UDPTunnel uint8

// The protocol types of the command.
const (
	UDPTunnelVXLAN    UDPTunnel = 0x00
	UDPTunnelGeneve   UDPTunnel = 0x01 // "NGE"
	UDPTunnelTeredo   UDPTunnel = 0x10
	UDPTunnelVXLANGPE UDPTunnel = 0x11
)

// Parser is the state of the receive parser that drivers can change. The zero value knows no UDP tunnel.
type Parser struct {
	// UDPPorts are the destination ports that carry a tunnel.
	UDPPorts map[uint16]UDPTunnel
}

// Tag is a VLAN tag.
type Tag struct {
	TPID uint16
	TCI  uint16
}

// Ethernet is a MAC header.
type Ethernet struct {
	Offset    int // of the destination address
	Len       int // in bytes, tags and EtherType included; 0 means there is none
	Tags      [maxTags]Tag
	NumTags   int
	EtherType uint16 // the last one; below 0x600 it is a length (802.3)
}

// IP is an IPv4 or IPv6 header.
type IP struct {
	Version   int // 4, 6, or 0 for none
	Offset    int
	Len       int // in bytes, with options or extension headers
	End       int // end of the datagram by its own length field, at most the end of the frame
	Protocol  uint8
	Fragment  bool // part of a fragmented datagram
	First     bool // not a fragment, or the first
	Truncated bool // the length field says more than the frame holds, or less than the header
	// Rewritten: an IPv6 routing header or home address option changes the address that the L4 checksum covers, which
	// is therefore not verified (status bit IPV6EXADD).
	Rewritten bool
}

// L4 is a transport header.
type L4 struct {
	Protocol uint8 // 0: none parsed
	Offset   int
	Len      int // of the header in bytes, TCP options included
	SrcPort  uint16
	DstPort  uint16
}

// Layers is where the headers of a frame are. For a tunnelled frame, Outer is the tunnel's IP header and IP and L4 are
// the inner ones; else Outer is empty.
type Layers struct {
	L2        Ethernet
	Outer     IP
	OuterUDP  int // offset of the tunnel's UDP header, 0 if the tunnel has none
	Tunnel    Tunnel
	TunnelAt  int // offset of the tunnel header behind outer IP
	TunnelLen int // UDP and VXLAN, or GRE, in bytes
	TunnelID  uint32
	InnerL2   Ethernet
	IP        IP
	L4        L4
	PTP       bool // IEEE 1588 over UDP
}

// Parse finds the headers of frame b, which carries no frame check sequence. It never fails: what it cannot follow
// ends the parse, and the layers found so far stand.
func (p *Parser) Parse(b []byte) Layers {
	var l Layers
	l.L2 = parseEthernet(b, 0)
	if l.L2.Len == 0 {
		return l
	}
	l.parseIP(p, b, l.L2.Len, l.L2.EtherType)
	return l
}

// isTag says whether an EtherType is a VLAN tag's.
func isTag(etherType uint16) bool {
	return etherType == EtherTypeVLAN || etherType == EtherTypeQinQ || etherType == EtherTypeQinQOld
}

func parseEthernet(b []byte, at int) Ethernet {
	if len(b)-at < macHeaderLen {
		return Ethernet{}
	}
	e := Ethernet{Offset: at}
	n := at + addressesLen
	e.EtherType = binary.BigEndian.Uint16(b[n:])
	n += 2
	for e.NumTags < maxTags && isTag(e.EtherType) && len(b)-n >= tagLen {
		e.Tags[e.NumTags] = Tag{TPID: e.EtherType, TCI: binary.BigEndian.Uint16(b[n:])}
		e.NumTags++
		e.EtherType = binary.BigEndian.Uint16(b[n+2:])
		n += tagLen
	}
	e.Len = n - at
	return e
}

// parseIP parses the IP header at offset at, if etherType says that there is one, and what follows it.
func (l *Layers) parseIP(p *Parser, b []byte, at int, etherType uint16) {
	var h IP
	switch etherType {
	case EtherTypeIPv4:
		h = parseIPv4(b, at)
	case EtherTypeIPv6:
		h = parseIPv6(b, at)
	}
	if h.Version == 0 {
		return
	}
	l.IP = h
	if h.Fragment {
		return
	}
	next := h.Offset + h.Len
	if l.Tunnel == TunnelNone && l.parseTunnel(p, b[:h.End], next) {
		return
	}
	l.parseL4(b[:h.End], next)
}

func parseIPv4(b []byte, at int) IP {
	if len(b)-at < ipv4HeaderLen || b[at]>>4 != 4 {
		return IP{}
	}
	h := IP{Version: 4, Offset: at, Len: int(b[at]&0xF) * 4, Protocol: b[at+9], First: true}
	if h.Len < ipv4HeaderLen || len(b)-at < h.Len {
		return IP{}
	}
	h.End = at + int(binary.BigEndian.Uint16(b[at+2:]))
	if h.End < at+h.Len || h.End > len(b) {
		h.End, h.Truncated = len(b), true
	}
	offset := binary.BigEndian.Uint16(b[at+6:])
	const more, offsetMask = 0x2000, 0x1FFF
	h.Fragment = offset&(more|offsetMask) != 0
	h.First = offset&offsetMask == 0
	return h
}

func parseIPv6(b []byte, at int) IP {
	if len(b)-at < ipv6HeaderLen || b[at]>>4 != 6 {
		return IP{}
	}
	h := IP{Version: 6, Offset: at, Len: ipv6HeaderLen, Protocol: b[at+6], First: true}
	payload := int(binary.BigEndian.Uint16(b[at+4:]))
	h.End = at + ipv6HeaderLen + payload
	if payload == 0 || h.End > len(b) { // zero: a jumbogram, or the packet that programs a filter
		h.End, h.Truncated = len(b), true
	}
	for range maxExtensions {
		ext := b[at+h.Len : h.End]
		n := extensionLen(h.Protocol, ext)
		if n == 0 || n > len(ext) {
			return h
		}
		switch h.Protocol {
		case ProtoFragment:
			offset := binary.BigEndian.Uint16(ext[2:])
			h.Fragment, h.First = true, offset&^7 == 0
			h.Protocol = ext[0]
			h.Len += n
			return h
		case ProtoRouting:
			h.Rewritten = h.Rewritten || ext[3] != 0 // segments left
		case ProtoDestOpts:
			h.Rewritten = h.Rewritten || hasHomeAddress(ext[:n])
		}
		h.Protocol = ext[0]
		h.Len += n
	}
	return h
}

// extensionLen returns the length in bytes of the IPv6 extension header at the start of ext, 0 if proto is none or ext
// is too short to tell.
func extensionLen(proto uint8, ext []byte) int {
	if len(ext) < 8 {
		return 0
	}
	switch proto {
	case ProtoHopByHop, ProtoRouting, ProtoDestOpts, ProtoMobility:
		return 8 + int(ext[1])*8
	case ProtoFragment:
		return 8
	case ProtoAH:
		return 8 + int(ext[1])*4
	}
	return 0
}

// hasHomeAddress looks for the home address option (RFC 6275 §6.3) in a destination options header.
func hasHomeAddress(ext []byte) bool {
	const pad1, homeAddress = 0, 0xC9
	for n := 2; n < len(ext); {
		switch {
		case ext[n] == pad1:
			n++
			continue
		case ext[n] == homeAddress:
			return true
		case n+1 >= len(ext):
			return false
		}
		n += 2 + int(ext[n+1])
	}
	return false
}

func (l *Layers) parseL4(b []byte, at int) {
	rest := len(b) - at
	h := L4{Protocol: l.IP.Protocol, Offset: at}
	switch {
	case l.IP.Protocol == ProtoTCP && rest >= tcpHeaderLen:
		h.Len = int(b[at+12]>>4) * 4
		if h.Len < tcpHeaderLen || h.Len > rest {
			return
		}
	case l.IP.Protocol == ProtoUDP && rest >= udpHeaderLen:
		h.Len = udpHeaderLen
	case l.IP.Protocol == ProtoSCTP && rest >= sctpHeaderLen:
		h.Len = sctpHeaderLen
	case isICMP(l.IP) && rest >= icmpHeaderLen:
		h.Len = icmpHeaderLen
		l.L4 = h
		return
	default:
		return
	}
	h.SrcPort = binary.BigEndian.Uint16(b[at:])
	h.DstPort = binary.BigEndian.Uint16(b[at+2:])
	l.L4 = h
	l.PTP = h.Protocol == ProtoUDP && (h.DstPort == portPTPEvent || h.DstPort == portPTPGeneral)
}

// isICMP: each IP version has an ICMP of its own.
func isICMP(h IP) bool {
	return h.Version == 4 && h.Protocol == ProtoICMP || h.Version == 6 && h.Protocol == ProtoICMPv6
}
