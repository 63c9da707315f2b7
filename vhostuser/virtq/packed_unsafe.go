package virtq

import (
	"sync/atomic"
	"unsafe"
)

// Flags of a packed descriptor beside those of a split one (virtio 1.3 §2.8.1).
const (
	descAvail = 1 << 7
	descUsed  = 1 << 15
)

// Positions in a packed ring are numbers with the wrap counter in their highest bit, as in vhost-user's vring base.
const wrapBit = 1 << 15

// usedEntry is a chain that was used, until it is written to the ring.
type usedEntry struct {
	word  uint64 // the latter half of its descriptor without flags: bytes written and buffer id
	count uint16 // how many descriptors it takes
}

// wanted is how flags tell that the descriptor at a position is available, of descAvail and descUsed: the former equals
// the wrap counter, the latter does not (virtio 1.3 §2.8.1).
func wanted(at uint16) uint16 {
	if at&wrapBit != 0 {
		return descAvail
	}
	return descUsed
}

// after is the position n descriptors, at most the ring's size, behind at.
func (r *Ring) after(at, n uint16) uint16 {
	pos := at&^wrapBit + n
	if pos >= r.size {
		return (pos - r.size) | (at&wrapBit ^ wrapBit)
	}
	return pos | at&wrapBit
}

// before is the position n descriptors, at most the ring's size, before at.
func (r *Ring) before(at, n uint16) uint16 { return r.after(at, r.size-n) ^ wrapBit }

// packedAt is the descriptor at a position.
func (r *Ring) packedAt(at uint16) unsafe.Pointer {
	// SAFETY: a position without its wrap counter is less than the size, by NewRing and after.
	return unsafe.Add(r.desc, uintptr(at&^wrapBit)*descSize)
}

// loadPacked reads the descriptor at d once: flags first, with which the rest became valid, and with it length and id.
func (b *buffer) loadPacked(d unsafe.Pointer) {
	// SAFETY: d points at 16 readable bytes, 16-aligned in a ring; amd64 also loads 8 bytes at any address of a table.
	rest := atomic.LoadUint64((*uint64)(unsafe.Add(d, 8)))
	b.addr = *(*uint64)(d)
	b.len = uint32(rest)
	b.head = uint16(rest >> 32)
	b.flags = uint16(rest >> 48)
}

// halfAt is the latter half of the descriptor at a position: length, id and flags.
func (r *Ring) halfAt(at uint16) *uint64 {
	// SAFETY: descriptors are 16 bytes long, and 16-aligned in a ring.
	return (*uint64)(unsafe.Add(r.packedAt(at), 8))
}

// addrAt is the address in the descriptor at a position.
func (r *Ring) addrAt(at uint16) uint64 {
	// SAFETY: as in loadPacked.
	return *(*uint64)(r.packedAt(at))
}

// flagsAt reads the flags of the descriptor at a position.
func (r *Ring) flagsAt(at uint16) uint16 { return uint16(atomic.LoadUint64(r.halfAt(at)) >> 48) }

// looksAvailable reports that the descriptor at a position is available, or was passed over in a batch.
func (r *Ring) looksAvailable(at uint16) bool {
	return r.flagsAt(at)&(descAvail|descUsed) == wanted(at)
}

// beginPacked looks whether anything is available. How much, only staging tells.
func (r *Ring) beginPacked() {
	if r.looksAvailable(r.next) {
		r.free = int(r.size)
	}
}

// stagePacked reads chains' heads from tail on into bufs, as many as it holds and are available, and translates their
// addresses.
func (r *Ring) stagePacked(bufs []buffer) int {
	regions := r.memory.regions
	at, want := r.tail, wanted(r.tail)
	end := r.size &^ wrapBit // where a lap ends; in the largest ring its number overflows into the counter and is 0
	for i := range bufs {
		b := &bufs[i]
		b.loadPacked(r.packedAt(at))
		if b.flags&(descAvail|descUsed|descNext) != want {
			return r.stageRest(bufs, i, at)
		}
		b.pos, b.count = at, 1
		b.at = 0
		for k := range regions { // Memory.translate written out, which takes ten instructions more when it is inlined here
			if p := regions[k].translate(b.addr, b.len); p != nil {
				b.at = uintptr(p)
				break
			}
		}
		if at++; at&^wrapBit == end {
			at = r.after(at-1, 1)
			want = wanted(at)
		}
	}
	r.tail = at
	r.free -= len(bufs)
	return len(bufs)
}

// stageRest goes on where a chain of several descriptors begins, or nothing is available: i of bufs are staged, and the next
// chain begins at a position.
func (r *Ring) stageRest(bufs []buffer, i int, at uint16) int {
	r.tail = at
	r.free -= i
	for i < len(bufs) && r.readPacked(&bufs[i]) {
		i++
	}
	return i
}

// readPacked reads the chain's head at tail, with the id of the chain, and translates its address. It fails when none is
// available, or the ring broke.
func (r *Ring) readPacked(b *buffer) bool {
	b.loadPacked(r.packedAt(r.tail))
	if r.free == 0 || b.flags&(descAvail|descUsed) != wanted(r.tail) {
		r.free = 0
		return false
	}
	b.pos, b.count = r.tail, 1
	if b.flags&descNext != 0 && !r.measure(b) {
		return false
	}
	r.tail = r.after(r.tail, b.count)
	r.free -= int(b.count)
	b.at = uintptr(r.memory.translate(b.addr, b.len))
	return true
}

// measure finds the end of the chain that b begins: how long it is, and its buffer id, which is in the last descriptor
// (virtio 1.3 §2.8.6). It fails when the chain runs into descriptors that the device has taken in this burst, as one that is
// longer than the ring does.
func (r *Ring) measure(b *buffer) bool {
	at := r.after(b.pos, 1)
	for b.count = 2; int(b.count) <= r.free; b.count++ {
		rest := atomic.LoadUint64(r.halfAt(at))
		if uint16(rest>>48)&descNext == 0 {
			b.head = uint16(rest >> 32)
			return true
		}
		at = r.after(at, 1)
	}
	r.fail(ChainTooLong, at&^wrapBit, uint64(b.count))
	return false
}

// walkPacked is walk for a packed ring, but for plain buffers. The chain has the length that was measured, whatever its
// descriptors say now.
func (r *Ring) walkPacked(c *chain, first *buffer, direction uint16) bool {
	if first.flags&descIndirect != 0 {
		return r.walkTable(c, first, direction)
	}
	b := buffer{addr: first.addr, len: first.len, flags: first.flags}
	at := first.pos
	for steps := uint16(1); ; steps++ {
		switch {
		case b.flags&descIndirect != 0:
			r.fail(IndirectWithNext, at&^wrapBit, uint64(b.flags)) // virtio 1.3 §2.8.19
			return false
		case b.flags&descWrite != direction:
			r.fail(WrongDirection, at&^wrapBit, uint64(b.flags))
			return false
		case !r.gather(c, &b):
			r.fail(BadAddress, at&^wrapBit, b.addr)
			return false
		case steps == first.count:
			return true
		case !c.fits || steps == maxSteps:
			c.fits = false
			return true
		}
		at = r.after(at, 1)
		b.loadPacked(r.packedAt(at))
	}
}

// walkTable adds the buffers of an indirect table, which are all of it, in its order; of their flags only descWrite counts
// (virtio 1.3 §2.8.7): a table within a table is a buffer like any other. A buffer that the device only reads may have the
// flag all the same: DPDK's driver sets it for the header in front of a frame of several pieces.
func (r *Ring) walkTable(c *chain, first *buffer, direction uint16) bool {
	table, entries, ok := r.indirectTable(first, first.pos&^wrapBit)
	if !ok {
		return false
	}
	var b buffer
	for i := range entries {
		if !c.fits || i == maxSteps {
			c.fits = false
			return true
		}
		// SAFETY: i < entries, so the descriptor lies inside the table.
		b.loadPacked(unsafe.Add(table, uintptr(i)*descSize))
		if b.flags&descWrite < direction {
			r.fail(WrongDirection, uint16(i), uint64(b.flags))
			return false
		}
		if !r.gather(c, &b) {
			r.fail(BadAddress, uint16(i), b.addr)
			return false
		}
	}
	return true
}

// publishPacked writes the first n of used to the ring. A chain's used descriptor stands where the chain began, and the
// next one behind the chain (virtio 1.3 §2.8.6). The first is written last, by a locked exchange: until then the guest sees
// none of them, as it must not of a frame over several buffers (§2.8.9), and it orders them before the reading of the guest's
// flags in interrupt (§2.8.22).
func (r *Ring) publishPacked(n int) {
	if n == 0 {
		return
	}
	at, lap, descs := r.next&^wrapBit, lapFlags(r.next), 0
	first := lap
	for i := range r.used[:n] {
		e := &r.used[i]
		if i > 0 {
			*r.halfAt(at) = e.descriptor(lap)
		}
		if at += e.count; at >= r.size {
			at -= r.size
			lap ^= lapFlags(wrapBit)
		}
		descs += int(e.count)
	}
	atomic.StoreUint64(r.halfAt(r.next), r.used[0].descriptor(first))
	if lap != 0 {
		at |= wrapBit
	}
	r.next = at
	if r.free > 0 {
		r.free += descs // in the midst of a burst: the guest may make these available again
	}
}

// publishPackedBatch writes one used descriptor for all from next to last, the batch's last chain: the others' cache lines stay
// with the guest.
//
// Before that it marks the batch's last descriptor used as well. The driver, who goes on behind it, does not look there; but a
// device that comes after this one does, see behindLastBatch.
func (r *Ring) publishPackedBatch(last *buffer) {
	end := r.after(last.pos, last.count-1)
	n := end&^wrapBit - r.next&^wrapBit + 1
	if (end^r.next)&wrapBit != 0 {
		n += r.size
	}
	used := uint64(last.head) << 32
	marked := used | batchMark | uint64(n)
	if n == 1 {
		used = marked
	} else {
		*r.halfAt(end) = marked | lapFlags(end)
	}
	atomic.StoreUint64(r.halfAt(r.next), used|lapFlags(r.next))
	r.next = r.after(end, 1)
}

// lapFlags are the flags of a used descriptor at a position that tell its lap, in the latter half of a descriptor (virtio
// 1.3 §2.8.1).
func lapFlags(at uint16) uint64 {
	if at&wrapBit != 0 {
		return (descAvail | descUsed) << 48
	}
	return 0
}

// descriptor is the latter half of the used descriptor with a lap's flags. It says whether the device wrote to the buffers
// (virtio 1.3 §2.8.4).
func (e *usedEntry) descriptor(lap uint64) uint64 {
	if uint32(e.word) > 0 {
		lap |= descWrite << 48
	}
	return e.word | lap
}
