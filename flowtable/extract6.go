package flowtable

import "encoding/binary"

// IPv6 extension headers (RFC 8200 §4, RFC 4302) that are looked past. Open vSwitch takes others for protocols, and so
// do rules here.
const (
	extHopByHop = 0
	extRouting  = 43
	extFragment = 44
	extAuth     = 51
	extDest     = 60
)

const (
	extMin          = 8
	ipv6FragOffset  = 0xfff8
	ipv6FragBits    = 0xfff9 // offset and more-fragments flag
	ipv6FragmentLen = 8
)

// extractIPv6 reads the IPv6 header at off (RFC 8200 §3). n is the frame's length, which may exceed the window's.
func extractIPv6(h []byte, n, off int, d depth, k *Key) {
	if len(h) < off+ipv6Header {
		return
	}
	b := h[off:]
	payload := int(binary.BigEndian.Uint16(b[4:]))
	if payload+ipv6Header > n-off {
		return
	}
	k[wordIPv6S] = binary.BigEndian.Uint64(b[8:])
	k[wordIPv6S+1] = binary.BigEndian.Uint64(b[16:])
	k[wordIPv6D] = binary.BigEndian.Uint64(b[24:])
	k[wordIPv6D+1] = binary.BigEndian.Uint64(b[32:])
	proto, frag, rest, left, ok := skipExtensions(b[ipv6Header:], payload, b[6])
	if !ok {
		return
	}
	tos := binary.BigEndian.Uint16(b) >> 4 & 0xff
	k[wordL4] = uint64(proto)<<shiftProto | uint64(tos)<<shiftTOS | uint64(b[7])<<shiftTTL | frag<<shiftFrag
	if d == depthL4 && frag&fragLater == 0 {
		extractL4(rest, left, proto, k)
	}
}

// skipExtensions walks the extension headers in h, of which left bytes exist in the datagram, and returns the protocol
// behind them. A fragment but the first has the fragment header's own number as its protocol, as in Open vSwitch. ok is
// false when a header is cut short; one that reaches out of the window counts as cut.
func skipExtensions(h []byte, left int, next uint8) (proto uint8, frag uint64, rest []byte, n int, ok bool) {
	for {
		size := 0
		switch next {
		case extHopByHop, extRouting, extDest:
			if min(left, len(h)) < extMin {
				return 0, 0, nil, 0, false
			}
			size = (int(h[1]) + 1) * 8
		case extAuth:
			if min(left, len(h)) < extMin {
				return 0, 0, nil, 0, false
			}
			size = (int(h[1]) + 2) * 4
		case extFragment:
			if min(left, len(h)) < ipv6FragmentLen {
				return 0, 0, nil, 0, false
			}
			size = ipv6FragmentLen
			if f := binary.BigEndian.Uint16(h[2:]); f&ipv6FragBits != 0 {
				frag = fragAny
				if f&ipv6FragOffset != 0 {
					return extFragment, fragMask, nil, 0, true
				}
			}
		default:
			return next, frag, h, left, true
		}
		if min(left, len(h)) < size {
			return 0, 0, nil, 0, false
		}
		next, h, left = h[0], h[size:], left-size
	}
}
