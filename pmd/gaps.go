package pmd

import (
	"sync/atomic"
	"time"
)

// A gap is one iteration of the loop, from where it begins to where the next one does, naps left out: for so long no
// queue of the thread was polled once more. It is long when a batch was, when the kernel gave the CPU to something
// else, or when Go's runtime stopped the thread. A ring of 256 descriptors holds 256 microseconds at a million packets
// a second.

// gapThresholds are what gaps are counted against, ascending, in steps of 1, 2, 5: from what a burst's worth of work
// never takes to what only a stopped thread shows.
var gapThresholds = [...]time.Duration{
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	1 * time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 1 * time.Second,
}

// LoopGap is how many gaps of a thread's loop were longer than a threshold.
type LoopGap struct {
	// Over is the threshold in microseconds.
	Over  int64  `json:"over_us"`
	Count uint64 `json:"count"`
}

// gapLimits are gapThresholds in cycles.
type gapLimits [len(gapThresholds)]uint64

// limitsAt are the thresholds at a TSC frequency.
func limitsAt(hz uint64) (l gapLimits) {
	for i, t := range gapThresholds {
		l[i] = uint64(t.Seconds() * float64(hz))
	}
	return l
}

// gapCounters are written by the thread alone, at long gaps only.
type gapCounters struct {
	over    [len(gapThresholds)]uint64
	longest uint64 // cycles
}

// noteGap counts a gap that is longer than the least threshold.
func (t *thread) noteGap(cycles uint64) {
	c := &t.gaps
	for i := range t.gapLimits {
		if cycles <= t.gapLimits[i] {
			break
		}
		store(&c.over[i], c.over[i]+1)
	}
	if cycles > c.longest {
		store(&c.longest, cycles)
	}
}

// list is the counts in the order of gapThresholds.
func (c *gapCounters) list() []LoopGap {
	out := make([]LoopGap, len(gapThresholds))
	for i, t := range gapThresholds {
		out[i] = LoopGap{t.Microseconds(), atomic.LoadUint64(&c.over[i])}
	}
	return out
}
