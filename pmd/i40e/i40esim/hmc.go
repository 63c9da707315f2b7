package i40esim

import (
	"encoding/binary"
	"fmt"
)

// The host memory cache (datasheet, "Host Memory Cache"): queue contexts lie in the driver's memory, in an address
// space of the function (FPM) that segment descriptors map by 2 MB, directly or by pages of 4 KB.
const (
	segmentBits   = 21
	pageBits      = 12
	segments      = 4096
	pagesPerSeg   = 512
	fpmBaseUnit   = 512 // of GLHMC_LANTXBASE and its siblings
	sdIndex       = 0xFFF
	sdWrite       = 1 << 31
	sdValid       = 1 << 0
	sdDirect      = 1 << 1
	sdCountShift  = 2
	sdCountMask   = 0x3FF
	sdAddressLow  = ^uint32(0xFFF)
	pdPageShift   = 16
	pdPageMask    = 0x1FF
	pdValid       = 1 << 0
	hmcErrorFound = 1 << 31
)

// Error and object types of PFHMC_ERRORINFO (datasheet, "PF HMC Error Information").
const (
	hmcObjectTooBig   = 3
	hmcBeyondSpace    = 4
	hmcSegmentInvalid = 5
	hmcSegmentSmall   = 6
	hmcPageInvalid    = 7
	hmcReadFailed     = 8

	hmcTypeTx = 0
	hmcTypeRx = 1
)

// segment is a segment descriptor.
type segment struct {
	valid, direct bool
	pages         uint32 // of 4 KB behind it
	address       uint64 // of the memory, or of the page that holds 512 page descriptors
	// cached are the page descriptors that the device has read; it does not look again until they are invalidated.
	cached map[uint32]uint64
}

type hmc struct{ segments [segments]segment }

func (h *hmc) clear() { h.segments = [segments]segment{} }

// hmcError is a failed access to the function's HMC space.
type hmcError struct {
	kind uint32
	why  string
}

func (e *hmcError) Error() string { return e.why }

func hmcErrorf(kind uint32, format string, args ...any) *hmcError {
	return &hmcError{kind, fmt.Sprintf(format, args...)}
}

// writeSegment is a write of PFHMC_SDCMD.
func (c *card) writeSegment(v uint32) {
	n := v & sdIndex
	if v&sdWrite == 0 {
		s := &c.hmc.segments[n]
		var low uint32
		if s.valid {
			low = sdValid
		}
		if s.direct {
			low |= sdDirect
		}
		c.set("PFHMC_SDDATALOW", uint32(s.address)&sdAddressLow|s.pages<<sdCountShift|low)
		c.set("PFHMC_SDDATAHIGH", uint32(s.address>>32))
		return
	}
	low, high := c.get("PFHMC_SDDATALOW"), c.get("PFHMC_SDDATAHIGH")
	s := segment{
		valid: low&sdValid != 0, direct: low&sdDirect != 0, pages: low >> sdCountShift & sdCountMask,
		address: uint64(high)<<32 | uint64(low&sdAddressLow),
	}
	if s.valid && (s.pages == 0 || s.pages > pagesPerSeg) {
		c.violation("segment descriptor %d: %d pages of 1 to %d", n, s.pages, pagesPerSeg)
	}
	if s.valid && c.hmc.segments[n].valid {
		c.violation("segment descriptor %d is valid and set again: invalidate it first", n)
	}
	if !s.valid {
		c.orphanQueues(n)
	}
	c.hmc.segments[n] = s
}

// orphanQueues marks the running queues whose contexts lie in a segment that is taken away. That alone harms nothing,
// for their contexts have been read, and DPDK leaves its flow director queue so before the last reset; but nothing may
// use them any more.
func (c *card) orphanQueues(n uint32) {
	for _, q := range append(append([]*queue{}, c.tx...), c.rx...) {
		if q.running() && c.standIn.context(q.tx, q.index) == nil && q.fpm>>segmentBits == uint64(n) {
			q.orphan = true
		}
	}
}

// invalidatePage is a write of PFHMC_PDINV.
func (c *card) invalidatePage(v uint32) {
	delete(c.hmc.segments[v&sdIndex].cached, v>>pdPageShift&pdPageMask)
}

// translate finds the bus address of a place in the function's space, and how much follows it there.
func (c *card) translate(fpm uint64) (addr uint64, room int, err *hmcError) {
	if fpm>>segmentBits >= segments {
		return 0, 0, hmcErrorf(hmcBeyondSpace, "FPM address %#x is beyond %d segments", fpm, segments)
	}
	s := &c.hmc.segments[fpm>>segmentBits]
	offset := fpm & (1<<segmentBits - 1)
	page := uint32(offset >> pageBits)
	switch {
	case !s.valid:
		return 0, 0, hmcErrorf(hmcSegmentInvalid, "segment %d of FPM address %#x is not valid", fpm>>segmentBits, fpm)
	case page >= s.pages:
		return 0, 0, hmcErrorf(hmcSegmentSmall, "segment %d has %d pages, FPM address %#x is in page %d",
			fpm>>segmentBits, s.pages, fpm, page)
	case s.direct:
		return s.address + offset, int(uint64(s.pages)<<pageBits - offset), nil
	}
	base, err := c.pageDescriptor(s, page)
	if err != nil {
		return 0, 0, err
	}
	in := offset & (1<<pageBits - 1)
	return base + in, int(1<<pageBits - in), nil
}

// pageDescriptor reads a page descriptor, or takes the one that was read before.
func (c *card) pageDescriptor(s *segment, page uint32) (uint64, *hmcError) {
	pd, found := s.cached[page]
	if !found {
		var raw [8]byte
		if err := c.pf.Read(s.address+uint64(page)*8, raw[:]); err != nil {
			return 0, hmcErrorf(hmcReadFailed, "page descriptor %d cannot be read: %v", page, err)
		}
		pd = binary.LittleEndian.Uint64(raw[:])
		if s.cached == nil {
			s.cached = make(map[uint32]uint64)
		}
		s.cached[page] = pd
	}
	if pd&pdValid == 0 {
		return 0, hmcErrorf(hmcPageInvalid, "page descriptor %d is not valid", page)
	}
	return pd &^ (1<<pageBits - 1), nil
}

// readObject reads context index of the PF: a transmit context, or a receive context. It returns where it lies, too.
func (c *card) readObject(tx bool, index int) (object []byte, fpm uint64, err error) {
	if kept := c.standIn.context(tx, index); kept != nil {
		return kept, 0, nil
	}
	kind, base, count, size := uint32(hmcTypeRx), "GLHMC_LANRXBASE", "GLHMC_LANRXCNT", "GLHMC_LANRXOBJSZ"
	if tx {
		kind, base, count, size = hmcTypeTx, "GLHMC_LANTXBASE", "GLHMC_LANTXCNT", "GLHMC_LANTXOBJSZ"
	}
	pf := uint32(c.cfg.Card.PF)
	object = make([]byte, 1<<c.get(size))
	fpm = uint64(c.get(base, pf))*fpmBaseUnit + uint64(index)*uint64(len(object))
	failed := c.readFPM(fpm, object)
	if n := c.get(count, pf); uint32(index) >= n {
		failed = hmcErrorf(hmcObjectTooBig, "object %d of %d", index, n)
	}
	if failed == nil {
		return object, fpm, nil
	}
	c.set("PFHMC_ERRORINFO", uint32(c.cfg.Card.PF)|failed.kind<<8|kind<<16|hmcErrorFound)
	c.set("PFHMC_ERRORDATA", uint32(index))
	c.pf.raiseOther(icr0HMC)
	return nil, fpm, failed
}

func (c *card) readFPM(fpm uint64, p []byte) *hmcError {
	for len(p) > 0 {
		addr, room, err := c.translate(fpm)
		if err != nil {
			return err
		}
		n := min(len(p), room)
		if err := c.pf.Read(addr, p[:n]); err != nil {
			return hmcErrorf(hmcReadFailed, "memory behind FPM address %#x cannot be read: %v", fpm, err)
		}
		p, fpm = p[n:], fpm+uint64(n)
	}
	return nil
}
