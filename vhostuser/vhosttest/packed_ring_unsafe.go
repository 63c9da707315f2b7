package vhosttest

import (
	"sync/atomic"
	"unsafe"
)

// Packed virtqueue layout (section 2.8). NEXT, WRITE and INDIRECT are those of split ones.
const (
	DescAvail = 1 << 7  // VIRTQ_DESC_F_AVAIL, section 2.8.1
	DescUsed  = 1 << 15 // VIRTQ_DESC_F_USED

	EventsEnable  = 0 // RING_EVENT_FLAGS_ENABLE, section 2.8.10
	EventsDisable = 1 // RING_EVENT_FLAGS_DISABLE
	eventFlags    = 3 // the bits of both, and of RING_EVENT_FLAGS_DESC, which belongs to EVENT_IDX

	// WrapBit holds a wrap counter beside a position.
	WrapBit = 1 << 15

	eventArea  = 4  // struct pvirtq_event_suppress, section 2.8.14
	descState  = 12 // where id and flags are in a descriptor, which are read and written together
	cacheLine  = 64
	wrapShift  = 15
	availShift = 7
)

// PackedDesc is one descriptor of a packed ring (struct pvirtq_desc, section 2.8.13).
type PackedDesc struct {
	Addr  uint64
	Len   uint32
	ID    uint16
	Flags uint16
}

// PackedRing is the raw memory of one packed virtqueue. Every field can be written with any value, as in [Ring].
type PackedRing struct {
	size                 uint32
	desc, driver, device Place
}

// newPackedRing takes memory for a ring of size descriptors, not necessarily a power of two (section 2.8.10.1). With
// odd, the event suppression structures lie at 4 modulo 8.
func newPackedRing(m *Memory, size int, odd bool) (*PackedRing, error) {
	r := &PackedRing{size: uint32(size)}
	var err error
	if r.desc, err = m.Alloc(uint64(size)*DescSize, cacheLine); err != nil {
		return nil, err
	}
	skew := uint64(0)
	if odd {
		skew = eventArea
	}
	for _, area := range []*Place{&r.driver, &r.device} {
		if *area, err = m.Alloc(eventArea+skew, cacheLine); err != nil {
			return nil, err
		}
		*area = shift(*area, skew)
	}
	return r, nil
}

// Size is the number of descriptors.
func (r *PackedRing) Size() uint32 { return r.size }

// DescPlace is the descriptor ring.
func (r *PackedRing) DescPlace() Place { return r.desc }

// DriverPlace is the driver event suppression structure.
func (r *PackedRing) DriverPlace() Place { return r.driver }

// DevicePlace is the device event suppression structure.
func (r *PackedRing) DevicePlace() Place { return r.device }

// Pointers returns what a device in this process needs: the three parts.
func (r *PackedRing) Pointers() (desc, driver, device unsafe.Pointer) {
	return r.desc.Ptr, r.driver.Ptr, r.device.Ptr
}

// SetDesc writes descriptor i (modulo the size): flags and id last, together.
func (r *PackedRing) SetDesc(i uint32, d PackedDesc) {
	r.setBuffer(i%r.size, d.Addr, d.Len)
	r.SetState(i, d.ID, d.Flags)
}

// Desc reads descriptor i (modulo the size): flags and id first.
func (r *PackedRing) Desc(i uint32) PackedDesc { return r.load(i % r.size) }

// load reads descriptor i, which is below the size.
func (r *PackedRing) load(i uint32) PackedDesc {
	state := atomic.LoadUint32(r.state(i))
	// SAFETY: inside the ring. Address and length are loaded after the flags, which are loaded atomically.
	d := (*PackedDesc)(unsafe.Add(r.desc.Ptr, uintptr(i)*DescSize))
	return PackedDesc{Addr: d.Addr, Len: d.Len, ID: uint16(state), Flags: uint16(state >> 16)}
}

// SetState writes id and flags of descriptor i (modulo the size): one 32-bit store, a full barrier.
func (r *PackedRing) SetState(i uint32, id, flags uint16) {
	atomic.StoreUint32(r.state(i%r.size), uint32(id)|uint32(flags)<<16)
}

// State reads id and flags of descriptor i (modulo the size).
func (r *PackedRing) State(i uint32) (id, flags uint16) {
	v := atomic.LoadUint32(r.state(i % r.size))
	return uint16(v), uint16(v >> 16)
}

// state is id and flags of descriptor i, which is below the size.
func (r *PackedRing) state(i uint32) *uint32 {
	// SAFETY: inside the ring, whose descriptors are aligned to 16.
	return (*uint32)(unsafe.Add(r.desc.Ptr, uintptr(i)*DescSize+descState))
}

// setBuffer writes address and length of descriptor i, which is below the size.
func (r *PackedRing) setBuffer(i uint32, addr uint64, length uint32) {
	// SAFETY: inside the ring.
	d := (*PackedDesc)(unsafe.Add(r.desc.Ptr, uintptr(i)*DescSize))
	d.Addr, d.Len = addr, length
}

// putHidden writes descriptor i, which is below the size. It is no barrier: a device must not see it yet, because one
// before it is not available.
func (r *PackedRing) putHidden(i uint32, d PackedDesc) { putPackedDesc(r.desc.Ptr, i, d) }

func putPackedDesc(table unsafe.Pointer, i uint32, d PackedDesc) {
	// SAFETY: callers keep i inside the table. x86 stores any alignment.
	*(*PackedDesc)(unsafe.Add(table, uintptr(i)*DescSize)) = d
}

func getPackedDesc(table unsafe.Pointer, i uint32) PackedDesc {
	// SAFETY: callers keep i inside the table.
	return *(*PackedDesc)(unsafe.Add(table, uintptr(i)*DescSize))
}

// SetDriverEvent writes the driver event suppression structure (section 2.8.14): one 32-bit store, a full barrier.
func (r *PackedRing) SetDriverEvent(offWrap, flags uint16) { setEvent(r.driver, offWrap, flags) }

// DriverEvent reads the driver event suppression structure.
func (r *PackedRing) DriverEvent() (offWrap, flags uint16) { return event(r.driver) }

// SetDeviceEvent overwrites what belongs to the device: its event suppression structure. A driver does it once, before
// the device starts.
func (r *PackedRing) SetDeviceEvent(offWrap, flags uint16) { setEvent(r.device, offWrap, flags) }

// DeviceEvent reads the device event suppression structure.
func (r *PackedRing) DeviceEvent() (offWrap, flags uint16) { return event(r.device) }

func setEvent(p Place, offWrap, flags uint16) {
	// SAFETY: the structure is 4 bytes long and aligned to them.
	atomic.StoreUint32((*uint32)(p.Ptr), uint32(offWrap)|uint32(flags)<<16)
}

func event(p Place) (offWrap, flags uint16) {
	// SAFETY: as setEvent.
	v := atomic.LoadUint32((*uint32)(p.Ptr))
	return uint16(v), uint16(v >> 16)
}

// Advance is the position n descriptors behind at. Positions carry the wrap counter in bit 15, as in [Queue.AvailIndex].
func (r *PackedRing) Advance(at, n uint16) uint16 {
	i, wrap := uint32(at&^WrapBit)+uint32(n), at&WrapBit
	for ; i >= r.size; i -= r.size {
		wrap ^= WrapBit
	}
	return uint16(i) | wrap
}

// AvailFlags are the flags AVAIL and USED of a descriptor that is available at a position (section 2.8.1).
func AvailFlags(at uint16) uint16 { return at>>wrapShift<<availShift | ^at&WrapBit }

// UsedFlags are the flags AVAIL and USED of a descriptor that is used at a position.
func UsedFlags(at uint16) uint16 { return at>>wrapShift<<availShift | at&WrapBit }

// Offer makes one chain of descriptors available from a position on, whatever they are, with AVAIL and USED as they
// should be there and the first descriptor last. It returns the position behind them. The driver's own bookkeeping
// knows nothing of it.
func (r *PackedRing) Offer(at uint16, chain ...PackedDesc) uint16 {
	end := r.Advance(at, uint16(len(chain)))
	for i := len(chain) - 1; i >= 0; i-- {
		d, p := chain[i], r.Advance(at, uint16(i))
		d.Flags = d.Flags&^(DescAvail|DescUsed) | AvailFlags(p)
		r.SetDesc(uint32(p&^WrapBit), d)
	}
	return end
}

// Use marks the descriptor at a position used, as a device does that has written length bytes into the buffer id.
func (r *PackedRing) Use(at, id uint16, length uint32) {
	flags := UsedFlags(at)
	if length > 0 {
		flags |= DescWrite
	}
	i := uint32(at &^ WrapBit)
	r.SetDesc(i, PackedDesc{r.Desc(i).Addr, length, id, flags})
}
