package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"weft/benchmarks/rig"
	"weft/internal/e2e/host"
)

// report is what is printed and written as JSON.
type report struct {
	Time      time.Time         `json:"time"`
	Machine   rig.Machine       `json:"machine"`
	Options   *options          `json:"options"`
	Versions  map[string]string `json:"versions"` // by peer, and DPDK's, with which the load runs
	Scenarios []*outcome        `json:"scenarios"`
}

// outcome is what a scenario gave.
type outcome struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Failure string   `json:"failure,omitempty"` // why there are no figures
	Results []result `json:"results"`
	Ratios  []ratio  `json:"ratios,omitempty"`
	bars    []bar
}

// result is what one contender reached, round by round.
type result struct {
	contender
	Mpps   []float64 `json:"mpps"`
	Median float64   `json:"median_mpps"`
	// Spread is the distance between the best and the worst round as a part of the median.
	Spread float64 `json:"spread"`
	// Near and Far are the medians of the slices in which the CPUs were so; 0 where there was none.
	Near float64 `json:"near_mpps,omitempty"`
	Far  float64 `json:"far_mpps,omitempty"`
	// What the forwarding thread says of itself, the medians of all slices; absent where it says nothing. A thread that
	// was idle at times waited for the load: its rate is the load's then, and its cycles tell what it could do.
	cycles
	Slices []measurement `json:"slices"` // by round
	Frames []tally       `json:"frames"` // by round

	phases []byPhase // by round
}

// byPhase are the slices of each phase.
type byPhase [rig.Mixed + 1]measurement

func (r *result) add(m measurement, t tally) {
	r.Slices = append(r.Slices, m)
	r.Frames = append(r.Frames, t)
	r.Mpps = append(r.Mpps, m.mean())
}

// sort sorts the slices by phases.
func (r *result) sort(phase func(before, after float64) rig.Phase) {
	var all byPhase
	r.phases = nil
	for _, m := range r.Slices {
		var sorted byPhase
		for _, s := range m {
			p := phase(s.Before, s.After)
			sorted[p] = append(sorted[p], s)
			all[p] = append(all[p], s)
		}
		r.phases = append(r.phases, sorted)
	}
	r.Near, r.Far = all[rig.Near].median(rate), all[rig.Far].median(rate)
}

// median is that of one figure of the slices, 0 if there is none.
func (m measurement) median(figure func(s *slice) float64) float64 {
	var v []float64
	for i := range m {
		v = append(v, figure(&m[i]))
	}
	return medianOrNone(v)
}

// Figures of a slice.
func rate(s *slice) float64       { return s.Mpps }
func busyCycles(s *slice) float64 { return s.Busy }
func idlePart(s *slice) float64   { return s.Idle }

func medianOrNone(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	return rig.Median(v)
}

// ratio compares two contenders within each round, and in it within each phase: where the machine was the same.
type ratio struct {
	Of    string    `json:"of"`
	To    string    `json:"to"`
	Pairs []float64 `json:"pairs"`
	// Mixed says that they were never measured in the same phase, so that the pairs are of whole rounds and show little.
	Mixed    bool    `json:"phases_mixed,omitempty"`
	Median   float64 `json:"median"`
	Smallest float64 `json:"smallest"`
	Largest  float64 `json:"largest"`
	Near     float64 `json:"near,omitempty"` // median of the pairs of one phase, 0 if there is none
	Far      float64 `json:"far,omitempty"`
	// CyclePairs are of To's busy cycles per packet and Of's, for the same rounds and phases as Pairs, and Cycles is their
	// median; absent where one of the two does not tell.
	CyclePairs []float64 `json:"cycle_pairs,omitempty"`
	Cycles     float64   `json:"cycles,omitempty"`
	Bar        float64   `json:"bar,omitempty"` // what Median must reach, or Cycles; 0: nothing
	OfCycles   bool      `json:"bar_of_cycles,omitempty"`
}

// reached reports whether the bar, if there is one, is reached.
func (r *ratio) reached() bool {
	if r.OfCycles {
		return r.Cycles >= r.Bar
	}
	return r.Median >= r.Bar
}

func newReport(ctx context.Context, o *options, list []scenario) *report {
	r := &report{
		Time: time.Now().UTC().Truncate(time.Second), Options: o, Versions: make(map[string]string), Machine: rig.ThisMachine(ctx),
	}
	for _, name := range peerNames(list) {
		r.Versions[name] = peers[name].version(ctx, o)
	}
	r.Versions["dpdk"] = rig.PackageVersion(ctx, host.Testpmd.Package)
	return r
}

// peerNames are the peers in the scenarios, in the order of the alphabet.
func peerNames(list []scenario) []string {
	found := make(map[string]bool)
	for i := range list {
		for _, c := range list[i].contenders {
			found[c.Peer] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func newOutcome(s *scenario) *outcome {
	out := &outcome{Name: s.name, Title: s.title, bars: s.bars}
	for _, c := range s.contenders {
		out.Results = append(out.Results, result{contender: c})
	}
	return out
}

// summarise computes everything from the slices. What is near and what is far is decided for all scenarios together: one that
// was measured in one phase only does not show which it was.
func (r *report) summarise() {
	var distances []float64
	for _, o := range r.Scenarios {
		for _, p := range o.Results {
			for _, s := range slices.Concat(p.Slices...) {
				distances = append(distances, s.Before, s.After)
			}
		}
	}
	phase := rig.Phases(distances)
	for _, o := range r.Scenarios {
		if o.Failure == "" {
			o.summarise(phase)
		}
	}
}

func (o *outcome) summarise(phase func(before, after float64) rig.Phase) {
	o.Ratios = nil
	for i := range o.Results {
		p := &o.Results[i]
		p.sort(phase)
		p.Median = rig.Median(p.Mpps)
		p.Spread = (slices.Max(p.Mpps) - slices.Min(p.Mpps)) / p.Median
		all := slices.Concat(p.Slices...)
		p.Busy, p.Idle = all.median(busyCycles), all.median(idlePart)
	}
	for i := range o.Results {
		for j := range o.Results[i+1:] {
			o.compare(&o.Results[i], &o.Results[i+1+j])
		}
	}
}

// leastSlices is how many slices of a phase a round must have for its rate to be compared.
const leastSlices = 2

// compare adds the ratio of two contenders.
func (o *outcome) compare(a, b *result) {
	x := ratio{Of: a.Label, To: b.Label}
	var pairs [rig.Mixed][]float64
	for round := range a.phases {
		for p := range pairs {
			if ma, mb := a.phases[round][p], b.phases[round][p]; min(len(ma), len(mb)) >= leastSlices {
				pairs[p] = append(pairs[p], x.pair(ma, mb))
			}
		}
	}
	x.Near, x.Far = medianOrNone(pairs[rig.Near]), medianOrNone(pairs[rig.Far])
	if x.Pairs = slices.Concat(pairs[:]...); len(x.Pairs) == 0 {
		x.Mixed = true
		for round := range a.Slices {
			x.Pairs = append(x.Pairs, x.pair(a.Slices[round], b.Slices[round]))
		}
	}
	x.Median, x.Smallest, x.Largest = rig.Median(x.Pairs), slices.Min(x.Pairs), slices.Max(x.Pairs)
	x.Cycles = medianOrNone(x.CyclePairs)
	for _, bar := range o.bars {
		if bar.Of == x.Of && bar.To == x.To {
			x.Bar, x.OfCycles = bar.Least, bar.OfCycles
		}
	}
	o.Ratios = append(o.Ratios, x)
}

// pair is the ratio of the rates of two measurements, or parts of them; that of their cycles is added to the list.
func (r *ratio) pair(a, b measurement) float64 {
	if ca, cb := a.median(busyCycles), b.median(busyCycles); ca > 0 && cb > 0 {
		r.CyclePairs = append(r.CyclePairs, cb/ca)
	}
	return a.median(rate) / b.median(rate)
}

// failure says which scenarios have no figures.
func (r *report) failure() error {
	var failed []string
	for _, s := range r.Scenarios {
		if s.Failure != "" {
			failed = append(failed, s.Name)
		}
	}
	return rig.NoFigures(failed)
}

func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "\n%d rounds of %d s, both directions together\n", r.Options.Rounds, r.Options.Seconds)
	fmt.Fprintln(out, r.Machine)
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(out, "%s: %s\n", name, r.Versions[name])
	}
	for _, s := range r.Scenarios {
		fmt.Fprintf(out, "\n%s (%s)\n", s.Title, s.Name)
		if s.Failure != "" {
			fmt.Fprintf(out, "  no figures: %s\n", s.Failure)
			continue
		}
		s.print(out)
	}
}

func (o *outcome) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "  CONTENDER\tMpps\tSPREAD\tNEAR\tFAR\tCYCLES\tIDLE")
	for _, p := range o.Results {
		cycles, idle := "-", "-"
		if p.Busy > 0 {
			cycles, idle = fmt.Sprintf("%.0f", p.Busy), fmt.Sprintf("%.0f %%", 100*p.Idle)
		}
		fmt.Fprintf(w, "  %s\t%.3f\t%.0f %%\t%s\t%s\t%s\t%s\n", p.Label, p.Median, 100*p.Spread, orNone(p.Near), orNone(p.Far),
			cycles, idle)
	}
	_ = w.Flush() // the terminal
	w = tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "  RATIO\tMEDIAN\tRANGE\tPAIRS\tNEAR\tFAR\tCYCLES\tBAR")
	for _, x := range o.Ratios {
		fmt.Fprintf(w, "  %s / %s\t%.2f\t%.2f-%.2f\t%d\t%s\t%s\t%s\t%s\n", x.Of, x.To, x.Median, x.Smallest, x.Largest,
			len(x.Pairs), orNone(x.Near), orNone(x.Far), orNone(x.Cycles), x.verdict())
	}
	_ = w.Flush() // the terminal
	for i := range o.Results {
		o.Results[i].printFrames(out)
	}
	if slices.ContainsFunc(o.Ratios, func(x ratio) bool { return x.Mixed && x.Bar > 0 }) {
		fmt.Fprintln(out, "  NOT SHOWN: the two were never measured in the same phase of the machine; more rounds may do (-rounds)")
	}
}

// printFrames says what became of the frames of all rounds, where any were lost.
func (r *result) printFrames(out io.Writer) {
	var sum tally
	for _, t := range r.Frames {
		sum.Sent, sum.Received, sum.Dropped = sum.Sent+t.Sent, sum.Received+t.Received, sum.Dropped+t.Dropped
	}
	if sum.Sent == sum.Received && sum.Dropped == 0 {
		return
	}
	fmt.Fprintf(out, "  %s: %d of %d frames lost, %d of them counted as dropped\n", r.Label, sum.Sent-sum.Received, sum.Sent,
		sum.Dropped)
}

// verdict says what has become of the bar.
func (r *ratio) verdict() string {
	if r.Bar == 0 {
		return "-"
	}
	bar := twoDigits(r.Bar)
	if r.OfCycles {
		bar += " of cycles"
	}
	switch {
	case r.Mixed:
		return bar + " NOT SHOWN"
	case r.reached():
		return bar + " reached"
	}
	return bar + " MISSED"
}

// orNone formats a figure that is 0 where there is none.
func orNone(v float64) string {
	if v == 0 {
		return "-"
	}
	return twoDigits(v)
}

func twoDigits(v float64) string { return fmt.Sprintf("%.2f", v) }
