package sys

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Wakeup lets one goroutine sleep until another thread wakes it. Waking is one system call that never blocks and does
// not tell Go's scheduler, so that a PMD thread may do it.
type Wakeup struct {
	fd int
	f  *os.File
}

// NewWakeup makes one. Close it.
func NewWakeup() (*Wakeup, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &Wakeup{fd: fd, f: os.NewFile(uintptr(fd), "eventfd")}, nil
}

// Wait sleeps until Wake is called, or was since the last Wait, or until timeout has passed when that is not 0. It
// returns os.ErrClosed after Close.
func (w *Wakeup) Wait(timeout time.Duration) error {
	var deadline time.Time
	if timeout != 0 {
		deadline = time.Now().Add(timeout)
	}
	if err := w.f.SetReadDeadline(deadline); err != nil {
		return os.ErrClosed
	}
	var count [8]byte
	_, err := w.f.Read(count[:])
	if os.IsTimeout(err) {
		return nil
	}
	return err
}

// Wake ends the current or the next Wait.
func (w *Wakeup) Wake() { KickEvent(w.fd) }

// Close ends a Wait. Nobody may call Wake afterwards.
func (w *Wakeup) Close() error { return w.f.Close() }
