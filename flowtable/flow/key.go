package flow

import "math/bits"

// KeyWords is how many 64-bit words a key has. The first PacketWords are filled in from the packet, the others are what
// rules compute: zero when a packet enters the pipeline.
const (
	KeyWords    = 26
	PacketWords = 15
)

// Key is what rules can look at in one packet, packed into words. The table of fields says which bits are which field.
// Bits without a field are zero.
type Key [KeyWords]uint64

// PacketKey is the part of a key, perhaps compacted, that packets are told apart by.
type PacketKey [PacketWords]uint64

// The words of a key. What is used together stands together: rules on addresses and ports of IPv4 touch three words.
const (
	WordPort  = 0  // in_port 32, Ethernet type 16, outer tag 16
	WordDst   = 1  // Ethernet destination 48, inner tag 16
	WordSrc   = 2  // Ethernet source 48, TCP flags 16
	WordIPv4  = 3  // source or ARP sender 32, destination or ARP target 32
	WordL4    = 4  // protocol or ARP operation 8, TOS 8, TTL 8, fragment 8, source port 16, destination port 16
	WordSHA   = 5  // ARP sender's Ethernet address, or ND source link-layer address 48, unused 16
	WordTHA   = 6  // ARP target's Ethernet address, or ND target link-layer address 48, unused 16
	WordIPv6S = 7  // IPv6 source, two words, high first
	WordIPv6D = 9  // IPv6 destination, two words, high first
	WordMPLS  = 11 // label stack: top entry 32, second entry 32
	WordLabel = 12 // label stack: third entry 32, IPv6 flow label 20 (low bits)
	WordND    = 13 // ND target address, two words, high first

	WordMetadata = 15
	WordTunnel   = 16
	WordReg      = 17 // reg0 to reg15, two a word, even ones high: xregN is word 17+N
	WordMark     = 25 // packet mark 32, output of the action set 32
)

const (
	ShiftInPort  = 32
	ShiftEthType = 16
	ShiftEth     = 16
	ShiftProto   = 56
	ShiftTOS     = 48
	ShiftTTL     = 40
	ShiftFrag    = 32
	ShiftTPSrc   = 16
	ShiftIPSrc   = 32
	ShiftLSE     = 32
	ShiftMark    = 32
	MaskTag      = 0xffff
	MaskEth      = 0xffffffffffff << ShiftEth
)

// Bits of a tag as keys hold it. vlanPresent takes the place of the drop-eligible bit, as in Open vSwitch: it is set in
// the key of every tagged packet, so that the tag 0 differs from no tag.
const (
	VLANPresent = 0x1000
	VLANVID     = 0x0fff
	VLANPCP     = 0xe000
	VLANPCPLow  = 13
)

// Bits of the fragment field: fragAny for every part of a fragmented datagram, fragLater as well for all but the first.
const (
	fragAny   = 1
	FragLater = 2
	fragMask  = fragAny | FragLater
)

// EtherTypes (IEEE 802 numbers) and IP protocols (IANA) with fields of their own.
const (
	EthIPv4   = 0x0800
	EthARP    = 0x0806
	EthRARP   = 0x8035
	EthVLAN   = 0x8100
	EthQinQ   = 0x88a8
	EthIPv6   = 0x86dd
	EthMPLS   = 0x8847
	EthMPLSMC = 0x8848

	// ethNone stands for a frame of IEEE 802.2 without SNAP, as in OpenFlow 1.0 §3.4.
	ethNone = 0x05ff
	ethMin  = 0x0600 // the smallest EtherType; below is a length (IEEE 802.3 §3.2.6)

	ProtoICMP  = 1
	ProtoIGMP  = 2
	ProtoTCP   = 6
	ProtoUDP   = 17
	ProtoICMP6 = 58
	ProtoSCTP  = 132
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

// SameWords reports whether the first n words of k and o are the same.
func (k *Key) SameWords(o *Key, n int) bool {
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

func (k *Key) OuterTag() uint16 { return uint16(k[WordPort]) }
func (k *Key) InnerTag() uint16 { return uint16(k[WordDst]) }

func (k *Key) SetOuterTag(tci uint16) { k[WordPort] = k[WordPort]&^MaskTag | uint64(tci) }
func (k *Key) setInnerTag(tci uint16) { k[WordDst] = k[WordDst]&^MaskTag | uint64(tci) }

// PushTag and popTag move the tags as the packet's are moved. A key knows two: a third that comes up is taken as
// absent.
func (k *Key) PushTag() {
	k.setInnerTag(k.OuterTag())
	k.SetOuterTag(VLANPresent)
}

func (k *Key) PopTag() {
	k.SetOuterTag(k.InnerTag())
	k.setInnerTag(0)
}

// InPort is the port of arrival.
func (k *Key) InPort() uint32 { return uint32(k[WordPort] >> ShiftInPort) }

func (k *Key) SetInPort(port uint32) {
	k[WordPort] = k[WordPort]&(1<<ShiftInPort-1) | uint64(port)<<ShiftInPort
}

// Shape says which words of a key matter, and which bits of them: the shape of a mask without its zero words.
type Shape struct {
	N    int
	Word [KeyWords]uint8
	mask [KeyWords]uint64
}

func ShapeOf(mask *Key) Shape {
	var c Shape
	for i, m := range mask {
		if m != 0 {
			c.Word[c.N], c.mask[c.N] = uint8(i), m
			c.N++
		}
	}
	return c
}

// Pick writes the masked words of key into out and returns their hash.
func (c *Shape) Pick(key, out *Key, seed uint64) uint64 {
	h := seed
	for i := 0; i < c.N; i++ {
		w := key[c.Word[i]] & c.mask[i]
		out[i] = w
		h = Mix(h, w)
	}
	return Finish(h)
}

// PickPacket is Pick for a shape that has only words of the packet.
func (c *Shape) PickPacket(key *Key, out *PacketKey, seed uint64) uint64 {
	h := seed
	for i := 0; i < c.N; i++ {
		w := key[c.Word[i]] & c.mask[i]
		out[i] = w
		h = Mix(h, w)
	}
	return Finish(h)
}

// HashPacket is the hash that PickPacket returned with the n words that it wrote into key.
func HashPacket(key *PacketKey, n int, seed uint64) uint64 {
	h := seed
	for i := range n {
		h = Mix(h, key[i])
	}
	return Finish(h)
}

// SameWords reports whether the first n words of k and o are the same.
func (k *PacketKey) SameWords(o *PacketKey, n int) bool {
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

// Hash of a sequence of words: a fold of 128-bit products, seeded so that nobody outside can aim at one bucket.

const (
	HashMul  = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio, odd
	HashMul2 = 0xd6e8feb86659fd93 // an odd constant with evenly spread bits
)

func Mix(h, w uint64) uint64 {
	hi, lo := bits.Mul64(h^w^HashMul2, h+HashMul|1)
	return hi ^ lo ^ w
}

func Finish(h uint64) uint64 {
	hi, lo := bits.Mul64(h^HashMul, HashMul2)
	return hi ^ lo
}
