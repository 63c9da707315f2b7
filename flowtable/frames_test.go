package flowtable

import (
	"encoding/binary"
	"math/rand/v2"
)

// frame builds frames byte by byte, the wrong ones as easily as the right ones.
type frame []byte

func newFrame(tags ...uint16) frame {
	f := frame{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}
	for i, tci := range tags {
		tpid := uint16(ethVLAN)
		if i == 0 && len(tags) > 1 {
			tpid = ethQinQ
		}
		f = f.u16(tpid).u16(tci)
	}
	return f
}

func (f frame) u16(v uint16) frame    { return binary.BigEndian.AppendUint16(f, v) }
func (f frame) u32(v uint32) frame    { return binary.BigEndian.AppendUint32(f, v) }
func (f frame) b(v ...byte) frame     { return append(f, v...) }
func (f frame) pad(n int) frame       { return append(f, make([]byte, n)...) }
func (f frame) join(rest frame) frame { return append(f, rest...) }

// ipv4 appends an IPv4 header and its payload.
func (f frame) ipv4(proto byte, frag uint16, options int, payload frame) frame {
	f = f.u16(ethIPv4).b(0x45+byte(options/4), 0xb9).u16(uint16(20 + options + len(payload)))
	f = f.u16(7).u16(frag).b(64, proto).u16(0).u32(0x0a000001).u32(0x0a000102).pad(options)
	return f.join(payload)
}

// ipv6 appends an IPv6 header and its payload.
func (f frame) ipv6(next byte, payload frame) frame {
	f = f.u16(ethIPv6).u32(0x6ab12345).u16(uint16(len(payload))).b(next, 63)
	f = f.u32(0x20010db8).u32(0).u32(0).u32(1).u32(0x20010db8).u32(0).u32(1).u32(2)
	return f.join(payload)
}

func tcpHdr(src, dst, flags uint16) frame {
	return frame{}.u16(src).u16(dst).u32(1).u32(2).u16(0x5000 | flags).u16(100).u32(0)
}

func udpHdr(src, dst uint16, n int) frame {
	return frame{}.u16(src).u16(dst).u16(uint16(8 + n)).u16(0).pad(n)
}

func icmpHdr(kind, code byte) frame { return frame{kind, code}.pad(6) }

func (f frame) arp(op uint16) frame {
	f = f.u16(ethARP).u16(1).u16(ethIPv4).b(6, 4).u16(op)
	return f.b(2, 0, 0, 0, 0, 1).u32(0x0a000001).b(2, 0, 0, 0, 0, 9).u32(0x0a000002)
}

// sampleFrames are frames of every kind that extraction tells apart.
func sampleFrames() []frame {
	tcp, udp := tcpHdr(1000, 80, 0x012), udpHdr(53, 2000, 4)
	fragment := frame{protoUDP, 0}.u16(0x0001).u32(9)
	later := frame{protoUDP, 0}.u16(0x0010).u32(9)
	return []frame{
		newFrame().ipv4(protoTCP, 0, 0, tcp),
		newFrame().ipv4(protoTCP, 0x4000, 12, tcp),
		newFrame().ipv4(protoUDP, 0, 0, udp),
		newFrame().ipv4(protoUDP, 0x2000, 0, udp),
		newFrame().ipv4(protoUDP, 0x2003, 0, udp),
		newFrame().ipv4(protoUDP, 0x0003, 0, udp),
		newFrame().ipv4(protoSCTP, 0, 0, udp.pad(4)),
		newFrame().ipv4(protoICMP, 0, 0, icmpHdr(8, 1)),
		newFrame().ipv4(protoIGMP, 0, 0, icmpHdr(0x11, 3)),
		newFrame().ipv4(protoICMP6, 0, 0, icmpHdr(8, 1)),
		newFrame().ipv4(47, 0, 0, udp),
		newFrame().ipv4(protoTCP, 0, 0, tcp[:19]),
		newFrame().ipv4(protoUDP, 0, 0, udp[:7]),
		newFrame().ipv4(protoICMP, 0, 0, icmpHdr(8, 1)[:4]),
		newFrame().ipv4(protoTCP, 0, 0, tcp).pad(9),
		newFrame(0x6005).ipv4(protoTCP, 0, 0, tcp),
		newFrame(0x1005).ipv6(protoTCP, tcp),
		newFrame(0x0005, 0x2007).ipv4(protoUDP, 0, 0, udp),
		newFrame(1, 2, 3).ipv4(protoUDP, 0, 0, udp),
		newFrame(0),
		newFrame(0).u16(0),
		newFrame(5, 6),
		newFrame(5).arp(1),
		newFrame().arp(1),
		newFrame().arp(2),
		newFrame().arp(256),
		newFrame().arp(0),
		newFrame().arp(1)[:41],
		newFrame().u16(ethRARP).join(newFrame().arp(3)[14:]),
		newFrame().ipv6(protoTCP, tcp),
		newFrame().ipv6(protoUDP, udp),
		newFrame().ipv6(protoICMP6, icmpHdr(135, 0).pad(16)),
		newFrame().ipv6(protoICMP6, icmpHdr(128, 0)),
		newFrame().ipv6(protoICMP, icmpHdr(8, 1)),
		newFrame().ipv6(protoSCTP, udp.pad(4)),
		newFrame().ipv6(59, nil),
		newFrame().ipv6(extHopByHop, frame{protoTCP, 0}.pad(6).join(tcp)),
		newFrame().ipv6(extDest, frame{extRouting, 1}.pad(14).join(frame{protoUDP, 0}.pad(6)).join(udp)),
		newFrame().ipv6(extAuth, frame{protoUDP, 2}.pad(14).join(udp)),
		newFrame().ipv6(135, frame{protoUDP, 0}.pad(6).join(udp)),
		newFrame().ipv6(extFragment, fragment.join(udp)),
		newFrame().ipv6(extFragment, later.join(udp)),
		newFrame().ipv6(extFragment, frame{protoUDP, 0}.u16(0).u32(9).join(udp)),
		newFrame().ipv6(extDest, frame{extFragment, 0}.pad(6).join(later).join(udp)),
		newFrame().ipv6(extHopByHop, frame{protoTCP, 200}.pad(6).join(tcp)),
		newFrame().ipv6(extFragment, later[:4]),
		newFrame().u16(0x88cc).pad(20),
		newFrame().u16(ethMPLS).u32(0x00064140).pad(20),
		newFrame().u16(28).b(0xaa, 0xaa, 3, 0, 0, 0).join(newFrame().ipv4(protoUDP, 0, 0, udp)[12:]),
		newFrame().u16(8).b(0xaa, 0xaa, 3, 0, 0, 0).u16(0x0100),
		newFrame().u16(8).b(0xaa, 0xaa, 3, 0, 0, 1).u16(0x0800).pad(20),
		newFrame().u16(3).b(0x42, 0x42, 3),
		newFrame().u16(0x05ff),
		newFrame().u16(0x0600),
		newFrame().u16(ethIPv4),
	}
}

// mutate damages a frame a little: cut, changed bytes, changed length fields.
func mutate(r *rand.Rand, f frame) frame {
	m := append(frame(nil), f...)
	for range r.IntN(3) {
		if len(m) > 12 {
			m[12+r.IntN(len(m)-12)] = byte(r.Uint32())
		}
	}
	if r.IntN(3) == 0 {
		m = m[:14+r.IntN(len(m)-13)]
	}
	if r.IntN(4) == 0 {
		m = m.pad(r.IntN(12))
	}
	return m
}
