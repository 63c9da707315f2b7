package pmd

import (
	"errors"
	"fmt"
	"time"

	"weft/internal/packet"
)

// ErrStopped is what a stopped Manager answers.
var ErrStopped = errors.New("pmd: the PMD threads have been stopped")

// Queue is one receive queue to poll. A queue is known by its port's name and its index.
type Queue struct {
	// Port is what the loop writes to Batch.InPort.
	Port     uint32
	PortName string
	Index    int
	Rx       RxQueue
	// Node is the NUMA node of the memory that the queue's packets lie in, -1 when unknown.
	Node int
	// Pin is the CPU whose PMD thread is to poll the queue, -1 when any may.
	Pin int
}

// name is how messages call the queue.
func (q *Queue) name() string { return fmt.Sprintf("%s/%d", q.PortName, q.Index) }

// IdleMode says what a PMD thread does that finds nothing to do.
type IdleMode string

const (
	// IdlePoll polls on, with the CPU at 100 %.
	IdlePoll IdleMode = "poll"
	// IdleSleep sleeps, longer the longer nothing arrives, at most IdleConfig.MaxSleep at a time. A thread whose queues all
	// are Wakers then sleeps until one of them wakes it.
	IdleSleep IdleMode = "sleep"
)

const (
	// DefaultMaxSleep is the longest sleep when the configuration names none. A queue of 256 descriptors fills in this
	// time at 2.5 million packets a second, so that sleeping alone does not make a guest's smallest usual ring
	// overflow.
	DefaultMaxSleep = 100 * time.Microsecond

	// MinMaxSleep and MaxMaxSleep bound IdleConfig.MaxSleep: below one microsecond a sleep costs more than it lasts,
	// and Synchronize, thus every removal of a port, waits for the sleep to end.
	MinMaxSleep = time.Microsecond
	MaxMaxSleep = 10 * time.Millisecond
)

// IdleConfig is the idle back-off.
type IdleConfig struct {
	// Mode is IdlePoll when empty.
	Mode IdleMode
	// MaxSleep bounds one sleep from which no queue wakes the thread, thus the delay that sleeping adds to a packet (and
	// the kernel's wake-up latency; timer slack is set to 1 ns). 0 means DefaultMaxSleep. It has no meaning in mode IdlePoll.
	MaxSleep time.Duration
}

// withDefaults checks c and fills in what is left out.
func (c IdleConfig) withDefaults() (IdleConfig, error) {
	if c.Mode == "" {
		c.Mode = IdlePoll
	}
	if c.Mode != IdlePoll && c.Mode != IdleSleep {
		return c, fmt.Errorf("pmd: idle mode %q: use %q or %q", c.Mode, IdlePoll, IdleSleep)
	}
	if c.MaxSleep == 0 {
		c.MaxSleep = DefaultMaxSleep
	}
	if c.MaxSleep < MinMaxSleep || c.MaxSleep > MaxMaxSleep {
		return c, fmt.Errorf("pmd: longest sleep %v: use a time from %v to %v", c.MaxSleep, MinMaxSleep, MaxMaxSleep)
	}
	return c, nil
}

// Config is what an operator decides about PMD threads.
type Config struct {
	// CPUs are the CPUs that get a PMD thread each. When empty they are chosen by numa.Topology.DefaultCPUs.
	CPUs []int
	Idle IdleConfig
	// Exclusive keeps others off the PMD threads' CPUs while a CPU remains for them: the other threads of the process by
	// their affinity, and what else may run there by the PMD threads' priority, if the process may raise it.
	Exclusive bool
	// OnFault is told of memory faults (see Fault), on the PMD thread that had one, before its next quiescent point: who
	// had mapped the address then has it mapped still. OnFault makes that port let go of the memory, so that the fault
	// does not happen again, and reports whether there is such a port. It must not block nor call the Manager, and may be
	// called by several PMD threads at a time. Polling goes on when it returns. A queue that keeps causing faults which
	// nobody owns rests between them.
	OnFault func(Fault) (owned bool)
}

// Stage is where in the loop a fault happened.
type Stage uint8

// The stages of one poll.
const (
	StageReceive Stage = iota
	StageProcess
	StageRelease
)

// String names the stage as messages show it.
func (s Stage) String() string {
	switch s {
	case StageReceive:
		return "receive"
	case StageProcess:
		return "process"
	case StageRelease:
		return "release"
	}
	return "unknown"
}

// Fault is an access to memory that is mapped but gone (SIGBUS after the file behind it was truncated) or unmapped
// (SIGSEGV) on a PMD thread.
type Fault struct {
	// Addr is the address that faulted. Whose mapping it lies in tells which port is at fault.
	Addr uintptr
	// Port and Queue were being polled. When Stage is StageProcess, they need have nothing to do with the fault.
	Port  string
	Queue int
	Stage Stage
	// CPU of the PMD thread.
	CPU int
	// Err is the runtime's error.
	Err error
}

// Aborter is implemented by processors that must tidy up after a memory fault made Process end in the middle: unlock,
// and send what does not go where the fault was. Abort is called on the PMD thread, after OnFault and before the batch,
// which is Process's, is released. When a fault ends Abort, too, it is called again with a nil batch, to forget the
// rest.
type Aborter interface {
	Abort(b *packet.Batch)
}
