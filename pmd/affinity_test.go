package pmd

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/sys"
)

func TestThreadsArePinnedWithMinimalTimerSlack(t *testing.T) {
	topo := thisMachine(t)
	m := newManager(t, topo, Config{Idle: napping}, discard)
	stats := m.Stats()
	if len(stats) == 0 {
		t.Fatal("no PMD thread runs")
	}
	for _, s := range stats {
		if got, err := sys.Affinity(s.TID); err != nil || !slices.Equal(got, []int{s.CPU}) {
			t.Errorf("the PMD thread on CPU %d may run on %v, %v", s.CPU, got, err)
		}
		if s.Node != topo.NodeOfCPU(s.CPU) {
			t.Errorf("the PMD thread on CPU %d says it is on node %d", s.CPU, s.Node)
		}
		name, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/comm", s.TID))
		if got, want := strings.TrimSpace(string(name)), fmt.Sprintf("pmd-c%02d", s.CPU); err != nil || got != want {
			t.Errorf("the PMD thread is called %q, %v; want %q", got, err, want)
		}
		slack, err := os.ReadFile(fmt.Sprintf("/proc/%d/timerslack_ns", s.TID))
		if err != nil {
			t.Logf("timer slack is not checked: %v", err) // the file needs CAP_SYS_NICE in some kernels
		} else if got := strings.TrimSpace(string(slack)); got != "1" {
			t.Errorf("the PMD thread's timer slack is %s ns, want 1", got)
		}
	}
}

func TestExclusiveKeepsOtherThreadsOffThePMDCPUs(t *testing.T) {
	topo := thisMachine(t)
	allowed, err := topo.AllowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	masks := func(pmd []int) (out [][]int) {
		entries, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			var tid int
			_, _ = fmt.Sscan(e.Name(), &tid)
			if slices.Contains(pmd, tid) {
				continue
			}
			if mask, err := sys.Affinity(tid); err == nil {
				out = append(out, mask)
			}
		}
		return out
	}
	m := newManager(t, topo, Config{Idle: napping, Exclusive: true}, discard)
	rest := without(allowed, m.CPUs())
	if len(rest) == 0 {
		rest = allowed // one CPU is all there is
	}
	for _, mask := range masks(tidsOf(m)) {
		if !slices.Equal(mask, rest) {
			t.Errorf("beside PMD threads on %v a thread may run on %v, want %v", m.CPUs(), mask, rest)
		}
	}
	if len(allowed) > 1 {
		wantNice(t, m, sys.MostUrgent)
		if err := m.Reconfigure(Config{Idle: napping}); err != nil {
			t.Fatal(err)
		}
		wantNice(t, m, m.nice)
		for _, mask := range masks(tidsOf(m)) {
			if !slices.Equal(mask, allowed) {
				t.Errorf("beside PMD threads that are not exclusive a thread may run on %v, want %v", mask, allowed)
			}
		}
	}
	tids := tidsOf(m)
	m.Stop()
	for _, tid := range tids {
		eventually(t, "the PMD threads have ended", func() bool { return !threadExists(tid) })
	}
	for _, mask := range masks(nil) {
		if !slices.Equal(mask, allowed) {
			t.Errorf("after Stop a thread may run on %v, want %v", mask, allowed)
		}
	}
}

// wantNice checks the nice value of all PMD threads, where this process may raise it.
func wantNice(t *testing.T, m *Manager, want int) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := sys.SetNice(0, m.nice-1); err != nil {
		t.Logf("nice values are not checked: %v", err)
		return
	}
	if err := sys.SetNice(0, m.nice); err != nil {
		t.Fatal(err)
	}
	for _, tid := range tidsOf(m) {
		if got, err := sys.Nice(tid); err != nil || got != want {
			t.Errorf("the PMD thread has nice %d, %v; want %d", got, err, want)
		}
	}
	if got, err := sys.Nice(os.Getpid()); err != nil || got != m.nice {
		t.Errorf("the process has nice %d, %v; want %d", got, err, m.nice)
	}
}

func TestCPUThatTheProcessIsNotAllowedIsNamed(t *testing.T) {
	topo := thisMachine(t)
	missing := topo.Online()[len(topo.Online())-1] + 1
	if _, err := New(topo, Config{CPUs: []int{missing}}, discard, nil); err == nil ||
		!strings.Contains(err.Error(), fmt.Sprintf("CPU %d is not online", missing)) {
		t.Errorf("%v, want an error that names CPU %d", err, missing)
	}
}

// TestProcessesFirstThreadIsLeftAlone starts a PMD thread from a goroutine that happens to be on the process's first
// OS thread, which cannot end and gives the process its affinity and name.
func TestProcessesFirstThreadIsLeftAlone(t *testing.T) {
	before, err := sys.Affinity(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	topo := thisMachine(t)
	allowed, err := topo.AllowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	th := &thread{
		cpu: allowed[0], topo: topo, newProcessor: discard, started: make(chan error, 1), done: make(chan struct{}),
	}
	th.list.Store(&queueList{})
	// Goroutines that hold an OS thread each come to use every idle one, the first among them.
	first, giveUp := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	var once sync.Once
	for range 64 {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if sys.ThreadID() == os.Getpid() {
				once.Do(func() { // run lets go of the thread, and another goroutine may get it
					th.run(nil)
					close(first)
				})
			}
			select {
			case <-first:
			case <-giveUp:
			}
		})
	}
	select {
	case <-first:
	case <-time.After(2 * time.Second):
		close(giveUp)
		wg.Wait()
		t.Skip("no goroutine came to run on the process's first thread")
	}
	wg.Wait()
	if err := <-th.started; err != nil {
		t.Fatal(err)
	}
	th.list.Store(&queueList{stop: true})
	<-th.done
	if after, err := sys.Affinity(os.Getpid()); err != nil || !slices.Equal(before, after) {
		t.Errorf("the first thread could run on %v and now on %v, %v", before, after, err)
	}
	if th.tid == os.Getpid() {
		t.Error("the PMD thread ran on the process's first thread")
	}
}
