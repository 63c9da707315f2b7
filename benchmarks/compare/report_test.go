package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/benchmarks/rig"
	"weft/internal/e2e/testpmd"
)

// steady is a measurement at one rate and distance.
func steady(mpps, distance float64) measurement {
	s := slice{Mpps: mpps, Before: distance, After: distance}
	return measurement{s, s, s}
}

// summarise does so in a report of these scenarios.
func summarise(list ...*outcome) { (&report{Scenarios: list}).summarise() }

func TestRatiosAreTakenRoundByRound(t *testing.T) {
	o := &outcome{Name: "x", Title: "some frames", bars: []bar{{Of: "a", To: "b", Least: 1.9}}, Results: []result{
		{contender: contender{Label: "a"}}, {contender: contender{Label: "b"}},
	}}
	for round, mpps := range [][2]float64{{2, 1}, {4, 4}, {9, 3}} {
		for i := range mpps {
			m := steady(mpps[i], 100)
			// a waits for the load a quarter of the time, and takes half of b's cycles for a packet.
			for j := range m {
				m[j].cycles = cycles{float64(100*(round+1)) * float64(i+1), 0.25 - 0.25*float64(i)}
			}
			o.Results[i].add(m, tally{})
		}
	}
	summarise(o)
	// The machine drifted; the ratio of the medians (4/3) would hide that a won or drew every round.
	if got := o.Ratios[0]; got.Median != 2 || got.Smallest != 1 || got.Largest != 3 || !got.reached() {
		t.Errorf("ratio %+v, want median 2 between 1 and 3, and the bar reached", got)
	}
	if got := o.Ratios[0].Cycles; got != 2 {
		t.Errorf("ratio of cycles %v, want 2", got)
	}
	if got := o.Results[0].Spread; got != 7.0/4 {
		t.Errorf("spread %v, want 1.75", got)
	}
	r := &report{Options: &options{Rounds: 3, Seconds: 1}, Scenarios: []*outcome{o, {Name: "y", Failure: "ovs failed"}}}
	var out strings.Builder
	r.print(&out)
	for _, want := range []string{"a / b", "2.00", "175 %", "1.90 reached", "25 %", "200", "no figures: ovs failed"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("report lacks %q:\n%s", want, out.String())
		}
	}
	if err := r.failure(); err == nil || !strings.Contains(err.Error(), "y") {
		t.Errorf("failure is %v", err)
	}
}

func TestRatiosAreTakenPhaseByPhase(t *testing.T) {
	o := &outcome{Results: []result{{contender: contender{Label: "a"}}, {contender: contender{Label: "b"}}}}
	both := func(near, far float64) measurement {
		m := append(steady(near, 80), slice{Mpps: (near + far) / 2, Before: 80, After: 350})
		return append(m, steady(far, 350)...)
	}
	// Round 1 has b in both phases, round 2 a; far is half as fast for both, near a is twice as fast as b.
	for i, m := range []measurement{steady(8, 81), both(4, 2)} {
		o.Results[i].add(m, tally{})
	}
	for i, m := range []measurement{both(8, 4), steady(4, 349)} {
		o.Results[i].add(m, tally{})
	}
	summarise(o)
	if got := o.Ratios[0]; !slices.Equal(got.Pairs, []float64{2, 1}) || got.Near != 2 || got.Far != 1 {
		t.Errorf("ratio %+v, want 2 near and 1 far", got)
	}
	if got := o.Results[0]; got.Near != 8 || got.Far != 4 {
		t.Errorf("near %v and far %v, want 8 and 4", got.Near, got.Far)
	}
	// Never in one phase: there is nothing to compare but the rounds.
	o = &outcome{Results: []result{{contender: contender{Label: "a"}}, {contender: contender{Label: "b"}}}}
	o.Results[0].add(steady(6, 80), tally{})
	o.Results[1].add(steady(2, 400), tally{})
	if summarise(o); !slices.Equal(o.Ratios[0].Pairs, []float64{3}) {
		t.Errorf("pairs %v, want the round's ratio", o.Ratios[0].Pairs)
	}
	var shown strings.Builder
	o.Ratios[0].Bar = 1.5
	if o.print(&shown); !strings.Contains(shown.String(), "1.50 NOT SHOWN") || strings.Contains(shown.String(), "reached") {
		t.Errorf("a bar that nothing shows:\n%s", shown.String())
	}
}

// TestAScenarioInOnePhaseShowsWhich has one that was measured far, beside another that was near.
func TestAScenarioInOnePhaseShowsWhich(t *testing.T) {
	one := func(distance float64) *outcome {
		o := &outcome{Results: []result{{contender: contender{Label: "a"}}, {contender: contender{Label: "b"}}}}
		o.Results[0].add(steady(6, distance), tally{})
		o.Results[1].add(steady(2, distance), tally{})
		return o
	}
	near, far, failed := one(80), one(350), one(350)
	failed.Failure = "b failed in round 2"
	summarise(near, far, failed)
	if got := near.Ratios[0]; got.Near != 3 || got.Far != 0 {
		t.Errorf("near by far apart %v and %v, want 3 and none", got.Near, got.Far)
	}
	if got := far.Ratios[0]; got.Near != 0 || got.Far != 3 {
		t.Errorf("far: %v and %v, want none and 3", got.Near, got.Far)
	}
	if len(failed.Ratios) != 0 {
		t.Errorf("figures of a scenario that failed: %+v", failed.Ratios)
	}
}

// TestCyclesAreComparedPhaseByPhase has two switches that wait for the load in different ways: the rates say nothing.
func TestCyclesAreComparedPhaseByPhase(t *testing.T) {
	o := &outcome{bars: []bar{{Of: "a", To: "b", Least: 1, OfCycles: true}}, Results: []result{
		{contender: contender{Label: "a"}}, {contender: contender{Label: "b"}},
	}}
	taking := func(m measurement, busy float64) measurement {
		for i := range m {
			m[i].cycles = cycles{Busy: busy, Idle: 0.5}
		}
		return m
	}
	// a takes 100 near and 200 far, b 110 and 210, but a was far in two thirds of the time and b near.
	o.Results[0].add(slices.Concat(taking(steady(8, 80), 100), taking(steady(4, 350), 200), taking(steady(4, 350), 200)), tally{})
	o.Results[1].add(slices.Concat(taking(steady(10, 80), 110), taking(steady(10, 80), 110), taking(steady(5, 350), 210)), tally{})
	summarise(o)
	got := o.Ratios[0]
	if !slices.Equal(got.CyclePairs, []float64{1.1, 1.05}) || got.Median != 0.8 || !got.reached() {
		t.Errorf("ratio %+v, want cycles by phase, 1.1 and 1.05, and the bar reached", got)
	}
	if got.Cycles = 0.97; got.reached() || got.verdict() != "1.00 of cycles MISSED" {
		t.Errorf("verdict %q on more cycles", got.verdict())
	}
}

// TestLostFramesAreTold has a switch that counts what it drops, one that does not, and one that drops nothing.
func TestLostFramesAreTold(t *testing.T) {
	o := &outcome{Results: []result{
		{contender: contender{Label: "a"}}, {contender: contender{Label: "b"}}, {contender: contender{Label: "c"}},
	}}
	for i, x := range []tally{{100, 90, 10}, {100, 97, 0}, {100, 100, 0}} {
		o.Results[i].add(steady(8, 80), x)
		o.Results[i].add(steady(8, 80), x)
	}
	summarise(o)
	var shown strings.Builder
	o.print(&shown)
	for _, want := range []string{"a: 20 of 200 frames lost, 20 of them counted", "b: 6 of 200 frames lost, 0 of them counted"} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("no %q in\n%s", want, shown.String())
		}
	}
	if strings.Contains(shown.String(), "c: ") {
		t.Errorf("nothing was lost, and yet:\n%s", shown.String())
	}
	if few, many := (&tally{100, 97, 2}).unaccounted(), (&tally{100, 97, 4}).unaccounted(); few != 1 || many != -1 {
		t.Errorf("%d and %d frames in no counter, want 1 and -1", few, many)
	}
}

// TestThePictureShowsEveryFigure draws a report that went through its file.
func TestThePictureShowsEveryFigure(t *testing.T) {
	o := &outcome{Name: "x", Title: "frames & <rules>", Results: []result{
		{contender: contender{Label: peerWeft, Peer: peerWeft}}, {contender: contender{Label: "ovs, 2", Peer: peerOVS}},
	}}
	for _, mpps := range [][2]float64{{8, 2}, {4, 3}, {6, 1}} {
		o.Results[0].add(steady(mpps[0], 80), tally{})
		o.Results[1].add(steady(mpps[1], 80), tally{})
	}
	summarise(o)
	dir := t.TempDir()
	path, picture := filepath.Join(dir, "r.json"), filepath.Join(dir, "images", "r.svg")
	written := report{
		Options: &options{Rounds: 3, Seconds: 1}, Versions: map[string]string{peerOVS: "openvswitch 3.1"},
		Scenarios: []*outcome{o, {Name: "y", Failure: "ovs failed\nfor long"}},
	}
	if err := rig.WriteJSON(path, &written); err != nil {
		t.Fatal(err)
	}
	if err := compare(t.Context(), &options{draw: true, out: path, chart: picture}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(text, new(struct{})); err != nil {
		t.Errorf("the picture is no XML: %v", err)
	}
	for _, want := range []string{
		"frames &amp; &lt;rules&gt; (x)", "6.00 (4.00-8.00)", "2.00 (1.00-3.00)", "ovs, 2", "no figures: ovs failed<",
		"openvswitch 3.1", chartColours[peerOVS],
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the picture lacks %q:\n%s", want, text)
		}
	}
}

func TestScenariosAreWhole(t *testing.T) {
	if _, err := chooseScenarios("64,vpp"); err == nil {
		t.Error("vpp was accepted")
	}
	seen := make(map[string]bool)
	list := scenarios()
	addOther(list)
	if c := list[0].contenders; c[0].Label != peerWeft || c[1].Label != peerOther || c[1].Work != c[0].Work {
		t.Errorf("weft beside another: %+v", c)
	}
	for _, s := range list {
		if seen[s.name] || s.title == "" {
			t.Errorf("%s: twice, or without a title", s.name)
		}
		seen[s.name] = true
		labels := make(map[string]bool)
		for _, c := range s.contenders {
			if labels[c.Label] || peers[c.Peer].start == nil {
				t.Errorf("%s: contender %s", s.name, c.Label)
			}
			labels[c.Label] = true
		}
		for _, b := range s.bars {
			if !labels[b.Of] || !labels[b.To] {
				t.Errorf("%s: a bar for %s and %s", s.name, b.Of, b.To)
			}
		}
	}
}

func TestFramesMustBeWhole(t *testing.T) {
	whole := testpmd.PortStats{RxPackets: 3, RxBytes: 27000}
	if err := wholeFrames([2]testpmd.PortStats{whole, whole}, 9000); err != nil {
		t.Error(err)
	}
	for _, bad := range []testpmd.PortStats{{}, {RxPackets: 3, RxBytes: 26999}, {RxPackets: 15, RxBytes: 27000}} {
		if err := wholeFrames([2]testpmd.PortStats{whole, bad}, 9000); err == nil || !strings.Contains(err.Error(), "port 1") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestOnlyLongFramesNeedAnMTU(t *testing.T) {
	for size, want := range map[int]int{64: 0, 1500: 0, 1514: 0, 9000: 9000} {
		if got := (&work{Size: size}).mtu(); got != want {
			t.Errorf("frames of %d bytes: MTU %d, want %d", size, got, want)
		}
	}
}

func TestRulesAreTheSameEveryTime(t *testing.T) {
	for _, rules := range []string{rulesPort, rulesFlow, rulesACL} {
		var texts [2]string
		for i := range texts {
			path := filepath.Join(t.TempDir(), "rules")
			if err := writeRules(path, &work{Rules: rules, Flows: 300}); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts[i] = string(text)
		}
		want := map[string]int{rulesPort: 2, rulesFlow: 600, rulesACL: 1002}[rules]
		if n := strings.Count(texts[0], "\n"); texts[0] != texts[1] || n != want {
			t.Errorf("%s: %d rules, want %d, the same twice", rules, n, want)
		}
	}
}

// TestContendersTakeTurns: over two rounds, each has one of the odd and one of the even runs.
func TestContendersTakeTurns(t *testing.T) {
	for n := 1; n < 6; n++ {
		odd := make([]int, n)
		for round := range 2 {
			for k, i := range turns(round, n) {
				odd[i] += (round*n + k) % 2
			}
		}
		for i, k := range odd {
			if k != 1 {
				t.Errorf("contender %d of %d has %d odd runs in two rounds", i, n, k)
			}
		}
	}
}
