package frame

import (
	"encoding/binary"
	"hash/crc32"
)

// castagnoli is the polynomial of SCTP's checksum (RFC 9260 appendix A).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Offsets of checksum fields in their headers, in bytes.
const (
	ipv4ChecksumAt = 10
	tcpChecksumAt  = 16
	udpChecksumAt  = 6
	sctpChecksumAt = 8
)

// Checks is the checksum status of a received frame.
type Checks struct {
	Checked      bool // L3L4P: there was an IP header, and what follows holds
	Rewritten    bool // IPV6EXADD: an extension header kept the L4 checksum from being verified
	BadIP        bool // IPE: the innermost IPv4 header
	BadOuterIP   bool // EIPE: the IPv4 header of the tunnel
	BadL4        bool // L4E: the innermost TCP, UDP or SCTP checksum
	UDPZero      bool // INT_UDP_0: the innermost UDP header has no checksum
	OuterUDPZero bool // EXT_UDP_0: the tunnel's UDP header has no checksum
}

// Verify checks what the silicon checks in the frame b that l was parsed from: IPv4 headers and the innermost TCP, UDP
// or SCTP checksum, unless the datagram is a fragment. The checksum of a tunnel's UDP header is not checked.
func (l *Layers) Verify(b []byte) Checks {
	var c Checks
	if l.Outer.Version == 0 && l.IP.Version == 0 {
		return c
	}
	c.Checked = true
	c.BadOuterIP = l.Outer.Version == 4 && !ipv4HeaderGood(b, l.Outer)
	c.BadIP = l.IP.Version == 4 && !ipv4HeaderGood(b, l.IP)
	c.Rewritten = l.IP.Rewritten || l.Outer.Rewritten
	if l.OuterUDP != 0 {
		c.OuterUDPZero = binary.BigEndian.Uint16(b[l.OuterUDP+udpChecksumAt:]) == 0
	}
	if l.L4.Protocol == 0 || l.IP.Rewritten {
		return c
	}
	segment := b[l.L4.Offset:l.IP.End]
	switch l.L4.Protocol {
	case ProtoTCP:
		c.BadL4 = fold(pseudoSum(b, l.IP, len(segment))+sum(segment)) != 0xFFFF
	case ProtoUDP:
		c.BadL4, c.UDPZero = verifyUDP(b, l.IP, segment)
	case ProtoSCTP:
		c.BadL4 = sctpChecksum(segment) != binary.LittleEndian.Uint32(segment[sctpChecksumAt:])
	}
	return c
}

// verifyUDP covers what the UDP header's own length says.
func verifyUDP(b []byte, ip IP, segment []byte) (bad, zero bool) {
	length := int(binary.BigEndian.Uint16(segment[4:]))
	if length < udpHeaderLen || length > len(segment) {
		return true, false
	}
	if binary.BigEndian.Uint16(segment[udpChecksumAt:]) == 0 {
		return ip.Version == 6, true // RFC 8200 §8.1: not allowed over IPv6
	}
	return fold(pseudoSum(b, ip, length)+sum(segment[:length])) != 0xFFFF, false
}

func ipv4HeaderGood(b []byte, h IP) bool {
	return fold(sum(b[h.Offset:h.Offset+h.Len])) == 0xFFFF
}

// sum adds b as big-endian 16-bit words (RFC 1071); an odd last byte counts as the upper half of a word.
func sum(b []byte) uint64 {
	var s uint64
	for len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

// fold reduces a sum to 16 bits in one's complement.
func fold(s uint64) uint16 {
	for s > 0xFFFF {
		s = s>>16 + s&0xFFFF
	}
	return uint16(s)
}

// pseudoSum is the sum of the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1) of length bytes of transport.
func pseudoSum(b []byte, ip IP, length int) uint64 {
	src, dst := addresses(b, ip)
	return sum(src) + sum(dst) + uint64(ip.Protocol) + uint64(length)
}

// addresses returns source and destination of an IP header.
func addresses(b []byte, ip IP) (src, dst []byte) {
	if ip.Version == 4 {
		return b[ip.Offset+12 : ip.Offset+16], b[ip.Offset+16 : ip.Offset+20]
	}
	return b[ip.Offset+8 : ip.Offset+24], b[ip.Offset+24 : ip.Offset+40]
}

// sctpChecksum is the checksum of an SCTP packet, its own field taken as zero.
func sctpChecksum(b []byte) uint32 {
	var zero [4]byte
	c := crc32.Update(0, castagnoli, b[:sctpChecksumAt])
	c = crc32.Update(c, castagnoli, zero[:])
	return crc32.Update(c, castagnoli, b[sctpHeaderLen:])
}
