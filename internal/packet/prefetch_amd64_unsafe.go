package packet

import "unsafe"

// PrefetchSegments asks for what is copied first of all that is lent to the batch's packets; Spread, if it is used, asks for
// the rest. This reads nothing, and never faults.
func (b *Batch) PrefetchSegments() { prefetch(&b.segs[0], min(b.nseg, lead)) }

// prefetch asks for the cache lines of n segments.
//
//go:noescape
func prefetch(first *Segment, n int)

// prefetchWindow asks for the first and the last line of a window at p.
//
//go:noescape
func prefetchWindow(p unsafe.Pointer)
