package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"

	"weft/benchmarks/rig"
	"weft/internal/e2e/daemon"
	"weft/internal/e2e/host"
	"weft/internal/e2e/ovs"
	"weft/internal/e2e/testpmd"
)

// options are the command line.
type options struct {
	Rounds    int    `json:"rounds"`
	Seconds   int    `json:"seconds"`
	Scenarios string `json:"scenarios"`
	LoadCPU   int    `json:"load_cpu"`
	SwitchCPU int    `json:"switch_cpu"`

	weft, against, out, chart string
	draw                      bool
}

func main() {
	var o options
	flag.IntVar(&o.Rounds, "rounds", 5, "how often each contender is measured")
	flag.IntVar(&o.Seconds, "seconds", 5, "length of one measurement")
	flag.StringVar(&o.Scenarios, "scenarios", "all", "what to compare: all, quick, or names with commas")
	flag.IntVar(&o.LoadCPU, "load-cpu", 0, "CPU of the load")
	flag.IntVar(&o.SwitchCPU, "switch-cpu", 1, "CPU of the switch's forwarding thread")
	flag.StringVar(&o.weft, "weft", "bin/weft", "the weft binary")
	flag.StringVar(&o.against, "against", "", "another weft binary, compared in every scenario that has weft")
	flag.StringVar(&o.out, "out", "benchmarks/results/compare.json", "file for the report as JSON")
	flag.StringVar(&o.chart, "chart", "benchmarks/results/compare.svg", "file for the picture")
	flag.BoolVar(&o.draw, "draw", false, "print and draw the report that is in -out, and measure nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := compare(ctx, &o); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func compare(ctx context.Context, o *options) error {
	if o.draw {
		return show(o.out, o.chart)
	}
	switch {
	case os.Geteuid() != 0:
		return errors.New("not root: hugepages and pinned threads need it")
	case runtime.NumCPU() < 2 || o.LoadCPU == o.SwitchCPU:
		return errors.New("load and switch need a CPU each")
	case o.Rounds < 1 || o.Seconds < 1:
		return errors.New("-rounds and -seconds are at least 1")
	}
	chosen, err := chooseScenarios(o.Scenarios)
	if err != nil {
		return err
	}
	if o.against != "" {
		addOther(chosen)
	}
	dir, err := os.MkdirTemp("", "weft-compare-")
	if err != nil {
		return err
	}
	g := host.NewGroup(dir, false)
	defer func() {
		g.Close()
		_ = os.RemoveAll(dir)
	}()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := host.Install(ctx, log, needs(chosen)...); err != nil {
		return err
	}
	if err := host.ReserveHugepages(g, testpmd.MemoryMB+ovs.MemoryMB+daemon.HugepagesMB); err != nil {
		return err
	}
	prober := rig.TryProber(o.LoadCPU, o.SwitchCPU)
	if prober != nil {
		defer prober.Close()
	}
	r := newReport(ctx, o, chosen)
	for i := range chosen {
		c := comparison{o: o, group: g, dir: dir, scenario: &chosen[i], prober: prober}
		r.Scenarios = append(r.Scenarios, c.run(ctx))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	r.summarise()
	r.print(os.Stdout)
	if err := errors.Join(rig.WriteJSON(o.out, r), r.writeChart(o.chart)); err != nil {
		return err
	}
	return r.failure()
}

// show prints and draws a report that was written before. Its figures are computed from its slices anew, and held against
// the bars of today.
func show(path, chart string) error {
	var r report
	if err := rig.ReadJSON(path, &r); err != nil {
		return err
	}
	known := scenarios()
	for _, o := range r.Scenarios {
		if at := slices.IndexFunc(known, func(s scenario) bool { return s.name == o.Name }); at >= 0 {
			o.bars = known[at].bars
		}
	}
	r.summarise()
	r.print(os.Stdout)
	return r.writeChart(chart)
}
