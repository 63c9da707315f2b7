package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"weft/benchmarks/rig"
	"weft/internal/sys"
)

// wakeLimit is how long a bare thread may take to wake.
const wakeLimit = time.Second

// sleeper is a thread that does nothing but sleep until an eventfd is signalled, in the system call in which Weft's PMD
// threads sleep: what the machine takes to wake it, no switch can do without.
type sleeper struct {
	fd     int
	epoch  time.Time
	rung   atomic.Int64  // when it was signalled last, in nanoseconds since epoch
	woken  atomic.Uint64 // how often it woke
	ending atomic.Bool
	delays histogram
}

// bareWakeups wakes a thread on the switch's CPU n times, so often a second, from the load's CPU, which never sleeps
// meanwhile, and returns how long each took.
func bareWakeups(ctx context.Context, o *options, n uint64, perSecond float64) (*histogram, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	defer unix.Close(fd)
	s := &sleeper{fd: fd, epoch: time.Now()}
	slept := make(chan error, 1)
	go func() { slept <- rig.OnCPU(o.SwitchCPU, s.sleep) }()
	// Not on this goroutine, whose thread is to keep its affinity.
	rang := make(chan error, 1)
	go func() { rang <- rig.OnCPU(o.LoadCPU, func() error { return s.ring(ctx, n, perSecond) }) }()
	err = <-rang
	s.ending.Store(true)
	sys.KickEvent(fd)
	return &s.delays, errors.Join(err, <-slept)
}

// sleep notes when it wakes, until it is told to end.
func (s *sleeper) sleep() error {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	var count [8]byte
	for {
		sys.WaitAny(fds, int64(wakeLimit))
		now := time.Since(s.epoch)
		_, err := unix.Read(s.fd, count[:])
		switch {
		case s.ending.Load():
			return nil
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			continue // a signal of Go's, or the end of the time
		case err != nil:
			return fmt.Errorf("eventfd: %w", err)
		}
		s.delays.add(uint64(int64(now) - s.rung.Load()))
		s.woken.Add(1)
	}
}

// ring wakes the sleeper by the clock, and never before it has gone back to sleep from the last time.
func (s *sleeper) ring(ctx context.Context, n uint64, perSecond float64) error {
	begun := time.Since(s.epoch)
	for i := range n {
		due := begun + time.Duration(float64(i+1)/perSecond*float64(time.Second))
		for time.Since(s.epoch) < due {
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		now := time.Since(s.epoch)
		s.rung.Store(int64(now))
		sys.KickEvent(s.fd)
		for s.woken.Load() <= i {
			if time.Since(s.epoch)-now > wakeLimit {
				return fmt.Errorf("a bare thread did not wake within %v: is its CPU taken?", wakeLimit)
			}
		}
	}
	return nil
}
