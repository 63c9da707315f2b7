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
	return []bar{atMost(figResident, 64), atMost(figIdle, 2), atMost(figWake, 200)}
}

// restRound measures what a switch takes that has two ports, ten flows and nothing to do: memory, CPU, the time until a frame
// that comes then is through, and how long it takes to start and to stop.
func restRound(ctx context.Context, o *options, dir string, m *measurements) error {
	b, err := newBed(o, dir)
	if err != nil {
		return err
	}
	defer b.close()
	b.idle = "sleep"
	rules := filepath.Join(dir, "rules.txt")
	if err := writeFile(rules, func(w io.Writer) error { return writeForwarding(w, restFlows) }); err != nil {
		return err
	}
	begun := time.Now()
	if err := b.startWeft(ctx, rules); err != nil {
		return err
	}
	knowns := stream{name: "known", rate: 10_000, next: known(restFlows)}
	first, err := b.send(ctx, 10*time.Millisecond, knowns)
	if err != nil {
		return b.explain(err)
	}
	m.add("from start to the first frames forwarded, at most", "ms", float64((time.Since(begun) - settle).Milliseconds()))
	if first.streams[0].Received == 0 {
		return b.explain(errors.New("nothing went through"))
	}
	resident, err := b.resident()
	if err != nil {
		return err
	}
	m.add(figResident, "MiB", resident/(1<<20))
	before, err := b.cpuTime()
	if err != nil {
		return err
	}
	idle := time.Now()
	wait(ctx, o.phase())
	after, err := b.cpuTime()
	if err != nil {
		return err
	}
	m.add(figIdle, "%", 100*float64(after-before)/float64(time.Since(idle)))
	_, delays, err := b.sendTimed(ctx, o.phase(), stream{name: "seldom", rate: wakeRate, next: known(restFlows)})
	if err != nil {
		return b.explain(err)
	}
	m.add("wake-up, sleep mode, median", "us", delays.quantile(0.5)/1e3)
	m.add(figWake, "us", delays.quantile(0.99)/1e3)
	stop := time.Now()
	if err := b.weft.Stop(); err != nil {
		return b.explain(err)
	}
	m.add("stopping", "ms", float64(time.Since(stop).Milliseconds()))
	return ctx.Err()
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

// cpuTime is the time that all threads of the daemon have been running (the first figure of schedstat, proc(5)).
func (b *bed) cpuTime() (sum time.Duration, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", b.weft.Process.PID()))
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
