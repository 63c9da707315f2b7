package virtq

import "weft/internal/sys"

// lineSize is a cache line of amd64.
const lineSize = 64

// lines are the cache lines of guest memory that a burst is about to touch. They are asked for together, so that their
// ways from the guest's CPU overlap. Asking for a line never faults: a buffer that is not mapped needs no exception.
type lines struct {
	reads, writes [2 * burst]uintptr
}

// toRead asks for the frames behind virtio-net headers of headerLen bytes, as far as a window holds them, in bufs. Not for
// the headers: nothing in them counts, and a line that the guest alone has stays cheap for it to write.
func (l *lines) toRead(bufs []buffer, headerLen int) {
	reads := 0
	for i := range bufs {
		frame := bufs[i].at + uintptr(headerLen)
		l.reads[reads] = frame
		reads++
		if int(bufs[i].len) > headerLen+lineSize {
			l.reads[reads] = frame + lineSize
			reads++
		}
	}
	sys.PrefetchEach(&l.reads[0], reads)
}

// toWrite asks for header and beginning of the frame in each of bufs. A header in a line of its own is only asked for to be
// read: most often it is in there already, see fill.
func (l *lines) toWrite(bufs []buffer, headerLen int) {
	reads, writes := 0, 0
	for i := range bufs {
		b := &bufs[i]
		if b.len < lineSize+HeaderMergeable {
			continue // what is so short is not worth it
		}
		frame := b.at + uintptr(headerLen)
		if (frame^b.at)/lineSize != 0 {
			l.reads[reads] = b.at
			reads++
		} else {
			l.writes[writes] = b.at + lineSize
			writes++
		}
		l.writes[writes] = frame
		writes++
	}
	sys.PrefetchEach(&l.reads[0], reads)
	sys.PrefetchWriteEach(&l.writes[0], writes)
}
