package vfiouser

import (
	"errors"
	"io"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Memory is memory of a client that its server accesses by messages.
type Memory interface {
	io.ReaderAt
	io.WriterAt
}

// DMAMap is memory that a client makes available to a device.
type DMAMap struct {
	IOVA, Size          uint64
	Readable, Writeable bool
	// File is shared memory whose descriptor is sent, so that the device accesses it directly. It stays the caller's to
	// close, and open as long as the mapping is there.
	File *os.File
	// Offset is the place in File or Memory of the byte at IOVA.
	Offset uint64
	// Memory is accessed by messages when File is nil.
	Memory Memory
}

func (d *DMAMap) last() uint64 { return d.IOVA + (d.Size - 1) }

// clientMemory is what the client has mapped.
type clientMemory struct {
	mu   sync.RWMutex
	maps []*DMAMap
}

// MapDMA makes memory available to the device.
func (c *Client) MapDMA(d DMAMap) error {
	if d.Size == 0 || d.last() < d.IOVA {
		return refuse(unix.EINVAL, "mapping of %#x bytes at %#x", d.Size, d.IOVA)
	}
	var flags uint32
	if d.Readable {
		flags |= dmaReadable
	}
	if d.Writeable {
		flags |= dmaWriteable
	}
	offset := d.Offset
	var files []*os.File
	if d.File != nil {
		files = []*os.File{d.File}
	} else {
		offset = 0 // specification: zero if the region is not mappable
	}
	// The device may use the memory before the reply is here.
	c.memory.mu.Lock()
	c.memory.maps = append(c.memory.maps, &d)
	c.memory.mu.Unlock()
	err := withFDs(files, nil, func(fds []int) error {
		_, err := c.call(cmdDMAMap, words(uint32(mapSize), flags, offset, d.IOVA, d.Size), fds, 0)
		return err
	})
	if err != nil {
		c.memory.forget(func(m *DMAMap) bool { return m == &d })
	}
	return err
}

// UnmapDMA takes memory back that was mapped as a whole. The device does not access it any more once this returns
// without an error.
func (c *Client) UnmapDMA(iova, size uint64) error {
	if err := c.unmap(0, iova, size); err != nil {
		return err
	}
	c.memory.forget(func(m *DMAMap) bool { return iova <= m.IOVA && m.last() <= iova+(size-1) })
	return nil
}

// UnmapAllDMA takes all memory back.
func (c *Client) UnmapAllDMA() error {
	if err := c.unmap(unmapAll, 0, 0); err != nil {
		return err
	}
	c.memory.forget(func(*DMAMap) bool { return true })
	return nil
}

func (c *Client) unmap(flags uint32, iova, size uint64) error {
	_, err := c.call(cmdDMAUnmap, words(uint32(unmapSize), flags, iova, size), nil, unmapSize)
	return err
}

// forget removes the mappings that gone chooses.
func (t *clientMemory) forget(gone func(*DMAMap) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.maps = slices.DeleteFunc(t.maps, gone)
}

// serveMemory does the server's commands, one after the other.
func (c *Client) serveMemory() {
	defer c.running.Done()
	for m := c.inbox.get(); m != nil; m = c.inbox.get() {
		body, err := c.memoryCommand(m)
		m.close()
		if err := c.back.answer(m, body, nil, err); err != nil {
			c.end(err)
			return
		}
	}
}

func (c *Client) memoryCommand(m *message) ([]byte, error) {
	if m.cmd != cmdDMARead && m.cmd != cmdDMAWrite || len(m.fds) > 0 {
		return nil, refuse(unix.EINVAL, "%s is not for a client", m.cmd)
	}
	if err := need(m, accessSize); err != nil {
		return nil, err
	}
	iova, count := le64(m.body), le64(m.body[8:])
	if count > defaultXfer {
		return nil, refuse(unix.EINVAL, "%s of %d bytes", m.cmd, count)
	}
	if m.cmd == cmdDMAWrite {
		if uint64(len(m.body)) != accessSize+count {
			return nil, refuse(unix.EINVAL, "DMA_WRITE: %d bytes of data for a count of %d", len(m.body)-accessSize, count)
		}
		if err := c.memory.access(iova, m.body[accessSize:], true); err != nil {
			return nil, err
		}
		return m.body[:accessSize], nil
	}
	b := append(words(iova, count), make([]byte, count)...)
	return b, c.memory.access(iova, b[accessSize:], false)
}

// access reads or writes the client's memory for the server.
func (t *clientMemory) access(iova uint64, p []byte, write bool) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for len(p) > 0 {
		i := slices.IndexFunc(t.maps, func(m *DMAMap) bool { return m.IOVA <= iova && iova <= m.last() })
		if i < 0 {
			return refuse(unix.EFAULT, "%#x is not mapped", iova)
		}
		m := t.maps[i]
		if write && !m.Writeable || !write && !m.Readable {
			return refuse(unix.EACCES, "%#x: mapped without that permission", iova)
		}
		n := min(uint64(len(p)), m.Size-(iova-m.IOVA))
		if err := m.transfer(iova, p[:n], write); err != nil {
			return err
		}
		p, iova = p[n:], iova+n
	}
	return nil
}

func (d *DMAMap) transfer(iova uint64, p []byte, write bool) error {
	mem := d.Memory
	if d.File != nil {
		mem = d.File
	}
	if mem == nil {
		return refuse(unix.EFAULT, "%#x: memory that cannot be accessed by messages", iova)
	}
	at := int64(d.Offset + (iova - d.IOVA))
	if write {
		_, err := mem.WriteAt(p, at)
		return err
	}
	n, err := mem.ReadAt(p, at)
	if n == len(p) && errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
