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
	// Size is the number of descriptors: a power of two from 1 to MaxSize.
	Size uint32
	// Desc, Driver and Device are the ring's areas (virtio 1.3 §2.6): descriptor table, available and used ring. They are
	// wholly inside guest memory, aligned to 16, 2 and 4 bytes (§2.7).
	Desc, Driver, Device unsafe.Pointer
	// Memory translates the addresses in descriptors.
	Memory *Memory
	// HeaderLen is HeaderMergeable with VERSION_1 or MRG_RXBUF, else HeaderLegacy.
	HeaderLen int
	// Mergeable and Indirect say that MRG_RXBUF and INDIRECT_DESC were negotiated.
	Mergeable, Indirect bool
	// MTU bounds the L3 payload of frames sent to the guest, in bytes; 0 means no bound.
	MTU int
	// Call interrupts the guest; nil when it did not ask for interrupts.
	Call *sys.Event
}

// burst is how many buffers are staged at a time: read from the ring, translated and prefetched together.
const burst = packet.BatchSize

// maxChain is how many pieces of one chain are remembered. Frames that need more are dropped.
const maxChain = packet.MaxSegments

// Ring is one attached virtqueue. All state but call and err belongs to the thread that owns the queue.
//
// Between two bursts all that was taken is used, as buffers are used in the order in which they became available: one index
// says how far the device is. Within a burst, buffers are staged from there on, and become used together at its end. A burst
// that a memory fault cuts short is taken again.
type Ring struct {
	// Set once.
	size, mask           uint16 // size wraps to 0 never: MaxSize fits
	desc, driver, device unsafe.Pointer
	availIdx, driverFlag halfWord
	memory               *Memory
	headerLen            int
	maxPayload           int // MTU, or more than any frame
	mergeable            bool
	indirect             bool

	// Written by the owner.
	broken bool
	next   uint16 // the entry that is taken and used next
	tail   uint16 // the entry that is staged next
	taken  uint16 // entries from next on that the burst took
	free   int    // entries available from tail on
	bufs   [burst]buffer
	lines  lines // of bufs
	peeked buffer
	chain  [maxChain]packet.Segment

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
	next  uint16
	head  uint16 // its index in the descriptor table, where an available entry names it
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

// NewRing checks cfg and makes a ring. It goes on at the used index that stands in guest memory: this device uses buffers
// in the order in which they became available, so that is where its predecessor stopped. A front end that asks for a
// different base, as one does whose last device died, believes that buffers are in flight; they are processed again.
func NewRing(cfg RingConfig) (*Ring, error) {
	switch {
	case cfg.Size == 0 || cfg.Size > MaxSize || bits.OnesCount32(cfg.Size) != 1:
		return nil, fmt.Errorf("virtq: ring size %d is not a power of two from 1 to %d", cfg.Size, MaxSize)
	case cfg.Desc == nil || cfg.Driver == nil || cfg.Device == nil || cfg.Memory == nil:
		return nil, errors.New("virtq: ring areas or memory missing")
	case uintptr(cfg.Desc)%16 != 0 || uintptr(cfg.Driver)%2 != 0 || uintptr(cfg.Device)%4 != 0:
		return nil, errors.New("virtq: ring areas are not aligned to 16, 2 and 4 bytes")
	case cfg.HeaderLen != HeaderLegacy && cfg.HeaderLen != HeaderMergeable:
		return nil, fmt.Errorf("virtq: header length %d is neither %d nor %d", cfg.HeaderLen, HeaderLegacy, HeaderMergeable)
	}
	// SAFETY: Driver points at a ring area of at least AvailBytes bytes.
	availIdx := unsafe.Add(cfg.Driver, 2)
	r := &Ring{
		size: uint16(cfg.Size), mask: uint16(cfg.Size - 1),
		desc: cfg.Desc, driver: cfg.Driver, device: cfg.Device,
		driverFlag: halfWordAt(cfg.Driver), availIdx: halfWordAt(availIdx),
		memory: cfg.Memory, headerLen: cfg.HeaderLen,
		mergeable: cfg.Mergeable, indirect: cfg.Indirect,
		maxPayload: packet.MaxFrame,
	}
	if cfg.MTU > 0 {
		r.maxPayload = cfg.MTU
	}
	r.call.Store(cfg.Call)
	r.next = r.usedIdx()
	r.askKicks(false)
	return r, nil
}

// Base is the next available index that the device would consume: exact once no PMD thread uses the ring.
func (r *Ring) Base() uint16 { return r.next }

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
	r.err.Store(&RingError{Violation: v, Index: r.next + r.taken, Descriptor: descriptor, Value: value})
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

// load reads the descriptor at d once.
func (b *buffer) load(d unsafe.Pointer) {
	// SAFETY: d points at 16 readable bytes of a descriptor table; the caller bounded it.
	b.addr = *(*uint64)(d)
	rest := *(*uint64)(unsafe.Add(d, 8))
	b.len = uint32(rest)
	b.flags = uint16(rest >> 32)
	b.next = uint16(rest >> 48)
}

// interrupt signals the guest unless it said that it polls.
func (r *Ring) interrupt() {
	if r.driverFlag.load()&availNoInterrupt != 0 {
		return
	}
	if e := r.call.Load(); e != nil {
		e.Signal()
	}
}

// fill writes a virtio-net header for one buffer (virtio 1.3 §5.1.6: no offload, num_buffers 1) and p's frame to d, where
// there is room for both.
//
// A header that is there already, as in buffers that the guest uses again, is not written: the line that it is in stays with
// the guest, which reads it for every frame. A guest that writes there meanwhile gets what it wrote.
func (r *Ring) fill(d unsafe.Pointer, b *packet.Batch, p *packet.Packet) {
	// SAFETY: the caller checked that headerLen+p.Len() bytes are mapped at d.
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
	d = unsafe.Add(d, r.headerLen)
	n := copy(unsafe.Slice((*byte)(d), p.HeaderLen()), p.Header())
	if p.Linear() {
		return
	}
	for _, s := range b.Segments(p) {
		d = unsafe.Add(d, n)
		n = copy(unsafe.Slice((*byte)(d), s.Len()), s.Bytes())
	}
}
