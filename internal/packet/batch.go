package packet

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

	// SlotSize is the memory behind one packet: headroom, then window.
	SlotSize = Headroom + WindowSize

	// MaxSegments is the number of segments that all packets of a batch together may borrow. A receive queue ends the
	// batch early when the next packet would not fit, and drops a packet that alone needs more.
	MaxSegments = 128

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
	// InPort names the port that the packets came from. The PMD loop sets it.
	InPort uint32

	n      int // packets received
	clones int // clones, placed behind the received packets' slots
	nseg   int

	pkts [BatchSize + MaxClones]Packet
	segs [MaxSegments]Segment

	mem []byte // (BatchSize+MaxClones) slots
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
func (b *Batch) Reset() { b.n, b.clones, b.nseg = 0, 0, 0 }

// Len is the number of packets received, clones not counted.
func (b *Batch) Len() int { return b.n }

// Packet returns packet i, a received one (i < Len) or a clone's index as Clone returned it.
func (b *Batch) Packet(i int) *Packet { return &b.pkts[i] }

// Bytes is the sum of the received packets' frame lengths.
func (b *Batch) Bytes() uint64 {
	var sum uint64
	for i := range b.pkts[:b.n] {
		sum += uint64(b.pkts[i].length)
	}
	return sum
}

// SegmentsFree is how many segments the batch can still take.
func (b *Batch) SegmentsFree() int { return MaxSegments - b.nseg }

// Segments returns the parts of p's frame that follow its header window. They are borrowed from the source.
func (b *Batch) Segments(p *Packet) []Segment { return b.segs[p.seg : p.seg+p.nseg] }

// AddSegment lends s to p, which must be the packet added last.
func (b *Batch) AddSegment(p *Packet, s Segment) {
	b.segs[b.nseg] = s
	b.nseg++
	p.nseg++
	p.length += s.n
}

// DropLast removes the packet added last, with its segments.
func (b *Batch) DropLast() {
	b.n--
	b.nseg = int(b.pkts[b.n].seg)
}

// Clone copies packet i's header window into a slot of its own, sharing the segments, so that the copy and the original
// can be edited apart. It returns the copy's index; ok is false when the batch holds MaxClones already.
func (b *Batch) Clone(i int) (j int, ok bool) {
	if b.clones == MaxClones {
		return 0, false
	}
	j = BatchSize + b.clones
	b.clones++
	src, dst := &b.pkts[i], &b.pkts[j]
	head := src.Header()
	if len(head) > WindowSize && src.nseg == 0 {
		// The window is the frame itself (a NIC's buffer): what exceeds a slot's window is shared as a segment.
		if b.nseg == MaxSegments {
			b.clones--
			return 0, false
		}
		*dst = b.slot(j)
		dst.window = uint16(copy(dst.room(), head[:WindowSize]))
		dst.length = uint32(dst.window)
		dst.seg = uint16(b.nseg)
		b.AddSegment(dst, SegmentOf(head[WindowSize:]))
		return j, true
	}
	*dst = b.slot(j)
	// An edited header may have grown into the headroom; keep its place so that it fits the slot again.
	dst.start = src.start
	if int(dst.start)+len(head) > SlotSize {
		dst.start = uint16(SlotSize - len(head))
	}
	dst.window = uint16(copy(dst.room(), head))
	dst.seg, dst.nseg, dst.length = src.seg, src.nseg, src.length
	return j, true
}

// ResetClones forgets all clones; their indices are free for new ones. Segments that clones added stay counted until
// Reset.
func (b *Batch) ResetClones() { b.clones = 0 }
