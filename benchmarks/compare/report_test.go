package main

import (
	"slices"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 3}, 2.5}} {
		if got := median(slices.Clone(c.in)); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

func TestRatiosAreTakenRoundByRound(t *testing.T) {
	r := &report{Options: &options{Size: 64, Mergeable: true, Rounds: 3, Seconds: 1}, Results: []result{
		{Peer: "a", Mpps: []float64{2, 4, 9}}, {Peer: "b", Mpps: []float64{1, 4, 3}},
	}}
	r.summarise()
	// The machine drifted; the ratio of the medians (4/3) would hide that a won or drew every round.
	if got := r.Ratios[0]; got.Median != 2 || got.Smallest != 1 || got.Largest != 3 {
		t.Errorf("ratio %+v, want median 2 between 1 and 3", got)
	}
	if got := r.Results[0].Spread; got != 7.0/4 {
		t.Errorf("spread %v, want 1.75", got)
	}
	var out strings.Builder
	r.print(&out)
	for _, want := range []string{"a / b", "2.00", "175 %", "mergeable buffers"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("report lacks %q:\n%s", want, out.String())
		}
	}
}

func TestUnknownPeersAreRefused(t *testing.T) {
	if _, _, err := choosePeers(&options{Peers: "weft,vpp"}); err == nil {
		t.Error("vpp was accepted")
	}
}
