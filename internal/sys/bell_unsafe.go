package sys

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bell lets a polling thread sleep until a peer signals one of its descriptors. Those belong to the peer as well, who may
// read them or not: nothing is ever read from them, since a Bell is edge-triggered (epoll(7), EPOLLET).
type Bell struct {
	fd      int
	watched atomic.Int32
}

// NewBell makes one. Close it.
func NewBell() (*Bell, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &Bell{fd: fd}, nil
}

// Watch makes signals on fd ring the bell, until Forget, which is to come before fd is closed. It fails for what cannot be
// waited for, as ordinary files.
func (b *Bell) Watch(fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | uint32(unix.EPOLLET&(1<<32-1)), Fd: int32(fd)}
	if err := unix.EpollCtl(b.fd, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	b.watched.Add(1)
	return nil
}

// Forget undoes Watch. A descriptor that is not watched does no harm.
func (b *Bell) Forget(fd int) error {
	err := unix.EpollCtl(b.fd, unix.EPOLL_CTL_DEL, fd, nil)
	switch {
	case err == nil:
		b.watched.Add(-1)
	case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBADF):
		return fmt.Errorf("forget descriptor %d: %w", fd, os.NewSyscallError("epoll_ctl", err))
	}
	return nil
}

// CanRing reports whether a descriptor is watched.
func (b *Bell) CanRing() bool { return b.watched.Load() > 0 }

// FD is readable when the bell has rung since Clear.
func (b *Bell) FD() int { return b.fd }

// Clear forgets that the bell has rung. It never blocks.
func (b *Bell) Clear() {
	var events [4]unix.EpollEvent
	// SAFETY: the kernel writes at most len(events) events during the call.
	_, _, _ = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(b.fd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)),
		0, 0, 0)
}

// Close ends it. Nobody may be waiting.
func (b *Bell) Close() error { return unix.Close(b.fd) }

// WaitAny is Nap that ends early when one of fds is readable. It says nothing when it was a signal that ended it.
func WaitAny(fds []unix.PollFd, ns int64) {
	ts := unix.Timespec{Sec: ns / 1e9, Nsec: ns % 1e9}
	// SAFETY: fds and ts stay where they are during the call: fds is a slice of the caller's, ts on this stack.
	_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(fds))), uintptr(len(fds)),
		uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
}
