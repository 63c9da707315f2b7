package flow

import "encoding/binary"

// IPv6 extension headers (RFC 8200 §4, RFC 4302) that are looked past. Open vSwitch takes others for protocols, and so
// do rules here.
const (
	ExtHopByHop = 0
	ExtRouting  = 43
	ExtFragment = 44
	ExtAuth     = 51
	ExtDest     = 60
)

const (
	ExtMin         = 8
	ipv6Label      = 0xfffff
	ipv6FragOffset = 0xfff8
	ipv6FragBits   = 0xfff9 // offset and more-fragments flag
)

// extractIPv6 reads the IPv6 header at off (RFC 8200 §3). n is the frame's length, which may exceed the window's; false
// says that it does and matters.
func extractIPv6(h []byte, n, off int, d Depth, k *Key) bool {
	if len(h) < off+IPv6Header {
		return n < off+IPv6Header
	}
	b := h[off:]
	payload := int(binary.BigEndian.Uint16(b[4:]))
	if payload+IPv6Header > n-off {
		return true
	}
	k[WordIPv6S] = binary.BigEndian.Uint64(b[8:])
	k[WordIPv6S+1] = binary.BigEndian.Uint64(b[16:])
	k[WordIPv6D] = binary.BigEndian.Uint64(b[24:])
	k[WordIPv6D+1] = binary.BigEndian.Uint64(b[32:])
	c := chain{rest: b[IPv6Header:], left: payload, proto: b[6]}
	if end := c.skip(); end != chainWhole {
		return end != chainCut
	}
	tos := binary.BigEndian.Uint16(b) >> 4 & 0xff
	k[WordL4] = uint64(c.proto)<<ShiftProto | uint64(tos)<<ShiftTOS | uint64(b[7])<<ShiftTTL | c.frag<<ShiftFrag
	k[WordLabel] |= uint64(binary.BigEndian.Uint32(b)) & ipv6Label
	if d < DepthL4 || c.frag&FragLater != 0 {
		return true
	}
	if c.proto == ProtoICMP6 && d == DepthND && !extractND(c.rest, c.left, k) {
		return false
	}
	return extractL4(c.rest, c.left, c.proto, k)
}

// chain is the way along extension headers.
type chain struct {
	rest  []byte // of the window
	left  int    // bytes that exist in the datagram, which may be more
	proto uint8  // of what is next
	frag  uint64
}

// chainEnd is how a chain ended.
type chainEnd uint8

const (
	chainWhole  chainEnd = iota // at a protocol
	chainBroken                 // a header is longer than the datagram
	chainCut                    // a header is longer than the window
)

// skip walks to the protocol behind the extension headers. A fragment but the first has the fragment header's own number
// as its protocol, as in Open vSwitch.
func (c *chain) skip() chainEnd {
	for {
		size := ExtMin
		switch c.proto {
		case ExtHopByHop, ExtRouting, ExtDest, ExtAuth, ExtFragment:
		default:
			return chainWhole
		}
		if end := c.reaches(size); end != chainWhole {
			return end
		}
		switch c.proto {
		case ExtAuth:
			size = (int(c.rest[1]) + 2) * 4
		case ExtFragment:
			if f := binary.BigEndian.Uint16(c.rest[2:]); f&ipv6FragBits != 0 {
				c.frag = fragAny
				if f&ipv6FragOffset != 0 {
					c.frag = fragMask
					return chainWhole
				}
			}
		default:
			size = (int(c.rest[1]) + 1) * 8
		}
		if end := c.reaches(size); end != chainWhole {
			return end
		}
		c.proto, c.rest, c.left = c.rest[0], c.rest[size:], c.left-size
	}
}

// reaches tells whether the next size bytes are there.
func (c *chain) reaches(size int) chainEnd {
	switch {
	case c.left < size:
		return chainBroken
	case len(c.rest) < size:
		return chainCut
	}
	return chainWhole
}
