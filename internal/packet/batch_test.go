package packet

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"
)

func frame(n int) []byte {
	f := make([]byte, n)
	for i := range f {
		f[i] = byte(i)
	}
	f[12], f[13] = 0x08, 0x00
	return f
}

// add lays f into b as a receive queue does for foreign memory, in segments of at most piece bytes.
func add(b *Batch, f []byte, piece int) *Packet {
	n := min(len(f), WindowSize)
	p := b.Add(n)
	copy(p.Header(), f)
	for rest := f[n:]; len(rest) > 0; {
		k := min(piece, len(rest))
		b.AddSegment(p, SegmentOf(rest[:k]))
		rest = rest[k:]
	}
	return p
}

func whole(b *Batch, p *Packet) []byte {
	out := make([]byte, p.Len())
	return out[:b.CopyTo(out, p)]
}

func TestFramesSurviveTheBatch(t *testing.T) {
	b := NewBatch(nil)
	for _, n := range []int{14, 60, WindowSize, WindowSize + 1, 1500, 9000} {
		b.Reset()
		f := frame(n)
		p := add(b, f, 700)
		if p.Len() != n || b.Bytes() != uint64(n) || p.Linear() != (n <= WindowSize) {
			t.Errorf("frame of %d: Len %d, Bytes %d, Linear %v", n, p.Len(), b.Bytes(), p.Linear())
		}
		if !bytes.Equal(whole(b, p), f) {
			t.Errorf("frame of %d came out changed", n)
		}
	}
}

func TestAFullBatchHoldsThirtyTwo(t *testing.T) {
	b := NewBatch(make([]byte, BatchMemory))
	for i := range BatchSize {
		p := add(b, frame(64), 64)
		p.Header()[0] = byte(i)
	}
	for i := range b.Len() {
		if got := b.Packet(i).Header()[0]; got != byte(i) {
			t.Errorf("packet %d holds %d's bytes", i, got)
		}
	}
}

func TestVLANEdits(t *testing.T) {
	b := NewBatch(nil)
	f := frame(60)
	p := add(b, f, 64)
	if !p.PushVLAN(TPID8021Q, 0x2064) || p.Len() != 64 {
		t.Fatalf("push: length %d", p.Len())
	}
	if !p.PushVLAN(TPID8021AD, 5) {
		t.Fatal("second push failed")
	}
	want := "000102030405060708090a0b" + "88a80005" + "81002064" + "0800"
	if got := hex.EncodeToString(p.Header()[:22]); got != want {
		t.Errorf("two tags: got %s want %s", got, want)
	}
	if p.TagBytes() != 8 {
		t.Errorf("TagBytes %d", p.TagBytes())
	}
	p.PopVLAN()
	p.SetVLANVID(0xfabc)
	p.SetVLANPCP(7)
	if tci, ok := p.VLAN(); !ok || tci != 0xeabc {
		t.Errorf("tci %#x %v, want 0xeabc", tci, ok)
	}
	p.PopVLAN()
	p.PopVLAN() // untagged: nothing
	if !bytes.Equal(whole(b, p), f) {
		t.Error("push and pop did not cancel out")
	}
	p.SetVLANVID(1)
	p.SetEthDst(0x010203040506, 0xffffffffffff)
	p.SetEthSrc(0x0708090a0b0c, 0xffffffffffff)
	if got := hex.EncodeToString(p.Header()[:14]); got != "0102030405060708090a0b0c0800" {
		t.Errorf("addresses: %s", got)
	}
}

func TestPushStopsAtTheHeadroomsEnd(t *testing.T) {
	b := NewBatch(nil)
	p := add(b, frame(200), 500)
	for range Headroom / vlanTagLen {
		if !p.PushVLAN(TPID8021Q, 1) {
			t.Fatal("push failed with headroom left")
		}
	}
	if p.PushVLAN(TPID8021Q, 1) {
		t.Error("push went past the headroom")
	}
	if p.Len() != 200+Headroom {
		t.Errorf("length %d", p.Len())
	}
}

func TestAClonesEditsDoNotShow(t *testing.T) {
	owned := append(make([]byte, Headroom), frame(1000)...)
	for _, c := range []struct {
		name string
		add  func(b *Batch) *Packet
	}{
		{"linear", func(b *Batch) *Packet { return add(b, frame(100), 0) }},
		{"with segments", func(b *Batch) *Packet { return add(b, frame(1000), 300) }},
		{"grown into the headroom", func(b *Batch) *Packet {
			p := add(b, frame(1000), 300)
			for range 20 {
				p.PushVLAN(TPID8021Q, 9)
			}
			return p
		}},
		{"in the source's buffer", func(b *Batch) *Packet { return b.AddOwned(owned, Headroom, 1000) }},
	} {
		b := NewBatch(nil)
		p := c.add(b)
		before := whole(b, p)
		j, ok := b.Clone(0)
		if !ok {
			t.Fatalf("%s: no clone", c.name)
		}
		q := b.Packet(j)
		if !bytes.Equal(whole(b, q), before) {
			t.Errorf("%s: the clone differs", c.name)
		}
		q.SetEthDst(0xff0000000000, 0xffffffffffff)
		q.PushVLAN(TPID8021Q, 77)
		if !bytes.Equal(whole(b, p), before) {
			t.Errorf("%s: editing the clone changed the original", c.name)
		}
	}
}

func TestAClonedLongBufferWithSegments(t *testing.T) {
	owned := append(make([]byte, Headroom), frame(3000)...)
	rest := frame(500)
	b := NewBatch(nil)
	p := b.AddOwned(owned, Headroom, 3000)
	b.AddSegment(p, SegmentOf(rest))
	before := whole(b, p)
	for range 10 * MaxClones { // clones return what they took
		j, ok := b.Clone(0)
		if !ok {
			t.Fatal("no clone")
		}
		if !bytes.Equal(whole(b, b.Packet(j)), before) {
			t.Fatal("the clone differs")
		}
		b.ResetClones()
	}
	if b.SegmentsFree() != MaxSegments-1 {
		t.Errorf("%d segments are left", b.SegmentsFree())
	}
}

// Whatever its source's buffer is like, a clone can be edited as the original can: there is room for what is pushed, and
// the headers that rules look at are in its window.
func TestClonesOfBuffersOfEveryLengthCanBeEdited(t *testing.T) {
	for n := MinFrame; n < 700; n++ {
		for _, headroom := range []int{0, 4, Headroom} {
			b := NewBatch(nil)
			f := frame(n)
			p := b.AddOwned(append(make([]byte, headroom), f...), headroom, n)
			for range 4 * MaxSegments { // far more than there are segments
				j := BatchSize + 3
				if !b.CloneTo(0, j) {
					t.Fatalf("%d bytes: no clone", n)
				}
				q := b.Packet(j)
				if !bytes.Equal(whole(b, q), f) || q.HeaderLen() != min(n, MaxWindow) {
					t.Fatalf("%d bytes, headroom %d: the clone differs, or its window of %d bytes does", n, headroom, q.HeaderLen())
				}
				for range 20 {
					if !q.PushVLAN(TPID8021Q, 5) {
						t.Fatalf("%d bytes, headroom %d: no room for a tag", n, headroom)
					}
				}
			}
			if !bytes.Equal(whole(b, p), f) {
				t.Fatalf("%d bytes: the original changed", n)
			}
		}
	}
}

func TestPullLengthensTheWindow(t *testing.T) {
	for _, piece := range []int{1, 7, 100, 5000} {
		b := NewBatch(nil)
		f := frame(200)
		p := add(b, f, max(piece, 1))
		if !b.Pull(p) || p.HeaderLen() != 200 || !p.Linear() || !bytes.Equal(p.Header(), f) {
			t.Errorf("pieces of %d: window %d", piece, p.HeaderLen())
		}
		if b.Pull(p) {
			t.Error("pulled past the frame's end")
		}
	}
	b := NewBatch(nil)
	f := frame(5000)
	p := add(b, f, 3000)
	if !b.Pull(p) || p.HeaderLen() != MaxWindow || b.Pull(p) {
		t.Errorf("window %d, want %d", p.HeaderLen(), MaxWindow)
	}
	if p.Len() != 5000 || b.Bytes() != 5000 || !bytes.Equal(whole(b, p), f) {
		t.Error("pulling changed the frame")
	}
	if j, ok := b.Clone(0); !ok || !bytes.Equal(whole(b, b.Packet(j)), f) {
		t.Error("a pulled packet's clone differs")
	}
	owned := b.AddOwned(make([]byte, Headroom+100), Headroom, 100)
	b.AddSegment(owned, SegmentOf(frame(100)))
	if b.Pull(owned) || owned.HeaderLen() != 100 {
		t.Error("a window in a buffer of the source's was pulled past it")
	}
	linear := add(b, frame(60), 0)
	if b.Pull(linear) {
		t.Error("a linear packet grew")
	}
}

func TestAFrameCannotGrowPastTheLongest(t *testing.T) {
	b := NewBatch(nil)
	p := b.AddOwned(make([]byte, Headroom+MaxFrame), Headroom, MaxFrame-5)
	if !p.PushVLAN(TPID8021Q, 1) || p.PushVLAN(TPID8021Q, 1) || p.Len() != MaxFrame-1 {
		t.Errorf("length %d", p.Len())
	}
}

func TestClonesAreBounded(t *testing.T) {
	b := NewBatch(nil)
	add(b, frame(64), 0)
	for range MaxClones {
		if _, ok := b.Clone(0); !ok {
			t.Fatal("clone refused early")
		}
	}
	if _, ok := b.Clone(0); ok {
		t.Error("more clones than MaxClones")
	}
	b.ResetClones()
	if _, ok := b.Clone(0); !ok {
		t.Error("no clone after ResetClones")
	}
}

func TestEveryDropReasonHasAName(t *testing.T) {
	seen := map[string]bool{}
	for r := range DropReason(NumDropReasons) {
		if r.String() == "" || r.Sentence() == "" || seen[r.String()] {
			t.Errorf("reason %d: %q %q", r, r.String(), r.Sentence())
		}
		seen[r.String()] = true
	}
	if DropReason(200).String() != "unknown" || DropReason(200).Sentence() == "" {
		t.Error("unknown reasons have no name")
	}
}

func TestCounters(t *testing.T) {
	var c Counters
	c.Publish(3, 300)
	c.Publish(1, 60)
	c.Drop(DropOverMTU, 2)
	s := c.Snapshot()
	s.Add(&s)
	if s.Packets != 8 || s.Bytes != 720 || s.Batches != 4 || s.Dropped() != 4 {
		t.Errorf("%+v", s)
	}
}

func TestBatchesDoNotAllocate(t *testing.T) {
	b := NewBatch(nil)
	f := frame(1500)
	var c Counters
	if n := testing.AllocsPerRun(100, func() {
		b.Reset()
		for range BatchSize {
			add(b, f, 1500).PushVLAN(TPID8021Q, 1)
		}
		b.Clone(0)
		c.Publish(uint64(b.Len()), b.Bytes())
	}); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

// BenchmarkWindow is the cost of copying the first bytes of a frame, by window size: what WindowSize was chosen from.
func BenchmarkWindow(b *testing.B) {
	src, dst := make([]byte, 1<<20), make([]byte, 512)
	for _, n := range []int{64, 96, 128, 192, 256} {
		b.Run(fmt.Sprintf("size=%d", n), func(b *testing.B) {
			for i := range b.N {
				copy(dst[:n], src[i*2048&(1<<20-1):])
			}
		})
	}
}
