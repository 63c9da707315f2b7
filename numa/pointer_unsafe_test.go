package numa

import "unsafe"

// pointer is b's first byte as NodeOfMemory wants it.
func pointer(b []byte) unsafe.Pointer {
	// SAFETY: the tests only ask the kernel about the address.
	return unsafe.Pointer(unsafe.SliceData(b))
}
