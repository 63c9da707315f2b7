package packet

import "encoding/binary"

// EtherTypes and protocols that edits tell apart (IEEE 802 numbers, IANA).
const (
	etherIPv4   = 0x0800
	etherARP    = 0x0806
	etherRARP   = 0x8035
	etherIPv6   = 0x86dd
	etherMPLS   = 0x8847
	etherMPLSMC = 0x8848
	etherMin    = 0x0600 // below is a length (IEEE 802.3 §3.2.6)

	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	protoSCTP   = 132
)

const (
	snapLen   = 8 // LLC 3, SNAP 5 (IEEE 802-2014 §9)
	arpLen    = 28
	ipv4Len   = 20
	ipv6Len   = 40
	extUnit   = 8
	ipv4Later = 0x1fff // offset of a fragment (RFC 791 §3.1)
	ipv6Later = 0xfff8 // offset of a fragment (RFC 8200 §4.5)
)

// layers is where the headers of a frame lie in its window.
type layers struct {
	h         []byte // the window
	etherType uint16 // of what follows the tags
	typeAt    int    // where it stands, -1 in a frame of IEEE 802.2
	l3        int    // what follows it
	l4        int    // the transport header, 0: none, or not in the window
	proto     uint8  // its protocol
	source    bool   // IPv6: a routing header still has segments, so that the destination is not the final one
}

// layers walks along the tags. It fails when the window is too short.
func (p *Packet) layers() (l layers, ok bool) {
	h := p.Header()
	off := MinFrame - 2
	for {
		if len(h) < off+2 {
			return l, false
		}
		t := binary.BigEndian.Uint16(h[off:])
		if t != TPID8021Q && t != TPID8021AD {
			l = layers{h: h, etherType: t, typeAt: off, l3: off + 2}
			break
		}
		off += vlanTagLen
	}
	if l.etherType < etherMin {
		if len(h) < l.l3+snapLen {
			return l, false
		}
		l.etherType = binary.BigEndian.Uint16(h[l.l3+snapLen-2:])
		l.typeAt, l.l3 = -1, l.l3+snapLen
	}
	return l, true
}

// ip also finds the transport header of an IP packet. It fails for anything else.
func (p *Packet) ip() (l layers, ok bool) {
	l, ok = p.layers()
	if !ok {
		return l, false
	}
	switch l.etherType {
	case etherIPv4:
		return l, l.ipv4()
	case etherIPv6:
		return l, l.ipv6()
	}
	return l, false
}

func (l *layers) ipv4() bool {
	if len(l.h) < l.l3+ipv4Len {
		return false
	}
	b := l.h[l.l3:]
	n := int(b[0]&0xf) * 4
	if n < ipv4Len || len(b) < n {
		return false
	}
	if binary.BigEndian.Uint16(b[6:])&ipv4Later == 0 {
		l.l4, l.proto = l.l3+n, b[9]
	}
	return true
}

// IPv6 extension headers that are looked past (RFC 8200 §4, RFC 4302): those that rules look past.
const (
	extHopByHop = 0
	extRouting  = 43
	extFragment = 44
	extAuth     = 51
	extDest     = 60
)

func (l *layers) ipv6() bool {
	off := l.l3 + ipv6Len
	if len(l.h) < off {
		return false
	}
	next := l.h[l.l3+6]
	for {
		switch next {
		case extHopByHop, extRouting, extFragment, extAuth, extDest:
		default:
			l.l4, l.proto = off, next
			return true
		}
		if len(l.h) < off+extUnit {
			return true // the transport header is out of sight
		}
		b := l.h[off:]
		n := (int(b[1]) + 1) * extUnit
		switch next {
		case extAuth:
			n = (int(b[1]) + 2) * 4
		case extFragment:
			n = extUnit
			if binary.BigEndian.Uint16(b[2:])&ipv6Later != 0 {
				return true
			}
		case extRouting:
			l.source = l.source || b[3] > 0
		}
		next, off = b[0], off+n
	}
}

// transport is the checksum field of the transport header, nil when there is none in the window.
func (l *layers) transport() []byte {
	if l.l4 == 0 {
		return nil
	}
	at := 0
	switch l.proto {
	case protoTCP:
		at = 16
	case protoUDP:
		at = 6
	case protoICMPv6:
		if l.etherType != etherIPv6 {
			return nil
		}
		at = 2
	default:
		return nil
	}
	if len(l.h) < l.l4+at+2 {
		return nil
	}
	return l.h[l.l4+at : l.l4+at+2]
}
