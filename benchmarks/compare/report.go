package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"weft/benchmarks/rig"
)

// report is what is printed and written as JSON.
type report struct {
	Time      time.Time         `json:"time"`
	Machine   rig.Machine       `json:"machine"`
	Options   *options          `json:"options"`
	Versions  map[string]string `json:"versions"` // by peer
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
	// What the forwarding thread says of itself, round by round and the medians; absent where it says nothing. A thread
	// that was idle at times waited for the load: its rate is the load's then, and its cycles tell what it could do.
	Cycles       []float64 `json:"busy_cycles_per_packet,omitempty"`
	Idle         []float64 `json:"idle,omitempty"`
	MedianCycles float64   `json:"median_busy_cycles_per_packet,omitempty"`
	MedianIdle   float64   `json:"median_idle,omitempty"`
}

func (r *result) add(m measurement) {
	r.Mpps = append(r.Mpps, m.rate/1e6)
	if m.cycles != nil {
		r.Cycles, r.Idle = append(r.Cycles, m.cycles.Busy), append(r.Idle, m.cycles.Idle)
	}
}

// ratio compares two contenders within each round, where the machine was the same.
type ratio struct {
	Of       string    `json:"of"`
	To       string    `json:"to"`
	ByRound  []float64 `json:"by_round"`
	Median   float64   `json:"median"`
	Smallest float64   `json:"smallest"`
	Largest  float64   `json:"largest"`
	Bar      float64   `json:"bar,omitempty"` // what Median must reach; 0: nothing
	// Cycles is the median of To's busy cycles per packet by Of's; 0 where one of them does not tell.
	Cycles float64 `json:"cycles,omitempty"`
}

// reached reports whether the bar, if there is one, is reached.
func (r *ratio) reached() bool { return r.Median >= r.Bar }

func newReport(ctx context.Context, o *options, list []scenario) *report {
	r := &report{
		Time: time.Now().UTC().Truncate(time.Second), Options: o, Versions: make(map[string]string), Machine: rig.ThisMachine(),
	}
	for _, name := range peerNames(list) {
		r.Versions[name] = peers[name].version(ctx, o)
	}
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
	for i := range o.Results {
		p := &o.Results[i]
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

// compare adds the ratio of two contenders.
func (o *outcome) compare(a, b *result) {
	x := ratio{Of: a.Label, To: b.Label}
	for round := range a.Mpps {
		x.ByRound = append(x.ByRound, a.Mpps[round]/b.Mpps[round])
	}
	x.Median, x.Smallest, x.Largest = rig.Median(x.ByRound), slices.Min(x.ByRound), slices.Max(x.ByRound)
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
	if failed == nil {
		return nil
	}
	return errors.New("no figures for " + strings.Join(failed, ", "))
}

func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "\nsplit rings, %d rounds of %d s, both directions together\n", r.Options.Rounds, r.Options.Seconds)
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
	fmt.Fprintln(w, "  CONTENDER\tMEDIAN Mpps\tSPREAD\tCYCLES\tIDLE\tROUNDS")
	for _, p := range o.Results {
		cycles, idle := "-", "-"
		if len(p.Cycles) > 0 {
			cycles, idle = fmt.Sprintf("%.0f", p.MedianCycles), fmt.Sprintf("%.0f %%", 100*p.MedianIdle)
		}
		fmt.Fprintf(w, "  %s\t%.3f\t%.0f %%\t%s\t%s\t%s\n", p.Label, p.Median, 100*p.Spread, cycles, idle,
			rig.Join(p.Mpps, twoDigits))
	}
	_ = w.Flush() // the terminal
	w = tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "  RATIO\tMEDIAN\tRANGE\tBAR\tCYCLES\tROUNDS")
	for _, x := range o.Ratios {
		verdict := "-"
		switch {
		case x.Bar > 0 && x.reached():
			verdict = fmt.Sprintf("%.2f reached", x.Bar)
		case x.Bar > 0:
			verdict = fmt.Sprintf("%.2f MISSED", x.Bar)
		}
		cycles := "-"
		if x.Cycles > 0 {
			cycles = twoDigits(x.Cycles)
		}
		fmt.Fprintf(w, "  %s / %s\t%.2f\t%.2f-%.2f\t%s\t%s\t%s\n", x.Of, x.To, x.Median, x.Smallest, x.Largest, verdict,
			cycles, rig.Join(x.ByRound, twoDigits))
	}
	_ = w.Flush() // the terminal
}

func twoDigits(v float64) string { return fmt.Sprintf("%.2f", v) }
