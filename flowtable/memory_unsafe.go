package flowtable

import "unsafe"

// carver cuts typed, pointer-free arrays out of one piece of memory.
type carver struct {
	mem []byte
}

// carve returns the next n elements, aligned to a cache line. T must have no pointers: the collector does not look
// here.
func carve[T uint32 | uint64 | pathHeader | program | credit | Op](c *carver, n int) []T {
	size := carvedSize[T](n)
	b := c.mem[:size:size]
	c.mem = c.mem[size:]
	// SAFETY: b has at least n*sizeof(T) bytes, starts at a multiple of 64 of memory that is so aligned, lives as long as
	// the slice made of it, and T is pointer-free.
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

// carvedSize is how many bytes carve takes for n elements.
func carvedSize[T any](n int) int {
	var t T
	return (n*int(unsafe.Sizeof(t)) + lineSize - 1) &^ (lineSize - 1)
}

// aligned returns b from its first multiple of a cache line on.
func aligned(b []byte) []byte {
	// SAFETY: only the address's low bits are looked at.
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (lineSize - 1)
	return b[skip:]
}

// addressOf is the address of p for prefetching: it keeps nothing alive and is never followed.
func addressOf[T any](p *T) uintptr {
	// SAFETY: the result is only handed to prefetch, which cannot fault.
	return uintptr(unsafe.Pointer(p))
}
