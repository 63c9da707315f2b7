package pmd

import (
	"runtime"
	"time"

	"weft/internal/sys"
)

const (
	// quickLooks is how often waitQuiescent looks before it sleeps between looks. A busy thread's iteration is over
	// within some ten microseconds, about as many looks.
	quickLooks = 100

	// lookEvery is how long it sleeps then.
	lookEvery = 50 * time.Microsecond
)

// Synchronize returns after every PMD thread has passed a quiescent point since the call: what was unpublished before
// the call (a ring, a port table, a mapping) is used by no PMD thread any more. It waits at most as long as the
// longest iteration or nap takes. It may be called by several goroutines at a time, and must not be called on a PMD
// thread, which would wait for itself: it panics then.
//
// Why one step of the counter suffices: the thread's store to iterations and our loads are in one total order with the
// store that unpublished (sync/atomic is sequentially consistent). The store that we see came after our first load,
// thus after the unpublishing, and all that the thread loads afterwards comes later still; what it loaded before, it
// has let go of by then.
func (m *Manager) Synchronize() {
	threads := *m.threads.Load()
	self := sys.ThreadID()
	for _, t := range threads {
		if t.iterations.Load() != 0 && t.tid == self && !t.ended() {
			panic("pmd: Synchronize was called on a PMD thread")
		}
	}
	waitQuiescent(threads)
}

// waitQuiescent returns after each of threads has begun an iteration since the call, or ended. One that never began one
// holds nothing.
func waitQuiescent(threads []*thread) {
	seen := make([]uint64, len(threads))
	for i, t := range threads {
		seen[i] = t.iterations.Load()
	}
	for i, t := range threads {
		for look := 0; seen[i] != 0 && t.iterations.Load() == seen[i] && !t.ended(); look++ {
			if look < quickLooks {
				runtime.Gosched()
			} else {
				time.Sleep(lookEvery)
			}
		}
	}
}
