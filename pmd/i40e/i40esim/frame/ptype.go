package frame

// PType is the packet type of a receive descriptor (XL710 datasheet, "Packet types").
type PType uint8

// Packet types of frames without an IP header.
const (
	PTypeReserved PType = 0
	PTypeMAC      PType = 1
	PTypeTimesync PType = 2
	PTypeFIP      PType = 3
	PTypeLLDP     PType = 6
	PTypeECP      PType = 7
	PTypeEAPOL    PType = 10
	PTypeARP      PType = 11
	PTypeFCoE     PType = 12
)

// Inner is what a packet type says of the innermost IP header's payload.
type Inner uint8

// The order is that of the seven packet types of each group.
const (
	InnerFragment Inner = iota
	InnerPayload
	InnerUDP
	innerUnused
	InnerTCP
	InnerSCTP
	InnerICMP
	innerCount
	// InnerNone: the tunnel holds no IP header.
	InnerNone
)

// group is a run of packet types, seven in the order of Inner, or one when there is no inner IP header.
type group struct {
	first   PType
	outer   int // IP version of the outermost header
	tunnel  Tunnel
	version int // IP version of the innermost header, 0 for none
}

// groups is the packet type table for IP frames, 22 to 153.
var groups = [...]group{
	{22, 4, TunnelNone, 4},
	{29, 4, TunnelIPIP, 4},
	{36, 4, TunnelIPIP, 6},
	{43, 4, TunnelGRENAT, 0},
	{44, 4, TunnelGRENAT, 4},
	{51, 4, TunnelGRENAT, 6},
	{58, 4, TunnelMAC, 0},
	{59, 4, TunnelMAC, 4},
	{66, 4, TunnelMAC, 6},
	{73, 4, TunnelMACVLAN, 0},
	{74, 4, TunnelMACVLAN, 4},
	{81, 4, TunnelMACVLAN, 6},
	{88, 6, TunnelNone, 6},
	{95, 6, TunnelIPIP, 4},
	{102, 6, TunnelIPIP, 6},
	{109, 6, TunnelGRENAT, 0},
	{110, 6, TunnelGRENAT, 4},
	{117, 6, TunnelGRENAT, 6},
	{124, 6, TunnelMAC, 0},
	{125, 6, TunnelMAC, 4},
	{132, 6, TunnelMAC, 6},
	{139, 6, TunnelMACVLAN, 0},
	{140, 6, TunnelMACVLAN, 4},
	{147, 6, TunnelMACVLAN, 6},
}

// l2Types are the packet types by EtherType; every other is PTypeMAC.
var l2Types = map[uint16]PType{
	EtherTypeTimesync: PTypeTimesync,
	EtherTypeFIP:      PTypeFIP,
	EtherTypeLLDP:     PTypeLLDP,
	EtherTypeECP:      PTypeECP,
	EtherTypeEAPOL:    PTypeEAPOL,
	EtherTypeARP:      PTypeARP,
	EtherTypeFCoE:     PTypeFCoE,
}

// TypeInfo is what a packet type says.
type TypeInfo struct {
	Outer   int // IP version of the outermost header; 0 for a frame without one
	Tunnel  Tunnel
	Version int // IP version of the innermost header
	Inner   Inner
}

// Describe returns what the packet type says. It reports false for numbers that no frame is given.
func (t PType) Describe() (TypeInfo, bool) {
	for i := range groups {
		g := &groups[i]
		n := int(t) - int(g.first)
		if n == 0 && g.version == 0 {
			return TypeInfo{Outer: g.outer, Tunnel: g.tunnel, Inner: InnerNone}, true
		}
		if g.version != 0 && n >= 0 && n < int(innerCount) && Inner(n) != innerUnused {
			return TypeInfo{Outer: g.outer, Tunnel: g.tunnel, Version: g.version, Inner: Inner(n)}, true
		}
	}
	if t == PTypeMAC {
		return TypeInfo{Inner: InnerNone}, true
	}
	for _, known := range l2Types {
		if t == known {
			return TypeInfo{Inner: InnerNone}, true
		}
	}
	return TypeInfo{}, false
}

// PType returns the packet type of a parsed frame.
func (l *Layers) PType() PType {
	outer := l.Outer.Version
	if l.Tunnel == TunnelNone {
		outer = l.IP.Version
	}
	if outer == 0 {
		if t, known := l2Types[l.L2.EtherType]; known {
			return t
		}
		return PTypeMAC
	}
	for i := range groups {
		g := &groups[i]
		if g.outer == outer && g.tunnel == l.Tunnel && g.version == l.IP.Version {
			if g.version == 0 {
				return g.first
			}
			return g.first + PType(l.inner())
		}
	}
	return PTypeMAC
}

func (l *Layers) inner() Inner {
	switch {
	case l.IP.Fragment:
		return InnerFragment
	case l.L4.Protocol == ProtoUDP:
		return InnerUDP
	case l.L4.Protocol == ProtoTCP:
		return InnerTCP
	case l.L4.Protocol == ProtoSCTP:
		return InnerSCTP
	case l.L4.Protocol != 0:
		return InnerICMP
	}
	return InnerPayload
}

// PCType is a packet classifier type: what chooses the input set of the hash and of the flow director, and the bit of
// PFQF_HENA that enables it.
type PCType uint8

// The classifier types of the XL710.
const (
	PCTypeIPv4UDP    PCType = 31
	PCTypeIPv4TCP    PCType = 33
	PCTypeIPv4SCTP   PCType = 34
	PCTypeIPv4Other  PCType = 35
	PCTypeIPv4Frag   PCType = 36
	PCTypeIPv6UDP    PCType = 41
	PCTypeIPv6TCP    PCType = 43
	PCTypeIPv6SCTP   PCType = 44
	PCTypeIPv6Other  PCType = 45
	PCTypeIPv6Frag   PCType = 46
	PCTypeFCoEOther  PCType = 50
	PCTypeL2Payload  PCType = 63
	pctypeIPv6Offset        = PCTypeIPv6UDP - PCTypeIPv4UDP
)

// PCType returns the classifier type of a parsed frame. A tunnelled frame is classified by its inner headers.
func (l *Layers) PCType() PCType {
	var t PCType
	switch {
	case l.IP.Version == 0 && l.L2.EtherType == EtherTypeFCoE:
		return PCTypeFCoEOther
	case l.IP.Version == 0:
		return PCTypeL2Payload
	case l.IP.Fragment:
		t = PCTypeIPv4Frag
	case l.L4.Protocol == ProtoUDP:
		t = PCTypeIPv4UDP
	case l.L4.Protocol == ProtoTCP:
		t = PCTypeIPv4TCP
	case l.L4.Protocol == ProtoSCTP:
		t = PCTypeIPv4SCTP
	default:
		t = PCTypeIPv4Other
	}
	if l.IP.Version == 6 {
		t += pctypeIPv6Offset
	}
	return t
}
