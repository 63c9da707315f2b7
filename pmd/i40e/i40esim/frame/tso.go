package frame

import "encoding/binary"

// FlagMasks are the TCP flags that segmentation clears (registers GLLAN_TSOMSK_F, _M and _L): 12 bits, as in bytes 12
// and 13 of the TCP header.
type FlagMasks struct {
	First, Middle, Last uint16
}

// DefaultFlagMasks are the masks after reset: FIN and PSH in the last segment alone, CWR in the first alone.
func DefaultFlagMasks() FlagMasks {
	const fin, psh, cwr = 0x01, 0x08, 0x80
	return FlagMasks{First: fin | psh, Middle: fin | psh | cwr, Last: cwr}
}

// Segments is how many segments a payload of n bytes makes.
func Segments(n, mss int) int { return (n + mss - 1) / mss }

// Segment cuts a packet into segments of at most mss bytes of payload, each with the headers of b: TCP segmentation, or
// UDP segmentation when L4 says so. Lengths, identifications, sequence numbers, flags and checksums are computed; the
// checksum of a tunnel's UDP header is left as it is. The L4 checksum field of b must hold the sum of the pseudo header
// without the length. The lengths have passed Check, and b has payload.
func (o *Offload) Segment(b []byte, mss int, masks FlagMasks) [][]byte {
	header := o.HeaderLen()
	payload := b[header:]
	total := Segments(len(payload), mss)
	out := make([][]byte, 0, total)
	for i := range total {
		part := payload[i*mss : min((i+1)*mss, len(payload))]
		s := make([]byte, 0, header+len(part))
		s = append(append(s, b[:header]...), part...)
		o.finishL3(s, i)
		o.finishL4(s, i, i*mss, total, masks)
		out = append(out, s)
	}
	return out
}

// finishL3 writes what differs from segment to segment in the headers below L4.
func (o *Offload) finishL3(s []byte, i int) {
	if o.Tunnel == OverUDP {
		binary.BigEndian.PutUint16(s[o.tunnelAt()+4:], uint16(len(s)-o.tunnelAt()))
	}
	step := i
	if o.KeepOuterID {
		step = 0
	}
	finishIP(s, o.OuterIP, o.outerAt(), o.OuterIPLen, step)
	finishIP(s, o.IP, o.ipAt(), o.IPLen, i)
}

// finishIP sets length, identification and checksum of the IP header at offset at.
func finishIP(s []byte, t IPType, at, n, step int) {
	switch t {
	case IPNone:
	case IPv6:
		binary.BigEndian.PutUint16(s[at+4:], uint16(len(s)-at-ipv6HeaderLen))
	case IPv4, IPv4Checksum:
		binary.BigEndian.PutUint16(s[at+2:], uint16(len(s)-at))
		id := binary.BigEndian.Uint16(s[at+4:])
		binary.BigEndian.PutUint16(s[at+4:], id+uint16(step))
		if t == IPv4Checksum {
			putIPv4Checksum(s[at : at+n])
		}
	}
}

// finishL4 writes the L4 header of segment i of total, whose payload begins offset bytes into the packet's.
func (o *Offload) finishL4(s []byte, i, offset, total int, masks FlagMasks) {
	h := s[o.l4At():]
	var checksum []byte
	switch o.L4 {
	case L4TCP:
		checksum = h[tcpChecksumAt:]
		binary.BigEndian.PutUint32(h[4:], binary.BigEndian.Uint32(h[4:])+uint32(offset))
		const flagBits = 0xFFF
		flags := binary.BigEndian.Uint16(h[12:])
		binary.BigEndian.PutUint16(h[12:], flags&^(masks.of(i, total)&flagBits))
	case L4UDP:
		checksum = h[udpChecksumAt:]
		binary.BigEndian.PutUint16(h[4:], uint16(len(h)))
	case L4None, L4SCTP:
		return
	}
	seed := uint64(binary.BigEndian.Uint16(checksum)) + uint64(len(h))
	binary.BigEndian.PutUint16(checksum, fold(seed))
	o.insertL4(h)
}

// of returns the mask for segment i of total. The only segment is first and last at once and keeps what either keeps.
func (m FlagMasks) of(i, total int) uint16 {
	switch {
	case total == 1:
		return m.First & m.Last
	case i == 0:
		return m.First
	case i == total-1:
		return m.Last
	}
	return m.Middle
}
