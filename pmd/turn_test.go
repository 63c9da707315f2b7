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

// TestCollectionsAreAnswered: with requests unheard one would wait for as long as a turn can be held at most.
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
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("20 collections took %v", took)
			}
		})
	}
}
