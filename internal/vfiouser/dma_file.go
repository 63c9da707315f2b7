package vfiouser

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"weft/internal/sys"
)

// maxFileViews is how many files, or parts of files, a client's memory may be made of. Each takes one of the process's
// vm.max_map_count mappings, and the Go runtime cannot do without.
const maxFileViews = 512

// maxViewBytes bounds the address space of them all: a file without content can be as long as its owner likes, and some
// of the 128 TiB of a process the Go runtime needs for itself.
const maxViewBytes = 32 << 40

// fileViews are the files that a client's memory is made of. With a virtual IOMMU a client maps thousands of pages, all
// of one file: the file is mapped once, as a whole, as long as one of them is.
//
// Concurrency: one goroutine uses it.
type fileViews struct {
	views int
	bytes uint64                // of views
	whole map[fileKey]*fileView // those that begin with the file
}

type fileKey struct {
	dev, ino  uint64
	writeable bool
}

// fileView is a file, or a part of one, that is mapped into this process.
type fileView struct {
	key   fileKey
	first uint64 // place of the first byte in the file
	mem   []byte
	users int // regions
}

// open returns size bytes of the file fd at offset. The descriptor may be closed afterwards; close gives the bytes back.
func (t *fileViews) open(fd int, offset, size uint64, writeable bool) (*fileView, []byte, error) {
	info, err := sys.StatFile(fd)
	if err != nil {
		return nil, nil, err
	}
	end := offset + size
	switch {
	case !info.Regular:
		return nil, nil, refuse(unix.EINVAL, "the descriptor for memory is not of a regular file")
	case info.Remote:
		return nil, nil, refuse(unix.EINVAL, "the memory's file is on a remote file system, which could stall every access")
	case end < offset || end > info.Size:
		return nil, nil, refuse(unix.EINVAL, "%#x bytes at %#x of a memory file of %#x", size, offset, info.Size)
	}
	key := fileKey{info.Dev, info.Ino, writeable}
	v := t.whole[key]
	// A file that has grown since is mapped anew. So is one whose descriptor does not allow as much as that of before.
	if v == nil || end > uint64(len(v.mem)) || !allows(fd, writeable) {
		if t.views >= maxFileViews {
			return nil, nil, refuse(unix.ENOSPC, "memory of more than %d files", maxFileViews)
		}
		if v, err = t.view(fd, key, info, offset, end); err != nil {
			return nil, nil, fmt.Errorf("memory of %#x bytes: %w", size, err)
		}
	}
	v.users++
	return v, v.mem[offset-v.first:][:size:size], nil
}

// allows reports whether a descriptor was opened for what a mapping needs.
func allows(fd int, writeable bool) bool {
	mode, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return false
	}
	mode &= unix.O_ACCMODE
	return mode == unix.O_RDWR || !writeable && mode == unix.O_RDONLY
}

// view maps all of a file, or when there is no address space for that, from offset to end.
func (t *fileViews) view(fd int, key fileKey, info sys.FileInfo, offset, end uint64) (*fileView, error) {
	up := func(n uint64) uint64 { return (n + info.PageSize - 1) &^ (info.PageSize - 1) }
	v := &fileView{key: key}
	err := t.mapInto(v, fd, up(info.Size))
	if err != nil {
		v.first = offset &^ (info.PageSize - 1)
		if err = t.mapInto(v, fd, up(end)-v.first); err != nil {
			return nil, err
		}
	}
	t.views++
	t.bytes += uint64(len(v.mem))
	if v.first == 0 {
		if t.whole == nil {
			t.whole = make(map[fileKey]*fileView)
		}
		t.whole[key] = v
	}
	return v, nil
}

// mapInto maps size bytes of a file from v.first on.
func (t *fileViews) mapInto(v *fileView, fd int, size uint64) (err error) {
	if size > maxViewBytes-t.bytes {
		return refuse(unix.ENOSPC, "%#x bytes of memory files, at most %#x", size, uint64(maxViewBytes))
	}
	v.mem, err = sys.MapFile(fd, v.first, size, v.key.writeable)
	return err
}

// close gives back what open returned, nil too.
func (t *fileViews) close(v *fileView) error {
	if v == nil {
		return nil
	}
	if v.users--; v.users > 0 {
		return nil
	}
	t.views--
	t.bytes -= uint64(len(v.mem))
	if t.whole[v.key] == v {
		delete(t.whole, v.key)
	}
	return os.NewSyscallError("munmap", sys.UnmapShared(v.mem))
}
