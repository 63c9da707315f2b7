package pmd

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"
)

// strayFaultsPerSecond is how many memory faults that nobody answers for a queue may cause in a second. Then it is not
// polled for the rest of that second. Faults that OnFault found an owner for are not counted: their owner causes no
// more, and the queue that was polled need not be to blame.
const strayFaultsPerSecond = 10

// faultRate counts a queue's stray faults in the current second.
type faultRate struct {
	since time.Time
	n     int
}

// count adds a fault, and returns how long the queue is to rest, usually 0.
func (r *faultRate) count(now time.Time) time.Duration {
	if now.Sub(r.since) >= time.Second {
		r.since, r.n = now, 0
	}
	r.n++
	if r.n <= strayFaultsPerSecond {
		return 0
	}
	return time.Second - now.Sub(r.since)
}

// memoryFault is what the runtime panics with, under debug.SetPanicOnFault, for an address that is not near nil.
type memoryFault interface {
	runtime.Error
	Addr() uintptr
}

// faulted deals with the panic r that ended the loop. What is no memory fault while polling is raised again.
func (t *thread) faulted(r any) {
	q := t.current
	if q == nil {
		panic(r)
	}
	t.report(q, t.stage, r)
	if t.stage == StageProcess {
		t.settle(q)
	}
	t.current = nil
}

// settle ends a Process that a fault interrupted: the processor finishes what can be finished, and the queue, which may
// have nothing to do with the fault, gets its batch back. Either may meet the next fault.
func (t *thread) settle(q *polledQueue) {
	if a, is := t.processor.(Aborter); is {
		if !t.guarded(q, StageProcess, func() { a.Abort(t.batch) }) {
			t.guarded(q, StageProcess, func() { a.Abort(nil) })
		}
	}
	t.guarded(q, StageRelease, func() { q.rx.Release(t.batch) })
}

// guarded runs f, and reports false when a memory fault ended it.
func (t *thread) guarded(q *polledQueue, stage Stage, f func()) (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			t.report(q, stage, r)
		}
	}()
	f()
	return true
}

// report tells OnFault of the memory fault r, before the thread's next quiescent point, so that whoever has mapped the
// address cannot have given it up yet, nor can another have mapped it since.
func (t *thread) report(q *polledQueue, stage Stage, r any) {
	fault, ok := r.(memoryFault)
	if !ok {
		panic(r)
	}
	store(&t.counters.faults, t.counters.faults+1)
	f := Fault{
		Addr: fault.Addr(), Port: q.key.port, Queue: q.key.index, Stage: stage, CPU: t.cpu,
		Err: fmt.Errorf("pmd: %s on CPU %d: %w", stage, t.cpu, fault),
	}
	if t.onFault(&f) {
		return
	}
	// Nobody can be made to stop it. Should it go on with every batch, the thread's other queues must not pay for that.
	if rest := q.stray.count(time.Now()); rest > 0 {
		q.suspended.Store(true)
		time.AfterFunc(rest, func() { q.suspended.Store(false) })
	}
}

// onFault asks Config.OnFault whose the address is, and logs. It runs on PMD threads.
func (m *Manager) onFault(f *Fault) (owned bool) {
	if ask := m.faultHandler.Load(); ask != nil {
		owned = (*ask)(*f)
	}
	// The owner says so, too, and knows more.
	level, limit, what := slog.LevelDebug, &m.ownedLog, "memory fault in another's memory"
	if !owned {
		level, limit, what = slog.LevelError, &m.strayLog, "memory fault at an address that nobody has mapped"
	}
	if held, ok := limit.allow(time.Since(m.started)); ok && m.log.Enabled(context.Background(), level) {
		// A log may block.
		go m.log.Log(context.Background(), level, what, "polled_port", f.Port, "queue", f.Queue, "cpu", f.CPU,
			"stage", f.Stage.String(), "address", fmt.Sprintf("%#x", f.Addr), "repeated", held, "error", f.Err)
	}
	return owned
}

// setFaultHandler publishes Config.OnFault to the PMD threads.
func (m *Manager) setFaultHandler(h func(Fault) bool) {
	if h == nil {
		m.faultHandler.Store(nil)
		return
	}
	m.faultHandler.Store(&h)
}

// logEvery is the least time between two log lines about the same kind of fault.
const logEvery = time.Second

// logLimit keeps what a guest can cause at any rate from flooding the log. The zero value is ready.
//
// Concurrency: any thread; none waits.
type logLimit struct {
	next atomic.Int64 // when a line is allowed again, in nanoseconds since the Manager started
	held atomic.Int64 // lines not written since the last one
}

// allow reports whether a line may be written now, and how many were not since the last.
func (l *logLimit) allow(now time.Duration) (held int64, ok bool) {
	next := l.next.Load()
	if int64(now) < next || !l.next.CompareAndSwap(next, int64(now+logEvery)) {
		l.held.Add(1)
		return 0, false
	}
	return l.held.Swap(0), true
}
