package pmd

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
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

// abortable is a processor that records the calls of Abort: whether each had the batch.
type abortable struct {
	process func(b *packet.Batch)
	abort   func(b *packet.Batch) // may be nil
	aborts  chan bool
}

func newAbortable(process func(*packet.Batch)) *abortable {
	return &abortable{process: process, aborts: make(chan bool, 1000)}
}

func (p *abortable) Process(b *packet.Batch) { p.process(b) }

func (p *abortable) Abort(b *packet.Batch) {
	p.aborts <- b != nil
	if p.abort != nil && b != nil {
		p.abort(b)
	}
}

// only is a newProcessor for one thread.
func only(p Processor) func(_, _, _ int) Processor { return func(_, _, _ int) Processor { return p } }

// owner returns an OnFault that hands faults over and says that v's port owns them, after giving up the memory by f.
func owner(v *vanishing, faults chan<- Fault, f func()) func(Fault) bool {
	return func(fault Fault) bool {
		f()
		faults <- fault
		return v.contains(fault.Addr)
	}
}

func TestFaultInReceiveDisturbsNobodyElse(t *testing.T) {
	v := newVanishing(t)
	faults := make(chan Fault, 10)
	var attached atomic.Bool // the port's ring
	attached.Store(true)
	p := newAbortable(func(*packet.Batch) {})
	cfg := Config{CPUs: []int{1}, Idle: napping, OnFault: owner(v, faults, func() { attached.Store(false) })}
	m := newManager(t, simulated(t), cfg, only(p))
	bad := &fakeRx{receive: func(b *packet.Batch) int {
		if !attached.Load() {
			return 0
		}
		copy(b.Add(packet.MinFrame).Header(), v.mem) // memmove: the fault is in assembly
		return 1
	}}
	good := &fakeRx{receive: onePacket}
	if err := m.SetQueues([]Queue{queue("bad", 3, bad), queue("good", 0, good)}); err != nil {
		t.Fatal(err)
	}
	for round := range 100 {
		eventually(t, "the queue works", func() bool { return bad.releases.Load() > uint64(10+round) })
		before := bad.releases.Load()
		v.vanish(t)
		f := waitFault(t, faults)
		if f.Stage != StageReceive || f.Port != "bad" || f.Queue != 3 || !v.contains(f.Addr) || f.CPU != 1 ||
			!strings.Contains(f.Err.Error(), "receive on CPU 1") {
			t.Fatalf("fault %+v, want one in Receive of bad at an address in the mapping", f)
		}
		packets := statsOf(t, m, "good", 0).Packets
		eventually(t, "the other queue goes on", func() bool { return statsOf(t, m, "good", 0).Packets > packets+10 })
		m.Synchronize() // quiescence goes on
		if statsOf(t, m, "bad", 3).Suspended || statsOf(t, m, "good", 0).Suspended {
			t.Fatal("a queue is suspended, although the fault has an owner")
		}
		// The port's next session.
		v.restore(t)
		attached.Store(true)
		eventually(t, "the queue works again", func() bool { return bad.releases.Load() > before+1 })
	}
	if s := m.Stats()[0]; s.Faults != 100 || len(p.aborts) != 0 {
		t.Errorf("%d faults are counted and %d batches aborted, want 100 and 0", s.Faults, len(p.aborts))
	}
}

// TestOwnerIsAskedBeforeTheQuiescentPoint: as long as OnFault runs, nothing that the thread may have used is unmapped.
func TestOwnerIsAskedBeforeTheQuiescentPoint(t *testing.T) {
	v := newVanishing(t)
	v.vanish(t)
	var m *Manager
	var synchronized, early atomic.Bool
	ask := make(chan struct{})
	var once sync.Once
	cfg := Config{CPUs: []int{1}, Idle: napping, OnFault: func(Fault) bool {
		once.Do(func() {
			close(ask)
			time.Sleep(100 * time.Millisecond)
			early.Store(synchronized.Load())
			v.restore(t)
		})
		return true
	}}
	m = newManager(t, simulated(t), cfg, only(processFunc(func(*packet.Batch) { v.mem[0] = 1 })))
	if err := m.SetQueues([]Queue{queue("a", 0, &fakeRx{receive: onePacket})}); err != nil {
		t.Fatal(err)
	}
	<-ask
	m.Synchronize()
	synchronized.Store(true)
	if early.Load() {
		t.Error("Synchronize returned while OnFault ran")
	}
	eventually(t, "the queue is polled", func() bool { return statsOf(t, m, "a", 0).Packets > 10 })
}

// TestFaultInProcessSparesTheSourceOfTheBatch lets the memory of a destination vanish, again and again.
func TestFaultInProcessSparesTheSourceOfTheBatch(t *testing.T) {
	v := newVanishing(t)
	faults := make(chan Fault, 10)
	p := newAbortable(func(b *packet.Batch) { v.mem[100] = b.Packet(0).Header()[0] })
	cfg := Config{CPUs: []int{1}, Idle: napping, OnFault: owner(v, faults, func() { v.restore(t) })}
	m := newManager(t, simulated(t), cfg, only(p))
	rx := &fakeRx{receive: onePacket}
	if err := m.SetQueues([]Queue{queue("source", 0, rx)}); err != nil {
		t.Fatal(err)
	}
	const rounds = 5 * strayFaultsPerSecond
	for range rounds {
		v.vanish(t)
		if f := waitFault(t, faults); f.Stage != StageProcess || !v.contains(f.Addr) {
			t.Fatalf("fault %+v, want one in Process at an address in the mapping", f)
		}
		packets := statsOf(t, m, "source", 0).Packets
		eventually(t, "the source is polled on", func() bool { return statsOf(t, m, "source", 0).Packets > packets+1 })
		if statsOf(t, m, "source", 0).Suspended {
			t.Fatal("the source is suspended")
		}
	}
	if err := m.SetQueues(nil); err != nil {
		t.Fatal(err)
	}
	if rx.releases.Load() != rx.polls.Load() {
		t.Errorf("%d batches were received and %d given back", rx.polls.Load(), rx.releases.Load())
	}
	if len(p.aborts) != rounds || !<-p.aborts {
		t.Errorf("the processor was told %d times, want %d, with the batch", len(p.aborts), rounds)
	}
}

// TestFaultsWhileTidyingUp lets Abort and Release fault as well: each is reported, and the thread survives.
func TestFaultsWhileTidyingUp(t *testing.T) {
	v := newVanishing(t)
	v.vanish(t)
	touch := func(*packet.Batch) { v.mem[0] = 1 }
	var mu sync.Mutex
	var stages []Stage
	p := newAbortable(touch)
	p.abort = touch
	cfg := Config{CPUs: []int{1}, Idle: napping, OnFault: func(f Fault) bool {
		mu.Lock()
		defer mu.Unlock()
		stages = append(stages, f.Stage)
		return true
	}}
	m := newManager(t, simulated(t), cfg, only(p))
	var once atomic.Bool
	rx := &fakeRx{release: touch, receive: func(b *packet.Batch) int {
		if once.Swap(true) {
			return 0
		}
		return onePacket(b)
	}}
	if err := m.SetQueues([]Queue{queue("a", 0, rx)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "polling goes on", func() bool { return rx.polls.Load() > 10 })
	mu.Lock()
	defer mu.Unlock()
	if want := []Stage{StageProcess, StageProcess, StageRelease}; !slices.Equal(stages, want) {
		t.Errorf("faults in %v, want %v", stages, want)
	}
	if first, second := <-p.aborts, <-p.aborts; !first || second || len(p.aborts) != 0 {
		t.Errorf("Abort had a batch: %v, then %v; and %d more calls", first, second, len(p.aborts))
	}
}

// TestStrayFaultsAreBounded has faults that nobody answers for: the queue rests, never for long, and the log is short.
func TestStrayFaultsAreBounded(t *testing.T) {
	for name, onFault := range map[string]func(Fault) bool{
		"an OnFault that knows no owner": func(Fault) bool { return false },
		"no OnFault":                     nil,
	} {
		t.Run(name, func(t *testing.T) {
			v := newVanishing(t)
			v.vanish(t)
			var log lineCounter
			m := newManagerLog(t, simulated(t), Config{CPUs: []int{1}, Idle: napping, OnFault: onFault},
				only(processFunc(func(*packet.Batch) { v.mem[0] = 1 })),
				slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})))
			if err := m.SetQueues([]Queue{queue("a", 0, &fakeRx{receive: onePacket})}); err != nil {
				t.Fatal(err)
			}
			faults := func() uint64 { return m.Stats()[0].Faults }
			eventually(t, "it rests", func() bool { return statsOf(t, m, "a", 0).Suspended })
			if n := faults(); n != strayFaultsPerSecond+1 {
				t.Errorf("%d faults before the first rest", n)
			}
			start := time.Now()
			eventually(t, "it is tried again", func() bool { return faults() > strayFaultsPerSecond+1 })
			eventually(t, "it rests again", func() bool { return statsOf(t, m, "a", 0).Suspended })
			if n := faults(); n > 4*strayFaultsPerSecond {
				t.Errorf("%d faults within %v", n, time.Since(start))
			}
			if n := log.lines.Load(); n < 1 || n > 2+int64(time.Since(start)/logEvery) {
				t.Errorf("%d lines in the log within %v", n, time.Since(start))
			}
			v.restore(t)
			if err := m.SetQueues([]Queue{queue("a", 0, &fakeRx{receive: onePacket})}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it works", func() bool { return statsOf(t, m, "a", 0).Packets > 10 })
		})
	}
}

// lineCounter is a log that counts its lines.
type lineCounter struct{ lines atomic.Int64 }

func (c *lineCounter) Write(p []byte) (int, error) {
	c.lines.Add(int64(bytes.Count(p, []byte("\n"))))
	return len(p), nil
}

// TestUnmetPinIsLoggedOnce: a guest decides how often its queues come and go.
func TestUnmetPinIsLoggedOnce(t *testing.T) {
	var log lineCounter
	m := newManagerLog(t, simulated(t), Config{CPUs: []int{1}, Idle: napping}, discard,
		slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	q := queue("a", 0, &fakeRx{})
	q.Pin = 7
	for range 20 {
		for _, qs := range [][]Queue{{q}, nil} {
			if err := m.SetQueues(qs); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := log.lines.Load(); n != 1 {
		t.Errorf("%d lines, want 1", n)
	}
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
	var m *Manager
	panics := map[string]func(*packet.Batch){
		"a programmer's own": func(*packet.Batch) { panic("mistake 4711") },
		"index out of range": func(b *packet.Batch) { b.Packet(-1 + b.Len() - 1).Len() },
		"nil pointer":        func(*packet.Batch) { var p *[1]int; p[0] = 1 },
		"waits for itself":   func(*packet.Batch) { m.Synchronize() },
	}
	if kind := os.Getenv(variable); kind != "" {
		var err error
		m, err = New(simulated(t), Config{CPUs: []int{1}, Idle: napping}, func(_, _, _ int) Processor {
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
		"index out of range": "boundsError", // Go does not call the method Error of what is raised while a turn is held
		"nil pointer":        "nil pointer dereference",
		"waits for itself":   "Synchronize was called on a PMD thread",
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestOtherPanicsEndTheProcess$")
		cmd.Env = append(os.Environ(), variable+"="+kind)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), message) || !strings.Contains(string(out), "fault_test.go") {
			t.Errorf("%s: the process ended with %v, want a crash with %q and the place of it:\n%s", kind, err, message, out)
		}
	}
}
