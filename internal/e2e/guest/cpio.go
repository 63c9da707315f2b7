package guest

import (
	"fmt"
	"io"
)

// File modes as a newc archive holds them (POSIX <sys/stat.h>).
const (
	modeDir  = 0o040755
	modeProg = 0o100755
	modeFile = 0o100644
	modeChar = 0o020600
)

// cpioMagic begins each header of the newc format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
const cpioMagic = "070701"

// cpioWriter writes a newc archive, the format of initial file systems. The first error sticks.
type cpioWriter struct {
	w     io.Writer
	inode uint32
	n     int64
	err   error
}

// add writes one entry. rdevMajor and rdevMinor matter for device nodes only.
func (c *cpioWriter) add(name string, mode uint32, data []byte, rdevMajor, rdevMinor uint32) {
	c.inode++
	c.header(c.inode, name, mode, uint32(len(data)), rdevMajor, rdevMinor)
	c.write(data)
	c.pad()
}

func (c *cpioWriter) header(inode uint32, name string, mode, size, rdevMajor, rdevMinor uint32) {
	const nlink, checksum = 1, 0
	fields := []uint32{
		inode, mode, 0 /* uid */, 0 /* gid */, nlink, 0 /* mtime */, size,
		0, 0 /* device */, rdevMajor, rdevMinor, uint32(len(name) + 1), checksum,
	}
	c.write([]byte(cpioMagic))
	for _, f := range fields {
		c.write(fmt.Appendf(nil, "%08x", f))
	}
	c.write(append([]byte(name), 0))
	c.pad()
}

// close writes the entry that ends an archive.
func (c *cpioWriter) close() error {
	c.header(0, "TRAILER!!!", 0, 0, 0, 0)
	return c.err
}

func (c *cpioWriter) write(b []byte) {
	if c.err != nil {
		return
	}
	n, err := c.w.Write(b)
	c.n += int64(n)
	c.err = err
}

// pad fills up to the next multiple of four, where headers and contents begin.
func (c *cpioWriter) pad() { c.write(make([]byte, -c.n&3)) }
