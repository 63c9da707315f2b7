package rig

import (
	"os"
	"runtime"
	"slices"
	"testing"
)

func TestNearAndFar(t *testing.T) {
	phase := Phases(append(slices.Repeat([]float64{350, 70, 93, 112, 345, 399}, 10), 160, 230, 9000, 0)) // with odd ones
	for _, c := range []struct {
		before, after float64
		want          Phase
	}{{70, 112, Near}, {345, 399, Far}, {93, 350, Mixed}, {399, 70, Mixed}, {0, 70, Mixed}} {
		if got := phase(c.before, c.after); got != c.want {
			t.Errorf("%v to %v: phase %d, want %d", c.before, c.after, got, c.want)
		}
	}
	for _, all := range [][]float64{nil, {80}, {80, 99, 120, 150}, {0, 0}, {0, 99, 120}} {
		for _, d := range all {
			if got := Phases(all)(d, d); got != Near {
				t.Errorf("%v of %v: phase %d, want one for all", d, all, got)
			}
		}
	}
}

func TestDistanceIsMeasured(t *testing.T) {
	if os.Geteuid() != 0 || runtime.NumCPU() < 2 {
		t.Skip("SKIP: threads that run before all others need root, and two CPUs")
	}
	p, err := NewProber(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	measured := 0
	for range 20 {
		d, err := p.Distance()
		if err != nil {
			t.Log(err) // a hypervisor may keep a CPU for longer than Distance waits
			continue
		}
		// Even two threads of a core need some 20 ns; two sockets some 500.
		if d < 10 || d > 100_000 {
			t.Errorf("distance %v ns", d)
		}
		if measured++; measured == 3 {
			break
		}
	}
	if measured < 3 {
		t.Error("the distance was hardly ever measured")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := NewProber(0, 100_000); err == nil {
		t.Error("a CPU that does not exist was taken")
	}
}
