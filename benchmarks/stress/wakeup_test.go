package main

import (
	"context"
	"errors"
	"testing"

	"weft/internal/sys"
)

func TestABareThreadIsWokenAsOftenAsAsked(t *testing.T) {
	cpus, err := sys.Affinity(0)
	if err != nil {
		t.Fatal(err)
	}
	if len(cpus) < 2 {
		t.Skip("SKIP: two CPUs are needed, one that wakes and one that is woken")
	}
	o := &options{LoadCPU: cpus[0], SwitchCPU: cpus[1]}
	delays, err := bareWakeups(t.Context(), o, 25, 500)
	if err != nil {
		t.Fatal(err)
	}
	// No system call takes less than 100 ns, and the limit is a second.
	if low, high := delays.quantile(0), delays.quantile(1); delays.n != 25 || low < 100 || high > 1.1e9 {
		t.Errorf("%d wake-ups of %v to %v ns", delays.n, low, high)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bareWakeups(ctx, o, 1, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
