package packet

import "encoding/binary"

// Edits of address resolution: ARP (RFC 826) and neighbour discovery (RFC 4861). A packet that is not of the kind, or
// whose header is not in the window, stays as it is.

// arp is the body of an ARP or RARP packet for IPv4 over Ethernet.
func (p *Packet) arp() ([]byte, bool) {
	l := p.layers()
	if l.etherType != etherARP && l.etherType != etherRARP || len(l.h) < l.l3+arpLen {
		return nil, false
	}
	b := l.h[l.l3 : l.l3+arpLen]
	return b, binary.BigEndian.Uint32(b) == arpOfIPv4 && b[4] == 6 && b[5] == 4
}

// SetARPOp changes the operation.
func (p *Packet) SetARPOp(v, mask uint16) {
	if b, ok := p.arp(); ok {
		binary.BigEndian.PutUint16(b[6:], binary.BigEndian.Uint16(b[6:])&^mask|v&mask)
	}
}

// SetARPSPA changes the sender's protocol address.
func (p *Packet) SetARPSPA(v, mask uint32) { p.setARPAddress(14, v, mask) }

// SetARPTPA changes the target's protocol address.
func (p *Packet) SetARPTPA(v, mask uint32) { p.setARPAddress(24, v, mask) }

func (p *Packet) setARPAddress(at int, v, mask uint32) {
	if b, ok := p.arp(); ok {
		binary.BigEndian.PutUint32(b[at:], binary.BigEndian.Uint32(b[at:])&^mask|v&mask)
	}
}

// SetARPSHA changes the sender's Ethernet address, 48 bits.
func (p *Packet) SetARPSHA(v, mask uint64) {
	if b, ok := p.arp(); ok {
		setEth(b[8:14], v, mask)
	}
}

// SetARPTHA changes the target's Ethernet address, 48 bits.
func (p *Packet) SetARPTHA(v, mask uint64) {
	if b, ok := p.arp(); ok {
		setEth(b[18:24], v, mask)
	}
}

// setEth changes bits of an Ethernet address.
func setEth(b []byte, v, mask uint64) {
	old := ethValue(b)
	v = old&^mask | v&mask
	binary.BigEndian.PutUint16(b, uint16(v>>32))
	binary.BigEndian.PutUint32(b[2:], uint32(v))
}

func ethValue(b []byte) uint64 {
	return uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
}

const (
	ndSolicit   = 135
	ndAdvert    = 136
	ndLen       = 24
	ndTarget    = 8
	ndOptSource = 1
	ndOptTarget = 2
	ndOptUnit   = 8
)

// arpOfIPv4 is what ARP for IPv4 over Ethernet begins with: hardware type 1, protocol type 0x0800.
const arpOfIPv4 = 0x00010800

// nd is a neighbour solicitation or advertisement as far as the window has it, and its checksum field.
func (p *Packet) nd() (b, sum []byte, ok bool) {
	l, ok := p.ip()
	if !ok || l.etherType != etherIPv6 || l.proto != protoICMPv6 {
		return nil, nil, false
	}
	b, ok = l.transport(ndLen)
	if !ok || b[0] != ndSolicit && b[0] != ndAdvert || b[1] != 0 {
		return nil, nil, false
	}
	return l.h[l.l4:min(len(l.h), l.l4+l.left)], b[2:4], true
}

// SetNDTarget changes the first 64 bits of the target address (half 0) or the last (half 1).
func (p *Packet) SetNDTarget(half int, v, mask uint64) {
	b, sum, ok := p.nd()
	if !ok {
		return
	}
	field := b[ndTarget+8*half : ndTarget+8*half+8]
	var fresh [8]byte
	binary.BigEndian.PutUint64(fresh[:], binary.BigEndian.Uint64(field)&^mask|v&mask)
	account(sum, field, fresh[:])
	copy(field, fresh[:])
}

// SetNDSLL changes the source link-layer address option, 48 bits.
func (p *Packet) SetNDSLL(v, mask uint64) { p.setNDOption(ndOptSource, v, mask) }

// SetNDTLL changes the target link-layer address option, 48 bits.
func (p *Packet) SetNDTLL(v, mask uint64) { p.setNDOption(ndOptTarget, v, mask) }

func (p *Packet) setNDOption(kind byte, v, mask uint64) {
	b, sum, ok := p.nd()
	if !ok {
		return
	}
	for b = b[ndLen:]; len(b) >= ndOptUnit; {
		n := int(b[1]) * ndOptUnit
		if n == 0 || n > len(b) {
			return
		}
		if b[0] == kind && n == ndOptUnit {
			var fresh [6]byte
			copy(fresh[:], b[2:8])
			setEth(fresh[:], v, mask)
			account(sum, b[2:8], fresh[:])
			copy(b[2:8], fresh[:])
			return
		}
		b = b[n:]
	}
}
