package sys

import (
	"fmt"
	"os"
	"strings"
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Notifier signals event descriptors that belong to others.
//
// Whoever shares an eventfd shares its status flags and its counter: a peer can clear O_NONBLOCK, fill the counter, and so
// put a writer to sleep for as long as it likes. There is no non-blocking write to an eventfd that does not rely on those
// flags. But completions of Linux's native AIO signal an eventfd from inside the kernel, which never blocks (a full counter
// stays full). So a signal here is the submission of an empty read of /dev/null, done before the call returns, whose
// completion is announced on the peer's eventfd.
//
// Concurrency: all methods but Close may be called by any thread. None blocks or tells Go's scheduler.
type Notifier struct {
	null int
	ctx  uintptr // aio_context_t
}

// pendingCompletions is how many signals may be submitted before their completions are thrown away together.
const pendingCompletions = 64

// iocb is struct iocb of linux/aio_abi.h.
type iocb struct {
	_         structs.HostLayout
	data      uint64
	key       uint32
	rwFlags   uint32
	opcode    uint16
	priority  int16
	fd        uint32
	buf       uint64
	bytes     uint64
	offset    int64
	reserved  uint64
	flags     uint32
	resultFD  uint32
	submitted [1]*iocb // what io_submit takes: this very request
}

const (
	iocbPread      = 0 // IOCB_CMD_PREAD
	iocbFlagResult = 1 // IOCB_FLAG_RESFD
)

// NewNotifier makes one. It takes 64 of the kernel's fs.aio-max-nr. Close it.
func NewNotifier() (*Notifier, error) {
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open /dev/null", err)
	}
	n := &Notifier{null: null}
	// SAFETY: the kernel writes one word to &n.ctx during the call.
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, pendingCompletions, uintptr(unsafe.Pointer(&n.ctx)), 0); errno != 0 {
		unix.Close(null)
		return nil, fmt.Errorf("io_setup: %w (is fs.aio-max-nr used up?)", errno)
	}
	return n, nil
}

// Close frees the notifier. Nobody may signal through it any more.
func (n *Notifier) Close() error {
	_, _, errno := unix.Syscall(unix.SYS_IO_DESTROY, n.ctx, 0, 0)
	err := unix.Close(n.null)
	if errno != 0 {
		return os.NewSyscallError("io_destroy", errno)
	}
	return err
}

// Event is somebody's event descriptor, ready to be signalled.
type Event struct {
	n   *Notifier
	req iocb // the kernel reads it at each submission and writes its key, always the same
}

// Event makes fd, an eventfd, ready to be signalled. The caller keeps fd open as long as the Event is used.
func (n *Notifier) Event(fd int) *Event {
	e := &Event{n: n, req: iocb{
		opcode: iocbPread, fd: uint32(n.null), flags: iocbFlagResult, resultFD: uint32(fd),
	}}
	e.req.submitted[0] = &e.req
	return e
}

// Signal adds one to the descriptor's counter. Errors are ignored: a peer that is gone will be noticed by its session.
func (e *Event) Signal() {
	for range 2 {
		// SAFETY: e is on the heap, as req points to itself, so the kernel finds req where submitted says.
		_, _, errno := unix.RawSyscall(unix.SYS_IO_SUBMIT, e.n.ctx, 1, uintptr(unsafe.Pointer(&e.req.submitted)))
		if errno != unix.EAGAIN {
			return
		}
		e.n.reap()
	}
}

// reap throws completions away to make room for more.
func (n *Notifier) reap() {
	var events [pendingCompletions][32]byte // struct io_event
	var now unix.Timespec
	// SAFETY: the kernel writes at most as many events as there is room for, during the call.
	unix.RawSyscall6(unix.SYS_IO_GETEVENTS, n.ctx, 0, pendingCompletions, uintptr(unsafe.Pointer(&events)),
		uintptr(unsafe.Pointer(&now)), 0)
}

// CheckEvent makes sure that fd, which a peer sent, is an eventfd.
func CheckEvent(fd int) error {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return err
	}
	if !strings.HasPrefix(name, "anon_inode:[eventfd") {
		return fmt.Errorf("the descriptor is %s, not an eventfd", name)
	}
	return nil
}
