package flow

import "encoding/binary"

// Label stack entries (RFC 3032 §2.1): label 20 bits, traffic class 3, bottom of stack 1, TTL 8.
const (
	lseLen    = 4
	lseBottom = 1 << 8

	// KeyLabels is how many entries a key holds, as in Open vSwitch.
	KeyLabels = 3

	// maxLabels is how deep a stack is looked through for what is under it.
	maxLabels = 16
)

// extractMPLS reads the label stack at off. What is under it is read as well, as IPv4 or IPv6 by its first four bits
// (RFC 4928 §2), so that rules can look at it once pop_mpls has said what it is.
func extractMPLS(h []byte, n, off int, d Depth, k *Key) bool {
	for i := range maxLabels {
		if len(h) < off+lseLen {
			return n < off+lseLen
		}
		lse := binary.BigEndian.Uint32(h[off:])
		off += lseLen
		switch i {
		case 0:
			k[WordMPLS] = uint64(lse) << ShiftLSE
		case 1:
			k[WordMPLS] |= uint64(lse)
		case 2:
			k[WordLabel] = uint64(lse) << ShiftLSE
		}
		if lse&lseBottom != 0 {
			return extractUnderLabels(h, n, off, d, k)
		}
	}
	return true
}

func extractUnderLabels(h []byte, n, off int, d Depth, k *Key) bool {
	if len(h) <= off {
		return n <= off
	}
	switch h[off] >> 4 {
	case 4:
		return extractIPv4(h, n, off, d, k)
	case 6:
		return extractIPv6(h, n, off, d, k)
	}
	return true
}
