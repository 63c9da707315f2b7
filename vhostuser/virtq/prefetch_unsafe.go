package virtq

import (
	"unsafe"

	"weft/internal/sys"
)

// lineSize is a cache line of amd64.
const lineSize = 64

// lines are the cache lines of guest memory that a burst is about to touch. They are asked for together, so that their
// ways from the guest's CPU overlap.
type lines struct {
	reads, writes   [2 * burst]unsafe.Pointer
	nreads, nwrites int
}

// toRead notes the frame behind a virtio-net header of headerLen bytes, as far as a window holds it, in a buffer of n bytes
// at p. Not the header: nothing in it counts, and a line that the guest alone has stays cheap for it to write.
func (l *lines) toRead(p unsafe.Pointer, headerLen int, n uint32) {
	if p == nil || int(n) <= headerLen {
		return
	}
	// SAFETY: the buffer is longer than the header.
	l.reads[l.nreads] = unsafe.Add(p, headerLen)
	l.nreads++
	if int(n) > headerLen+lineSize {
		// SAFETY: it is longer than header and line.
		l.reads[l.nreads] = unsafe.Add(p, headerLen+lineSize)
		l.nreads++
	}
}

// toWrite notes header and beginning of the frame in a buffer of n bytes at p. A header in a line of its own is only asked
// for to be read: most often it is in there already, see fill.
func (l *lines) toWrite(p unsafe.Pointer, headerLen int, n uint32) {
	if p == nil || n < lineSize+HeaderMergeable {
		return // and what is so short is not worth it
	}
	// SAFETY: the buffer is longer than the header.
	frame := unsafe.Add(p, headerLen)
	if uintptr(frame)/lineSize != uintptr(p)/lineSize {
		l.reads[l.nreads] = p
		l.nreads++
	} else {
		// SAFETY: it is longer than a line.
		l.writes[l.nwrites] = unsafe.Add(p, lineSize)
		l.nwrites++
	}
	l.writes[l.nwrites] = frame
	l.nwrites++
}

// fetch asks for what was noted, and forgets it.
func (l *lines) fetch() {
	sys.PrefetchEach(&l.reads[0], l.nreads)
	sys.PrefetchWriteEach(&l.writes[0], l.nwrites)
	l.nreads, l.nwrites = 0, 0
}
