package packet

import "encoding/binary"

const lseLen = 4 // a label stack entry (RFC 3032 §2.1)

// PushMPLS puts a label stack entry behind the tags; the EtherType before it becomes etherType. It fails when there is
// no room, or nothing that it can stand behind.
func (p *Packet) PushMPLS(etherType uint16, lse uint32) bool {
	l := p.layers()
	if l.typeAt < 0 || !p.grow(lseLen) {
		return false
	}
	h := p.Header()
	front := l.l3
	copy(h[:front], h[lseLen:lseLen+front])
	binary.BigEndian.PutUint16(h[front-2:], etherType)
	binary.BigEndian.PutUint32(h[front:], lse)
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
	binary.BigEndian.PutUint16(p.Header()[l.l3-2:], etherType)
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
	return l, l.typeAt >= 0 && (l.etherType == etherMPLS || l.etherType == etherMPLSMC) && len(l.h) >= l.l3+lseLen
}
