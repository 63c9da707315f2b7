package packet

import "unsafe"

// prompt is how many segments of a batch are asked for when it is received, as no frame was copied yet that could ask for them.
// AddPieces asks for each frame's, as these are long: of too many lines that are asked for in a row, a CPU forgets some.
const prompt = 40

// PrefetchSegments asks for what is copied first of all that is lent to the batch's packets, and was not asked for; Spread asks
// for the rest. This reads nothing, and never faults.
func (b *Batch) PrefetchSegments() {
	if n := min(b.nseg, prompt) - b.asked; n > 0 {
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
