package vfiouser

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// RegionInfo asks for a region. One that does not exist has size 0. The files of the result are the caller's to close.
func (c *Client) RegionInfo(index int) (RegionInfo, error) {
	r, needed, err := c.regionInfo(index, regionInfoSize)
	if err == nil && needed > regionInfoSize {
		r.close()
		if needed > maxPlainBody {
			return RegionInfo{}, protocolf("region %d: information of %d bytes", index, needed)
		}
		r, _, err = c.regionInfo(index, needed)
	}
	return r, err
}

// regionInfo asks with room for argsz bytes. needed is what the server would have liked.
func (c *Client) regionInfo(index int, argsz uint32) (r RegionInfo, needed uint32, err error) {
	body := words(argsz, uint32(0), uint32(index), uint32(0), uint64(0), uint64(0))
	m, err := c.callFDs(cmdGetRegionInfo, body, nil, 1)
	if err != nil {
		return r, 0, err
	}
	files := takeFiles(m, fmt.Sprintf("region %d", index))
	r, needed, err = parseRegionInfo(m.body, index, argsz)
	mapped := err == nil && le32(m.body[4:])&regionFlagMmap != 0
	if err == nil && mapped != (len(files) == 1) {
		err = protocolf("region %d: %d descriptors, flags %#x", index, len(files), le32(m.body[4:]))
	}
	if err != nil {
		closeFiles(files)
		return RegionInfo{}, 0, err
	}
	if mapped {
		r.File = files[0]
	}
	return r, needed, nil
}

func (r *RegionInfo) close() {
	if r.File != nil {
		_ = r.File.Close()
	}
}

// parseRegionInfo reads struct vfio_region_info and what it needs of the capabilities behind it.
func parseRegionInfo(b []byte, index int, argsz uint32) (r RegionInfo, needed uint32, err error) {
	if len(b) < regionInfoSize || le32(b[8:]) != uint32(index) {
		return r, 0, protocolf("region %d: a reply of %d bytes, or for another region", index, len(b))
	}
	flags, at := le32(b[4:]), le32(b[12:])
	needed = le32(b)
	r = RegionInfo{
		Index: index, Size: le64(b[16:]), Flags: RegionFlags(flags) & (RegionRead | RegionWrite), FileOffset: le64(b[24:]),
	}
	if flags&regionFlagCaps == 0 || needed > argsz {
		return r, needed, nil
	}
	before := uint32(0)
	for at != 0 {
		// Capabilities come one behind the other, so that a chain cannot go on for ever.
		if at <= before || at < regionInfoSize || uint64(at)+capHeaderSize > uint64(len(b)) {
			return r, 0, protocolf("region %d: capability at %d of %d bytes", index, at, len(b))
		}
		if le16(b[at:]) == capSparseMmap {
			if r.Mmap, err = parseSparse(b[at:], r.Size); err != nil {
				return r, 0, err
			}
		}
		before, at = at, le32(b[at+4:])
	}
	return r, needed, nil
}

func parseSparse(b []byte, size uint64) ([]SparseArea, error) {
	if len(b) < sparseSize {
		return nil, protocolf("sparse areas in %d bytes", len(b))
	}
	n := le32(b[capHeaderSize:])
	b = b[sparseSize:]
	if uint64(n)*sparseAreaSize > uint64(len(b)) {
		return nil, protocolf("%d sparse areas in %d bytes", n, len(b))
	}
	areas := make([]SparseArea, n)
	for i := range areas {
		a := SparseArea{le64(b[i*sparseAreaSize:]), le64(b[i*sparseAreaSize+8:])}
		if a.Offset+a.Size < a.Offset || a.Offset+a.Size > size {
			return nil, protocolf("sparse area of %#x bytes at %#x of a region of %#x", a.Size, a.Offset, size)
		}
		areas[i] = a
	}
	return areas, nil
}

// RegionIOFDs asks for the descriptors that stand for accesses to a region. They are the caller's to close; several may
// share one file.
func (c *Client) RegionIOFDs(index int) ([]IOFD, error) {
	fds, needed, err := c.regionIOFDs(index, regionIOSize)
	if err == nil && needed > regionIOSize {
		if needed > maxPlainBody {
			return nil, protocolf("region %d: IO descriptors of %d bytes", index, needed)
		}
		fds, _, err = c.regionIOFDs(index, needed)
	}
	return fds, err
}

func (c *Client) regionIOFDs(index int, argsz uint32) ([]IOFD, uint32, error) {
	m, err := c.callFDs(cmdGetRegionIOFDs, words(argsz, uint32(0), uint32(index), uint32(0)), nil, ourMaxFDs)
	if err != nil {
		return nil, 0, err
	}
	files := takeFiles(m, fmt.Sprintf("accesses to region %d", index))
	fds, needed, err := parseIOFDs(m.body, index, argsz, files)
	if err != nil {
		closeFiles(files)
	}
	return fds, needed, err
}

func parseIOFDs(b []byte, index int, argsz uint32, files []*os.File) ([]IOFD, uint32, error) {
	if len(b) < regionIOSize || le32(b[8:]) != uint32(index) {
		return nil, 0, protocolf("region %d: IO descriptors of %d bytes, or of another region", index, len(b))
	}
	needed, n := le32(b), le32(b[12:])
	b = b[regionIOSize:]
	if needed > argsz {
		if len(files) > 0 {
			return nil, 0, protocolf("region %d: descriptors without their description", index)
		}
		return nil, needed, nil
	}
	if uint64(n)*ioFDSize > uint64(len(b)) || n == 0 && len(files) > 0 {
		return nil, 0, protocolf("region %d: %d IO descriptors in %d bytes, %d sent", index, n, len(b), len(files))
	}
	used := make([]bool, len(files))
	fds := make([]IOFD, n)
	for i := range fds {
		e := b[i*ioFDSize:]
		at := le32(e[16:])
		if uint64(at) >= uint64(len(files)) {
			return nil, 0, protocolf("region %d: descriptor %d of %d", index, at, len(files))
		}
		used[at] = true
		fds[i] = IOFD{le64(e), le64(e[8:]), le32(e[20:]), le32(e[24:]), le64(e[32:]), files[at]}
	}
	for i, u := range used {
		if !u {
			return nil, 0, protocolf("region %d: descriptor %d is not described", index, i)
		}
	}
	return fds, needed, nil
}

// ReadRegion fills p from a region's offset, by as many messages as its length needs.
func (c *Client) ReadRegion(index int, offset uint64, p []byte) error {
	for first := true; first || len(p) > 0; first = false {
		n := min(len(p), c.xfer)
		a := access{offset, uint32(index), uint32(n)}
		b, err := c.call(cmdRegionRead, a.bytes(), nil, accessSize+n)
		if err != nil {
			return err
		}
		if got := parseAccess(b); got != a || len(b) != accessSize+n {
			return protocolf("the reply to a REGION_READ of %d bytes has %d and says %d", n, len(b)-accessSize, got.count)
		}
		copy(p, b[accessSize:])
		p, offset = p[n:], offset+uint64(n)
	}
	return nil
}

// WriteRegion writes p to a region's offset, by as many messages as its length needs. It borrows p.
func (c *Client) WriteRegion(index int, offset uint64, p []byte) error {
	for first := true; first || len(p) > 0; first = false {
		n := min(len(p), c.xfer)
		a := access{offset, uint32(index), uint32(n)}
		b, err := c.call(cmdRegionWrite, append(a.bytes(), p[:n]...), nil, accessSize)
		if err != nil {
			return err
		}
		if got := parseAccess(b); got != a {
			return protocolf("the reply to a REGION_WRITE of %d bytes says %d", n, got.count)
		}
		p, offset = p[n:], offset+uint64(n)
	}
	return nil
}

// PostRegion is WriteRegion without waiting: the device has seen the write before it sees the next command. Whether it
// refused is not learnt. p is at most what the server takes in one message.
func (c *Client) PostRegion(index int, offset uint64, p []byte) error {
	if len(p) > c.xfer {
		return refuse(unix.E2BIG, "posted write of %d bytes, at most %d", len(p), c.xfer)
	}
	a := access{offset, uint32(index), uint32(len(p))}
	return c.link.post(cmdRegionWrite, append(a.bytes(), p...))
}

// SingleWrite is one of several writes: at most 8 bytes of Data to a region's offset.
type SingleWrite struct {
	Index  int
	Offset uint64
	Data   []byte
}

// WriteRegions does writes in order, in one message when the server takes such.
func (c *Client) WriteRegions(writes []SingleWrite) error {
	for i := range writes {
		if len(writes[i].Data) > writeSingleSize-accessSize {
			return refuse(unix.E2BIG, "write %d of %d bytes, at most 8", i, len(writes[i].Data))
		}
	}
	const most = (maxPlainBody - writeManySize) / writeSingleSize
	for len(writes) > 0 && c.caps.WriteMany != nil && *c.caps.WriteMany {
		n := min(len(writes), most)
		body := words(uint64(n))
		for _, w := range writes[:n] {
			var data [writeSingleSize - accessSize]byte
			a := access{w.Offset, uint32(w.Index), uint32(copy(data[:], w.Data))}
			body = append(append(body, a.bytes()...), data[:]...)
		}
		b, err := c.call(cmdRegionWriteMany, body, nil, writeManySize)
		if err != nil {
			return err
		}
		if done := le64(b); done != uint64(n) {
			return protocolf("%d of %d writes were done", done, n)
		}
		writes = writes[n:]
	}
	for _, w := range writes {
		if err := c.WriteRegion(w.Index, w.Offset, w.Data); err != nil {
			return err
		}
	}
	return nil
}
