package flowtable

import (
	"fmt"
	"slices"
	"testing"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/flowtable/ofctl"
	"weft/internal/packet"
)

// behind is a TCP frame to port 22 with extension headers of n bytes (a multiple of 8) in front of TCP, in pieces of at
// most piece bytes. kind is their type.
func behind(kind byte, n, piece int) flowtest.Frame {
	var chain flowtest.Frame
	first := byte(flow.ProtoTCP)
	for n > 0 {
		size := min(n, piece)
		next := kind
		if n -= size; n == 0 {
			next = flow.ProtoTCP
		}
		chain = chain.Join(flowtest.Frame{next, byte(size/8 - 1)}.Pad(size - 2))
		first = kind
	}
	return flowtest.NewFrame().IPv6(first, chain.Join(flowtest.TCPHdr(1000, 22, 0x002)))
}

// deliveries are the ways in which drivers put a frame into a batch.
var deliveries = []struct {
	name string
	add  func(b *packet.Batch, f flowtest.Frame)
}{
	{"lent in one segment", func(b *packet.Batch, f flowtest.Frame) { lend(b, f, len(f)) }},
	{"lent in segments of 24", func(b *packet.Batch, f flowtest.Frame) { lend(b, f, 24) }},
	{"owned", func(b *packet.Batch, f flowtest.Frame) {
		buf := make([]byte, packet.Headroom+len(f))
		copy(buf[packet.Headroom:], f)
		b.AddOwned(buf, packet.Headroom, len(f))
	}},
}

// lend adds f with a full window and the rest in segments of size bytes.
func lend(b *packet.Batch, f flowtest.Frame, size int) {
	p := b.Add(min(len(f), packet.WindowSize))
	rest := f[copy(p.Header(), f):]
	for len(rest) > 0 {
		n := min(size, len(rest))
		b.AddSegment(p, packet.SegmentOf(slices.Clone(rest[:n])))
		rest = rest[n:]
	}
}

func TestHeadersBehindTheWindowAreNotHidden(t *testing.T) {
	const room = packet.MaxWindow - flow.EthHeader - flow.IPv6Header - flow.TCPHeader // for extension headers
	tooLong := drop(packet.DropHeaderTooLong)
	denied, passed := drop(packet.DropByRule), output(1)
	acls := []struct {
		name  string
		rules []string
		// What becomes of a packet to port 22 whose headers can be reached, and of one whose cannot.
		near, far []Op
	}{
		{"ports", []string{"tcp6,tp_dst=22,actions=drop", "priority=0,actions=1"}, denied, tooLong},
		{"flags", []string{"tcp6,tcp_flags=+syn,actions=drop", "priority=0,actions=1"}, denied, tooLong},
		{"protocol", []string{"tcp6,actions=drop", "priority=0,actions=1"}, denied, tooLong},
		{"another protocol's ports", []string{"udp,tp_dst=53,actions=drop", "priority=0,actions=1"}, passed, tooLong},
		{"addresses", []string{"ipv6,ipv6_dst=2001:db8::9,actions=drop", "priority=0,actions=1"}, passed, passed},
		{"Ethernet", []string{"dl_src=02:00:00:00:00:77,actions=drop", "priority=0,actions=1"}, passed, passed},
		{"port", []string{"in_port=9,actions=drop", "priority=0,actions=1"}, passed, passed},
	}
	frames := []struct {
		n, piece int
		far      bool
	}{
		{0, 8, false},
		{48, 48, false},
		{56, 56, false},
		{64, 8, false},
		{80, 80, false},
		{200, 200, false},
		{room &^ 7, room &^ 7, false},
		{room &^ 7, 8, false},
		{room&^7 + 8, room&^7 + 8, true},
		{room&^7 + 8, 8, true},
		{2048, 2048, true},
		{1400, 8, true},
	}
	for _, acl := range acls {
		for _, d := range deliveries {
			for _, kind := range []byte{flow.ExtHopByHop, flow.ExtDest, flow.ExtRouting} {
				b := newBench(t, acl.rules...)
				for _, c := range frames {
					f := behind(kind, c.n, c.piece)
					want := acl.near
					if c.far && (acl.name != "protocol" || c.n > room+flow.TCPHeader) {
						want = acl.far
					}
					for range 2 { // the second time, what can be is cached
						b.b.Reset()
						b.b.InPort = 1
						d.add(b.b, flowtest.NewFrame().IPv6(flow.ProtoUDP, flowtest.UDPHdr(1, 2, 0)))
						d.add(b.b, f)
						d.add(b.b, flowtest.NewFrame().IPv6(flow.ProtoUDP, flowtest.UDPHdr(1, 2, 0)))
						b.l.Batch(b.b)
						if got := b.l.Ops(1); !slices.Equal(got, want) {
							t.Errorf("rules on %s, %s, %d bytes of header %d in pieces of %d: got %v, want %v",
								acl.name, d.name, c.n, kind, c.piece, got, want)
						}
						if got := b.l.Ops(2); !slices.Equal(got, passed) {
							t.Errorf("the packet behind it: %v", got)
						}
						whole := make([]byte, b.b.Packet(1).Len())
						if b.b.CopyTo(whole, b.b.Packet(1)); !slices.Equal(whole, f) {
							t.Errorf("%s: the frame was changed", d.name)
						}
					}
				}
			}
		}
	}
}

// A transport header's checksum covers the addresses: who changes these needs the header, whether rules look at it or not.
func TestHeadersWhoseChecksumChangesAreInSight(t *testing.T) {
	for _, action := range []string{
		"set_field:2001:db8::9->ipv6_src", "set_field:::1/::1->ipv6_dst", "move:NXM_OF_ETH_SRC[]->NXM_NX_IPV6_SRC[0..47]",
	} {
		b := newBench(t, "ipv6,actions="+action+",1", "priority=0,actions=2")
		for _, n := range []int{0, 56, 64, 200} {
			for range 2 { // the second time, what can be is cached
				b.b.Reset()
				b.b.InPort = 1
				f := behind(flow.ExtDest, n, 8)
				lend(b.b, f, 24)
				b.l.Batch(b.b)
				if got := len(b.b.Packet(0).Header()); got < min(len(f), flow.EthHeader+flow.IPv6Header+n+flow.TCPHeader) {
					t.Errorf("%s, %d bytes of extensions: %d bytes are in sight", action, n, got)
				}
			}
		}
		b.b.Reset()
		lend(b.b, behind(flow.ExtDest, 1400, 8), 24)
		b.l.Batch(b.b)
		if got := b.l.Ops(0); !slices.Equal(got, drop(packet.DropHeaderTooLong)) {
			t.Errorf("%s, the header out of reach: %v", action, got)
		}
	}
}

func TestPacketsWithHeadersOutOfReachCreditNoRule(t *testing.T) {
	b := newBench(t, "tcp6,tp_dst=22,actions=drop", "priority=0,actions=1")
	b.send(1, behind(flow.ExtDest, 2048, 2048))
	for _, d := range b.p.Dump(flow.Filter{}) {
		if d.Packets != 0 {
			t.Errorf("%s", ofctl.FormatStats(&d, nil))
		}
	}
	if s := b.l.CacheStats(); s.Entries != 0 || s.Misses != 1 {
		t.Errorf("got %+v", s)
	}
}

func TestBrokenChainsAreNoReasonToDrop(t *testing.T) {
	// A header that is longer than the datagram says, or a datagram longer than the frame: no window helps, and hosts
	// drop such packets. They have no transport header, as in Open vSwitch.
	b := newBench(t, "tcp6,tp_dst=22,actions=drop", "priority=0,actions=1")
	long := flowtest.NewFrame().IPv6(flow.ExtDest, flowtest.Frame{flow.ProtoTCP, 100}.Pad(200))
	short := behind(flow.ExtDest, 200, 200)
	for i, f := range []flowtest.Frame{
		long, short[:len(short)-1], short[:130], flowtest.NewFrame().IPv6(flow.ExtDest, flowtest.Frame{6}),
	} {
		for _, d := range deliveries {
			b.b.Reset()
			d.add(b.b, f)
			b.l.Batch(b.b)
			if got := b.l.Ops(0); !slices.Equal(got, output(1)) {
				t.Errorf("frame %d, %s: %v", i, d.name, got)
			}
		}
	}
}

func TestLaterFragmentsNeedNoTransportHeader(t *testing.T) {
	b := newBench(t, "tcp6,tp_dst=22,actions=drop", "priority=0,actions=1")
	for n := 8; n <= 320; n += 8 {
		chain := flowtest.Frame{flow.ExtFragment, byte(n/8 - 1)}.Pad(n - 2)
		f := flowtest.NewFrame().IPv6(flow.ExtDest, chain.Join(flowtest.Frame{flow.ProtoTCP, 0}.U16(0x0010).U32(9)).Pad(1000))
		want := output(1)
		if flow.EthHeader+flow.IPv6Header+n+flow.ExtMin > packet.MaxWindow {
			want = drop(packet.DropHeaderTooLong)
		}
		if got := b.send(1, f); !slices.Equal(got, want) {
			t.Errorf("%d bytes before the fragment header: %v, want %v", n, got, want)
		}
	}
}

func TestPullingDoesNotAllocate(t *testing.T) {
	b := newBench(t, "tcp6,tp_dst=22,actions=drop", "priority=0,actions=1")
	frames := []flowtest.Frame{behind(flow.ExtDest, 200, 200), behind(flow.ExtDest, 2048, 2048), udpTo(1)}
	if n := testing.AllocsPerRun(100, func() {
		fill(b.b, 1, frames)
		b.l.Batch(b.b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got := fmt.Sprint(b.l.Ops(0), b.l.Ops(1)); got != fmt.Sprint(drop(packet.DropByRule), drop(packet.DropHeaderTooLong)) {
		t.Errorf("got %s: this tests nothing", got)
	}
}
