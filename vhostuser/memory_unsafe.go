package vhostuser

import (
	"fmt"
	"unsafe"
)

// NodeFunc tells the NUMA node of the memory at p: numa.NodeOfMemory.
type NodeFunc = func(p unsafe.Pointer) (int, error)

// base is where the region starts in this process.
func (s *memSlot) base() unsafe.Pointer {
	// SAFETY: head < len(mem), as the region is not empty and lies inside its mapping.
	return unsafe.Add(unsafe.Pointer(unsafe.SliceData(s.mem)), s.head)
}

// span is a range of addresses of this process.
type span struct{ first, last uintptr }

// spans are the mapped ranges, for the question whose memory a fault hit.
func (m *guestMemory) spans() []span {
	if m == nil {
		return nil
	}
	out := make([]span, len(m.slots))
	for i, s := range m.slots {
		// SAFETY: the addresses are only compared, never turned back into pointers.
		first := uintptr(unsafe.Pointer(unsafe.SliceData(s.mem)))
		out[i] = span{first, first + uintptr(len(s.mem)) - 1}
	}
	return out
}

// translate returns where n bytes at a front end's user address are mapped. They must lie wholly inside one region.
func (m *guestMemory) translate(user, n uint64) (unsafe.Pointer, error) {
	for _, s := range m.slots {
		// One unsigned comparison refuses what lies before and behind the region.
		if off := user - s.spec.user; off < s.spec.size && n <= s.spec.size-off {
			// SAFETY: off+n lies inside the region, which lies inside its mapping.
			return unsafe.Add(s.base(), off), nil
		}
	}
	return nil, fmt.Errorf("%d bytes at user address %#x are not inside one memory region", n, user)
}
