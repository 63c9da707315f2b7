package pmd

import (
	"math"
	"runtime"
	"time"

	"weft/internal/sys"
)

// Go's scheduler asks a thread for its turn when it has had it for 10 ms, so that another goroutine can run in its place,
// and hands it back by way of a second thread of the process: microseconds if that finds a free CPU at once, milliseconds
// if not. A PMD thread does not give its turn away for that, and the control side has CPUs of its own. It does for what
// stops every goroutine for a moment, a collection above all, and that tells by asking again at once: every 100 us for a
// stop-the-world, more often for a stack.

const (
	// insistent is how many requests within insistence mean more than that the 10 ms are over.
	insistent  = 2
	insistence = time.Millisecond

	// longestTurn bounds how long everybody else would stand still if requests did not reach a thread.
	longestTurn = 10 * time.Second
)

// turn is a thread's turn of Go's scheduler.
type turn struct {
	held     *sys.Turn // never nil
	none     bool      // held is no turn: the scheduler gave none
	answered uint64    // requests that the thread knows of
	series   uint64    // of those, the ones before the present series
	since    uint64    // when that began, in cycles
	until    uint64    // when the thread gives up the turn unasked, in cycles

	insistence, longest uint64 // in cycles
}

// takeTurn takes the calling goroutine's turn. On failure the turn is one that the scheduler takes as it likes.
func takeTurn(tscHz uint64) (turn, error) {
	held, err := sys.TakeTurn()
	if err != nil {
		return noTurn(), err
	}
	return turn{
		held:       held,
		insistence: uint64(insistence.Seconds() * float64(tscHz)),
		longest:    uint64(longestTurn.Seconds() * float64(tscHz)),
	}, nil
}

// noTurn is the turn of a thread that the scheduler stops as it likes.
func noTurn() turn { return turn{held: new(sys.Turn), none: true, until: math.MaxUint64} }

// drop gives the turn back for good.
func (t *turn) drop() { t.held.Drop() }

// hold holds the turn from now on.
func (t *turn) hold(now uint64) {
	if t.none {
		return
	}
	t.answered = t.held.Asked()
	t.series, t.since, t.until = t.answered, now, now+t.longest
	t.held.Hold()
	// The turn came with a P (a scheduler's queue), in which there may be other goroutines, which would wait until the turn
	// is over. Starting one makes the scheduler wake a thread that looks for work, and takes it from there.
	go func() {}()
}

// release lets the scheduler take the turn.
func (t *turn) release() {
	if !t.none {
		t.held.Release()
	}
}

// asked reports whether there is something to answer.
func (t *turn) asked(now uint64) bool { return t.held.Asked() != t.answered || now > t.until }

// answer lets others have the turn if they cannot do without it, and holds it again when they are through.
func (t *turn) answer(now uint64) {
	if !t.insists(t.held.Asked(), now) && now <= t.until {
		return
	}
	t.release()
	runtime.Gosched()
	t.hold(sys.Cycles())
}

// insists takes note that there have been so many requests by now, and reports whether the last ones came in quick
// succession.
func (t *turn) insists(asked, now uint64) bool {
	if now-t.since > t.insistence {
		t.series, t.since = t.answered, now
	}
	t.answered = asked
	return asked-t.series >= insistent
}
