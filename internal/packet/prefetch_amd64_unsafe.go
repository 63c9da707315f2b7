package packet

import "unsafe"

// PrefetchSegments asks for what is copied first of all that is lent to the batch's packets, lead segments, as far as it was not
// asked for; Spread asks for the rest. This reads nothing, and never faults.
//
// AddPieces asks for each frame's, as these are long: of too many lines that are asked for in a row, a CPU forgets some.
func (b *Batch) PrefetchSegments() {
	if n := min(b.nseg, lead) - b.asked; n > 0 {
		prefetch(&b.segs[b.asked], n)
		b.asked += n
	}
}

// prefetch asks for the cache lines of n segments.
//
//go:noescape
func prefetch(first *Segment, n int)

// prefetchWindow asks for the first and the last line of a window at p.
//
//go:noescape
func prefetchWindow(p unsafe.Pointer)
