package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"weft/benchmarks/rig"
)

// Figures with bars.
const (
	figLoad      = "loading all rules"
	figPeak      = "memory at most (VmHWM)"
	figAddMedian = "adding one rule, median"
	figAddWorst  = "adding one rule, worst of all"
	figLoadGaps  = "gaps over 100 us beyond chance, while loading"
	figAddGaps   = "gaps over 100 us beyond chance, while adding one by one"
)

const (
	// issueRules is how many rules the bars are stated for.
	issueRules = 2_000_000

	// bulkRate is the traffic meanwhile: enough to see gaps, little enough that the load leaves its CPU to the daemon.
	bulkRate = 100_000

	// singleRules is how many rules are added and deleted one by one.
	singleRules = 1000

	// shortest is how long gaps are counted without rules being loaded, at least.
	shortest = 2 * time.Second

	mebi = 1 << 20
)

func bulkBars(o *options) []bar {
	bars := []bar{
		atMost(figAddMedian, 1), atMost(figAddWorst, 1), atMost(figLoadGaps, 0), atMost(figAddGaps, 0),
		atMost(figFreshLost, 0),
	}
	if o.Rules >= issueRules {
		bars = append(bars, atMost(figLoad, 15), atMost(figPeak, 1024))
	}
	return bars
}

// bulkRound loads rules by the million while a little traffic passes, and compares the gaps of the PMD thread's loop
// with those of the same time without.
func bulkRound(ctx context.Context, o *options, dir string, m *measurements) error {
	b, err := newBed(o, dir)
	if err != nil {
		return err
	}
	defer b.close()
	rules, bulk := filepath.Join(dir, "rules.txt"), filepath.Join(dir, "bulk.txt")
	if err := writeFile(rules, func(w io.Writer) error { return writeForwarding(w, o.Known) }); err != nil {
		return err
	}
	if err := writeFile(bulk, func(w io.Writer) error { return writeBulk(w, o.Rules) }); err != nil {
		return err
	}
	if err := b.startWeft(ctx, rules); err != nil {
		return err
	}
	start, err := b.weft.read(ctx)
	if err != nil {
		return err
	}
	traffic := b.load.begin(stream{name: "known", rate: min(o.Rate, bulkRate), next: known(uint64(o.Known))})
	stopped := false
	defer func() {
		if !stopped {
			_, _ = traffic.end() // an error is on its way already
		}
	}()
	wait(ctx, warmUp)
	if err := b.bulkPhases(ctx, bulk, m); err != nil {
		return errors.Join(err, ctx.Err())
	}
	stopped = true
	out, err := traffic.end()
	if err != nil {
		return err
	}
	end, err := b.weft.read(ctx)
	if err != nil {
		return err
	}
	all := measured{out, between(start, end)}
	m.add(figFreshLost, "packets", all.unaccounted())
	m.note("over all: %s", all.span.dropText())
	return nil
}

// bulkPhases loads all rules, changes single ones, deletes all, and counts what that does.
func (b *bed) bulkPhases(ctx context.Context, file string, m *measurements) error {
	before, err := b.weft.memory()
	if err != nil {
		return err
	}
	collected, err := b.weft.collections(ctx)
	if err != nil {
		return err
	}
	load, err := b.timed(ctx, func() error { _, err := b.weft.CLI(ctx, "flow", "add", "-f", file); return err })
	if err != nil {
		return err
	}
	after, err := b.weft.memory()
	if err != nil {
		return err
	}
	m.add(figLoad, "s", load.took.Seconds())
	m.add("memory before (VmRSS)", "MiB", before.resident/mebi)
	m.add("memory after loading (VmRSS)", "MiB", after.resident/mebi)
	m.add(figPeak, "MiB", after.peak/mebi)
	m.add("memory for each rule", "bytes", (after.resident-before.resident)/float64(b.o.Rules))
	if err := b.addCollections(ctx, m, collected, "while loading"); err != nil {
		return err
	}
	calm, err := b.calm(ctx, load.took)
	if err != nil {
		return err
	}
	addGaps(m, figLoadGaps, "while loading", load, calm)
	if err := b.singles(ctx, m); err != nil {
		return err
	}
	var deleted int
	drop, err := b.timed(ctx, func() (err error) {
		deleted, err = b.weft.del(ctx, fmt.Sprintf("cookie=%#x/-1", bulkCookie), false)
		return err
	})
	if err != nil {
		return err
	}
	if deleted != b.o.Rules {
		return fmt.Errorf("%d of %d rules were deleted", deleted, b.o.Rules)
	}
	m.add("deleting all rules", "s", drop.took.Seconds())
	m.note("while deleting: %d gaps over 100 us, %d over 1 ms, longest %s", drop.gapsOver(100), drop.gapsOver(1000),
		drop.longestText())
	return nil
}

// singles adds rules one by one to the many, and deletes them again.
func (b *bed) singles(ctx context.Context, m *measurements) error {
	collected, err := b.weft.collections(ctx)
	if err != nil {
		return err
	}
	var added, deleted []float64
	adds, err := b.timed(ctx, func() error {
		for i := range singleRules {
			rule, _ := singleRule(i)
			begun := time.Now()
			if err := b.weft.add(ctx, rule); err != nil {
				return err
			}
			added = append(added, 1e3*time.Since(begun).Seconds())
		}
		return nil
	})
	if err != nil {
		return err
	}
	dels, err := b.timed(ctx, func() error {
		for i := range singleRules {
			_, filter := singleRule(i)
			begun := time.Now()
			n, err := b.weft.del(ctx, filter, true)
			if err == nil && n != 1 {
				err = fmt.Errorf("%d rules were deleted by %q instead of one", n, filter)
			}
			if err != nil {
				return err
			}
			deleted = append(deleted, 1e3*time.Since(begun).Seconds())
		}
		return nil
	})
	if err != nil {
		return err
	}
	calm, err := b.calm(ctx, adds.took)
	if err != nil {
		return err
	}
	m.add(figAddMedian, "ms", rig.Median(added))
	m.add("adding one rule, 99th percentile", "ms", rig.Percentile(added, 99))
	m.add(figAddWorst, "ms", slices.Max(added))
	m.add("deleting one rule, median", "ms", rig.Median(deleted))
	m.add("deleting one rule, worst of all", "ms", slices.Max(deleted))
	addGaps(m, figAddGaps, "while adding one by one", adds, calm)
	m.note("while deleting one by one: %d gaps over 100 us, %d over 1 ms, longest %s", dels.gapsOver(100), dels.gapsOver(1000),
		dels.longestText())
	return b.addCollections(ctx, m, collected, "while changing single rules")
}

// timedSpan is what the switch counted while something was done, and how long that took.
type timedSpan struct {
	span
	took time.Duration
}

// timed does f between two readings.
func (b *bed) timed(ctx context.Context, f func() error) (*timedSpan, error) {
	before, err := b.weft.read(ctx)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := f(); err != nil {
		return nil, err
	}
	took := time.Since(begun)
	after, err := b.weft.read(ctx)
	if err != nil {
		return nil, err
	}
	return &timedSpan{between(before, after), took}, nil
}

// calm lets a time pass, when what was begun before has settled.
func (b *bed) calm(ctx context.Context, d time.Duration) (*timedSpan, error) {
	wait(ctx, time.Second)
	return b.timed(ctx, func() error { wait(ctx, max(d, shortest)); return ctx.Err() })
}

// addGaps compares the gaps of a time with those of a calm one, in proportion to their lengths.
func addGaps(m *measurements, figure, when string, busy, calm *timedSpan) {
	share := busy.took.Seconds() / calm.took.Seconds()
	m.add(figure, "", beyondChance(float64(busy.gapsOver(100)), share*float64(calm.gapsOver(100))))
	for _, us := range []int64{100, 1000} {
		m.add(fmt.Sprintf("gaps over %d us, %s", us, when), "", float64(busy.gapsOver(us)))
		m.add(fmt.Sprintf("gaps over %d us, in the same time not %s", us, when), "", share*float64(calm.gapsOver(us)))
	}
	m.note("%s: longest gap %s, without: %s", when, busy.longestText(), calm.longestText())
}

// addCollections adds what the collector of garbage did since a reading of it.
func (b *bed) addCollections(ctx context.Context, m *measurements, since collections, when string) error {
	now, err := b.weft.collections(ctx)
	if err != nil {
		return err
	}
	n := now.cycles - since.cycles
	m.add("collections, "+when, "", n)
	if n > 0 {
		m.add("CPU time of a collection, "+when, "ms", 1e3*(now.cpu-since.cpu)/n)
		m.add("pause of a collection, "+when, "ms", 1e3*(now.pauses-since.pauses)/n)
	}
	return nil
}
