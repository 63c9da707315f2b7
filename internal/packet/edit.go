package packet

import "encoding/binary"

// EtherTypes of the tags that this package edits (IEEE 802.1Q-2018 table 9-1).
const (
	TPID8021Q  = 0x8100
	TPID8021AD = 0x88a8
)

const (
	vlanTagLen  = 4
	vlanVIDMask = 0x0fff
	vlanPCPMask = 0xe000
)

// SetEthSrc and SetEthDst change the bits of mask in an Ethernet address, 48 bits, to those of v. Every frame in a batch
// has at least MinFrame bytes of window.

// SetEthSrc changes the Ethernet source address.
func (p *Packet) SetEthSrc(v, mask uint64) { setEth(p.Header()[6:12], v, mask) }

// SetEthDst changes the Ethernet destination address.
func (p *Packet) SetEthDst(v, mask uint64) { setEth(p.Header()[0:6], v, mask) }

// EtherType is the frame's first EtherType: a tag's TPID when the frame is tagged.
func (p *Packet) EtherType() uint16 { return binary.BigEndian.Uint16(p.Header()[12:14]) }

// Tagged reports whether the outermost header after the addresses is a whole VLAN tag.
func (p *Packet) Tagged() bool {
	t := p.EtherType()
	return (t == TPID8021Q || t == TPID8021AD) && p.window >= MinFrame+vlanTagLen
}

// VLAN returns the outer tag's control information, or ok false for an untagged frame.
func (p *Packet) VLAN() (tci uint16, ok bool) {
	if !p.Tagged() {
		return 0, false
	}
	return binary.BigEndian.Uint16(p.Header()[14:16]), true
}

// PushVLAN inserts a tag behind the Ethernet addresses. It fails when the headroom is used up.
func (p *Packet) PushVLAN(tpid, tci uint16) bool {
	if !p.grow(vlanTagLen) {
		return false
	}
	h := p.Header()
	copy(h[:12], h[vlanTagLen:vlanTagLen+12])
	binary.BigEndian.PutUint16(h[12:], tpid)
	binary.BigEndian.PutUint16(h[14:], tci)
	return true
}

// PopVLAN removes the outer tag, if there is one.
func (p *Packet) PopVLAN() {
	if !p.Tagged() {
		return
	}
	h := p.Header()
	copy(h[vlanTagLen:], h[:12])
	p.shrink(vlanTagLen)
}

// SetVLANVID sets the outer tag's VLAN id, if there is a tag.
func (p *Packet) SetVLANVID(vid uint16) { p.editTCI(vlanVIDMask, vid) }

// SetVLANPCP sets the outer tag's priority (0 to 7), if there is a tag.
func (p *Packet) SetVLANPCP(pcp uint8) { p.editTCI(vlanPCPMask, uint16(pcp)<<13) }

func (p *Packet) editTCI(mask, value uint16) {
	if tci, ok := p.VLAN(); ok {
		binary.BigEndian.PutUint16(p.Header()[14:16], tci&^mask|value&mask)
	}
}

// TagBytes is the length of the VLAN tags behind the Ethernet addresses, two at most.
func (p *Packet) TagBytes() int {
	h := p.Header()
	n := 0
	for n < 2*vlanTagLen && len(h) >= MinFrame+n+vlanTagLen {
		if t := binary.BigEndian.Uint16(h[12+n:]); t != TPID8021Q && t != TPID8021AD {
			break
		}
		n += vlanTagLen
	}
	return n
}
