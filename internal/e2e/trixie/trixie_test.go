package trixie

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestARootThatIsThereIsNotMadeAgain(t *testing.T) {
	cache := t.TempDir()
	if err := os.Mkdir(filepath.Join(cache, name), 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := Ensure(t.Context(), slog.New(slog.DiscardHandler), cache)
	if err != nil || r.Dir != filepath.Join(cache, name) {
		t.Fatalf("%+v, %v", r, err)
	}
	command, env := r.QEMU()
	if !strings.HasPrefix(command[0], r.Dir) || !strings.Contains(strings.Join(env, " "), r.Dir) {
		t.Errorf("qemu is %q with %q, want that of the root", command, env)
	}
	if entries, err := os.ReadDir(cache); err != nil || len(entries) != 1 {
		t.Errorf("the cache holds %v (%v), want the root alone", entries, err)
	}
}

func TestTheLockIsExclusive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan func(), 1)
	go func() {
		u, err := lock(path)
		if err != nil {
			t.Error(err)
		}
		second <- u
	}()
	select {
	case <-second:
		t.Fatal("two have the lock")
	case <-time.After(50 * time.Millisecond):
	}
	unlock()
	(<-second)()
}

func TestAStepThatFailsSaysWhatItPrinted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: a process namespace needs it")
	}
	err := isolated(t.Context(), []string{"/bin/sh", "-c", "echo no such mirror >&2; exit 7"})
	if err == nil || !strings.Contains(err.Error(), "no such mirror") || !strings.Contains(err.Error(), "7") {
		t.Errorf("error %v", err)
	}
}

// TestNothingOutlivesAStep: what a step leaves behind in the background, and what it mounts, is gone with it.
func TestNothingOutlivesAStep(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: namespaces need it")
	}
	dir := t.TempDir()
	alive := filepath.Join(dir, "alive")
	script := `mkdir "$1/m"; mount -t tmpfs tmpfs "$1/m" || exit 9; (while sleep 0.05; do echo x >>"$1/alive"; done) & sleep 0.3`
	if err := isolated(t.Context(), []string{"/bin/sh", "-c", script + " >/dev/null 2>&1", "step", dir}); err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("a mount is left (%v)", err)
	}
	before, err := os.ReadFile(alive)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	after, err := os.ReadFile(alive)
	if err != nil || len(after) != len(before) {
		t.Errorf("a background process still runs (%v)", err)
	}
}
