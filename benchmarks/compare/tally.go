package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weft/internal/e2e/testpmd"
)

// tally is what became of the frames of one measurement, from the load's first to its last.
type tally struct {
	Sent     uint64 `json:"sent"`
	Received uint64 `json:"received"`
	Dropped  uint64 `json:"dropped"` // that the switch counted
}

// unaccounted is how many frames are gone and in no counter, negative where more were counted than are gone.
func (t *tally) unaccounted() int64 { return int64(t.Sent - t.Received - t.Dropped) }

// A switch may hold frames for a while when the load stops, Open vSwitch the longer the more of them are of new flows.
const (
	settle   = 100 * time.Millisecond
	settling = 20 // so often at most
)

// takeTally stops the load, receives what is still on its way, and looks what became of all frames: each that was received
// must be whole.
func takeTally(ctx context.Context, load *testpmd.Testpmd, sw *running, w *work) (t tally, err error) {
	var stats [2]testpmd.PortStats
	for range settling {
		if err := load.Drain(ctx, settle); err != nil {
			return t, err
		}
		if stats, err = load.Stats(ctx); err != nil {
			return t, err
		}
		t.Sent, t.Received = stats[0].TxPackets+stats[1].TxPackets, stats[0].RxPackets+stats[1].RxPackets
		if t.Dropped, err = sw.dropped(ctx); err != nil {
			return t, err
		}
		if t.unaccounted() == 0 {
			break
		}
	}
	size := w.Size
	if w.Flows > 0 && stats[0].TxPackets > 0 {
		size = int(stats[0].TxBytes / stats[0].TxPackets) // flowgen's frames are as long as it likes
	}
	if err := wholeFrames(stats, size); err != nil {
		return t, err
	}
	if n := t.unaccounted(); n != 0 && sw.exact {
		return t, fmt.Errorf("%d frames are gone that no counter has: the load sent %d and received %d, and the switch says that it "+
			"dropped %d", n, t.Sent, t.Received, t.Dropped)
	}
	return t, nil
}

// wholeFrames reports ports whose frames were not all of a size: a switch that cuts frames off, or passes only pieces of
// them, is not fast.
func wholeFrames(stats [2]testpmd.PortStats, size int) error {
	var errs []error
	for i, s := range stats {
		if s.RxPackets == 0 || s.RxBytes != s.RxPackets*uint64(size) {
			errs = append(errs, fmt.Errorf("port %d of the load received %d frames with %d bytes in all, and not %d bytes each",
				i, s.RxPackets, s.RxBytes, size))
		}
	}
	return errors.Join(errs...)
}
