//go:build i40e

package i40e

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// flow is what the test's own frames carry. It is written down here once more, apart from the model's code, so that a
// mistake there does not cancel itself out.
type flow struct {
	vlan             int // 0 for an untagged frame
	src, dst         netip.Addr
	protocol         byte // protoTCP or protoUDP
	srcPort, dstPort uint16
	seq              uint32 // of TCP
	id               uint16 // of IPv4
	payload          []byte
}

// Numbers of protocols (IANA) and lengths of headers.
const (
	protoTCP  = 6
	protoUDP  = 17
	etherVLAN = 0x8100
	etherIPv4 = 0x0800
	etherLen  = 14
	vlanLen   = 4
	ipLen     = 20
	tcpLen    = 20
	udpLen    = 8
)

// macs of the frames: to whom does not matter to a port that is promiscuous.
var testMACs = []byte{0x02, 0, 0, 0, 0, 0xbb, 0x02, 0, 0, 0, 0, 0xaa}

// frame builds the frame, with right checksums.
func (f *flow) frame() []byte {
	b := append([]byte(nil), testMACs...)
	if f.vlan > 0 {
		b = binary.BigEndian.AppendUint16(b, etherVLAN)
		b = binary.BigEndian.AppendUint16(b, uint16(f.vlan))
	}
	b = binary.BigEndian.AppendUint16(b, etherIPv4)
	l4 := f.segment()
	ip := make([]byte, ipLen)
	ip[0], ip[8], ip[9] = 0x45, 64, f.protocol
	binary.BigEndian.PutUint16(ip[2:], uint16(ipLen+len(l4)))
	binary.BigEndian.PutUint16(ip[4:], f.id)
	copy(ip[12:], f.src.AsSlice())
	copy(ip[16:], f.dst.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], fold(sum(0, ip)))
	b = append(append(b, ip...), l4...)
	for len(b) < 60 {
		b = append(b, 0)
	}
	return b
}

// segment builds the TCP segment or UDP datagram.
func (f *flow) segment() []byte {
	var h []byte
	at := 6 // of UDP's checksum
	if f.protocol == protoTCP {
		h = make([]byte, tcpLen)
		binary.BigEndian.PutUint32(h[4:], f.seq)
		h[12], h[13], at = tcpLen/4<<4, 0x18, 16 // ACK and PSH
		binary.BigEndian.PutUint16(h[14:], 0xffff)
	} else {
		h = make([]byte, udpLen)
		binary.BigEndian.PutUint16(h[4:], uint16(udpLen+len(f.payload)))
	}
	binary.BigEndian.PutUint16(h, f.srcPort)
	binary.BigEndian.PutUint16(h[2:], f.dstPort)
	l4 := append(h, f.payload...)
	c := fold(f.pseudo(len(l4)) + sum(0, l4))
	if c == 0 && f.protocol == protoUDP {
		c = 0xffff // RFC 768: zero means no checksum
	}
	binary.BigEndian.PutUint16(l4[at:], c)
	return l4
}

// pseudo is the sum over the pseudo header (RFC 793, RFC 768).
func (f *flow) pseudo(n int) uint32 {
	return sum(sum(uint32(f.protocol)+uint32(n), f.src.AsSlice()), f.dst.AsSlice())
}

func sum(s uint32, b []byte) uint32 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// parseFrame takes a frame apart and checks every checksum in it.
func parseFrame(b []byte) (f flow, err error) {
	if len(b) < etherLen+ipLen {
		return f, fmt.Errorf("a frame of %d bytes is not one of ours", len(b))
	}
	at := etherLen
	kind := binary.BigEndian.Uint16(b[12:])
	if kind == etherVLAN {
		f.vlan = int(binary.BigEndian.Uint16(b[14:]) & 0xfff)
		kind = binary.BigEndian.Uint16(b[16:])
		at += vlanLen
	}
	ip := b[at:]
	if kind != etherIPv4 || len(ip) < ipLen || ip[0] != 0x45 {
		return f, fmt.Errorf("ethertype %#04x, not an IPv4 packet of ours: % x", kind, b[:min(len(b), 40)])
	}
	n := int(binary.BigEndian.Uint16(ip[2:]))
	if n < ipLen || n > len(ip) {
		return f, fmt.Errorf("IPv4 total length %d in a frame of %d bytes", n, len(b))
	}
	if fold(sum(0, ip[:ipLen])) != 0 {
		return f, fmt.Errorf("IPv4 header checksum is wrong: % x", ip[:ipLen])
	}
	f.id, f.protocol = binary.BigEndian.Uint16(ip[4:]), ip[9]
	f.src, _ = netip.AddrFromSlice(ip[12:16])
	f.dst, _ = netip.AddrFromSlice(ip[16:20])
	l4 := ip[ipLen:n]
	header := map[byte]int{protoTCP: tcpLen, protoUDP: udpLen}[f.protocol]
	if header == 0 || len(l4) < header {
		return f, fmt.Errorf("protocol %d with %d bytes", f.protocol, len(l4))
	}
	if fold(f.pseudo(len(l4))+sum(0, l4)) != 0 {
		return f, fmt.Errorf("checksum of protocol %d is wrong: % x", f.protocol, l4[:header])
	}
	if f.protocol == protoTCP {
		f.seq = binary.BigEndian.Uint32(l4[4:])
	}
	f.srcPort, f.dstPort = binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
	f.payload = l4[header:]
	return f, nil
}

// toeplitz is the hash of RSS (Microsoft, "Verifying the RSS hash calculation"), bit by bit.
func toeplitz(key, input []byte) (hash uint32) {
	window := binary.BigEndian.Uint32(key)
	for i, b := range input {
		for bit := range 8 {
			if b&(0x80>>bit) != 0 {
				hash ^= window
			}
			window = window<<1 | uint32(key[i+4]>>(7-bit))&1
		}
	}
	return hash
}

// rssInput is what the hash of an IPv4 flow with ports covers.
func (f *flow) rssInput() []byte {
	b := append(f.src.AsSlice(), f.dst.AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, f.srcPort)
	return binary.BigEndian.AppendUint16(b, f.dstPort)
}
