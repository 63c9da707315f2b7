package sys

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestABellRingsForEverySignalAndReadsNothing(t *testing.T) {
	b, err := NewBell()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC) // a blocking one, which would hold who reads it
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if b.CanRing() {
		t.Error("it can ring before it watches anything")
	}
	if err := b.Watch(fd); err != nil || !b.CanRing() {
		t.Fatalf("watch: %v, can ring: %t", err, b.CanRing())
	}
	fds := []unix.PollFd{{Fd: int32(b.FD()), Events: unix.POLLIN}}
	wait := func(limit time.Duration) (rang bool, took time.Duration) {
		fds[0].Revents = 0
		begun := time.Now()
		for fds[0].Revents == 0 && took < limit { // Go's own signals end a wait, too
			WaitAny(fds, (limit - took).Nanoseconds())
			took = time.Since(begun)
		}
		return fds[0].Revents&unix.POLLIN != 0, took
	}
	for range 3 { // a counter that nobody resets rings again at the next signal
		if rang, took := wait(5 * time.Millisecond); rang || took < 4*time.Millisecond {
			t.Errorf("rang %t after %v without a signal", rang, took)
		}
		go func() {
			time.Sleep(5 * time.Millisecond)
			KickEvent(fd)
		}()
		if rang, took := wait(5 * time.Second); !rang || took > 4*time.Second {
			t.Errorf("rang %t after %v", rang, took)
		}
		b.Clear()
	}
	if err := b.Forget(fd); err != nil || b.CanRing() {
		t.Errorf("forget: %v, can ring: %t", err, b.CanRing())
	}
	if err := b.Forget(fd); err != nil {
		t.Errorf("forget twice: %v", err)
	}
	KickEvent(fd)
	if rang, _ := wait(5 * time.Millisecond); rang {
		t.Error("rang for a descriptor that it had forgotten")
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := b.Watch(int(f.Fd())); err == nil || b.CanRing() {
		t.Errorf("an ordinary file can be watched: %v", err)
	}
}
