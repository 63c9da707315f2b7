package pmd

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"weft/internal/sys"
	"weft/numa"
)

// Reconfigure changes CPUs, idle back-off and OnFault while traffic flows. Threads on CPUs that stay go on undisturbed
// and keep their queues, unless CPUs were added: then all queues are assigned anew, as by Rebalance. Queues of threads
// that end are handed to others first. On error nothing has changed.
func (m *Manager) Reconfigure(cfg Config) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return ErrStopped
	}
	idle, err := cfg.Idle.withDefaults()
	if err != nil {
		return err
	}
	cfg.Idle = idle
	cpus, err := m.chooseCPUs(cfg.CPUs)
	if err != nil {
		return err
	}
	var keep, leave []*thread
	for _, t := range *m.threads.Load() {
		if slices.Contains(cpus, t.cpu) {
			keep = append(keep, t)
		} else {
			leave = append(leave, t)
		}
	}
	added := slices.DeleteFunc(slices.Clone(cpus), func(c int) bool { return slices.Contains(cpusOf(keep), c) })
	running := len(keep) + len(leave)
	m.procs.reserve(running+len(added), running)
	fresh, err := m.startThreads(added, append(slices.Clone(keep), leave...))
	if err != nil {
		m.procs.reserve(running, running)
		return err
	}
	exclusive := m.cfg.Exclusive
	m.cfg = cfg
	m.setFaultHandler(cfg.OnFault)
	threads := append(keep, fresh...)
	slices.SortFunc(threads, func(a, b *thread) int { return a.cpu - b.cpu })
	m.settleQueues(threads, leave, len(added) > 0)
	m.endThreads(leave)
	m.threads.Store(&threads)
	m.procs.reserve(len(threads), len(threads))
	switch {
	case cfg.Exclusive:
		rest := without(m.allowed, cpus)
		m.confine(rest, threads)
		m.prefer(threads, len(rest) > 0)
	case exclusive:
		m.confine(m.allowed, threads)
		m.prefer(threads, false)
	}
	return nil
}

// settleQueues gives the queues to threads, taking them from those that leave.
func (m *Manager) settleQueues(threads, leave []*thread, anew bool) {
	list := m.sorted()
	placed := assign(slotsOf(threads), m.demands(list, threads, true))
	m.place(append(slices.Clone(threads), leave...), list, placed)
	if anew {
		m.rebalance(list, threads)
	}
	for _, q := range list {
		m.warnPin(q)
	}
}

// chooseCPUs checks the CPUs that were asked for, or chooses some when there are none.
func (m *Manager) chooseCPUs(asked []int) ([]int, error) {
	if len(asked) == 0 {
		cpus := m.topo.DefaultCPUs(m.allowed)
		if len(cpus) == 0 {
			return nil, errors.New("pmd: this process is allowed no CPU that is online: no PMD thread can run")
		}
		return cpus, nil
	}
	cpus := slices.Sorted(slices.Values(asked))
	if len(slices.Compact(slices.Clone(cpus))) != len(cpus) {
		return nil, fmt.Errorf("pmd: CPUs %v: a CPU is named twice", asked)
	}
	for _, c := range cpus {
		if _, online := m.topo.CPU(c); !online {
			return nil, fmt.Errorf("pmd: CPU %d is not online: there are %s", c, numa.FormatCPUs(m.topo.Online()))
		}
	}
	return cpus, nil
}

// startThreads starts a thread on each of cpus, all or none. beside are those there already.
func (m *Manager) startThreads(cpus []int, beside []*thread) ([]*thread, error) {
	all := slices.Clone(beside)
	var fresh []*thread
	for _, cpu := range cpus {
		t := &thread{
			id: freeID(all), cpu: cpu, node: m.topo.NodeOfCPU(cpu), topo: m.topo,
			tscHz: m.tscHz, clock: newTSCClock(m.tscHz), gapLimits: limitsAt(m.tscHz),
			newProcessor: m.newProcessor, onFault: m.onFault,
			started: make(chan error, 1), done: make(chan struct{}),
		}
		t.list.Store(&queueList{})
		t.load.begin()
		all, fresh = append(all, t), append(fresh, t)
		// Synchronize must not miss a thread that runs: publish before starting.
		published := slices.Clone(all)
		m.threads.Store(&published)
		if err := t.start(); err != nil {
			m.endThreads(fresh)
			m.threads.Store(&beside)
			return nil, fmt.Errorf("pmd: start the thread on CPU %d: %w", cpu, err)
		}
		if t.turnLost != nil {
			m.log.Warn("Go's scheduler will stop this PMD thread a hundred times a second", "cpu", t.cpu, "error", t.turnLost)
		}
		m.log.Info("PMD thread started", "thread", t.id, "cpu", t.cpu, "node", t.node, "tid", t.tid)
	}
	return fresh, nil
}

// endThreads tells threads to stop and waits until they have.
func (m *Manager) endThreads(threads []*thread) {
	for _, t := range threads {
		t.list.Store(&queueList{stop: true})
	}
	for _, t := range threads {
		<-t.done
		m.log.Info("PMD thread ended", "thread", t.id, "cpu", t.cpu)
	}
}

// confine keeps every thread of the process but the PMD threads on cpus. Without a CPU for them they stay where they
// are. A failure costs latency and nothing else: it is logged.
func (m *Manager) confine(cpus []int, threads []*thread) {
	if len(cpus) == 0 {
		m.log.Warn("PMD threads take every allowed CPU: the rest of the process shares them",
			"cpus", numa.FormatCPUs(m.allowed))
		cpus = m.allowed
	}
	tids := make([]int, len(threads))
	for i, t := range threads {
		tids[i] = t.tid
	}
	if err := m.topo.ConfineProcess(cpus, tids); err != nil {
		m.log.Warn("the rest of the process is not kept off the PMD threads' CPUs", "error", err)
	}
}

// prefer makes PMD threads the most urgent of their CPUs, or as urgent as the process: the kernel then puts what may run
// elsewhere there. On a simulated topology, where they share CPUs, it does nothing.
func (m *Manager) prefer(threads []*thread, most bool) {
	nice := m.nice
	if most {
		nice = sys.MostUrgent
	}
	if m.topo.Simulated() {
		return
	}
	for _, t := range threads {
		if err := sys.SetNice(t.tid, nice); err != nil {
			m.log.Info("PMD threads share their CPUs evenly with what else runs there: CAP_SYS_NICE or RLIMIT_NICE would let them "+
				"have more", "nice", m.nice, "error", err)
			return
		}
	}
}

// spareProcs is how many of Go's Ps there are to be beside one for each PMD thread, which hardly ever lets go of its own: two
// for the control side, a collection's helpers among it, to run on, and one at hand for a PMD thread that answered a request
// of the scheduler.
const spareProcs = 3

// procReserve raises GOMAXPROCS when PMD threads would leave too little of it.
type procReserve struct {
	original int // GOMAXPROCS as found, 0: untouched
	set      int // as set
}

// reserve makes room for so many PMD threads instead of those that hold their turn now, and for those of other Managers.
// Whoever changed GOMAXPROCS meanwhile: with too few Ps everything but PMD threads would stand still.
func (r *procReserve) reserve(threads, now int) {
	if procs := runtime.GOMAXPROCS(0); procs != r.set {
		r.original = procs
	}
	r.set = max(r.original, max(sys.TurnsTaken()-now, 0)+threads+spareProcs)
	runtime.GOMAXPROCS(r.set) // also when it is that already: the runtime then does not follow a CPU limit that changes
}

// restore undoes what reserve did.
func (r *procReserve) restore() {
	if r.original != 0 && r.original != r.set && runtime.GOMAXPROCS(0) == r.set {
		runtime.GOMAXPROCS(r.original)
	}
	r.original = 0
}

// freeID is the lowest number that no thread has.
func freeID(threads []*thread) int {
	for id := 0; ; id++ {
		if !slices.ContainsFunc(threads, func(t *thread) bool { return t.id == id }) {
			return id
		}
	}
}

func slotsOf(threads []*thread) []slot {
	slots := make([]slot, len(threads))
	for i, t := range threads {
		slots[i] = slot{cpu: t.cpu, node: t.node}
	}
	return slots
}

func cpusOf(threads []*thread) []int {
	cpus := make([]int, len(threads))
	for i, t := range threads {
		cpus[i] = t.cpu
	}
	slices.Sort(cpus)
	return cpus
}

func sortQueues(list []*polledQueue) {
	slices.SortFunc(list, func(a, b *polledQueue) int {
		x, y := &a.control.spec, &b.control.spec
		if c := strings.Compare(x.PortName, y.PortName); c != 0 {
			return c
		}
		return x.Index - y.Index
	})
}

// without is the elements of a that are not in b.
func without(a, b []int) []int {
	return slices.DeleteFunc(slices.Clone(a), func(c int) bool { return slices.Contains(b, c) })
}
