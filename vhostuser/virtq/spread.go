package virtq

import (
	"encoding/binary"

	"weft/internal/packet"
)

// spread writes a virtio-net header that announces n buffers, then p's frame, over pieces, which have room for both.
func (r *Ring) spread(pieces []packet.Segment, b *packet.Batch, p *packet.Packet, n int) {
	if pieces[0].Len() > r.headerLen {
		if d := pieces[0].Pointer(); n > 1 {
			writeHeaderOf(d, n)
		} else {
			r.writeHeader(d)
		}
		b.Spread(pieces, r.headerLen, p)
		return
	}
	var header [HeaderMergeable]byte
	binary.LittleEndian.PutUint16(header[HeaderLegacy:], uint16(n))
	for rest := header[:r.headerLen]; ; pieces = pieces[1:] {
		skip := copy(pieces[0].Bytes(), rest)
		if rest = rest[skip:]; len(rest) == 0 {
			b.Spread(pieces, skip, p)
			return
		}
	}
}
