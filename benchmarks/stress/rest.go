package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"weft/internal/e2e/host"
)

// Figures with bars.
const (
	figResident = "memory beside that of the guests"
	figIdle     = "CPU while idle, sleep mode"
	figWake     = "wake-up, sleep mode, 99th percentile"
)

const (
	restFlows = 10
	wakeRate  = 100 // frames per second: the PMD thread sleeps in between
)

func restBars(*options) []bar {
	return []bar{atMost(figResident, 64), atMost(figIdle, 2), atMost(figWake, 200), atMost(figFreshLost, 0)}
}

// restRound measures what a switch takes that has two ports, ten flows and nothing to do: memory, CPU, the time until a frame
// that comes then is through, and how long it takes to start and to stop.
func restRound(ctx context.Context, o *options, dir string, m *measurements) error {
	b, begun, err := startRest(ctx, o, filepath.Join(dir, "sleep"), "sleep")
	if b != nil {
		defer b.close()
	}
	if err != nil {
		return err
	}
	m.add("from start to the first frames forwarded, at most", "ms", float64((time.Since(begun) - settle).Milliseconds()))
	resident, err := b.resident()
	if err != nil {
		return err
	}
	m.add(figResident, "MiB", resident/(1<<20))
	used, err := b.idleCPU(ctx)
	if err != nil {
		return err
	}
	m.add(figIdle, "%", used)
	if err := b.wakeups(ctx, m); err != nil {
		return err
	}
	if err := b.addUnaccounted(ctx, m); err != nil {
		return err
	}
	stop := time.Now()
	if err := b.weft.Stop(); err != nil {
		return b.explain(err)
	}
	m.add("stopping", "ms", float64(time.Since(stop).Milliseconds()))
	b.close()
	return restPoll(ctx, o, filepath.Join(dir, "poll"), m)
}

// startRest starts weft with ten flows and sends them once.
func startRest(ctx context.Context, o *options, dir, idle string) (b *bed, begun time.Time, err error) {
	if b, err = newBed(o, dir); err != nil {
		return nil, begun, err
	}
	b.idle = idle
	rules := filepath.Join(dir, "rules.txt")
	if err := writeFile(rules, func(w io.Writer) error { return writeForwarding(w, restFlows) }); err != nil {
		return b, begun, err
	}
	begun = time.Now()
	if err := b.startWeft(ctx, rules); err != nil {
		return b, begun, err
	}
	first, err := b.send(ctx, 10*time.Millisecond, stream{name: "known", rate: 10_000, next: known(restFlows)})
	if err == nil && first.streams[0].Received == 0 {
		err = errors.New("nothing went through")
	}
	if err != nil {
		return b, begun, b.explain(err)
	}
	return b, begun, nil
}

// restPoll measures the CPU of a switch that never sleeps, for comparison.
func restPoll(ctx context.Context, o *options, dir string, m *measurements) error {
	b, _, err := startRest(ctx, o, dir, "poll")
	if b != nil {
		defer b.close()
	}
	if err != nil {
		return err
	}
	used, err := b.idleCPU(ctx)
	m.add("CPU while idle, poll mode", "%", used)
	return err
}

// idleCPU is what the daemon takes of a CPU while there is nothing to do, in percent.
func (b *bed) idleCPU(ctx context.Context) (float64, error) {
	before, err := cpuTime(b.weft.Process)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	wait(ctx, b.o.phase())
	after, err := cpuTime(b.weft.Process)
	if err == nil {
		err = ctx.Err()
	}
	return 100 * float64(after-before) / float64(time.Since(begun)), err
}

// wakeups measures how long a frame takes that finds the PMD thread asleep, and beside it how long the machine takes to wake
// a bare thread there, as often and with the same pauses; by turns one or the other first.
func (b *bed) wakeups(ctx context.Context, m *measurements) error {
	add := func(what string, delays *histogram) {
		m.add(what+", median", "us", delays.quantile(0.5)/1e3)
		m.add(what+", 99th percentile", "us", delays.quantile(0.99)/1e3)
	}
	frames := func() error {
		_, delays, err := b.sendTimed(ctx, b.o.phase(), stream{name: "seldom", rate: wakeRate, next: known(restFlows)})
		if err != nil {
			return b.explain(err)
		}
		add("wake-up, sleep mode", delays)
		return nil
	}
	bare := func() error {
		delays, err := bareWakeups(ctx, b.o, uint64(max(1, wakeRate*b.o.Seconds)), wakeRate)
		if err != nil {
			return err
		}
		add("wake-up of a bare thread", delays)
		return nil
	}
	if m.round%2 == 1 {
		return errors.Join(bare(), frames())
	}
	return errors.Join(frames(), bare())
}

// resident is the memory of the daemon's own that is in RAM, in bytes: not the files that guests share with it, and not
// their hugepages.
func (b *bed) resident() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.weft.Process.PID()))
	if err != nil {
		return 0, err
	}
	own, err := parseResident(string(text))
	return own - b.load.memory, err
}

// parseResident sums what proc(5) counts as anonymous, as of ordinary files, and as hugepages.
func parseResident(status string) (sum float64, err error) {
	found := 0
	for line := range strings.Lines(status) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "RssAnon:" && f[0] != "RssFile:" && f[0] != "HugetlbPages:" {
			continue
		}
		kB, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			return 0, err
		}
		sum += kB * 1024
		found++
	}
	if found != 3 {
		return 0, errors.New("no RssAnon, RssFile and HugetlbPages in the status of the process")
	}
	return sum, nil
}

// cpuTime is the time that all threads of a process have been running (the first figure of schedstat, proc(5)).
func cpuTime(p *host.Process) (sum time.Duration, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.PID()))
	if err != nil {
		return 0, err
	}
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended
		}
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}
