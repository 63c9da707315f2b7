package virtq

import (
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"weft/internal/packet"
	"weft/internal/sys"
)

// RingConfig is what the front end negotiated for one virtqueue.
type RingConfig struct {
	// Packed says that RING_PACKED was negotiated.
	Packed bool
	// Size is the number of descriptors: 1 to MaxSize, in a split ring a power of two.
	Size uint32
	// Base is where a packed ring goes on, as Ring.Base tells it. OldBase says that it need not be where the last device
	// stopped.
	Base    uint32
	OldBase bool
	// Desc, Driver and Device are the ring's areas (virtio 1.3 §2.6), in a split ring descriptor table, available and used
	// ring. They are wholly inside guest memory, aligned to 16, 2 and 4 bytes (§2.7), in a packed ring to 16, 4 and 4 (§2.8.10.1).
	Desc, Driver, Device unsafe.Pointer
	// Memory translates the addresses in descriptors.
	Memory *Memory
	// HeaderLen is HeaderMergeable with VERSION_1 or MRG_RXBUF, else HeaderLegacy.
	HeaderLen int
	// Mergeable and Indirect say that MRG_RXBUF and INDIRECT_DESC were negotiated.
	Mergeable, Indirect bool
	// Batches says that IN_ORDER was negotiated, for a ring whose buffers the device only reads: the driver may then be told of
	// many used buffers at once (virtio 1.3 §2.7.9 and §2.8.8).
	Batches bool
	// InOrder says that IN_ORDER was negotiated: the driver takes a split ring's descriptors as they stand in its table (§2.7.9).
	InOrder bool
	// MTU bounds the L3 payload of frames sent to the guest, in bytes; 0 means no bound.
	MTU int
	// Call interrupts the guest; nil when it did not ask for interrupts.
	Call *sys.Event
}

// burst is how many buffers are staged at a time: read from the ring and translated together.
const burst = packet.BatchSize

// unpublished is how many chains are put before they are published at the latest, see makeRoom: a frame over as many buffers
// as can be when as many are put already, and the rest of what is staged.
const unpublished = 2*maxChain + burst

// maxChain is how many pieces of one chain are remembered. Frames that need more are dropped.
const maxChain = packet.MaxSegments

// Ring is one attached virtqueue. All state but call and err belongs to the thread that owns the queue.
//
// Between two bursts all that was taken is used, as buffers are used in the order in which they became available: one index
// says how far the device is. Within a burst, buffers are staged from there on, and become used together at its end. A burst
// that a memory fault cuts short is taken again.
type Ring struct {
	// Set once.
	packed               bool
	size, mask           uint16 // size wraps to 0 never: MaxSize fits
	desc, driver, device unsafe.Pointer
	availIdx             halfWord // split only
	driverFlags          halfWord // whether the guest wants interrupts
	quietMask            uint16   // the bits of it that say so
	memory               *Memory
	headerLen            int
	maxPayload           int // MTU, or more than any frame
	mergeable            bool
	indirect             bool
	batches              bool
	flushes              bool // see flushBefore

	// Written by the owner.
	broken  bool
	next    uint16 // the index (split) or position (packed) that is taken and used next
	tail    uint16 // the one that is staged next
	taken   uint16 // chains from next on that the burst took
	flushed uint16 // the descriptor before which those used were flushed, the first of a cache line
	free    int    // available from tail on: chains, in a packed ring descriptors at most
	bufs    [burst]buffer
	ahead   lookAhead // in bufs
	peeked  buffer
	chain   [maxChain]packet.Segment // where a frame to be transmitted goes
	used    [unpublished]usedEntry   // packed only: chains that were put

	// Shared with the session.
	call atomic.Pointer[sys.Event]
	err  atomic.Pointer[RingError]
}

// buffer is one descriptor as it was read once, with its address translated.
type buffer struct {
	at    uintptr // where it is mapped here, 0: not inside one region. Not a pointer, as guest memory is not Go's to collect
	addr  uint64
	len   uint32
	flags uint16
	next  uint16 // split only: where the chain goes on
	pos   uint16 // packed only: where it begins
	head  uint16 // what names the chain: the index of its first descriptor (split), or its buffer id (packed)
	count uint16 // packed only: how many descriptors the chain takes
}

// plain reports that b alone is a whole chain, of the direction (0 or descWrite) that is asked for, and mapped in one piece.
func (b *buffer) plain(direction uint16) bool {
	return b.flags&(descNext|descIndirect|descWrite) == direction && b.at != 0
}

// pointer is where b begins, which must be mapped.
func (b *buffer) pointer() unsafe.Pointer {
	// SAFETY: translate found len bytes of a mapping at this address; the mapping stays until a quiescent point.
	return unsafe.Add(nil, b.at)
}

// after is the part of b that begins n bytes in, n at most its length.
func (b *buffer) after(n int) packet.Segment {
	// SAFETY: n <= len by the caller's promise.
	return packet.SegmentAt(unsafe.Add(b.pointer(), n), b.len-uint32(n))
}

// NewRing checks cfg and makes a ring.
//
// A split ring goes on at the used index that stands in guest memory: this device uses buffers in the order in which they
// became available, so that is where its predecessor stopped. A front end that asks for a different base, as one does whose
// last device died, believes that buffers are in flight; they are processed again. A packed ring has no such index, and goes
// on at cfg.Base, or where its descriptors say.
func NewRing(cfg RingConfig) (*Ring, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	r := &Ring{
		packed: cfg.Packed,
		size:   uint16(cfg.Size), mask: uint16(cfg.Size - 1),
		desc: cfg.Desc, driver: cfg.Driver, device: cfg.Device,
		memory: cfg.Memory, headerLen: cfg.HeaderLen,
		mergeable: cfg.Mergeable, indirect: cfg.Indirect, batches: cfg.Batches,
		maxPayload: packet.MaxFrame,
	}
	if cfg.MTU > 0 {
		r.maxPayload = cfg.MTU
	}
	r.call.Store(cfg.Call)
	first := halfWordAt(cfg.Driver)
	// SAFETY: the driver's area has 4 bytes at least.
	second := halfWordAt(unsafe.Add(cfg.Driver, 2))
	if r.packed {
		// Offset and wrap counter come first, which count with EVENT_IDX alone (virtio 1.3 §2.8.14).
		r.driverFlags, r.quietMask = second, eventFlagsMask
		r.next = uint16(cfg.Base)
		if cfg.OldBase {
			var err error
			if r.next, err = r.resume(r.next); err != nil {
				return nil, err
			}
		}
	} else {
		r.driverFlags, r.quietMask = first, availNoInterrupt
		r.availIdx = second
		r.next = r.usedIdx()
		r.flushes = cfg.InOrder && uintptr(cfg.Desc)%cacheLine == 0 && flushingHelps()
	}
	r.askKicks(false)
	return r, nil
}

// check finds what no ring can be made of.
func (cfg *RingConfig) check() error {
	driverAlign := uintptr(2)
	if cfg.Packed {
		driverAlign = 4
	}
	switch {
	case cfg.Size == 0 || cfg.Size > MaxSize || !cfg.Packed && bits.OnesCount32(cfg.Size) != 1:
		return fmt.Errorf("virtq: ring size %d is not %s", cfg.Size, SizeRule(cfg.Packed))
	case cfg.Desc == nil || cfg.Driver == nil || cfg.Device == nil || cfg.Memory == nil:
		return errors.New("virtq: ring areas or memory missing")
	case uintptr(cfg.Desc)%16 != 0 || uintptr(cfg.Driver)%driverAlign != 0 || uintptr(cfg.Device)%4 != 0:
		return fmt.Errorf("virtq: ring areas are not aligned to 16, %d and 4 bytes", driverAlign)
	case cfg.HeaderLen != HeaderLegacy && cfg.HeaderLen != HeaderMergeable:
		return fmt.Errorf("virtq: header length %d is neither %d nor %d", cfg.HeaderLen, HeaderLegacy, HeaderMergeable)
	case cfg.Packed && cfg.Base&(wrapBit-1) >= cfg.Size:
		return fmt.Errorf("virtq: base %#x is outside a packed ring of %d", cfg.Base, cfg.Size)
	}
	return nil
}

// Base is where the device would go on, exact once no PMD thread uses the ring, as vhost-user's messages say it: the next
// available index, or for a packed ring, in 16 bits each, the positions of the next available and the next used descriptor
// with their wrap counters in the highest bit, which here are the same.
func (r *Ring) Base() uint32 {
	if r.packed {
		return uint32(r.next) | uint32(r.next)<<16
	}
	return uint32(r.next)
}

// SetCall replaces what interrupts the guest (nil: nothing). The old one may be used until a quiescent point.
func (r *Ring) SetCall(e *sys.Event) { r.call.Store(e) }

// Err is a *RingError when the guest broke the ring, else nil.
func (r *Ring) Err() error {
	if err := r.err.Load(); err != nil {
		return err
	}
	return nil
}

// fail breaks the ring. It happens once in a ring's life, so it may allocate.
func (r *Ring) fail(v Violation, descriptor uint16, value uint64) {
	r.broken = true
	index := r.next + r.taken
	if r.packed {
		index = r.next &^ wrapBit
	}
	r.err.Store(&RingError{Violation: v, Index: index, Descriptor: descriptor, Value: value})
}

// halfWord is 16 bits of guest memory, read through the aligned 32-bit word around them: Go has no 16-bit atomics.
type halfWord struct {
	word  *uint32
	shift uint8
}

func halfWordAt(p unsafe.Pointer) halfWord {
	odd := uintptr(p) % 4
	// SAFETY: p is 2-aligned, so its word starts at p or 2 bytes before, on the same page, hence mapped.
	return halfWord{(*uint32)(unsafe.Add(p, -int(odd))), uint8(odd * 8)}
}

func (h halfWord) load() uint16 { return uint16(atomic.LoadUint32(h.word) >> (h.shift & 31)) }

// begin starts a burst: it learns what the guest has made available, in a packed ring only whether there is something.
func (r *Ring) begin() {
	r.tail, r.taken, r.free = r.next, 0, 0
	if r.packed {
		r.beginPacked()
	} else {
		r.beginSplit()
	}
}

// stage reads up to n available chains from tail on, behind so many in bufs that were staged before, each one's first
// descriptor, and asks for the lines of the first buffers, or claims them to be written. It returns how many are staged then.
func (r *Ring) stage(before, n int, write bool) int {
	bufs := r.bufs[before : before+min(n, r.free)]
	staged := before
	if r.packed {
		staged += r.stagePacked(bufs)
	} else {
		staged += r.stageSplit(bufs)
	}
	if write {
		r.writeAhead(0, staged)
	} else {
		r.readAhead(0, staged)
	}
	return staged
}

// peek reads the next chain behind the staged ones. The buffer is valid until the next peek. It is nil when there is none,
// or the ring broke.
func (r *Ring) peek() *buffer {
	b := &r.peeked
	if !r.broken && (r.packed && r.readPacked(b) || !r.packed && r.readSplit(b)) {
		return b
	}
	return nil
}

// put says that the chain that is skip behind next, and begins with b, is used, and n bytes of it were written. That becomes
// visible with publish.
func (r *Ring) put(skip int, b *buffer, n uint32) {
	if r.packed {
		r.used[skip] = usedEntry{uint64(n) | uint64(b.head)<<32, b.count}
	} else {
		r.putSplit(skip, b.head, n)
	}
}

// publish makes the first n chains visible that were put.
func (r *Ring) publish(n int) {
	if r.packed {
		r.publishPacked(n)
		return
	}
	r.next += uint16(n)
	r.askKicks(false)
}

// publishBatch makes the first n staged chains visible as used, by one descriptor or entry that stands where the first one's
// would, and has the id of the last one.
func (r *Ring) publishBatch(n int) {
	last := &r.bufs[n-1]
	if r.packed {
		r.publishPackedBatch(last)
		return
	}
	r.putSplit(0, last.head, 0)
	r.publish(n)
}

// askKicks tells the guest whether to kick (virtio 1.3 §2.7.10 and §2.8.14): in a split ring with the used index, which
// stands in the same word. The store is a locked exchange. So used entries are written before the index, and the index before
// the reading of the guest's flags in interrupt (§2.7.13.4.1); and what the guest made available before it saw that kicks are
// wanted is seen by a begin that follows.
func (r *Ring) askKicks(on bool) {
	flags := uint32(quiet)
	if on {
		flags = 0
	}
	word := flags | uint32(r.next)<<16
	if r.packed {
		word = flags << 16
	}
	// SAFETY: device points at an area of at least 4 bytes, aligned to 4. Only the device writes this word.
	atomic.StoreUint32((*uint32)(r.device), word)
}

// interrupt signals the guest unless it said that it polls.
func (r *Ring) interrupt() {
	if r.driverFlags.load()&r.quietMask == quiet {
		return
	}
	if e := r.call.Load(); e != nil {
		e.Signal()
	}
}

// writeHeader writes the virtio-net header (virtio 1.3 §5.1.6: no offload) of a frame in one buffer to d, where headerLen bytes
// are mapped.
//
// A header that is there already, as in buffers that the guest uses again, is not written: the line that it is in stays with
// the guest, which reads it for every frame. A guest that writes there meanwhile gets what it wrote.
func (r *Ring) writeHeader(d unsafe.Pointer) {
	// SAFETY: the caller checked that headerLen bytes are mapped at d.
	if h := (*uint64)(d); *h != 0 {
		*h = 0
	}
	if r.headerLen == HeaderMergeable {
		if h := (*uint32)(unsafe.Add(d, 8)); *h != 1<<16 {
			*h = 1 << 16
		}
	} else if h := (*uint16)(unsafe.Add(d, 8)); *h != 0 {
		*h = 0
	}
}

// writeHeaderOf is writeHeader for a frame over n buffers, with MRG_RXBUF. What was there is another frame's data most often.
func writeHeaderOf(d unsafe.Pointer, n int) {
	// SAFETY: the caller checked that HeaderMergeable bytes are mapped at d.
	*(*uint64)(d), *(*uint32)(unsafe.Add(d, 8)) = 0, uint32(n)<<16
}

// fill writes a virtio-net header for one buffer and p's frame to buf, in which there is room for both.
func (r *Ring) fill(buf *buffer, b *packet.Batch, p *packet.Packet) {
	d := buf.pointer()
	r.writeHeader(d)
	if !p.Linear() {
		r.chain[0] = buf.after(0)
		b.Spread(r.chain[:1], r.headerLen, p)
		return
	}
	// SAFETY: the caller checked that headerLen+p.Len() bytes are mapped at d.
	d = unsafe.Add(d, r.headerLen)
	copy(unsafe.Slice((*byte)(d), p.HeaderLen()), p.Header())
}
