package vfiouser

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// handle does a client's command. It returns the reply's body and descriptors, which stay their owner's.
func (s *Session) handle(m *message) (body []byte, files []*os.File, err error) {
	if len(m.fds) > 0 && m.cmd != cmdDMAMap && m.cmd != cmdSetIRQs {
		return nil, nil, refuse(unix.EINVAL, "%s: came with %d descriptors", m.cmd, len(m.fds))
	}
	switch m.cmd {
	case cmdDMAMap:
		return nil, nil, s.dmaMap(m)
	case cmdDMAUnmap:
		body, err = s.dmaUnmap(m)
	case cmdGetInfo:
		body, err = s.getInfo(m)
	case cmdGetRegionInfo:
		return s.getRegionInfo(m)
	case cmdGetRegionIOFDs:
		return s.getRegionIOFDs(m)
	case cmdGetIRQInfo:
		body, err = s.getIRQInfo(m)
	case cmdSetIRQs:
		return nil, nil, s.setIRQs(m)
	case cmdRegionRead:
		body, err = s.regionRead(m)
	case cmdRegionWrite:
		body, err = s.regionWrite(m)
	case cmdRegionWriteMany:
		body, err = s.regionWriteMany(m)
	case cmdReset:
		return nil, nil, s.reset()
	case cmdFeature:
		err = refuse(unix.ENOTTY, "no device feature is supported") // as VFIO_DEVICE_FEATURE of Linux
	case cmdMigrationRead, cmdMigrationWrite:
		err = refuse(unix.EOPNOTSUPP, "migration is not supported")
	default:
		err = refuse(unix.EINVAL, "%s is not for a server in a session", m.cmd)
	}
	return body, nil, err
}

func (s *Session) dmaMap(m *message) error {
	if err := needArgs(m, mapSize); err != nil {
		return err
	}
	b := m.body
	flags, offset := le32(b[4:]), le64(b[8:])
	mapping := Mapping{
		IOVA: le64(b[16:]), Size: le64(b[24:]), Shared: len(m.fds) == 1,
		Readable: flags&dmaReadable != 0, Writeable: flags&dmaWriteable != 0,
	}
	switch {
	case flags == 0 || flags&^(dmaReadable|dmaWriteable) != 0:
		return refuse(unix.EINVAL, "DMA_MAP: flags %#x", flags)
	case len(m.fds) > 1:
		return refuse(unix.EINVAL, "DMA_MAP: %d descriptors", len(m.fds))
	}
	fd := -1
	if mapping.Shared {
		fd = m.fds[0]
	}
	if err := s.dma.add(mapping, fd, offset); err != nil {
		return err
	}
	s.dev.Mapped(mapping)
	return nil
}

// emptyRange is the least that may be unmapped without anything being mapped there.
const emptyRange = 1 << 20

// dmaUnmap takes a range that covers whole mappings, one as the specification has it or more as Linux's type 1 IOMMU
// does, and qemu's flag for everything. When a guest resets a virtual IOMMU, qemu unmaps its whole address space in
// ranges of 1 MiB and more, whatever is mapped there, and complains about each that is refused. Smaller ones without a
// mapping are a client's mistake.
func (s *Session) dmaUnmap(m *message) ([]byte, error) {
	if err := needArgs(m, unmapSize); err != nil {
		return nil, err
	}
	flags, iova, size := le32(m.body[4:]), le64(m.body[8:]), le64(m.body[16:])
	var gone []Mapping
	switch flags {
	case 0:
		var err error
		gone, err = s.dma.covered(iova, size)
		if err != nil && (size < emptyRange || !errors.Is(err, unix.ENOENT)) {
			return nil, err
		}
	case unmapAll:
		if iova != 0 || size != 0 {
			return nil, refuse(unix.EINVAL, "DMA_UNMAP: everything, but with a range")
		}
		gone = s.dma.all()
	default:
		return nil, refuse(unix.EINVAL, "DMA_UNMAP: flags %#x", flags)
	}
	for _, g := range gone {
		s.dev.Unmapped(g)
	}
	if err := s.dma.remove(gone); err != nil {
		return nil, err
	}
	return m.body[:unmapSize], nil
}

func (s *Session) getInfo(m *message) ([]byte, error) {
	if err := needArgs(m, deviceInfoSize); err != nil {
		return nil, err
	}
	flags := uint32(devicePCI)
	if s.info.Reset {
		flags |= deviceReset
	}
	return words(uint32(deviceInfoSize), flags, uint32(s.info.regions()), uint32(len(s.irqs.kinds))), nil
}

// getRegionInfo answers with the region and its capabilities; without these when argsz is too small, but with the size
// that is needed, upon which the client asks again. The descriptor comes both times.
func (s *Session) getRegionInfo(m *message) ([]byte, []*os.File, error) {
	if err := needArgs(m, regionInfoSize); err != nil {
		return nil, nil, err
	}
	r, err := s.region(le32(m.body[8:]))
	if err != nil {
		return nil, nil, err
	}
	flags, size, capAt := uint32(r.Flags), uint32(regionInfoSize), uint32(0)
	var files []*os.File
	var caps []byte
	if r.File != nil {
		flags |= regionFlagMmap
		files = []*os.File{r.File}
		if len(r.Mmap) > 0 {
			flags |= regionFlagCaps
			caps = sparseCapability(r.Mmap)
			size += uint32(len(caps))
		}
	}
	if le32(m.body) < size {
		caps = nil
	} else if caps != nil {
		capAt = regionInfoSize
	}
	body := words(size, flags, uint32(r.Index), capAt, r.Size, r.FileOffset)
	return append(body, caps...), files, nil
}

// sparseCapability is struct vfio_region_info_cap_sparse_mmap.
func sparseCapability(areas []SparseArea) []byte {
	b := words(uint32(capSparseMmap|1<<16), uint32(0), uint32(len(areas)), uint32(0))
	for _, a := range areas {
		b = append(b, words(a.Offset, a.Size)...)
	}
	return b
}

// getRegionIOFDs answers with a region's IOFDs, usually none.
func (s *Session) getRegionIOFDs(m *message) ([]byte, []*os.File, error) {
	if err := needArgs(m, regionIOSize); err != nil {
		return nil, nil, err
	}
	flags, count := le32(m.body[4:]), le32(m.body[12:])
	if flags != 0 || count != 0 {
		return nil, nil, refuse(unix.EINVAL, "REGION_IO_FDS: flags %#x and count %d are to be 0", flags, count)
	}
	r, err := s.region(le32(m.body[8:]))
	if err != nil {
		return nil, nil, err
	}
	size := uint32(regionIOSize + ioFDSize*len(r.IOFDs))
	head := words(size, uint32(0), uint32(r.Index), uint32(len(r.IOFDs)))
	if le32(m.body) < size {
		return head, nil, nil // the client asks again, with room
	}
	var files []*os.File
	for _, io := range r.IOFDs {
		at := slices.Index(files, io.File)
		if at < 0 {
			at = len(files)
			files = append(files, io.File)
		}
		head = append(head, words(io.Offset, io.Size, uint32(at), io.Kind, io.Flags, uint32(0), io.Data)...)
	}
	return head, files, nil
}

func (s *Session) getIRQInfo(m *message) ([]byte, error) {
	if err := needArgs(m, irqInfoSize); err != nil {
		return nil, err
	}
	index := le32(m.body[8:])
	if int64(index) >= int64(len(s.irqs.kinds)) {
		return nil, refuse(unix.EINVAL, "IRQ_INFO: kind %d of %d", index, len(s.irqs.kinds))
	}
	kind := &s.irqs.kinds[index]
	return words(uint32(irqInfoSize), uint32(kind.flags), index, uint32(len(kind.vectors))), nil
}

func (s *Session) setIRQs(m *message) error {
	set, err := s.irqs.set(m)
	if err != nil {
		return err
	}
	s.dev.SetIRQs(set)
	return nil
}

// region is the one with an index; one of size 0 stands for an absent one.
func (s *Session) region(index uint32) (RegionInfo, error) {
	if int64(index) >= int64(s.info.regions()) {
		return RegionInfo{}, refuse(unix.EINVAL, "region %d of %d", index, s.info.regions())
	}
	i := slices.IndexFunc(s.info.Regions, func(r RegionInfo) bool { return r.Index == int(index) })
	if i < 0 {
		return RegionInfo{Index: int(index)}, nil
	}
	return s.info.Regions[i], nil
}

// reach checks an access to a region.
func (s *Session) reach(a access, need RegionFlags) error {
	r, err := s.region(a.region)
	switch end := a.offset + uint64(a.count); {
	case err != nil:
		return err
	case a.count > s.opt.maxXfer():
		return refuse(unix.EINVAL, "access of %d bytes, at most %d were agreed on", a.count, s.opt.maxXfer())
	case end < a.offset || end > r.Size:
		return refuse(unix.EINVAL, "access of %d bytes at %#x of region %d, which has %#x", a.count, a.offset, a.region,
			r.Size)
	case r.Flags&need == 0:
		return refuse(unix.EINVAL, "access to region %d, which has flags %#x", a.region, r.Flags)
	}
	return nil
}

func (s *Session) regionRead(m *message) ([]byte, error) {
	if err := need(m, accessSize); err != nil {
		return nil, err
	}
	a := parseAccess(m.body)
	if err := s.reach(a, RegionRead); err != nil {
		return nil, err
	}
	b := append(a.bytes(), make([]byte, a.count)...)
	if err := s.dev.ReadRegion(int(a.region), a.offset, b[accessSize:]); err != nil {
		return nil, fmt.Errorf("region %d, offset %#x: %w", a.region, a.offset, err)
	}
	return b, nil
}

func (s *Session) regionWrite(m *message) ([]byte, error) {
	if err := need(m, accessSize); err != nil {
		return nil, err
	}
	a := parseAccess(m.body)
	if uint64(len(m.body)) != accessSize+uint64(a.count) {
		return nil, refuse(unix.EINVAL, "REGION_WRITE: %d bytes of data for a count of %d", len(m.body)-accessSize, a.count)
	}
	if err := s.reach(a, RegionWrite); err != nil {
		return nil, err
	}
	if err := s.dev.WriteRegion(int(a.region), a.offset, m.body[accessSize:]); err != nil {
		return nil, fmt.Errorf("region %d, offset %#x: %w", a.region, a.offset, err)
	}
	return a.bytes(), nil
}

// regionWriteMany does single writes in order. The first that fails ends it, and the reply is the error alone: the
// specification has no place for how many were done.
func (s *Session) regionWriteMany(m *message) ([]byte, error) {
	if err := need(m, writeManySize); err != nil {
		return nil, err
	}
	n, b := le64(m.body), m.body[writeManySize:]
	if n > uint64(len(b)/writeSingleSize) || uint64(len(b)) != n*writeSingleSize {
		return nil, refuse(unix.EINVAL, "REGION_WRITE_MULTI: %d bytes for %d writes", len(b), n)
	}
	for ; len(b) > 0; b = b[writeSingleSize:] {
		a := parseAccess(b)
		if a.count > writeSingleSize-accessSize {
			return nil, refuse(unix.EINVAL, "REGION_WRITE_MULTI: a write of %d bytes", a.count)
		}
		if err := s.reach(a, RegionWrite); err != nil {
			return nil, err
		}
		if err := s.dev.WriteRegion(int(a.region), a.offset, b[accessSize:][:a.count]); err != nil {
			return nil, fmt.Errorf("region %d, offset %#x: %w", a.region, a.offset, err)
		}
	}
	return words(n), nil
}

func (s *Session) reset() error {
	if !s.info.Reset {
		return refuse(unix.EINVAL, "the device cannot be reset")
	}
	return s.dev.Reset()
}

// regions is how many there are, absent ones counted.
func (i *DeviceInfo) regions() int {
	n := pciRegions
	for _, r := range i.Regions {
		n = max(n, r.Index+1)
	}
	return n
}

// check finds mistakes of the device's author.
func (i *DeviceInfo) check() error {
	seen := make(map[int]bool)
	for _, r := range i.Regions {
		switch {
		case r.Index < 0 || r.Index >= maxRegions || seen[r.Index]:
			return fmt.Errorf("vfiouser: region index %d is out of bounds or given twice", r.Index)
		case r.File == nil && len(r.Mmap) > 0:
			return fmt.Errorf("vfiouser: region %d has areas to map but no file", r.Index)
		}
		seen[r.Index] = true
		page := uint64(os.Getpagesize())
		for _, a := range r.Mmap {
			if (a.Offset|a.Size)%page != 0 || a.Size == 0 || a.Offset+a.Size < a.Offset || a.Offset+a.Size > r.Size {
				return fmt.Errorf("vfiouser: region %d: area of %#x bytes at %#x: not pages of the region", r.Index, a.Size,
					a.Offset)
			}
		}
	}
	clear(seen)
	for _, q := range i.IRQs {
		if q.Index < 0 || q.Index >= maxRegions || q.Count < 0 || q.Count > 1<<16 || seen[q.Index] {
			return fmt.Errorf("vfiouser: interrupts of kind %d: the index or the count %d is out of bounds, or given twice",
				q.Index, q.Count)
		}
		seen[q.Index] = true
	}
	return nil
}
