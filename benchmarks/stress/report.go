package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"weft/benchmarks/rig"
	"weft/internal/e2e/host"
)

// measurements is what one round of a scenario gave.
type measurements struct {
	round  int // from 0
	values []value
	notes  []string
	pairs  []pairing
}

type value struct {
	name, unit string
	v          float64
}

// add adds a figure. One that could not be had (NaN) is left out.
func (m *measurements) add(name, unit string, v float64) {
	if !math.IsNaN(v) && !math.IsInf(v, 0) {
		m.values = append(m.values, value{name, unit, v})
	}
}

// note adds a sentence that the figures do not tell.
func (m *measurements) note(format string, args ...any) {
	m.notes = append(m.notes, fmt.Sprintf(format, args...))
}

func (m *measurements) print(out io.Writer) {
	for _, x := range m.values {
		fmt.Fprintf(out, "  %-52s %s %s\n", x.name, number(x.v), x.unit)
	}
	for _, n := range m.notes {
		fmt.Fprintf(out, "  (%s)\n", n)
	}
}

// bar is what the median of a figure must reach: at least Least, or at most Most.
type bar struct {
	Figure string   `json:"-"`
	Least  *float64 `json:"least,omitempty"`
	Most   *float64 `json:"most,omitempty"`
	// Given are figures with bars that must be reached for this one to show anything. One that is given itself is a premise:
	// not reached, it shows nothing either.
	Given []string `json:"given,omitempty"`
}

func atLeast(figure string, v float64) bar { return bar{Figure: figure, Least: &v} }
func atMost(figure string, v float64) bar  { return bar{Figure: figure, Most: &v} }

func (b bar) given(figures ...string) bar {
	b.Given = figures
	return b
}

func (b *bar) reached(v float64) bool {
	return (b.Least == nil || v >= *b.Least) && (b.Most == nil || v <= *b.Most)
}

func (b *bar) text() string {
	if b.Least != nil {
		return ">= " + number(*b.Least)
	}
	return "<= " + number(*b.Most)
}

// figure is one figure over the rounds.
type figure struct {
	Name     string    `json:"name"`
	Unit     string    `json:"unit"`
	ByRound  []float64 `json:"by_round"`
	Median   float64   `json:"median"`
	Smallest float64   `json:"smallest"`
	Largest  float64   `json:"largest"`
	Bar      *bar      `json:"bar,omitempty"`
	Reached  *bool     `json:"reached,omitempty"` // absent where that is not shown
}

// verdict says how the figure stands to its bar.
func (f *figure) verdict() string {
	switch {
	case f.Bar == nil:
		return "-"
	case f.Reached == nil:
		return f.Bar.text() + " NOT SHOWN"
	case *f.Reached:
		return f.Bar.text() + " reached"
	}
	return f.Bar.text() + " MISSED"
}

// result is what a scenario gave.
type result struct {
	Name    string    `json:"name"`
	Title   string    `json:"title"`
	Failure string    `json:"failure,omitempty"` // why there are no figures
	Figures []*figure `json:"figures"`
	Notes   []string  `json:"notes,omitempty"`
	bars    []bar
	pairs   [][]pairing // by round
}

func newResult(o *options, s *scenario) *result {
	return &result{Name: s.name, Title: s.title(o), bars: s.bars(o)}
}

// add adds a round.
func (r *result) add(m *measurements) {
	for _, x := range m.values {
		f := r.figure(x.name)
		if f == nil {
			f = &figure{Name: x.name, Unit: x.unit}
			r.Figures = append(r.Figures, f)
		}
		f.ByRound = append(f.ByRound, x.v)
	}
	for _, n := range m.notes {
		if !slices.Contains(r.Notes, n) {
			r.Notes = append(r.Notes, n)
		}
	}
	if len(m.pairs) > 0 {
		r.pairs = append(r.pairs, m.pairs)
	}
}

// summarise computes the medians and holds them against the bars. A bar whose figure was never had is a failure.
func (r *result) summarise() {
	r.addPairs()
	for _, f := range r.Figures {
		f.Median, f.Smallest, f.Largest = rig.Median(f.ByRound), slices.Min(f.ByRound), slices.Max(f.ByRound)
	}
	missed := make(map[string]bool)
	for i := range r.bars {
		b := &r.bars[i]
		f := r.figure(b.Figure)
		if f == nil {
			r.Failure = fmt.Sprintf("no figure for %q", b.Figure)
			continue
		}
		f.Bar, missed[b.Figure] = b, !b.reached(f.Median)
	}
	for _, f := range r.Figures {
		if f.Bar != nil && !slices.ContainsFunc(f.Bar.Given, func(name string) bool { return missed[name] }) {
			reached := !missed[f.Name]
			f.Reached = &reached
		}
	}
}

// figure finds one by name, nil if there is none.
func (r *result) figure(name string) *figure {
	if i := slices.IndexFunc(r.Figures, func(f *figure) bool { return f.Name == name }); i >= 0 {
		return r.Figures[i]
	}
	return nil
}

// report is what is printed and written as JSON.
type report struct {
	Time      time.Time         `json:"time"`
	Machine   rig.Machine       `json:"machine"`
	Options   *options          `json:"options"`
	Versions  map[string]string `json:"versions"`
	Scenarios []*result         `json:"scenarios"`
}

func newReport(ctx context.Context, o *options) *report {
	return &report{
		Time: time.Now().UTC().Truncate(time.Second), Options: o, Machine: rig.ThisMachine(ctx),
		Versions: map[string]string{
			"weft": rig.Version(ctx, o.weft, "version"),
			"ovs":  rig.PackageVersion(ctx, host.OVS.Package),
			"dpdk": rig.LineOf(ctx, "DPDK", host.OVS.Program),
		},
	}
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
	fmt.Fprintf(out, "\n%d rounds, phases of %g s; 64-byte frames from one port to the other, split rings of %d\n",
		r.Options.Rounds, r.Options.Seconds, ringSize)
	fmt.Fprintln(out, r.Machine)
	fmt.Fprintf(out, "%s; %s; %s\n", r.Versions["weft"], r.Versions["ovs"], r.Versions["dpdk"])
	for _, s := range r.Scenarios {
		fmt.Fprintf(out, "\n%s (%s)\n", s.Title, s.Name)
		if s.Failure != "" {
			fmt.Fprintf(out, "  no figures: %s\n", s.Failure)
			continue
		}
		s.print(out)
	}
}

func (r *result) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "  FIGURE\tMEDIAN\tRANGE\tBAR\tROUNDS")
	for _, f := range r.Figures {
		fmt.Fprintf(w, "  %s\t%s %s\t%s-%s\t%s\t%s\n", f.Name, number(f.Median), f.Unit, number(f.Smallest), number(f.Largest),
			f.verdict(), rig.Join(f.ByRound, number))
	}
	_ = w.Flush() // the terminal
	for _, n := range r.Notes {
		fmt.Fprintf(out, "  (%s)\n", n)
	}
}

// number prints four significant digits, and whole numbers as they are.
func number(v float64) string {
	switch {
	case v == math.Trunc(v) && math.Abs(v) < 1e15:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 1000:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.4g", v)
}
