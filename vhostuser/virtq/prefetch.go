package virtq

import "weft/internal/packet"

// ahead is for how many buffers at a time cache lines are asked for, and how many buffers before they are touched. Together,
// so that their ways from the guest's CPU overlap. Not for a whole burst: a CPU waits for a dozen or two of lines at once, so
// it would wait already while it asks, and the line that is needed first would come no sooner for it.
const ahead = 8

// lookAhead is how far the lines of staged buffers were asked for. Asking for a line never faults, so a buffer that is not
// mapped, or shorter than expected, needs no exception; but claim also writes.
type lookAhead struct {
	asked int // the buffers before this one were
	due   int // when this one is touched, it is time for more

	// several says that frames take several buffers. Then any may be a frame's first, and what was where its header goes was
	// most often another frame's data.
	several bool
}

// next are the n buffers, of so many staged ones, to ask for now, where those before touched are no longer to come.
func (l *lookAhead) next(touched, staged int) (from, n int) {
	from = max(l.asked, touched)
	l.asked = min(from+ahead, staged)
	if l.due = l.asked - ahead; l.asked == staged {
		l.due = burst
	}
	return from, l.asked - from
}

// readAhead asks for the next frames in staged buffers, as far as a window holds them. Not for the virtio-net headers before
// them: nothing in those counts, and a line that the guest alone has stays cheap for it to write.
func (r *Ring) readAhead(touched, staged int) {
	from, n := r.ahead.next(touched, staged)
	prefetchRead(&r.bufs[from], n, uintptr(r.headerLen), uintptr(r.headerLen+packet.WindowSize))
}

// writeAhead claims the next staged buffers' lines, as far as the shortest frames reach. A header in a line of its own is asked
// for only to be read: most often it is in there already, see writeHeader. If frames take several buffers, it is asked for to be
// written, and so is, to be read, where a buffer as long as the first one ends: half of those of 2 KiB go on in a page that the
// CPU has not translated yet, and the copying, which goes on from the end, would wait for that.
//
// Asking for a line to be written (PREFETCHW) is not enough. The guest has read most of these lines since they were written
// last, so both CPUs have them, and then AMD's do nothing about it: each store would wait for the other CPU to give the line up.
//
// What is written already must not be claimed, which writes there: a frame over several buffers goes past what was asked for.
func (r *Ring) writeAhead(touched, staged int) {
	from, n := r.ahead.next(touched, staged)
	own, read := 63, 0
	if r.ahead.several {
		own, read = -r.headerLen, int(r.bufs[from].len)-1
	}
	claim(&r.bufs[from], n, uintptr(r.headerLen), own, read)
}
