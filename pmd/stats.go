package pmd

import (
	"math"
	"sync/atomic"
)

// States of a PMD thread.
const (
	StatePolling  = "polling"
	StateNoQueues = "no queues"
)

// QueueStats is one receive queue as its PMD thread sees it.
type QueueStats struct {
	Port      string `json:"port"`
	Queue     int    `json:"queue"`
	Node      int    `json:"node"`       // of the queue's memory, -1 unknown
	Pinned    bool   `json:"pinned"`     // the configuration names this CPU
	PinUnmet  bool   `json:"pin_unmet"`  // the configuration names a CPU that has no PMD thread
	CrossNUMA bool   `json:"cross_numa"` // the thread is on another node than the memory
	Suspended bool   `json:"suspended"`  // not polled for now, after memory faults
	Packets   uint64 `json:"packets"`
	Batches   uint64 `json:"batches"`
	// Cycles are those of polls that returned packets: receiving, processing, transmitting, releasing.
	Cycles uint64 `json:"cycles"`
	// Load is Cycles over the last LoadWindow, in percent of one CPU.
	Load float64 `json:"load"`
}

// ThreadStats is one PMD thread.
type ThreadStats struct {
	Thread int          `json:"thread"`
	CPU    int          `json:"cpu"`
	Node   int          `json:"node"`
	TID    int          `json:"tid"`
	State  string       `json:"state"` // StatePolling, StateNoQueues
	Queues []QueueStats `json:"queues"`
	// BusyCycles are the polls that returned packets, IdleCycles those that did not, SleepCycles the idle back-off.
	BusyCycles  uint64 `json:"busy_cycles"`
	IdleCycles  uint64 `json:"idle_cycles"`
	SleepCycles uint64 `json:"sleep_cycles"`
	Iterations  uint64 `json:"iterations"`
	Sleeps      uint64 `json:"sleeps"`
	Faults      uint64 `json:"faults"`
	// Gaps counts the iterations that took longer than each of some thresholds, sleeps left out, and LongestGapCycles is
	// the longest of them: for so long no queue was polled. Differences of two readings tell of the time between them.
	Gaps             []LoopGap `json:"gaps"`
	LongestGapCycles uint64    `json:"longest_gap_cycles"`
	// Load is BusyCycles over the last LoadWindow in percent.
	Load float64 `json:"load"`
	// TSCHz is how many cycles there are in a second.
	TSCHz uint64 `json:"tsc_hz"`
}

// Stats describes every PMD thread, ascending by CPU, and its queues by port and index.
func (m *Manager) Stats() []ThreadStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	list, threads := m.sorted(), *m.threads.Load()
	out := make([]ThreadStats, len(threads))
	for i, t := range threads {
		out[i] = t.stats()
		out[i].TSCHz = m.tscHz
		for _, q := range list {
			if q.control.thread == t {
				out[i].Queues = append(out[i].Queues, q.stats(t))
			}
		}
		if len(out[i].Queues) > 0 {
			out[i].State = StatePolling
		}
	}
	return out
}

func (t *thread) stats() ThreadStats {
	c := &t.counters
	return ThreadStats{
		Thread: t.id, CPU: t.cpu, Node: t.node, TID: t.tid, State: StateNoQueues, Queues: []QueueStats{},
		BusyCycles:  atomic.LoadUint64(&c.busy),
		IdleCycles:  atomic.LoadUint64(&c.idle),
		SleepCycles: atomic.LoadUint64(&c.napped),
		Iterations:  t.iterations.Load(),
		Sleeps:      atomic.LoadUint64(&c.naps),
		Faults:      atomic.LoadUint64(&c.faults),
		Gaps:        t.gaps.list(),

		LongestGapCycles: atomic.LoadUint64(&t.gaps.longest),
		Load:             roundPercent(t.load.since(t.sample())),
	}
}

func (q *polledQueue) stats(t *thread) QueueStats {
	spec := &q.control.spec
	return QueueStats{
		Port: spec.PortName, Queue: spec.Index, Node: spec.Node,
		Pinned:    spec.Pin >= 0 && spec.Pin == t.cpu,
		PinUnmet:  spec.Pin >= 0 && spec.Pin != t.cpu,
		CrossNUMA: crosses(t.node, spec.Node),
		Suspended: q.suspended.Load(),
		Packets:   atomic.LoadUint64(&q.packets),
		Batches:   atomic.LoadUint64(&q.batches),
		Cycles:    atomic.LoadUint64(&q.cycles),
		Load:      roundPercent(q.control.load.since(q.sample())),
	}
}

// roundPercent is a share as a percentage with one decimal.
func roundPercent(share float64) float64 { return math.Round(1000*share) / 10 }
