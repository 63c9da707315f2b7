package memport

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/packet"
)

func newPort(t *testing.T, cfg Config) *Port {
	t.Helper()
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// frameOf is a frame of n bytes that differ from their neighbours and from other frames'.
func frameOf(n, seed int) []byte {
	f := make([]byte, n)
	for i := range f {
		f[i] = byte(i*7 + seed)
	}
	return f
}

func inject(t *testing.T, p *Port, frames ...[]byte) {
	t.Helper()
	for i, f := range frames {
		if !p.Inject(0, f) {
			t.Fatalf("frame %d of %d bytes was not taken", i, len(f))
		}
	}
}

// all is the indices of a batch's packets.
func all(b *packet.Batch) []uint8 {
	idx := make([]uint8, b.Len())
	for i := range idx {
		idx[i] = uint8(i)
	}
	return idx
}

func TestConfigsThatCannotBeAreRefused(t *testing.T) {
	for want, cfg := range map[string]Config{
		"power of two": {RingSize: 1000},
		"ring size -8": {RingSize: -8},
		"queues":       {Queues: -1},
		"frame size":   {FrameSize: 10},
		"70000":        {FrameSize: 70000},
		"segment size": {SegmentSize: -1},
		"MTU":          {MTU: -1},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want an error with %q", cfg, err, want)
		}
	}
	if p := newPort(t, Config{}); p.Queues() != 1 {
		t.Errorf("%d queues by default, want 1", p.Queues())
	}
}

func TestFramesPassUnchangedInEveryStyle(t *testing.T) {
	for _, cfg := range []Config{
		{Style: Lent}, {Style: Lent, SegmentSize: 100}, {Style: Lent, SegmentSize: 1900}, {Style: Owned},
	} {
		t.Run(fmt.Sprintf("style %d, segments of %d", cfg.Style, cfg.SegmentSize), func(t *testing.T) {
			p := newPort(t, cfg)
			b := packet.NewBatch(nil)
			const w = packet.WindowSize
			lengths := []int{packet.MinFrame, w - 1, w, w + 1, 1514, DefaultFrameSize}
			for i, n := range lengths {
				inject(t, p, frameOf(n, i))
			}
			if n := p.Rx(0).Receive(b); n != len(lengths) || b.Len() != n {
				t.Fatalf("received %d, the batch has %d; want %d", n, b.Len(), len(lengths))
			}
			for i, n := range lengths {
				pkt := b.Packet(i)
				wantWindow := min(n, packet.WindowSize)
				if cfg.Style == Owned {
					wantWindow = n
				}
				if pkt.Len() != n || pkt.HeaderLen() != wantWindow || pkt.Linear() != (wantWindow == n) {
					t.Errorf("frame of %d bytes: length %d, window %d, linear %v", n, pkt.Len(), pkt.HeaderLen(), pkt.Linear())
				}
			}
			p.Tx(0).Transmit(b, all(b))
			p.Rx(0).Release(b)
			for i, got := range p.Drain(0) {
				if !bytes.Equal(got, frameOf(lengths[i], i)) {
					t.Errorf("frame of %d bytes came out as %d others", lengths[i], len(got))
				}
			}
			rx, tx := p.Rx(0).Counters(), p.Tx(0).Counters()
			if rx != tx || rx.Packets != uint64(len(lengths)) || rx.Batches != 1 || rx.Bytes != b.Bytes() {
				t.Errorf("counters: rx %+v, tx %+v", rx, tx)
			}
		})
	}
}

func TestHeadersCanGrowInEveryStyle(t *testing.T) {
	for _, style := range []Style{Lent, Owned} {
		p := newPort(t, Config{Style: style})
		b := packet.NewBatch(nil)
		inject(t, p, frameOf(200, 1), frameOf(200, 2))
		p.Rx(0).Receive(b)
		if !b.Packet(1).PushVLAN(packet.TPID8021Q, 5) {
			t.Fatal("there is no headroom")
		}
		p.Tx(0).Transmit(b, []uint8{1, 0})
		p.Rx(0).Release(b)
		got := p.Drain(0)
		if len(got) != 2 || len(got[0]) != 204 || !bytes.Equal(got[0][16:], frameOf(200, 2)[12:]) {
			t.Errorf("style %d: the tagged frame came out wrong", style)
		}
		if len(got) != 2 || !bytes.Equal(got[1], frameOf(200, 1)) {
			t.Errorf("style %d: the neighbour of the tagged frame was changed", style)
		}
	}
}

func TestMemoryIsLentUntilRelease(t *testing.T) {
	p := newPort(t, Config{RingSize: 4, Style: Owned})
	b := packet.NewBatch(nil)
	inject(t, p, frameOf(60, 0), frameOf(60, 1), frameOf(60, 2), frameOf(60, 3))
	if p.Inject(0, frameOf(60, 4)) {
		t.Fatal("a fifth frame was put in a ring of four")
	}
	if n := p.Rx(0).Receive(b); n != 4 {
		t.Fatalf("received %d, want 4", n)
	}
	if p.Inject(0, frameOf(60, 4)) || p.Pending(0) != 4 {
		t.Error("a lent frame's memory was taken before Release")
	}
	if !bytes.Equal(b.Packet(0).Header(), frameOf(60, 0)) {
		t.Error("a lent frame changed")
	}
	p.Rx(0).Release(b)
	if !p.Inject(0, frameOf(60, 4)) || p.Pending(0) != 1 {
		t.Error("Release did not give the memory back")
	}
}

func TestBatchIsFullAt32(t *testing.T) {
	p := newPort(t, Config{RingSize: 64})
	b := packet.NewBatch(nil)
	for i := range 40 {
		inject(t, p, frameOf(60, i))
	}
	for _, want := range []int{packet.BatchSize, 40 - packet.BatchSize, 0} {
		if n := p.Rx(0).Receive(b); n != want {
			t.Errorf("received %d, want %d", n, want)
		}
		if want > 0 {
			p.Rx(0).Release(b)
		}
	}
	if got := p.Rx(0).Counters(); got.Batches != 2 || got.Packets != 40 {
		t.Errorf("counters %+v, want 40 packets in 2 batches", got)
	}
}

func TestReceiveDropsByReason(t *testing.T) {
	p := newPort(t, Config{SegmentSize: 1})
	b := packet.NewBatch(nil)
	tooScattered := packet.WindowSize + packet.MaxSegments + 1
	// Alone in the ring, rubbish leaves nothing to release, and its memory comes back at once.
	inject(t, p, frameOf(packet.MinFrame-1, 0), frameOf(0, 0), frameOf(tooScattered, 0))
	if n := p.Rx(0).Receive(b); n != 0 || p.Pending(0) != 0 {
		t.Errorf("received %d of three bad frames, %d pending", n, p.Pending(0))
	}
	// Among others they are left out. The second large one does not fit the batch's segments and waits for the next.
	large := packet.WindowSize + packet.MaxSegments
	inject(t, p, frameOf(60, 1), frameOf(5, 0), frameOf(large, 2), frameOf(large, 3), frameOf(60, 4))
	var got [][]byte
	for range 2 {
		n := p.Rx(0).Receive(b)
		for i := range n {
			f := make([]byte, b.Packet(i).Len())
			b.CopyTo(f, b.Packet(i))
			got = append(got, f)
		}
		p.Rx(0).Release(b)
	}
	want := [][]byte{frameOf(60, 1), frameOf(large, 2), frameOf(large, 3), frameOf(60, 4)}
	if len(got) != len(want) {
		t.Fatalf("received %d frames in two batches, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("frame %d came out wrong", i)
		}
	}
	c := p.Rx(0).Counters()
	if c.Drops[packet.DropRunt] != 3 || c.Drops[packet.DropTooManySegments] != 1 || c.Dropped() != 4 || c.Packets != 4 {
		t.Errorf("counters %+v, want 4 packets, 3 runts, 1 with too many segments", c)
	}
}

func TestTransmitDropsByReason(t *testing.T) {
	p := newPort(t, Config{RingSize: 4, MTU: 1500, FrameSize: 1600})
	small := newPort(t, Config{RingSize: 4, FrameSize: 100})
	b := packet.NewBatch(nil)
	inject(t, p, frameOf(1522, 0), frameOf(1523, 1), frameOf(60, 2), frameOf(61, 3))
	p.Rx(0).Receive(b)

	// Two of one frame are one too many for the ring: three fit beside the one that fits the MTU exactly.
	p.Tx(0).Transmit(b, []uint8{0, 1, 2, 2, 2, 3})
	if c := p.Tx(0).Counters(); c.Packets != 4 || c.Drops[packet.DropOverMTU] != 1 ||
		c.Drops[packet.DropNoDescriptor] != 1 ||
		c.Dropped() != 2 || c.Bytes != 1522+3*60 {
		t.Errorf("counters %+v, want 4 packets, 1 over MTU, 1 without descriptor", c)
	}
	small.Tx(0).Transmit(b, []uint8{0, 2})
	if c := small.Tx(0).Counters(); c.Packets != 1 || c.Drops[packet.DropFrameTooLong] != 1 {
		t.Errorf("counters %+v, want 1 packet, 1 too long", c)
	}
	small.Tx(0).SetDown(true)
	small.Tx(0).Transmit(b, []uint8{2, 3})
	small.Tx(0).SetDown(false)
	small.Tx(0).Transmit(b, nil)
	if c := small.Tx(0).Counters(); c.Drops[packet.DropPortDown] != 2 || c.Packets != 1 || c.Batches != 1 {
		t.Errorf("counters %+v, want 2 more dropped as port down", c)
	}
}

func TestInjectAndCollectAtTheEdges(t *testing.T) {
	p := newPort(t, Config{FrameSize: 100})
	if p.Inject(0, make([]byte, 101)) {
		t.Error("a frame longer than the slots was taken")
	}
	if _, ok := p.Collect(0, nil); ok {
		t.Error("something was collected from an empty ring")
	}
	if got := p.Wait(0, 1, time.Millisecond); got != nil {
		t.Errorf("waited for nothing and got %v", got)
	}
	b := packet.NewBatch(nil)
	inject(t, p, frameOf(100, 1), frameOf(100, 2))
	p.Rx(0).Receive(b)
	p.Tx(0).Transmit(b, all(b))
	buf := make([]byte, 10)
	if n, ok := p.Collect(0, buf); n != 100 || !ok || !bytes.Equal(buf, frameOf(100, 1)[:10]) {
		t.Errorf("collected %d, %v into a short buffer: %v", n, ok, buf)
	}
	if got := p.Wait(0, 1, time.Second); len(got) != 1 || !bytes.Equal(got[0], frameOf(100, 2)) {
		t.Errorf("waited for one frame and got %d", len(got))
	}
}

// TestProducerAndConsumerRunConcurrently passes numbered frames through a small ring in both directions.
func TestProducerAndConsumerRunConcurrently(t *testing.T) {
	const frames = 20_000
	p := newPort(t, Config{RingSize: 16})
	var wg sync.WaitGroup
	deadline := time.Now().Add(60 * time.Second)
	overdue := func() bool { return time.Now().After(deadline) }
	wg.Go(func() {
		f := make([]byte, 160)
		for i := 0; i < frames && !overdue(); {
			binary.BigEndian.PutUint32(f[150:], uint32(i))
			if p.Inject(0, f) {
				i++
			} else {
				time.Sleep(time.Microsecond)
			}
		}
	})
	wg.Go(func() {
		b := packet.NewBatch(nil)
		for done := 0; done < frames && !overdue(); {
			n := p.Rx(0).Receive(b)
			if n == 0 {
				time.Sleep(time.Microsecond)
				continue
			}
			// As a switch would not: wait for room, so that every frame arrives.
			for i := range n {
				for full := p.Tx(0).ring; full.head.Load()-full.tail.Load() == full.size() && !overdue(); {
					time.Sleep(time.Microsecond)
				}
				p.Tx(0).Transmit(b, []uint8{uint8(i)})
			}
			p.Rx(0).Release(b)
			done += n
		}
	})
	buf := make([]byte, 160)
	for i := 0; i < frames; {
		if n, ok := p.Collect(0, buf); ok {
			if got := binary.BigEndian.Uint32(buf[150:]); n != 160 || got != uint32(i) {
				t.Fatalf("frame %d of %d bytes came, want %d of 160", got, n, i)
			}
			i++
			continue
		}
		if overdue() {
			t.Fatalf("%d of %d frames came in 60 s", i, frames)
		}
		time.Sleep(time.Microsecond)
	}
	wg.Wait()
}

func TestDatapathAllocatesNothing(t *testing.T) {
	for _, cfg := range []Config{{Style: Lent, SegmentSize: 500}, {Style: Owned}} {
		p := newPort(t, cfg)
		b := packet.NewBatch(nil)
		frame, buf := frameOf(1000, 0), make([]byte, 1000)
		idx := make([]uint8, packet.BatchSize)
		for i := range idx {
			idx[i] = uint8(i)
		}
		forwarded := 0
		allocs := testing.AllocsPerRun(100, func() {
			for range packet.BatchSize {
				p.Inject(0, frame)
			}
			n := p.Rx(0).Receive(b)
			p.Tx(0).Transmit(b, idx[:n])
			p.Rx(0).Release(b)
			for _, ok := p.Collect(0, buf); ok; _, ok = p.Collect(0, buf) {
				forwarded++
			}
		})
		if allocs != 0 || forwarded != 101*packet.BatchSize {
			t.Errorf("style %d: %v allocations a batch, %d frames forwarded", cfg.Style, allocs, forwarded)
		}
	}
}

func BenchmarkForward(b *testing.B) {
	for _, style := range []Style{Lent, Owned} {
		b.Run(fmt.Sprintf("style=%d", style), func(b *testing.B) {
			p, err := New(Config{Style: style})
			if err != nil {
				b.Fatal(err)
			}
			batch := packet.NewBatch(nil)
			frame, buf := frameOf(64, 0), make([]byte, 64)
			idx := make([]uint8, packet.BatchSize)
			for i := range idx {
				idx[i] = uint8(i)
			}
			for b.Loop() {
				for range packet.BatchSize {
					p.Inject(0, frame)
				}
				n := p.Rx(0).Receive(batch)
				p.Tx(0).Transmit(batch, idx[:n])
				p.Rx(0).Release(batch)
				for range n {
					p.Collect(0, buf)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*packet.BatchSize), "ns/packet")
		})
	}
}
