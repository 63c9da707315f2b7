package lan

import (
	"encoding/binary"
	"hash/crc32"

	"weft/pmd/i40e/i40esim/frame"
)

// Fields of a receive descriptor as written back (XL710 datasheet, "Receive descriptor write-back").
const (
	rxDD         = 1 << 0
	rxEOF        = 1 << 1
	rxL2Tag1     = 1 << 2
	rxL3L4P      = 1 << 3
	rxCRCP       = 1 << 4
	rxTsynShift  = 5 // register index, 2 bits
	rxTsynValid  = 1 << 7
	rxExtUDP0    = 1 << 8
	rxCastShift  = 9
	rxFLM        = 1 << 11
	rxFltShift   = 12
	rxLoopback   = 1 << 14
	rxIPv6ExAdd  = 1 << 15
	rxIntUDP0    = 1 << 18
	rxErrShift   = 19
	rxErrIP      = 1 << 3
	rxErrL4      = 1 << 4
	rxErrOuterIP = 1 << 5
	rxPTypeShift = 30
	rxLenShift   = 38
	rxSplit      = 1 << 63 // SPH; alone with a zero length: programming status

	rxFltFDID = 1 // FLTSTAT: the 16-byte descriptor's filter ID
	rxFltRSS  = 3

	rxExtL2Tag2    = 1 << 0
	rxExtFDIDShift = 4 // FLEXBH = 1: filter ID in the upper half of quad word 3

	rxProgFD = 1 << 2 // PROGID: flow director
)

// Verdict is what became of a frame.
type Verdict uint8

// The verdicts of [RxQueue.Deliver].
const (
	// Received: the frame is in host memory; its descriptors are written back with their lines.
	Received Verdict = iota
	// NoDescriptors: fewer buffers than the frame needs; it is dropped whole (GLV_RDPC).
	NoDescriptors
	// Oversize: longer than RXMAX, or than MaxChain buffers hold; dropped.
	Oversize
	// Stopped: the queue met an error before and takes nothing until it is enabled afresh.
	Stopped
)

// Cast is the UMBCAST field.
type Cast uint8

// The values of the field.
const (
	Unicast Cast = iota
	Multicast
	Broadcast
	Mirrored
)

// TagMode is what happens to the VLAN tags that RxMeta.Strip names: the VSI's EMOD (VSI properties, port_vlan_flags).
type TagMode uint8

// The values of the field.
const (
	// TagStrip takes the tag off and shows it in the descriptor.
	TagStrip TagMode = iota
	// TagStripPriority takes it off and shows its user priority alone.
	TagStripPriority
	// TagHide takes it off and shows nothing.
	TagHide
	// TagKeep leaves the frame as it is.
	TagKeep
)

// RxMeta is what the classification found out about a frame.
type RxMeta struct {
	// Layers are the headers of the frame, from the device's parser.
	Layers frame.Layers
	// HashValid: Hash goes into the descriptor.
	HashValid bool
	Hash      uint32
	// Filtered: a flow director filter matched. ReportID: it wants its ID in the descriptor.
	Filtered bool
	ReportID bool
	FilterID uint32
	Cast     Cast
	Loopback bool // from another VSI of this device
	// Strip is how many tags TagMode applies to, from the outside in; tags that the frame does not have count for nothing.
	Strip   int
	TagMode TagMode
	// TimesyncValid: the frame's time was latched in PRTTSYN_RXTIME register TimesyncIndex (0..3).
	TimesyncValid bool
	TimesyncIndex uint8
}

// RxQueue is an enabled receive queue.
type RxQueue struct {
	index int
	ctx   RxContext
	dma   DMA
	rep   Reporter
	cause func()

	head    uint16 // next descriptor to fill
	tail    uint16 // first that the host has not given
	stopped bool

	// dirty are finished descriptors not yet written back; the last of them is just before head.
	dirty []byte
}

// NewRxQueue makes the engine of receive queue index (absolute) from a context that DecodeRxContext passed. cause is
// called after each frame or status that went into the ring, written back or not: it starts the throttle timer of the
// linked vector, which ends in Flush and an interrupt.
func NewRxQueue(index int, ctx RxContext, dma DMA, rep Reporter, cause func()) *RxQueue {
	return &RxQueue{index: index, ctx: ctx, dma: dma, rep: rep, cause: cause, head: ctx.Head, tail: ctx.Head}
}

// Context returns the context that the queue runs with.
func (q *RxQueue) Context() RxContext { return q.ctx }

// Head is the index of the next descriptor that the device fills.
func (q *RxQueue) Head() uint16 { return q.head }

// Tail is what the host last wrote.
func (q *RxQueue) Tail() uint16 { return q.tail }

// Free is the number of descriptors that the device may fill.
func (q *RxQueue) Free() int { return ringDistance(q.head, q.tail, q.ctx.Len) }

// Stopped says whether an error stopped the queue.
func (q *RxQueue) Stopped() bool { return q.stopped }

// Pending is the number of finished descriptors that the host cannot see yet.
func (q *RxQueue) Pending() int { return len(q.dirty) / q.descLen() }

// SetTail is a write to QRX_TAIL: descriptors from the head to before tail are the device's.
func (q *RxQueue) SetTail(tail uint32) {
	if q.stopped {
		return
	}
	if tail >= uint32(q.ctx.Len) {
		q.fail(EventTail, "rx queue %d: tail %d, and the ring has %d descriptors", q.index, tail, q.ctx.Len)
		return
	}
	if given := ringDistance(q.tail, uint16(tail), q.ctx.Len); given+q.Free() >= int(q.ctx.Len) {
		q.rep.Violation("rx queue %d: tail moved from %d to %d past the head %d: the host gave descriptors it does not own",
			q.index, q.tail, tail, q.head)
	}
	q.tail = uint16(tail)
}

// Deliver places a frame without its frame check sequence into the next buffers. It borrows b until it returns.
func (q *RxQueue) Deliver(b []byte, m *RxMeta) Verdict {
	if q.stopped {
		return Stopped
	}
	if len(b)+CRCLen > q.ctx.RxMax {
		return Oversize
	}
	data, tags := q.takeTags(b, m)
	if !q.ctx.StripCRC {
		data = appendCRC(data, b)
	}
	n := max(1, (len(data)+q.ctx.Buffer-1)/q.ctx.Buffer)
	// A context may allow longer frames than a chain holds, as Linux's PF driver writes it for a VF that asks so.
	if n > MaxChain {
		return Oversize
	}
	if n > q.Free() {
		return NoDescriptors
	}
	qw1 := q.status(b, m) | uint64(m.Layers.PType())<<rxPTypeShift
	for ; n > 1; n-- {
		if !q.fill(data[:q.ctx.Buffer], tagWords{}, [4]uint64{1: rxDD}) {
			return Stopped
		}
		data = data[q.ctx.Buffer:]
	}
	if !q.fill(data, tags, q.lastWords(m, qw1)) {
		return Stopped
	}
	q.cause()
	return Received
}

// PostProgramStatus posts the status of a flow director filter that could not be programmed: id is the filter's. It
// reports false when there is no descriptor for it.
func (q *RxQueue) PostProgramStatus(id uint32, status ProgramStatus) bool {
	if q.stopped || q.Free() == 0 {
		return false
	}
	qw1 := uint64(rxDD|rxProgFD) | uint64(status)<<rxErrShift | rxSplit
	if _, ok := q.fetch(); !ok {
		return false
	}
	q.complete([4]uint64{uint64(id) << 32, qw1})
	q.cause()
	return true
}

// Flush writes back what is finished, full line or not, and returns how many descriptors that were.
func (q *RxQueue) Flush() int {
	if len(q.dirty) == 0 || q.stopped {
		return 0
	}
	n := q.Pending()
	first := (int(q.head) + int(q.ctx.Len) - n) % int(q.ctx.Len)
	addr := q.ctx.Base + uint64(first*q.descLen())
	err := q.dma.Write(addr, q.dirty)
	q.dirty = q.dirty[:0]
	if err != nil {
		q.fail(EventDescriptorFetch, "rx queue %d: descriptors at %#x cannot be written back: %v", q.index, addr, err)
		return 0
	}
	return n
}

// tagWords are the tags for the descriptor.
type tagWords struct {
	show [2]uint16
	n    int
}

// takeTags applies the VSI's tag mode. What it returns is b itself when no tag goes.
func (q *RxQueue) takeTags(b []byte, m *RxMeta) ([]byte, tagWords) {
	var tags tagWords
	n := min(m.Strip, m.Layers.L2.NumTags)
	if n == 0 || m.TagMode == TagKeep {
		return b, tags
	}
	const priority = 0xE000
	for i := range n {
		tci := m.Layers.L2.Tags[i].TCI
		switch m.TagMode {
		case TagStrip:
			tags.show[i], tags.n = tci, i+1
		case TagStripPriority:
			tags.show[i], tags.n = tci&priority, i+1
		case TagHide, TagKeep:
		}
	}
	out := frame.StripTags(b, m.Layers.L2.Offset, n)
	if inner := &m.Layers.InnerL2; q.ctx.ShowIV && inner.NumTags > 0 {
		out = frame.StripTags(out, inner.Offset-n*frame.TagLen, 1)
	}
	return out, tags
}

// appendCRC appends the frame check sequence of wire, the frame as it was received, to a copy of data.
func appendCRC(data, wire []byte) []byte {
	out := make([]byte, 0, len(data)+CRCLen)
	out = append(out, data...)
	return binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(wire))
}

// status returns the STATUS and ERROR fields of the last descriptor.
func (q *RxQueue) status(b []byte, m *RxMeta) uint64 {
	s := uint64(rxDD|rxEOF) | uint64(m.Cast)<<rxCastShift
	if !q.ctx.StripCRC {
		s |= rxCRCP
	}
	if m.Loopback {
		s |= rxLoopback
	}
	if m.Filtered {
		s |= rxFLM
	}
	if m.TimesyncValid {
		s |= rxTsynValid | uint64(m.TimesyncIndex&3)<<rxTsynShift
	}
	c := m.Layers.Verify(b)
	for _, f := range []struct {
		set bool
		bit uint64
	}{
		{c.Checked, rxL3L4P},
		{c.Rewritten, rxIPv6ExAdd},
		{c.OuterUDPZero, rxExtUDP0},
		{c.UDPZero, rxIntUDP0},
		{c.BadIP, rxErrIP << rxErrShift},
		{c.BadL4, rxErrL4 << rxErrShift},
		{c.BadOuterIP, rxErrOuterIP << rxErrShift},
	} {
		if f.set {
			s |= f.bit
		}
	}
	return s
}

// lastWords returns the descriptor of the end of a frame; fill adds length and tags.
func (q *RxQueue) lastWords(m *RxMeta, qw1 uint64) [4]uint64 {
	var w [4]uint64
	switch {
	case m.Filtered && m.ReportID && q.ctx.Long:
		w[2] |= 1 << rxExtFDIDShift
		w[3] |= uint64(m.FilterID) << 32
	case m.Filtered && m.ReportID:
		w[0] |= uint64(m.FilterID) << 32
		qw1 |= rxFltFDID << rxFltShift
	}
	if m.HashValid && qw1>>rxFltShift&3 == 0 {
		w[0] |= uint64(m.Hash) << 32
		qw1 |= rxFltRSS << rxFltShift
	}
	w[1] = qw1
	return w
}

// fill writes data into the next buffer and finishes its descriptor.
func (q *RxQueue) fill(data []byte, tags tagWords, w [4]uint64) bool {
	addr, ok := q.fetch()
	if !ok {
		return false
	}
	if addr == 0 {
		q.fail(EventBuffer, "rx queue %d: descriptor %d has no buffer", q.index, q.head)
		return false
	}
	if err := q.dma.Write(addr, data); err != nil {
		q.fail(EventBuffer, "rx queue %d: descriptor %d: buffer at %#x: %v", q.index, q.head, addr, err)
		return false
	}
	w[1] |= uint64(len(data)) << rxLenShift
	for i := range tags.n {
		if (i == 0) == q.ctx.L2TSel {
			w[0] |= uint64(tags.show[i]) << 16
			w[1] |= rxL2Tag1
		} else {
			w[2] |= uint64(tags.show[i])<<48 | rxExtL2Tag2
		}
	}
	q.complete(w)
	return !q.stopped
}

// fetch reads the descriptor at the head and returns its buffer's address.
func (q *RxQueue) fetch() (addr uint64, ok bool) {
	var d [32]byte
	desc := d[:q.descLen()]
	at := q.ctx.Base + uint64(q.head)*uint64(len(desc))
	if err := q.dma.Read(at, desc); err != nil {
		q.fail(EventDescriptorFetch, "rx queue %d: descriptor %d at %#x: %v", q.index, q.head, at, err)
		return 0, false
	}
	if header := binary.LittleEndian.Uint64(desc[8:]); header&rxDD != 0 {
		q.rep.Violation("rx queue %d: descriptor %d was given with DD set (header address %#x)", q.index, q.head, header)
	}
	return binary.LittleEndian.Uint64(desc), true
}

// complete puts the write-back of the descriptor at the head into the line that is being collected and moves the head.
func (q *RxQueue) complete(w [4]uint64) {
	for i := range q.descLen() / 8 {
		q.dirty = binary.LittleEndian.AppendUint64(q.dirty, w[i])
	}
	q.head = (q.head + 1) % q.ctx.Len
	if int(q.head)*q.descLen()%lineLen == 0 {
		q.Flush()
	}
}

func (q *RxQueue) descLen() int {
	if q.ctx.Long {
		return 32
	}
	return 16
}

func (q *RxQueue) fail(e Event, format string, args ...any) {
	q.stopped = true
	q.rep.Violation(format, args...)
	q.rep.Malicious(q.index, false, e)
}

// ringDistance is the number of descriptors from index from to before index to.
func ringDistance(from, to, length uint16) int {
	return (int(to) + int(length) - int(from)) % int(length)
}
