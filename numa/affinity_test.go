package numa

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"weft/internal/sys"
	"weft/numa/numatest"
)

func TestPinThreadPinsTheCallingThread(t *testing.T) {
	topo := mustRead(t, "/")
	allowed, err := topo.AllowedCPUs()
	if err != nil || len(allowed) == 0 {
		t.Fatalf("allowed CPUs: %v, %v", allowed, err)
	}
	want := allowed[len(allowed)-1]
	type result struct {
		mask []int
		err  error
	}
	got := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := topo.PinThread(want)
		mask, _ := sys.Affinity(0)
		got <- result{mask, err}
	}()
	if r := <-got; r.err != nil || !slices.Equal(r.mask, []int{want}) {
		t.Errorf("pinned to CPU %d, the mask is %v, %v", want, r.mask, r.err)
	}
}

func TestPinThreadNamesTheCPUsThereAre(t *testing.T) {
	topo := mustRead(t, numatest.TwoNodes(t))
	if err := topo.PinThread(15); err != nil {
		t.Errorf("CPU 15 of the simulated machine: %v", err)
	}
	if err := topo.PinThread(16); err == nil || !strings.Contains(err.Error(), "0-15") {
		t.Errorf("CPU 16 of the simulated machine: %v, want an error that lists 0-15", err)
	}
}

func TestSimulatedMachineAllowsAllItsCPUs(t *testing.T) {
	topo := mustRead(t, numatest.TwoNodes(t))
	if got, err := topo.AllowedCPUs(); err != nil || FormatCPUs(got) != "0-15" {
		t.Errorf("allowed %v, %v; want 0-15", got, err)
	}
}

func TestAllowedCPUsObeysAChosenMask(t *testing.T) {
	topo := mustRead(t, "/")
	allowed, err := topo.AllowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	// As if every CPU but the first were isolated: the mask of one CPU is then the inherited one, and the isolated CPUs
	// are allowed as far as the cpuset has them. The mask of all CPUs is one that somebody chose.
	topo.isolated = allowed[1:]
	withMask := func(mask []int) []int {
		got := make(chan []int)
		go func() {
			runtime.LockOSThread()
			if err := sys.SetAffinity(0, mask); err != nil {
				t.Error(err)
			}
			cpus, err := topo.AllowedCPUs()
			if err != nil {
				t.Error(err)
			}
			after, _ := sys.Affinity(0)
			if !slices.Equal(after, mask) {
				t.Errorf("the thread's mask was %v and is %v after asking", mask, after)
			}
			got <- cpus
		}()
		return <-got
	}
	if len(allowed) != len(topo.Online()) {
		t.Skipf("this process is allowed %v of the CPUs %v: there is no inherited mask to imitate", allowed, topo.Online())
	}
	if got := withMask(allowed[:1]); !slices.Equal(got, allowed) {
		t.Errorf("with the inherited mask %v, allowed %v; want %v", allowed[:1], got, allowed)
	}
	if got := withMask(allowed); !slices.Equal(got, allowed) {
		t.Errorf("with the mask %v, allowed %v", allowed, got)
	}
	if len(allowed) > 1 {
		last := allowed[len(allowed)-1:]
		if got := withMask(last); !slices.Equal(got, last) {
			t.Errorf("with the chosen mask %v, allowed %v", last, got)
		}
	}
}

func TestConfineProcessMovesAllThreadsButTheExcepted(t *testing.T) {
	topo := mustRead(t, "/")
	all, err := topo.AllowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := topo.ConfineProcess(all, nil); err != nil {
			t.Error(err)
		}
	}()
	tid, end := make(chan int), make(chan struct{})
	defer close(end)
	for range 2 {
		go func() {
			runtime.LockOSThread()
			tid <- sys.ThreadID()
			<-end
		}()
	}
	excepted, other := <-tid, <-tid
	if err := topo.ConfineProcess(all[:1], []int{excepted}); err != nil {
		t.Fatal(err)
	}
	if got, err := sys.Affinity(other); err != nil || !slices.Equal(got, all[:1]) {
		t.Errorf("an ordinary thread may run on %v, %v; want %v", got, err, all[:1])
	}
	if got, err := sys.Affinity(excepted); err != nil || !slices.Equal(got, all) {
		t.Errorf("the excepted thread may run on %v, %v; want %v", got, err, all)
	}
}
