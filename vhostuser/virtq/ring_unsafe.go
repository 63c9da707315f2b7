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
	// Desc, Avail and Used are the ring's areas: wholly inside guest memory, aligned to 16, 2 and 4 bytes (virtio 1.3
	// §2.7).
	Desc, Avail, Used unsafe.Pointer
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
type Ring struct {
	// Set once.
	size, mask        uint16 // size wraps to 0 never: MaxSize fits
	desc, avail, used unsafe.Pointer
	availIdx          halfWord
	availFlags        halfWord
	memory            *Memory
	headerLen         int
	maxPayload        int // MTU, or more than any frame
	mergeable         bool
	indirect          bool

	// Written by the owner.
	broken    bool
	lastAvail uint16 // next available entry to consume
	usedIdx   uint16 // next used entry to write
	bufs      [burst]buffer
	lines     lines // of bufs
	peeked    buffer
	chain     [maxChain]packet.Segment

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
	case cfg.Desc == nil || cfg.Avail == nil || cfg.Used == nil || cfg.Memory == nil:
		return nil, errors.New("virtq: ring areas or memory missing")
	case uintptr(cfg.Desc)%16 != 0 || uintptr(cfg.Avail)%2 != 0 || uintptr(cfg.Used)%4 != 0:
		return nil, errors.New("virtq: ring areas are not aligned to 16, 2 and 4 bytes")
	case cfg.HeaderLen != HeaderLegacy && cfg.HeaderLen != HeaderMergeable:
		return nil, fmt.Errorf("virtq: header length %d is neither %d nor %d", cfg.HeaderLen, HeaderLegacy, HeaderMergeable)
	}
	r := &Ring{
		size: uint16(cfg.Size), mask: uint16(cfg.Size - 1),
		desc: cfg.Desc, avail: cfg.Avail, used: cfg.Used,
		availFlags: halfWordAt(cfg.Avail), availIdx: halfWordAt(unsafe.Add(cfg.Avail, 2)),
		memory: cfg.Memory, headerLen: cfg.HeaderLen,
		mergeable: cfg.Mergeable, indirect: cfg.Indirect,
		maxPayload: packet.MaxFrame,
	}
	if cfg.MTU > 0 {
		r.maxPayload = cfg.MTU
	}
	r.call.Store(cfg.Call)
	// SAFETY: used points at a ring area of at least UsedBytes bytes, aligned to 4.
	r.usedIdx = uint16(atomic.LoadUint32((*uint32)(r.used)) >> 16)
	r.lastAvail = r.usedIdx
	r.publish() // tells the guest that we poll
	return r, nil
}

// LastAvail is the next available index that the device would consume: exact once no PMD thread uses the ring.
func (r *Ring) LastAvail() uint16 { return r.lastAvail }

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
	r.err.Store(&RingError{Violation: v, Index: r.lastAvail, Descriptor: descriptor, Value: value})
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

// available is how many entries the guest has made available. An index that is further ahead than the ring is long breaks
// the ring.
func (r *Ring) available() int {
	idx := r.availIdx.load()
	n := idx - r.lastAvail
	if n > r.size {
		r.fail(AvailIndexJump, 0, uint64(idx))
		return 0
	}
	return int(n)
}

// stage reads n available entries (at most burst), from the one that is skip behind lastAvail, and the descriptors that
// they name, translates their addresses and prefetches the buffers. It returns how many it staged; fewer than n only when
// the ring broke.
func (r *Ring) stage(skip uint16, n int, write bool) int {
	first, mask, desc, avail := r.lastAvail+skip, r.mask, r.desc, r.avail
	regions := r.memory.regions
	for i := range r.bufs[:n] {
		// SAFETY: masked with size-1, so the entry lies inside the available ring.
		head := *(*uint16)(unsafe.Add(avail, ringHeader+uintptr((first+uint16(i))&mask)*availElem))
		if head > mask {
			r.fail(HeadOutOfRange, head, uint64(head))
			n = i
			break
		}
		b := &r.bufs[i]
		b.head = head
		// SAFETY: head was bounded above, so the descriptor lies inside the table.
		b.load(unsafe.Add(desc, uintptr(head)*descSize))
		b.at = 0
		for k := range regions { // Memory.translate, which is too long to be inlined
			if p := regions[k].translate(b.addr, b.len); p != nil {
				b.at = uintptr(p)
				break
			}
		}
	}
	if write {
		r.lines.toWrite(r.bufs[:n], r.headerLen)
	} else {
		r.lines.toRead(r.bufs[:n], r.headerLen)
	}
	return n
}

// peek reads the entry that is skip behind lastAvail and its descriptor, beyond the staged ones. The buffer is valid until
// the next peek. It is nil when the ring broke.
func (r *Ring) peek(skip uint16) *buffer {
	at := (r.lastAvail + skip) & r.mask
	// SAFETY: at < size, so the entry lies inside the available ring.
	head := *(*uint16)(unsafe.Add(r.avail, ringHeader+uintptr(at)*availElem))
	if head > r.mask {
		r.fail(HeadOutOfRange, head, uint64(head))
		return nil
	}
	b := &r.peeked
	b.head = head
	// SAFETY: head is bounded, so the descriptor lies inside the table.
	b.load(unsafe.Add(r.desc, uintptr(head)*descSize))
	b.at = uintptr(r.memory.translate(b.addr, b.len))
	return b
}

// load reads the descriptor at d once.
func (b *buffer) load(d unsafe.Pointer) {
	// SAFETY: d points at 16 readable bytes of a descriptor table; the caller bounded it.
	b.addr = *(*uint64)(d)
	rest := *(*uint64)(unsafe.Add(d, 8))
	b.len = uint32(rest)
	b.flags = uint16(rest >> 32)
	b.next = uint16(rest >> 48)
}

// put writes used entry number skip behind usedIdx: the chain that began at head, of which n bytes were written. It
// becomes visible with publish.
//
// An entry that says so already, as most do in a driver that uses its descriptors in order, is not written: then its cache
// line stays with the guest, which need not fetch it.
func (r *Ring) put(skip int, head uint16, n uint32) {
	at := (r.usedIdx + uint16(skip)) & r.mask
	// SAFETY: at < size, so the entry lies inside the used ring; entries are 4-aligned, and amd64 stores 8 bytes at once.
	entry := (*uint64)(unsafe.Add(r.used, ringHeader+uintptr(at)*usedElemSize))
	if v := uint64(head) | uint64(n)<<32; *entry != v {
		*entry = v
	}
}

// publish makes used entries up to usedIdx visible. The store is a locked exchange: it also orders the entries before the
// index, and the index before the reading of the guest's flags in interrupt (virtio 1.3 §2.7.13.4.1).
func (r *Ring) publish() {
	// SAFETY: used points at a ring area of at least UsedBytes bytes, aligned to 4. Only the device writes this word.
	atomic.StoreUint32((*uint32)(r.used), usedNoNotify|uint32(r.usedIdx)<<16)
}

// askKick lets the guest kick (virtio 1.3 §2.7.10: flags 0). The store, a locked exchange, comes before the reading of the
// available index that must follow: what the guest made available before it saw the flag is seen there.
func (r *Ring) askKick() {
	// SAFETY: as in publish.
	atomic.StoreUint32((*uint32)(r.used), uint32(r.usedIdx)<<16)
}

// interrupt signals the guest unless it said that it polls.
func (r *Ring) interrupt() {
	if r.availFlags.load()&availNoInterrupt != 0 {
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
