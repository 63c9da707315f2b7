package virtq

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"weft/internal/packet"
)

// Region is a range of guest-physical addresses and where it is mapped here.
type Region struct {
	GPA, Size uint64 // bytes
	Base      unsafe.Pointer
}

// Memory is a guest's address space as the device sees it. It is immutable.
type Memory struct {
	regions []Region // largest first: most buffers lie there
}

// NewMemory makes the address space out of regions, which must not overlap, wrap or be empty.
func NewMemory(regions []Region) (*Memory, error) {
	byAddr := slices.SortedFunc(slices.Values(regions), func(a, b Region) int {
		if a.GPA < b.GPA {
			return -1
		}
		return 1
	})
	for i, r := range byAddr {
		if r.Size == 0 || r.Base == nil {
			return nil, errors.New("virtq: empty memory region")
		}
		if r.GPA+r.Size-1 < r.GPA {
			return nil, fmt.Errorf("virtq: memory region %#x+%#x wraps", r.GPA, r.Size)
		}
		if i > 0 && byAddr[i-1].GPA+byAddr[i-1].Size-1 >= r.GPA {
			return nil, fmt.Errorf("virtq: memory regions overlap at %#x", r.GPA)
		}
	}
	m := &Memory{regions: slices.Clone(regions)}
	slices.SortFunc(m.regions, func(a, b Region) int {
		switch {
		case a.Size > b.Size:
			return -1
		case a.Size < b.Size:
			return 1
		}
		return 0
	})
	return m, nil
}

// translate returns where n bytes (at least 1) at gpa are mapped, or nil when they are not wholly inside the region.
func (r *Region) translate(gpa uint64, n uint32) unsafe.Pointer {
	// One unsigned comparison refuses what lies before and behind the region.
	if off := gpa - r.GPA; off < r.Size && uint64(n) <= r.Size-off {
		// SAFETY: off+n lies inside the mapping of Size bytes at Base.
		return unsafe.Add(r.Base, off)
	}
	return nil
}

// translate returns where n bytes (at least 1) at gpa are mapped, or nil when they are not wholly inside one region.
func (m *Memory) translate(gpa uint64, n uint32) unsafe.Pointer {
	for i := range m.regions {
		if p := m.regions[i].translate(gpa, n); p != nil {
			return p
		}
	}
	return nil
}

// around is the region in which an address is, any if there is none. There are regions.
func (m *Memory) around(gpa uint64) *Region {
	for i := range m.regions {
		if gpa-m.regions[i].GPA < m.regions[i].Size {
			return &m.regions[i]
		}
	}
	return &m.regions[0]
}

// split appends the pieces of n bytes at gpa to out, one for each region that they cross, as many as out has capacity for.
// It fails when a byte is not mapped. Regions that are neighbours for the guest need not be neighbours here.
func (m *Memory) split(out []packet.Segment, gpa uint64, n uint32) ([]packet.Segment, bool) {
	for n > 0 {
		i := 0
		for ; i < len(m.regions); i++ {
			if gpa-m.regions[i].GPA < m.regions[i].Size {
				break
			}
		}
		if i == len(m.regions) {
			return out, false
		}
		r := &m.regions[i]
		off := gpa - r.GPA
		piece := uint32(min(uint64(n), r.Size-off))
		if len(out) < cap(out) {
			// SAFETY: off+piece lies inside the mapping of Size bytes at Base.
			out = append(out, packet.SegmentAt(unsafe.Add(r.Base, off), piece))
		}
		gpa += uint64(piece) // wraps to 0 at the address space's end, where a region may or may not be
		n -= piece
	}
	return out, true
}
