package pmd

import (
	"sync/atomic"

	"weft/internal/packet"
	"weft/internal/sys"
)

const (
	// spinIterations is how many iterations in a row must be empty before the first nap: some 50 microseconds with one
	// queue, so that a sender that is only a little slower than the thread never finds it asleep.
	spinIterations = 1024

	// firstNap is the first nap's length in nanoseconds; each following one is twice as long, up to the bound.
	firstNap = 1000

	// unemployedNap is how long a thread without queues naps at a time, in nanoseconds. It bounds how long Synchronize
	// and a first queue wait for it.
	unemployedNap = 500_000
)

// queueList is what a thread polls, immutable once published.
type queueList struct {
	queues []*polledQueue
	maxNap int64 // nanoseconds, 0: never nap
	stop   bool
}

// polledQueue is a queue and its account. The fields are grouped by who writes them.
type polledQueue struct {
	// Constant.
	rx   RxQueue
	port uint32
	key  queueKey

	// Set by the thread after too many faults, cleared by a timer and by control.
	suspended atomic.Bool

	// Written by the thread that polls the queue at the time.
	packets, batches, cycles uint64
	stray                    faultRate

	_ [64]byte

	// Control's, under the Manager's lock.
	control queueControl
}

// threadCounters are written by the thread alone.
type threadCounters struct {
	busy, idle, napped uint64 // cycles
	naps, faults       uint64
}

// loop polls until it is told to stop. Nothing in it allocates, blocks, logs or looks at a clock but the TSC. The only
// thing that outlives an iteration is the idle back-off.
func (t *thread) loop() {
	b, iteration := t.batch, t.iterations.Load()
	empty, nap := 0, int64(firstNap)
	last := sys.Cycles()
	for {
		// The quiescent point: nothing found in an earlier iteration is held any more, and what is published is read
		// anew after it. The store is sequentially consistent (see Manager.Synchronize).
		iteration++
		t.iterations.Store(iteration)
		list := t.list.Load()
		if list.stop {
			return
		}
		received, idle, begun := 0, uint64(0), last
		for _, q := range list.queues {
			if q.suspended.Load() {
				continue
			}
			n := t.pollQueue(q, b, last)
			now := sys.Cycles()
			spent := now - last
			last = now
			if n == 0 {
				idle += spent
				continue
			}
			received += n
			store(&q.packets, q.packets+uint64(n))
			store(&q.batches, q.batches+1)
			store(&q.cycles, q.cycles+spent)
			store(&t.counters.busy, t.counters.busy+spent)
		}
		if received == 0 && idle == 0 {
			// Every queue is suspended: without this, the next poll would be charged with all that time.
			now := sys.Cycles()
			idle, last = now-last, now
		}
		store(&t.counters.idle, t.counters.idle+idle)
		if last-begun > t.gapLimits[0] {
			t.noteGap(last - begun)
		}
		if received != 0 {
			empty, nap = 0, firstNap
			continue
		}
		empty++
		switch {
		case len(list.queues) == 0:
			last = t.nap(unemployedNap, last)
		case list.maxNap != 0 && empty > spinIterations:
			nap = min(nap, list.maxNap)
			last = t.nap(nap, last)
			nap *= 2
		default:
			sys.Pause()
		}
	}
}

// pollQueue is one queue's turn. The stage is noted for the case of a fault.
func (t *thread) pollQueue(q *polledQueue, b *packet.Batch, now uint64) int {
	t.current, t.stage = q, StageReceive
	n := q.rx.Receive(b)
	if n != 0 {
		b.InPort, b.Time = q.port, t.clock.nanoseconds(now)
		t.stage = StageProcess
		t.processor.Process(b)
		t.stage = StageRelease
		q.rx.Release(b)
	}
	t.current = nil
	return n
}

// nap sleeps for ns nanoseconds and returns the cycle count after it.
func (t *thread) nap(ns int64, before uint64) (after uint64) {
	sys.Nap(ns)
	after = sys.Cycles()
	store(&t.counters.napped, t.counters.napped+(after-before))
	store(&t.counters.naps, t.counters.naps+1)
	return after
}
