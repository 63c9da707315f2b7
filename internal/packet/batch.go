package packet

import "slices"

const (
	// BatchSize is the largest number of packets that one Receive delivers.
	BatchSize = 32

	// MaxClones bounds the extra copies of header windows that one batch can hold at a time (see Batch.Clone).
	MaxClones = 32

	// Headroom is the space before a freshly received frame, for the headers that actions push: four VLAN tags or
	// MPLS labels, or one outer Ethernet/IPv6/UDP/VXLAN stack (74 bytes) and a tag.
	Headroom = 128

	// WindowSize is how many bytes of a frame in foreign memory are copied into the header window. It covers
	// Ethernet, two VLAN tags, IPv6 with a fragment header, and TCP with options; BenchmarkWindow has the cost of others.
	WindowSize = 128

	// MaxWindow is how far Pull can lengthen the window of a frame whose headers do not fit WindowSize.
	MaxWindow = 384

	// SlotSize is the memory behind one packet: headroom, then window.
	SlotSize = Headroom + MaxWindow

	// MaxSegments is the number of segments that all packets of a batch together may borrow: six each, as 9000 bytes in
	// buffers of 2 KiB take five. A receive queue ends the batch early when the next packet would not fit, and drops a
	// packet that alone needs more.
	MaxSegments = 6 * BatchSize

	// MinFrame is the shortest frame that is forwarded: an Ethernet header (IEEE 802.3 §3.1.1, without padding, which
	// virtual wires do not need).
	MinFrame = 14

	// MaxFrame is the longest frame that a batch can describe.
	MaxFrame = 65535
)

// Batch is up to BatchSize packets from one receive queue, and their clones.
//
// Life: Reset, then Add for each packet (a receive queue does both), then reading, editing and cloning, then Reset again.
type Batch struct {
	// InPort names the port that the packets came from, Time is when they did, in nanoseconds of a clock that every PMD
	// thread reads alike and that has nothing to do with the time of day. The PMD loop sets both.
	InPort uint32
	Time   int64

	n      int // packets received
	clones int // clones, placed behind the received packets' slots
	nseg   int
	asked  int    // segments that were asked for, the first ones
	tail   int    // where the segments begin that lendTail made last, plus 1; 0: nowhere
	bytes  uint64 // of the packets received, as they were received

	unfilled  [BatchSize]unfilled
	nunfilled int

	pkts [BatchSize + MaxClones]Packet
	segs [MaxSegments]Segment

	mem []byte // (BatchSize+MaxClones) slots
}

// unfilled is a packet whose window FillWindows has to fill, and from where.
type unfilled struct {
	from   Segment
	packet int
}

// BatchMemory is how many bytes NewBatch needs.
const BatchMemory = (BatchSize + MaxClones) * SlotSize

// NewBatch makes a batch whose header windows lie in mem, which has at least BatchMemory bytes and belongs to the batch
// from now on. With nil, the batch allocates its own.
func NewBatch(mem []byte) *Batch {
	if mem == nil {
		mem = make([]byte, BatchMemory)
	}
	b := &Batch{mem: mem[:BatchMemory]}
	return b
}

// Reset empties the batch.
func (b *Batch) Reset() { b.n, b.clones, b.nseg, b.asked, b.nunfilled, b.bytes = 0, 0, 0, 0, 0, 0 }

// Len is the number of packets received, clones not counted.
func (b *Batch) Len() int { return b.n }

// Packet returns packet i, a received one (i < Len) or a clone's index as Clone returned it.
func (b *Batch) Packet(i int) *Packet { return &b.pkts[i] }

// Bytes is the sum of the packets' frame lengths as they were received, before any edit.
func (b *Batch) Bytes() uint64 { return b.bytes }

// SegmentsFree is how many segments the batch can still take.
func (b *Batch) SegmentsFree() int { return MaxSegments - b.nseg }

// Segments returns the parts of p's frame that follow its header window. They are borrowed from the source.
func (b *Batch) Segments(p *Packet) []Segment { return b.segs[p.seg : p.seg+p.nseg] }

// FreeSegments is the room for the pieces of the frame that is added next: append them, then call AddPieces.
func (b *Batch) FreeSegments() []Segment { return b.segs[b.nseg:b.nseg] }

// AddPieces adds a frame that begins skip bytes into pieces, which were appended to FreeSegments, and ends with them: n bytes,
// at least one. Its first bytes are copied into the window, most often not before FillWindows; the rest is lent, and asked for as
// PrefetchSegments says. The batch must have room (Len below BatchSize).
func (b *Batch) AddPieces(pieces []Segment, skip, n int) {
	p := b.Add(min(n, WindowSize))
	at := 0
	for ; skip >= pieces[at].Len(); at++ {
		skip -= pieces[at].Len()
	}
	if first := pieces[at].after(skip); first.Len() > int(p.window) {
		b.unfilled[b.nunfilled] = unfilled{SegmentAt(first.p, uint32(p.window)), b.n - 1}
		b.nunfilled++
		prefetchWindow(first.p)
		pieces[at] = first.after(int(p.window))
	} else {
		at += fillWindow(p.Header(), pieces[at:], skip)
	}
	if at > 0 {
		copy(pieces, pieces[at:])
	}
	p.nseg = uint16(len(pieces) - at)
	b.nseg += int(p.nseg)
	b.bytes += uint64(n) - uint64(p.length)
	p.length = uint32(n)
	b.PrefetchSegments()
}

// fillWindow copies what pieces have from skip on into a window, as far as both go, and takes it from them. It returns how many
// of them have nothing left.
func fillWindow(window []byte, pieces []Segment, skip int) (emptied int) {
	for len(window) > 0 {
		s := pieces[emptied].after(skip)
		c := copy(window, s.Bytes())
		if window, skip = window[c:], 0; c < s.Len() {
			pieces[emptied] = s.after(c)
			break
		}
		emptied++
	}
	return emptied
}

// FillWindows copies what AddPieces left to be copied: where pieces are far away, their first lines come at the same time, while
// others are added. To be called before the packets are looked at.
func (b *Batch) FillWindows() {
	for i := range b.unfilled[:b.nunfilled] {
		u := &b.unfilled[i]
		copy(b.pkts[u.packet].Header(), u.from.Bytes())
	}
	b.nunfilled = 0
}

// AddSegment lends s to p, which must be the packet added last.
func (b *Batch) AddSegment(p *Packet, s Segment) {
	b.segs[b.nseg] = s
	b.nseg++
	p.nseg++
	p.length += s.n
	b.bytes += uint64(s.n)
}

// Clone copies packet i's header window into a slot of its own, sharing the segments, so that the copy and the original
// can be edited apart. It returns the copy's index; ok is false when the batch holds MaxClones already.
func (b *Batch) Clone(i int) (j int, ok bool) {
	if b.clones == MaxClones {
		return 0, false
	}
	j = BatchSize + b.clones
	if ok = b.CloneTo(i, j); ok {
		b.clones++
	}
	return j, ok
}

// CloneTo copies packet i as Clone does, to the index j of a clone that nothing refers to any more. It fails when the
// batch's segments are used up.
func (b *Batch) CloneTo(i, j int) bool {
	src, dst := &b.pkts[i], &b.pkts[j]
	head := src.Header()
	*dst = b.slot(j)
	dst.length = src.length
	if b.inSlot(src) {
		dst.start = src.start // an edited header may have grown into the headroom
	}
	if b.inSlot(src) || len(head) <= MaxWindow {
		dst.window = uint16(copy(dst.room(), head))
		dst.seg, dst.nseg = src.seg, src.nseg
		return true
	}
	// The window is the source's own buffer, longer than what is looked at: what exceeds that is shared as a segment.
	at, ok := b.lendTail(src, SegmentOf(head[MaxWindow:]))
	if !ok {
		return false
	}
	dst.window = uint16(copy(dst.room(), head[:MaxWindow]))
	dst.seg, dst.nseg = at, src.nseg+1
	return true
}

// lendTail returns where segments begin that are tail and then p's own. Clones of one packet mostly get the same ones, so
// that any number of them takes no more than the first.
func (b *Batch) lendTail(p *Packet, tail Segment) (at uint16, ok bool) {
	n := int(p.nseg) + 1
	if last := b.tail - 1; last >= 0 && last+n <= b.nseg && b.segs[last] == tail &&
		slices.Equal(b.segs[last+1:last+n], b.Segments(p)) {
		return uint16(last), true
	}
	if n > b.SegmentsFree() {
		return 0, false
	}
	last := b.nseg
	b.segs[last] = tail
	copy(b.segs[last+1:], b.Segments(p))
	b.nseg, b.tail = last+n, last+1
	return uint16(last), true
}

// ResetClones forgets all clones; their indices and segments are free for new ones.
func (b *Batch) ResetClones() {
	b.clones, b.nseg = 0, 0
	if b.n > 0 {
		last := &b.pkts[b.n-1]
		b.nseg = int(last.seg + last.nseg)
	}
}

// Pull lengthens p's window by copying what its segments begin with, up to MaxWindow bytes of the frame, for headers
// that do not fit WindowSize. It reports whether the window grew. p must not have been cloned yet.
func (b *Batch) Pull(p *Packet) bool {
	if !b.inSlot(p) {
		return false // a window in the source's own buffer is as long as it gets
	}
	grown := false
	for p.nseg > 0 && p.window < MaxWindow && int(p.start)+int(p.window) < SlotSize {
		s := &b.segs[p.seg]
		room := p.room()
		n := copy(room[p.window:min(len(room), MaxWindow)], s.Bytes())
		if n == 0 {
			break
		}
		grown = true
		p.window += uint16(n)
		if n < s.Len() {
			*s = s.after(n)
			break
		}
		p.seg++
		p.nseg--
	}
	return grown
}
