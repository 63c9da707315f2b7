package lan

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"weft/pmd/i40e/i40esim/frame"
)

// rxRing is a receive queue with its host: each descriptor has a buffer of its own.
type rxRing struct {
	*host
	q   *RxQueue
	ctx RxContext
}

func newRxRing(t testing.TB, edit func(*RxContext)) *rxRing {
	t.Helper()
	c := goodRx()
	if edit != nil {
		edit(&c)
	}
	c, err := DecodeRxContext(c.Encode())
	if err != nil {
		t.Fatal(err)
	}
	r := &rxRing{host: newHost(t), ctx: c}
	r.q = NewRxQueue(3, c, r.host, r.host, func() { r.causes++ })
	for i := range int(c.Len) {
		r.give(i)
	}
	r.q.SetTail(uint32(c.Len) - 1)
	return r
}

func (r *rxRing) descLen() int { return r.q.descLen() }

func (r *rxRing) descAt(i int) uint64 { return ringAt + uint64(i*r.descLen()) }

func (r *rxRing) buffer(i int) uint64 { return bufferAt + uint64(i*r.ctx.Buffer) }

// give makes descriptor i one for the device.
func (r *rxRing) give(i int) { r.put64(r.descAt(i), r.buffer(i), 0) }

// word returns quad word w of descriptor i.
func (r *rxRing) word(i, w int) uint64 { return r.u64(r.descAt(i) + uint64(8*w)) }

// done says whether the host sees descriptor i as finished.
func (r *rxRing) done(i int) bool { return r.word(i, 1)&rxDD != 0 }

func (r *rxRing) length(i int) int { return int(r.word(i, 1) >> rxLenShift & 0x3FFF) }

func (r *rxRing) deliver(b []byte, m *RxMeta) {
	r.t.Helper()
	if v := r.q.Deliver(b, m); v != Received {
		r.t.Fatalf("verdict %d; reported %q", v, r.violations)
	}
}

func TestReceiveDescriptorsAppearByFullLineOrFlush(t *testing.T) {
	for _, long := range []bool{true, false} {
		perLine := map[bool]int{true: 4, false: 8}[long]
		r := newRxRing(t, func(c *RxContext) { c.Long = long })
		b := tcpFrame(t, 100)
		for i := range perLine - 1 {
			r.deliver(b, metaOf(b))
			for j := range i + 1 {
				if r.done(j) {
					t.Fatalf("long %v: descriptor %d is visible after %d frames", long, j, i+1)
				}
			}
		}
		if r.q.Pending() != perLine-1 || r.causes != perLine-1 {
			t.Errorf("pending %d, causes %d", r.q.Pending(), r.causes)
		}
		r.deliver(b, metaOf(b))
		for j := range perLine {
			if !r.done(j) || r.length(j) != len(b) {
				t.Errorf("long %v: descriptor %d of a full line: %#x", long, j, r.word(j, 1))
			}
		}
		r.deliver(b, metaOf(b))
		if r.done(perLine) || r.q.Pending() != 1 {
			t.Error("the next line began visible")
		}
		if n := r.q.Flush(); n != 1 || !r.done(perLine) || r.q.Flush() != 0 {
			t.Errorf("flush wrote %d", n)
		}
		if !bytes.Equal(r.bytes(r.buffer(perLine), len(b)), b) {
			t.Error("the buffer does not hold the frame")
		}
		// After a flush in the middle of a line the next write-back is at the line's end again.
		for range perLine - 1 {
			r.deliver(b, metaOf(b))
		}
		if r.q.Pending() != 0 || !r.done(2*perLine-1) {
			t.Errorf("pending %d after the second line", r.q.Pending())
		}
		r.clean()
	}
}

func TestReceiveStatusTypeHashAndLength(t *testing.T) {
	b := tcpFrame(t, 10)
	bad := append([]byte(nil), b...)
	bad[len(bad)-1]++
	for name, x := range map[string]struct {
		frame  []byte
		edit   func(*RxMeta)
		status uint64 // bits 0..26, beside DD and EOF
		hash   uint64
	}{
		"plain":            {b, func(*RxMeta) {}, rxL3L4P, 0},
		"bad TCP checksum": {bad, func(*RxMeta) {}, rxL3L4P | rxErrL4<<rxErrShift, 0},
		"hash":             {b, func(m *RxMeta) { m.HashValid, m.Hash = true, 0xCAFEBABE }, rxL3L4P | 3<<12, 0xCAFEBABE},
		"multicast":        {b, func(m *RxMeta) { m.Cast = Multicast }, rxL3L4P | 1<<9, 0},
		"broadcast, looped back": {
			b, func(m *RxMeta) { m.Cast, m.Loopback = Broadcast, true },
			rxL3L4P | 2<<9 | 1<<14, 0,
		},
		"timesync":     {b, func(m *RxMeta) { m.TimesyncValid, m.TimesyncIndex = true, 2 }, rxL3L4P | 1<<7 | 2<<5, 0},
		"filter match": {b, func(m *RxMeta) { m.Filtered = true }, rxL3L4P | 1<<11, 0},
	} {
		r := newRxRing(t, nil)
		m := metaOf(x.frame)
		x.edit(m)
		r.deliver(x.frame, m)
		r.q.Flush()
		w0, w1 := r.word(0, 0), r.word(0, 1)
		if got := w1 & 0x7FFFFFF; got != x.status|rxDD|rxEOF {
			t.Errorf("%s: status and error %#x, want %#x", name, got, x.status|rxDD|rxEOF)
		}
		if ptype := w1 >> 30 & 0xFF; ptype != 26 || r.length(0) != len(b) || w1>>52 != 0 {
			t.Errorf("%s: %#x: packet type %d", name, w1, ptype)
		}
		if w0 != x.hash<<32 || r.word(0, 2) != 0 || r.word(0, 3) != 0 {
			t.Errorf("%s: quad words %#x %#x %#x", name, w0, r.word(0, 2), r.word(0, 3))
		}
		r.clean()
	}
}

func TestFilterIDGoesWhereTheDescriptorHasRoom(t *testing.T) {
	b := tcpFrame(t, 10)
	m := metaOf(b)
	m.Filtered, m.ReportID, m.FilterID, m.HashValid, m.Hash = true, true, 0x1234, true, 0x5678
	r := newRxRing(t, nil)
	r.deliver(b, m)
	r.q.Flush()
	if r.word(0, 0)>>32 != 0x5678 || r.word(0, 1)>>12&3 != 3 || r.word(0, 2)>>4&3 != 1 || r.word(0, 3)>>32 != 0x1234 {
		t.Errorf("32 bytes: %#x %#x %#x %#x", r.word(0, 0), r.word(0, 1), r.word(0, 2), r.word(0, 3))
	}
	r = newRxRing(t, func(c *RxContext) { c.Long = false })
	r.deliver(b, m)
	r.q.Flush()
	if r.word(0, 0)>>32 != 0x1234 || r.word(0, 1)>>12&3 != 1 {
		t.Errorf("16 bytes: %#x %#x", r.word(0, 0), r.word(0, 1))
	}
}

func TestLongFramesFillSeveralBuffers(t *testing.T) {
	for _, x := range []struct{ buffer, size, want int }{
		{2048, 2048, 1}, {2048, 2049, 2}, {2048, MaxFrame - CRCLen, 5}, {1024, 5 * 1024, 5}, {1024, 1025, 2},
	} {
		r := newRxRing(t, func(c *RxContext) {
			c.Buffer = x.buffer
			c.RxMax = min(MaxFrame, 5*x.buffer+CRCLen)
			c.RxMax = min(c.RxMax, 5*x.buffer)
		})
		if x.size+CRCLen > r.ctx.RxMax {
			x.size = r.ctx.RxMax - CRCLen
		}
		b := tcpFrame(t, x.size-54)
		r.deliver(b, metaOf(b))
		r.q.Flush()
		var got []byte
		for i := range x.want {
			got = append(got, r.bytes(r.buffer(i), r.length(i))...)
			last := i == x.want-1
			if eof := r.word(i, 1)&rxEOF != 0; eof != last {
				t.Errorf("%+v: descriptor %d: EOF %v", x, i, eof)
			}
			if !last && (r.length(i) != x.buffer || r.word(i, 1) != rxDD|uint64(x.buffer)<<rxLenShift) {
				t.Errorf("%+v: descriptor %d: %#x", x, i, r.word(i, 1))
			}
		}
		if !bytes.Equal(got, b) || r.done(x.want) || r.causes != 1 {
			t.Errorf("%+v: %d bytes, causes %d", x, len(got), r.causes)
		}
		r.clean()
	}
}

func TestFramesWithoutRoomAreDroppedWhole(t *testing.T) {
	r := newRxRing(t, nil)
	b, big := tcpFrame(t, 100), tcpFrame(t, 5000)
	for range int(r.ctx.Len) - 2 { // one descriptor is the host's, one stays free
		r.deliver(b, metaOf(b))
	}
	head := r.q.Head()
	if v := r.q.Deliver(big, metaOf(big)); v != NoDescriptors || r.q.Head() != head {
		t.Errorf("verdict %d, head %d", v, r.q.Head())
	}
	r.deliver(b, metaOf(b))
	if v := r.q.Deliver(b, metaOf(b)); v != NoDescriptors || r.q.Free() != 0 {
		t.Errorf("verdict %d", v)
	}
	r.give(0)
	r.q.SetTail(0)
	r.deliver(b, metaOf(b))
	r.clean()
}

func TestFramesBeyondRXMAXAreDropped(t *testing.T) {
	r := newRxRing(t, func(c *RxContext) { c.RxMax = 1518 })
	b := tcpFrame(t, 1518-CRCLen-54)
	r.deliver(b, metaOf(b))
	b = tcpFrame(t, 1518-CRCLen-54+1)
	if v := r.q.Deliver(b, metaOf(b)); v != Oversize || r.q.Head() != 1 {
		t.Errorf("verdict %d", v)
	}
}

func TestFramesBeyondAChainAreDropped(t *testing.T) {
	r := newRxRing(t, func(c *RxContext) { c.Buffer, c.RxMax = 1024, MaxFrame })
	b := tcpFrame(t, MaxChain*1024-54)
	r.deliver(b, metaOf(b))
	if r.q.Head() != MaxChain {
		t.Fatalf("a frame of %d bytes took %d buffers", len(b), r.q.Head())
	}
	b = tcpFrame(t, MaxChain*1024-54+1)
	if v := r.q.Deliver(b, metaOf(b)); v != Oversize || r.q.Head() != MaxChain {
		t.Errorf("verdict %d, head %d", v, r.q.Head())
	}
}

func TestFrameCheckSequenceIsKeptWhenNotStripped(t *testing.T) {
	r := newRxRing(t, func(c *RxContext) { c.StripCRC = false })
	b := tcpFrame(t, 100, 5)
	m := metaOf(b)
	m.Strip = 1
	r.deliver(b, m)
	r.q.Flush()
	got := r.bytes(r.buffer(0), r.length(0))
	if r.word(0, 1)&rxCRCP == 0 || r.length(0) != len(b)-4+CRCLen {
		t.Fatalf("%#x", r.word(0, 1))
	}
	if fcs := binary.LittleEndian.Uint32(got[len(got)-4:]); fcs != crc32.ChecksumIEEE(b) {
		t.Errorf("frame check sequence %#x", fcs)
	}
}

func TestTagsOfTheFrameGoToTheDescriptor(t *testing.T) {
	const outer, inner = 5<<13 | 100, 5<<13 | 200
	for name, x := range map[string]struct {
		long, l2tsel bool
		mode         TagMode
		strip        int
		tags         []uint16
		left         []uint16
		tag1, tag2   uint64 // 0: not present
	}{
		"one tag":                      {true, true, TagStrip, 1, []uint16{100}, nil, outer, 0},
		"one tag, L2TSEL 0":            {true, false, TagStrip, 1, []uint16{100}, nil, 0, outer},
		"one tag kept":                 {true, true, TagKeep, 1, []uint16{100}, []uint16{100}, 0, 0},
		"one tag hidden":               {true, true, TagHide, 1, []uint16{100}, nil, 0, 0},
		"priority alone":               {true, true, TagStripPriority, 1, []uint16{100}, nil, 5 << 13, 0},
		"two tags, one stripped":       {true, true, TagStrip, 1, []uint16{100, 200}, []uint16{200}, outer, 0},
		"two tags, both stripped":      {true, true, TagStrip, 2, []uint16{100, 200}, nil, outer, inner},
		"both, L2TSEL 0":               {true, false, TagStrip, 2, []uint16{100, 200}, nil, inner, outer},
		"both, 16-byte descriptor":     {false, true, TagStrip, 2, []uint16{100, 200}, nil, outer, 0},
		"none to strip":                {true, true, TagStrip, 2, nil, nil, 0, 0},
		"one tag, not asked to strip":  {true, true, TagStrip, 0, []uint16{100}, []uint16{100}, 0, 0},
		"one tag, two asked to strip":  {true, true, TagStrip, 2, []uint16{100}, nil, outer, 0},
		"short descriptor, one hidden": {false, true, TagHide, 1, []uint16{100}, nil, 0, 0},
	} {
		r := newRxRing(t, func(c *RxContext) { c.Long, c.L2TSel = x.long, x.l2tsel })
		b := tcpFrame(t, 64, x.tags...)
		m := metaOf(b)
		m.Strip, m.TagMode = x.strip, x.mode
		r.deliver(b, m)
		r.q.Flush()
		if got := r.bytes(r.buffer(0), r.length(0)); !bytes.Equal(got, tcpFrame(t, 64, x.left...)) {
			t.Errorf("%s: frame %x", name, got)
		}
		if got := r.word(0, 0) >> 16 & 0xFFFF; got != x.tag1 || (r.word(0, 1)&rxL2Tag1 != 0) != (x.tag1 != 0) {
			t.Errorf("%s: L2TAG1 %#x, status %#x", name, got, r.word(0, 1))
		}
		if x.long {
			if got := r.word(0, 2) >> 48; got != x.tag2 || (r.word(0, 2)&rxExtL2Tag2 != 0) != (x.tag2 != 0) {
				t.Errorf("%s: L2TAG2 %#x", name, r.word(0, 2))
			}
		}
		r.clean()
	}
}

func TestReceiveBreachesAreReported(t *testing.T) {
	b := tcpFrame(t, 100)
	t.Run("tail beyond the ring", func(t *testing.T) {
		r := newRxRing(t, nil)
		r.q.SetTail(64)
		r.stoppedBy(EventTail, "tail 64")
		if v := r.q.Deliver(b, metaOf(b)); v != Stopped || !r.q.Stopped() {
			t.Errorf("verdict %d", v)
		}
	})
	t.Run("tail past the head", func(t *testing.T) {
		r := newRxRing(t, nil)
		r.deliver(b, metaOf(b))
		r.q.SetTail(1)
		r.violated("past the head")
	})
	t.Run("DD already set", func(t *testing.T) {
		r := newRxRing(t, nil)
		r.put64(r.descAt(0)+8, 1)
		r.deliver(b, metaOf(b))
		r.violated("DD set")
	})
	t.Run("no buffer", func(t *testing.T) {
		r := newRxRing(t, nil)
		r.put64(r.descAt(0), 0)
		if v := r.q.Deliver(b, metaOf(b)); v != Stopped {
			t.Errorf("verdict %d", v)
		}
		r.stoppedBy(EventBuffer, "no buffer")
	})
	t.Run("buffer not mapped", func(t *testing.T) {
		r := newRxRing(t, nil)
		r.put64(r.descAt(0), 0xDEAD0000)
		r.q.Deliver(b, metaOf(b))
		r.stoppedBy(EventBuffer, "0xdead0000")
	})
	t.Run("ring not mapped", func(t *testing.T) {
		r := newRxRing(t, nil)
		r.base += hostSize
		r.q.Deliver(b, metaOf(b))
		r.stoppedBy(EventDescriptorFetch, "descriptor 0")
	})
	t.Run("ring unmapped before the write-back", func(t *testing.T) {
		r := newRxRing(t, nil)
		r.deliver(b, metaOf(b))
		r.base += hostSize
		if r.q.Flush() != 0 {
			t.Error("wrote somewhere")
		}
		r.stoppedBy(EventDescriptorFetch, "written back")
	})
}

// TestReceiveRingWrapsForEver sends many times the ring's length through it and looks at every frame. A frame of several
// buffers may come into view in two parts.
func TestReceiveRingWrapsForEver(t *testing.T) {
	r := newRxRing(t, func(c *RxContext) { c.Len = 32 })
	clean, parts := 0, 0
	var got []byte
	var sent [][]byte
	for n := range 1000 {
		b := tcpFrame(t, n*37%6000)
		sent = append(sent, b)
		r.deliver(b, metaOf(b))
		if n%3 == 0 {
			r.q.Flush()
		}
		for r.done(clean) {
			got = append(got, r.bytes(r.buffer(clean), r.length(clean))...)
			if r.word(clean, 1)&rxEOF != 0 {
				if !bytes.Equal(got, sent[0]) {
					t.Fatalf("after frame %d: %d bytes, want %d", n, len(got), len(sent[0]))
				}
				got, sent = got[:0], sent[1:]
			}
			r.give(clean)
			r.q.SetTail(uint32(clean))
			clean = (clean + 1) % 32
		}
		if len(got) > 0 {
			parts++
		}
	}
	if r.clean(); len(sent) > 4 || parts == 0 {
		t.Errorf("%d frames not seen, %d seen in parts", len(sent), parts)
	}
}

func TestProgrammingStatusLooksAsTheDriversWantIt(t *testing.T) {
	r := newRxRing(t, nil)
	if !r.q.PostProgramStatus(0x4242, NoSuchFilter) {
		t.Fatal("not posted")
	}
	r.q.Flush()
	w0, w1 := r.word(0, 0), r.word(0, 1)
	// DPDK: the word above bit 38 is 0x2000000 and bits 2..4 are 1; Linux: SPH. The error is at bit 19.
	if w1>>38 != 0x2000000 || w1>>2&7 != 1 || w1&1 == 0 || w1>>19&0x3F != 2 || w0>>32 != 0x4242 {
		t.Errorf("%#x %#x", w0, w1)
	}
	if r.causes != 1 || !bytes.Equal(r.bytes(r.buffer(0), 8), make([]byte, 8)) {
		t.Error("a status takes no buffer and raises the cause")
	}
}

func TestInnerTagOfTunnelsGoesWithSHOWIV(t *testing.T) {
	b := vxlan(t, tcpFrame(t, 40, 77))
	p := frame.Parser{UDPPorts: map[uint16]frame.UDPTunnel{4789: frame.UDPTunnelVXLAN}}
	outer := frame.InsertTag(b, frame.Tag{TPID: frame.EtherTypeVLAN, TCI: 9})
	for show, want := range map[bool]int{false: len(b), true: len(b) - frame.TagLen} {
		r := newRxRing(t, func(c *RxContext) { c.ShowIV = show })
		m := &RxMeta{Layers: p.Parse(outer), Strip: 1}
		r.deliver(outer, m)
		r.q.Flush()
		got := r.bytes(r.buffer(0), r.length(0))
		if len(got) != want || r.word(0, 0)>>16&0xFFFF != 9 || r.word(0, 1)>>30&0xFF != 78 {
			t.Errorf("SHOWIV %v: %d bytes, want %d; %#x %#x", show, len(got), want, r.word(0, 0), r.word(0, 1))
		}
		inner := p.Parse(got)
		if inner.InnerL2.NumTags != map[bool]int{false: 1, true: 0}[show] {
			t.Errorf("SHOWIV %v: %+v", show, inner.InnerL2)
		}
	}
}
