package packet

import "unsafe"

// Packet is one frame of a batch: a header window and, when the frame is longer, segments.
type Packet struct {
	buf    unsafe.Pointer // headroom and window, or the source's own buffer
	start  uint16         // where the frame starts in buf
	window uint16         // bytes of the frame that lie in buf, contiguous from start
	seg    uint16         // its first segment in Batch.segs
	nseg   uint16
	length uint32 // the frame: window and segments
	_      uint32
}

// Segment is a piece of a frame in memory that is not ours: it may change under our eyes, so it is copied, never parsed.
type Segment struct {
	p unsafe.Pointer
	n uint32
}

// SegmentAt describes n bytes at p, which stay mapped until the batch is released.
func SegmentAt(p unsafe.Pointer, n uint32) Segment { return Segment{p, n} }

// SegmentOf describes b's bytes.
func SegmentOf(b []byte) Segment { return Segment{unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b))} }

// Len is the segment's length in bytes.
func (s Segment) Len() int { return int(s.n) }

// after is the segment without its first n bytes, n at most its length.
func (s Segment) after(n int) Segment {
	// SAFETY: s.p+n lies inside the segment, or right behind it.
	return Segment{unsafe.Add(s.p, n), s.n - uint32(n)}
}

// Pointer is the segment's first byte.
func (s Segment) Pointer() unsafe.Pointer { return s.p }

// Bytes views the segment. The view is valid until the batch is released.
func (s Segment) Bytes() []byte {
	// SAFETY: whoever lent the segment keeps p..p+n mapped until Release.
	return unsafe.Slice((*byte)(s.p), s.n)
}

// slot is the empty packet in slot i.
func (b *Batch) slot(i int) Packet {
	// SAFETY: mem has BatchSize+MaxClones slots, and i is below that for every caller.
	return Packet{buf: unsafe.Add(unsafe.Pointer(unsafe.SliceData(b.mem)), i*SlotSize), start: Headroom}
}

// inSlot reports whether p's window lies in a slot of the batch, and not in a buffer of its source.
func (b *Batch) inSlot(p *Packet) bool {
	// SAFETY: addresses are compared, nothing is dereferenced.
	return uintptr(p.buf)-uintptr(unsafe.Pointer(unsafe.SliceData(b.mem))) < uintptr(len(b.mem))
}

// Add begins the next packet, in a slot of the batch: n bytes of window (at most WindowSize) for the caller to fill
// through Header, and no segments yet. The batch must have room (Len below BatchSize).
func (b *Batch) Add(n int) *Packet {
	i := b.n
	p := &b.pkts[i]
	// SAFETY: as slot; i < BatchSize by the caller's promise, and the index expression above checked i's array bound.
	p.buf = unsafe.Add(unsafe.Pointer(unsafe.SliceData(b.mem)), i*SlotSize)
	p.start = Headroom
	p.window = uint16(n)
	p.seg = uint16(b.nseg)
	p.nseg = 0
	p.length = uint32(n)
	b.n++
	b.bytes += uint64(n)
	return p
}

// AddOwned begins the next packet around a frame that is already in Weft's memory: frame starts headroom bytes into buf
// and is n bytes long (at most MaxFrame), all of it window. buf stays the packet's until the batch is released.
func (b *Batch) AddOwned(buf []byte, headroom, n int) *Packet {
	p := &b.pkts[b.n]
	p.buf = unsafe.Pointer(unsafe.SliceData(buf[:headroom+n]))
	p.start = uint16(headroom)
	p.window = uint16(n)
	p.seg = uint16(b.nseg)
	p.nseg = 0
	p.length = uint32(n)
	b.n++
	b.bytes += uint64(n)
	return p
}

// Len is the frame's length in bytes, without frame check sequence.
func (p *Packet) Len() int { return int(p.length) }

// Header is the header window: the frame's first bytes, safe to parse and edit.
func (p *Packet) Header() []byte {
	// SAFETY: start+window lies inside buf; Add, AddOwned and the edits keep it so.
	return unsafe.Slice((*byte)(unsafe.Add(p.buf, p.start)), p.window)
}

// HeaderLen is the window's length in bytes.
func (p *Packet) HeaderLen() int { return int(p.window) }

// Linear reports that the whole frame lies in the window.
func (p *Packet) Linear() bool { return p.nseg == 0 }

// room is a slot's space from the frame's start to the slot's end.
func (p *Packet) room() []byte {
	// SAFETY: only called for packets in slots, whose memory ends SlotSize after buf.
	return unsafe.Slice((*byte)(unsafe.Add(p.buf, p.start)), SlotSize-int(p.start))
}

// grow makes the frame n bytes longer at the front. It fails when the headroom is used up, or the frame too long.
func (p *Packet) grow(n int) bool {
	if int(p.start) < n || int(p.length)+n > MaxFrame {
		return false
	}
	p.start -= uint16(n)
	p.window += uint16(n)
	p.length += uint32(n)
	return true
}

// shrink takes n bytes, which lie in the window, from the frame's front.
func (p *Packet) shrink(n int) {
	p.start += uint16(n)
	p.window -= uint16(n)
	p.length -= uint32(n)
}

// CopyTo copies the whole frame into dst, which must be at least Len bytes long, and returns Len.
func (b *Batch) CopyTo(dst []byte, p *Packet) int {
	n := copy(dst, p.Header())
	for _, s := range b.Segments(p) {
		n += copy(dst[n:], s.Bytes())
	}
	return n
}
