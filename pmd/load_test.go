package pmd

import (
	"math"
	"testing"
	"time"

	"weft/internal/packet"
	"weft/internal/sys"
)

func TestLoadIsOverTheWindow(t *testing.T) {
	var h loadHistory
	const second = 1_000_000
	if got := h.since(loadSample{tsc: 5, busy: 5}); got != 0 {
		t.Errorf("without history the load is %v, want 0", got)
	}
	// Busy at 50 % for loadSamples seconds, then at 10 %.
	tsc, busy := uint64(77), uint64(0)
	h.add(loadSample{tsc, busy})
	step := func(share float64) {
		tsc += second
		busy += uint64(share * second)
		h.add(loadSample{tsc, busy})
	}
	for range 2 * loadSamples {
		step(0.5)
	}
	if got := h.since(loadSample{tsc, busy}); math.Abs(got-0.5) > 1e-6 {
		t.Errorf("load %v, want 0.5", got)
	}
	for range loadSamples {
		step(0.1)
	}
	if got := h.since(loadSample{tsc, busy}); math.Abs(got-0.1) > 1e-6 {
		t.Errorf("load %v, want 0.1: the old half has left the window", got)
	}
	if got := h.since(loadSample{tsc - 10*second, busy}); got != 0 {
		t.Errorf("with a TSC that lies before the window the load is %v, want 0", got)
	}
}

func TestTSCFrequencyIsMeasured(t *testing.T) {
	hz := measureTSC()
	c0, t0 := sys.Cycles(), time.Now()
	time.Sleep(50 * time.Millisecond)
	c1, t1 := sys.Cycles(), time.Now()
	want := float64(c1-c0) / t1.Sub(t0).Seconds()
	if math.Abs(float64(hz)-want) > want/50 {
		t.Errorf("%d Hz, and over 50 ms %.0f Hz", hz, want)
	}
}

// TestHeavyQueuesAreSpreadByRebalance puts two queues that take a CPU's whole time on one thread.
func TestHeavyQueuesAreSpreadByRebalance(t *testing.T) {
	m := newManager(t, simulated(t), Config{CPUs: []int{1, 2}, Idle: napping}, func(_, _, _ int) Processor {
		return processFunc(func(*packet.Batch) {
			for start := time.Now(); time.Since(start) < 100*time.Microsecond; {
			}
		})
	})
	qs := []Queue{
		queue("heavy", 0, &fakeRx{receive: onePacket}),
		queue("heavy", 1, &fakeRx{receive: onePacket}),
		queue("idle", 0, &fakeRx{}),
	}
	if err := m.SetQueues(qs); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := m.Move("heavy", i, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Move("idle", 0, 2); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the load of both is seen", func() bool {
		return statsOf(t, m, "heavy", 0).Load > 30 && statsOf(t, m, "heavy", 1).Load > 30 && m.Stats()[0].Load > 80
	})
	if got := statsOf(t, m, "idle", 0).Load; got != 0 {
		t.Errorf("the idle queue's load is %v %%", got)
	}
	eventually(t, "a period is over", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.queues[queueKey{"heavy", 0}].control.load.n >= 2
	})
	moved, err := m.Rebalance()
	if a, b := cpuOf(m, "heavy", 0), cpuOf(m, "heavy", 1); err != nil || moved == 0 || a == b {
		t.Errorf("after Rebalance (%d moved, %v) the heavy queues are on CPUs %d and %d", moved, err, a, b)
	}
	if moved, err := m.Rebalance(); moved != 0 || err != nil {
		t.Errorf("a second Rebalance moved %d queues, %v", moved, err)
	}
}
