package pmd

import (
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/packet"
)

// vanishing is a page of a file that is cut off behind the mapping: touching it raises SIGBUS until it is restored.
type vanishing struct {
	f   *os.File
	mem []byte
}

func newVanishing(t *testing.T) *vanishing {
	t.Helper()
	f, err := os.Create(t.TempDir() + "/memory")
	if err != nil {
		t.Fatal(err)
	}
	v := &vanishing{f: f}
	v.restore(t)
	v.mem, err = unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Munmap(v.mem)
		_ = f.Close()
	})
	return v
}

func (v *vanishing) vanish(t *testing.T)  { v.truncate(t, 0) }
func (v *vanishing) restore(t *testing.T) { v.truncate(t, int64(os.Getpagesize())) }

func (v *vanishing) truncate(t *testing.T, size int64) {
	t.Helper()
	if err := v.f.Truncate(size); err != nil {
		t.Fatal(err)
	}
}

// contains reports whether addr is the mapping's.
func (v *vanishing) contains(addr uintptr) bool {
	start := address(v.mem)
	return addr >= start && addr < start+uintptr(len(v.mem))
}

// abortable counts the calls of Abort.
type abortable struct {
	process func(b *packet.Batch)
	aborts  *atomic.Int64
}

func (p *abortable) Process(b *packet.Batch) { p.process(b) }
func (p *abortable) Abort()                  { p.aborts.Add(1) }

func TestFaultInReceiveSuspendsThatQueueOnly(t *testing.T) {
	v := newVanishing(t)
	faults := make(chan Fault, 10)
	var aborts atomic.Int64
	m := newManager(t, simulated(t), Config{CPUs: []int{1}, Idle: napping, OnFault: func(f Fault) { faults <- f }},
		func(_, _, _ int) Processor { return &abortable{func(*packet.Batch) {}, &aborts} })
	bad := &fakeRx{receive: func(b *packet.Batch) int {
		copy(b.Add(packet.MinFrame).Header(), v.mem) // memmove: the fault is in assembly
		return 1
	}}
	good := &fakeRx{receive: onePacket}
	qs := []Queue{queue("bad", 0, bad), queue("good", 0, good)}
	if err := m.SetQueues(qs); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue works", func() bool { return bad.releases.Load() > 10 })
	v.vanish(t)
	f := waitFault(t, faults)
	if f.Stage != StageReceive || f.Queue.PortName != "bad" || !v.contains(f.Addr) || f.CPU != 1 ||
		!strings.Contains(f.Err.Error(), "receive on CPU 1") {
		t.Errorf("fault %+v, want one in Receive of bad at an address in the mapping", f)
	}
	polls, before := bad.polls.Load(), statsOf(t, m, "good", 0).Packets
	eventually(t, "the other queue goes on", func() bool { return statsOf(t, m, "good", 0).Packets > before+1000 })
	if bad.polls.Load() != polls || !statsOf(t, m, "bad", 0).Suspended {
		t.Error("the queue is polled on after its memory is gone")
	}
	if s := m.Stats()[0]; s.Faults != 1 || aborts.Load() != 0 {
		t.Errorf("%d faults are counted and %d batches aborted, want 1 and 0", s.Faults, aborts.Load())
	}
	m.Synchronize() // quiescence goes on

	// The port has got over it, and the switch lists its queue again.
	v.restore(t)
	if err := m.SetQueues(qs); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue is polled again", func() bool { return bad.polls.Load() > polls+10 })
}

// TestFaultInProcessSparesTheSourceOfTheBatch lets the memory of a destination vanish.
func TestFaultInProcessSparesTheSourceOfTheBatch(t *testing.T) {
	v := newVanishing(t)
	faults := make(chan Fault, 10)
	var aborts atomic.Int64
	var rx *fakeRx
	releasedAtFault := make(chan bool, 10)
	cfg := Config{CPUs: []int{1}, Idle: napping, OnFault: func(f Fault) {
		releasedAtFault <- rx.releases.Load() == rx.polls.Load()
		v.restore(t) // the port that owns the address was made to give it up
		faults <- f
	}}
	m := newManager(t, simulated(t), cfg, func(_, _, _ int) Processor {
		return &abortable{func(b *packet.Batch) { v.mem[100] = b.Packet(0).Header()[0] }, &aborts}
	})
	rx = &fakeRx{receive: onePacket}
	if err := m.SetQueues([]Queue{queue("source", 0, rx)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue works", func() bool { return rx.releases.Load() > 10 })
	v.vanish(t)
	f := waitFault(t, faults)
	if f.Stage != StageProcess || !v.contains(f.Addr) {
		t.Errorf("fault %+v, want one in Process at an address in the mapping", f)
	}
	if !<-releasedAtFault || aborts.Load() != 1 {
		t.Errorf("the batch was not given back, or the processor was told %d times", aborts.Load())
	}
	polls := rx.polls.Load()
	eventually(t, "the source is polled again without SetQueues", func() bool { return rx.polls.Load() > polls+10 })
}

// TestFaultThatRepeatsIsNotRetriedForEver has an OnFault that helps nothing.
func TestFaultThatRepeatsIsNotRetriedForEver(t *testing.T) {
	v := newVanishing(t)
	v.vanish(t)
	var calls atomic.Int64
	cfg := Config{CPUs: []int{1}, Idle: napping, OnFault: func(Fault) { calls.Add(1) }}
	m := newManager(t, simulated(t), cfg, func(_, _, _ int) Processor {
		return processFunc(func(*packet.Batch) { v.mem[0] = 1 })
	})
	if err := m.SetQueues([]Queue{queue("a", 0, &fakeRx{receive: onePacket})}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is given up", func() bool { return calls.Load() > faultsPerSecond })
	time.Sleep(50 * time.Millisecond)
	// The machine may be so slow that the eleven faults took more than a second: then another ten are allowed.
	if n := calls.Load(); n > 3*faultsPerSecond || !statsOf(t, m, "a", 0).Suspended {
		t.Errorf("%d faults, and the queue is still polled", n)
	}
}

// TestFaultInReleaseIsTheQueuesOwn covers memory that vanishes while its batch is processed.
func TestFaultInReleaseIsTheQueuesOwn(t *testing.T) {
	v := newVanishing(t)
	v.vanish(t)
	faults := make(chan Fault, 10)
	touch := func(*packet.Batch) { v.mem[0] = 1 }
	for name, process := range map[string]func(*packet.Batch){
		"in Release alone":                   func(*packet.Batch) {},
		"in Process, and in Release as well": touch,
	} {
		m := newManager(t, simulated(t), Config{CPUs: []int{1}, Idle: napping, OnFault: func(f Fault) { faults <- f }},
			func(_, _, _ int) Processor { return processFunc(process) })
		if err := m.SetQueues([]Queue{queue("a", 0, &fakeRx{receive: onePacket, release: touch})}); err != nil {
			t.Fatal(err)
		}
		if f := waitFault(t, faults); f.Stage != StageRelease {
			t.Errorf("%s: stage %v, want release", name, f.Stage)
		}
		time.Sleep(10 * time.Millisecond)
		if s := statsOf(t, m, "a", 0); !s.Suspended {
			t.Errorf("%s: the queue is polled on", name)
		}
	}
}

func TestFaultWithoutOnFaultSuspends(t *testing.T) {
	v := newVanishing(t)
	v.vanish(t)
	m := newManager(t, simulated(t), Config{CPUs: []int{1}, Idle: napping}, func(_, _, _ int) Processor {
		return processFunc(func(*packet.Batch) { v.mem[0] = 1 })
	})
	if err := m.SetQueues([]Queue{queue("a", 0, &fakeRx{receive: onePacket})}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue is suspended", func() bool { return statsOf(t, m, "a", 0).Suspended })
}

func waitFault(t *testing.T, faults <-chan Fault) Fault {
	t.Helper()
	select {
	case f := <-faults:
		return f
	case <-time.After(20 * time.Second):
		t.Fatal("no fault was reported in 20 s")
	}
	return Fault{}
}

// TestOtherPanicsEndTheProcess runs this test binary again with a processor that panics, and reads what it leaves.
func TestOtherPanicsEndTheProcess(t *testing.T) {
	const variable = "WEFT_PMD_TEST_PANIC"
	panics := map[string]func(*packet.Batch){
		"a programmer's own": func(*packet.Batch) { panic("mistake 4711") },
		"index out of range": func(b *packet.Batch) { b.Packet(-1 + b.Len() - 1).Len() },
		"nil pointer":        func(*packet.Batch) { var p *[1]int; p[0] = 1 },
	}
	if kind := os.Getenv(variable); kind != "" {
		m, err := New(simulated(t), Config{CPUs: []int{1}, Idle: napping}, func(_, _, _ int) Processor {
			return processFunc(panics[kind])
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = m.SetQueues([]Queue{queue("a", 0, &fakeRx{receive: onePacket})})
		time.Sleep(20 * time.Second)
		os.Exit(0) // what the parent takes for survival
	}
	for kind, message := range map[string]string{
		"a programmer's own": "mistake 4711",
		"index out of range": "index out of range",
		"nil pointer":        "nil pointer dereference",
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestOtherPanicsEndTheProcess$")
		cmd.Env = append(os.Environ(), variable+"="+kind)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), message) || !strings.Contains(string(out), "fault_test.go") {
			t.Errorf("%s: the process ended with %v, want a crash with %q and the place of it:\n%s", kind, err, message, out)
		}
	}
}
