package pmd

import "unsafe"

// address is where b starts.
func address(b []byte) uintptr {
	// SAFETY: the number is only compared.
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}
