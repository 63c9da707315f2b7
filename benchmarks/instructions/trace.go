package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"weft/internal/sys"
)

// tracer steps one thread of another process and holds all others still meanwhile, so that neither Go's runtime nor the
// control side can disturb it. All its methods are called on one OS thread, as ptrace(2) wants.
type tracer struct {
	pid, tid int
	others   []int // seized
	cpus     []int // that the tracing thread was allowed before
}

const (
	breakpoint = 0xcc // INT3

	// stackGuard is where g keeps what a function's prologue compares the stack pointer with, and stackPreempt what the
	// runtime writes there to make a goroutine call its scheduler (runtime/stack.go). g is in R14 (abi-internal.md).
	stackGuard   = 16
	stackPreempt = 0xfffffffffffffade

	// stepLimit ends what never comes back.
	stepLimit = 20_000_000
)

// trace begins to trace thread tid of pid, which stops. The caller moves to that thread's CPU: only one of the two runs at a
// time, and to wake the other costs less there.
func trace(pid, tid int) (*tracer, error) {
	t := &tracer{pid: pid, tid: tid}
	if err := unix.PtraceSeize(tid); err != nil {
		return nil, fmt.Errorf("ptrace thread %d: %w", tid, err)
	}
	if err := t.stop(tid); err != nil {
		return t, err
	}
	var err error
	if t.cpus, err = sys.Affinity(0); err != nil {
		return t, err
	}
	theirs, err := sys.Affinity(tid)
	if err == nil {
		err = sys.SetAffinity(0, theirs)
	}
	return t, err
}

// stop stops a seized thread.
func (t *tracer) stop(tid int) error {
	if err := unix.PtraceInterrupt(tid); err != nil {
		return fmt.Errorf("interrupt thread %d: %w", tid, err)
	}
	_, err := wait(tid)
	return err
}

// wait waits for a thread to stop and returns the signal that stopped it.
func wait(tid int) (unix.Signal, error) {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(tid, &status, unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("wait for thread %d: %w", tid, err)
		}
		if !status.Stopped() {
			return 0, fmt.Errorf("thread %d ended (status %#x) while it was traced", tid, int(status))
		}
		return status.StopSignal(), nil
	}
}

// freeze stops all threads of the process but the one that is stepped, which has stopped already.
func (t *tracer) freeze() error {
	for _, tid := range t.others {
		if err := t.stop(tid); err != nil {
			return err
		}
	}
	known := map[int]bool{t.tid: true}
	for _, tid := range t.others {
		known[tid] = true
	}
	// Threads that run still may start others: look until there is no new one.
	for found := true; found; {
		found = false
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", t.pid))
		if err != nil {
			return err
		}
		for _, e := range entries {
			tid, err := strconv.Atoi(e.Name())
			if err != nil || known[tid] {
				continue
			}
			known[tid], found = true, true
			if err := unix.PtraceSeize(tid); errors.Is(err, unix.ESRCH) {
				continue // ended meanwhile
			} else if err != nil {
				return fmt.Errorf("ptrace thread %d: %w", tid, err)
			}
			t.others = append(t.others, tid)
			if err := t.stop(tid); err != nil {
				return err
			}
		}
	}
	return nil
}

// thaw lets the other threads go on.
func (t *tracer) thaw() error {
	for _, tid := range t.others {
		if err := unix.PtraceCont(tid, 0); err != nil {
			return fmt.Errorf("continue thread %d: %w", tid, err)
		}
	}
	return nil
}

// end takes notice of the end of all threads but the process's first, without which that would not end. The process has
// been killed.
func (t *tracer) end() error {
	for _, tid := range append(t.others, t.tid) {
		for ended := tid == t.pid; !ended; {
			var status unix.WaitStatus
			_, err := unix.Wait4(tid, &status, unix.WALL, nil)
			ended = err != unix.EINTR && (err != nil || !status.Stopped())
		}
	}
	if t.cpus == nil {
		return nil
	}
	return sys.SetAffinity(0, t.cpus)
}

func (t *tracer) registers() (r unix.PtraceRegs, err error) {
	if err = unix.PtraceGetRegs(t.tid, &r); err != nil {
		err = fmt.Errorf("read registers: %w", err)
	}
	return r, err
}

func (t *tracer) word(addr uint64) (uint64, error) {
	var b [8]byte
	if _, err := unix.PtracePeekData(t.tid, uintptr(addr), b[:]); err != nil {
		return 0, fmt.Errorf("read memory at %#x: %w", addr, err)
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// runTo lets the thread run until it is about to execute the instruction at addr.
func (t *tracer) runTo(addr uint64) error {
	at := uintptr(addr)
	var had [1]byte
	if _, err := unix.PtracePeekText(t.tid, at, had[:]); err != nil {
		return fmt.Errorf("read code at %#x: %w", addr, err)
	}
	if _, err := unix.PtracePokeText(t.tid, at, []byte{breakpoint}); err != nil {
		return fmt.Errorf("set a breakpoint at %#x: %w", addr, err)
	}
	if err := unix.PtraceCont(t.tid, 0); err != nil {
		return fmt.Errorf("continue: %w", err)
	}
	if err := t.trapped(); err != nil {
		return err
	}
	r, err := t.registers()
	if err != nil {
		return err
	}
	if r.Rip != addr+1 {
		return fmt.Errorf("stopped at %#x on the way to %#x", r.Rip, addr)
	}
	r.Rip = addr
	if err := unix.PtraceSetRegs(t.tid, &r); err != nil {
		return fmt.Errorf("write registers: %w", err)
	}
	if _, err := unix.PtracePokeText(t.tid, at, had[:]); err != nil {
		return fmt.Errorf("clear a breakpoint at %#x: %w", addr, err)
	}
	return nil
}

// trapped waits for a breakpoint or the end of a step.
func (t *tracer) trapped() error {
	sig, err := wait(t.tid)
	if err == nil && sig != unix.SIGTRAP {
		err = fmt.Errorf("thread %d: signal %v while it was stepped", t.tid, sig)
	}
	return err
}

// passCall is called at the entry of a function, and lets the thread run to where that returns to.
func (t *tracer) passCall() error {
	r, err := t.registers()
	if err != nil {
		return err
	}
	back, err := t.word(r.Rsp)
	if err != nil {
		return err
	}
	return t.runTo(back)
}

// freezeAt stops the process when the thread enters the function at addr and owes Go's scheduler nothing: without the
// other threads the scheduler would never return.
func (t *tracer) freezeAt(addr uint64) error {
	const tries = 100
	for range tries {
		if err := t.runTo(addr); err != nil {
			return err
		}
		if err := t.freeze(); err != nil {
			return err
		}
		r, err := t.registers()
		if err != nil {
			return err
		}
		guard, err := t.word(r.R14 + stackGuard)
		if err != nil || guard != stackPreempt {
			return err
		}
		if err := t.thaw(); err != nil {
			return err
		}
		if err := t.passCall(); err != nil {
			return err
		}
	}
	return fmt.Errorf("the goroutine was to be preempted %d times in a row: is the machine overloaded? try again", tries)
}

// step executes instructions from the end of a call of lap to the next, which the thread enters now, and calls of turn
// not at all. It counts them by address.
func (t *tracer) step(lap, turn uint64) (map[uint64]uint64, error) {
	if err := t.passCall(); err != nil {
		return nil, err
	}
	counts := make(map[uint64]uint64)
	for range stepLimit {
		r, err := t.registers()
		if err != nil {
			return nil, err
		}
		switch r.Rip {
		case lap:
			return counts, nil
		case turn:
			if err := t.passCall(); err != nil {
				return nil, err
			}
			continue
		}
		counts[r.Rip]++
		if err := unix.PtraceSingleStep(t.tid); err != nil {
			return nil, fmt.Errorf("step: %w", err)
		}
		if err := t.trapped(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("a lap did not end within %d instructions", stepLimit)
}
