package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"
)

// Figures with bars.
const figHalfLoad = "99th percentile at 50 %, weft by ovs"

const (
	trial  = 300 * time.Millisecond
	trials = 8 // each halves what is not known of the highest lossless rate
)

// loads are the parts of Open vSwitch's highest lossless rate at which delays are measured.
var loads = [...]struct {
	part float64
	name string
}{{0.1, "at 10 %"}, {0.5, "at 50 %"}, {0.9, "at 90 %"}}

const halfLoad = 1 // of loads

func latencyBars(*options) []bar { return []bar{atMost(figHalfLoad, 1), atMost(figFreshLost, 0)} }

// latencyRound finds the highest rate that each switch passes without loss, and how long frames take through both at the
// same rates. They take turns in coming first, because a shared machine drifts.
func latencyRound(ctx context.Context, o *options, dir string, m *measurements) (err error) {
	order, base := []string{"ovs", "weft"}, 0.
	if m.round%2 == 1 {
		slices.Reverse(order)
		if base, err = losslessOVS(ctx, o, filepath.Join(dir, "base")); err != nil {
			return fmt.Errorf("ovs: %w", err)
		}
	}
	timed := make(map[string]*timing)
	for _, name := range order {
		t, err := timeSwitch(ctx, o, filepath.Join(dir, name), name, base, m)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		timed[name], base = t, cmp.Or(base, t.lossless)
	}
	for i, l := range loads {
		m.pair(timed["weft"].slices[i], timed["ovs"].slices[i],
			pairFigure{"99th percentile " + l.name + ", weft by ovs", quantileOf(0.99), i == halfLoad},
			pairFigure{"99.9th percentile " + l.name + ", weft by ovs", quantileOf(0.999), false})
	}
	return nil
}

// losslessOVS finds the rates for a round in which Open vSwitch comes last.
func losslessOVS(ctx context.Context, o *options, dir string) (float64, error) {
	b, err := startWires(ctx, o, dir, "ovs")
	if b != nil {
		defer b.close()
	}
	if err != nil {
		return 0, err
	}
	return b.losslessRate(ctx)
}

// startWires starts a switch with a rule for each port.
func startWires(ctx context.Context, o *options, dir, name string) (*bed, error) {
	b, err := newBed(o, dir)
	if err != nil {
		return nil, err
	}
	rules := filepath.Join(dir, "rules.txt")
	err = writeFile(rules, func(w io.Writer) error {
		_, err := io.WriteString(w, "in_port=1,actions=output:2\nin_port=2,actions=output:1\n")
		return err
	})
	if err != nil {
		return b, err
	}
	return b, b.start(ctx, name, rules)
}

// timing is what timeSwitch found.
type timing struct {
	lossless float64             // frames per second
	slices   [len(loads)][]slice // with delays
}

// timeSwitch measures one switch at parts of the rate base, 0 for its own highest.
func timeSwitch(ctx context.Context, o *options, dir, name string, base float64, m *measurements) (*timing, error) {
	b, err := startWires(ctx, o, dir, name)
	if b != nil {
		defer b.close()
	}
	if err != nil {
		return nil, err
	}
	t := new(timing)
	if t.lossless, err = b.losslessRate(ctx); err != nil {
		return nil, err
	}
	m.add(name+": highest lossless rate", "Mpps", t.lossless/1e6)
	base = cmp.Or(base, t.lossless)
	for i, l := range loads {
		list, err := b.slices(ctx, o.phase(), true, stream{name: "timed", rate: l.part * base, next: known(1)})
		if err != nil {
			return nil, err
		}
		t.slices[i] = list
		delays := pooled(list)
		m.add(name+": median "+l.name, "us", delays.quantile(0.5)/1e3)
		m.add(name+": 99th percentile "+l.name, "us", delays.quantile(0.99)/1e3)
		m.add(name+": 99.9th percentile "+l.name, "us", delays.quantile(0.999)/1e3)
		if s := totalOf(list); s.lost() != 0 || s.Skipped != 0 {
			m.note("%s, %s: %d of %d frames lost, %d not offered", name, l.name, s.lost(), s.Sent, s.Skipped)
		}
	}
	if b.weft == nil {
		return t, nil
	}
	return t, b.addUnaccounted(ctx, m)
}

// losslessRate is the highest rate at which every frame is offered in time and arrives, by bisection with short trials (as
// RFC 2544 §26.1, whose trials are of 60 seconds).
func (b *bed) losslessRate(ctx context.Context) (float64, error) {
	pass := func(rate float64) (*outcome, bool, error) {
		out, _, err := b.sendTimed(ctx, trial, stream{name: "trial", rate: rate, next: known(1)})
		if err != nil {
			return nil, false, b.explain(err)
		}
		t := out.total()
		return out, t.lost() == 0 && t.Skipped == 0, nil
	}
	if _, _, err := pass(0); err != nil { // warms up
		return 0, err
	}
	most, _, err := pass(0)
	if err != nil {
		return 0, err
	}
	low, high := 0., most.rate(0)
	for range trials {
		middle := (low + high) / 2
		_, passed, err := pass(middle)
		if err != nil {
			return 0, err
		}
		if passed {
			low = middle
		} else {
			high = middle
		}
	}
	if low == 0 {
		return 0, b.explain(fmt.Errorf("frames are lost even at %.0f a second", high))
	}
	return low, nil
}

// sendTimed runs the load for a time and measures how long each frame is under way, from before it is handed to the guest's
// transmit ring until it was found in the other guest's receive ring. The load never sleeps meanwhile.
func (b *bed) sendTimed(ctx context.Context, d time.Duration, streams ...stream) (*outcome, *histogram, error) {
	delays := new(histogram)
	b.load.delays = delays
	defer func() { b.load.delays = nil }()
	out, err := b.send(ctx, d, streams...)
	return out, delays, err
}
