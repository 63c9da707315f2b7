package main

import "encoding/binary"

// Frames are UDP in IPv4 of the least length: 60 bytes without the frame check sequence, 64 on a wire.
const (
	frameLen = 60

	offEtherType = 12
	offIP        = 14
	offTTL       = offIP + 8
	offProto     = offIP + 9
	offIPSum     = offIP + 10
	offSrc       = offIP + 12
	offDst       = offIP + 16
	offUDP       = offIP + 20
	offSrcPort   = offUDP
	offDstPort   = offUDP + 2
	offUDPLen    = offUDP + 4
	offMark      = offUDP + 8 // the payload: mark, then the stream's number
	offStream    = offMark + 4
	offStamp     = offStream + 1 // when it was sent, 8 bytes

	mark = 0x57656674 // tells our frames from others
)

// tuple is what tells flows apart.
type tuple struct {
	src, dst         uint32
	srcPort, dstPort uint16
}

// newFrame makes a frame with everything that is the same in all of them. The UDP checksum is absent (RFC 768).
func newFrame() []byte {
	f := make([]byte, frameLen)
	copy(f, []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}) // locally administered addresses
	binary.BigEndian.PutUint16(f[offEtherType:], 0x0800)
	f[offIP] = 0x45
	binary.BigEndian.PutUint16(f[offIP+2:], frameLen-offIP)
	f[offTTL], f[offProto] = 64, 17
	binary.BigEndian.PutUint16(f[offUDPLen:], frameLen-offUDP)
	binary.BigEndian.PutUint32(f[offMark:], mark)
	return f
}

// constantSum is the sum of the 16-bit words of newFrame's IPv4 header: version, length, TTL and protocol.
const constantSum = 0x4500 + (frameLen - offIP) + (64<<8 | 17)

// setTuple writes addresses, ports and the stream's number into a frame, and the header checksum (RFC 1071).
func setTuple(f []byte, t tuple, stream byte) {
	_ = f[frameLen-1]
	binary.BigEndian.PutUint32(f[offSrc:], t.src)
	binary.BigEndian.PutUint32(f[offDst:], t.dst)
	binary.BigEndian.PutUint16(f[offSrcPort:], t.srcPort)
	binary.BigEndian.PutUint16(f[offDstPort:], t.dstPort)
	f[offStream] = stream
	sum := uint32(constantSum) + t.src>>16 + t.src&0xffff + t.dst>>16 + t.dst&0xffff
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	binary.BigEndian.PutUint16(f[offIPSum:], ^uint16(sum))
}

// setStations writes the addresses of two stations into a frame: locally administered ones, told apart by 32 bits.
func setStations(f []byte, dst, src uint32) {
	binary.BigEndian.PutUint32(f[2:], dst)
	binary.BigEndian.PutUint32(f[8:], src)
}

// streamOf is the number of the stream that a received frame belongs to; found is false for a frame of others.
func streamOf(f []byte) (stream byte, found bool) {
	if len(f) != frameLen || binary.BigEndian.Uint32(f[offMark:]) != mark {
		return 0, false
	}
	return f[offStream], true
}

// setStamp and stampOf are when a frame was sent, in nanoseconds since some time.
func setStamp(f []byte, ns uint64) { binary.BigEndian.PutUint64(f[offStamp:], ns) }
func stampOf(f []byte) uint64      { return binary.BigEndian.Uint64(f[offStamp:]) }

// Addresses of the load.
const (
	knownNet  = 10<<24 | 253<<16 // destinations of known flows: 10.253.0.0 + n
	freshNet  = 10<<24 | 254<<16 // destinations of fresh flows: 10.254.0.0/16
	freshFrom = 172<<24 | 16<<16 // sources of fresh flows: 172.16.0.0/12
	knownFrom = 10<<24 | 252<<16
)

// generator is the i-th frame of a stream.
type generator func(i uint64) tuple

// known goes round n flows, one for each destination.
func known(n uint64) generator {
	return func(i uint64) tuple {
		i %= n
		return tuple{src: knownFrom + uint32(i&0xff), dst: knownNet + uint32(i), srcPort: 1024 + uint16(i), dstPort: 4789}
	}
}

// freshBits is how many bits of source address and port tell fresh flows apart: 20 and 16.
const freshBits = 36

// fresh never comes to the same source address and port twice before it has been through all 2^36, and goes through them
// in an order in which neighbours differ in many bits.
func fresh(i uint64) tuple {
	const odd = 0x9e3779b97f4a7c15 // of Fibonacci hashing; any odd factor permutes the numbers below 2^36
	x := i * odd & (1<<freshBits - 1)
	return tuple{
		src: freshFrom | uint32(x>>16), srcPort: uint16(x),
		dst: freshNet | uint32(x>>16&0xffff), dstPort: 53,
	}
}
