package vhosttest

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"weft/internal/sys"
)

// pageSize is the granularity of regions (4096, the x86 page).
const pageSize = 4096

// hugeSize is the granularity of regions made of huge pages.
const hugeSize = 2 << 20

// RegionLayout places one region of guest memory.
type RegionLayout struct {
	// GPA is the guest-physical address, Size the length in bytes: multiples of 4096 (2 MiB with huge pages).
	GPA, Size uint64
	// User is the address that the front end claims to have the region at; 0 is where it really has it.
	User uint64
	// Gap is how many bytes of the memory file stay unused before the region, a multiple of 4096: it makes the mmap
	// offset differ from everything else.
	Gap uint64
	// Identity makes the guest-physical address the one at which the front end has the region mapped, as in DPDK's
	// virtio-user; GPA is then ignored.
	Identity bool
	// Reserved keeps the allocator out of the region: it is announced and nothing of the guest's own lies in it.
	Reserved bool
}

// Region is a mapped range of guest-physical memory. Its fields are those of virtq.Region, so that the one converts to
// the other.
type Region struct {
	GPA, Size uint64
	Base      unsafe.Pointer
}

// Memory is the memory of one guest: memory files, mapped region by region.
type Memory struct {
	files   []*os.File
	regions []*region
	next    int // the region that Alloc tries first
}

type region struct {
	RegionLayout
	fd        int    // of the file
	offset    uint64 // in the file
	bytes     []byte
	used      uint64 // what Alloc has given out
	announced bool   // by ADD_MEM_REG
}

// Place is a piece of guest memory under each of its names.
type Place struct {
	GPA  uint64 // for the device's descriptors
	User uint64 // for SET_VRING_ADDR
	Ptr  unsafe.Pointer
	// Bytes is the piece itself.
	Bytes []byte
}

// NewMemory makes guest memory. Regions may touch each other, in any order, but not overlap.
func NewMemory(layout []RegionLayout, huge bool) (*Memory, error) {
	if len(layout) == 0 {
		return nil, errors.New("vhosttest: guest memory needs at least one region")
	}
	m := &Memory{}
	if err := m.add(layout, huge); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// add maps more regions, which share a new file.
func (m *Memory) add(layout []RegionLayout, huge bool) error {
	page := uint64(pageSize)
	if huge {
		page = hugeSize
	}
	var size uint64
	for i, l := range layout {
		if l.Size == 0 || (l.GPA|l.Size|l.Gap)%page != 0 {
			return fmt.Errorf("vhosttest: region %d: address, size and gap must be multiples of %d", i, page)
		}
		size += l.Gap + l.Size
	}
	f, fd, err := sys.MemfdFile("guest-memory", int64(size), huge)
	if err != nil {
		return fmt.Errorf("vhosttest: guest memory: %w", err)
	}
	m.files = append(m.files, f)
	offset := uint64(0)
	for _, l := range layout {
		offset += l.Gap
		r := &region{RegionLayout: l, fd: fd, offset: offset}
		if r.bytes, err = sys.MapGuarded(fd, int64(offset), int(l.Size)); err != nil {
			return fmt.Errorf("vhosttest: guest memory: %w", err)
		}
		offset += l.Size
		// SAFETY: the address is only announced as a number, never converted back.
		here := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(r.bytes))))
		if l.Identity {
			r.GPA, r.User = here, here
		}
		if r.User == 0 {
			r.User = here
		}
		m.regions = append(m.regions, r)
	}
	return nil
}

// Regions lists the mapped regions, in the order of the layout.
func (m *Memory) Regions() []Region {
	out := make([]Region, 0, len(m.regions))
	for _, r := range m.regions {
		// SAFETY: the pointer is the mapping's first byte, valid for Size bytes until Close.
		out = append(out, Region{r.GPA, r.Size, unsafe.Pointer(unsafe.SliceData(r.bytes))})
	}
	return out
}

// Layout lists the regions as they are announced: User is filled in.
func (m *Memory) Layout() []RegionLayout {
	out := make([]RegionLayout, 0, len(m.regions))
	for _, r := range m.regions {
		out = append(out, r.RegionLayout)
	}
	return out
}

// At views n bytes of guest-physical memory, which must lie in one region.
func (m *Memory) At(gpa, n uint64) (Place, error) {
	for _, r := range m.regions {
		if gpa >= r.GPA && gpa-r.GPA < r.Size && n <= r.Size-(gpa-r.GPA) {
			return r.place(gpa-r.GPA, n), nil
		}
	}
	return Place{}, fmt.Errorf("vhosttest: no region holds %d bytes at guest address %#x", n, gpa)
}

func (r *region) place(off, n uint64) Place {
	b := r.bytes[off : off+n : off+n]
	// SAFETY: SliceData of a non-nil slice: the mapping's byte at off.
	return Place{GPA: r.GPA + off, User: r.User + off, Ptr: unsafe.Pointer(unsafe.SliceData(b)), Bytes: b}
}

// Alloc takes size bytes at a multiple of align (a power of two), from the regions in turn, so that neighbours in time
// are not neighbours in space. Nothing is ever given back.
func (m *Memory) Alloc(size, align uint64) (Place, error) {
	for i := range m.regions {
		r := m.regions[(m.next+i)%len(m.regions)]
		if r.Reserved {
			continue
		}
		if p, err := r.alloc(size, align); err == nil {
			m.next = (m.next + i + 1) % len(m.regions)
			return p, nil
		}
	}
	return Place{}, fmt.Errorf("vhosttest: guest memory is full: no region has %d bytes left", size)
}

func (r *region) alloc(size, align uint64) (Place, error) {
	off := (r.used + align - 1) &^ (align - 1)
	if off > r.Size || r.Size-off < size {
		return Place{}, fmt.Errorf("vhosttest: the region at %#x has no %d bytes left", r.GPA, size)
	}
	r.used = off + size
	return r.place(off, size), nil
}

// WriteDescs writes a descriptor table at guest address gpa, such as an indirect one.
func (m *Memory) WriteDescs(gpa uint64, table ...Desc) error {
	p, err := m.At(gpa, uint64(len(table))*DescSize)
	if err != nil {
		return err
	}
	for i, d := range table {
		putDesc(p.Ptr, uint32(i), d)
	}
	return nil
}

// WritePackedDescs writes a descriptor table at guest address gpa, such as an indirect one of a packed ring.
func (m *Memory) WritePackedDescs(gpa uint64, table ...PackedDesc) error {
	p, err := m.At(gpa, uint64(len(table))*DescSize)
	if err != nil {
		return err
	}
	for i, d := range table {
		putPackedDesc(p.Ptr, uint32(i), d)
	}
	return nil
}

// Truncate shortens every memory file under everybody's feet: whoever touches a page beyond n then gets SIGBUS. The
// guest itself must not use its queues afterwards.
func (m *Memory) Truncate(n int64) error {
	var errs []error
	for _, f := range m.files {
		errs = append(errs, f.Truncate(n))
	}
	return errors.Join(errs...)
}

// Close unmaps and frees the memory. No pointer into it may be used afterwards.
func (m *Memory) Close() error {
	var errs []error
	for _, r := range m.regions {
		if r.bytes != nil {
			errs = append(errs, sys.UnmapGuarded(r.bytes))
			r.bytes = nil
		}
	}
	for _, f := range m.files {
		errs = append(errs, f.Close())
	}
	m.regions, m.files = nil, nil
	return errors.Join(errs...)
}
