package pmd

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"weft/internal/sys"
)

// waitsOf is how often a thread of this process has waited for anything (proc(5), voluntary_ctxt_switches).
func waitsOf(t *testing.T, tid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", tid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nvoluntary_ctxt_switches:")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestTheSchedulerDoesNotStopABusyThread: without its turn held, a thread would wait some hundred times a second.
func TestTheSchedulerDoesNotStopABusyThread(t *testing.T) {
	m := newManager(t, simulated(t), Config{CPUs: []int{1}, Idle: IdleConfig{Mode: IdlePoll}}, discard)
	if err := m.SetQueues([]Queue{queue("a", 0, &fakeRx{receive: onePacket})}); err != nil {
		t.Fatal(err)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // collections are answered
	runtime.GC()                                     // which waits for one that is under way
	tid := m.Stats()[0].TID
	before := waitsOf(t, tid)
	time.Sleep(time.Second)
	if n := waitsOf(t, tid) - before; n > 2 {
		t.Errorf("the thread waited %d times in a second", n)
	}
}

// TestCollectionsAreAnswered: one would wait for longestTurn if requests were not.
func TestCollectionsAreAnswered(t *testing.T) {
	for name, receive := range map[string]func() *fakeRx{
		"a busy thread":    func() *fakeRx { return &fakeRx{receive: onePacket} },
		"an idle thread":   func() *fakeRx { return &fakeRx{} },
		"a napping thread": func() *fakeRx { return &fakeRx{} },
	} {
		t.Run(name, func(t *testing.T) {
			idle := IdleConfig{Mode: IdlePoll}
			if name == "a napping thread" {
				idle = IdleConfig{Mode: IdleSleep, MaxSleep: MaxMaxSleep}
			}
			m := newManager(t, simulated(t), Config{CPUs: []int{1}, Idle: idle}, discard)
			if err := m.SetQueues([]Queue{queue("a", 0, receive())}); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			for range 20 {
				runtime.GC()
			}
			if took := time.Since(begun); took > longestTurn {
				t.Errorf("20 collections took %v", took)
			}
		})
	}
}

func TestOnlyInsistenceIsAnswered(t *testing.T) {
	const hz = 1_000_000 // a cycle is a microsecond
	for name, c := range map[string]struct {
		asked []uint64 // when
		want  bool
	}{
		"every 10 ms, as for a turn that is over": {[]uint64{10_000, 20_000, 30_000, 40_000, 50_000}, false},
		"every 100 us, as for a stop-the-world":   {[]uint64{10_000, 10_100}, true},
		"both":                                    {[]uint64{10_000, 20_000, 30_000, 30_100}, true},
	} {
		tr := noTurn()
		tr.insistence = uint64(insistence.Microseconds()) * hz / 1_000_000
		answered := false
		for i, at := range c.asked {
			answered = tr.insists(uint64(i+1), at)
		}
		if answered != c.want {
			t.Errorf("asked %s: answered %v, want %v", name, answered, c.want)
		}
	}
}

func TestATurnIsNotHeldForEver(t *testing.T) {
	tr := noTurn()
	if tr.until = 1000; tr.asked(1000) || !tr.asked(1001) {
		t.Error("the turn is not given up when its time is over")
	}
	if sys.Cycles() > noTurn().until {
		t.Error("who has no turn gives it up")
	}
}
