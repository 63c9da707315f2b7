package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weft/benchmarks/rig"
	"weft/internal/e2e/host"
	"weft/internal/e2e/testpmd"
)

// comparison is one scenario on its way.
type comparison struct {
	o        *options
	group    *host.Group
	dir      string
	scenario *scenario
	prober   *rig.Prober // nil: it is not known how far apart the CPUs are
}

// run measures the contenders in turn, round by round. One that fails ends the scenario.
func (c *comparison) run(ctx context.Context) *outcome {
	out := newOutcome(c.scenario)
	for round := range c.o.Rounds {
		for _, i := range turns(round, len(c.scenario.contenders)) {
			x := &c.scenario.contenders[i]
			dir := filepath.Join(c.dir, fmt.Sprintf("%s-%d-%d", c.scenario.name, round, i))
			m, t, err := c.measure(ctx, dir, x)
			if err != nil {
				out.Failure = fmt.Sprintf("%s failed in round %d: %v", x.Label, round+1, err)
				fmt.Fprintf(os.Stderr, "%-12s round %d/%d  %-16s FAILED: %v\n", c.scenario.name, round+1, c.o.Rounds, x.Label, err)
				return out
			}
			fmt.Fprintf(os.Stderr, "%-12s round %d/%d  %-16s %7.3f Mpps\n", c.scenario.name, round+1, c.o.Rounds, x.Label,
				m.mean())
			out.Results[i].add(m, t)
		}
	}
	return out
}

// turns are the numbers of n contenders in the order in which a round measures them: forward, and in every other round back.
// With packed rings every other run of the load is 15 % faster here, whatever it meets, probably because of the memory that it
// gets. In a fixed order that would always be the same contenders' runs.
func turns(round, n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	if round%2 == 1 {
		slices.Reverse(list)
	}
	return list
}

// warmUp lets caches, frequency and ring fill settle before packets count, longer for more flows: every switch shall
// have seen all of them.
func warmUp(w *work) time.Duration {
	return time.Second + time.Duration(w.Flows)*5*time.Microsecond
}

// measurement is what one contender reached in one round.
type measurement []slice

// slice is a short part of a measurement, during which the machine was the same throughout, or is known not to have been.
type slice struct {
	Mpps          float64
	Before, After float64 // how far apart the CPUs of load and switch were, in nanoseconds
	cycles                // all 0: the switch does not tell
}

// sliceLength is short enough that a hypervisor seldom moves a CPU meanwhile, and long beside the probes in between.
const sliceLength = 250 * time.Millisecond

// mean is the rate of the whole measurement, in Mpps.
func (m measurement) mean() (sum float64) {
	for _, s := range m {
		sum += s.Mpps
	}
	return sum / float64(len(m))
}

// measure starts one switch and the load, measures, looks what became of all frames, and stops both.
func (c *comparison) measure(ctx context.Context, dir string, x *contender) (m measurement, t tally, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return m, t, err
	}
	defer os.RemoveAll(dir)
	g := host.NewGroup(dir, false)
	c.group.Defer(g.Close) // closing twice is harmless
	defer g.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.o.Seconds)*time.Second+3*time.Minute)
	defer cancel()
	b := bench{o: c.o, group: g, dir: dir, work: &x.Work, sockets: [2]string{filepath.Join(dir, "v0"), filepath.Join(dir, "v1")}}
	p := peers[x.Peer]
	sw, err := p.start(ctx, &b)
	if err != nil {
		return m, t, err
	}
	load, err := testpmd.Start(ctx, g, b.load(p.listens))
	if err != nil {
		return m, t, fmt.Errorf("%w\n%s", err, strings.Join(tails(g), "\n"))
	}
	if err := sw.ready(ctx); err != nil {
		return m, t, err
	}
	stop, err := b.disturb(ctx, sw)
	if err != nil {
		return m, t, err
	}
	start := "start"
	if x.Work.Flows == 0 {
		start = "start tx_first 4"
	}
	if _, err := load.Command(ctx, start); err != nil {
		return m, t, err
	}
	if _, err := load.Rate(ctx, warmUp(&x.Work)); err != nil {
		return m, t, err
	}
	m, err = c.slices(ctx, load, sw.account)
	if err := errors.Join(err, stop()); err != nil {
		return m, t, err
	}
	if m.mean() < 0.001 {
		return m, t, fmt.Errorf("nothing went through (%.0f packets per second)\n%s", 1e6*m.mean(), strings.Join(tails(g), "\n"))
	}
	t, err = takeTally(ctx, load, &sw, &x.Work)
	return m, t, errors.Join(err, load.Quit(10*time.Second))
}

// slices lets the traffic run, and looks at it and at the distance of the CPUs again and again.
func (c *comparison) slices(ctx context.Context, load *testpmd.Testpmd, a account) (m measurement, err error) {
	s := slice{After: c.prober.Known()}
	for range time.Duration(c.o.Seconds) * time.Second / sliceLength {
		s.Before = s.After
		s.cycles, err = a.during(ctx, func() error {
			rate, err := load.Rate(ctx, sliceLength)
			s.Mpps = rate / 1e6
			return err
		})
		if err != nil {
			return nil, err
		}
		s.After = c.prober.Known()
		m = append(m, s)
	}
	return m, nil
}

// during measures, and takes the account of the same time.
func (a account) during(ctx context.Context, measure func() error) (cycles, error) {
	if a == nil {
		return cycles{}, measure()
	}
	end, err := a(ctx)
	if err != nil {
		return cycles{}, err
	}
	if err := measure(); err != nil {
		return cycles{}, err
	}
	return end(ctx)
}

// load is the testpmd that sends and receives.
func (b *bench) load(server bool) testpmd.Config {
	cfg := testpmd.Config{
		Name: "load", Sockets: b.sockets, Server: !server, CPU: b.o.LoadCPU, Queues: b.work.Queues,
		NotMergeable: b.work.NotMergeable, Packed: b.work.Packed, FrameBytes: b.work.Size, Flows: b.work.Flows,
		// Enough for its rings, and few enough to stay in its caches: the load must not be the slower end.
		Mbufs: 8192 * max(b.work.Queues, 1),
	}
	if b.work.Flows > 0 {
		cfg.Forward, cfg.FrameBytes = "flowgen", 0 // which has frames of 64 bytes, less four for the check sequence
	}
	return cfg
}

// disturb changes rules, or asks for nothing much, while packets pass, as the work says: on the load's CPU like everything
// that is not forwarding.
func (b *bench) disturb(ctx context.Context, sw running) (stop func() error, err error) {
	each, persecond := sw.change, b.work.Changes
	if b.work.Requests > 0 {
		each, persecond = sw.ask, b.work.Requests
	}
	switch {
	case persecond == 0:
		return func() error { return nil }, nil
	case each == nil:
		return nil, errors.New("this switch cannot be asked so often")
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- rig.OnCPU(b.o.LoadCPU, func() error { return repeat(ctx, persecond, each) })
	}()
	return func() error { cancel(); return <-done }, nil
}

// repeat calls f so often a second until ctx ends. A call that comes late does not delay those behind it.
func repeat(ctx context.Context, persecond int, f func(ctx context.Context, i int) error) error {
	every, begun := time.Second/time.Duration(persecond), time.Now()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(begun.Add(time.Duration(i) * every))):
		}
		if err := f(ctx, i); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

func tails(g *host.Group) []string {
	var all []string
	for _, p := range g.Processes() {
		all = append(all, p.State()+"\n"+p.Tail(8))
	}
	return all
}
