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
	// What the forwarding thread says of itself, round by round and the medians; absent where it says nothing. A thread
	// that was idle at times waited for the load: its rate is the load's then, and its cycles tell what it could do.
	Cycles       []float64 `json:"busy_cycles_per_packet,omitempty"`
	Idle         []float64 `json:"idle,omitempty"`
	MedianCycles float64   `json:"median_busy_cycles_per_packet,omitempty"`
	MedianIdle   float64   `json:"median_idle,omitempty"`
	Slices       [][]slice `json:"slices"` // by round

	phases []phaseRates // by round
}

// phaseRates are the rates in the slices of each phase.
type phaseRates [rig.Mixed + 1][]float64

func (r *result) add(m *measurement) {
	r.Slices = append(r.Slices, m.slices)
	r.Mpps = append(r.Mpps, m.mean())
	if m.cycles != nil {
		r.Cycles, r.Idle = append(r.Cycles, m.cycles.Busy), append(r.Idle, m.cycles.Idle)
	}
}

// sort sorts the slices by phases.
func (r *result) sort(phase func(before, after float64) rig.Phase) {
	var all phaseRates
	for _, list := range r.Slices {
		var rates phaseRates
		for _, s := range list {
			p := phase(s.Before, s.After)
			rates[p] = append(rates[p], s.Mpps)
			all[p] = append(all[p], s.Mpps)
		}
		r.phases = append(r.phases, rates)
	}
	r.Near, r.Far = medianOrNone(all[rig.Near]), medianOrNone(all[rig.Far])
}

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
	Bar      float64 `json:"bar,omitempty"` // what Median must reach; 0: nothing
	// Cycles is the median of To's busy cycles per packet by Of's; 0 where one of them does not tell.
	Cycles float64 `json:"cycles,omitempty"`
}

// reached reports whether the bar, if there is one, is reached.
func (r *ratio) reached() bool { return r.Median >= r.Bar }

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

func (o *outcome) summarise() {
	var distances []float64
	for _, p := range o.Results {
		for _, list := range p.Slices {
			for _, s := range list {
				distances = append(distances, s.Before, s.After)
			}
		}
	}
	phase := rig.Phases(distances)
	for i := range o.Results {
		p := &o.Results[i]
		p.sort(phase)
		p.Median = rig.Median(p.Mpps)
		p.Spread = (slices.Max(p.Mpps) - slices.Min(p.Mpps)) / p.Median
		if len(p.Cycles) > 0 {
			p.MedianCycles, p.MedianIdle = rig.Median(p.Cycles), rig.Median(p.Idle)
		}
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
			if ra, rb := a.phases[round][p], b.phases[round][p]; min(len(ra), len(rb)) >= leastSlices {
				pairs[p] = append(pairs[p], rig.Median(ra)/rig.Median(rb))
			}
		}
	}
	x.Near, x.Far = medianOrNone(pairs[rig.Near]), medianOrNone(pairs[rig.Far])
	if x.Pairs = slices.Concat(pairs[:]...); len(x.Pairs) == 0 {
		x.Mixed = true
		for round := range a.Mpps {
			x.Pairs = append(x.Pairs, a.Mpps[round]/b.Mpps[round])
		}
	}
	x.Median, x.Smallest, x.Largest = rig.Median(x.Pairs), slices.Min(x.Pairs), slices.Max(x.Pairs)
	if len(a.Cycles) == len(b.Cycles) && len(a.Cycles) > 0 {
		var cycles []float64
		for round := range a.Cycles {
			cycles = append(cycles, b.Cycles[round]/a.Cycles[round])
		}
		x.Cycles = rig.Median(cycles)
	}
	for _, bar := range o.bars {
		if bar.Of == x.Of && bar.To == x.To {
			x.Bar = bar.Least
		}
	}
	o.Ratios = append(o.Ratios, x)
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
		if len(p.Cycles) > 0 {
			cycles, idle = fmt.Sprintf("%.0f", p.MedianCycles), fmt.Sprintf("%.0f %%", 100*p.MedianIdle)
		}
		fmt.Fprintf(w, "  %s\t%.3f\t%.0f %%\t%s\t%s\t%s\t%s\n", p.Label, p.Median, 100*p.Spread, orNone(p.Near), orNone(p.Far),
			cycles, idle)
	}
	_ = w.Flush() // the terminal
	w = tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "  RATIO\tMEDIAN\tRANGE\tPAIRS\tNEAR\tFAR\tCYCLES\tBAR")
	for _, x := range o.Ratios {
		verdict := "-"
		switch {
		case x.Bar > 0 && x.Mixed:
			verdict = fmt.Sprintf("%.2f NOT SHOWN", x.Bar)
		case x.Bar > 0 && x.reached():
			verdict = fmt.Sprintf("%.2f reached", x.Bar)
		case x.Bar > 0:
			verdict = fmt.Sprintf("%.2f MISSED", x.Bar)
		}
		fmt.Fprintf(w, "  %s / %s\t%.2f\t%.2f-%.2f\t%d\t%s\t%s\t%s\t%s\n", x.Of, x.To, x.Median, x.Smallest, x.Largest,
			len(x.Pairs), orNone(x.Near), orNone(x.Far), orNone(x.Cycles), verdict)
	}
	_ = w.Flush() // the terminal
	if slices.ContainsFunc(o.Ratios, func(x ratio) bool { return x.Mixed && x.Bar > 0 }) {
		fmt.Fprintln(out, "  NOT SHOWN: the two were never measured in the same phase of the machine; more rounds may do (-rounds)")
	}
}

// orNone formats a figure that is 0 where there is none.
func orNone(v float64) string {
	if v == 0 {
		return "-"
	}
	return twoDigits(v)
}

func twoDigits(v float64) string { return fmt.Sprintf("%.2f", v) }
