package virtq

import (
	"fmt"
	"testing"
)

// TestUsedLinesAreFlushedOnce follows bursts around rings: what is flushed are whole lines, each when all of it was used, once a
// lap and in order; and of a guest that leaps, nothing more than a bound.
func TestUsedLinesAreFlushedOnce(t *testing.T) {
	for _, size := range []uint16{1, 2, 4, 8, 256, 1 << 15} {
		for _, chain := range []uint16{1, 2, 3, 6} {
			t.Run(fmt.Sprintf("%d descriptors in chains of %d", size, chain), func(t *testing.T) {
				var flushed, head, want uint16
				for i := range 3 * int(size) {
					flushed = checkSpans(t, flushed, head, size-1, &want)
					step := uint16(i%burst+1) * chain
					head = (head + min(step, size)) & (size - 1)
				}
			})
		}
	}
	for _, far := range []uint16{flushMost + perLine, 1 << 14, 1<<15 - perLine} {
		if s := flushable(0, far, 1<<15-1); s != [2]span{} {
			t.Errorf("a leap of %d flushes %v, want nothing", far, s)
		}
	}
	if s, want := flushable(1024-8, 4, 1023), [2]span{{1016, 1024}, {0, 4}}; s != want {
		t.Errorf("around the end: %v, want %v", s, want)
	}
}

// checkSpans says that head is where a burst begins, and returns where the next flushing begins. want is the line that must be
// flushed next.
func checkSpans(t *testing.T, flushed, head, mask uint16, want *uint16) uint16 {
	t.Helper()
	end := head &^ (perLine - 1)
	for _, s := range flushable(flushed, end, mask) {
		for d := s.first; d < s.end; d += perLine {
			if d != *want || d > mask {
				t.Fatalf("flushes the line of %d, want that of %d", d, *want)
			}
			*want = (d + perLine) & mask
		}
	}
	if *want != end {
		t.Fatalf("at %d, flushed up to %d", head, *want)
	}
	return end
}
