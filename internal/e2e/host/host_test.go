package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAGroupEndsWhatItStarted(t *testing.T) {
	g := NewGroup(t.TempDir(), false)
	var order []string
	g.Defer(func() { order = append(order, "first") })
	p, err := g.Start(Spec{Name: "sleeper", Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	g.Defer(func() { order = append(order, "last"); order = append(order, p.State()) })
	g.Close()
	g.Close()
	if p.Running() {
		t.Error("the process still runs")
	}
	if len(order) != 3 || order[0] != "last" || !strings.Contains(order[1], "runs as process") || order[2] != "first" {
		t.Errorf("clean-up in the order %q", order)
	}
	if _, err := g.Start(Spec{Name: "late", Args: []string{"sleep", "1000"}}); err == nil {
		t.Error("a closed group started a process")
	}
	for _, p := range g.Processes() {
		if p.Running() {
			t.Errorf("%s still runs", p.Name)
		}
	}
}

func TestOutputIsThatOfTheProcessAlone(t *testing.T) {
	g := NewGroup(t.TempDir(), false)
	defer g.Close()
	for _, word := range []string{"one", "two"} {
		p, err := g.Start(Spec{Name: "echo", Args: []string{"echo", word}})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Wait(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		if got := p.Tail(5); got != word {
			t.Errorf("output %q, want %q", got, word)
		}
	}
}

func TestAKeptRunIsStoppedByALaterProcess(t *testing.T) {
	dir := t.TempDir()
	file, extra := filepath.Join(dir, "state.json"), filepath.Join(dir, "extra")
	if err := os.WriteFile(extra, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	g := NewGroup(dir, true)
	defer g.Close()
	p, err := g.Start(Spec{Name: "sleeper", Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := g.Start(Spec{Name: "stranger", Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Save(file, extra); err != nil {
		t.Fatal(err)
	}
	// As if the second process had ended and another one had got its number.
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	start, err := startTime(stranger.PID())
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndex(string(text), start)
	if err := os.WriteFile(file, []byte(string(text[:at])+"1"+string(text[at+len(start):])), 0o644); err != nil {
		t.Fatal(err)
	}
	n, err := StopSaved(file)
	if err != nil || n != 1 {
		t.Fatalf("stopped %d processes, %v; want 1", n, err)
	}
	if err := p.Wait(time.Second); err != nil {
		t.Error(err)
	}
	if !stranger.Running() {
		t.Error("a process was killed that only has the number of one of ours")
	}
	for _, gone := range []string{file, extra} {
		if _, err := os.Stat(gone); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
	if n, err := StopSaved(file); err != nil || n != 0 {
		t.Errorf("stopping twice: %d, %v", n, err)
	}
}
