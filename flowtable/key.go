package flowtable

import "math/bits"

// KeyWords is how many 64-bit words a key has.
const KeyWords = 11

// Key is what rules can look at in one packet, packed into words. The table of fields says which bits are which field.
// Bits without a field are zero.
type Key [KeyWords]uint64

// The words of a key. What is used together stands together: rules on addresses and ports of IPv4 touch three words.
const (
	wordPort  = 0 // in_port 32, Ethernet type 16, outer tag 16
	wordDst   = 1 // Ethernet destination 48, inner tag 16
	wordSrc   = 2 // Ethernet source 48, TCP flags 16
	wordIPv4  = 3 // source or ARP sender 32, destination or ARP target 32
	wordL4    = 4 // protocol or ARP operation 8, TOS 8, TTL 8, fragment 8, source port 16, destination port 16
	wordSHA   = 5 // ARP sender's Ethernet address 48, unused 16
	wordTHA   = 6 // ARP target's Ethernet address 48, unused 16
	wordIPv6S = 7 // IPv6 source, two words, high first
	wordIPv6D = 9 // IPv6 destination, two words, high first
)

const (
	shiftInPort  = 32
	shiftEthType = 16
	shiftEth     = 16
	shiftProto   = 56
	shiftTOS     = 48
	shiftTTL     = 40
	shiftFrag    = 32
	shiftTPSrc   = 16
	shiftIPSrc   = 32
	maskTag      = 0xffff
	maskEth      = 0xffffffffffff << shiftEth
)

// Bits of a tag as keys hold it. vlanPresent takes the place of the drop-eligible bit, as in Open vSwitch: it is set in
// the key of every tagged packet, so that the tag 0 differs from no tag.
const (
	vlanPresent = 0x1000
	vlanVID     = 0x0fff
	vlanPCP     = 0xe000
	vlanPCPLow  = 13
)

// Bits of the fragment field: fragAny for every part of a fragmented datagram, fragLater as well for all but the first.
const (
	fragAny   = 1
	fragLater = 2
	fragMask  = fragAny | fragLater
)

// EtherTypes (IEEE 802 numbers) and IP protocols (IANA) with fields of their own.
const (
	ethIPv4   = 0x0800
	ethARP    = 0x0806
	ethRARP   = 0x8035
	ethVLAN   = 0x8100
	ethQinQ   = 0x88a8
	ethIPv6   = 0x86dd
	ethMPLS   = 0x8847
	ethMPLSMC = 0x8848

	// ethNone stands for a frame of IEEE 802.2 without SNAP, as in OpenFlow 1.0 §3.4.
	ethNone = 0x05ff
	ethMin  = 0x0600 // the smallest EtherType; below is a length (IEEE 802.3 §3.2.6)

	protoICMP  = 1
	protoIGMP  = 2
	protoTCP   = 6
	protoUDP   = 17
	protoICMP6 = 58
	protoSCTP  = 132
)

// Match is the condition of a rule: a packet matches when its key equals Key in all bits of Mask. Key has no bits
// outside Mask.
type Match struct {
	Key, Mask Key
}

// Matches reports whether key fulfils m.
func (m *Match) Matches(key *Key) bool {
	for i := range key {
		if key[i]&m.Mask[i] != m.Key[i] {
			return false
		}
	}
	return true
}

// Within reports whether every packet that fulfils m fulfils o too: m is o or a special case of it.
func (m *Match) Within(o *Match) bool {
	for i := range m.Mask {
		if m.Mask[i]&o.Mask[i] != o.Mask[i] || m.Key[i]&o.Mask[i] != o.Key[i] {
			return false
		}
	}
	return true
}

// Overlaps reports whether some packet fulfils both.
func (m *Match) Overlaps(o *Match) bool {
	for i := range m.Mask {
		if (m.Key[i]^o.Key[i])&m.Mask[i]&o.Mask[i] != 0 {
			return false
		}
	}
	return true
}

// sameWords reports whether the first n words of k and o are the same.
func (k *Key) sameWords(o *Key, n int) bool {
	for i := range k {
		if i == n {
			break
		}
		if k[i] != o[i] {
			return false
		}
	}
	return true
}

// The tags of a key.

func (k *Key) outerTag() uint16 { return uint16(k[wordPort]) }
func (k *Key) innerTag() uint16 { return uint16(k[wordDst]) }

func (k *Key) setOuterTag(tci uint16) { k[wordPort] = k[wordPort]&^maskTag | uint64(tci) }
func (k *Key) setInnerTag(tci uint16) { k[wordDst] = k[wordDst]&^maskTag | uint64(tci) }

// pushTag and popTag move the tags as the packet's are moved. A key knows two: a third that comes up is taken as
// absent.
func (k *Key) pushTag() {
	k.setInnerTag(k.outerTag())
	k.setOuterTag(vlanPresent)
}

func (k *Key) popTag() {
	k.setOuterTag(k.innerTag())
	k.setInnerTag(0)
}

// InPort is the port of arrival.
func (k *Key) InPort() uint32 { return uint32(k[wordPort] >> shiftInPort) }

func (k *Key) setInPort(port uint32) {
	k[wordPort] = k[wordPort]&(1<<shiftInPort-1) | uint64(port)<<shiftInPort
}

// compact says which words of a key matter, and which bits of them: the shape of a mask without its zero words.
type compact struct {
	n    int
	word [KeyWords]uint8
	mask [KeyWords]uint64
}

func makeCompact(mask *Key) compact {
	var c compact
	for i, m := range mask {
		if m != 0 {
			c.word[c.n], c.mask[c.n] = uint8(i), m
			c.n++
		}
	}
	return c
}

// pick writes the masked words of key into out and returns their hash.
func (c *compact) pick(key, out *Key, seed uint64) uint64 {
	h := seed
	for i := 0; i < c.n; i++ {
		w := key[c.word[i]] & c.mask[i]
		out[i] = w
		h = mix(h, w)
	}
	return finish(h)
}

// Hash of a sequence of words: a fold of 128-bit products, seeded so that nobody outside can aim at one bucket.

const (
	hashMul  = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio, odd
	hashMul2 = 0xd6e8feb86659fd93 // an odd constant with evenly spread bits
)

func mix(h, w uint64) uint64 {
	hi, lo := bits.Mul64(h^w^hashMul2, h+hashMul|1)
	return hi ^ lo ^ w
}

func finish(h uint64) uint64 {
	hi, lo := bits.Mul64(h^hashMul, hashMul2)
	return hi ^ lo
}
