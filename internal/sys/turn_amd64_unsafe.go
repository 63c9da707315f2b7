package sys

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// turnSlot is what a goroutine that has a turn shares with the signal handlers on its thread, which write asked and held.
type turnSlot struct {
	g     uintptr // identifies the goroutine; 0: the slot is free
	held  uint64
	asked uint64
	_     [40]byte
}

// maxTurns is how many goroutines can have a turn: more than there are CPUs in a machine.
const maxTurns = 1024

// turnTable is shared with the signal handlers. It lies outside Go's heap, at a fixed address.
type turnTable struct {
	state atomic.Uint64 // 0 before the handlers are installed, 1 meanwhile, 2 afterwards
	used  atomic.Uint64 // slots from here on were never taken
	// The handlers that Go's runtime had installed, and the entry of runtime.procUnpin.
	preempt, bus, segv, unpin uintptr

	_     [16]byte
	slots [maxTurns]turnSlot
}

func theTurns() *turnTable
func currentG() uintptr
func handlers() (preempt, fault uintptr)

//go:linkname procPin runtime.procPin
func procPin() int

//go:linkname procUnpin runtime.procUnpin
func procUnpin()

// errNoTurns says that the runtime was told not to send what a Turn counts.
var errNoTurns = errors.New("GODEBUG has asyncpreemptoff=1, with which the scheduler cannot ask for a turn")

// takeSlot gives the calling goroutine, which must be locked to its thread, a slot.
func takeSlot() (*turnSlot, error) {
	if strings.Contains(os.Getenv("GODEBUG"), "asyncpreemptoff=1") {
		return nil, errNoTurns
	}
	t := theTurns()
	if err := t.install(); err != nil {
		return nil, err
	}
	for i := range t.slots {
		slot := &t.slots[i]
		if !atomic.CompareAndSwapUintptr(&slot.g, 0, currentG()) {
			continue
		}
		slot.held, slot.asked = 0, 0
		for used := t.used.Load(); used < uint64(i+1) && !t.used.CompareAndSwap(used, uint64(i+1)); {
			used = t.used.Load()
		}
		return slot, nil
	}
	return nil, fmt.Errorf("all of %d turns are taken", maxTurns)
}

// TurnsTaken is how many goroutines of the process have a turn.
func TurnsTaken() (n int) {
	t := theTurns()
	for i := range t.used.Load() {
		if atomic.LoadUintptr(&t.slots[i].g) != 0 {
			n++
		}
	}
	return n
}

func (s *turnSlot) drop() { atomic.StoreUintptr(&s.g, 0) }

// hold pins the goroutine to its thread and P, until release or a memory fault.
func (s *turnSlot) hold() {
	procPin()
	atomic.StoreUint64(&s.held, 1)
}

func (s *turnSlot) release() {
	atomic.StoreUint64(&s.held, 0)
	procUnpin()
}

// stepAside releases the turn, spends d in a system call that the scheduler knows of, and takes hold again. Nothing in between
// may be a point at which the goroutine yields, as the prologue of a function is: the request is still there when the system
// call ends.
//
//go:nosplit
func (s *turnSlot) stepAside(d time.Duration) {
	ts := unix.Timespec{Nsec: int64(d)}
	atomic.StoreUint64(&s.held, 0)
	procUnpin()
	// SAFETY: ts lives on this stack, which is not moved during a system call; the remaining time is not asked for.
	_, _, _ = syscall.Syscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
	procPin()
	atomic.StoreUint64(&s.held, 1)
}

// requests is how often the scheduler has asked for the turn.
func (s *turnSlot) requests() uint64 { return atomic.LoadUint64(&s.asked) }

// install puts our handlers before those of Go's runtime, once.
func (t *turnTable) install() error {
	for !t.state.CompareAndSwap(0, 1) {
		if t.state.Load() == 2 {
			return nil
		}
		Pause() // another thread is about it
	}
	f := procUnpin
	// SAFETY: a func value points to a word that holds the entry of its code.
	t.unpin = **(**uintptr)(unsafe.Pointer(&f))
	preempt, fault := handlers()
	for _, s := range []struct {
		signal  unix.Signal
		handler uintptr
		before  *uintptr
	}{{unix.SIGURG, preempt, &t.preempt}, {unix.SIGBUS, fault, &t.bus}, {unix.SIGSEGV, fault, &t.segv}} {
		if err := chainHandler(s.signal, s.handler, s.before); err != nil {
			t.state.Store(0)
			return err
		}
	}
	t.state.Store(2)
	return nil
}

// sigaction is what rt_sigaction(2) takes on amd64.
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

// chainHandler installs a handler with the flags, the mask and the restorer of the present one, which it stores before.
func chainHandler(signal unix.Signal, handler uintptr, before *uintptr) error {
	var a sigaction
	// SAFETY: the kernel fills and reads a, which lives on this stack during the calls.
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(signal), 0, uintptr(unsafe.Pointer(&a)),
		unsafe.Sizeof(a.mask), 0, 0)
	if errno == 0 && a.handler != handler {
		if a.handler <= 1 { // SIG_DFL, SIG_IGN
			return fmt.Errorf("signal %v has no handler of Go's runtime to go before", signal)
		}
		*before, a.handler = a.handler, handler
		_, _, errno = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(signal), uintptr(unsafe.Pointer(&a)), 0,
			unsafe.Sizeof(a.mask), 0, 0)
	}
	if errno != 0 {
		return fmt.Errorf("signal %v: %w", signal, os.NewSyscallError("rt_sigaction", errno))
	}
	return nil
}
