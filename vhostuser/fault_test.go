package vhostuser

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/sys"
)

// spansOf are the mapped ranges of a port now.
func spansOf(p *Port) []span {
	p.mapped.mu.RLock()
	defer p.mapped.mu.RUnlock()
	return p.mapped.spans
}

func TestFaultIsForTheSessionThatHasTheAddressMapped(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	f := dial(t, b.path)
	if b.Fault(0) || b.Fault(4096) {
		t.Error("owns memory without a session")
	}
	g.start(f)
	spans := spansOf(b.Port)
	if len(spans) != 1 {
		t.Fatalf("spans %x", spans)
	}
	for _, addr := range []uintptr{spans[0].first - 1, spans[0].last + 1, 0} {
		if b.Fault(addr) {
			t.Errorf("owns %#x, which is not in %x", addr, spans)
		}
	}
	if st := b.Status(); st.State != StateUp || st.Disconnects != 0 {
		t.Errorf("a fault elsewhere made it %s", st.State)
	}
	b.pmd.held.Lock() // the session cannot be over before PMD threads are heard of
	for _, addr := range []uintptr{spans[0].first, spans[0].last, spans[0].last} {
		if !b.Fault(addr) {
			t.Errorf("does not own %#x in %x", addr, spans)
		}
	}
	if b.rx[0].Detach() != nil || b.tx[0].Detach() != nil {
		t.Error("a ring is on its queue after a fault")
	}
	b.pmd.held.Unlock()
	f.ended()
	until(t, "listening again", func() bool { return b.Status().State == StateListening })
	if b.Fault(spans[0].first) {
		t.Error("the session is over and owns memory")
	}
	const want = "the front end cut off its memory file while it was in use (SIGBUS at 0x"
	if got := b.Status().LastError; !strings.HasPrefix(got, want) {
		t.Errorf("last error %q, want %q...", got, want)
	}
	g2 := newGuest(t, 1, 64)
	g2.start(dial(t, b.path))
	if b.Status().State != StateUp {
		t.Error("the next front end is not served")
	}
	b.Close()
	if b.Fault(spans[0].first) {
		t.Error("owns memory after Close")
	}
}

// TestRingsOfAFailedSessionStayOff has the fault in the midst of a message that ends with rings being attached.
func TestRingsOfAFailedSessionStayOff(t *testing.T) {
	for _, failed := range []bool{false, true} {
		b := newBench(t, Config{})
		g := newGuest(t, 1, 64)
		f := dial(t, b.path)
		g.start(f)
		b.mu.Lock()
		s := b.current
		b.mu.Unlock()
		more := memoryFile(t, guestSize)
		defer more.Close()
		b.pmd.held.Lock()
		synced := b.pmd.synced.Load()
		f.send(AddMemReg, oneRegion(regionSpec{guestGPA << 1, guestSize, guestUser << 1, 0}), int(more.Fd()))
		until(t, "the session waits for the PMD thread", func() bool { return b.pmd.synced.Load() > synced })
		s.cutOff.Store(failed) // as Fault does; the error that ends the session has not come yet
		b.pmd.held.Unlock()
		until(t, "the memory is there", func() bool { return len(spansOf(b.Port)) == 2 })
		time.Sleep(20 * time.Millisecond) // the session starts rings, and then waits
		if rx, tx := b.rx[0].Detach() != nil, b.tx[0].Detach() != nil; rx == failed || tx == failed {
			t.Errorf("cut off: %v; the rx ring is on its queue: %v; the tx ring: %v", failed, rx, tx)
		}
		if failed {
			s.failed <- &cutOffError{1}
			f.ended()
		}
	}
}

// TestFaultNeverEndsTheNextSession reports faults, from several goroutines, at addresses of sessions that are over.
func TestFaultNeverEndsTheNextSession(t *testing.T) {
	b := newBench(t, Config{})
	var gone atomic.Pointer[[]uintptr]
	gone.Store(new([]uintptr))
	var owned atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Microsecond):
				}
				for _, a := range *gone.Load() {
					if b.Fault(a) {
						owned.Add(1)
					}
				}
			}
		})
	}
	for round := range 50 {
		g := newGuest(t, 1, 64)
		f := dial(t, b.path)
		g.start(f)
		first := spansOf(b.Port)[0].first
		time.Sleep(time.Millisecond)
		if st := b.Status(); st.State != StateUp || st.Disconnects != uint64(round) {
			t.Fatalf("round %d: state %s, %q", round, st.State, st.LastError)
		}
		f.close()
		until(t, "listening again", func() bool { return b.Status().State == StateListening })
		// The address must not become the next session's.
		filler := &memSlot{}
		var err error
		if filler.mem, err = sys.MapShared(g.fd(), 0, guestSize); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = filler.close() })
		if (&guestMemory{slots: []*memSlot{filler}}).spans()[0].first == first {
			list := append(slices.Clone(*gone.Load()), first, first+guestSize/2)
			gone.Store(&list)
		}
	}
	close(stop)
	wg.Wait()
	if owned.Load() != 0 || len(*gone.Load()) == 0 {
		t.Errorf("%d faults were owned, of %d addresses that were used before", owned.Load(), len(*gone.Load()))
	}
}

// TestFaultsAreLoggedAtADecreasingRate lets a front end cut off its memory again and again.
func TestFaultsAreLoggedAtADecreasingRate(t *testing.T) {
	b := newBench(t, Config{})
	start := time.Now()
	const rounds = 60
	for i := range rounds {
		g := newGuest(t, 1, 64)
		f := dial(t, b.path)
		g.start(f)
		b.cutOff(g)
		f.ended()
		until(t, "the session is over", func() bool { return b.Status().Disconnects == uint64(i+1) })
	}
	lines := 0
	for line := range strings.Lines(b.log.String()) {
		if !strings.Contains(line, "level=DEBUG") {
			lines++
		}
	}
	// Of each of a few kinds of message one at once, and one a second at most.
	if limit := 4 * (1 + int(time.Since(start)/time.Second)); lines > limit {
		t.Errorf("%d lines in %v, want at most %d:\n%s", lines, time.Since(start), limit, b.log)
	}
	if b.pmd.stray.Load() != 0 || b.pmd.faults.Load() < rounds {
		t.Errorf("%d faults, %d of them not the port's", b.pmd.faults.Load(), b.pmd.stray.Load())
	}
}
