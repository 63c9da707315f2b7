package sys

import (
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// waits is how often the calling thread has waited for anything.
func waits(t *testing.T) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		t.Fatal(err)
	}
	return u.Nvcsw
}

// withTurn runs f on a goroutine that has a turn.
func withTurn(t *testing.T, f func(turn *Turn)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		turn, err := TakeTurn(1_000_000_000)
		if err != nil {
			t.Error(err)
			return
		}
		defer turn.Drop()
		f(&turn)
	}()
	<-done
}

// spinUntil reports whether f became true while the goroutine kept running.
func spinUntil(patience time.Duration, f func() bool) bool {
	for begun := time.Now(); time.Since(begun) < patience; {
		if f() {
			return true
		}
	}
	return false
}

func TestTurnThatIsHeldIsNotTaken(t *testing.T) {
	const patience = 20 * time.Second
	withTurn(t, func(turn *Turn) {
		before := waits(t)
		if !spinUntil(patience, func() bool { return waits(t) > before }) {
			t.Fatalf("a turn that is not held was not taken in %v: what is tested here does not happen", patience)
		}
		turn.Hold(Cycles())
		before = waits(t)
		asked := spinUntil(patience, func() bool { return turn.slot.requests() > 3 })
		n := waits(t) - before
		turn.Release()
		if n != 0 || !asked {
			t.Errorf("the thread waited %d times while it held its turn, which the scheduler asked for: %v", n, asked)
		}
	})
}

// TestStopTheWorldIsAnswered collects garbage while a goroutine holds its turn and answers only repeated requests.
func TestStopTheWorldIsAnswered(t *testing.T) {
	var collected atomic.Int32
	go func() {
		for range 10 {
			runtime.GC()
			collected.Add(1)
		}
	}()
	withTurn(t, func(turn *Turn) {
		turn.Hold(Cycles())
		for begun := time.Now(); collected.Load() < 10 && time.Since(begun) < 20*time.Second; {
			if now := Cycles(); turn.Asked(now) {
				turn.Answer(now)
			}
		}
		turn.Release()
	})
	if n := collected.Load(); n != 10 {
		t.Errorf("%d of 10 collections came to an end in 20 s", n)
	}
}

// TestMemoryFaultReleasesTheTurn has faults of both kinds while a turn is held.
func TestMemoryFaultReleasesTheTurn(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/empty")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	empty, err := unix.Mmap(int(file.Fd()), 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(empty) }()
	forbidden, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(forbidden) }()
	var sink byte
	var none *[8]byte
	for name, touch := range map[string]func(){
		"SIGBUS": func() { sink += empty[0] }, "SIGSEGV": func() { sink += forbidden[0] }, "nil": func() { sink += none[3] },
	} {
		withTurn(t, func(turn *Turn) {
			defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
			for range 100 {
				err := faultOf(func() { turn.Hold(Cycles()); touch() })
				if err == nil || !strings.Contains(err.Error(), "invalid memory address") {
					t.Fatalf("%s: the panic was %v", name, err)
				}
				if turn.slot.held != 0 {
					t.Fatalf("%s: the turn is held", name)
				}
			}
			runtime.Gosched() // which ends the process if the goroutine is pinned still
		})
	}
}

// faultOf is what f panics with.
func faultOf(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			e, is := r.(runtime.Error)
			if !is {
				panic(r)
			}
			err = errors.New(e.Error())
		}
	}()
	f()
	return nil
}

func TestTurnsAreUsedAgain(t *testing.T) {
	for range maxTurns + 1 {
		withTurn(t, func(*Turn) {})
	}
	if n := theTurns().used.Load(); n > 16 {
		t.Errorf("%d turns were used for one at a time", n)
	}
}

func TestOnlyInsistenceIsAnswered(t *testing.T) {
	const hz = 1_000_000 // a cycle is a microsecond
	for name, c := range map[string]struct {
		asked []uint64 // when
		want  bool
	}{
		"every 10 ms, as for a turn that is over": {[]uint64{10_000, 20_000, 30_000, 40_000, 50_000}, false},
		"every 100 us, as for a stop-the-world":   {[]uint64{10_000, 10_100}, true},
		"both":                                    {[]uint64{10_000, 20_000, 30_000, 30_100}, true},
	} {
		tr := NoTurn()
		tr.insistence = uint64(insistence.Microseconds()) * hz / 1_000_000
		answered := false
		for i, at := range c.asked {
			answered = tr.insists(uint64(i+1), at)
		}
		if answered != c.want {
			t.Errorf("asked %s: answered %v, want %v", name, answered, c.want)
		}
	}
}

func TestATurnIsNotHeldForEver(t *testing.T) {
	tr := NoTurn()
	if tr.until = 1000; tr.Asked(1000) || !tr.Asked(1001) {
		t.Error("the turn is not given up when its time is over")
	}
	if Cycles() > NoTurn().until {
		t.Error("who has no turn gives it up")
	}
}
