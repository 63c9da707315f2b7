package frame

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// unused are the packet types that the public drivers' tables do not know, and those that the model never gives (FCoE
// beyond 12).
func unused() []PType {
	out := []PType{0, 4, 5, 8, 9}
	for t := PType(13); t < 22; t++ {
		out = append(out, t)
	}
	out = append(out, 25, 32, 39, 47, 54, 62, 69, 77, 84, 91, 98, 105, 113, 120, 128, 135, 143, 150)
	for t := 154; t < 256; t++ {
		out = append(out, PType(t))
	}
	return out
}

func TestPacketTypeTableHasItsHoles(t *testing.T) {
	holes := unused()
	seen := make(map[TypeInfo]PType)
	for n := range 256 {
		info, known := PType(n).Describe()
		if known == slices.Contains(holes, PType(n)) {
			t.Errorf("packet type %d: known %v", n, known)
		}
		if !known || n < 22 {
			continue
		}
		if other, twice := seen[info]; twice {
			t.Errorf("packet types %d and %d both mean %+v", other, n, info)
		}
		seen[info] = PType(n)
	}
}

// TestPacketTypesOfTheDrivers are samples of the table as both drivers have it.
func TestPacketTypesOfTheDrivers(t *testing.T) {
	for n, want := range map[PType]TypeInfo{
		22:  {4, TunnelNone, 4, InnerFragment},
		23:  {4, TunnelNone, 4, InnerPayload},
		24:  {4, TunnelNone, 4, InnerUDP},
		26:  {4, TunnelNone, 4, InnerTCP},
		27:  {4, TunnelNone, 4, InnerSCTP},
		28:  {4, TunnelNone, 4, InnerICMP},
		33:  {4, TunnelIPIP, 4, InnerTCP},
		42:  {4, TunnelIPIP, 6, InnerICMP},
		43:  {4, TunnelGRENAT, 0, InnerNone},
		49:  {4, TunnelGRENAT, 4, InnerSCTP},
		58:  {4, TunnelMAC, 0, InnerNone},
		61:  {4, TunnelMAC, 4, InnerUDP},
		70:  {4, TunnelMAC, 6, InnerTCP},
		73:  {4, TunnelMACVLAN, 0, InnerNone},
		87:  {4, TunnelMACVLAN, 6, InnerICMP},
		88:  {6, TunnelNone, 6, InnerFragment},
		92:  {6, TunnelNone, 6, InnerTCP},
		95:  {6, TunnelIPIP, 4, InnerFragment},
		109: {6, TunnelGRENAT, 0, InnerNone},
		121: {6, TunnelGRENAT, 6, InnerTCP},
		124: {6, TunnelMAC, 0, InnerNone},
		134: {6, TunnelMAC, 6, InnerUDP},
		139: {6, TunnelMACVLAN, 0, InnerNone},
		153: {6, TunnelMACVLAN, 6, InnerICMP},
	} {
		if info, known := n.Describe(); !known || info != want {
			t.Errorf("packet type %d: %+v, %v, want %+v", n, info, known, want)
		}
	}
}

func TestFramesWithoutIPGetTheirTypeByEtherType(t *testing.T) {
	for etherType, want := range map[uint16]PType{
		0x0806: PTypeARP, 0x88F7: PTypeTimesync, 0x88CC: PTypeLLDP, 0x888E: PTypeEAPOL, 0x8906: PTypeFCoE,
		0x8914: PTypeFIP, 0x8940: PTypeECP, 0x8847: PTypeMAC, 0x0026: PTypeMAC,
	} {
		for _, tagged := range []bool{false, true} {
			l := []gopacket.SerializableLayer{eth(layers.EthernetType(etherType)), payload(46)}
			if tagged {
				l = []gopacket.SerializableLayer{
					eth(layers.EthernetTypeDot1Q), tag(5, layers.EthernetType(etherType)), payload(46),
				}
			}
			b := build(t, l...)
			p := testParser().Parse(b)
			if got := p.PType(); got != want {
				t.Errorf("EtherType %#x, tagged %v: packet type %d, want %d", etherType, tagged, got, want)
			}
			pctype := PCTypeL2Payload
			if want == PTypeFCoE {
				pctype = PCTypeFCoEOther
			}
			if got := p.PCType(); got != pctype {
				t.Errorf("EtherType %#x, tagged %v: PCTYPE %d, want %d", etherType, tagged, got, pctype)
			}
			if c := p.Verify(b); c != (Checks{}) {
				t.Errorf("EtherType %#x: checks %+v of a frame without IP", etherType, c)
			}
		}
	}
}

// shapes calls f with every combination of outer header, tunnel and inner payload that the table has a type for.
func shapes(t *testing.T, f func(t *testing.T, b []byte, want TypeInfo)) {
	kinds := []Tunnel{TunnelNone, TunnelIPIP, TunnelGRENAT, TunnelMAC, TunnelMACVLAN}
	for _, outer := range []int{4, 6} {
		for _, kind := range kinds {
			for _, over := range []TunnelType{OverUDP, OverGRE} {
				for _, version := range []int{4, 6} {
					if kind == TunnelNone && version != outer {
						continue
					}
					for inner, l := range innerLayers(version, 101) {
						if l == nil {
							continue
						}
						want := TypeInfo{outer, kind, version, Inner(inner)}
						headers := []gopacket.SerializableLayer{eth(etherTypeOf(version))}
						if kind != TunnelNone {
							headers = outerLayers(outer, kind, over, version)
						}
						t.Run(fmt.Sprintf("%+v over %d", want, over), func(t *testing.T) {
							f(t, build(t, append(headers, l...)...), want)
						})
					}
				}
			}
		}
	}
}

func TestParserTypesAndChecksumsOfEveryShape(t *testing.T) {
	shapes(t, func(t *testing.T, b []byte, want TypeInfo) {
		l := testParser().Parse(b)
		if info, known := l.PType().Describe(); !known || info != want {
			t.Fatalf("packet type %d is %+v, want %+v\nlayers %+v", l.PType(), info, want, l)
		}
		if c := l.Verify(b); !c.Checked || c.BadIP || c.BadL4 || c.BadOuterIP {
			t.Fatalf("checks %+v of a good frame\nlayers %+v", c, l)
		}
		base := map[Inner]PCType{
			InnerFragment: 36, InnerPayload: 35, InnerICMP: 35, InnerUDP: 31, InnerTCP: 33, InnerSCTP: 34,
		}[want.Inner]
		if want.Version == 6 {
			base += 10
		}
		if got := l.PCType(); got != base {
			t.Errorf("PCTYPE %d, want %d", got, base)
		}
		damage(t, b, &l, want)
	})
}

// damage flips one bit in each checksummed part of the frame and wants that part, and no other, to be found bad.
func damage(t *testing.T, b []byte, l *Layers, want TypeInfo) {
	t.Helper()
	flip := func(at int) Checks {
		c := append([]byte(nil), b...)
		c[at] ^= 0x10
		again := testParser().Parse(c)
		return again.Verify(c)
	}
	const ttl = 8
	if l.IP.Version == 4 {
		if c := flip(l.IP.Offset + ttl); !c.BadIP || c.BadOuterIP || c.BadL4 {
			t.Errorf("damaged inner IP header: %+v", c)
		}
	}
	if l.Outer.Version == 4 {
		if c := flip(l.Outer.Offset + ttl); !c.BadOuterIP || c.BadIP || c.BadL4 {
			t.Errorf("damaged outer IP header: %+v", c)
		}
	}
	hasL4 := want.Inner == InnerUDP || want.Inner == InnerTCP || want.Inner == InnerSCTP
	if c := flip(len(b) - 3); c.BadL4 != hasL4 || c.BadIP || c.BadOuterIP {
		t.Errorf("damaged payload: %+v, L4 checked %v", c, hasL4)
	}
}
