package packet

import (
	"encoding/binary"
	"hash/crc32"
)

// Internet checksums are brought up to date from what changes (RFC 1624 §3, equation 3), so that a frame that was
// damaged on its way stays recognisable and its payload need not be read.

// replace16 writes v to field and accounts for it in the checksum field sum, which may be nil.
func replace16(field []byte, v uint16, sum []byte) {
	if sum != nil {
		old := binary.BigEndian.Uint16(field)
		s := uint32(^binary.BigEndian.Uint16(sum)) + uint32(^old) + uint32(v)
		s = s>>16 + s&0xffff
		s += s >> 16
		binary.BigEndian.PutUint16(sum, ^uint16(s))
	}
	binary.BigEndian.PutUint16(field, v)
}

// account brings sum up to date for a 16-bit aligned field of the packet that changes from the bytes in old to those in
// fresh.
func account(sum, old, fresh []byte) {
	if sum == nil {
		return
	}
	s := uint32(^binary.BigEndian.Uint16(sum))
	for i := 0; i < len(old); i += 2 {
		s += uint32(^binary.BigEndian.Uint16(old[i:])) + uint32(binary.BigEndian.Uint16(fresh[i:]))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	binary.BigEndian.PutUint16(sum, ^uint16(s))
}

// sum is the checksum field of a transport header if it is to be kept up to date: UDP may go without (RFC 768), and
// what comes out as 0 is then sent as 0xffff (fixUDP).
func (l *layers) sum() []byte {
	s := l.covering()
	if s != nil && l.proto == protoUDP && s[0]|s[1] == 0 {
		return nil
	}
	return s
}

// fixUDP replaces a computed checksum of 0.
func (l *layers) fixUDP(sum []byte) {
	if sum != nil && l.proto == protoUDP && sum[0]|sum[1] == 0 {
		sum[0], sum[1] = 0xff, 0xff
	}
}

// castagnoli is SCTP's polynomial (RFC 9260 appendix A).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// zeros stands for the bytes of a packet that do not change.
var zeros [1024]byte

// accountCRC brings the CRC32c in the four bytes of sum up to date: the 12 bytes of an SCTP header change by the bits in
// delta, and n bytes follow them. A CRC is linear, so that what follows need not be read.
func accountCRC(sum []byte, delta [12]byte, n int) {
	crc := ^crc32.Update(^uint32(0), castagnoli, delta[:])
	for n > 0 {
		k := min(n, len(zeros))
		crc = ^crc32.Update(^crc, castagnoli, zeros[:k])
		n -= k
	}
	binary.LittleEndian.PutUint32(sum, binary.LittleEndian.Uint32(sum)^crc)
}
