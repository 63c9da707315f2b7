package lan

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"weft/pmd/i40e/i40esim/frame"
)

// txRing is a transmit queue with its host and the switch behind it.
type txRing struct {
	*host
	q        *TxQueue
	settings TxSettings
	next     int    // descriptor that the driver writes next
	free     uint64 // where the next buffer goes
	sent     []Packet
	programs []FilterProgram
}

func newTxRing(t testing.TB, edit func(*TxContext)) *txRing {
	t.Helper()
	c := goodTx()
	c.HeadWB, c.HeadWBAddr = false, 0
	if edit != nil {
		edit(&c)
	}
	c, err := DecodeTxContext(c.Encode())
	if err != nil {
		t.Fatal(err)
	}
	r := &txRing{host: newHost(t), settings: DefaultTxSettings(), free: bufferAt, next: int(c.Head)}
	r.q = NewTxQueue(TxConfig{
		Index: 9, Context: c, DMA: r.host, Reporter: r.host, Settings: &r.settings,
		Program: func(p FilterProgram, _ []byte) { r.programs = append(r.programs, p) },
		Cause:   func() { r.causes++ },
	})
	return r
}

func (r *txRing) descAt(i int) uint64 { return ringAt + uint64(i*txDescLen) }

// put writes the next descriptor and returns its index.
func (r *txRing) put(w0, w1 uint64) int {
	i := r.next
	r.put64(r.descAt(i), w0, w1)
	r.next = (i + 1) % int(r.q.Context.Len)
	return i
}

// store puts b into a buffer of its own.
func (r *txRing) store(b []byte) uint64 {
	r.t.Helper()
	if r.free+uint64(len(b)) > hostBase+hostSize {
		r.free = bufferAt
	}
	at := r.free
	if err := r.Write(at, b); err != nil {
		r.t.Fatal(err)
	}
	r.free += uint64(len(b)+63) &^ 63
	return at
}

// dataWord is quad word 1 of a data descriptor.
func dataWord(cmd uint64, o frame.Offload, size int, tag1 uint16) uint64 {
	cmd |= uint64(o.IP)<<cmdIPShift | uint64(o.L4)<<cmdL4Shift
	return cmd<<4 | uint64(o.MACLen/2)<<16 | uint64(o.IPLen/4)<<23 | uint64(o.L4Len/4)<<30 | uint64(size)<<34 |
		uint64(tag1)<<48
}

// packet puts b into the ring, cut into the given number of buffers, and returns the index of its last descriptor.
func (r *txRing) packet(b []byte, buffers int, cmd uint64, o frame.Offload, tag1 uint16) int {
	r.t.Helper()
	last := 0
	for i := range buffers {
		part := b[len(b)*i/buffers : len(b)*(i+1)/buffers]
		c := cmd &^ (cmdEOP | cmdRS)
		if i == buffers-1 {
			c = cmd
		}
		last = r.put(r.store(part), dataWord(c, o, len(part), tag1))
	}
	return last
}

// run moves the tail behind what was put and lets the queue work.
func (r *txRing) run() int {
	r.q.SetTail(uint32(r.next))
	return r.q.Run(func(p *Packet) { r.sent = append(r.sent, *p) })
}

func (r *txRing) reported(i int) bool { return r.u64(r.descAt(i)+8)&0xF == dtypeDone }

// ctxWord is quad word 1 of a context descriptor.
func ctxWord(cmd, tsoLen, mss uint64) uint64 { return dtypeContext | cmd<<4 | tsoLen<<30 | mss<<50 }

func TestPacketsOfOneToEightBuffersGoOut(t *testing.T) {
	r := newTxRing(t, nil)
	for n := 1; n <= MaxBuffers; n++ {
		r.packet(tcpFrame(t, 100*n), n, cmdEOP, frame.Offload{}, 0)
	}
	if n := r.run(); n != MaxBuffers || len(r.sent) != MaxBuffers || r.causes != 1 {
		t.Fatalf("%d packets, %d frames, %d causes; %q", n, len(r.sent), r.causes, r.violations)
	}
	for n, p := range r.sent {
		if !bytes.Equal(p.Frame, tcpFrame(t, 100*(n+1))) || !p.Last || p.Segment != 0 {
			t.Errorf("packet %d: %d bytes", n, len(p.Frame))
		}
	}
	r.clean()
}

func TestOnlyRSReportsInTheDescriptor(t *testing.T) {
	r := newTxRing(t, nil)
	b := tcpFrame(t, 30)
	first := r.packet(b, 2, cmdEOP, frame.Offload{}, 0)
	second := r.packet(b, 2, cmdEOP|cmdRS, frame.Offload{}, 0)
	for range 10 { // more than a line
		r.packet(b, 1, cmdEOP, frame.Offload{}, 0)
	}
	address := r.u64(r.descAt(second))
	r.run()
	if r.q.Flush(); r.reported(first) || !r.reported(second) || r.reported(second-1) || r.reported(second+9) {
		t.Error("descriptors without RS are reported, or the one with RS is not")
	}
	if r.u64(r.descAt(second)) != address || r.u64(r.descAt(second)+8) != dtypeDone {
		t.Errorf("write-back %#x %#x", r.u64(r.descAt(second)), r.u64(r.descAt(second)+8))
	}
	if r.q.Head() != uint16(r.next) {
		t.Errorf("head %d", r.q.Head())
	}
	r.clean()
}

func TestHeadWriteBackByRSLineOrFlush(t *testing.T) {
	r := newTxRing(t, func(c *TxContext) { c.HeadWB, c.HeadWBAddr = true, headWBAt })
	b := tcpFrame(t, 30)
	head := func() uint32 { return binary.LittleEndian.Uint32(r.bytes(headWBAt, 4)) }
	r.packet(b, 1, cmdEOP, frame.Offload{}, 0)
	r.packet(b, 1, cmdEOP, frame.Offload{}, 0)
	if r.run(); head() != 0 || r.q.Pending() != 2 || r.q.Head() != 2 {
		t.Fatalf("without RS: head %d, pending %d", head(), r.q.Pending())
	}
	if n := r.q.Flush(); n != 2 || head() != 2 || r.q.Flush() != 0 {
		t.Fatalf("flush %d: head %d", n, head())
	}
	last := r.packet(b, 1, cmdEOP|cmdRS, frame.Offload{}, 0)
	if r.run(); head() != 3 || r.reported(last) {
		t.Fatalf("RS: head %d, descriptor %#x", head(), r.u64(r.descAt(last)+8))
	}
	for range 4 {
		r.packet(b, 1, cmdEOP, frame.Offload{}, 0)
	}
	if r.run(); head() != 3 {
		t.Fatalf("before the line is full: head %d", head())
	}
	r.packet(b, 1, cmdEOP, frame.Offload{}, 0)
	if r.run(); head() != 8 || r.q.Pending() != 0 {
		t.Fatalf("line full: head %d", head())
	}
	r.clean()
}

func TestHalfAPacketWaitsForTheRest(t *testing.T) {
	r := newTxRing(t, nil)
	b := tcpFrame(t, 300)
	r.put(r.store(b[:100]), dataWord(0, frame.Offload{}, 100, 0))
	if n := r.run(); n != 0 || r.q.Head() != 0 || r.causes != 0 {
		t.Fatalf("%d packets, head %d", n, r.q.Head())
	}
	r.put64(r.descAt(0), 0, 0) // what the device has read, the driver cannot take back
	r.put(r.store(b[100:]), dataWord(cmdEOP, frame.Offload{}, len(b)-100, 0))
	if n := r.run(); n != 1 || !bytes.Equal(r.sent[0].Frame, b) {
		t.Fatalf("%d packets; %q", n, r.violations)
	}
	r.clean()
}

// offloadFor is what a driver writes for a frame of tcpFrame.
func offloadFor(tags int) frame.Offload {
	return frame.Offload{MACLen: 14 + 4*tags, IP: frame.IPv4Checksum, IPLen: 20, L4: frame.L4TCP, L4Len: 20}
}

// seeded removes the checksums of a frame of tcpFrame and leaves the pseudo header's sum over n bytes of TCP.
func seeded(b []byte, tags, n int) []byte {
	out := append([]byte(nil), b...)
	ip := out[14+4*tags:]
	binary.BigEndian.PutUint16(ip[10:], 0)
	s := uint32(6 + n)
	for i := 12; i < 20; i += 2 {
		s += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[20+16:], uint16(s+s>>16))
	return out
}

func TestChecksumsAndTagsAreInserted(t *testing.T) {
	r := newTxRing(t, nil)
	want := tcpFrame(t, 100)
	driver := seeded(want, 0, 120)
	r.packet(driver, 3, cmdEOP, offloadFor(0), 0)
	r.packet(driver, 1, cmdEOP|cmdTag1, offloadFor(0), 5<<13|100)
	r.put(7<<32, ctxWord(ctxTag2, 0, 0))
	r.packet(driver, 1, cmdEOP|cmdTag1, offloadFor(0), 5<<13|100)
	r.put(7<<32, ctxWord(ctxTag2, 0, 0))
	r.packet(driver, 1, cmdEOP, offloadFor(0), 0)
	r.run()
	r.clean()
	tagged := tcpFrame(t, 100, 100)
	outer := frame.Tag{TPID: frame.EtherTypeQinQ, TCI: 7}
	for i, w := range [][]byte{want, tagged, frame.InsertTag(tagged, outer), frame.InsertTag(want, outer)} {
		if !bytes.Equal(r.sent[i].Frame, w) {
			t.Errorf("packet %d\ngot  %x\nwant %x", i, r.sent[i].Frame, w)
		}
	}
}

func TestSegmentation(t *testing.T) {
	const mss, n = 1000, 3500
	r := newTxRing(t, nil)
	whole := tcpFrame(t, n)
	r.put(0, ctxWord(ctxTSO, n, mss))
	last := r.packet(seeded(whole, 0, 0), 4, cmdEOP|cmdRS|cmdTag1, offloadFor(0), 42)
	if n := r.run(); n != 1 || len(r.sent) != 4 || !r.reported(last) {
		t.Fatalf("%d packets, %d segments; %q", n, len(r.sent), r.violations)
	}
	r.clean()
	var data []byte
	for i, p := range r.sent {
		var parser frame.Parser
		l := parser.Parse(p.Frame)
		if c := l.Verify(p.Frame); c != (frame.Checks{Checked: true}) || l.L2.Tags[0] != (frame.Tag{TPID: 0x8100, TCI: 42}) {
			t.Errorf("segment %d: %+v, %+v", i, c, l.L2)
		}
		if p.Segment != i || p.Last != (i == 3) {
			t.Errorf("segment %d: %+v", i, p.Segment)
		}
		data = append(data, p.Frame[l.L4.Offset+l.L4.Len:]...)
	}
	if !bytes.Equal(data, payload(n)) {
		t.Error("the payload is not what it was")
	}
}

func TestContextTellsTheSwitch(t *testing.T) {
	r := newTxRing(t, func(c *TxContext) { c.Timesync = true })
	b := tcpFrame(t, 10)
	for _, cmd := range []uint64{0, 0x10, 0x20, 0x30, ctxTimesync} {
		r.put(0, ctxWord(cmd, 0, 0x111))
		r.packet(b, 1, cmdEOP, frame.Offload{}, 0)
	}
	r.run()
	r.clean()
	for i, want := range []Packet{
		{}, {Switch: SwitchUplink}, {Switch: SwitchLocal}, {Switch: SwitchVSI, VSI: 0x111}, {Timesync: true},
	} {
		p := r.sent[i]
		if p.Switch != want.Switch || p.VSI != want.VSI || p.Timesync != want.Timesync {
			t.Errorf("packet %d: %+v, want %+v", i, p, want)
		}
	}
}

// TestTransmitRingWrapsForEver also compares with what was given, packet by packet.
func TestTransmitRingWrapsForEver(t *testing.T) {
	for _, length := range []uint16{32, 96} {
		r := newTxRing(t, func(c *TxContext) { c.Len, c.Head = length, length-3 })
		var want [][]byte
		for n := range 700 {
			for i := range n % 3 {
				b := tcpFrame(t, (n*31+i)%1400)
				r.packet(b, 1+(n+i)%MaxBuffers, cmdEOP, frame.Offload{}, 0)
				want = append(want, b)
			}
			r.run()
		}
		r.clean()
		if len(r.sent) != len(want) {
			t.Fatalf("%d packets, want %d", len(r.sent), len(want))
		}
		for i := range want {
			if !bytes.Equal(r.sent[i].Frame, want[i]) {
				t.Fatalf("packet %d differs", i)
			}
		}
	}
}

func TestDescriptorsAreReadAheadAndOnce(t *testing.T) {
	r := newTxRing(t, nil)
	for range 60 {
		r.packet(tcpFrame(t, 10), 1, cmdEOP, frame.Offload{}, 0)
	}
	r.run()
	if want := 60 + 1; r.reads != want { // the buffers, and the descriptors at once
		t.Errorf("%d reads, want %d", r.reads, want)
	}
	if fmt.Sprint(r.violations) != "[]" {
		t.Error(r.violations)
	}
}

// TestTunnelledSegmentation sends VXLAN through the fields of the context descriptor.
func TestTunnelledSegmentation(t *testing.T) {
	const n, mss = 2500, 800
	inner := tcpFrame(t, n)
	whole := vxlan(t, inner)
	var p frame.Parser
	l := p.Parse(whole)
	driver := append(append([]byte(nil), whole[:len(whole)-len(inner)]...), seeded(inner, 0, 0)...)
	o := offloadFor(0)
	r := newTxRing(t, nil)
	const eipt, l4tunt, natlen = 3, 1 << 9, (8 + 8 + 14) / 2
	r.put(eipt|20/4<<2|l4tunt|natlen<<12, ctxWord(ctxTSO, n, mss))
	r.packet(driver, 2, cmdEOP|cmdRS, o, 0)
	if r.run(); len(r.sent) != frame.Segments(n, mss) {
		t.Fatalf("%d segments; %q", len(r.sent), r.violations)
	}
	r.clean()
	p.UDPPorts = map[uint16]frame.UDPTunnel{l.L4.DstPort: frame.UDPTunnelVXLAN}
	for i, s := range r.sent {
		l = p.Parse(s.Frame)
		if c := l.Verify(s.Frame); c != (frame.Checks{Checked: true}) || l.PType() != 63 || l.Outer.Truncated || l.IP.Truncated {
			t.Errorf("segment %d: packet type %d, %+v, %+v", i, l.PType(), c, l)
		}
		if got := binary.BigEndian.Uint16(s.Frame[l.OuterUDP+4:]); int(got) != len(s.Frame)-l.OuterUDP {
			t.Errorf("segment %d: outer UDP length %d", i, got)
		}
	}
}
