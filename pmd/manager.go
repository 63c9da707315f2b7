package pmd

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weft/internal/sys"
	"weft/numa"
)

// Manager runs the PMD threads and says which queue is polled by which.
//
// Concurrency: all methods may be called by any goroutine but those of PMD threads. mu serialises them and guards what
// follows it; Synchronize does not take it. Processors are made and closed on their threads while mu is held, so
// neither newProcessor nor a processor's Close may call the Manager, nor take a lock that is held by who calls it.
type Manager struct {
	topo         *numa.Topology
	log          *slog.Logger
	newProcessor func(thread, cpu, node int) Processor
	allowed      []int // CPUs, as they were before any thread was confined
	nice         int   // of the process
	tscHz        uint64

	// threads are those that may be in their loop: a thread enters before it starts and leaves after it has ended.
	threads atomic.Pointer[[]*thread]

	// For PMD threads that had a memory fault: Config.OnFault, nil when there is none, and what keeps the log short.
	faultHandler       atomic.Pointer[func(Fault) bool]
	ownedLog, strayLog logLimit
	started            time.Time

	mu      sync.Mutex
	cfg     Config
	queues  map[queueKey]*polledQueue
	unmet   map[queueKey]int // pins to CPUs without a PMD thread that the log tells of
	stopped bool
	procs   procReserve

	sampler   sync.WaitGroup
	endSample chan struct{}
}

// queueKey is a queue's identity.
type queueKey struct {
	port  string
	index int
}

// queueControl is control's part of a polledQueue.
type queueControl struct {
	spec      Queue
	thread    *thread   // that polls it, nil while it is new
	placedFor placement // what was asked for when it was given that thread
	load      loadHistory
}

// placement is what of a Queue decides about its thread.
type placement struct {
	node, pin int
}

// New starts a PMD thread on each CPU of cfg and returns when all of them poll. newProcessor is called on each thread,
// which it is told by number (from 0, reused when threads come and go), CPU and node. A processor that has a Close()
// error method is closed on its thread when that ends; one that has an Abort method is told of memory faults (see
// Aborter). A nil log discards.
func New(topo *numa.Topology, cfg Config, newProcessor func(thread, cpu, node int) Processor,
	log *slog.Logger,
) (*Manager, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	allowed, err := topo.AllowedCPUs()
	if err != nil {
		return nil, fmt.Errorf("pmd: %w", err)
	}
	nice, err := sys.Nice(os.Getpid())
	if err != nil {
		return nil, fmt.Errorf("pmd: %w", err)
	}
	m := &Manager{
		topo: topo, log: log, newProcessor: newProcessor, allowed: allowed, nice: nice, tscHz: measureTSC(),
		queues: map[queueKey]*polledQueue{}, unmet: map[queueKey]int{}, endSample: make(chan struct{}),
		started: time.Now(),
	}
	m.threads.Store(&[]*thread{})
	if err := m.Reconfigure(cfg); err != nil {
		return nil, err
	}
	m.sampler.Add(1)
	go m.sampleLoads()
	return m, nil
}

// SetQueues makes qs the set of polled queues, in any order, and returns after every removed queue has left its thread:
// nobody calls its Receive or Release any more. A queue that stays (same port name, index, number and Rx) is not
// disturbed: it keeps its thread, unless its Pin or Node changed and that thread does not suit them any more. One that
// was suspended by memory faults is polled again. A pin to a CPU without a PMD thread is reported (log,
// QueueStats.PinUnmet) and the queue polled by another. On error nothing has changed.
func (m *Manager) SetQueues(qs []Queue) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return ErrStopped
	}
	if err := checkQueues(qs); err != nil {
		return err
	}
	next := make(map[queueKey]*polledQueue, len(qs))
	var list []*polledQueue
	for _, spec := range qs {
		key := queueKey{spec.PortName, spec.Index}
		q := m.queues[key]
		if q == nil || q.rx != spec.Rx || q.port != spec.Port {
			q = &polledQueue{rx: spec.Rx, port: spec.Port, key: key}
			q.waker, _ = spec.Rx.(Waker)
			q.control.load.begin()
		}
		q.control.spec = spec
		next[key] = q
		list = append(list, q)
	}
	threads := *m.threads.Load()
	placed := assign(slotsOf(threads), m.demands(list, threads, true))
	m.queues = next
	m.place(threads, list, placed)
	for _, q := range list {
		q.suspended.Store(false)
		m.warnPin(q)
	}
	return nil
}

func checkQueues(qs []Queue) error {
	seen := make(map[queueKey]bool, len(qs))
	for i := range qs {
		q := &qs[i]
		key := queueKey{q.PortName, q.Index}
		switch {
		case q.Rx == nil:
			return fmt.Errorf("pmd: set queues: %s has no receive queue", q.name())
		case seen[key]:
			return fmt.Errorf("pmd: set queues: %s is named twice", q.name())
		}
		seen[key] = true
	}
	return nil
}

// warnPin says that a queue's pin is not met: once, for a guest may make its queues come and go as it likes.
func (m *Manager) warnPin(q *polledQueue) {
	spec := &q.control.spec
	if spec.Pin < 0 || q.control.thread.cpu == spec.Pin {
		delete(m.unmet, q.key)
		return
	}
	if told, found := m.unmet[q.key]; !found || told != spec.Pin {
		m.unmet[q.key] = spec.Pin
		m.log.Warn("a queue is pinned to a CPU without a PMD thread: another polls it",
			"port", spec.PortName, "queue", spec.Index, "pinned", spec.Pin, "cpu", q.control.thread.cpu)
	}
}

// Move hands one queue to the PMD thread on cpu, where it stays until Rebalance, or a change of its own or of the CPUs,
// says otherwise. No other queue is disturbed, and this one is not polled for the moment that its old thread needs to
// finish an iteration. It returns when the queue is in its new thread's list.
func (m *Manager) Move(portName string, index, cpu int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return ErrStopped
	}
	q := m.queues[queueKey{portName, index}]
	if q == nil {
		return fmt.Errorf("pmd: move: there is no receive queue %s/%d", portName, index)
	}
	threads := *m.threads.Load()
	slots := slotsOf(threads)
	to := slotOfCPU(slots, cpu)
	if to == unplaced {
		return fmt.Errorf("pmd: move %s/%d: CPU %d has no PMD thread: those that have are %s",
			portName, index, cpu, numa.FormatCPUs(cpusOf(threads)))
	}
	if pin := q.control.spec.Pin; pin != cpu && slotOfCPU(slots, pin) != unplaced {
		return fmt.Errorf("pmd: move %s/%d: the configuration pins it to CPU %d: change it there", portName, index, pin)
	}
	list := m.sorted()
	placed := make([]int, len(list))
	for i, other := range list {
		placed[i] = slices.Index(threads, other.control.thread)
		if other == q {
			placed[i] = to
		}
	}
	m.place(threads, list, placed)
	return nil
}

// Rebalance assigns all queues anew by the load that was measured over the last seconds, and moves those that differ if
// that is an improvement (see improves). It returns how many moved. What Move did is not kept.
func (m *Manager) Rebalance() (moved int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return 0, ErrStopped
	}
	list, threads := m.sorted(), *m.threads.Load()
	return m.rebalance(list, threads), nil
}

func (m *Manager) rebalance(list []*polledQueue, threads []*thread) (moved int) {
	demands, slots := m.demands(list, threads, false), slotsOf(threads)
	placed := assign(slots, demands)
	if !improves(slots, demands, placed) {
		return 0
	}
	return m.place(threads, list, placed)
}

// demands describes list for assign. With keep, queues stay where they are as long as that suits them.
func (m *Manager) demands(list []*polledQueue, threads []*thread, keep bool) []demand {
	slots := slotsOf(threads)
	out := make([]demand, len(list))
	for i, q := range list {
		spec := &q.control.spec
		d := demand{
			port: spec.PortName, index: spec.Index, node: spec.Node, pin: spec.Pin,
			load: q.control.load.percent(q), at: slices.Index(threads, q.control.thread),
		}
		// A queue that Move put on another node stays there until its node changes.
		unchanged := q.control.placedFor == placement{node: spec.Node, pin: spec.Pin}
		d.stays = keep && d.at != unplaced && (unchanged || satisfied(slots, d.at, &d))
		out[i] = d
	}
	return out
}

// place publishes lists so that list[i] is polled by threads[placed[i]] and nothing else is polled, and returns how
// many queues moved from one thread to another. Threads whose queues do not change do not notice.
func (m *Manager) place(threads []*thread, list []*polledQueue, placed []int) (moved int) {
	final := make([][]*polledQueue, len(threads))
	stay := make([][]*polledQueue, len(threads))
	for i, q := range list {
		to := threads[placed[i]]
		final[placed[i]] = append(final[placed[i]], q)
		switch from := q.control.thread; {
		case from == to:
			stay[placed[i]] = append(stay[placed[i]], q)
		case from != nil:
			moved++
			m.log.Debug("a queue moves", "port", q.control.spec.PortName, "queue", q.control.spec.Index,
				"from_cpu", from.cpu, "to_cpu", to.cpu)
		}
		q.control.thread = to
		q.control.placedFor = placement{node: q.control.spec.Node, pin: q.control.spec.Pin}
	}
	// First everybody drops what it is to lose, and has done so at its next quiescent point; then takes what it gains.
	var losing []*thread
	for i, t := range threads {
		sortQueues(stay[i])
		sortQueues(final[i])
		if lost := len(t.list.Load().queues) > len(stay[i]); lost {
			losing = append(losing, t)
		}
		m.publish(t, stay[i])
	}
	waitQuiescent(losing)
	for i, t := range threads {
		m.publish(t, final[i])
	}
	return moved
}

// publish gives t its list, if that differs from the one it has.
func (m *Manager) publish(t *thread, queues []*polledQueue) {
	maxNap := int64(0)
	if m.cfg.Idle.Mode == IdleSleep {
		maxNap = m.cfg.Idle.MaxSleep.Nanoseconds()
	}
	if old := t.list.Load(); old.maxNap != maxNap || !slices.Equal(old.queues, queues) {
		t.list.Store(newQueueList(queues, maxNap))
	}
}

// sorted is all queues in the order of their names and indices.
func (m *Manager) sorted() []*polledQueue {
	list := make([]*polledQueue, 0, len(m.queues))
	for _, q := range m.queues {
		list = append(list, q)
	}
	sortQueues(list)
	return list
}

// Threads is the number of PMD threads.
func (m *Manager) Threads() int { return len(*m.threads.Load()) }

// CPUs are the CPUs that have a PMD thread, ascending.
func (m *Manager) CPUs() []int { return cpusOf(*m.threads.Load()) }

// Stop ends all PMD threads and returns when they have ended. No queue is polled any more. Stopping twice does
// nothing.
func (m *Manager) Stop() {
	m.mu.Lock()
	if m.stopped {
		m.mu.Unlock()
		return
	}
	m.stopped = true
	m.endThreads(*m.threads.Load())
	m.threads.Store(&[]*thread{})
	m.queues = nil
	m.procs.restore()
	if m.cfg.Exclusive {
		m.confine(m.allowed, nil)
	}
	m.mu.Unlock()

	close(m.endSample)
	m.sampler.Wait()
}
