package sys

import (
	"fmt"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"
)

// PageSize is the size in bytes of the kernel's ordinary pages.
func PageSize() int { return os.Getpagesize() }

// MapAnonymous maps size bytes of private, zeroed memory of ordinary pages. Nothing is resident yet. Unmap ends it.
func MapAnonymous(size int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("mmap of %d bytes: %w", size, err)
	}
	return b, nil
}

// MapHuge maps size bytes of private, zeroed memory from the kernel's pool of hugepages of pageSize bytes, a power of
// two that divides size. The pool's pages are set aside but not yet resident. Unmap ends it.
func MapHuge(size, pageSize int) ([]byte, error) {
	// mmap(2), MAP_HUGE_2MB: the base-2 logarithm of the page size, in six bits from MAP_HUGE_SHIFT on.
	log := bits.TrailingZeros(uint(pageSize))
	flags := unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_HUGETLB | log<<unix.MAP_HUGE_SHIFT
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, fmt.Errorf("mmap of %d bytes of %d kB hugepages: %w", size, pageSize>>10, err)
	}
	return b, nil
}

// Unmap ends a mapping, all of which b must be.
func Unmap(b []byte) error {
	if err := unix.Munmap(b); err != nil {
		return fmt.Errorf("munmap of %d bytes: %w", len(b), err)
	}
	return nil
}

// AdviseHuge asks for transparent hugepages behind b, which starts on a page.
func AdviseHuge(b []byte) error {
	if err := unix.Madvise(b, unix.MADV_HUGEPAGE); err != nil {
		return fmt.Errorf("madvise(MADV_HUGEPAGE): %w", err)
	}
	return nil
}

// Populate makes all of b resident and writable now. Unlike touching the pages, which raises SIGBUS where the memory
// policy finds no page, it returns an error. Linux has it since 5.14; before, the error is EINVAL.
func Populate(b []byte) error {
	for {
		err := unix.Madvise(b, unix.MADV_POPULATE_WRITE)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if err != nil {
			return fmt.Errorf("madvise(MADV_POPULATE_WRITE): %w", err)
		}
		return nil
	}
}
