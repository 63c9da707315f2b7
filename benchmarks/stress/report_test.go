package main

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestBarsAreHeldAgainstMedians(t *testing.T) {
	r := &result{Title: "some rules", Name: "x", bars: []bar{atLeast("kept", 0.9), atMost("lost", 0)}}
	for _, kept := range []float64{0.5, 0.95, 0.97} {
		m := new(measurements)
		m.add("kept", "", kept)
		m.add("lost", "packets", 1)
		m.add("cost", "ns", math.NaN())
		m.note("no drops")
		r.add(m)
	}
	r.summarise()
	if k := r.Figures[0]; len(r.Figures) != 2 || k.Median != 0.95 || k.Smallest != 0.5 || !*k.Reached || *r.Figures[1].Reached {
		t.Errorf("%+v and %+v", k, r.Figures[1])
	}
	rep := &report{Options: &options{Rounds: 3}, Scenarios: []*result{r}}
	var out strings.Builder
	rep.print(&out)
	for _, want := range []string{">= 0.9 reached", "<= 0 MISSED", "0.5 0.95 0.97", "1 packets", "(no drops)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("report lacks %q:\n%s", want, out.String())
		}
	}
	if rep.failure() != nil || len(r.Notes) != 1 {
		t.Errorf("failure %v, notes %q", rep.failure(), r.Notes)
	}
	r.bars = append(r.bars, atMost("missing", 1))
	if r.summarise(); rep.failure() == nil {
		t.Error("a bar without a figure is no failure")
	}
}

func TestABarShowsNothingWithoutItsPremise(t *testing.T) {
	for _, c := range []struct {
		changes, kept float64
		want          []string
	}{
		{100, 0.95, []string{">= 90 reached", ">= 0.9 reached", "<= 0 reached"}},
		{100, 0.5, []string{">= 90 reached", ">= 0.9 MISSED", "<= 0 reached"}},
		{80, 0.95, []string{">= 90 NOT SHOWN", ">= 0.9 NOT SHOWN", "<= 0 reached"}},
	} {
		r := &result{bars: []bar{
			atLeast("changes", 90).given("changes"), atLeast("kept", 0.9).given("changes"), atMost("lost", 0),
		}}
		m := new(measurements)
		m.add("changes", "", c.changes)
		m.add("kept", "", c.kept)
		m.add("lost", "", 0)
		m.add("other", "", 7)
		r.add(m)
		r.summarise()
		for i, f := range r.Figures[:3] {
			if f.verdict() != c.want[i] {
				t.Errorf("%v changes, %v kept: %s %s, want %s", c.changes, c.kept, f.Name, f.verdict(), c.want[i])
			}
		}
		if v := r.Figures[3].verdict(); v != "-" {
			t.Errorf("without a bar: %s", v)
		}
	}
}

func TestScenariosAreWhole(t *testing.T) {
	if _, err := chooseScenarios("bulk,vpp"); err == nil {
		t.Error("vpp was accepted")
	}
	all, err := chooseScenarios("all")
	if err != nil || len(all) != 8 {
		t.Errorf("%d scenarios, %v", len(all), err)
	}
	seen := make(map[string]bool)
	for _, s := range scenarios() {
		if seen[s.name] || s.title(&options{}) == "" || len(s.bars(&options{})) == 0 {
			t.Errorf("%s: twice, or without title or bars", s.name)
		}
		seen[s.name] = true
		for _, b := range s.bars(&options{}) {
			for _, name := range b.Given {
				if !slices.ContainsFunc(s.bars(&options{}), func(x bar) bool { return x.Figure == name }) {
					t.Errorf("%s: %q rests on %q, which has no bar", s.name, b.Figure, name)
				}
			}
		}
		if _, err := chooseScenarios(s.name); err != nil {
			t.Error(err)
		}
	}
}

func TestQuickLeavesWhatIsGiven(t *testing.T) {
	o := options{Rounds: 4, Seconds: 7, Rules: 500}
	o.shorten(map[string]bool{"rules": true})
	if o.Rounds != quickRounds || o.Seconds != quickSeconds || o.Rules != 500 {
		t.Errorf("%+v", o)
	}
}

func TestSpanSubtractsReadings(t *testing.T) {
	a, b := &reading{}, &reading{}
	a.pmd = threadReading{BusyCycles: 1000, TSCHz: 1e9, Packets: 10, Batches: 2, LongestGapCycles: 5e6}
	b.pmd = threadReading{BusyCycles: 5000, TSCHz: 1e9, Packets: 50, Batches: 6, LongestGapCycles: 5e6}
	a.pmd.Gaps = []gapReading{{100, 3}, {200, 2}, {500, 1}}
	b.pmd.Gaps = []gapReading{{100, 9}, {200, 3}, {500, 1}}
	a.drops = map[string]uint64{"v1 tx: no_descriptor": 4, "bridge: rule": 1}
	b.drops = map[string]uint64{"v1 tx: no_descriptor": 6, "bridge: rule": 1, "bridge: no_match": 3}
	s := between(a, b)
	if s.perPacket() != 100 || s.batches != 4 || s.dropped() != 5 || s.droppedBy(bridgeDrops) != 3 {
		t.Errorf("%+v", s)
	}
	if got, want := s.dropText(), "drops: bridge: no_match 3, v1 tx: no_descriptor 2"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if s.gapsOver(100) != 6 || s.gapsOver(500) != 0 || s.longestText() != "0.2 to 0.5 ms" {
		t.Errorf("gaps %v, longest %s", s.gaps, s.longestText())
	}
	b.pmd.LongestGapCycles = 7e6
	if s = between(a, b); s.longestText() != "7.000 ms" {
		t.Errorf("longest %s", s.longestText())
	}
}

func TestCostOfNewFlows(t *testing.T) {
	without := &span{busy: 100_000, packets: 1000, hz: 2e9}
	with := &span{busy: 190_000, packets: 1100, hz: 2e9}
	// 1000 packets as before are 100,000 cycles; 90,000 are left for 100 new flows: 900 cycles each, at 2 GHz 450 ns.
	if got := costOfNew(without, with, 100); got != 450 {
		t.Errorf("a new flow costs %v ns, want 450", got)
	}
	if !math.IsNaN(costOfNew(without, with, 0)) {
		t.Error("no new flow has a cost")
	}
}

func TestBeyondChance(t *testing.T) {
	for _, c := range []struct{ with, without, want float64 }{{0, 0, 0}, {4, 1, 0}, {100, 90, 0}, {100, 9, 60}, {50, 0, 29}} {
		if got := beyondChance(c.with, c.without); got != c.want {
			t.Errorf("%v beside %v: %v beyond chance, want %v", c.with, c.without, got, c.want)
		}
	}
}

func TestPacerKeepsItsRate(t *testing.T) {
	p := pacer{stream: stream{rate: 1e6}}
	if n := p.due(100 * time.Microsecond); n != 100 {
		t.Errorf("%d due after 100 us, want 100", n)
	}
	p.Sent = 100
	if n := p.due(100 * time.Microsecond); n != 0 {
		t.Errorf("%d due at once, want 0", n)
	}
	// Held up for 10 ms: a ring's worth is made up for, the rest is not offered.
	if n := p.due(10100 * time.Microsecond); n != maxBehind || p.Skipped != 10000-maxBehind {
		t.Errorf("%d due and %d skipped, want %d and %d", n, p.Skipped, maxBehind, 10000-maxBehind)
	}
	if n := p.due(10100 * time.Microsecond); n != maxBehind {
		t.Errorf("%d due, want %d still", n, maxBehind)
	}
	if n := (&pacer{}).due(time.Second); n != 0 {
		t.Errorf("%d due without a rate", n)
	}
}

func TestNapSuitsTheRate(t *testing.T) {
	rates := func(r ...float64) (list []pacer) {
		for _, x := range r {
			list = append(list, pacer{stream: stream{rate: x}})
		}
		return list
	}
	for _, c := range []struct {
		rates []pacer
		want  time.Duration
	}{
		{rates(1e6, 0), 0},
		{rates(1e6, 1e5), shortNap},
		{rates(1e5), 160 * time.Microsecond},
		{rates(10), longNap},
	} {
		if got := napOf(c.rates); got != c.want {
			t.Errorf("%v: naps of %v, want %v", c.rates, got, c.want)
		}
	}
}

func TestParsers(t *testing.T) {
	m, err := parseMemory("Name:\tweft\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t5\n")
	if err != nil || m != (memory{1 << 20, 2 << 20}) {
		t.Errorf("memory %+v, %v", m, err)
	}
	if _, err := parseMemory("Name:\tweft\n"); err == nil {
		t.Error("a status without memory was accepted")
	}
	const exposition = "# HELP go_gc_duration_seconds x\ngo_gc_duration_seconds{quantile=\"1\"} 3\n" +
		"go_gc_duration_seconds_sum 0.5\ngo_gc_duration_seconds_count 7\ngo_cpu_classes_gc_total_cpu_seconds_total 1.25\n"
	c, err := parseCollections(exposition)
	if err != nil || c != (collections{cycles: 7, pauses: 0.5, cpu: 1.25}) {
		t.Errorf("collections %+v, %v", c, err)
	}
	if _, err := parseCollections("go_gc_duration_seconds_count 7\n"); err == nil {
		t.Error("metrics without the CPU time were accepted")
	}
}
