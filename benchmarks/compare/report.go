package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is what is printed and written as JSON.
type report struct {
	Time    time.Time `json:"time"`
	Machine machine   `json:"machine"`
	Options *options  `json:"options"`
	Results []result  `json:"results"`
	Ratios  []ratio   `json:"ratios"`
}

type machine struct {
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Kernel string `json:"kernel"`
	Load   string `json:"load_average_before"`
}

// result is what one peer reached, round by round.
type result struct {
	Peer    string    `json:"peer"`
	Version string    `json:"version"`
	Mpps    []float64 `json:"mpps"`
	Median  float64   `json:"median_mpps"`
	// Spread is the distance between the best and the worst round as a part of the median.
	Spread float64 `json:"spread"`
}

// ratio compares two peers within each round, where the machine was the same.
type ratio struct {
	Of       string    `json:"of"`
	To       string    `json:"to"`
	ByRound  []float64 `json:"by_round"`
	Median   float64   `json:"median"`
	Smallest float64   `json:"smallest"`
	Largest  float64   `json:"largest"`
}

func newReport(ctx context.Context, o *options, peers []peer) *report {
	r := &report{Time: time.Now().UTC().Truncate(time.Second), Options: o, Machine: machine{
		CPU: cpuModel(), CPUs: runtime.NumCPU(), Kernel: oneLine("/proc/sys/kernel/osrelease"), Load: oneLine("/proc/loadavg"),
	}}
	for _, p := range peers {
		r.Results = append(r.Results, result{Peer: p.name, Version: p.version(ctx, o)})
	}
	return r
}

func (r *report) summarise() {
	for i := range r.Results {
		p := &r.Results[i]
		p.Median = median(p.Mpps)
		p.Spread = (slices.Max(p.Mpps) - slices.Min(p.Mpps)) / p.Median
	}
	for i, a := range r.Results {
		for _, b := range r.Results[i+1:] {
			x := ratio{Of: a.Peer, To: b.Peer}
			for round := range a.Mpps {
				x.ByRound = append(x.ByRound, a.Mpps[round]/b.Mpps[round])
			}
			x.Median, x.Smallest, x.Largest = median(x.ByRound), slices.Min(x.ByRound), slices.Max(x.ByRound)
			r.Ratios = append(r.Ratios, x)
		}
	}
}

func (r *report) print(out io.Writer) {
	o := r.Options
	buffers := "mergeable"
	if !o.Mergeable {
		buffers = "not mergeable"
	}
	fmt.Fprintf(out, "\n%d-byte frames, split rings, %s buffers, %d queue pair(s), %d rounds of %d s, both directions together\n",
		o.Size, buffers, max(o.Queues, 1), o.Rounds, o.Seconds)
	fmt.Fprintf(out, "%s, %d CPUs, Linux %s, load average before: %s\n\n", r.Machine.CPU, r.Machine.CPUs, r.Machine.Kernel,
		r.Machine.Load)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "PEER\tMEDIAN Mpps\tSPREAD\tROUNDS\tVERSION")
	for _, p := range r.Results {
		fmt.Fprintf(w, "%s\t%.3f\t%.0f %%\t%s\t%s\n", p.Peer, p.Median, 100*p.Spread, join(p.Mpps, "%.2f"), p.Version)
	}
	fmt.Fprintln(w, "\t\t\t\t")
	fmt.Fprintln(w, "RATIO\tMEDIAN\tRANGE\tROUNDS\t")
	for _, x := range r.Ratios {
		fmt.Fprintf(w, "%s / %s\t%.2f\t%.2f-%.2f\t%s\t\n", x.Of, x.To, x.Median, x.Smallest, x.Largest, join(x.ByRound, "%.2f"))
	}
	_ = w.Flush() // the terminal
}

func join(v []float64, format string) string {
	var words []string
	for _, x := range v {
		words = append(words, fmt.Sprintf(format, x))
	}
	return strings.Join(words, " ")
}

// median is the middle value, or the mean of the two in the middle.
func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	for line := range strings.Lines(string(text)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}

func oneLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}
