package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

// waits are n slices at a distance in which every frame took so many nanoseconds.
func waits(n int, distance float64, ns uint64) (list []slice) {
	for range n {
		s := slice{outcome: new(outcome), delays: new(histogram), before: distance, after: distance}
		for range 100 {
			s.delays.add(ns)
		}
		list = append(list, s)
	}
	return list
}

func join(lists ...[]slice) (all []slice) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// values are a figure's, nil when there is none.
func (r *result) values(name string) []float64 {
	if f := r.figure(name); f != nil {
		return f.ByRound
	}
	return nil
}

func near(got []float64, want ...float64) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if math.Abs(got[i]/want[i]-1) > 0.07 { // the histogram's 3 %, twice
			return false
		}
	}
	return true
}

func TestDelaysAreComparedWithinAPhase(t *testing.T) {
	p99 := pairFigure{"p99", quantileOf(0.99), true}
	r := new(result)
	rounds := []struct{ of, to []slice }{
		{join(waits(3, 80, 1000), waits(3, 350, 6000)), join(waits(2, 85, 2000), waits(5, 340, 2000))}, // 0.5 and 3
		{waits(4, 80, 1000), join(waits(3, 350, 9000), waits(2, 82, 4000))},                            // 0.25, near alone
		{waits(4, 80, 1000), join(waits(5, 350, 9000), waits(1, 82, 1))},                               // one slice is too few
	}
	for i, x := range rounds {
		m := &measurements{round: i}
		m.pair(x.of, append(x.to, slice{delays: new(histogram), before: 80, after: 350}), p99)
		r.add(m)
	}
	r.addPairs()
	if got := r.values("p99"); !near(got, 1.75, 0.25) {
		t.Errorf("ratios %v, want the median of both phases, and one phase's", got)
	}
	if n, f := r.values("p99, near"), r.values("p99, far"); !near(n, 0.5, 0.25) || !near(f, 3) {
		t.Errorf("near %v, far %v", n, f)
	}
	if want := "CPUs near in 16 slices, far in 16, and moved in 3"; len(r.Notes) != 1 || r.Notes[0] != want {
		t.Errorf("notes %q, want %q", r.Notes, want)
	}
}

func TestWithoutACommonPhaseAllSlicesCount(t *testing.T) {
	r := new(result)
	m := new(measurements)
	m.pair(waits(4, 80, 1000), waits(4, 350, 2000), pairFigure{"p99", quantileOf(0.99), true})
	r.add(m)
	r.addPairs()
	if got := r.values("p99"); !near(got, 0.5) || !strings.Contains(strings.Join(r.Notes, "\n"), "never in the same phase") {
		t.Errorf("ratios %v, notes %q", got, r.Notes)
	}
	r = new(result)
	if r.addPairs(); len(r.Figures) != 0 || len(r.Notes) != 0 {
		t.Errorf("nothing compared, and yet %+v", r)
	}
}

func TestSlicesArePooled(t *testing.T) {
	list := join(waits(1, 80, 100), waits(9, 80, 5000))
	if h := pooled(list); h.n != 1000 || h.quantile(0.05) > 110 || h.quantile(0.5) < 5000 {
		t.Errorf("%d delays, %v and %v", h.n, h.quantile(0.05), h.quantile(0.5))
	}
	for i, got := range []uint64{100, 300, 900} {
		list[i].outcome = &outcome{streams: []tally{{Sent: got, Received: got - 1}, {Skipped: 2}}, elapsed: time.Second / 2}
	}
	if got := rateOf(list[:3]); got != 2*299 {
		t.Errorf("rate %v, want the median slice's", got)
	}
	if got := totalOf(list[:3]); got != (tally{1300, 1297, 6}) {
		t.Errorf("total %+v", got)
	}
}
