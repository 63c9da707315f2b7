package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"weft/switch"
)

const (
	healthInterval = time.Second
	// stallLimit is how many intervals a PMD thread may stand still: the host may be short of CPU for a while.
	stallLimit = 3
)

// health follows whether the PMD threads move.
type health struct {
	threads func() []vswitch.PMDInfo
	loops   map[int]uint64 // by CPU, at the last look
	still   map[int]int    // for how many looks it has been the same
	stalled atomic.Int64   // a CPU whose thread stands still, -1 none
}

func newHealth(threads func() []vswitch.PMDInfo) *health {
	h := &health{threads: threads, loops: map[int]uint64{}, still: map[int]int{}}
	h.stalled.Store(-1)
	return h
}

// watch looks at the threads until ctx ends.
func (h *health) watch(ctx context.Context) {
	t := time.NewTicker(healthInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			h.look()
		}
	}
}

func (h *health) look() {
	stalled := -1
	seen := make(map[int]uint64)
	for _, t := range h.threads() {
		seen[t.CPU] = t.Iterations
		if before, known := h.loops[t.CPU]; len(t.Queues) == 0 || !known || before != t.Iterations {
			h.still[t.CPU] = 0
			continue
		}
		if h.still[t.CPU]++; h.still[t.CPU] >= stallLimit {
			stalled = t.CPU
		}
	}
	h.loops = seen
	h.stalled.Store(int64(stalled))
}

// err says what is wrong, nil while nothing is.
func (h *health) err() error {
	if cpu := h.stalled.Load(); cpu >= 0 {
		return fmt.Errorf("the PMD thread on CPU %d has not moved for %v", cpu, stallLimit*healthInterval)
	}
	return nil
}
