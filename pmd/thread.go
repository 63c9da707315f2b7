package pmd

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"weft/internal/packet"
	"weft/internal/sys"
	"weft/numa"
)

// thread is one PMD thread.
//
// Concurrency: the goroutine in run is the only writer of the second group and the only user of the third; control
// writes the list; iterations and counters are read by anyone.
type thread struct {
	// Constant once started.
	id, cpu, node int
	tid           int
	tscHz         uint64
	clock         tscClock
	topo          *numa.Topology
	gapLimits     gapLimits
	newProcessor  func(thread, cpu, node int) Processor
	onFault       func(f *Fault) (owned bool)
	turnLost      error         // why the scheduler takes the thread's turn as it likes
	started       chan error    // one answer: running, or why not
	done          chan struct{} // closed when the thread is through with everything

	// Control's message.
	list atomic.Pointer[queueList]
	_    [64]byte

	// The thread's account. iterations is stored once per iteration (see loop); 0 means the loop was never entered.
	iterations atomic.Uint64
	counters   threadCounters
	gaps       gapCounters
	_          [64]byte

	// Control's, under the Manager's lock.
	load loadHistory
	_    [64]byte

	// Private to the thread.
	processor Processor
	batch     *packet.Batch
	turn      sys.Turn
	current   *polledQueue // being polled
	stage     Stage
}

// start runs the thread and returns when it polls, or could not be set up.
func (t *thread) start() error {
	go t.run(nil)
	return <-t.started
}

// ended reports that the thread has left its loop for good.
func (t *thread) ended() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// run is the thread's goroutine. It stays locked to the OS thread to its end, so that the OS thread, with its affinity
// and timer slack, ends with it. onThread, unless nil, is called once the goroutine has a suitable OS thread.
func (t *thread) run(onThread func()) {
	runtime.LockOSThread()
	if t.tid = sys.ThreadID(); t.tid == os.Getpid() {
		// The process's first thread cannot end before the process, and the process is known by its name and affinity:
		// while it is held here, another is found.
		found := make(chan struct{})
		go t.run(func() { close(found) })
		<-found
		runtime.UnlockOSThread()
		return
	}
	if onThread != nil {
		onThread()
	}
	defer close(t.done)

	memory, err := t.setUp()
	if err != nil {
		t.started <- err
		return
	}
	defer memory.Close()
	if closer, ok := t.processor.(io.Closer); ok {
		defer closer.Close()
	}
	debug.SetPanicOnFault(true)
	if t.turn, t.turnLost = sys.TakeTurn(t.tscHz); t.turnLost == nil {
		defer t.turn.Drop()
	}
	t.started <- nil
	for !t.poll() {
	}
}

// setUp pins the OS thread and makes, on it, so that memory is taken from its node, what the loop needs.
func (t *thread) setUp() (memory *numa.Arena, err error) {
	if err := t.topo.PinThread(t.cpu); err != nil {
		return nil, err
	}
	if err := sys.SetTimerSlack(1); err != nil {
		return nil, err
	}
	// Only for the eyes of who runs top -H: a /proc that is read-only is no reason to fail.
	_ = sys.SetThreadName(fmt.Sprintf("pmd-c%02d", t.cpu))
	cfg := numa.ArenaConfig{Node: t.node, Size: packet.BatchMemory, Small: true}
	if t.topo.Simulated() {
		cfg.Node = -1
	}
	if memory, err = numa.NewArena(cfg); err != nil {
		return nil, err
	}
	windows, err := memory.Alloc(packet.BatchMemory, sys.PageSize())
	if err != nil {
		_ = memory.Close()
		return nil, err
	}
	t.batch = packet.NewBatch(windows)
	t.processor = t.newProcessor(t.id, t.cpu, t.node)
	return memory, nil
}

// poll runs the loop until it is told to stop (true) or a memory fault ends it (false).
func (t *thread) poll() (stopped bool) {
	defer func() {
		if r := recover(); r != nil {
			// What is no memory fault is raised again from here, where the frames that raised it are still on the
			// stack.
			t.faulted(r)
		}
	}()
	t.loop()
	return true
}
