package vhosttest

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// Split virtqueue layout (section 2.7).
const (
	DescSize = 16 // struct virtq_desc, section 2.7.5

	DescNext     = 1 // VIRTQ_DESC_F_NEXT
	DescWrite    = 2 // VIRTQ_DESC_F_WRITE
	DescIndirect = 4 // VIRTQ_DESC_F_INDIRECT

	availNoInterrupt = 1 // VIRTQ_AVAIL_F_NO_INTERRUPT, section 2.7.6
	usedNoNotify     = 1 // VIRTQ_USED_F_NO_NOTIFY, section 2.7.8

	ringHeader   = 4 // flags and idx
	availElem    = 2
	usedElem     = 8
	eventSize    = 2
	descAlign    = 16 // section 2.7, the table of alignments
	availAlign   = 2
	usedAlign    = 4
	maxQueueSize = 32768 // section 2.7: "The Queue Size"
)

// Desc is one descriptor (struct virtq_desc, section 2.7.5).
type Desc struct {
	Addr  uint64
	Len   uint32
	Flags uint16
	Next  uint16
}

// UsedElem is one entry of the used ring (struct virtq_used_elem, section 2.7.8).
type UsedElem struct {
	ID, Len uint32
}

// Ring is the raw memory of one split virtqueue. Every field can be written with any value: a well-behaved driver is
// built on it (see [Queue]), and so is a hostile one.
type Ring struct {
	size              uint32
	desc, avail, used Place
}

// newRing takes memory for a ring of size entries. With odd, the avail ring lies at 2 modulo 4, which section 2.7
// permits and which makes its flags and idx straddle two aligned words.
func newRing(m *Memory, size int, odd bool) (*Ring, error) {
	if size&(size-1) != 0 {
		return nil, fmt.Errorf("vhosttest: ring size %d is not a power of two from 1 to %d", size, maxQueueSize)
	}
	r := &Ring{size: uint32(size)}
	n := uint64(size)
	var err error
	if r.desc, err = m.Alloc(n*DescSize, 64); err != nil {
		return nil, err
	}
	skew := uint64(0)
	if odd {
		skew = availAlign
	}
	if r.avail, err = m.Alloc(ringHeader+n*availElem+eventSize+skew, 64); err != nil {
		return nil, err
	}
	r.avail = shift(r.avail, skew)
	if r.used, err = m.Alloc(ringHeader+n*usedElem+eventSize, 64); err != nil {
		return nil, err
	}
	return r, nil
}

func shift(p Place, n uint64) Place {
	b := p.Bytes[n:]
	// SAFETY: SliceData of a slice of mapped memory.
	return Place{GPA: p.GPA + n, User: p.User + n, Ptr: unsafe.Pointer(unsafe.SliceData(b)), Bytes: b}
}

// Size is the number of entries.
func (r *Ring) Size() uint32 { return r.size }

// DescPlace is the descriptor table.
func (r *Ring) DescPlace() Place { return r.desc }

// AvailPlace is the available ring, flags first.
func (r *Ring) AvailPlace() Place { return r.avail }

// UsedPlace is the used ring, flags first.
func (r *Ring) UsedPlace() Place { return r.used }

// Pointers returns what a device in this process needs: the three parts.
func (r *Ring) Pointers() (desc, avail, used unsafe.Pointer) {
	return r.desc.Ptr, r.avail.Ptr, r.used.Ptr
}

// SetDesc writes descriptor i (modulo the size).
func (r *Ring) SetDesc(i uint32, d Desc) { putDesc(r.desc.Ptr, i&(r.size-1), d) }

// Desc reads descriptor i (modulo the size).
func (r *Ring) Desc(i uint32) Desc {
	return getDesc(r.desc.Ptr, i&(r.size-1))
}

func getDesc(table unsafe.Pointer, i uint32) Desc {
	// SAFETY: callers keep i inside the table.
	return *(*Desc)(unsafe.Add(table, uintptr(i)*DescSize))
}

func putDesc(table unsafe.Pointer, i uint32, d Desc) {
	// SAFETY: callers keep i inside the table. x86 stores any alignment.
	*(*Desc)(unsafe.Add(table, uintptr(i)*DescSize)) = d
}

// SetAvail writes entry i (modulo the size) of the available ring.
func (r *Ring) SetAvail(i, head uint16) {
	// SAFETY: masked to the ring, which starts 4 bytes into memory of 4+2*size+2 bytes.
	*(*uint16)(unsafe.Add(r.avail.Ptr, ringHeader+uintptr(uint32(i)&(r.size-1))*availElem)) = head
}

// Avail reads entry i (modulo the size) of the available ring.
func (r *Ring) Avail(i uint16) uint16 {
	// SAFETY: as SetAvail.
	return *(*uint16)(unsafe.Add(r.avail.Ptr, ringHeader+uintptr(uint32(i)&(r.size-1))*availElem))
}

// SetAvailHead publishes flags and idx of the available ring together: one 32-bit store, a full barrier.
func (r *Ring) SetAvailHead(flags, idx uint16) {
	// SAFETY: both fields share the first 4 bytes. At 2 modulo 4 x86 still stores them at once, because newRing never
	// lets them cross a cache line.
	atomic.StoreUint32((*uint32)(r.avail.Ptr), uint32(flags)|uint32(idx)<<16)
}

// AvailHead reads flags and idx of the available ring.
func (r *Ring) AvailHead() (flags, idx uint16) {
	// SAFETY: as SetAvailHead.
	v := atomic.LoadUint32((*uint32)(r.avail.Ptr))
	return uint16(v), uint16(v >> 16)
}

// UsedHead reads flags and idx of the used ring together.
func (r *Ring) UsedHead() (flags, idx uint16) {
	// SAFETY: both share the first 4 bytes, which are aligned (section 2.7).
	v := atomic.LoadUint32((*uint32)(r.used.Ptr))
	return uint16(v), uint16(v >> 16)
}

// SetUsedHead overwrites what belongs to the device: flags and idx of the used ring. A driver does it once, before the
// device starts.
func (r *Ring) SetUsedHead(flags, idx uint16) {
	// SAFETY: as UsedHead.
	atomic.StoreUint32((*uint32)(r.used.Ptr), uint32(flags)|uint32(idx)<<16)
}

// Used reads entry i (modulo the size) of the used ring.
func (r *Ring) Used(i uint16) UsedElem {
	// SAFETY: masked to the ring, which starts 4 bytes into memory of 4+8*size+2 bytes.
	return *(*UsedElem)(unsafe.Add(r.used.Ptr, ringHeader+uintptr(uint32(i)&(r.size-1))*usedElem))
}

// SetUsed overwrites entry i (modulo the size) of the used ring, which belongs to the device.
func (r *Ring) SetUsed(i uint16, e UsedElem) {
	// SAFETY: as Used.
	*(*UsedElem)(unsafe.Add(r.used.Ptr, ringHeader+uintptr(uint32(i)&(r.size-1))*usedElem)) = e
}

// Offer makes heads available one after the other, whatever they are, and returns the new index. The driver's own
// bookkeeping knows nothing of it.
func (r *Ring) Offer(heads ...uint16) uint16 {
	flags, idx := r.AvailHead()
	for _, h := range heads {
		r.SetAvail(idx, h)
		idx++
	}
	r.SetAvailHead(flags, idx)
	return idx
}
