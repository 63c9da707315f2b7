package frame

import (
	"encoding/binary"
	"math/bits"
)

// HashKeyLen is the length of the hash key in bytes: the 13 registers PFQF_HKEY, register 0 first, each little-endian.
const HashKeyLen = 52

// fieldWords is the length of the field vector in 16-bit words.
const fieldWords = 64

// First words of the fields in the vector (XL710 datasheet, "Field vector").
const (
	wordDstMAC    = 0
	wordSrcMAC    = 3
	wordInnerTag  = 8
	wordTOS       = 9  // IPv4: version, IHL, TOS; IPv6: version, traffic class, flow label
	wordIPv6Next  = 12 // IPv6: next header, hop limit
	wordIPv4Proto = 13 // IPv4: TTL, protocol
	wordSrcIPv6   = 13
	wordSrcIPv4   = 15
	wordDstIPv6   = 21
	wordDstIPv4   = 27
	wordSrcPort   = 29
	wordDstPort   = 30
	wordSCTPTag   = 31
	wordOuterTag  = 37
	wordTunnelMAC = 39 // inner destination
	wordTunnelSrc = 42 // UDP ports of the tunnel
	wordTunnelDst = 43
	wordTunnelID  = 44
	wordEtherType = 49
)

// FieldVector is what the parser extracts of a frame for the hash and the flow director. Word n is bit 63-n of an
// InputSet.
type FieldVector [fieldWords]uint16

// InputSet chooses words of the field vector, as the registers GLQF_HASH_INSET and PRTQF_FD_INSET do: register 0 is the
// lower half.
type InputSet uint64

// Input sets of single fields.
const (
	SetSrcIPv4   InputSet = 3 << (62 - wordSrcIPv4)
	SetDstIPv4   InputSet = 3 << (62 - wordDstIPv4)
	SetSrcIPv6   InputSet = 0xFF << (56 - wordSrcIPv6)
	SetDstIPv6   InputSet = 0xFF << (56 - wordDstIPv6)
	SetSrcPort   InputSet = 1 << (63 - wordSrcPort)
	SetDstPort   InputSet = 1 << (63 - wordDstPort)
	SetSCTPTag   InputSet = 3 << (62 - wordSCTPTag)
	SetEtherType InputSet = 1 << (63 - wordEtherType)
)

// defaultSets are the input sets after reset; a classifier type that is no key has none.
var defaultSets = map[PCType]InputSet{
	PCTypeIPv4UDP:   SetSrcIPv4 | SetDstIPv4 | SetSrcPort | SetDstPort,
	PCTypeIPv4TCP:   SetSrcIPv4 | SetDstIPv4 | SetSrcPort | SetDstPort,
	PCTypeIPv4SCTP:  SetSrcIPv4 | SetDstIPv4 | SetSrcPort | SetDstPort | SetSCTPTag,
	PCTypeIPv4Other: SetSrcIPv4 | SetDstIPv4,
	PCTypeIPv4Frag:  SetSrcIPv4 | SetDstIPv4,
	PCTypeIPv6UDP:   SetSrcIPv6 | SetDstIPv6 | SetSrcPort | SetDstPort,
	PCTypeIPv6TCP:   SetSrcIPv6 | SetDstIPv6 | SetSrcPort | SetDstPort,
	PCTypeIPv6SCTP:  SetSrcIPv6 | SetDstIPv6 | SetSrcPort | SetDstPort | SetSCTPTag,
	PCTypeIPv6Other: SetSrcIPv6 | SetDstIPv6,
	PCTypeIPv6Frag:  SetSrcIPv6 | SetDstIPv6,
	PCTypeL2Payload: SetEtherType,
}

// DefaultInputSet is the input set of a classifier type after reset.
func DefaultInputSet(t PCType) InputSet { return defaultSets[t] }

// Fields extracts the field vector of the frame b that l was parsed from. Tunnelled frames give their inner headers.
func (l *Layers) Fields(b []byte) FieldVector {
	var v FieldVector
	if l.L2.Len == 0 {
		return v
	}
	mac, etherType := l.L2, l.L2.EtherType
	if l.InnerL2.Len != 0 {
		mac, etherType = l.InnerL2, l.InnerL2.EtherType
	}
	v.put(wordDstMAC, b[mac.Offset:mac.Offset+6])
	v.put(wordSrcMAC, b[mac.Offset+6:mac.Offset+addressesLen])
	v[wordEtherType] = etherType
	switch l.L2.NumTags {
	case 1:
		v[wordInnerTag] = l.L2.Tags[0].TCI
	case maxTags:
		v[wordOuterTag], v[wordInnerTag] = l.L2.Tags[0].TCI, l.L2.Tags[1].TCI
	}
	l.tunnelFields(&v, b)
	l.ipFields(&v, b)
	if l.L4.Protocol == ProtoTCP || l.L4.Protocol == ProtoUDP || l.L4.Protocol == ProtoSCTP {
		v[wordSrcPort], v[wordDstPort] = l.L4.SrcPort, l.L4.DstPort
	}
	if l.L4.Protocol == ProtoSCTP {
		v.put(wordSCTPTag, b[l.L4.Offset+4:l.L4.Offset+8])
	}
	return v
}

func (l *Layers) tunnelFields(v *FieldVector, b []byte) {
	if l.InnerL2.Len != 0 {
		v.put(wordTunnelMAC, b[l.InnerL2.Offset:l.InnerL2.Offset+6])
	}
	if l.OuterUDP != 0 {
		v[wordTunnelSrc] = binary.BigEndian.Uint16(b[l.OuterUDP:])
		v[wordTunnelDst] = binary.BigEndian.Uint16(b[l.OuterUDP+2:])
	}
	v[wordTunnelID], v[wordTunnelID+1] = uint16(l.TunnelID>>16), uint16(l.TunnelID)
}

func (l *Layers) ipFields(v *FieldVector, b []byte) {
	at := l.IP.Offset
	src, dst := wordSrcIPv6, wordDstIPv6
	switch l.IP.Version {
	case 0:
		return
	case 4:
		v[wordIPv4Proto] = binary.BigEndian.Uint16(b[at+8:])
		src, dst = wordSrcIPv4, wordDstIPv4
	case 6:
		v[wordIPv6Next] = binary.BigEndian.Uint16(b[at+6:])
	}
	v[wordTOS] = binary.BigEndian.Uint16(b[at:])
	s, d := addresses(b, l.IP)
	v.put(src, s)
	v.put(dst, d)
}

// Exchange returns the vector with source and destination exchanged, as for the flow in the other direction.
func (v *FieldVector) Exchange(t PCType) FieldVector {
	out := *v
	src, dst, n := wordSrcIPv4, wordDstIPv4, 2
	if t >= PCTypeIPv6UDP && t <= PCTypeIPv6Frag {
		src, dst, n = wordSrcIPv6, wordDstIPv6, 8
	}
	copy(out[src:src+n], v[dst:dst+n])
	copy(out[dst:dst+n], v[src:src+n])
	out[wordSrcPort], out[wordDstPort] = v[wordDstPort], v[wordSrcPort]
	return out
}

// put stores bytes as big-endian words.
func (v *FieldVector) put(word int, b []byte) {
	for i := 0; i+1 < len(b); i += 2 {
		v[word+i/2] = binary.BigEndian.Uint16(b[i:])
	}
}

// Select appends the chosen words to dst, in order.
func (v *FieldVector) Select(dst []byte, set InputSet) []byte {
	for ; set != 0; set &^= 1 << (63 - bits.LeadingZeros64(uint64(set))) {
		dst = binary.BigEndian.AppendUint16(dst, v[bits.LeadingZeros64(uint64(set))])
	}
	return dst
}

// Hash is the RSS hash of the chosen words.
func (v *FieldVector) Hash(key []byte, set InputSet) uint32 {
	var buf [2 * fieldWords]byte
	return Toeplitz(key, v.Select(buf[:0], set))
}

// Toeplitz is the Toeplitz hash of data: each set bit of data adds the 32 bits of the key that begin at its place. Bits
// past the end of the key count as zero.
func Toeplitz(key, data []byte) uint32 {
	var hash uint32
	window := uint64(0)
	at := func(i int) uint64 {
		if i < len(key) {
			return uint64(key[i])
		}
		return 0
	}
	for i := range 4 {
		window = window<<8 | at(i)
	}
	for i, d := range data {
		window = window<<8 | at(i+4) // 40 bits: the 32 for this byte's first bit, and the 8 that follow
		for n := range 8 {
			if d&(0x80>>n) != 0 {
				hash ^= uint32(window >> (8 - n))
			}
		}
	}
	return hash
}
