package pmd

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"weft/internal/sys"
)

const (
	// LoadWindow is the time over which loads are measured.
	LoadWindow = loadSamples * loadPeriod

	loadSamples = 5
	loadPeriod  = time.Second
)

// loadHistory is a counter of cycles at the last few sampling times.
//
// Concurrency: control's, under the Manager's lock.
type loadHistory struct {
	samples [loadSamples]loadSample
	n       int // taken so far
}

// loadSample is a counter of busy cycles at a time, in cycles as well.
type loadSample struct {
	tsc, busy uint64
}

// begin starts a history at zero, now.
func (h *loadHistory) begin() {
	h.n = 0
	h.add(loadSample{tsc: sys.Cycles()})
}

func (h *loadHistory) add(s loadSample) {
	h.samples[h.n%loadSamples] = s
	h.n++
}

// since is the share of a CPU, 0 to 1, that was spent from the oldest sample to now.
func (h *loadHistory) since(now loadSample) float64 {
	if h.n == 0 {
		return 0
	}
	oldest := h.samples[0]
	if h.n > loadSamples {
		oldest = h.samples[h.n%loadSamples]
	}
	// The TSCs of two CPUs may differ by a little, and a thread may have stored while we read.
	if now.tsc <= oldest.tsc || now.busy < oldest.busy {
		return 0
	}
	return min(1, float64(now.busy-oldest.busy)/float64(now.tsc-oldest.tsc))
}

// percent is q's load for assignment, -1 before the first period is over.
func (h *loadHistory) percent(q *polledQueue) int {
	if h.n < 2 {
		return -1
	}
	return int(math.Round(100 * h.since(q.sample())))
}

// sample is q's account now.
func (q *polledQueue) sample() loadSample {
	return loadSample{busy: atomic.LoadUint64(&q.cycles), tsc: sys.Cycles()}
}

// sample is t's account now.
func (t *thread) sample() loadSample {
	return loadSample{busy: atomic.LoadUint64(&t.counters.busy), tsc: sys.Cycles()}
}

// sampleLoads takes samples until the Manager stops.
func (m *Manager) sampleLoads() {
	defer m.sampler.Done()
	tick := time.NewTicker(loadPeriod)
	defer tick.Stop()
	for {
		select {
		case <-m.endSample:
			return
		case <-tick.C:
			m.sampleOnce()
		}
	}
}

func (m *Manager) sampleOnce() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, q := range m.queues {
		q.control.load.add(q.sample())
	}
	for _, t := range *m.threads.Load() {
		t.load.add(t.sample())
	}
}

// tscMeasureTime is how long the TSC is compared with the monotonic clock; the error is some microseconds of it.
const tscMeasureTime = 20 * time.Millisecond

// measureTSC returns the TSC's frequency in Hz.
func measureTSC() uint64 {
	c0, t0 := readBoth()
	time.Sleep(tscMeasureTime)
	c1, t1 := readBoth()
	return uint64(float64(c1-c0) / t1.Sub(t0).Seconds())
}

// readBoth reads TSC and clock as close together as a few tries get them.
func readBoth() (cycles uint64, at time.Time) {
	closest := uint64(math.MaxUint64)
	for range 5 {
		before := sys.Cycles()
		t := time.Now()
		if after := sys.Cycles(); after-before < closest {
			closest, cycles, at = after-before, before, t
		}
	}
	return cycles, at
}

// tscClock turns the TSC into nanoseconds: a factor with 32 bits behind the point.
type tscClock uint64

func newTSCClock(hz uint64) tscClock { return tscClock(uint64(time.Second) << 32 / hz) }

// nanoseconds since the TSC was zero.
func (c tscClock) nanoseconds(cycles uint64) int64 {
	hi, lo := bits.Mul64(cycles, uint64(c))
	return int64(hi<<32 | lo>>32)
}
