package sys

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// MapFile is MapShared, but read-only unless writeable is set: then a descriptor that was opened for reading suffices.
func MapFile(fd int, offset, length uint64, writeable bool) ([]byte, error) {
	prot := unix.PROT_READ
	if writeable {
		prot |= unix.PROT_WRITE
	}
	mem, err := unix.Mmap(fd, int64(offset), int(length), prot, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	if err := unix.Madvise(mem, unix.MADV_DONTDUMP); err != nil {
		_ = unix.Munmap(mem)
		return nil, fmt.Errorf("madvise: %w", err)
	}
	return mem, nil
}
