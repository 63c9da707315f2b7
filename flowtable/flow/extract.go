package flow

import (
	"encoding/binary"

	"weft/internal/packet"
)

// Depth is how far into a frame extraction goes: as far as the loaded rules look.
type Depth uint8

const (
	DepthPort Depth = iota // not into the frame at all
	depthL2
	depthL3
	DepthL4
	DepthND // the options of neighbour discovery
)

// DepthOf is the depth that fills in all bits of mask.
func DepthOf(mask *Key) Depth {
	const portOnly = uint64(0xffffffff) << ShiftInPort
	const l4 = uint64(0xffffffff)
	const tcpFlags = uint64(0xffff)
	switch {
	case mask[WordND]|mask[WordND+1]|mask[WordSHA]|mask[WordTHA] != 0:
		return DepthND
	case mask[WordL4]&l4 != 0 || mask[WordSrc]&tcpFlags != 0:
		return DepthL4
	case mask[WordIPv4]|mask[WordL4]|mask[WordMPLS]|mask[WordLabel] != 0,
		mask[WordIPv6S]|mask[WordIPv6S+1]|mask[WordIPv6D]|mask[WordIPv6D+1] != 0:
		return depthL3
	case mask[WordPort]&^portOnly|mask[WordDst]|mask[WordSrc] != 0:
		return depthL2
	}
	return DepthPort
}

const (
	EthHeader    = 14
	snapHeader   = 8 // LLC 3, SNAP 5 (IEEE 802-2014 §9)
	arpLen       = 28
	ipv4Header   = 20
	IPv6Header   = 40
	TCPHeader    = 20
	udpHeader    = 8
	sctpHeader   = 12
	icmpHeader   = 8
	ipv4FragBits = 0x3fff // more-fragments flag and offset (RFC 791 §3.1)
	ipv4Offset   = 0x1fff
)

// ExtractPacket fills k with what the frame of p says, as deep as everything that rules can look at. The frame is not
// trusted: whatever is cut short or contradicts itself leaves the fields from there on zero, as Open vSwitch does.
func ExtractPacket(p *packet.Packet, inPort uint32, k *Key) {
	Extract(p.Header(), p.Len(), inPort, DepthND, k)
}

// Visible is as much of p's window as is looked at: frames that lie in one piece do not get further than others, nor can
// they make the walk along a chain of headers long.
func Visible(p *packet.Packet) []byte {
	h := p.Header()
	if len(h) > packet.MaxWindow {
		h = h[:packet.MaxWindow]
	}
	return h
}

// Extract reads the header window h of a frame of n bytes into k. It reports whether the window was long enough: false
// means that fields of the protocol or the transport header are missing which the frame may well have.
func Extract(h []byte, n int, inPort uint32, d Depth, k *Key) bool {
	*(*PacketKey)(k[:PacketWords]) = PacketKey{}
	k[WordPort] = uint64(inPort) << ShiftInPort
	if d == DepthPort || len(h) < EthHeader {
		return true
	}
	k[WordDst] = uint64(binary.BigEndian.Uint32(h))<<32 | uint64(binary.BigEndian.Uint16(h[4:]))<<16
	k[WordSrc] = uint64(binary.BigEndian.Uint32(h[6:]))<<32 | uint64(binary.BigEndian.Uint16(h[10:]))<<16
	off := 12
	t := binary.BigEndian.Uint16(h[off:])
	if t == EthVLAN || t == EthQinQ {
		off = extractTags(h, k)
		t = binary.BigEndian.Uint16(h[off:])
	}
	off += 2
	if t < ethMin {
		t, off = snapType(h, off)
	}
	k[WordPort] |= uint64(t) << ShiftEthType
	if d == depthL2 {
		return true
	}
	switch t {
	case EthIPv4:
		return extractIPv4(h, n, off, d, k)
	case EthIPv6:
		return extractIPv6(h, n, off, d, k)
	case EthARP, EthRARP:
		extractARP(h[off:], k)
	case EthMPLS, EthMPLSMC:
		return extractMPLS(h, n, off, d, k)
	}
	return true
}

// extractTags reads up to two tags and returns where the EtherType behind them lies. A tag counts when the next
// EtherType is there too.
func extractTags(h []byte, k *Key) int {
	off := 12
	for i := 0; i < 2; i++ {
		t := binary.BigEndian.Uint16(h[off:])
		if t != EthVLAN && t != EthQinQ || len(h) < off+6 {
			break
		}
		tci := uint64(binary.BigEndian.Uint16(h[off+2:]) | VLANPresent)
		if i == 0 {
			k[WordPort] |= tci
		} else {
			k[WordDst] |= tci
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
		k[WordL4] = uint64(op) << ShiftProto
	}
	k[WordSHA] = uint64(binary.BigEndian.Uint32(b[8:]))<<32 | uint64(binary.BigEndian.Uint16(b[12:]))<<16
	k[WordTHA] = uint64(binary.BigEndian.Uint32(b[18:]))<<32 | uint64(binary.BigEndian.Uint16(b[22:]))<<16
	k[WordIPv4] = uint64(binary.BigEndian.Uint32(b[14:]))<<ShiftIPSrc | uint64(binary.BigEndian.Uint32(b[24:]))
}

// extractIPv4 reads the IPv4 header at off (RFC 791). n is the frame's length, which may exceed the window's; false says
// that it does and matters.
func extractIPv4(h []byte, n, off int, d Depth, k *Key) bool {
	if len(h) < off+ipv4Header {
		return n < off+ipv4Header
	}
	b := h[off:]
	ihl := int(b[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if ihl < ipv4Header || ihl > total || total > n-off {
		return true
	}
	k[WordIPv4] = uint64(binary.BigEndian.Uint32(b[12:]))<<ShiftIPSrc | uint64(binary.BigEndian.Uint32(b[16:]))
	w := uint64(b[9])<<ShiftProto | uint64(b[1])<<ShiftTOS | uint64(b[8])<<ShiftTTL
	frag := uint64(0)
	if f := binary.BigEndian.Uint16(b[6:]); f&ipv4FragBits != 0 {
		frag = fragAny
		if f&ipv4Offset != 0 {
			frag = fragMask
		}
	}
	k[WordL4] = w | frag<<ShiftFrag
	if d < DepthL4 || frag&FragLater != 0 {
		return true
	}
	return extractL4(h[min(off+ihl, len(h)):], total-ihl, b[9], k)
}

// l4Headers is how much of a protocol's header must be there for its fields to count.
var l4Headers = [256]uint8{
	ProtoTCP: TCPHeader, ProtoUDP: udpHeader, ProtoSCTP: sctpHeader,
	ProtoICMP: icmpHeader, ProtoIGMP: icmpHeader, ProtoICMP6: icmpHeader,
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
	case ProtoTCP:
		if offset := int(h[12]>>4) * 4; offset >= TCPHeader && offset <= n { // RFC 9293 §3.1
			k[WordL4] |= uint64(binary.BigEndian.Uint32(h))
			k[WordSrc] |= uint64(binary.BigEndian.Uint16(h[12:]) & 0xfff)
		}
	case ProtoUDP, ProtoSCTP:
		k[WordL4] |= uint64(binary.BigEndian.Uint32(h))
	default:
		k[WordL4] |= uint64(h[0])<<ShiftTPSrc | uint64(h[1])
	}
	return true
}
