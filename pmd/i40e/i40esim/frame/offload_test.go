package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// offloadOf says what a driver would write into the descriptors for a parsed packet.
func offloadOf(l *Layers) Offload {
	ipType := func(h IP) IPType { return map[int]IPType{0: IPNone, 4: IPv4Checksum, 6: IPv6}[h.Version] }
	o := Offload{MACLen: l.L2.Len, IP: ipType(l.IP), IPLen: l.IP.Len, L4Len: l.L4.Len}
	o.L4 = map[uint8]L4Type{ProtoTCP: L4TCP, ProtoUDP: L4UDP, ProtoSCTP: L4SCTP}[l.L4.Protocol]
	if l.Tunnel != TunnelNone {
		o.OuterIP, o.OuterIPLen = ipType(l.Outer), l.Outer.Len
		o.TunnelLen = l.TunnelLen + l.InnerL2.Len
		switch {
		case l.OuterUDP != 0:
			o.Tunnel = OverUDP
		case l.Tunnel != TunnelIPIP:
			o.Tunnel = OverGRE
		}
	}
	return o
}

// pseudo is the pseudo header's sum, written apart from the package's: what a driver leaves in the checksum field.
func pseudo(b []byte, ip IP, length int) uint16 {
	header := b[ip.Offset+12 : ip.Offset+20]
	if ip.Version == 6 {
		header = b[ip.Offset+8 : ip.Offset+40]
	}
	s := uint32(ip.Protocol) + uint32(length)
	for i := 0; i < len(header); i += 2 {
		s += uint32(header[i])<<8 | uint32(header[i+1])
		s = s&0xFFFF + s>>16
	}
	for s > 0xFFFF {
		s = s&0xFFFF + s>>16
	}
	return uint16(s)
}

// prepare makes of a finished packet what a driver hands over: IP checksums unset, the seed in place of the L4 checksum.
func prepare(b []byte, l *Layers, length int) []byte {
	out := append([]byte(nil), b...)
	for _, h := range []IP{l.IP, l.Outer} {
		if h.Version == 4 {
			binary.BigEndian.PutUint16(out[h.Offset+10:], 0)
		}
	}
	switch l.L4.Protocol {
	case ProtoTCP:
		binary.BigEndian.PutUint16(out[l.L4.Offset+16:], pseudo(b, l.IP, length))
	case ProtoUDP:
		binary.BigEndian.PutUint16(out[l.L4.Offset+6:], pseudo(b, l.IP, length))
	case ProtoSCTP:
		binary.BigEndian.PutUint32(out[l.L4.Offset+8:], 0)
	}
	return out
}

func TestInsertMakesThePacketsThatGopacketMakes(t *testing.T) {
	shapes(t, func(t *testing.T, want []byte, info TypeInfo) {
		l := testParser().Parse(want)
		o := offloadOf(&l)
		if info.Inner == InnerICMP {
			o.L4, o.L4Len = L4None, 0
		}
		b := want
		if o.L4 != L4None {
			b = prepare(want, &l, l.IP.End-l.L4.Offset)
		}
		b = append([]byte(nil), b...)
		if err := o.Check(len(b)); err != nil {
			t.Fatal(err)
		}
		if m := o.Mismatch(b, true); m != "" {
			t.Error(m)
		}
		if o.Insert(b); !bytes.Equal(b, want) {
			t.Errorf("got  %x\nwant %x", b, want)
		}
	})
}

func TestInsertLeavesPaddingOutOfTheChecksum(t *testing.T) {
	for _, proto := range []Inner{InnerUDP, InnerTCP, InnerSCTP} {
		want := build(t, append([]gopacket.SerializableLayer{eth(layers.EthernetTypeIPv4)}, innerLayers(4, 1)[proto]...)...)
		l := testParser().Parse(want)
		padded := append(prepare(want, &l, l.IP.End-l.L4.Offset), 0xAA, 0xBB, 0xCC)
		o := offloadOf(&l)
		if o.Insert(padded); !bytes.Equal(padded[:len(want)], want) {
			t.Errorf("%d: got  %x\nwant %x", proto, padded, want)
		}
	}
}

// TestUDPChecksumIsNeverZero searches a payload whose checksum comes out as zero.
func TestUDPChecksumIsNeverZero(t *testing.T) {
	for n := range 1 << 16 {
		h := ip4(layers.IPProtocolUDP)
		b := build(t, eth(layers.EthernetTypeIPv4), h, udp(h, 9), gopacket.Payload{byte(n >> 8), byte(n)})
		l := testParser().Parse(b)
		if binary.BigEndian.Uint16(b[l.L4.Offset+6:]) != 0 && binary.BigEndian.Uint16(b[l.L4.Offset+6:]) != 0xFFFF {
			continue
		}
		seeded := prepare(b, &l, 10)
		o := offloadOf(&l)
		o.Insert(seeded)
		if got := binary.BigEndian.Uint16(seeded[l.L4.Offset+6:]); got != 0xFFFF {
			t.Fatalf("checksum %#04x", got)
		}
		return
	}
	t.Fatal("no payload has the checksum zero")
}

func TestCheckRefusesWhatIsForbidden(t *testing.T) {
	good := Offload{MACLen: 14, IP: IPv4, IPLen: 20, L4: L4TCP, L4Len: 20}
	tunnel := Offload{
		MACLen: 14, OuterIP: IPv4, OuterIPLen: 20, Tunnel: OverUDP, TunnelLen: 30,
		IP: IPv6, IPLen: 40, L4: L4UDP, L4Len: 8,
	}
	for _, o := range []Offload{good, tunnel, {}, {MACLen: 14, IP: IPv6, IPLen: 40}} {
		if err := o.Check(200); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for name, x := range map[string]struct {
		from Offload
		edit func(*Offload)
		n    int
		want error
	}{
		"L4 without IP":              {good, func(o *Offload) { o.IP = IPNone }, 200, ErrCombination},
		"tunnel without outer IP":    {tunnel, func(o *Offload) { o.OuterIP, o.OuterIPLen = IPNone, 0 }, 200, ErrCombination},
		"reserved tunnel":            {tunnel, func(o *Offload) { o.Tunnel = 3 }, 200, ErrCombination},
		"MACLEN too small":           {good, func(o *Offload) { o.MACLen = 12 }, 200, ErrHeaderLength},
		"IPv4 of 16 bytes":           {good, func(o *Offload) { o.IPLen = 16 }, 200, ErrHeaderLength},
		"IPv4 of 64 bytes":           {good, func(o *Offload) { o.IPLen = 64 }, 200, ErrHeaderLength},
		"IPv6 of 20 bytes":           {tunnel, func(o *Offload) { o.IPLen = 20 }, 200, ErrHeaderLength},
		"outer IPv4 of 0 bytes":      {tunnel, func(o *Offload) { o.OuterIPLen = 0 }, 200, ErrHeaderLength},
		"UDP tunnel without its UDP": {tunnel, func(o *Offload) { o.TunnelLen = 4 }, 200, ErrHeaderLength},
		"TCP of 16 bytes":            {good, func(o *Offload) { o.L4Len = 16 }, 200, ErrHeaderLength},
		"UDP of 12 bytes":            {tunnel, func(o *Offload) { o.L4Len = 12 }, 200, ErrHeaderLength},
		"SCTP of 8 bytes":            {good, func(o *Offload) { o.L4, o.L4Len = L4SCTP, 8 }, 200, ErrHeaderLength},
		"headers beyond the packet":  {good, func(*Offload) {}, 53, ErrHeaderLength},
	} {
		o := x.from
		x.edit(&o)
		if err := o.Check(x.n); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
}

func TestMismatchNamesTheHeaderThatLies(t *testing.T) {
	b := build(t, append([]gopacket.SerializableLayer{eth(layers.EthernetTypeIPv4)}, innerLayers(4, 60)[InnerTCP]...)...)
	l := testParser().Parse(b)
	for name, edit := range map[string]func(*Offload){
		"version":   func(o *Offload) { o.IP, o.IPLen = IPv6, 40 },
		"IHL":       func(o *Offload) { o.IPLen = 24 },
		"protocol":  func(o *Offload) { o.L4, o.L4Len = L4UDP, 8 },
		"TCP":       func(o *Offload) { o.L4Len = 20 },
		"MAC short": func(o *Offload) { o.MACLen += 2 },
	} {
		o := offloadOf(&l)
		if m := o.Mismatch(b, true); m != "" {
			t.Fatal(m)
		}
		if edit(&o); o.Mismatch(b, true) == "" {
			t.Errorf("%s: not noticed", name)
		}
		if o := offloadOf(&l); name == "TCP" {
			if o.L4Len = 20; o.Mismatch(b, false) != "" {
				t.Error("DPDK's L4LEN without segmentation is taken for a mismatch")
			}
		}
	}
}

func TestTagsGoInAndComeOff(t *testing.T) {
	plain := build(t, append([]gopacket.SerializableLayer{eth(layers.EthernetTypeIPv4)}, innerLayers(4, 60)[InnerUDP]...)...)
	want := build(t, append([]gopacket.SerializableLayer{
		eth(layers.EthernetTypeQinQ), tag(100, layers.EthernetTypeDot1Q), tag(200, layers.EthernetTypeIPv4),
	}, innerLayers(4, 60)[InnerUDP]...)...)
	got := InsertTag(InsertTag(plain, Tag{EtherTypeVLAN, 3<<13 | 200}), Tag{EtherTypeQinQ, 3<<13 | 100})
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	l := testParser().Parse(got)
	if l.L2.NumTags != 2 || l.L2.Tags != [2]Tag{{EtherTypeQinQ, 3<<13 | 100}, {EtherTypeVLAN, 3<<13 | 200}} {
		t.Errorf("tags %+v", l.L2)
	}
	if !bytes.Equal(StripTags(got, 0, 2), plain) {
		t.Error("two tags stripped are not the frame that was tagged")
	}
	if !bytes.Equal(StripTags(got, 0, 1), InsertTag(plain, Tag{EtherTypeVLAN, 3<<13 | 200})) {
		t.Error("the outer tag is to go first")
	}
	if short := Pad(plain[:20]); len(short) != MinLen || !bytes.Equal(short[:20], plain[:20]) {
		t.Errorf("padded %x", short)
	}
}

func ExampleFlagMasks() {
	m := DefaultFlagMasks()
	fmt.Printf("first %#03x middle %#03x last %#03x\n", m.First, m.Middle, m.Last)
	// Output: first 0x009 middle 0x089 last 0x080
}
