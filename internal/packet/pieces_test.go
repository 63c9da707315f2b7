package packet

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/cpu"
)

// cut appends b, cut at random places into at most n pieces, to pieces.
func cut(pieces []Segment, b []byte, n int, rng *rand.Rand) []Segment {
	for ; n > 1 && len(b) > 1; n-- {
		k := 1 + rng.IntN(min(len(b)-1, 1+2*len(b)/n))
		pieces = append(pieces, SegmentOf(b[:k]))
		b = b[k:]
	}
	return append(pieces, SegmentOf(b))
}

// TestPiecesBecomeFrames lays frames behind a header of 12 bytes into pieces in every way that a guest may.
func TestPiecesBecomeFrames(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	b := NewBatch(nil)
	const skip = 12
	for range 2_000 {
		b.Reset()
		var frames [][]byte
		var bytesIn, used int
		for b.Len() < BatchSize {
			n := MinFrame + rng.IntN(2*WindowSize)
			if rng.IntN(4) == 0 {
				n += rng.IntN(9000)
			}
			f := frame(n)
			f[0] = byte(len(frames))
			pieces := cut(b.FreeSegments(), append(make([]byte, skip), f...), 1+rng.IntN(8), rng)
			if used+len(pieces) > MaxSegments {
				break
			}
			b.AddPieces(pieces, skip, n)
			frames, bytesIn, used = append(frames, f), bytesIn+n, used+len(b.Segments(b.Packet(b.Len()-1)))
			if free := b.SegmentsFree(); free != MaxSegments-used {
				t.Fatalf("%d segments are free, of %d that frames do not have", free, MaxSegments-used)
			}
			if b.asked != min(used, lead) {
				t.Fatalf("%d segments were asked for, of %d", b.asked, used)
			}
		}
		b.FillWindows()
		b.PrefetchSegments()
		if b.Len() != len(frames) || b.Bytes() != uint64(bytesIn) {
			t.Fatalf("%d frames of %d bytes, not %d of %d", b.Len(), b.Bytes(), len(frames), bytesIn)
		}
		for i, f := range frames {
			p := b.Packet(i)
			if !bytes.Equal(whole(b, p), f) || p.HeaderLen() != min(len(f), WindowSize) || p.Len() != len(f) {
				t.Fatalf("a frame of %d bytes is one of %d, %d of them in the window", len(f), p.Len(), p.HeaderLen())
			}
			if p.Linear() != (len(f) <= WindowSize) || slices.ContainsFunc(b.Segments(p), func(s Segment) bool { return s.Len() == 0 }) {
				t.Fatalf("a frame of %d bytes has segments %v", len(f), b.Segments(p))
			}
		}
	}
}

// TestAResetBatchOwesNoWindows: frames of a burst that was cut short do not come into the next one's windows.
func TestAResetBatchOwesNoWindows(t *testing.T) {
	b := NewBatch(nil)
	lost := frame(3000)
	b.AddPieces(append(b.FreeSegments(), SegmentOf(lost)), 0, len(lost))
	b.Reset()
	f := frame(WindowSize)
	clear(f[20:])
	copy(b.Add(len(f)).Header(), f)
	if b.FillWindows(); !bytes.Equal(whole(b, b.Packet(0)), f) {
		t.Error("a frame of the burst before came into a window")
	}
}

// TestClonesLeaveThePiecesAlone: what clones borrowed is free again after them, what the last frame borrowed is not.
func TestClonesLeaveThePiecesAlone(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{MinFrame, WindowSize, WindowSize + 1, 3000} {
		b := NewBatch(nil)
		f := frame(n)
		b.AddPieces(cut(b.FreeSegments(), f, 5, rng), 0, n)
		b.FillWindows()
		free := b.SegmentsFree()
		if _, ok := b.Clone(0); !ok {
			t.Fatal("no room for a clone")
		}
		b.ResetClones()
		if b.SegmentsFree() != free {
			t.Errorf("frame of %d: %d segments are free after clones, %d before", n, b.SegmentsFree(), free)
		}
		if !bytes.Equal(whole(b, b.Packet(0)), f) {
			t.Errorf("frame of %d came out changed", n)
		}
	}
}

// TestFramesAreSpread copies frames of every kind to pieces of every kind, by both loops, and looks at every byte around them.
func TestFramesAreSpread(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	from, to := make([]byte, 1<<16), make([]byte, 1<<16)
	for round := range 20_000 {
		b := NewBatch(nil)
		n := MinFrame + rng.IntN(700)
		if rng.IntN(3) == 0 {
			n = MinFrame + rng.IntN(20_000)
		}
		f := frame(n)
		f[0] = byte(round)
		// Other frames' segments behind, and the frame itself at any alignment.
		at := rng.IntN(64)
		copy(from[at:], f)
		b.AddPieces(cut(b.FreeSegments(), from[at:at+n], 1+rng.IntN(8), rng), 0, n)
		for b.Len() < BatchSize && rng.IntN(64) > 0 {
			b.AddSegment(b.Add(MinFrame), SegmentOf(from[:1+rng.IntN(3000)]))
		}
		b.FillWindows()
		clear(to[:n+200])
		start, skip := rng.IntN(64), rng.IntN(64)
		room := to[start : start+skip+n+rng.IntN(64)]
		dst := cut(nil, room, 1+rng.IntN(8), rng)
		for skip > dst[0].Len() {
			skip -= dst[0].Len()
			dst, start = dst[1:], start+dst[0].Len()
		}
		b.spread(dst, skip, b.Packet(0), cpu.X86.HasAVX && round%2 == 0)
		want := append(make([]byte, start+skip), f...)
		if !bytes.Equal(to[:len(want)], want) || !bytes.Equal(to[len(want):n+200], make([]byte, n+200-len(want))) {
			t.Fatalf("round %d: a frame of %d bytes at %d came out changed, or beside its place", round, n, start+skip)
		}
	}
}
