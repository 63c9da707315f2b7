package numa

import (
	"fmt"
	"unsafe"

	"weft/internal/sys"
)

// NodeOfMemory is the NUMA node that the page at p lies on. A page that nobody has touched is placed first. Where the
// kernel does not say (no mapping at p, a container's system call filter), it returns -1 and an error.
func NodeOfMemory(p unsafe.Pointer) (int, error) {
	node, err := sys.NodeOf(p)
	if err != nil {
		return -1, fmt.Errorf("numa: node of memory: %w", err)
	}
	return node, nil
}

// placed is the node of the arena's first page, -1 when unknown.
func (a *Arena) placed() int {
	// SAFETY: the address is only asked about; a.mem is mapped.
	node, err := NodeOfMemory(unsafe.Pointer(unsafe.SliceData(a.mem)))
	if err != nil {
		return -1
	}
	return node
}

// padding is how many bytes of b come before the first that is aligned to align, a power of two.
func padding(b []byte, align int) int {
	// SAFETY: the address is computed with, never turned back into a pointer.
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	return int(-at & uintptr(align-1))
}
