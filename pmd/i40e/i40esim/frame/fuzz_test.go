package frame

import (
	"encoding/binary"
	"testing"
)

// seeds adds one frame of each kind of tunnel and payload, and their beginnings.
func seeds(f *testing.F) {
	for _, kind := range []Tunnel{TunnelNone, TunnelIPIP, TunnelGRENAT, TunnelMAC, TunnelMACVLAN} {
		for _, over := range []TunnelType{OverUDP, OverGRE} {
			for _, version := range []int{4, 6} {
				for _, l := range innerLayers(version, 24) {
					if l == nil {
						continue
					}
					if kind == TunnelNone {
						f.Add(build(f, append(outerLayers(4, TunnelMAC, over, version)[:1], l...)...))
						continue
					}
					f.Add(build(f, append(outerLayers(10-version, kind, over, version), l...)...))
				}
			}
		}
	}
}

// FuzzParse wants offsets that lie inside the frame and inside each other, and a packet type that exists.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		l := testParser().Parse(b)
		for _, h := range []IP{l.Outer, l.IP} {
			if h.Version != 0 && (h.Offset < macHeaderLen || h.Offset+h.Len > h.End || h.End > len(b)) {
				t.Fatalf("IP %+v of %d bytes", h, len(b))
			}
		}
		if l.L4.Protocol != 0 && (l.L4.Offset != l.IP.Offset+l.IP.Len || l.L4.Offset+l.L4.Len > l.IP.End) {
			t.Fatalf("L4 %+v, IP %+v", l.L4, l.IP)
		}
		if l.Tunnel != TunnelNone && (l.TunnelAt+l.TunnelLen > len(b) || l.IP.Version != 0 && l.IP.Offset < l.TunnelAt+l.TunnelLen) {
			t.Fatalf("%+v", l)
		}
		if _, known := l.PType().Describe(); !known {
			t.Fatalf("packet type %d", l.PType())
		}
		l.Verify(b)
		v := l.Fields(b)
		v.Hash(hardwareKey(), DefaultInputSet(l.PCType()))
		if l.L2.NumTags > 0 && len(StripTags(b, 0, l.L2.NumTags)) != len(b)-l.L2.NumTags*TagLen {
			t.Fatal("tags")
		}
	})
}

// FuzzOffload gives any lengths and types: what Check passes, Insert and Segment must be able to do.
func FuzzOffload(f *testing.F) {
	f.Add(make([]byte, 200), []byte{14, 2, 20, 1, 30, 0, 3, 20, 1, 20}, uint16(64))
	f.Add(make([]byte, 90), []byte{14, 0, 0, 0, 0, 0, 1, 40, 3, 8}, uint16(7))
	f.Fuzz(func(t *testing.T, b, d []byte, mss uint16) {
		if len(d) < 10 || mss == 0 || len(b) > 4096 || len(b) < 17 {
			return
		}
		o := Offload{
			MACLen: int(d[0]&0x7F) * 2, OuterIP: IPType(d[1] & 3), OuterIPLen: int(d[2]&0x3F) * 4,
			Tunnel: TunnelType(d[3] & 3), TunnelLen: int(d[4]&0x7F) * 2, KeepOuterID: d[5]&1 != 0,
			IP: IPType(d[6] & 3), IPLen: int(d[7]&0x7F) * 4, L4: L4Type(d[8] & 3), L4Len: int(d[9]&0xF) * 4,
		}
		if o.Check(len(b)) != nil {
			return
		}
		o.Mismatch(b, true)
		if (o.L4 == L4TCP || o.L4 == L4UDP) && o.HeaderLen() < len(b) {
			total := 0
			for _, s := range o.Segment(b, int(mss), DefaultFlagMasks()) {
				total += len(s) - o.HeaderLen()
				if len(s) > o.HeaderLen()+int(mss) {
					t.Fatalf("a segment of %d bytes", len(s))
				}
			}
			if total != len(b)-o.HeaderLen() {
				t.Fatalf("%d bytes of payload became %d", len(b)-o.HeaderLen(), total)
			}
		}
		n := len(b)
		if o.Insert(b); len(b) != n {
			t.Fatal("length changed")
		}
		if o.IP == IPv4Checksum && o.L4 == L4None {
			var s uint32
			for h := b[o.ipAt() : o.ipAt()+o.IPLen]; len(h) > 0; h = h[2:] {
				s += uint32(binary.BigEndian.Uint16(h))
			}
			if s%0xFFFF != 0 {
				t.Fatalf("header sum %#x", s)
			}
		}
	})
}
