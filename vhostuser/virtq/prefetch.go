package virtq

import "weft/internal/packet"

// ahead is for how many buffers at a time cache lines are asked for, and how many buffers before they are touched. Together,
// so that their ways from the guest's CPU overlap. Not for a whole burst: a CPU waits for a dozen or two of lines at once, so
// it would wait already while it asks, and the line that is needed first would come no sooner for it.
const ahead = 8

// lookAhead is how far the lines of staged buffers were asked for. Asking for a line never faults: a buffer that is not
// mapped, or shorter than expected, needs no exception.
type lookAhead struct {
	asked int // the buffers before this one were
	due   int // when this one is touched, it is time for more
}

// next are the n buffers, of so many staged ones, to ask for now.
func (l *lookAhead) next(staged int) (from, n int) {
	from = l.asked
	l.asked = min(from+ahead, staged)
	if l.due = l.asked - ahead; l.asked == staged {
		l.due = burst
	}
	return from, l.asked - from
}

// readAhead asks for the next frames in staged buffers, as far as a window holds them. Not for the virtio-net headers before
// them: nothing in those counts, and a line that the guest alone has stays cheap for it to write.
func (r *Ring) readAhead(staged int) {
	from, n := r.ahead.next(staged)
	prefetchRead(&r.bufs[from], n, uintptr(r.headerLen), uintptr(r.headerLen+packet.WindowSize))
}

// writeAhead asks for the next staged buffers, as far as the shortest frames reach. A header in a line of its own is asked
// for only to be read: most often it is in there already, see fill.
func (r *Ring) writeAhead(staged int) {
	from, n := r.ahead.next(staged)
	prefetchWrite(&r.bufs[from], n, uintptr(r.headerLen))
}
