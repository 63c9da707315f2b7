package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// IPType is the type of an IP header in a transmit descriptor: IIPT of a data descriptor, EIPT of a context descriptor.
type IPType uint8

// The values of both fields.
const (
	IPNone IPType = iota
	IPv6
	IPv4
	IPv4Checksum // the silicon computes the header checksum
)

// L4Type is L4T of a data descriptor.
type L4Type uint8

// The values of the field.
const (
	L4None L4Type = iota
	L4TCP
	L4SCTP
	L4UDP
)

// protocol is the IP protocol number of the type.
func (t L4Type) protocol() uint8 {
	switch t {
	case L4TCP:
		return ProtoTCP
	case L4SCTP:
		return ProtoSCTP
	case L4UDP:
		return ProtoUDP
	case L4None:
	}
	return 0
}

// TunnelType is L4TUNT of a context descriptor.
type TunnelType uint8

// The values of the field; 3 is reserved.
const (
	OverNone TunnelType = iota
	OverUDP
	OverGRE
)

// Offload is what the descriptors say of a packet's headers. The headers follow each other: MACLen bytes, the outer IP
// header if there is one, the tunnel header with the inner MAC header, the (inner) IP header, the L4 header.
type Offload struct {
	MACLen      int
	OuterIP     IPType
	OuterIPLen  int
	Tunnel      TunnelType
	TunnelLen   int
	KeepOuterID bool // EIP_NOINC: the outer IPv4 identification is the same in all segments
	IP          IPType
	IPLen       int
	L4          L4Type
	L4Len       int
}

// Offsets of the headers in bytes.
func (o *Offload) outerAt() int  { return o.MACLen }
func (o *Offload) tunnelAt() int { return o.MACLen + o.OuterIPLen }
func (o *Offload) ipAt() int     { return o.tunnelAt() + o.TunnelLen }
func (o *Offload) l4At() int     { return o.ipAt() + o.IPLen }

// HeaderLen is where the payload begins.
func (o *Offload) HeaderLen() int { return o.l4At() + o.L4Len }

// Errors of [Offload.Check].
var (
	ErrHeaderLength = errors.New("header lengths do not fit")
	ErrCombination  = errors.New("offloads do not go together")
)

// Check says what is wrong with the lengths and types themselves, for a packet of n bytes.
func (o *Offload) Check(n int) error {
	switch {
	case o.OuterIP == IPNone && (o.OuterIPLen != 0 || o.TunnelLen != 0 || o.Tunnel != OverNone):
		return fmt.Errorf("%w: a tunnel without an outer IP type", ErrCombination)
	case o.Tunnel > OverGRE:
		return fmt.Errorf("%w: tunnel type %d is reserved", ErrCombination, o.Tunnel)
	case o.L4 != L4None && o.IP == IPNone:
		return fmt.Errorf("%w: an L4 type without an IP type", ErrCombination)
	case o.OuterIP == IPNone && o.IP == IPNone:
		return nil
	case o.MACLen < macHeaderLen:
		return fmt.Errorf("%w: MACLEN is %d bytes", ErrHeaderLength, o.MACLen)
	case o.Tunnel == OverUDP && o.TunnelLen < udpHeaderLen, o.Tunnel == OverGRE && o.TunnelLen < greLen:
		return fmt.Errorf("%w: the tunnel header is %d bytes", ErrHeaderLength, o.TunnelLen)
	}
	if err := checkIPLen("EIPLEN", o.OuterIP, o.OuterIPLen); err != nil {
		return err
	}
	if err := checkIPLen("IPLEN", o.IP, o.IPLen); err != nil {
		return err
	}
	if err := o.checkL4(); err != nil {
		return err
	}
	end := o.ipAt()
	switch {
	case o.L4 != L4None:
		end = o.HeaderLen()
	case o.IP != IPNone:
		end = o.l4At()
	}
	if end > n {
		return fmt.Errorf("%w: the headers take %d bytes, and the packet has %d", ErrHeaderLength, end, n)
	}
	return nil
}

func checkIPLen(name string, t IPType, n int) error {
	switch {
	case t == IPv6 && n < ipv6HeaderLen, (t == IPv4 || t == IPv4Checksum) && (n < ipv4HeaderLen || n > 60):
		return fmt.Errorf("%w: %s is %d bytes", ErrHeaderLength, name, n)
	}
	return nil
}

func (o *Offload) checkL4() error {
	n := o.L4Len
	if o.L4 == L4TCP && n < tcpHeaderLen || o.L4 == L4UDP && n != udpHeaderLen || o.L4 == L4SCTP && n != sctpHeaderLen {
		return fmt.Errorf("%w: L4LEN is %d bytes", ErrHeaderLength, n)
	}
	return nil
}

// Mismatch says where the headers in b are not what the descriptors call them, or "" if they are: the silicon would
// compute a wrong checksum in silence. L4LEN of TCP matters for segmentation alone (DPDK always says 20 without it).
// The lengths have passed Check.
func (o *Offload) Mismatch(b []byte, segmenting bool) string {
	for _, h := range []struct {
		name string
		t    IPType
		at   int
		n    int
	}{{"outer IP", o.OuterIP, o.outerAt(), o.OuterIPLen}, {"IP", o.IP, o.ipAt(), o.IPLen}} {
		version := b[min(h.at, len(b)-1)] >> 4
		switch {
		case h.t == IPNone:
		case h.t == IPv6 && version != 6, h.t != IPv6 && version != 4:
			return fmt.Sprintf("the %s header at %d has version %d, and the descriptor says otherwise", h.name, h.at, version)
		case h.t != IPv6 && int(b[h.at]&0xF)*4 != h.n:
			return fmt.Sprintf("the %s header at %d has IHL %d, and the descriptor says %d bytes",
				h.name, h.at, b[h.at]&0xF, h.n)
		}
	}
	proto := o.L4.protocol()
	switch {
	case o.L4 == L4None:
	case o.IP != IPv6 && b[o.ipAt()+9] != proto:
		return fmt.Sprintf("the IP header says protocol %d, and the descriptor %d", b[o.ipAt()+9], proto)
	case segmenting && o.L4 == L4TCP && int(b[o.l4At()+12]>>4)*4 != o.L4Len:
		return fmt.Sprintf("the TCP header has data offset %d, and the descriptor says %d bytes", b[o.l4At()+12]>>4, o.L4Len)
	}
	return ""
}

// Insert computes the checksums that the descriptors ask for and stores them in b. The L4 checksum field must hold the
// sum of the pseudo header, length included, as software is to leave it; the others may hold anything. The lengths have
// passed Check.
func (o *Offload) Insert(b []byte) {
	if o.OuterIP == IPv4Checksum {
		putIPv4Checksum(b[o.outerAt() : o.outerAt()+o.OuterIPLen])
	}
	if o.IP == IPv4Checksum {
		putIPv4Checksum(b[o.ipAt() : o.ipAt()+o.IPLen])
	}
	if o.L4 != L4None {
		o.insertL4(b[o.l4At():o.datagramEnd(b)])
	}
}

// datagramEnd is where the innermost datagram ends by its own length field: padding is not part of the checksum.
func (o *Offload) datagramEnd(b []byte) int {
	at, end := o.ipAt(), len(b)
	switch o.IP {
	case IPNone:
	case IPv6:
		end = at + ipv6HeaderLen + int(binary.BigEndian.Uint16(b[at+4:]))
	case IPv4, IPv4Checksum:
		end = at + int(binary.BigEndian.Uint16(b[at+2:]))
	}
	if end < o.HeaderLen() || end > len(b) {
		return len(b)
	}
	return end
}

// insertL4 completes the checksum of an L4 header and its payload.
func (o *Offload) insertL4(segment []byte) {
	switch o.L4 {
	case L4None:
	case L4TCP:
		binary.BigEndian.PutUint16(segment[tcpChecksumAt:], ^fold(sum(segment)))
	case L4UDP:
		c := ^fold(sum(segment))
		if c == 0 {
			c = 0xFFFF // zero would mean "no checksum" (RFC 768)
		}
		binary.BigEndian.PutUint16(segment[udpChecksumAt:], c)
	case L4SCTP:
		binary.LittleEndian.PutUint32(segment[sctpChecksumAt:], sctpChecksum(segment))
	}
}

func putIPv4Checksum(h []byte) {
	binary.BigEndian.PutUint16(h[ipv4ChecksumAt:], 0)
	binary.BigEndian.PutUint16(h[ipv4ChecksumAt:], ^fold(sum(h)))
}
