package pmd

import (
	"testing"
	"time"

	"weft/internal/packet"
)

func TestGapsAreCountedByThreshold(t *testing.T) {
	th := &thread{gapLimits: limitsAt(1_000_000)} // a cycle is a microsecond
	for _, cycles := range []uint64{100, 101, 150, 1000, 1001, 3_000_000} {
		th.noteGap(cycles)
	}
	want := map[int64]uint64{100: 5, 200: 3, 500: 3, 1000: 2, 2000: 1, 1_000_000: 1}
	for _, g := range th.gaps.list() {
		if n, listed := want[g.Over]; listed && n != g.Count {
			t.Errorf("%d gaps over %d us, want %d", g.Count, g.Over, n)
		}
	}
	if th.gaps.longest != 3_000_000 {
		t.Errorf("the longest gap is %d cycles, want 3000000", th.gaps.longest)
	}
}

func TestLoopSeesItsGaps(t *testing.T) {
	const pause = 3 * time.Millisecond
	slow := &fakeRx{receive: onePacket}
	m := newManager(t, simulated(t), Config{CPUs: []int{1}, Idle: napping}, func(_, _, _ int) Processor {
		return processFunc(func(*packet.Batch) {
			for end := time.Now().Add(pause); time.Now().Before(end); {
				continue // a batch that takes long
			}
		})
	})
	if err := m.SetQueues([]Queue{queue("slow", 0, slow)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "some batches were slow", func() bool { return slow.releases.Load() >= 5 })
	s := m.Stats()[0]
	counts := make(map[int64]uint64)
	for _, g := range s.Gaps {
		counts[g.Over] = g.Count
	}
	if counts[1000] < 4 || counts[100] < counts[1000] {
		t.Errorf("%v after 5 slow batches", s.Gaps)
	}
	if longest := float64(s.LongestGapCycles) / float64(s.TSCHz); longest < pause.Seconds() {
		t.Errorf("the longest gap is %v s, want at least %v", longest, pause)
	}
}

func TestNapsAreNoGaps(t *testing.T) {
	idle := IdleConfig{Mode: IdleSleep, MaxSleep: MaxMaxSleep}
	m := newManager(t, simulated(t), Config{CPUs: []int{1}, Idle: idle}, discard)
	if err := m.SetQueues([]Queue{queue("idle", 0, &fakeRx{})}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it napped as long as it may", func() bool { return m.Stats()[0].Sleeps > 30 })
	s := m.Stats()[0]
	// The naps double from 1 us to 10 ms; those of 5 ms and more are more than other work can cause as gaps.
	for _, g := range s.Gaps {
		if g.Over == 5000 && g.Count > s.Sleeps/3 {
			t.Errorf("%d gaps over %d us with %d sleeps", g.Count, g.Over, s.Sleeps)
		}
	}
}
