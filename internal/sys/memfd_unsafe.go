package sys

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapGuard is how much address space on either side of a shared mapping faults when it is touched.
const mapGuard = 2 << 20

// MemfdFile creates an anonymous shared memory file of size bytes, of 2 MiB pages when huge is set (size is then a
// multiple of that). It is what a virtual machine's memory is to the vhost-user protocol. The number is the descriptor
// itself, valid until the file is closed.
func MemfdFile(name string, size int64, huge bool) (*os.File, int, error) {
	flags := unix.MFD_CLOEXEC
	if huge {
		flags |= unix.MFD_HUGETLB | unix.MFD_HUGE_2MB
	}
	fd, err := unix.MemfdCreate(name, flags)
	if err != nil {
		return nil, -1, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := f.Truncate(size); err != nil {
		_ = f.Close()
		return nil, -1, err
	}
	return f, fd, nil
}

// MapGuarded maps size bytes of the file fd from offset, shared, for reading and writing, between stretches of address
// space where every access faults. UnmapGuarded undoes it.
func MapGuarded(fd int, offset int64, size int) ([]byte, error) {
	mem, err := mapGuarded(fd, offset, size)
	if err != nil {
		return nil, fmt.Errorf("mmap %d bytes at %d: %w", size, offset, err)
	}
	return mem, nil
}

func mapGuarded(fd int, offset int64, size int) ([]byte, error) {
	whole := uintptr(size) + 3*mapGuard
	base, err := unix.MmapPtr(-1, 0, nil, whole, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	// SAFETY: the aligned address lies inside the reservation, at least mapGuard behind its start, and size+mapGuard
	// bytes follow it; the alignment suits huge pages.
	before := mapGuard - uintptr(base)%mapGuard
	at := unsafe.Add(base, before+mapGuard)
	// SAFETY: what lies beyond the guards on either side is nobody's; a failure only wastes address space.
	_ = unix.MunmapPtr(base, before)
	_ = unix.MunmapPtr(unsafe.Add(at, size+mapGuard), mapGuard-before)
	whole -= mapGuard
	flags := unix.MAP_SHARED | unix.MAP_FIXED
	if _, err := unix.MmapPtr(fd, offset, at, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, flags); err != nil {
		_ = unix.MunmapPtr(unsafe.Add(at, -mapGuard), whole)
		return nil, err
	}
	// SAFETY: size bytes were just mapped there.
	return unsafe.Slice((*byte)(at), size), nil
}

// UnmapGuarded gives back what MapGuarded returned, the whole of it.
func UnmapGuarded(mem []byte) error {
	// SAFETY: MapGuarded reserved mapGuard on either side of mem.
	at := unsafe.Pointer(unsafe.SliceData(mem))
	return unix.MunmapPtr(unsafe.Add(at, -mapGuard), uintptr(len(mem))+2*mapGuard)
}

// EventFile makes an event descriptor (eventfd(2)) that Go's poller watches: a Read blocks the goroutine and obeys
// deadlines. The number is the descriptor itself, for passing on; it is valid until the file is closed.
func EventFile() (*os.File, int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, -1, fmt.Errorf("eventfd: %w", err)
	}
	return os.NewFile(uintptr(fd), "eventfd"), fd, nil
}
