package packet

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// lead is how many segments before it is copied what a segment has is asked for, into the second-level cache: some 40 KB with
// frames of 9000 bytes. Far more would push out of that cache what is needed first, less comes too late where memory is far.
const lead = 20

// Spread copies p's frame over the pieces in dst, from skip bytes into the first one on, at most all of its bytes. They must have
// room for the frame.
//
// The frame's segments are read while others may write to them; a byte may be read twice, and what it is then is copied.
func (b *Batch) Spread(dst []Segment, skip int, p *Packet) { b.spread(dst, skip, p, cpu.X86.HasAVX) }

// spread is Spread with or without AVX.
func (b *Batch) spread(dst []Segment, skip int, p *Packet, avx bool) {
	head := p.Header()
	from, asking := &b.segs[min(p.seg, MaxSegments-1)], b.nseg-int(p.seg)-lead
	// SAFETY: dst has room for the frame by the caller's promise; its segments are followed in segs by the batch's others, of
	// which addresses alone are read.
	if avx {
		spreadAVX(&dst[0], skip, unsafe.Pointer(unsafe.SliceData(head)), len(head), from, int(p.nseg), asking)
	} else {
		spreadSSE(&dst[0], skip, unsafe.Pointer(unsafe.SliceData(head)), len(head), from, int(p.nseg), asking)
	}
}

// spreadAVX copies n bytes from head on, and those of the segments from src on, to the pieces from dst on but the first skip
// bytes. While it copies one of the first so many asking segments, it asks for the batch's segment that is lead places behind it,
// line by line. Nothing that the frame does not have is written, within a frame bytes may be written twice.
//
// SAFETY: the pieces have room for all of it, and all are mapped.
//
//go:noescape
func spreadAVX(dst *Segment, skip int, head unsafe.Pointer, n int, src *Segment, segments, asking int)

// spreadSSE is spreadAVX for processors that have no AVX, or whose operating system does not keep its registers.
//
//go:noescape
func spreadSSE(dst *Segment, skip int, head unsafe.Pointer, n int, src *Segment, segments, asking int)
