package main

import (
	"context"
	"time"

	"weft/benchmarks/rig"
)

// slice is a short part of a phase, during which the machine was the same throughout, or is known not to have been.
type slice struct {
	*outcome
	delays        *histogram // nil when frames were not timed
	before, after float64    // how far apart the CPUs of load and switch were, in nanoseconds; 0: not known
}

// sliceLength is short enough that a hypervisor seldom moves a CPU meanwhile, and long beside the settling of the load in
// between.
const sliceLength = 400 * time.Millisecond

// slices cuts a phase into slices, with a probe of the CPUs' distance between them. The load stands still during a probe,
// which takes both CPUs: no frame waits for it.
func (b *bed) slices(ctx context.Context, d time.Duration, timed bool, streams ...stream) (list []slice, err error) {
	before := b.distance()
	n := max(1, d/sliceLength)
	for range n {
		s := slice{before: before}
		if timed {
			s.outcome, s.delays, err = b.sendTimed(ctx, d/n, streams...)
		} else {
			s.outcome, err = b.send(ctx, d/n, streams...)
		}
		if err != nil {
			return nil, b.explain(err)
		}
		before = b.distance()
		s.after = before
		list = append(list, s)
	}
	return list, nil
}

// distance is how far apart the CPUs are, 0 when that is not known. The first call makes the prober: after confine, which
// would move its threads.
func (b *bed) distance() float64 {
	if b.prober == nil {
		if b.prober = rig.TryProber(b.o.LoadCPU, b.o.SwitchCPU); b.prober == nil {
			return 0
		}
		b.group.Defer(func() { _ = b.prober.Close() })
	}
	return b.prober.Known()
}

// pooled is the delays of all slices.
func pooled(list []slice) *histogram {
	all := new(histogram)
	for _, s := range list {
		all.merge(s.delays)
	}
	return all
}

// quantileOf is a figure of slices: the delay that a part q of their frames does not exceed.
func quantileOf(q float64) func([]slice) float64 {
	return func(list []slice) float64 { return pooled(list).quantile(q) }
}

// rateOf is a figure of slices: the median of the frames that arrived in a second, of all streams together.
func rateOf(list []slice) float64 {
	var rates []float64
	for _, s := range list {
		t := s.total()
		rates = append(rates, float64(t.Received)/s.elapsed.Seconds())
	}
	return rig.Median(rates)
}

// totalOf sums what became of the frames.
func totalOf(list []slice) (t tally) {
	for _, s := range list {
		t.add(s.total())
	}
	return t
}
