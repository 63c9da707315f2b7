package i40esim

import (
	"slices"
	"sync"
	"time"
)

// Clock is the model's time: interrupt throttling, delayed queue status, resets and link changes run on it.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f once after d, on another goroutine or in Advance, and returns what stops it.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a call that has not happened yet.
type Timer interface {
	// Stop prevents the call; it reports false when the call has happened or is happening.
	Stop() bool
}

// SystemClock is the machine's time.
type SystemClock struct{}

// Now returns the time.
func (SystemClock) Now() time.Time { return time.Now() }

// AfterFunc is time.AfterFunc.
func (SystemClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// ManualClock stands still until Advance. It makes tests deterministic.
//
// Concurrency: any goroutine may call its methods; calls that are due run in Advance.
type ManualClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*manualTimer // by time, then by age
}

type manualTimer struct {
	clock *ManualClock
	at    time.Time
	f     func()
}

// NewManualClock returns a clock that says start.
func NewManualClock(start time.Time) *ManualClock { return &ManualClock{now: start} }

// Now returns the time that the clock stands at.
func (c *ManualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc puts f off until the clock has advanced by d.
func (c *ManualClock) AfterFunc(d time.Duration, f func()) Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &manualTimer{c, c.now.Add(d), f}
	at, _ := slices.BinarySearchFunc(c.timers, t, func(a, b *manualTimer) int {
		if a.at.After(b.at) {
			return 1
		}
		return -1
	})
	c.timers = slices.Insert(c.timers, at, t)
	return t
}

// Advance moves the clock by d and makes the calls that fall due, each at its time.
func (c *ManualClock) Advance(d time.Duration) {
	c.mu.Lock()
	end := c.now.Add(d)
	for len(c.timers) > 0 && !c.timers[0].at.After(end) {
		t := c.timers[0]
		c.timers = c.timers[1:]
		c.now = t.at
		c.mu.Unlock()
		t.f()
		c.mu.Lock()
	}
	c.now = end
	c.mu.Unlock()
}

func (t *manualTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	i := slices.Index(t.clock.timers, t)
	if i < 0 {
		return false
	}
	t.clock.timers = slices.Delete(t.clock.timers, i, i+1)
	return true
}
