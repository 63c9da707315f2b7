package flowtable

import (
	"encoding/binary"

	"weft/internal/packet"
)

// depth is how far into a frame extraction goes: as far as the loaded rules look.
type depth uint8

const (
	depthPort depth = iota // not into the frame at all
	depthL2
	depthL3
	depthL4
)

// depthOf is the depth that fills in all bits of mask.
func depthOf(mask *Key) depth {
	const portOnly = uint64(0xffffffff) << shiftInPort
	const l4 = uint64(0xffffffff)
	const tcpFlags = uint64(0xffff)
	switch {
	case mask[wordL4]&l4 != 0 || mask[wordSrc]&tcpFlags != 0:
		return depthL4
	case mask[wordIPv4]|mask[wordL4]|mask[wordSHA]|mask[wordTHA] != 0,
		mask[wordIPv6S]|mask[wordIPv6S+1]|mask[wordIPv6D]|mask[wordIPv6D+1] != 0:
		return depthL3
	case mask[wordPort]&^portOnly|mask[wordDst]|mask[wordSrc] != 0:
		return depthL2
	}
	return depthPort
}

const (
	ethHeader    = 14
	snapHeader   = 8 // LLC 3, SNAP 5 (IEEE 802-2014 §9)
	arpLen       = 28
	ipv4Header   = 20
	ipv6Header   = 40
	tcpHeader    = 20
	udpHeader    = 8
	sctpHeader   = 12
	icmpHeader   = 8
	ipv4FragBits = 0x3fff // more-fragments flag and offset (RFC 791 §3.1)
	ipv4Offset   = 0x1fff
)

// Extract fills k with what the frame of p says, as deep as everything that rules can look at. The frame is not
// trusted: whatever is cut short or contradicts itself leaves the fields from there on zero, as Open vSwitch does.
func Extract(p *packet.Packet, inPort uint32, k *Key) {
	extract(p.Header(), p.Len(), inPort, depthL4, k)
}

// read extracts what rules with this layout look at from p, pulling more of the frame into its window if need be. It
// fails when a chain of headers goes on where the window cannot.
func (l *layout) read(b *packet.Batch, p *packet.Packet, k *Key) bool {
	for !extract(visible(p), p.Len(), b.InPort, l.depth, k) && l.chased {
		if !b.Pull(p) {
			return false
		}
	}
	return true
}

// visible is as much of p's window as is looked at: frames that lie in one piece do not get further than others, nor can
// they make the walk along a chain of headers long.
func visible(p *packet.Packet) []byte {
	h := p.Header()
	if len(h) > packet.MaxWindow {
		h = h[:packet.MaxWindow]
	}
	return h
}

// extract reads the header window h of a frame of n bytes into k. It reports whether the window was long enough: false
// means that fields of the protocol or the transport header are missing which the frame may well have.
func extract(h []byte, n int, inPort uint32, d depth, k *Key) bool {
	*k = Key{}
	k[wordPort] = uint64(inPort) << shiftInPort
	if d == depthPort || len(h) < ethHeader {
		return true
	}
	k[wordDst] = uint64(binary.BigEndian.Uint32(h))<<32 | uint64(binary.BigEndian.Uint16(h[4:]))<<16
	k[wordSrc] = uint64(binary.BigEndian.Uint32(h[6:]))<<32 | uint64(binary.BigEndian.Uint16(h[10:]))<<16
	off := 12
	t := binary.BigEndian.Uint16(h[off:])
	if t == ethVLAN || t == ethQinQ {
		off = extractTags(h, k)
		t = binary.BigEndian.Uint16(h[off:])
	}
	off += 2
	if t < ethMin {
		t, off = snapType(h, off)
	}
	k[wordPort] |= uint64(t) << shiftEthType
	if d == depthL2 {
		return true
	}
	switch t {
	case ethIPv4:
		return extractIPv4(h, n, off, d, k)
	case ethIPv6:
		return extractIPv6(h, n, off, d, k)
	case ethARP, ethRARP:
		extractARP(h[off:], k)
	}
	return true
}

// extractTags reads up to two tags and returns where the EtherType behind them lies. A tag counts when the next
// EtherType is there too.
func extractTags(h []byte, k *Key) int {
	off := 12
	for i := 0; i < 2; i++ {
		t := binary.BigEndian.Uint16(h[off:])
		if t != ethVLAN && t != ethQinQ || len(h) < off+6 {
			break
		}
		tci := uint64(binary.BigEndian.Uint16(h[off+2:]) | vlanPresent)
		if i == 0 {
			k[wordPort] |= tci
		} else {
			k[wordDst] |= tci
		}
		off += 4
	}
	return off
}

// snapType is the EtherType inside an IEEE 802.2 frame whose LLC header starts at off, and where its payload starts.
func snapType(h []byte, off int) (uint16, int) {
	if len(h) < off+snapHeader {
		return ethNone, off
	}
	s := h[off : off+snapHeader]
	if s[0] != 0xaa || s[1] != 0xaa || s[2] != 3 || s[3]|s[4]|s[5] != 0 {
		return ethNone, off
	}
	if t := binary.BigEndian.Uint16(s[6:]); t >= ethMin {
		return t, off + snapHeader
	}
	return ethNone, off
}

// extractARP reads an Ethernet and IPv4 ARP or RARP body (RFC 826).
func extractARP(b []byte, k *Key) {
	if len(b) < arpLen || binary.BigEndian.Uint32(b) != 0x00010800 || b[4] != 6 || b[5] != 4 {
		return
	}
	if op := binary.BigEndian.Uint16(b[6:]); op <= 0xff {
		k[wordL4] = uint64(op) << shiftProto
	}
	k[wordSHA] = uint64(binary.BigEndian.Uint32(b[8:]))<<32 | uint64(binary.BigEndian.Uint16(b[12:]))<<16
	k[wordTHA] = uint64(binary.BigEndian.Uint32(b[18:]))<<32 | uint64(binary.BigEndian.Uint16(b[22:]))<<16
	k[wordIPv4] = uint64(binary.BigEndian.Uint32(b[14:]))<<shiftIPSrc | uint64(binary.BigEndian.Uint32(b[24:]))
}

// extractIPv4 reads the IPv4 header at off (RFC 791). n is the frame's length, which may exceed the window's; false says
// that it does and matters.
func extractIPv4(h []byte, n, off int, d depth, k *Key) bool {
	if len(h) < off+ipv4Header {
		return n < off+ipv4Header
	}
	b := h[off:]
	ihl := int(b[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if ihl < ipv4Header || ihl > total || total > n-off {
		return true
	}
	k[wordIPv4] = uint64(binary.BigEndian.Uint32(b[12:]))<<shiftIPSrc | uint64(binary.BigEndian.Uint32(b[16:]))
	w := uint64(b[9])<<shiftProto | uint64(b[1])<<shiftTOS | uint64(b[8])<<shiftTTL
	frag := uint64(0)
	if f := binary.BigEndian.Uint16(b[6:]); f&ipv4FragBits != 0 {
		frag = fragAny
		if f&ipv4Offset != 0 {
			frag = fragMask
		}
	}
	k[wordL4] = w | frag<<shiftFrag
	if d != depthL4 || frag&fragLater != 0 {
		return true
	}
	return extractL4(h[min(off+ihl, len(h)):], total-ihl, b[9], k)
}

// l4Headers is how much of a protocol's header must be there for its fields to count.
var l4Headers = [256]uint8{
	protoTCP: tcpHeader, protoUDP: udpHeader, protoSCTP: sctpHeader,
	protoICMP: icmpHeader, protoIGMP: icmpHeader, protoICMP6: icmpHeader,
}

// extractL4 reads the ports, or type and code, of the header in h, of which n bytes exist in the datagram. A header
// that is cut short by the datagram leaves them zero. So does a TCP data offset that cannot be. It reports false when
// the window is what cuts the header.
func extractL4(h []byte, n int, proto uint8, k *Key) bool {
	need := int(l4Headers[proto])
	if n < need || need == 0 {
		return true
	}
	if len(h) < need {
		return false
	}
	switch proto {
	case protoTCP:
		if offset := int(h[12]>>4) * 4; offset >= tcpHeader && offset <= n { // RFC 9293 §3.1
			k[wordL4] |= uint64(binary.BigEndian.Uint32(h))
			k[wordSrc] |= uint64(binary.BigEndian.Uint16(h[12:]) & 0xfff)
		}
	case protoUDP, protoSCTP:
		k[wordL4] |= uint64(binary.BigEndian.Uint32(h))
	default:
		k[wordL4] |= uint64(h[0])<<shiftTPSrc | uint64(h[1])
	}
	return true
}
