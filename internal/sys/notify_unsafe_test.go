package sys

import (
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func newEvent(t testing.TB) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func newNotifier(t testing.TB) *Notifier {
	t.Helper()
	n, err := NewNotifier()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func counter(t *testing.T, fd int) uint64 {
	t.Helper()
	var b [8]byte
	if _, err := unix.Read(fd, b[:]); err != nil {
		t.Fatal(err)
	}
	var v uint64
	for i := range b {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}

func TestIOCBHasTheKernelsLayout(t *testing.T) {
	var c iocb
	if off := unsafe.Offsetof(c.submitted); off != 64 {
		t.Errorf("struct iocb has %d bytes, want 64", off)
	}
	if off := unsafe.Offsetof(c.resultFD); off != 60 {
		t.Errorf("aio_resfd is at %d, want 60", off)
	}
}

func TestSignalsAreCounted(t *testing.T) {
	n, fd := newNotifier(t), newEvent(t)
	e := n.Event(fd)
	const signals = 10 * pendingCompletions
	for range signals {
		e.Signal()
	}
	if got := counter(t, fd); got != signals {
		t.Errorf("counter %d, want %d", got, signals)
	}
}

func TestAPeerCannotBlockASignal(t *testing.T) {
	n, fd := newNotifier(t), newEvent(t)
	full := [8]byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if _, err := unix.Write(fd, full[:]); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		e := n.Event(fd)
		for range 2 * pendingCompletions {
			e.Signal()
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		counter(t, fd) // lets the writer go
		t.Fatal("a signal blocked on a full, blocking eventfd")
	}
}

func TestAClosedDescriptorIsIgnored(t *testing.T) {
	n := newNotifier(t)
	n.Event(1 << 20).Signal()
}

func TestSignalDoesNotAllocate(t *testing.T) {
	e := newNotifier(t).Event(newEvent(t))
	if a := testing.AllocsPerRun(1000, e.Signal); a != 0 {
		t.Errorf("%v allocations a signal", a)
	}
}

func TestOnlyEventDescriptorsAreAccepted(t *testing.T) {
	if err := CheckEvent(newEvent(t)); err != nil {
		t.Error(err)
	}
	if err := CheckEvent(newNotifier(t).null); err == nil {
		t.Error("/dev/null was taken for an eventfd")
	}
}

func BenchmarkSignal(b *testing.B) {
	fd := newEvent(b)
	e := newNotifier(b).Event(fd)
	b.Run("by=aio", func(b *testing.B) {
		for b.Loop() {
			e.Signal()
		}
	})
	b.Run("by=write", func(b *testing.B) {
		for b.Loop() {
			KickEvent(fd)
		}
	})
}
