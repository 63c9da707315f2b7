package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"weft/internal/e2e/host"
	"weft/internal/e2e/ovs"
	"weft/internal/e2e/testpmd"
)

// options are the command line.
type options struct {
	Rounds    int    `json:"rounds"`
	Seconds   int    `json:"seconds"`
	Size      int    `json:"frame_bytes"`
	Mergeable bool   `json:"mergeable"`
	Queues    int    `json:"queue_pairs"`
	Peers     string `json:"peers"`
	LoadCPU   int    `json:"load_cpu"`
	SwitchCPU int    `json:"switch_cpu"`

	weft, out string
}

func main() {
	var o options
	flag.IntVar(&o.Rounds, "rounds", 5, "how often each peer is measured")
	flag.IntVar(&o.Seconds, "seconds", 10, "length of one measurement")
	flag.IntVar(&o.Size, "size", 64, "frame size in bytes, without frame check sequence")
	flag.BoolVar(&o.Mergeable, "mergeable", true, "mergeable receive buffers")
	flag.IntVar(&o.Queues, "queues", 1, "queue pairs of each port")
	flag.StringVar(&o.Peers, "peers", "weft,ovs,testpmd", "what to measure")
	flag.IntVar(&o.LoadCPU, "load-cpu", 0, "CPU of the load")
	flag.IntVar(&o.SwitchCPU, "switch-cpu", 1, "CPU of the switch's forwarding thread")
	flag.StringVar(&o.weft, "weft", "bin/weft", "the weft binary")
	flag.StringVar(&o.out, "out", "bin/compare.json", "file for the report as JSON")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := compare(ctx, &o); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func compare(ctx context.Context, o *options) error {
	switch {
	case os.Geteuid() != 0:
		return errors.New("not root: hugepages and pinned threads need it")
	case runtime.NumCPU() < 2 || o.LoadCPU == o.SwitchCPU:
		return errors.New("load and switch need a CPU each")
	case o.Rounds < 1 || o.Seconds < 1 || o.Size < 60:
		return errors.New("-rounds and -seconds are at least 1, -size at least 60")
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
	peers, needs, err := choosePeers(o)
	if err != nil {
		return err
	}
	if err := host.Install(ctx, log, needs...); err != nil {
		return err
	}
	if err := host.ReserveHugepages(g, testpmd.MemoryMB+ovs.MemoryMB+64); err != nil {
		return err
	}
	r, err := measureAll(ctx, o, g, dir, peers)
	if err != nil {
		return fmt.Errorf("no report, because %w", err)
	}
	r.print(os.Stdout)
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(o.out, append(text, '\n'), 0o644)
}

// measureAll runs the rounds.
func measureAll(ctx context.Context, o *options, g *host.Group, dir string, peers []peer) (*report, error) {
	r := newReport(ctx, o, peers)
	for round := range o.Rounds {
		for i := range peers {
			p := &peers[i]
			rate, err := measure(ctx, o, g, filepath.Join(dir, fmt.Sprintf("%s-%d", p.name, round)), p)
			if err != nil {
				return nil, fmt.Errorf("%s failed in round %d: %w", p.name, round+1, err)
			}
			fmt.Fprintf(os.Stderr, "round %d/%d  %-8s %6.3f Mpps\n", round+1, o.Rounds, p.name, rate/1e6)
			r.Results[i].Mpps = append(r.Results[i].Mpps, rate/1e6)
		}
	}
	r.summarise()
	return r, nil
}

// warmUp lets caches, frequency and ring fill settle before packets count.
const warmUp = time.Second

// measure starts one peer and the load, measures, and stops both.
func measure(ctx context.Context, o *options, parent *host.Group, dir string, p *peer) (float64, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	g := host.NewGroup(dir, false)
	parent.Defer(g.Close) // closing twice is harmless
	defer g.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(o.Seconds)*time.Second+time.Minute)
	defer cancel()
	sockets := [2]string{filepath.Join(dir, "v0"), filepath.Join(dir, "v1")}
	check, err := p.start(ctx, g, o, dir, sockets)
	if err != nil {
		return 0, err
	}
	load, err := testpmd.Start(ctx, g, testpmd.Config{
		Name: "load", Sockets: sockets, Server: !p.listens, CPU: o.LoadCPU, Queues: o.Queues,
		NotMergeable: !o.Mergeable, FrameBytes: o.Size,
	})
	if err != nil {
		return 0, fmt.Errorf("%w\n%s", err, strings.Join(tails(g), "\n"))
	}
	if err := check(ctx); err != nil {
		return 0, err
	}
	if _, err := load.Command(ctx, "start tx_first 4"); err != nil {
		return 0, err
	}
	if _, err := load.Rate(ctx, warmUp); err != nil {
		return 0, err
	}
	rate, err := load.Rate(ctx, time.Duration(o.Seconds)*time.Second)
	switch {
	case err != nil:
		return 0, err
	case rate < 1000:
		return 0, fmt.Errorf("nothing went through (%.0f packets per second)\n%s", rate, strings.Join(tails(g), "\n"))
	}
	return rate, load.Quit(10 * time.Second)
}

func tails(g *host.Group) []string {
	var all []string
	for _, p := range g.Processes() {
		all = append(all, p.State()+"\n"+p.Tail(8))
	}
	return all
}
