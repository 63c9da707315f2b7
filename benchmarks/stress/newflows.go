package main

import (
	"context"
	"io"
	"path/filepath"
	"time"
)

// Figures with bars.
const (
	figFreshOffered = "new flows per second"
	figFreshLost    = "packets lost without being counted"
	figFreshDropped = "packets dropped by the bridge"
	figKnownKept    = "known flows keep of their rate"
)

const (
	warmUp = 500 * time.Millisecond

	// probe is how long the highest rate of known flows is looked for, and headroom the part of it that is offered at
	// most, so that fresh flows find room beside them.
	probe    = time.Second
	headroom = 0.8
)

func newFlowsBars(o *options) []bar {
	return []bar{
		atLeast(figFreshOffered, 0.95*o.Fresh), atMost(figFreshLost, 0), atMost(figFreshDropped, 0),
		atLeast(figKnownKept, 0.9),
	}
}

// newFlowsRound sends known flows alone, with fresh ones, and alone again.
func newFlowsRound(ctx context.Context, o *options, dir string, m *measurements) error {
	b, rate, err := startForwarding(ctx, o, dir, m)
	if b != nil {
		defer b.close()
	}
	if err != nil {
		return err
	}
	knowns := stream{name: "known", rate: rate, next: known(uint64(o.Known))}
	fresh := stream{name: "fresh", rate: o.Fresh, next: fresh}
	before, err := b.measure(ctx, o.phase(), knowns)
	if err != nil {
		return err
	}
	beside, err := b.measure(ctx, o.phase(), fresh, knowns)
	if err != nil {
		return err
	}
	after, err := b.measure(ctx, o.phase(), knowns)
	if err != nil {
		return err
	}
	alone := (before.rate(0) + after.rate(0)) / 2
	m.add("known flows alone", "Mpps", alone/1e6)
	m.add("known flows beside new ones", "Mpps", beside.rate(1)/1e6)
	m.add(figKnownKept, "", beside.rate(1)/alone)
	m.add(figFreshOffered, "", float64(beside.streams[0].Sent)/beside.elapsed.Seconds())
	m.add("known packets due and not offered, beside new ones", "", float64(beside.streams[1].Skipped))
	m.add("new flows received per second", "", beside.rate(0))
	m.add(figFreshLost, "packets", max(beside.unaccounted(), before.unaccounted(), after.unaccounted()))
	m.add(figFreshDropped, "packets", float64(beside.span.droppedBy(bridgeDrops)))
	m.add("packets dropped by ports", "packets", float64(beside.span.dropped()-beside.span.droppedBy(bridgeDrops)))
	m.add("cache misses for each new flow", "", float64(beside.span.misses)/float64(beside.streams[0].Sent))
	addCycles(m, "known flows alone", before)
	addCycles(m, "beside new ones", beside)
	m.add("a new flow costs", "ns", costOfNew(&before.span, &beside.span, beside.streams[0].Sent))
	m.note("beside new flows: %s", beside.span.dropText())
	return nil
}

// addCycles adds what a packet took of the PMD thread, and how full the batches were, on which that depends.
func addCycles(m *measurements, when string, x *measured) {
	m.add("busy cycles per packet, "+when, "", x.span.perPacket())
	m.add("packets per batch, "+when, "", float64(x.span.packets)/float64(x.span.batches))
}

// startForwarding starts weft with rules for known and fresh flows, and finds the rate at which known flows can be
// offered: what was asked for, or less, and a note, when load and switch do not reach it.
func startForwarding(ctx context.Context, o *options, dir string, m *measurements) (*bed, float64, error) {
	b, err := newBed(o, dir)
	if err != nil {
		return nil, 0, err
	}
	rules := filepath.Join(dir, "rules.txt")
	if err := writeFile(rules, func(w io.Writer) error { return writeForwarding(w, o.Known) }); err != nil {
		return b, 0, err
	}
	if err := b.startWeft(ctx, rules); err != nil {
		return b, 0, err
	}
	knowns := stream{name: "known", next: known(uint64(o.Known))}
	if _, err := b.send(ctx, warmUp, knowns); err != nil {
		return b, 0, err
	}
	most, err := b.measure(ctx, probe, knowns)
	if err != nil {
		return b, 0, err
	}
	m.add("most known flows that load and switch pass", "Mpps", most.rate(0)/1e6)
	rate := min(o.Rate, headroom*most.rate(0))
	if rate < o.Rate {
		m.note("the load and the switch pass %s packets a second: known flows are offered at %s instead of %s",
			number(most.rate(0)), number(rate), number(o.Rate))
	}
	return b, rate, nil
}
