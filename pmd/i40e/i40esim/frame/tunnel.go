package frame

import "encoding/binary"

// parseTunnel follows a tunnel that begins at offset at, behind the IP header in l.IP, and says whether there was one.
// The IP header then moves to l.Outer.
func (l *Layers) parseTunnel(p *Parser, b []byte, at int) bool {
	switch l.IP.Protocol {
	case ProtoIPv4:
		return l.enter(p, b, at, at, TunnelIPIP, EtherTypeIPv4)
	case ProtoIPv6:
		return l.enter(p, b, at, at, TunnelIPIP, EtherTypeIPv6)
	case ProtoGRE:
		return l.parseGRE(p, b, at)
	case ProtoUDP:
		return l.parseUDPTunnel(p, b, at)
	}
	return false
}

// parseGRE follows GRE (RFC 2784, with the key and sequence number of RFC 2890) and NVGRE (RFC 7637).
func (l *Layers) parseGRE(p *Parser, b []byte, at int) bool {
	if len(b)-at < greLen {
		return false
	}
	const checksum, routing, key, sequence, version = 0x8000, 0x4000, 0x2000, 0x1000, 7
	flags, proto := binary.BigEndian.Uint16(b[at:]), binary.BigEndian.Uint16(b[at+2:])
	if flags&(routing|version) != 0 {
		return false
	}
	n := at + greLen
	if flags&checksum != 0 {
		n += 4
	}
	keyAt := n
	if flags&key != 0 {
		n += 4
	}
	if flags&sequence != 0 {
		n += 4
	}
	if n > len(b) {
		return false
	}
	kind := TunnelGRENAT
	if proto == EtherTypeTEB {
		kind = TunnelMAC
	}
	if !l.enter(p, b, at, n, kind, proto) {
		return false
	}
	if flags&key != 0 {
		l.TunnelID = binary.BigEndian.Uint32(b[keyAt:])
	}
	return true
}

// parseUDPTunnel follows VXLAN (RFC 7348), VXLAN-GPE, Geneve (RFC 8926) and Teredo on the ports that the driver named.
func (l *Layers) parseUDPTunnel(p *Parser, b []byte, at int) bool {
	if len(b)-at < udpHeaderLen {
		return false
	}
	tunnel, known := p.UDPPorts[binary.BigEndian.Uint16(b[at+2:])]
	if !known {
		return false
	}
	n := at + udpHeaderLen
	kind, proto := TunnelMAC, uint16(EtherTypeTEB)
	var id uint32
	switch {
	case tunnel == UDPTunnelTeredo:
		kind, proto = TunnelGRENAT, EtherTypeIPv6
	case tunnel == UDPTunnelGeneve && len(b)-n >= geneveLen:
		proto = binary.BigEndian.Uint16(b[n+2:])
		id = binary.BigEndian.Uint32(b[n+4:]) >> 8
		n += geneveLen + int(b[n]&0x3F)*4
	case tunnel == UDPTunnelVXLANGPE && len(b)-n >= vxlanLen:
		proto = gpeEtherType(b[n+3])
		id = binary.BigEndian.Uint32(b[n+4:]) >> 8
		n += vxlanLen
	case tunnel == UDPTunnelVXLAN && len(b)-n >= vxlanLen:
		id = binary.BigEndian.Uint32(b[n+4:]) >> 8
		n += vxlanLen
	default:
		return false
	}
	if proto != EtherTypeTEB {
		kind = TunnelGRENAT
	}
	if n > len(b) || !l.enter(p, b, at, n, kind, proto) {
		return false
	}
	l.OuterUDP, l.TunnelID = at, id
	return true
}

// gpeEtherType translates VXLAN-GPE's next protocol field.
func gpeEtherType(next uint8) uint16 {
	switch next {
	case 1:
		return EtherTypeIPv4
	case 2:
		return EtherTypeIPv6
	case 3:
		return EtherTypeTEB
	}
	return 0
}

// enter makes the IP header parsed last the outer one and parses what begins at inner: a MAC header for EtherTypeTEB,
// else what proto says. The tunnel header is b[at:inner]. A payload that is no header that the parser knows is still a
// tunnel when kind is a GRE or UDP one; IP in IP needs its inner header.
func (l *Layers) enter(p *Parser, b []byte, at, inner int, kind Tunnel, proto uint16) bool {
	next := *l
	next.Outer, next.IP = l.IP, IP{}
	next.Tunnel, next.TunnelAt, next.TunnelLen = kind, at, inner-at
	start := inner
	if proto == EtherTypeTEB {
		next.InnerL2 = parseEthernet(b, inner)
		if next.InnerL2.Len == 0 {
			return false
		}
		if next.InnerL2.NumTags > 0 {
			next.Tunnel = TunnelMACVLAN
		}
		start, proto = inner+next.InnerL2.Len, next.InnerL2.EtherType
	}
	next.parseIP(p, b, start, proto)
	if kind == TunnelIPIP && next.IP.Version == 0 {
		return false
	}
	*l = next
	return true
}
