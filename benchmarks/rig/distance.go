package rig

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/sys"
)

const (
	trips     = 1000
	tripLimit = 100 * time.Millisecond // for all of them
	// arrivalNap is how long a player sleeps at a time while the other one has not come, in nanoseconds: what that one waits for,
	// as a lock of the scheduler's, may be held by a thread that has to run here.
	arrivalNap = 20_000
	// Above what is measured, so that both ends run when they have to (sched(7)). It takes a millisecond at most.
	proberPolicy, proberPriority = unix.SCHED_FIFO, 1
)

// Prober measures how far apart two CPUs are: how long a cache line takes from one to the other and back.
//
// On a virtual machine that tells where the hypervisor has put the CPUs at the moment: two threads of a core are some 80 ns
// apart, two cores some 350, and what passes packets between them is twice as fast at one time as at another.
//
// Each end is a thread that sleeps in a system call until it is wanted: it must need no other thread of this process to
// come to run, since the other end may be in its way.
type Prober struct {
	ends    [2]proberEnd
	running sync.WaitGroup
	game    atomic.Pointer[ball]
	closing atomic.Bool
}

// proberEnd is a thread on one CPU.
type proberEnd struct {
	cpu  int
	wake int // eventfd
	done chan error
}

// NewProber makes a Prober, which is to be closed. It needs root, or CAP_SYS_NICE.
func NewProber(a, b int) (*Prober, error) {
	runtime.GOMAXPROCS(runtime.NumCPU() + 2) // so that a thread whose system call ends never waits to be let on
	p := new(Prober)
	var errs []error
	for i, cpu := range []int{a, b} {
		e := &p.ends[i]
		e.cpu, e.done = cpu, make(chan error)
		var err error
		if e.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
			return nil, errors.Join(fmt.Errorf("eventfd: %w", err), p.Close())
		}
		p.running.Go(func() { p.run(i) })
		if err := <-e.done; err != nil {
			errs = append(errs, fmt.Errorf("thread on CPU %d: %w", cpu, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(append(errs, p.Close())...)
	}
	return p, nil
}

// Close ends the threads.
func (p *Prober) Close() error {
	p.closing.Store(true)
	var errs []error
	for i := range p.ends {
		if p.ends[i].done != nil {
			errs = append(errs, p.ends[i].signal())
		}
	}
	p.running.Wait()
	for i := range p.ends {
		if p.ends[i].done != nil {
			errs = append(errs, unix.Close(p.ends[i].wake))
		}
	}
	return errors.Join(errs...)
}

// TryProber makes a Prober, or says why the distance is not known, and returns nil.
func TryProber(first, second int) *Prober {
	p, err := NewProber(first, second)
	if err != nil {
		fmt.Fprintln(os.Stderr, "the CPUs' distance is not known, so all figures count as of one phase:", err)
		return nil
	}
	return p
}

// Known is the distance, 0 when that is not known, as without a Prober.
func (p *Prober) Known() float64 {
	if p == nil {
		return 0
	}
	d, err := p.Distance()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 0
	}
	return d
}

// Distance is the time of a round trip in nanoseconds.
//
// No garbage is collected meanwhile. Who wants to stop the world may have no CPU, as the ends go before everything: one end,
// already stopped, would keep the other one waiting.
func (p *Prober) Distance() (float64, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // waits for a collection that runs
	game := new(ball)
	p.game.Store(game)
	// The first end wakes the second: this thread may have to stop when the first begins to run.
	if err := p.ends[0].signal(); err != nil {
		return 0, err
	}
	if err := errors.Join(<-p.ends[0].done, <-p.ends[1].done); err != nil {
		return 0, fmt.Errorf("distance of CPUs %d and %d: %w", p.ends[0].cpu, p.ends[1].cpu, err)
	}
	return float64(game.took.Nanoseconds()) / trips, nil
}

func (e *proberEnd) signal() error {
	_, err := unix.Write(e.wake, binary.NativeEndian.AppendUint64(nil, 1))
	return err
}

// run is one end's thread. It is left as it was found, and does not end: children that it started may be set to die with
// it (PR_SET_PDEATHSIG).
func (p *Prober) run(i int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	e := &p.ends[i]
	cpus, err := sys.Affinity(0)
	if err == nil {
		err = sys.SetAffinity(0, []int{e.cpu})
	}
	if err == nil {
		err = setPolicy(proberPolicy, proberPriority)
	}
	e.done <- err
	defer func() {
		_ = setPolicy(unix.SCHED_NORMAL, 0)
		_ = sys.SetAffinity(0, cpus)
	}()
	for {
		var count [8]byte
		_, err := unix.Read(e.wake, count[:])
		switch {
		case p.closing.Load():
			return
		case errors.Is(err, unix.EINTR):
			continue
		case err == nil && i == 0:
			err = p.ends[1].signal()
		}
		if err == nil {
			err = p.game.Load().play(uint64(i))
		}
		e.done <- err
	}
}

// OnCPU runs f on a thread that stays on one CPU meanwhile. The thread outlives it, for the same reason as a Prober's.
func OnCPU(cpu int, f func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cpus, err := sys.Affinity(0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sys.SetAffinity(0, cpus)) }()
	if err := sys.SetAffinity(0, []int{cpu}); err != nil {
		return err
	}
	return f()
}

// setPolicy sets the calling thread's scheduling policy.
func setPolicy(policy, priority uint32) error {
	return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy, Priority: priority}, 0)
}

// ball is a counter in a cache line of its own, which two players raise in turn.
type ball struct {
	_    [64]byte
	n    atomic.Uint64
	here [2]atomic.Bool // the players that have come
	set  [2]atomic.Bool // those that know that the other one has
	_    [64]byte
	took time.Duration // of the trips, by the first player's clock
}

// play raises the counter whenever its value modulo 2 is mine, trips times.
func (b *ball) play(mine uint64) error {
	end := time.Now().Add(tripLimit)
	b.here[mine].Store(true)
	for !b.here[1-mine].Load() {
		if time.Now().After(end) {
			return errors.New("the other CPU does not come to run")
		}
		sys.Nap(arrivalNap)
	}
	b.set[mine].Store(true)
	for !b.set[1-mine].Load() {
		if time.Now().After(end) {
			return errors.New("the other CPU does not begin")
		}
	}
	begun := time.Now()
	for i := range uint64(trips) {
		for spins := 0; b.n.Load() != 2*i+mine; spins++ {
			if spins%1024 == 1023 && time.Now().After(end) {
				return errors.New("the other CPU does not answer")
			}
		}
		b.n.Store(2*i + mine + 1)
	}
	if mine == 0 {
		b.took = time.Since(begun)
	}
	return nil
}
