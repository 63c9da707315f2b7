package pmd

import (
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/packet"
)

func TestQueuesAreAssignedByNodeAndShown(t *testing.T) {
	m := newManager(t, simulated(t), Config{CPUs: []int{3, 7}, Idle: napping}, discard)
	if got := m.CPUs(); !slices.Equal(got, []int{3, 7}) || m.Threads() != 2 {
		t.Fatalf("%d threads on CPUs %v, want 3 and 7", m.Threads(), got)
	}
	qs := []Queue{
		queue("vm1", 0, &fakeRx{}), queue("vm2", 0, &fakeRx{}), queue("wire", 0, &fakeRx{}), queue("wire", 1, &fakeRx{}),
	}
	qs[0].Node, qs[1].Node, qs[2].Node, qs[3].Node = 0, 1, 0, 0
	qs[3].Pin = 7
	if err := m.SetQueues(qs); err != nil {
		t.Fatal(err)
	}
	type row struct {
		cpu               int
		pinned, crossNUMA bool
	}
	for name, want := range map[string]row{
		"vm1/0": {3, false, false}, "vm2/0": {7, false, false}, "wire/0": {3, false, false}, "wire/1": {7, true, true},
	} {
		port, index, _ := strings.Cut(name, "/")
		s := statsOf(t, m, port, int(index[0]-'0'))
		if got := (row{cpuOf(m, port, s.Queue), s.Pinned, s.CrossNUMA}); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	for _, s := range m.Stats() {
		if wantNode := map[int]int{3: 0, 7: 1}[s.CPU]; s.Node != wantNode || s.State != StatePolling || len(s.Queues) != 2 {
			t.Errorf("thread on CPU %d: node %d, state %q, %d queues", s.CPU, s.Node, s.State, len(s.Queues))
		}
	}
}

func TestDefaultCPUsAreChosenFromTheTopology(t *testing.T) {
	m := newManager(t, simulated(t), Config{Idle: napping}, discard)
	if got := m.CPUs(); !slices.Equal(got, []int{11, 15}) {
		t.Errorf("PMD threads on %v, want 11 and 15", got)
	}
}

func TestConfigurationsThatCannotBeAreRefused(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{CPUs: []int{3, 16}}, "CPU 16 is not online: there are 0-15"},
		{Config{CPUs: []int{3, 3}}, "named twice"},
		{Config{Idle: IdleConfig{Mode: "nap"}}, `"sleep"`},
		{Config{Idle: IdleConfig{Mode: IdleSleep, MaxSleep: time.Second}}, "10ms"},
		{Config{Idle: IdleConfig{Mode: IdleSleep, MaxSleep: -1}}, "1µs"},
	} {
		m, err := New(simulated(t), c.cfg, discard, nil)
		if err == nil {
			m.Stop()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want an error with %q", c.cfg, err, c.want)
		}
	}
}

func TestSetQueuesRefusesWhatIsAmbiguousAndChangesNothing(t *testing.T) {
	m := newManager(t, simulated(t), Config{CPUs: []int{3}, Idle: napping}, discard)
	a := queue("a", 0, &fakeRx{})
	if err := m.SetQueues([]Queue{a}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]Queue{{a, a}, {queue("b", 0, nil)}} {
		if err := m.SetQueues(bad); err == nil || !strings.Contains(err.Error(), bad[0].name()) {
			t.Errorf("%v, want an error that names the queue", err)
		}
	}
	if got := cpuOf(m, "a", 0); got != 3 {
		t.Errorf("after refused calls the queue is on CPU %d, want 3", got)
	}
}

func TestQueuesThatStayKeepThreadAndAccount(t *testing.T) {
	m := newManager(t, simulated(t), Config{CPUs: []int{1, 2, 5}, Idle: napping}, discard)
	set := func(qs ...Queue) {
		t.Helper()
		if err := m.SetQueues(qs); err != nil {
			t.Fatal(err)
		}
	}
	a, b, c := queue("a", 0, &fakeRx{receive: onePacket}), queue("b", 0, &fakeRx{}), queue("c", 0, &fakeRx{})
	a.Node, b.Node, c.Node = 0, 0, 0
	set(c)
	set(c, b)
	set(c, b, a)
	where := func() []int { return []int{cpuOf(m, "a", 0), cpuOf(m, "b", 0), cpuOf(m, "c", 0)} }
	if got := where(); !slices.Equal(got, []int{1, 2, 1}) {
		t.Fatalf("a, b, c are on %v, want 1, 2, 1", got)
	}
	eventually(t, "a was polled", func() bool { return statsOf(t, m, "a", 0).Packets > 0 })
	before := statsOf(t, m, "a", 0)
	set(a, b) // c goes: b stays although another thread has as few queues
	set(a, b, c)
	if got := where(); !slices.Equal(got, []int{1, 2, 1}) {
		t.Errorf("after c went and came, a, b, c are on %v, want 1, 2, 1", got)
	}
	if after := statsOf(t, m, "a", 0); after.Packets < before.Packets {
		t.Errorf("a's packets went back from %d to %d", before.Packets, after.Packets)
	}

	a.Node = 1 // the constraint changed
	set(a, b, c)
	if got := where(); !slices.Equal(got, []int{5, 2, 1}) {
		t.Errorf("after a's memory moved to node 1, a, b, c are on %v, want 5, 2, 1", got)
	}
	a.Node = -1 // a looser one that the thread still suits
	set(a, b, c)
	b.Pin = 1
	set(a, b, c)
	if got := where(); !slices.Equal(got, []int{5, 1, 1}) {
		t.Errorf("after b was pinned to CPU 1, a, b, c are on %v, want 5, 1, 1", got)
	}
	a.Rx = &fakeRx{}
	set(a, b, c)
	if after := statsOf(t, m, "a", 0); after.Packets != 0 {
		t.Errorf("a has another ring, but its account goes on at %d packets", after.Packets)
	}
}

func TestPinToACPUWithoutThreadIsReportedAndThePortWorks(t *testing.T) {
	m := newManager(t, simulated(t), Config{CPUs: []int{1, 5}, Idle: napping}, discard)
	rx := &fakeRx{receive: onePacket}
	q := queue("a", 0, rx)
	q.Node, q.Pin = 1, 9
	if err := m.SetQueues([]Queue{q}); err != nil {
		t.Fatal(err)
	}
	if s := statsOf(t, m, "a", 0); !s.PinUnmet || s.Pinned || cpuOf(m, "a", 0) != 5 {
		t.Errorf("%+v on CPU %d, want an unmet pin on CPU 5", s, cpuOf(m, "a", 0))
	}
	if err := m.Reconfigure(Config{CPUs: []int{1, 5, 9}, Idle: napping}); err != nil {
		t.Fatal(err)
	}
	if s := statsOf(t, m, "a", 0); s.PinUnmet || !s.Pinned || cpuOf(m, "a", 0) != 9 {
		t.Errorf("after CPU 9 got a thread: %+v on CPU %d, want pinned to 9", s, cpuOf(m, "a", 0))
	}
}

func TestRemovedQueueIsNeverPolledAgain(t *testing.T) {
	m := newManager(t, simulated(t), Config{CPUs: []int{1, 5}, Idle: napping}, discard)
	for range 50 {
		var gone atomic.Bool
		rx := &fakeRx{}
		rx.receive = func(b *packet.Batch) int {
			if gone.Load() {
				t.Error("Receive after SetQueues had removed the queue")
			}
			return onePacket(b)
		}
		rx.release = func(*packet.Batch) {
			if gone.Load() {
				t.Error("Release after SetQueues had removed the queue")
			}
		}
		if err := m.SetQueues([]Queue{queue("a", 0, rx), queue("b", 0, &fakeRx{})}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the queue is polled", func() bool { return rx.polls.Load() > 3 })
		if err := m.SetQueues([]Queue{queue("b", 0, &fakeRx{})}); err != nil {
			t.Fatal(err)
		}
		gone.Store(true)
	}
}

func TestMoveSaysWhyItCannot(t *testing.T) {
	m := newManager(t, simulated(t), Config{CPUs: []int{1, 5}, Idle: napping}, discard)
	pinned := queue("b", 0, &fakeRx{})
	pinned.Pin = 1
	if err := m.SetQueues([]Queue{queue("a", 0, &fakeRx{}), pinned}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		port       string
		index, cpu int
		want       string
	}{
		{"a", 1, 5, "no receive queue a/1"},
		{"a", 0, 2, "those that have are 1,5"},
		{"b", 0, 5, "pins it to CPU 1"},
	} {
		if err := m.Move(c.port, c.index, c.cpu); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("move %s/%d to %d: %v, want an error with %q", c.port, c.index, c.cpu, err, c.want)
		}
	}
	if err := m.Move("b", 0, 1); err != nil {
		t.Errorf("move to where it is pinned: %v", err)
	}
}

func TestMovedQueueStaysUntilRebalance(t *testing.T) {
	m := newManager(t, simulated(t), Config{CPUs: []int{1, 5}, Idle: napping}, discard)
	a := queue("a", 0, &fakeRx{})
	a.Node = 0
	if err := m.SetQueues([]Queue{a}); err != nil {
		t.Fatal(err)
	}
	if err := m.Move("a", 0, 5); err != nil {
		t.Fatal(err)
	}
	if err := m.SetQueues([]Queue{a, queue("b", 0, &fakeRx{})}); err != nil {
		t.Fatal(err)
	}
	if s := statsOf(t, m, "a", 0); cpuOf(m, "a", 0) != 5 || !s.CrossNUMA {
		t.Errorf("after SetQueues the moved queue is on CPU %d, cross NUMA %v; want 5, true", cpuOf(m, "a", 0), s.CrossNUMA)
	}
	if moved, err := m.Rebalance(); err != nil || cpuOf(m, "a", 0) != 1 || moved == 0 {
		t.Errorf("Rebalance moved %d queues, %v, and left it on CPU %d; want 1", moved, err, cpuOf(m, "a", 0))
	}
}

func TestReconfigureAddsAndRemovesThreads(t *testing.T) {
	var made, closed atomic.Int64
	m := newManager(t, simulated(t), Config{CPUs: []int{1, 2}, Idle: napping}, func(_, _, _ int) Processor {
		made.Add(1)
		return &closingProcessor{closed: &closed}
	})
	var qs []Queue
	for i := range 4 {
		qs = append(qs, queue("a", i, &fakeRx{receive: onePacket}))
		qs[i].Node = i / 2
	}
	if err := m.SetQueues(qs); err != nil {
		t.Fatal(err)
	}
	reconfigure := func(cpus ...int) {
		t.Helper()
		if err := m.Reconfigure(Config{CPUs: cpus, Idle: napping}); err != nil {
			t.Fatal(err)
		}
		if got := m.CPUs(); !slices.Equal(got, cpus) {
			t.Fatalf("PMD threads on %v, want %v", got, cpus)
		}
		for i := range qs {
			before := statsOf(t, m, "a", i).Packets
			eventually(t, "every queue is polled", func() bool { return statsOf(t, m, "a", i).Packets > before })
		}
	}
	where := func() (cpus []int) {
		for i := range qs {
			cpus = append(cpus, cpuOf(m, "a", i))
		}
		return cpus
	}
	reconfigure(1, 2, 5)
	if got := where(); got[2] != 5 || got[3] != 5 {
		t.Errorf("node 1 got a thread, but the queues are on %v", got)
	}
	first := where()
	reconfigure(1, 2)
	if got := where(); !slices.Equal(got[:2], first[:2]) {
		t.Errorf("a thread went, and queues %v of others moved to %v", first[:2], got[:2])
	}
	reconfigure(7)
	if got := where(); !slices.Equal(got, []int{7, 7, 7, 7}) {
		t.Errorf("one thread is left, but the queues are on %v", got)
	}
	if made.Load() != 4 || closed.Load() != 3 {
		t.Errorf("%d processors were made and %d closed, want 4 and 3", made.Load(), closed.Load())
	}
	if err := m.Reconfigure(Config{CPUs: []int{7, 99}}); err == nil || !slices.Equal(m.CPUs(), []int{7}) {
		t.Errorf("a CPU that is not there: %v, and the threads are on %v", err, m.CPUs())
	}
	m.Stop()
	if closed.Load() != 4 {
		t.Errorf("after Stop %d processors are closed, want 4", closed.Load())
	}
}

type closingProcessor struct{ closed *atomic.Int64 }

func (p *closingProcessor) Process(*packet.Batch) {}
func (p *closingProcessor) Close() error          { p.closed.Add(1); return nil }

func TestThreadNumbersAreReused(t *testing.T) {
	var ids []int
	m := newManager(t, simulated(t), Config{CPUs: []int{1, 2, 3}, Idle: napping}, func(thread, cpu, node int) Processor {
		ids = append(ids, thread) // one thread starts at a time
		return discard(thread, cpu, node)
	})
	for _, cpus := range [][]int{{1, 3}, {1, 3, 9}, {9, 10}} {
		if err := m.Reconfigure(Config{CPUs: cpus, Idle: napping}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []int{0, 1, 2, 1, 3}; !slices.Equal(ids, want) {
		t.Errorf("threads were numbered %v, want %v", ids, want)
	}
}

func TestStoppedManagerAnswersSo(t *testing.T) {
	m := newManager(t, simulated(t), Config{CPUs: []int{1}, Idle: napping}, discard)
	rx := &fakeRx{}
	if err := m.SetQueues([]Queue{queue("a", 0, rx)}); err != nil {
		t.Fatal(err)
	}
	m.Stop()
	polls := rx.polls.Load()
	m.Stop()
	m.Synchronize()
	_, rebalance := m.Rebalance()
	for _, err := range []error{m.SetQueues(nil), m.Move("a", 0, 1), rebalance, m.Reconfigure(Config{})} {
		if !errors.Is(err, ErrStopped) {
			t.Errorf("%v, want ErrStopped", err)
		}
	}
	if m.Threads() != 0 || len(m.Stats()) != 0 {
		t.Errorf("%d threads are left", m.Threads())
	}
	time.Sleep(5 * time.Millisecond)
	if rx.polls.Load() != polls {
		t.Error("a queue was polled after Stop")
	}
}

func TestGOMAXPROCSLeavesRoomAndIsRestored(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	m, err := New(simulated(t), Config{CPUs: []int{1, 2, 3, 4, 5}, Idle: napping}, discard, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := runtime.GOMAXPROCS(0), max(before, 5+spareProcs); got != want {
		t.Errorf("with 5 PMD threads GOMAXPROCS is %d, want %d", got, want)
	}
	other, err := New(simulated(t), Config{CPUs: []int{1, 2}, Idle: napping}, discard, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := runtime.GOMAXPROCS(0), max(before, 7+spareProcs); got != want {
		t.Errorf("with 7 PMD threads of two Managers GOMAXPROCS is %d, want %d", got, want)
	}
	other.Stop()
	m.Stop()
	if got := runtime.GOMAXPROCS(0); got != before {
		t.Errorf("GOMAXPROCS was %d and is %d after Stop", before, got)
	}
}

func TestNodesWithoutPMDThreadAreServedByOthers(t *testing.T) {
	m := newManager(t, simulated(t), Config{CPUs: []int{1}, Idle: napping}, discard)
	q := queue("a", 0, &fakeRx{})
	q.Node = 1
	if err := m.SetQueues([]Queue{q}); err != nil {
		t.Fatal(err)
	}
	if s := statsOf(t, m, "a", 0); !s.CrossNUMA {
		t.Errorf("%+v, want cross_numa", s)
	}
}

func TestStatsHaveTheNamesThatOperatorsSee(t *testing.T) {
	text, err := json.Marshal(ThreadStats{
		CPU: 3, State: StatePolling, Queues: []QueueStats{{Port: "vm1", Load: 12.5}},
		Gaps: []LoopGap{{100, 2}}, LongestGapCycles: 9,
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"thread":0,"cpu":3,"node":0,"tid":0,"state":"polling","queues":[{"port":"vm1","queue":0,"node":0,` +
		`"pinned":false,"pin_unmet":false,"cross_numa":false,"suspended":false,` +
		`"packets":0,"batches":0,"cycles":0,"load":12.5}],` +
		`"busy_cycles":0,"idle_cycles":0,"sleep_cycles":0,"iterations":0,"sleeps":0,"faults":0,` +
		`"gaps":[{"over_us":100,"count":2}],"longest_gap_cycles":9,"load":0,"tsc_hz":0}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}
