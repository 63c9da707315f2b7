package sys

import (
	"math"
	"time"
)

// Turn is the CPU time that Go's scheduler gave a goroutine that is locked to its thread. When it has had its turn for 10
// ms the scheduler asks for it, so that another goroutine can run in its place, and hands it back by way of a second thread
// of the process: microseconds if that finds a free CPU at once, milliseconds if not. A goroutine that holds its turn does
// not give it away for that. It does for what stops every goroutine for a moment, a collection above all, and that tells by
// asking again at once: every 100 us for a stop-the-world, more often for a stack. It has to look for requests itself, often:
// everybody else stands still until it answers. It answers by a short system call: to the scheduler a goroutine in a system
// call is one that has stopped, and one that comes out of it goes on by itself if there is a P for it, its own or any that
// nobody uses, where one that yields is woken by another thread when that gets a CPU.
//
// While it holds its turn a goroutine must not block, nor wait for anything that a goroutine does. A panic then ends the
// process with "panic holding locks"; but a memory fault (SIGBUS, SIGSEGV) releases the turn before Go makes a panic of it.
//
// How: runtime.procPin, and handlers before Go's own for the signal by which its scheduler asks (SIGURG, since Go 1.14) and
// those of memory faults.
//
// Concurrency: the goroutine that took the turn alone uses it.
type Turn struct {
	slot     *turnSlot // never nil
	none     bool      // the scheduler takes the turn as it likes
	answered uint64    // requests that the goroutine knows of
	series   uint64    // of those, the ones before the present series
	since    uint64    // when that began, in cycles
	until    uint64    // when the goroutine gives up the turn unasked, in cycles

	insistence, longest uint64 // in cycles
}

const (
	// insistent is how many requests within insistence mean more than that the 10 ms are over.
	insistent  = 2
	insistence = time.Millisecond

	// longestTurn bounds how long everybody else would stand still if requests did not arrive.
	longestTurn = 10 * time.Second

	// answerNap is how long a goroutine that was asked for its turn stays in a system call. Most stops of the world are over
	// by then, and what wants the stack has found it.
	answerNap = 20 * time.Microsecond
)

// TakeTurn takes the calling goroutine's turn, not yet held. Drop it. tscHz is the rate of Cycles. With an error the turn is
// NoTurn.
func TakeTurn(tscHz uint64) (Turn, error) {
	slot, err := takeSlot()
	if err != nil {
		return NoTurn(), err
	}
	return Turn{
		slot:       slot,
		insistence: uint64(insistence.Seconds() * float64(tscHz)),
		longest:    uint64(longestTurn.Seconds() * float64(tscHz)),
	}, nil
}

// NoTurn is what a goroutine has that the scheduler stops as it likes. Its methods do nothing.
func NoTurn() Turn { return Turn{slot: new(turnSlot), none: true, until: math.MaxUint64} }

// Drop gives the turn, which is not held, back for good.
func (t *Turn) Drop() { t.slot.drop() }

// Hold holds the turn from now on. A memory fault releases it.
func (t *Turn) Hold(now uint64) {
	if t.none {
		return
	}
	t.slot.hold()
	t.held(now)
}

// held begins a hold.
func (t *Turn) held(now uint64) {
	t.answered = t.slot.requests()
	t.series, t.since, t.until = t.answered, now, now+t.longest
	// The turn came with a P (a scheduler's queue), in which there may be other goroutines, which would wait until the turn
	// is over. Starting one makes the scheduler wake a thread that looks for work, and takes it from there.
	go func() {}()
}

// Release lets the scheduler take the turn.
func (t *Turn) Release() {
	if !t.none {
		t.slot.release()
	}
}

// Asked reports whether there is something to answer.
func (t *Turn) Asked(now uint64) bool { return t.slot.requests() != t.answered || now > t.until }

// Answer lets others have the turn if they cannot do without it, and holds it again soon: within answerNap and what the
// kernel takes to wake a thread, unless all Ps are taken by then.
func (t *Turn) Answer(now uint64) {
	if !t.insists(t.slot.requests(), now) && now <= t.until {
		return
	}
	t.slot.stepAside(answerNap)
	t.held(Cycles())
}

// insists takes note that there have been so many requests by now, and reports whether the last ones came in quick
// succession.
func (t *Turn) insists(asked, now uint64) bool {
	if now-t.since > t.insistence {
		t.series, t.since = t.answered, now
	}
	t.answered = asked
	return asked-t.series >= insistent
}
