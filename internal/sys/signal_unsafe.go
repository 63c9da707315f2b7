package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// SignalEvent adds one to an eventfd's counter without telling the scheduler: the write does not block (the counter
// would have to reach 2^64-2 first), so a PMD thread keeps its place. Errors are ignored: a peer that closed its end is
// gone, and its session will say so.
func SignalEvent(fd int) {
	one := uint64(1)
	// SAFETY: the kernel reads 8 bytes at &one during the call; the conversion is in the call's argument list.
	unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one)), 8)
}
