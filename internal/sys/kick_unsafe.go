package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// KickEvent adds one to an eventfd by a raw system call, of which Go's scheduler learns nothing, so that a PMD thread
// keeps its processor. Errors are ignored: a peer that is gone will be noticed by its session.
func KickEvent(fd int) {
	one := uint64(1)
	// SAFETY: the kernel reads 8 bytes at &one during the call; the conversion is in the call's argument list.
	unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one)), 8)
}
