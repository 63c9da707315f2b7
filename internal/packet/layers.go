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
	etherNone   = 0x05ff // what rules see in its place (OFP_DL_TYPE_NOT_ETH_TYPE)

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
	tcpLen    = 20
	udpLen    = 8
	sctpLen   = 12
	icmpLen   = 8
	icmpSum   = 4      // as far as the checksum
	ipv4Later = 0x1fff // offset of a fragment (RFC 791 §3.1)
	ipv6Later = 0xfff8 // offset of a fragment (RFC 8200 §4.5)
)

// layers is where the headers of a frame lie in its window. It agrees with what rules see (flowtable/flow, Extract): a
// header that is malformed or cut short by the datagram is none, and what lies behind the datagram is padding.
type layers struct {
	h         []byte // the window
	n         int    // length of the frame
	etherType uint16 // of what follows the tags, etherNone for none
	lengthAt  int    // where a frame with LLC and SNAP has its length, 0 in all others
	l3        int    // what follows the EtherType
	l4        int    // the transport header, 0: none, or not in the window
	left      int    // bytes of the datagram from there on
	proto     uint8  // its protocol
	source    bool   // IPv6: a routing header still has segments, so that the destination is not the final one
}

// layers walks along the tags.
func (p *Packet) layers() layers {
	h := p.Header()
	off := MinFrame - 2
	for {
		t := binary.BigEndian.Uint16(h[off:])
		if t != TPID8021Q && t != TPID8021AD || len(h) < off+vlanTagLen+2 {
			l := layers{h: h, n: int(p.length), etherType: t, l3: off + 2}
			if t < etherMin {
				l.snap()
			}
			return l
		}
		off += vlanTagLen
	}
}

// snap finds the EtherType in a frame of IEEE 802.2, if it has one.
func (l *layers) snap() {
	l.etherType = etherNone
	if len(l.h) < l.l3+snapLen {
		return
	}
	s := l.h[l.l3 : l.l3+snapLen]
	t := binary.BigEndian.Uint16(s[6:])
	if s[0] == 0xaa && s[1] == 0xaa && s[2] == 3 && s[3]|s[4]|s[5] == 0 && t >= etherMin {
		l.etherType, l.lengthAt, l.l3 = t, l.l3-2, l.l3+snapLen
	}
}

// ip also finds the transport header of an IP packet. It fails for anything else.
func (p *Packet) ip() (l layers, ok bool) {
	l = p.layers()
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
	n, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if n < ipv4Len || n > total || total > l.n-l.l3 {
		return false
	}
	if binary.BigEndian.Uint16(b[6:])&ipv4Later == 0 {
		l.carries(l.l3+n, total-n, b[9])
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

// ipv6 fails also when the chain of extension headers leaves the datagram or the window: nobody knows then what the
// checksum would be that covers the addresses.
func (l *layers) ipv6() bool {
	off := l.l3 + ipv6Len
	if len(l.h) < off {
		return false
	}
	left, next := int(binary.BigEndian.Uint16(l.h[l.l3+4:])), l.h[l.l3+6]
	if off+left > l.n {
		return false
	}
	for {
		switch next {
		case extHopByHop, extRouting, extFragment, extAuth, extDest:
		default:
			l.carries(off, left, next)
			return true
		}
		if min(left, len(l.h)-off) < extUnit {
			return false
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
		if min(left, len(l.h)-off) < n {
			return false
		}
		next, off, left = b[0], off+n, left-n
	}
}

// carries notes the transport header at off, with left bytes of the datagram to its end.
func (l *layers) carries(off, left int, proto uint8) {
	if off <= len(l.h) {
		l.l4, l.left, l.proto = off, left, proto
	}
}

// transport is the first n bytes of the transport header. It fails when datagram or window end before.
func (l *layers) transport(n int) ([]byte, bool) {
	if l.l4 == 0 || min(l.left, len(l.h)-l.l4) < n {
		return nil, false
	}
	return l.h[l.l4 : l.l4+n], true
}

// covering is the checksum field of the transport header that covers the addresses too, nil when there is none.
func (l *layers) covering() []byte {
	at, need := 0, 0
	switch {
	case l.proto == protoTCP:
		at, need = 16, tcpLen
	case l.proto == protoUDP:
		at, need = 6, udpLen
	case l.proto == protoICMPv6 && l.etherType == etherIPv6:
		at, need = 2, icmpSum
	default:
		return nil
	}
	if b, ok := l.transport(need); ok {
		return b[at : at+2]
	}
	return nil
}
