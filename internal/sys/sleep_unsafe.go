package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Nap puts the calling thread to sleep for ns nanoseconds, or until a signal comes, without telling Go's scheduler: the
// thread keeps its P, so that waking up costs what the kernel takes and no wait for a P. The scheduler's own preemption
// is a signal, so that a stop-the-world does not wait for the nap's end. For threads that do nothing else than poll.
func Nap(ns int64) {
	ts := unix.Timespec{Sec: ns / 1e9, Nsec: ns % 1e9}
	// SAFETY: ts lives on this stack during the call; the remaining time is not asked for.
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}
