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

// begin starts a burst, with what the guest has made available. An index that is further ahead than the ring is long breaks
// the ring.
func (r *Ring) begin() {
	r.tail, r.taken, r.free = r.next, 0, 0
	idx := r.availIdx.load()
	n := idx - r.next
	if n > r.size {
		r.fail(AvailIndexJump, 0, uint64(idx))
		return
	}
	r.free = int(n)
}

// stage reads up to n available entries from tail on, at most burst, and the descriptors that they name, translates their
// addresses and prefetches the buffers. It returns how many it staged; fewer than there are only when the ring broke.
func (r *Ring) stage(n int, write bool) int {
	n = min(n, r.free)
	first, mask, desc, avail := r.tail, r.mask, r.desc, r.driver
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
	r.tail += uint16(n)
	r.free -= n
	if write {
		r.lines.toWrite(r.bufs[:n], r.headerLen)
	} else {
		r.lines.toRead(r.bufs[:n], r.headerLen)
	}
	return n
}

// peek reads the next entry behind the staged ones, and its descriptor. The buffer is valid until the next peek. It is nil
// when there is none, or the ring broke.
func (r *Ring) peek() *buffer {
	if r.free == 0 {
		return nil
	}
	// SAFETY: masked with size-1, so the entry lies inside the available ring.
	head := *(*uint16)(unsafe.Add(r.driver, ringHeader+uintptr(r.tail&r.mask)*availElem))
	if head > r.mask {
		r.fail(HeadOutOfRange, head, uint64(head))
		return nil
	}
	r.tail++
	r.free--
	b := &r.peeked
	b.head = head
	// SAFETY: head is bounded, so the descriptor lies inside the table.
	b.load(unsafe.Add(r.desc, uintptr(head)*descSize))
	b.at = uintptr(r.memory.translate(b.addr, b.len))
	return b
}

// put writes used entry number skip behind next: the chain that began with b, of which n bytes were written. It becomes
// visible with publish.
//
// An entry that says so already, as most do in a driver that uses its descriptors in order, is not written: then its cache
// line stays with the guest, which need not fetch it.
func (r *Ring) put(skip int, b *buffer, n uint32) {
	at := (r.next + uint16(skip)) & r.mask
	// SAFETY: at < size, so the entry lies inside the used ring; entries are 4-aligned, and amd64 stores 8 bytes at once.
	entry := (*uint64)(unsafe.Add(r.device, ringHeader+uintptr(at)*usedElemSize))
	if v := uint64(b.head) | uint64(n)<<32; *entry != v {
		*entry = v
	}
}

// publish makes n used entries visible. The store is a locked exchange: it also orders the entries before the index, and
// the index before the reading of the guest's flags in interrupt (virtio 1.3 §2.7.13.4.1).
func (r *Ring) publish(n int) {
	r.next += uint16(n)
	r.askKicks(false)
}

// askKicks tells the guest whether to kick (virtio 1.3 §2.7.10), and the used index along with it. The store, a locked
// exchange, comes before a reading of the available index that follows: what the guest made available before it saw the
// flag is seen there.
func (r *Ring) askKicks(on bool) {
	flags := uint32(usedNoNotify)
	if on {
		flags = 0
	}
	// SAFETY: device points at a ring area of at least UsedBytes bytes, aligned to 4. Only the device writes this word.
	atomic.StoreUint32((*uint32)(r.device), flags|uint32(r.next)<<16)
}
