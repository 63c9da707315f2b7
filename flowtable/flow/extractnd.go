package flow

import "encoding/binary"

// Neighbour discovery (RFC 4861 §4.3, §4.4, §4.6.1): type 1, code 1, checksum 2, reserved 4, target 16, then options,
// each with its type and its length in units of 8 bytes.
const (
	ndHeader    = 24
	ndOption    = 8
	ndOptSource = 1
	ndOptTarget = 2
)

// extractND reads the target and the link-layer address options of a neighbour solicitation or advertisement, of which n
// bytes exist in the datagram and those in h lie in the window. A message that names an address twice has none, nor a
// target, as in Open vSwitch. It reports false when the window is what cuts the message.
func extractND(h []byte, n int, k *Key) bool {
	if n < ndHeader {
		return true
	}
	if len(h) < ndHeader {
		return len(h) >= 2 && !isND(h)
	}
	if !isND(h) {
		return true
	}
	target := [2]uint64{binary.BigEndian.Uint64(h[8:]), binary.BigEndian.Uint64(h[16:])}
	var source, dest uint64
	for h, n = h[ndHeader:], n-ndHeader; n >= ndOption; {
		if len(h) < 2 {
			return false
		}
		size := int(h[1]) * ndOption
		if size == 0 || size > n {
			break
		}
		if len(h) < size {
			return false
		}
		if size == ndOption {
			address := &source
			switch h[0] {
			case ndOptTarget:
				address = &dest
				fallthrough
			case ndOptSource:
				if *address != 0 {
					return true
				}
				*address = uint64(binary.BigEndian.Uint16(h[2:]))<<32 | uint64(binary.BigEndian.Uint32(h[4:]))
			}
		}
		h, n = h[size:], n-size
	}
	k[WordND], k[WordND+1] = target[0], target[1]
	k[WordSHA], k[WordTHA] = source<<ShiftEth, dest<<ShiftEth
	return true
}

// isND reports whether an ICMPv6 message is a neighbour solicitation or advertisement.
func isND(h []byte) bool { return (h[0] == ndSolicit || h[0] == ndAdvert) && h[1] == 0 }
