package packet

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

func TestEditsKeepChecksumsRight(t *testing.T) {
	b := NewBatch(nil)
	for _, s := range samples(t) {
		if strings.Contains(s.kinds, "sctp") {
			s.frame = rebuilt(s.frame) // gopacket writes SCTP's checksum in the other byte order
		}
		if want := rebuilt(s.frame); !bytes.Equal(s.frame, want) && s.kinds != "mpls" {
			t.Fatalf("%s: the test's own checksums differ\n% x\n% x", s.kinds, s.frame, want)
		}
		for _, e := range edits {
			p := load(b, bytes.Clone(s.frame), 100)
			e.edit(p)
			got := wholeFrame(b, p)
			applies := false
			for _, k := range strings.Fields(e.kinds) {
				applies = applies || slices.Contains(strings.Fields(s.kinds), k)
			}
			if changed := !bytes.Equal(got, s.frame); changed != applies {
				t.Errorf("%s of %s: changed %v, want %v", e.name, s.kinds, changed, applies)
				continue
			}
			if want := rebuilt(got); s.kinds != "mpls" && !bytes.Equal(got, want) {
				t.Errorf("%s of %s:\n got  % x\n want % x", e.name, s.kinds, got, want)
			}
		}
	}
}

// A checksum that was wrong before is as wrong afterwards: damage on the way stays visible.
func TestEditsDoNotRepairDamage(t *testing.T) {
	b := NewBatch(nil)
	for _, s := range samples(t) {
		if !strings.Contains(s.kinds, "udp") {
			continue
		}
		damaged := bytes.Clone(s.frame)
		damaged[len(damaged)-1] ^= 0x55
		p := load(b, damaged, 100)
		p.SetTPDst(7, 0xffff)
		got := wholeFrame(b, p)
		if bytes.Equal(got, rebuilt(got)) {
			t.Errorf("%s: a damaged payload got a right checksum", s.kinds)
		}
	}
}

func TestUDPWithoutChecksumStaysWithout(t *testing.T) {
	b := NewBatch(nil)
	for _, s := range samples(t) {
		if s.kinds != "ip4 udp" {
			continue
		}
		f := bytes.Clone(s.frame)
		f[40], f[41] = 0, 0
		p := load(b, f, 100)
		p.SetIPv4Src(1, 0xffffffff)
		p.SetTPSrc(9, 0xffff)
		if h := p.Header(); h[40]|h[41] != 0 {
			t.Errorf("a checksum appeared: %#x", h[40:42])
		}
	}
}

func TestLaterFragmentsKeepTheirPayload(t *testing.T) {
	b := NewBatch(nil)
	for _, s := range samples(t) {
		if s.kinds != "ip4 tcp" || s.frame[12] != 8 {
			continue
		}
		f := bytes.Clone(s.frame)
		f[21] = 9 // a fragment offset
		p := load(b, f, 100)
		p.SetIPv4Src(0x01020304, 0xffffffff)
		p.SetTPSrc(9, 0xffff)
		if got := wholeFrame(b, p); !bytes.Equal(got[34:], f[34:]) || bytes.Equal(got[26:30], f[26:30]) {
			t.Errorf("payload changed, or the address did not: % x", got)
		}
	}
}

func TestLabelsArePushedAndPoppedBehindTheTags(t *testing.T) {
	b := NewBatch(nil)
	for _, s := range samples(t) {
		p := load(b, bytes.Clone(s.frame), 100)
		if !p.PushMPLS(0x8847, 0x0001113f) || !p.PushVLAN(TPID8021Q, 7) || !p.PushMPLS(0x8848, 0x0002103e) {
			t.Fatalf("%s: no room", s.kinds)
		}
		got := wholeFrame(b, p)
		at := 12 + vlanTagLen
		if s.frame[12] == 0x81 {
			at += vlanTagLen
		}
		if want := []byte{0x88, 0x48, 0, 2, 0x10, 0x3e, 0, 1, 0x11, 0x3f}; !bytes.Equal(got[at:at+len(want)], want) {
			t.Errorf("%s: % x", s.kinds, got)
		}
		p.PopMPLS(0x8847)
		p.PopVLAN()
		l := p.layers()
		p.PopMPLS(uint16(s.frame[l.l3-2])<<8 | uint16(s.frame[l.l3-1]))
		if got := wholeFrame(b, p); !bytes.Equal(got, s.frame) {
			t.Errorf("%s:\n got  % x\n want % x", s.kinds, got, s.frame)
		}
	}
}

// A label goes behind the tags of whatever frame, and one with LLC and SNAP still has them.
func TestLabelsOfFramesWithoutPayloadOrEtherType(t *testing.T) {
	b := NewBatch(nil)
	const eth = "020000000002020000000001"
	for _, c := range []struct{ name, frame, pushed, popped string }{
		{"no payload", eth + "88b5", eth + "884800005140", eth + "0800"},
		{"nothing but a TPID", eth + "8100", eth + "884800005140", eth + "0800"},
		{"tags without payload", eth + "81000005" + "0000", eth + "81000005" + "884800005140", eth + "81000005" + "0800"},
		{"a length", eth + "0004" + "42420300", eth + "884800005140" + "42420300", eth + "0800" + "42420300"},
		{
			"SNAP", eth + "000a" + "aaaa03000000" + "0806" + "0102", eth + "000e" + "aaaa03000000" + "884800005140" + "0102",
			eth + "000a" + "aaaa03000000" + "0800" + "0102",
		},
		{
			"SNAP behind a tag", eth + "81006005" + "0008" + "aaaa03000000" + "0806",
			eth + "81006005" + "000c" + "aaaa03000000" + "884800005140", eth + "81006005" + "0008" + "aaaa03000000" + "0800",
		},
		{
			"SNAP of others", eth + "000a" + "aaaa0300000c" + "0806" + "0102",
			eth + "884800005140" + "aaaa0300000c" + "0806" + "0102", eth + "0800" + "aaaa0300000c" + "0806" + "0102",
		},
	} {
		frame, _ := hex.DecodeString(c.frame)
		p := load(b, frame, 100)
		if !p.PushMPLS(0x8848, 0x5140) {
			t.Errorf("%s: no push", c.name)
		}
		if got := hex.EncodeToString(wholeFrame(b, p)); got != c.pushed {
			t.Errorf("%s pushed:\n got  %s\n want %s", c.name, got, c.pushed)
		}
		p.SetMPLS(0x6000, 0xfffff000)
		if got := hex.EncodeToString(wholeFrame(b, p)); got != strings.Replace(c.pushed, "00005140", "00006140", 1) {
			t.Errorf("%s set: %s", c.name, got)
		}
		p.PopMPLS(0x0800)
		if got := hex.EncodeToString(wholeFrame(b, p)); got != c.popped {
			t.Errorf("%s popped:\n got  %s\n want %s", c.name, got, c.popped)
		}
	}
	long, _ := hex.DecodeString(eth + "05fe" + "aaaa03000000" + "0806")
	if p := load(b, long, 100); p.PushMPLS(0x8847, 1) || p.Len() != len(long) {
		t.Errorf("a length of 1534 became an EtherType: % x", p.Header())
	}
}

// Frames that are cut or damaged anywhere do not make an edit panic, nor grow or shrink the frame.
func FuzzEdits(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.frame, uint8(100))
		f.Add(s.frame, uint8(20))
	}
	f.Fuzz(func(t *testing.T, frame []byte, split uint8) {
		if len(frame) < MinFrame || split < MinFrame {
			return
		}
		b := NewBatch(nil)
		p := load(b, bytes.Clone(frame), int(split))
		for _, e := range edits {
			e.edit(p)
		}
		if p.Len() != len(frame) {
			t.Fatalf("%d bytes became %d", len(frame), p.Len())
		}
		p.PushMPLS(0x8847, 1)
		p.PopMPLS(0x0800)
		p.PopMPLS(0x0800)
	})
}
