package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"weft/benchmarks/rig"
	"weft/internal/e2e/daemon"
	"weft/internal/e2e/host"
	"weft/internal/e2e/ovs"
	"weft/internal/sys"
)

// options are the command line.
type options struct {
	Rounds    int     `json:"rounds"`
	Seconds   float64 `json:"seconds"`
	Scenarios string  `json:"scenarios"`
	LoadCPU   int     `json:"load_cpu"`
	SwitchCPU int     `json:"switch_cpu"`
	Quick     bool    `json:"quick"`

	Known   int     `json:"known_flows"`
	Rate    float64 `json:"known_packets_per_second"`
	Fresh   float64 `json:"new_flows_per_second"`
	Attack  float64 `json:"attack_packets_per_second"`
	Rules   int     `json:"bulk_rules"`
	Changes int     `json:"rule_changes_per_second"`

	weft, out string
	allowed   []int // CPUs of this process
}

// What -quick makes of the options that were left as they are.
const (
	quickRounds  = 1
	quickSeconds = 2
	quickRules   = 100_000
)

// spareProcs is how many processors Go's scheduler gets beyond its own choice.
const spareProcs = 2

func main() {
	var o options
	flag.IntVar(&o.Rounds, "rounds", 5, "how often each scenario is measured")
	flag.Float64Var(&o.Seconds, "seconds", 5, "length of one phase of a measurement")
	flag.StringVar(&o.Scenarios, "scenarios", "all", "what to measure: all, or names with commas (-scenarios help lists them)")
	flag.IntVar(&o.LoadCPU, "load-cpu", 0, "CPU of the load")
	flag.IntVar(&o.SwitchCPU, "switch-cpu", 1, "CPU of the switch's forwarding thread")
	flag.BoolVar(&o.Quick, "quick", false, "one round of short phases and few rules, unless they are given")
	flag.IntVar(&o.Known, "known", 1000, "flows that are always the same")
	flag.Float64Var(&o.Rate, "rate", 1e6, "their packets per second")
	flag.Float64Var(&o.Fresh, "new-flows", 100_000, "flows per second that were never seen before")
	flag.Float64Var(&o.Attack, "attack", 10_000, "packets per second of the attack")
	flag.IntVar(&o.Rules, "rules", 2_000_000, "rules that are loaded at once")
	flag.IntVar(&o.Changes, "changes", 1000, "rule changes per second")
	flag.StringVar(&o.weft, "weft", "bin/weft", "the weft binary")
	flag.StringVar(&o.out, "out", "benchmarks/results/stress.json", "file for the report as JSON")
	flag.Parse()
	if o.Quick {
		given := make(map[string]bool)
		flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
		o.shorten(given)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := stress(ctx, &o); err != nil {
		fmt.Fprintln(os.Stderr, "stress:", err)
		os.Exit(1)
	}
}

// shorten makes a quick run of the options that were not given.
func (o *options) shorten(given map[string]bool) {
	if !given["rounds"] {
		o.Rounds = quickRounds
	}
	if !given["seconds"] {
		o.Seconds = quickSeconds
	}
	if !given["rules"] {
		o.Rules = quickRules
	}
}

// phase is the length of one phase.
func (o *options) phase() time.Duration { return time.Duration(o.Seconds * float64(time.Second)) }

// check refuses what cannot be measured.
func (o *options) check() error {
	if os.Geteuid() != 0 {
		return errors.New("not root: hugepages and pinned threads need it")
	}
	var err error
	if o.allowed, err = sys.Affinity(0); err != nil {
		return err
	}
	switch {
	case len(o.allowed) < 2 || o.LoadCPU == o.SwitchCPU:
		return errors.New("load and switch need a CPU each")
	case !slices.Contains(o.allowed, o.LoadCPU) || !slices.Contains(o.allowed, o.SwitchCPU):
		return fmt.Errorf("CPUs %d and %d are to be used, and this process may use %v", o.LoadCPU, o.SwitchCPU, o.allowed)
	case o.Rounds < 1 || o.Seconds < 0.1:
		return errors.New("-rounds is at least 1 and -seconds at least 0.1")
	case o.Known < 1 || o.Known > 1<<16 || o.Rate < 1000 || o.Fresh < 1 || o.Attack < 1:
		return errors.New("-known is 1 to 65536, -rate at least 1000, -new-flows and -attack at least 1")
	case o.Rules < 1 || o.Rules > maxBulkRules || o.Changes < 1:
		return fmt.Errorf("-rules is 1 to %d, -changes at least 1", maxBulkRules)
	}
	return nil
}

func stress(ctx context.Context, o *options) error {
	chosen, err := chooseScenarios(o.Scenarios)
	if err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	// The load keeps one of Go's processors to itself; requests, which are timed, must not wait for it. Set by hand, the
	// number also does not follow the CPUs that this process confines itself to.
	runtime.GOMAXPROCS(spareProcs + runtime.GOMAXPROCS(0))
	dir, err := os.MkdirTemp("", "weft-stress-")
	if err != nil {
		return err
	}
	g := host.NewGroup(dir, false)
	defer func() {
		g.Close()
		_ = os.RemoveAll(dir)
	}()
	megabytes := guestMemoryMB + daemon.HugepagesMB
	if slices.ContainsFunc(chosen, func(s scenario) bool { return s.ovs }) {
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		if err := host.Install(ctx, log, host.OVS); err != nil {
			return err
		}
		megabytes += ovs.MemoryMB
	}
	if err := host.ReserveHugepages(g, megabytes); err != nil {
		return err
	}
	r := newReport(ctx, o)
	for i := range chosen {
		r.Scenarios = append(r.Scenarios, measureScenario(ctx, o, dir, &chosen[i]))
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted: %w", ctx.Err())
		}
	}
	r.print(os.Stdout)
	if err := rig.WriteJSON(o.out, r); err != nil {
		return err
	}
	return r.failure()
}

// measureScenario measures a scenario round by round. A round that fails ends it.
func measureScenario(ctx context.Context, o *options, dir string, s *scenario) *result {
	out := newResult(o, s)
	for round := range o.Rounds {
		fmt.Fprintf(os.Stderr, "%-10s round %d/%d\n", s.name, round+1, o.Rounds)
		m := &measurements{round: round}
		if err := s.round(ctx, o, filepath.Join(dir, fmt.Sprintf("%s-%d", s.name, round)), m); err != nil {
			err = errors.Join(ctx.Err(), err)
			out.Failure = fmt.Sprintf("round %d: %v", round+1, err)
			fmt.Fprintf(os.Stderr, "%-10s FAILED in %s\n", s.name, out.Failure)
			return out
		}
		m.print(os.Stderr)
		out.add(m)
	}
	out.summarise()
	return out
}
