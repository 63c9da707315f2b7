package virtq

import (
	"sync/atomic"
	"unsafe"
)

// usedIdx is the used index that stands in guest memory.
func (r *Ring) usedIdx() uint16 {
	// SAFETY: device points at a ring area of at least UsedBytes bytes, aligned to 4.
	return uint16(atomic.LoadUint32((*uint32)(r.device)) >> 16)
}

// beginSplit counts what is available. An index that is further ahead than the ring is long breaks the ring.
func (r *Ring) beginSplit() {
	idx := r.availIdx.load()
	n := idx - r.next
	if n > r.size {
		r.fail(AvailIndexJump, 0, uint64(idx))
		return
	}
	r.free = int(n)
}

// stageSplit reads available entries from tail on into bufs, as many as it holds, and the descriptors that they name, and
// translates their addresses. It returns how many there are until the ring broke.
func (r *Ring) stageSplit(bufs []buffer) int {
	first, mask, desc, avail := r.tail, r.mask, r.desc, r.driver
	regions, n := r.memory.regions, len(bufs)
	for i := range bufs {
		// SAFETY: masked with size-1, so the entry lies inside the available ring.
		head := *(*uint16)(unsafe.Add(avail, ringHeader+uintptr((first+uint16(i))&mask)*availElem))
		if head > mask {
			r.fail(HeadOutOfRange, head, uint64(head))
			n = i
			break
		}
		b := &bufs[i]
		b.head = head
		// SAFETY: head was bounded above, so the descriptor lies inside the table.
		b.load(unsafe.Add(desc, uintptr(head)*descSize))
		b.at = 0
		for k := range regions { // Memory.translate written out, which takes ten instructions more when it is inlined here
			if p := regions[k].translate(b.addr, b.len); p != nil {
				b.at = uintptr(p)
				break
			}
		}
	}
	r.tail += uint16(n)
	r.free -= n
	if r.flushes && n > 0 {
		r.flushBefore(r.bufs[0].head)
	}
	return n
}

// readSplit reads the available entry at tail, and its descriptor, and translates its address. It fails when there is none,
// or the ring broke.
func (r *Ring) readSplit(b *buffer) bool {
	if r.free == 0 {
		return false
	}
	// SAFETY: masked with size-1, so the entry lies inside the available ring.
	head := *(*uint16)(unsafe.Add(r.driver, ringHeader+uintptr(r.tail&r.mask)*availElem))
	if head > r.mask {
		r.fail(HeadOutOfRange, head, uint64(head))
		return false
	}
	r.tail++
	r.free--
	b.head = head
	// SAFETY: head is bounded, so the descriptor lies inside the table.
	b.load(unsafe.Add(r.desc, uintptr(head)*descSize))
	b.at = uintptr(r.memory.translate(b.addr, b.len))
	return true
}

// putSplit writes the used entry that is skip behind next.
//
// An entry that says so already, as most do in a driver that uses its descriptors in order, is not written: then its cache
// line stays with the guest, which need not fetch it.
func (r *Ring) putSplit(skip int, head uint16, n uint32) {
	at := (r.next + uint16(skip)) & r.mask
	// SAFETY: at < size, so the entry lies inside the used ring; entries are 4-aligned, and amd64 stores 8 bytes at once.
	entry := (*uint64)(unsafe.Add(r.device, ringHeader+uintptr(at)*usedElemSize))
	if v := uint64(head) | uint64(n)<<32; *entry != v {
		*entry = v
	}
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
