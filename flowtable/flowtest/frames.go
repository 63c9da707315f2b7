package flowtest

import (
	"encoding/binary"
	"math/rand/v2"

	"weft/flowtable/flow"
)

// Frame builds frames byte by byte, the wrong ones as easily as the right ones.
type Frame []byte

func NewFrame(tags ...uint16) Frame {
	f := Frame{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}
	for i, tci := range tags {
		tpid := uint16(flow.EthVLAN)
		if i == 0 && len(tags) > 1 {
			tpid = flow.EthQinQ
		}
		f = f.U16(tpid).U16(tci)
	}
	return f
}

func (f Frame) U16(v uint16) Frame    { return binary.BigEndian.AppendUint16(f, v) }
func (f Frame) U32(v uint32) Frame    { return binary.BigEndian.AppendUint32(f, v) }
func (f Frame) b(v ...byte) Frame     { return append(f, v...) }
func (f Frame) Pad(n int) Frame       { return append(f, make([]byte, n)...) }
func (f Frame) Join(rest Frame) Frame { return append(f, rest...) }

// IPv4 appends an IPv4 header and its payload.
func (f Frame) IPv4(proto byte, frag uint16, options int, payload Frame) Frame {
	f = f.U16(flow.EthIPv4).b(0x45+byte(options/4), 0xb9).U16(uint16(20 + options + len(payload)))
	f = f.U16(7).U16(frag).b(64, proto).U16(0).U32(0x0a000001).U32(0x0a000102).Pad(options)
	return f.Join(payload)
}

// IPv6 appends an IPv6 header and its payload.
func (f Frame) IPv6(next byte, payload Frame) Frame {
	f = f.U16(flow.EthIPv6).U32(0x6ab12345).U16(uint16(len(payload))).b(next, 63)
	f = f.U32(0x20010db8).U32(0).U32(0).U32(1).U32(0x20010db8).U32(0).U32(1).U32(2)
	return f.Join(payload)
}

func TCPHdr(src, dst, flags uint16) Frame {
	return Frame{}.U16(src).U16(dst).U32(1).U32(2).U16(0x5000 | flags).U16(100).U32(0)
}

func UDPHdr(src, dst uint16, n int) Frame {
	return Frame{}.U16(src).U16(dst).U16(uint16(8 + n)).U16(0).Pad(n)
}

// MPLS appends label stack entries; payload is what is under them.
func (f Frame) MPLS(payload Frame, lse ...uint32) Frame {
	f = f.U16(flow.EthMPLS)
	for _, e := range lse {
		f = f.U32(e)
	}
	return f.Join(payload)
}

// ND is a neighbour solicitation or advertisement (ICMPv6 type kind) with options.
func ND(kind byte, options ...Frame) Frame {
	f := icmpHdr(kind, 0).U32(0xfe800000).U32(0).U32(0).U32(9)
	for _, o := range options {
		f = f.Join(o)
	}
	return f
}

func icmpHdr(kind, code byte) Frame { return Frame{kind, code}.Pad(6) }

func (f Frame) ARP(op uint16) Frame {
	f = f.U16(flow.EthARP).U16(1).U16(flow.EthIPv4).b(6, 4).U16(op)
	return f.b(2, 0, 0, 0, 0, 1).U32(0x0a000001).b(2, 0, 0, 0, 0, 9).U32(0x0a000002)
}

// SampleFrames are frames of every kind that extraction tells apart.
func SampleFrames() []Frame {
	tcp, udp := TCPHdr(1000, 80, 0x012), UDPHdr(53, 2000, 4)
	return append(append(sampleIPv6(), sampleMPLS()...), []Frame{
		NewFrame().IPv4(flow.ProtoTCP, 0, 0, tcp),
		NewFrame().IPv4(flow.ProtoTCP, 0x4000, 12, tcp),
		NewFrame().IPv4(flow.ProtoUDP, 0, 0, udp),
		NewFrame().IPv4(flow.ProtoUDP, 0x2000, 0, udp),
		NewFrame().IPv4(flow.ProtoUDP, 0x2003, 0, udp),
		NewFrame().IPv4(flow.ProtoUDP, 0x0003, 0, udp),
		NewFrame().IPv4(flow.ProtoSCTP, 0, 0, udp.Pad(4)),
		NewFrame().IPv4(flow.ProtoICMP, 0, 0, icmpHdr(8, 1)),
		NewFrame().IPv4(flow.ProtoIGMP, 0, 0, icmpHdr(0x11, 3)),
		NewFrame().IPv4(flow.ProtoICMP6, 0, 0, icmpHdr(8, 1)),
		NewFrame().IPv4(47, 0, 0, udp),
		NewFrame().IPv4(flow.ProtoTCP, 0, 0, tcp[:19]),
		NewFrame().IPv4(flow.ProtoUDP, 0, 0, udp[:7]),
		NewFrame().IPv4(flow.ProtoICMP, 0, 0, icmpHdr(8, 1)[:4]),
		NewFrame().IPv4(flow.ProtoTCP, 0, 0, tcp).Pad(9),
		NewFrame(0x6005).IPv4(flow.ProtoTCP, 0, 0, tcp),
		NewFrame(0x1005).IPv6(flow.ProtoTCP, tcp),
		NewFrame(0x0005, 0x2007).IPv4(flow.ProtoUDP, 0, 0, udp),
		NewFrame(1, 2, 3).IPv4(flow.ProtoUDP, 0, 0, udp),
		NewFrame(0),
		NewFrame(0).U16(0),
		NewFrame(5, 6),
		NewFrame(5).ARP(1),
		NewFrame().ARP(1),
		NewFrame().ARP(2),
		NewFrame().ARP(256),
		NewFrame().ARP(0),
		NewFrame().ARP(1)[:41],
		NewFrame().U16(flow.EthRARP).Join(NewFrame().ARP(3)[14:]),
		NewFrame().U16(0x88cc).Pad(20),
		NewFrame().U16(flow.EthMPLS).U32(0x00064140).Pad(20),
		NewFrame().U16(28).b(0xaa, 0xaa, 3, 0, 0, 0).Join(NewFrame().IPv4(flow.ProtoUDP, 0, 0, udp)[12:]),
		NewFrame().U16(8).b(0xaa, 0xaa, 3, 0, 0, 0).U16(0x0100),
		NewFrame().U16(8).b(0xaa, 0xaa, 3, 0, 0, 1).U16(0x0800).Pad(20),
		NewFrame().U16(3).b(0x42, 0x42, 3),
		NewFrame().U16(0x05ff),
		NewFrame().U16(0x0600),
		NewFrame().U16(flow.EthIPv4),
	}...)
}

// sampleMPLS are label stacks.
func sampleMPLS() []Frame {
	v4 := NewFrame().IPv4(flow.ProtoUDP, 0, 0, UDPHdr(53, 2000, 4))[14:]
	v6 := NewFrame().IPv6(flow.ProtoUDP, UDPHdr(53, 2000, 4))[14:]
	return []Frame{
		NewFrame().MPLS(v4, 0x00064140),
		NewFrame().MPLS(v6, 0x00010040, 0x00020f3f),
		NewFrame(5).MPLS(v4, 0x00010040, 0x00020040, 0x0003013f),
		NewFrame(5, 6).MPLS(v4, 0x00010040, 0x00020040, 0x00030040, 0x0004013f),
		NewFrame().MPLS(v4[:10], 0x00010140),
		NewFrame().MPLS(nil, 0x00010140),
		NewFrame().MPLS(nil, 0x00010040),
		NewFrame().MPLS(nil),
		NewFrame().MPLS(Frame{0, 1}),
		NewFrame().U16(flow.EthMPLSMC).U32(0x00064140).Join(v4),
	}
}

// sampleND are messages of neighbour discovery.
func sampleND() []Frame {
	source, target := Frame{1, 1, 2, 0, 0, 0, 0, 5}, Frame{2, 1, 2, 0, 0, 0, 0, 6}
	var frames []Frame
	for _, m := range []Frame{
		ND(135), ND(136), ND(135, source), ND(136, target), ND(135, target), ND(136, source), ND(135, source, source),
		ND(135, Frame{14, 1}.Pad(6), source), ND(135, Frame{1, 2}.Pad(14), source), ND(136, Frame{2, 0}.Pad(6)),
		ND(136, target[:4]), ND(136, Frame{9, 9}.Pad(6)), ND(135)[:20], ND(137, source),
	} {
		frames = append(frames, NewFrame().IPv6(flow.ProtoICMP6, m))
	}
	wrong := ND(135, source)
	wrong[1] = 1
	return append(frames, NewFrame().IPv6(flow.ProtoICMP6, wrong))
}

// sampleIPv6 are IPv6 frames with and without extension headers.
func sampleIPv6() []Frame {
	tcp, udp := TCPHdr(1000, 80, 0x012), UDPHdr(53, 2000, 4)
	fragment := Frame{flow.ProtoUDP, 0}.U16(0x0001).U32(9)
	later := Frame{flow.ProtoUDP, 0}.U16(0x0010).U32(9)
	return append(sampleND(), []Frame{
		NewFrame().IPv6(flow.ProtoTCP, tcp),
		NewFrame().IPv6(flow.ProtoUDP, udp),
		NewFrame().IPv6(flow.ProtoICMP6, icmpHdr(135, 0).Pad(16)),
		NewFrame().IPv6(flow.ProtoICMP6, icmpHdr(128, 0)),
		NewFrame().IPv6(flow.ProtoICMP, icmpHdr(8, 1)),
		NewFrame().IPv6(flow.ProtoSCTP, udp.Pad(4)),
		NewFrame().IPv6(59, nil),
		NewFrame().IPv6(flow.ExtHopByHop, Frame{flow.ProtoTCP, 0}.Pad(6).Join(tcp)),
		NewFrame().IPv6(flow.ExtDest, Frame{flow.ExtRouting, 1}.Pad(14).Join(Frame{flow.ProtoUDP, 0}.Pad(6)).Join(udp)),
		NewFrame().IPv6(flow.ExtAuth, Frame{flow.ProtoUDP, 2}.Pad(14).Join(udp)),
		NewFrame().IPv6(135, Frame{flow.ProtoUDP, 0}.Pad(6).Join(udp)),
		NewFrame().IPv6(flow.ExtFragment, fragment.Join(udp)),
		NewFrame().IPv6(flow.ExtFragment, later.Join(udp)),
		NewFrame().IPv6(flow.ExtFragment, Frame{flow.ProtoUDP, 0}.U16(0).U32(9).Join(udp)),
		NewFrame().IPv6(flow.ExtDest, Frame{flow.ExtFragment, 0}.Pad(6).Join(later).Join(udp)),
		NewFrame().IPv6(flow.ExtHopByHop, Frame{flow.ProtoTCP, 200}.Pad(6).Join(tcp)),
		NewFrame().IPv6(flow.ExtFragment, later[:4]),
	}...)
}

// Mutate damages a frame a little: cut, changed bytes, changed length fields.
func Mutate(r *rand.Rand, f Frame) Frame {
	m := append(Frame(nil), f...)
	for range r.IntN(3) {
		if len(m) > 12 {
			m[12+r.IntN(len(m)-12)] = byte(r.Uint32())
		}
	}
	if r.IntN(3) == 0 {
		m = m[:14+r.IntN(len(m)-13)]
	}
	if r.IntN(4) == 0 {
		m = m.Pad(r.IntN(12))
	}
	return m
}
