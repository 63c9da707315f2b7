package pmd

import (
	"fmt"
	"time"
)

// faultsPerSecond is how often a queue that only was the source of a faulting batch is resumed in a second. One whose
// batches go on faulting after OnFault was called waits for the next SetQueues.
const faultsPerSecond = 10

// faultRate counts a queue's faults in the current second.
type faultRate struct {
	since time.Time
	n     int
}

// allow counts a fault and reports whether there were few enough lately to try again.
func (r *faultRate) allow(now time.Time) bool {
	if now.Sub(r.since) > time.Second {
		r.since, r.n = now, 0
	}
	r.n++
	return r.n <= faultsPerSecond
}

// handleFault runs on a goroutine of its own after a memory fault suspended q.
func (m *Manager) handleFault(q *polledQueue, f Fault) {
	m.mu.Lock()
	f.Queue = q.control.spec
	onFault, again := m.cfg.OnFault, q.control.faults.allow(time.Now())
	m.mu.Unlock()
	m.log.Error("memory behind a port is gone: its queue is not polled any more", "port", f.Queue.PortName,
		"queue", f.Queue.Index, "cpu", f.CPU, "stage", f.Stage.String(),
		"address", fmt.Sprintf("%#x", f.Addr), "error", f.Err)
	if onFault == nil {
		return
	}
	onFault(f)
	if f.Stage == StageProcess && again {
		q.suspended.Store(false)
	}
}
