package sys

import (
	"runtime"
	"slices"
	"testing"
	"time"
)

// onLockedThread runs f on an OS thread of its own, which ends with it.
func onLockedThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
}

func TestSetAffinityTakesEffect(t *testing.T) {
	onLockedThread(func() {
		all, err := Affinity(0)
		if err != nil || len(all) == 0 {
			t.Errorf("affinity %v, %v", all, err)
			return
		}
		for _, want := range [][]int{all[len(all)-1:], all} {
			if err := SetAffinity(0, want); err != nil {
				t.Error(err)
			}
			if got, err := Affinity(ThreadID()); err != nil || !slices.Equal(got, want) {
				t.Errorf("affinity %v, %v; want %v", got, err, want)
			}
		}
	})
}

func TestSetAffinityRefusesWhatCannotBe(t *testing.T) {
	onLockedThread(func() {
		for _, cpus := range [][]int{{-1}, {MaxCPUs}, {MaxCPUs - 1}, {}} {
			if err := SetAffinity(0, cpus); err == nil {
				t.Errorf("affinity to %v was accepted", cpus)
			}
		}
	})
}

func TestTimerSlackIsTheThreadsOwn(t *testing.T) {
	onLockedThread(func() {
		if err := SetTimerSlack(1); err != nil {
			t.Error(err)
		}
		if got, err := TimerSlack(); got != 1 || err != nil {
			t.Errorf("timer slack %d ns, %v; want 1", got, err)
		}
	})
}

func TestNapLastsAsLongAsItSays(t *testing.T) {
	// A signal (the scheduler's preemption) may end a nap early, so the longest of several counts.
	const want = 5 * time.Millisecond
	longest := time.Duration(0)
	for range 10 {
		start := time.Now()
		Nap(want.Nanoseconds())
		longest = max(longest, time.Since(start))
	}
	if longest < want {
		t.Errorf("the longest of ten naps of %v took %v", want, longest)
	}
}
