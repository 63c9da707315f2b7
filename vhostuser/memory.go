package vhostuser

import (
	"errors"
	"fmt"
	"slices"

	"weft/internal/sys"
	"weft/vhostuser/virtq"
)

// maxGuestMemory bounds what one front end can make this process map, in bytes: address space is shared by all ports,
// and a sparse file costs a hostile front end nothing.
const maxGuestMemory = 4 << 40

// guestMemory is the memory of one front end as mapped here. It is immutable: a change makes a new one, which shares
// the slots that stay.
type guestMemory struct {
	slots []*memSlot
	space *virtq.Memory // by guest-physical address
	bytes uint64        // of all slots
}

// memSlot is one mapped region. The session that mapped it unmaps it.
type memSlot struct {
	spec regionSpec
	file sys.FileInfo
	mem  []byte // the mapping: whole pages around the region
	head uint64 // where in mem the region starts
}

// openSlot maps a region of the file fd, which stays the caller's.
func openSlot(spec regionSpec, fd int) (*memSlot, error) {
	file, err := sys.StatFile(fd)
	if err != nil {
		return nil, err
	}
	if err := spec.check(file); err != nil {
		return nil, err
	}
	mask := file.PageSize - 1
	start := spec.offset &^ mask
	end := (spec.offset + spec.size + mask) &^ mask
	mem, err := sys.MapShared(fd, start, end-start)
	if err != nil {
		return nil, err
	}
	return &memSlot{spec, file, mem, spec.offset - start}, nil
}

// check makes sure that no sum of the region's fields overflows and that the file is long enough. The latter matters
// most for hugetlbfs, where mapping beyond the end makes the file longer.
func (r regionSpec) check(file sys.FileInfo) error {
	switch {
	case r.size == 0:
		return errors.New("the region is empty")
	case r.gpa+r.size-1 < r.gpa:
		return fmt.Errorf("guest address %#x + size %#x wraps", r.gpa, r.size)
	case r.user+r.size-1 < r.user:
		return fmt.Errorf("user address %#x + size %#x wraps", r.user, r.size)
	case r.offset+r.size < r.offset:
		return fmt.Errorf("mmap offset %#x + size %#x overflows", r.offset, r.size)
	case r.size > maxGuestMemory:
		return fmt.Errorf("size %#x exceeds the limit of %#x", r.size, uint64(maxGuestMemory))
	case !file.Regular:
		return errors.New("the descriptor is not a file or memfd: share guest memory by file (qemu: " +
			"memory-backend-memfd or memory-backend-file with share=on)")
	case file.Remote:
		return errors.New("the memory file is on a file system that another machine or process serves, which could stop " +
			"the switch: use memory-backend-memfd, or a file on tmpfs or hugetlbfs")
	case r.offset+r.size > file.Size:
		return fmt.Errorf("mmap offset %#x + size %#x exceeds the file's length %#x", r.offset, r.size, file.Size)
	}
	return nil
}

// matches reports that the slot maps just this region of just this file.
func (s *memSlot) matches(spec regionSpec, fd int) bool {
	if s.spec != spec {
		return false
	}
	file, err := sys.StatFile(fd)
	return err == nil && file == s.file
}

// close unmaps the slot.
func (s *memSlot) close() error { return sys.UnmapShared(s.mem) }

// newGuestMemory makes an address space of slots, which it does not own yet when it fails.
func newGuestMemory(slots []*memSlot) (*guestMemory, error) {
	m := &guestMemory{slots: slots}
	regions := make([]virtq.Region, len(slots))
	for i, s := range slots {
		regions[i] = virtq.Region{GPA: s.spec.gpa, Size: s.spec.size, Base: s.base()}
		m.bytes += s.spec.size
		for _, o := range slots[:i] {
			if s.spec.user <= o.spec.user+o.spec.size-1 && o.spec.user <= s.spec.user+s.spec.size-1 {
				return nil, fmt.Errorf("regions overlap at user address %#x", max(s.spec.user, o.spec.user))
			}
		}
	}
	if m.bytes > maxGuestMemory {
		return nil, fmt.Errorf("regions of %#x bytes together exceed the limit of %#x", m.bytes, uint64(maxGuestMemory))
	}
	var err error
	if m.space, err = virtq.NewMemory(regions); err != nil {
		return nil, err
	}
	return m, nil
}

// table makes the memory that a SET_MEM_TABLE describes, taking over from old (which may be nil) the slots that are
// the same. It returns old itself when nothing changes. On an error nothing has changed.
func (m *guestMemory) table(specs []regionSpec, fds []int) (*guestMemory, error) {
	if m.same(specs, fds) {
		return m, nil
	}
	var slots, opened []*memSlot
	fail := func(err error) (*guestMemory, error) { return nil, errors.Join(err, closeSlots(opened)) }
	for i, spec := range specs {
		known := m.find(func(s *memSlot) bool { return s.matches(spec, fds[i]) })
		if known != nil && !slices.Contains(slots, known) {
			slots = append(slots, known)
			continue
		}
		s, err := openSlot(spec, fds[i])
		if err != nil {
			return fail(fmt.Errorf("memory region %d: %w", i, err))
		}
		slots, opened = append(slots, s), append(opened, s)
	}
	next, err := newGuestMemory(slots)
	if err != nil {
		return fail(err)
	}
	return next, nil
}

// same reports that the table describes m as it is, region by region in any order.
func (m *guestMemory) same(specs []regionSpec, fds []int) bool {
	if m == nil || len(specs) != len(m.slots) {
		return false
	}
	seen := make(map[*memSlot]bool, len(specs))
	for i, spec := range specs {
		s := m.find(func(s *memSlot) bool { return s.matches(spec, fds[i]) })
		if s == nil || seen[s] {
			return false
		}
		seen[s] = true
	}
	return true
}

// add makes the memory that has one more region. It is m itself when the region is there already: qemu before 9.1 sends
// ADD_MEM_REG and REM_MEM_REG once for each queue pair of a device, not once for the device.
func (m *guestMemory) add(spec regionSpec, fd int) (*guestMemory, error) {
	if m.find(func(s *memSlot) bool { return s.matches(spec, fd) }) != nil {
		return m, nil
	}
	var slots []*memSlot
	if m != nil {
		if len(m.slots) >= maxSlots {
			return nil, fmt.Errorf("all %d memory slots are in use", maxSlots)
		}
		slots = slices.Clone(m.slots)
	}
	s, err := openSlot(spec, fd)
	if err != nil {
		return nil, err
	}
	next, err := newGuestMemory(append(slots, s))
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return next, nil
}

// remove makes the memory without the region that has spec's addresses and size; the offset does not matter
// (vhost-user, REM_MEM_REG). It is nil when no region is left, and m itself when there is none like that: see add.
func (m *guestMemory) remove(spec regionSpec) (*guestMemory, error) {
	s := m.find(func(s *memSlot) bool {
		return s.spec.gpa == spec.gpa && s.spec.user == spec.user && s.spec.size == spec.size
	})
	if s == nil {
		return m, nil
	}
	if len(m.slots) == 1 {
		return nil, nil
	}
	return newGuestMemory(slices.DeleteFunc(slices.Clone(m.slots), func(o *memSlot) bool { return o == s }))
}

// find is the first slot that ok accepts, or nil. m may be nil.
func (m *guestMemory) find(ok func(*memSlot) bool) *memSlot {
	if m == nil {
		return nil
	}
	if i := slices.IndexFunc(m.slots, ok); i >= 0 {
		return m.slots[i]
	}
	return nil
}

// closeExcept unmaps m's slots that next does not share. Either may be nil.
func (m *guestMemory) closeExcept(next *guestMemory) error {
	if m == nil {
		return nil
	}
	return closeSlots(slices.DeleteFunc(slices.Clone(m.slots), func(s *memSlot) bool {
		return next != nil && slices.Contains(next.slots, s)
	}))
}

func closeSlots(slots []*memSlot) error {
	var errs []error
	for _, s := range slots {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}
