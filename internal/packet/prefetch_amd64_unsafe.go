package packet

// PrefetchSegments asks for all that is lent to the batch's packets, into the second-level cache: it comes while the packets
// are looked up, and not when it is copied. This reads nothing, and never faults.
func (b *Batch) PrefetchSegments() { prefetch(&b.segs[0], b.nseg) }

// prefetch asks for the cache lines of n segments.
//
//go:noescape
func prefetch(first *Segment, n int)
