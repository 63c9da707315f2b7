package pmd

import (
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weft/internal/packet"
	"weft/numa"
	"weft/numa/numatest"
)

// napping is the back-off for tests: they share the machine with others.
var napping = IdleConfig{Mode: IdleSleep, MaxSleep: 200 * time.Microsecond}

// processFunc is a Processor.
type processFunc func(b *packet.Batch)

func (f processFunc) Process(b *packet.Batch) { f(b) }

// discard is a newProcessor whose processors do nothing.
func discard(_, _, _ int) Processor { return processFunc(func(*packet.Batch) {}) }

// simulated is the topology of numatest.TwoNodes.
func simulated(t testing.TB) *numa.Topology {
	t.Helper()
	topo, err := numa.Read(numatest.TwoNodes(t))
	if err != nil {
		t.Fatal(err)
	}
	return topo
}

// thisMachine is the real topology.
func thisMachine(t testing.TB) *numa.Topology {
	t.Helper()
	topo, err := numa.Read("/")
	if err != nil {
		t.Fatal(err)
	}
	return topo
}

// newManager starts PMD threads that end with the test, which fails if goroutines or OS threads are left behind.
func newManager(t *testing.T, topo *numa.Topology, cfg Config,
	newProcessor func(thread, cpu, node int) Processor,
) *Manager {
	t.Helper()
	return newManagerLog(t, topo, cfg, newProcessor, slog.New(slog.NewTextHandler(t.Output(), nil)))
}

// newManagerLog is newManager with a log of the test's own.
func newManagerLog(t *testing.T, topo *numa.Topology, cfg Config,
	newProcessor func(thread, cpu, node int) Processor, log *slog.Logger,
) *Manager {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	m, err := New(topo, cfg, newProcessor, log)
	if err != nil {
		t.Fatal(err)
	}
	tids := tidsOf(m)
	t.Cleanup(func() {
		tids = append(tids, tidsOf(m)...)
		m.Stop()
		goleak.VerifyNone(t, leaks)
		for _, tid := range tids {
			eventually(t, "an OS thread has ended", func() bool { return tid == os.Getpid() || !threadExists(tid) })
		}
	})
	return m
}

func tidsOf(m *Manager) []int {
	var tids []int
	for _, s := range m.Stats() {
		tids = append(tids, s.TID)
	}
	return tids
}

// eventually waits until f is true, and fails the test when that takes long.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 20 s in vain until: %s", what)
		}
	}
}

// fakeRx is a receive queue that a test scripts.
type fakeRx struct {
	receive func(b *packet.Batch) int
	release func(b *packet.Batch)

	polls, releases atomic.Uint64
}

func (q *fakeRx) Receive(b *packet.Batch) int {
	q.polls.Add(1)
	b.Reset()
	if q.receive == nil {
		return 0
	}
	return q.receive(b)
}

func (q *fakeRx) Release(b *packet.Batch) {
	q.releases.Add(1)
	if q.release != nil {
		q.release(b)
	}
}

// onePacket is a receive function that always finds one minimal packet.
func onePacket(b *packet.Batch) int {
	clear(b.Add(packet.MinFrame).Header())
	return 1
}

// queue is a free queue on no known node.
func queue(port string, index int, rx RxQueue) Queue {
	return Queue{Port: 1, PortName: port, Index: index, Rx: rx, Node: -1, Pin: -1}
}

// cpuOf is the CPU whose thread polls a queue according to Stats, -1 when none does.
func cpuOf(m *Manager, port string, index int) int {
	for _, s := range m.Stats() {
		for _, q := range s.Queues {
			if q.Port == port && q.Queue == index {
				return s.CPU
			}
		}
	}
	return -1
}

// statsOf is a queue's account.
func statsOf(t *testing.T, m *Manager, port string, index int) QueueStats {
	t.Helper()
	for _, s := range m.Stats() {
		for _, q := range s.Queues {
			if q.Port == port && q.Queue == index {
				return q
			}
		}
	}
	t.Fatalf("%s/%d is polled by no thread", port, index)
	return QueueStats{}
}

// threadExists reports whether this process has an OS thread with this ID.
func threadExists(tid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", tid))
	return err == nil
}
