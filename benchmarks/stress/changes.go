package main

import (
	"context"
	"fmt"
	"time"
)

// Figures with bars.
const (
	figChanges     = "rule changes per second"
	figChangesCost = "busy cycles per packet, changing by not changing"
	figChangesKept = "rate kept while changing"
)

func changesBars(o *options) []bar {
	return []bar{
		atLeast(figChanges, 0.95*float64(o.Changes)), atMost(figChangesCost, 1.1), atLeast(figChangesKept, 0.9),
		atMost(figFreshLost, 0),
	}
}

// changesRound sends known flows with, without and again with no rule changes.
func changesRound(ctx context.Context, o *options, dir string, m *measurements) error {
	b, rate, err := startForwarding(ctx, o, dir, m)
	if b != nil {
		defer b.close()
	}
	if err != nil {
		return err
	}
	knowns := stream{name: "known", rate: rate, next: known(uint64(o.Known))}
	before, err := b.measure(ctx, o.phase(), knowns)
	if err != nil {
		return err
	}
	stop := b.change(ctx)
	during, err := b.measure(ctx, o.phase(), knowns)
	made, took, changeErr := stop()
	if err != nil {
		return err
	}
	if changeErr != nil {
		return changeErr
	}
	after, err := b.measure(ctx, o.phase(), knowns)
	if err != nil {
		return err
	}
	alone := (before.rate(0) + after.rate(0)) / 2
	cycles := (before.span.perPacket() + after.span.perPacket()) / 2
	m.add(figChanges, "", float64(made)/took.Seconds())
	m.add("known flows without changes", "Mpps", alone/1e6)
	m.add("known flows while changing", "Mpps", during.rate(0)/1e6)
	m.add(figChangesKept, "", during.rate(0)/alone)
	addCycles(m, "without changes", before)
	addCycles(m, "while changing", during)
	m.add(figChangesCost, "", during.span.perPacket()/cycles)
	m.add("cache misses per change", "", float64(during.span.misses)/float64(made))
	m.add(figFreshLost, "packets", max(before.unaccounted(), during.unaccounted(), after.unaccounted()))
	m.note("while changing: %d gaps over 100 us, before %d; %s", during.span.gapsOver(100), before.span.gapsOver(100),
		during.span.dropText())
	return nil
}

// change adds and deletes rules that no packet of the load meets, one a request, at the rate of the options, until it is
// stopped.
func (b *bed) change(ctx context.Context) (stop func() (made int, took time.Duration, err error)) {
	ctx, cancel := context.WithCancel(ctx)
	type answer struct {
		made int
		err  error
	}
	done := make(chan answer, 1)
	begun := time.Now()
	go func() {
		every := time.Second / time.Duration(b.o.Changes)
		for i := 0; ; i++ {
			// Not a ticker, which forgets what it was too late for.
			if ahead := time.Duration(i)*every - time.Since(begun); ahead > 0 {
				wait(ctx, ahead)
			}
			if ctx.Err() != nil {
				done <- answer{i, nil}
				return
			}
			rule, filter := singleRule(i / 2)
			var err error
			if i%2 == 0 {
				err = b.weft.add(ctx, rule)
			} else {
				_, err = b.weft.del(ctx, filter, true)
			}
			if err != nil && ctx.Err() == nil {
				done <- answer{i, fmt.Errorf("change of a rule: %w", err)}
				return
			}
		}
	}()
	return func() (int, time.Duration, error) {
		took := time.Since(begun)
		cancel()
		a := <-done
		return a.made, took, a.err
	}
}
