package virtq

const (
	cacheLine = 64 // bytes, on every processor of this architecture

	// perLine is how many descriptors are in a cache line.
	perLine = cacheLine / descSize

	// flushMost is how many descriptors are flushed at a time at most, so that a hostile guest cannot buy much time with one
	// frame. It is more than a burst has of DPDK's chains for 9000 bytes.
	flushMost = 8 * burst
)

// span is some descriptors, end not among them.
type span struct{ first, end uint16 }

// flushable are the lines to be flushed from flushed up to end, both multiples of perLine, in a ring whose greatest descriptor is
// mask: none if they are too many.
func flushable(flushed, end, mask uint16) (spans [2]span) {
	switch n := (end - flushed) & mask; {
	case n == 0 || n > flushMost:
	case flushed < end:
		spans[0] = span{flushed, end}
	default:
		spans[0], spans[1] = span{flushed, mask + 1}, span{0, end}
	}
	return spans
}

// flushBefore drops the lines of descriptors that are used, in a split ring that is used in order, up to the one at head, the
// first that is still to come, from all CPUs' caches.
//
// The guest writes them next, a lap later. If this CPU still had them then, each of the guest's stores would wait for it to give
// the line up, one after the other; from memory, lines come before they are needed, as they are written in a row.
func (r *Ring) flushBefore(head uint16) {
	end := head &^ (perLine - 1)
	for _, s := range flushable(r.flushed, end, r.mask) {
		r.flushLines(s)
	}
	r.flushed = end
}
