package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// ipAt is where the IP header of a sample lies, 0 if it has none, and how long it is.
func ipAt(s *sample) (at, n int) {
	at = MinFrame
	if s.frame[12] == 0x81 {
		at += vlanTagLen
	}
	switch {
	case strings.HasPrefix(s.kinds, "ip4"):
		return at, ipv4Len
	case strings.HasPrefix(s.kinds, "ip6"):
		return at, ipv6Len
	}
	return 0, 0
}

// setDatagram makes the IP header at at say that n bytes follow it.
func setDatagram(f []byte, at, header, n int) {
	if header == ipv4Len {
		binary.BigEndian.PutUint16(f[at+2:], uint16(header+n))
		return
	}
	binary.BigEndian.PutUint16(f[at+4:], uint16(n))
}

// What lies behind the datagram is padding: no edit touches it, however much the protocol would like to have.
func TestEditsStayWithinTheDatagram(t *testing.T) {
	b := NewBatch(nil)
	for _, s := range samples(t) {
		at, header := ipAt(&s)
		if at == 0 {
			continue
		}
		for n := range 40 {
			for _, e := range edits {
				f := bytes.Clone(s.frame)
				setDatagram(f, at, header, n)
				p := load(b, bytes.Clone(f), 100)
				e.edit(p)
				got := wholeFrame(b, p)
				if end := at + header + n; !bytes.Equal(got[end:], f[end:]) {
					t.Fatalf("%s of %s with %d bytes of payload changed what is behind it:\n got  % x\n want % x",
						e.name, s.kinds, n, got[end:], f[end:])
				}
			}
		}
	}
}

// The ports can be set exactly where rules see them: from the first byte of payload on that makes the header whole.
func TestPortsOfAWholeHeaderAreSet(t *testing.T) {
	b := NewBatch(nil)
	need := map[string]int{"tcp": 20, "udp": 8, "sctp": 12, "icmp": 8}
	for _, s := range samples(t) {
		at, header := ipAt(&s)
		words := strings.Fields(s.kinds)
		if at == 0 || len(words) < 2 {
			continue
		}
		for n := range 40 {
			f := bytes.Clone(s.frame)
			setDatagram(f, at, header, n)
			p := load(b, bytes.Clone(f), 100)
			p.SetTPDst(0x7777, 0xffff)
			changed := !bytes.Equal(wholeFrame(b, p), f)
			if want := n >= need[words[1]]; changed != want {
				t.Errorf("%s with %d bytes of payload: changed %v, want %v", s.kinds, n, changed, want)
			}
		}
	}
}

func TestEditsLeaveWhatContradictsItself(t *testing.T) {
	b := NewBatch(nil)
	const l3, l4 = MinFrame, MinFrame + ipv4Len
	for _, c := range []struct {
		kinds, what string
		damage      func(f []byte)
		stays       string // edits of these kinds do nothing
	}{
		{"ip4 tcp", "a header of 16 bytes", func(f []byte) { f[l3] = 0x44 }, "ip4 tcp"},
		{"ip4 tcp", "a total length below the header's", func(f []byte) { put16(f[l3+2:], 19) }, "ip4 tcp"},
		{"ip4 tcp", "a header of 60 bytes, total 59", func(f []byte) { f[l3] = 0x4f; put16(f[l3+2:], 59) }, "ip4 tcp"},
		{"ip4 tcp", "a total length beyond the frame", func(f []byte) { put16(f[l3+2:], uint16(len(f)-l3+1)) }, "ip4 tcp"},
		{"ip4 tcp", "a data offset of 16 bytes", func(f []byte) { f[l4+12] = 0x40 }, "tcp"},
		{"ip4 tcp", "a data offset behind the datagram", func(f []byte) { put16(f[l3+2:], 20+59); f[l4+12] = 0xf0 }, "tcp"},
		{"ip6 udp", "a payload length beyond the frame", func(f []byte) { put16(f[l3+4:], uint16(len(f)-l3-ipv6Len+1)) }, "ip6 udp"},
		{"ip6 udp", "an extension header beyond the datagram", func(f []byte) { f[l3+6] = extDest; f[l3+ipv6Len+1] = 20 }, "ip6 udp"},
		{"arp", "another hardware type", func(f []byte) { f[l3+1] = 6 }, "arp"},
		{"arp", "another length of addresses", func(f []byte) { f[l3+4] = 8 }, "arp"},
	} {
		for _, s := range samples(t) {
			if s.kinds != c.kinds || s.frame[12] == 0x81 {
				continue
			}
			for _, e := range edits {
				stays := false
				for _, k := range strings.Fields(c.stays) {
					stays = stays || strings.Contains(" "+e.kinds+" ", " "+k+" ")
				}
				f := bytes.Clone(s.frame)
				c.damage(f)
				p := load(b, bytes.Clone(f), 100)
				e.edit(p)
				if got := wholeFrame(b, p); stays && !bytes.Equal(got, f) {
					t.Errorf("%s of %s with %s changed it:\n got  % x\n want % x", e.name, s.kinds, c.what, got, f)
				}
			}
		}
	}
}

// An address is covered by the checksum of a TCP header even if its data offset is wrong.
func TestChecksumsFollowAddressesWhateverTheDataOffset(t *testing.T) {
	b := NewBatch(nil)
	s := samples(t)[0]
	if s.kinds != "ip4 tcp" {
		t.Fatalf("the first sample is %s", s.kinds)
	}
	for _, offset := range []byte{0x50, 0x00} {
		f := bytes.Clone(s.frame)
		const l4 = MinFrame + ipv4Len
		binary.BigEndian.PutUint16(f[l4+16:], 0x1234)
		f[l4+12] = offset
		p := load(b, f, 100)
		p.SetIPv4Src(0x0a000101, 0xffffffff) // 10.0.0.1 becomes 10.0.1.1
		if got := fmt.Sprintf("%x", p.Header()[l4+16:l4+18]); got != "1134" {
			t.Errorf("data offset %#x: checksum %s, want 1134", offset, got)
		}
	}
}
