package virtq

import (
	"encoding/binary"
	"unsafe"

	"weft/internal/packet"
)

// spread copies a virtio-net header that announces n buffers, then p's frame, over pieces, which have room for both.
//
// Nothing that was just stored is loaded in a wider piece, as a slice that was put together in memory would be: such a load
// waits until the stores are in the cache, and all others before them, of which those to lines that the guest has are slow.
func (r *Ring) spread(pieces []packet.Segment, b *packet.Batch, p *packet.Packet, n int) {
	at, skip := r.spreadHeader(pieces, n)
	head, segments := p.Header(), b.Segments(p)
	src, left := unsafe.Pointer(unsafe.SliceData(head)), len(head)
	// SAFETY: src is followed by left bytes of the frame, dst by room bytes of a piece, here and wherever they move on.
	dst, room := unsafe.Add(pieces[at].Pointer(), skip), pieces[at].Len()-skip
	for {
		for left > room {
			copyBytes(dst, src, room)
			src, left = unsafe.Add(src, room), left-room
			at++
			dst, room = pieces[at].Pointer(), pieces[at].Len()
		}
		copyBytes(dst, src, left)
		dst, room = unsafe.Add(dst, left), room-left
		if len(segments) == 0 {
			return
		}
		src, left = segments[0].Pointer(), segments[0].Len()
		segments = segments[1:]
	}
}

// copyBytes copies n bytes from src to dst.
func copyBytes(dst, src unsafe.Pointer, n int) {
	// SAFETY: n bytes are mapped at both, by the caller's promise.
	copy(unsafe.Slice((*byte)(dst), n), unsafe.Slice((*byte)(src), n))
}

// spreadHeader writes a virtio-net header that announces n buffers over pieces, and returns the piece that it ends in, and how
// many bytes of it are taken.
func (r *Ring) spreadHeader(pieces []packet.Segment, n int) (at, skip int) {
	if pieces[0].Len() >= r.headerLen {
		r.writeHeader(pieces[0].Pointer(), n)
		return 0, r.headerLen
	}
	var header [HeaderMergeable]byte
	binary.LittleEndian.PutUint16(header[HeaderLegacy:], uint16(n))
	for rest := header[:r.headerLen]; ; at++ {
		skip = copy(pieces[at].Bytes(), rest)
		if rest = rest[skip:]; len(rest) == 0 {
			return at, skip
		}
	}
}
