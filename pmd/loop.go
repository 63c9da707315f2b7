package pmd

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

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

	// longestWait is how long a thread waits to be woken at a time, in nanoseconds: as long as the longest nap that can be
	// configured, for the same reason. A hundred such waits a second cost next to nothing.
	longestWait = int64(MaxMaxSleep)
)

// queueList is what a thread polls, immutable once published.
type queueList struct {
	queues []*polledQueue
	maxNap int64 // nanoseconds, 0: never nap
	stop   bool
	// waiting is the thread's, as long as queues if all of them are Wakers, and nil otherwise.
	waiting []unix.PollFd
}

// newQueueList makes a list of queues to poll.
func newQueueList(queues []*polledQueue, maxNap int64) *queueList {
	l := &queueList{queues: queues, maxNap: maxNap}
	for _, q := range queues {
		if q.waker == nil {
			return l
		}
	}
	l.waiting = make([]unix.PollFd, len(queues))
	return l
}

// polledQueue is a queue and its account. The fields are grouped by who writes them.
type polledQueue struct {
	// Constant.
	rx    RxQueue
	waker Waker // rx, if it is one
	port  uint32
	key   queueKey

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

// loop polls until it is told to stop. Nothing in it allocates, blocks, logs or looks at a clock but the TSC, and the
// scheduler does not take its turn away (see [sys.Turn]). The only thing that outlives an iteration is the idle back-off.
func (t *thread) loop() {
	b, iteration := t.batch, t.iterations.Load()
	empty, nap := 0, int64(firstNap)
	last := sys.Cycles()
	t.turn.Hold(last)
	for {
		// The quiescent point: nothing found in an earlier iteration is held any more, and what is published is read
		// anew after it. The store is sequentially consistent (see Manager.Synchronize).
		iteration++
		t.iterations.Store(iteration)
		list := t.list.Load()
		if list.stop {
			t.turn.Release()
			return
		}
		if t.turn.Asked(last) {
			t.turn.Answer(last)
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
		if received == 0 && idle == 0 { // every queue is suspended, and the next would be charged with all that time
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
			last, nap = t.rest(list, nap, last)
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

// rest naps or, after the longest nap, waits to be woken if that can be. It returns how long to nap next, too.
func (t *thread) rest(list *queueList, nap int64, before uint64) (after uint64, next int64) {
	if nap >= list.maxNap {
		if after, waited := t.wait(list, before); waited {
			return after, nap
		}
	}
	nap = min(nap, list.maxNap)
	return t.nap(nap, before), 2 * nap
}

// wait sleeps until a queue has packets. It reports false, and did not sleep, when one has some already or cannot wake the
// thread.
func (t *thread) wait(list *queueList, before uint64) (after uint64, waited bool) {
	armed := 0
	for i := range list.waiting {
		q := list.queues[i]
		if q.suspended.Load() {
			break
		}
		t.current, t.stage = q, StageReceive // Arm looks into the guest's memory
		fd, ok := q.waker.Arm()
		t.current = nil
		if !ok {
			break
		}
		list.waiting[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		armed++
	}
	if waited = armed > 0 && armed == len(list.queues); waited {
		sys.WaitAny(list.waiting, longestWait)
	}
	for _, q := range list.queues[:armed] {
		t.current, t.stage = q, StageReceive
		q.waker.Disarm()
		t.current = nil
	}
	if !waited {
		return before, false
	}
	after = sys.Cycles()
	store(&t.counters.napped, t.counters.napped+(after-before))
	store(&t.counters.naps, t.counters.naps+1)
	return after, true
}
