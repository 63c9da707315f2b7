package packet

import "encoding/binary"

// Edits of IP packets and what is in them. Each changes the bits of mask to those of v and keeps the checksums right: the
// IPv4 header's, and the transport header's if the packet is not a later fragment. A packet that is not of the kind, or
// whose header is malformed or not in the window, stays as it is, and so does what lies behind the datagram.

// SetIPv4Src changes the IPv4 source address.
func (p *Packet) SetIPv4Src(v, mask uint32) { p.setIPv4(12, v, mask) }

// SetIPv4Dst changes the IPv4 destination address.
func (p *Packet) SetIPv4Dst(v, mask uint32) { p.setIPv4(16, v, mask) }

func (p *Packet) setIPv4(at int, v, mask uint32) {
	l, ok := p.ip()
	if !ok || l.etherType != etherIPv4 {
		return
	}
	b := l.h[l.l3:]
	field := b[at : at+4]
	old := binary.BigEndian.Uint32(field)
	var fresh [4]byte
	binary.BigEndian.PutUint32(fresh[:], old&^mask|v&mask)
	account(b[10:12], field, fresh[:])
	sum := l.sum()
	account(sum, field, fresh[:])
	l.fixUDP(sum)
	copy(field, fresh[:])
}

// SetIPv6Src changes the first 64 bits of the IPv6 source address (half 0) or the last (half 1).
func (p *Packet) SetIPv6Src(half int, v, mask uint64) {
	if l, ok := p.ip(); ok && l.etherType == etherIPv6 {
		l.setIPv6(8+8*half, v, mask, l.sum())
	}
}

// SetIPv6Dst changes the first 64 bits of the IPv6 destination address (half 0) or the last (half 1). While a routing
// header has segments left, the destination is not what the transport checksum covers (RFC 8200 §8.1).
func (p *Packet) SetIPv6Dst(half int, v, mask uint64) {
	l, ok := p.ip()
	if !ok || l.etherType != etherIPv6 {
		return
	}
	sum := l.sum()
	if l.source {
		sum = nil
	}
	l.setIPv6(24+8*half, v, mask, sum)
}

func (l *layers) setIPv6(at int, v, mask uint64, sum []byte) {
	field := l.h[l.l3+at : l.l3+at+8]
	var fresh [8]byte
	binary.BigEndian.PutUint64(fresh[:], binary.BigEndian.Uint64(field)&^mask|v&mask)
	account(sum, field, fresh[:])
	l.fixUDP(sum)
	copy(field, fresh[:])
}

// SetIPv6Label changes the IPv6 flow label, 20 bits.
func (p *Packet) SetIPv6Label(v, mask uint32) {
	if l, ok := p.ip(); ok && l.etherType == etherIPv6 {
		const label = 0xfffff
		b := l.h[l.l3:]
		binary.BigEndian.PutUint32(b, binary.BigEndian.Uint32(b)&^(mask&label)|v&mask&label)
	}
}

// SetTOS changes the type of service or traffic class: six bits of DSCP, two of ECN.
func (p *Packet) SetTOS(v, mask uint8) {
	l, ok := p.ip()
	if !ok {
		return
	}
	b := l.h[l.l3:]
	if l.etherType == etherIPv4 {
		replace16(b, uint16(b[0])<<8|uint16(b[1]&^mask|v&mask), b[10:12])
		return
	}
	const shift = 20 // of the traffic class in the first word (RFC 8200 §3)
	binary.BigEndian.PutUint32(b, binary.BigEndian.Uint32(b)&^(uint32(mask)<<shift)|uint32(v&mask)<<shift)
}

// SetTTL changes the time to live or hop limit.
func (p *Packet) SetTTL(v, mask uint8) {
	l, ok := p.ip()
	if !ok {
		return
	}
	b := l.h[l.l3:]
	if l.etherType == etherIPv4 {
		replace16(b[8:], uint16(b[8]&^mask|v&mask)<<8|uint16(b[9]), b[10:12])
		return
	}
	b[7] = b[7]&^mask | v&mask
}

// SetTPSrc changes the source port of TCP, UDP or SCTP, or the type of ICMP (8 bits).
func (p *Packet) SetTPSrc(v, mask uint16) { p.setTransport(0, v, mask) }

// SetTPDst changes the destination port of TCP, UDP or SCTP, or the code of ICMP (8 bits).
func (p *Packet) SetTPDst(v, mask uint16) { p.setTransport(1, v, mask) }

// setTransport changes the first or second field of the transport header, as far as rules see it.
func (p *Packet) setTransport(which int, v, mask uint16) {
	l, ok := p.ip()
	if !ok {
		return
	}
	switch l.proto {
	case protoTCP:
		b, ok := l.transport(tcpLen)
		if !ok {
			return
		}
		if n := int(b[12]>>4) * 4; n >= tcpLen && n <= l.left { // the data offset (RFC 9293 §3.1)
			l.setPort(b[2*which:2*which+2], v, mask)
		}
	case protoUDP:
		if b, ok := l.transport(udpLen); ok {
			l.setPort(b[2*which:2*which+2], v, mask)
		}
	case protoSCTP:
		if b, ok := l.transport(sctpLen); ok {
			l.setSCTP(b, which, v, mask)
		}
	case protoICMP, protoICMPv6:
		if b, ok := l.transport(icmpLen); ok {
			shift := 8 - 8*which
			mask = mask & 0xff << shift
			replace16(b, binary.BigEndian.Uint16(b)&^mask|v<<shift&mask, b[2:4])
		}
	}
}

// setPort changes a port of TCP or UDP.
func (l *layers) setPort(field []byte, v, mask uint16) {
	sum := l.sum()
	replace16(field, binary.BigEndian.Uint16(field)&^mask|v&mask, sum)
	l.fixUDP(sum)
}

func (l *layers) setSCTP(b []byte, which int, v, mask uint16) {
	field := b[2*which : 2*which+2]
	old := binary.BigEndian.Uint16(field)
	fresh := old&^mask | v&mask
	var delta [sctpLen]byte
	binary.BigEndian.PutUint16(delta[2*which:], old^fresh)
	accountCRC(b[8:12], delta, l.left-sctpLen)
	binary.BigEndian.PutUint16(field, fresh)
}
