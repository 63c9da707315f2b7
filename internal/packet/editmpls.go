package packet

import "encoding/binary"

const lseLen = 4 // a label stack entry (RFC 3032 §2.1)

// PushMPLS puts a label stack entry behind the tags; the EtherType before it becomes etherType, and so does a length in
// its place, as in Open vSwitch. A frame with LLC and SNAP keeps those (RFC 3032 §5). It fails when there is no room.
func (p *Packet) PushMPLS(etherType uint16, lse uint32) bool {
	l := p.layers()
	if l.lengthAt != 0 && l.length()+lseLen >= etherMin || !p.grow(lseLen) {
		return false
	}
	h := p.Header()
	copy(h[:l.l3], h[lseLen:lseLen+l.l3])
	l.h = h
	l.stack(etherType, lseLen)
	binary.BigEndian.PutUint32(h[l.l3:], lse)
	return true
}

// PopMPLS removes the top label stack entry, if there is one; the EtherType becomes etherType.
func (p *Packet) PopMPLS(etherType uint16) {
	l, ok := p.mpls()
	if !ok {
		return
	}
	copy(l.h[lseLen:], l.h[:l.l3])
	p.shrink(lseLen)
	l.h = p.Header()
	l.stack(etherType, -lseLen)
}

// SetMPLS changes the bits of mask in the top label stack entry, if there is one, to those of v.
func (p *Packet) SetMPLS(v, mask uint32) {
	if l, ok := p.mpls(); ok {
		b := l.h[l.l3:]
		binary.BigEndian.PutUint32(b, binary.BigEndian.Uint32(b)&^mask|v&mask)
	}
}

// mpls finds the top label stack entry.
func (p *Packet) mpls() (layers, bool) {
	l := p.layers()
	return l, (l.etherType == etherMPLS || l.etherType == etherMPLSMC) && len(l.h) >= l.l3+lseLen
}

// stack writes what the headers before the label stack say of it: its EtherType, and the length of a frame that has one
// and that became n bytes longer.
func (l *layers) stack(etherType uint16, n int) {
	binary.BigEndian.PutUint16(l.h[l.l3-2:], etherType)
	if l.lengthAt != 0 {
		binary.BigEndian.PutUint16(l.h[l.lengthAt:], uint16(max(0, l.length()+n)))
	}
}

// length is what a frame of IEEE 802.3 says is its length.
func (l *layers) length() int { return int(binary.BigEndian.Uint16(l.h[l.lengthAt:])) }
