package main

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"weft/internal/e2e/host"
	"weft/switch/control"
)

// Figures with bars.
const (
	figBusyChanges = "rule changes per second while busy"
	figBusyScrapes = "scrapes of /metrics per second while busy"
	figBusyOffered = "part of the known packets due that were offered while busy"
	figBusyKept    = "rate kept while busy"
	figBusyCost    = "busy cycles per packet, busy by calm"
	figBusyGaps    = "gaps over 1 ms, busy, beyond twice as many as calm"
)

const (
	busyChanges = 100_000 // rule changes per second
	busyBatch   = 1000    // of them in one request
	busyScrapes = 10      // per second

	// busyRate is how many packets a second the known flows have at most: the load has time for them beside all of that,
	// which shares its CPU.
	busyRate = 250_000
)

// busyPhases is how many phases of other scenarios one of this lasts: 10 s unless told otherwise.
const busyPhases = 2

// busyCommands are run one after the other, without a pause.
func busyCommands() [][]string {
	return [][]string{{"port", "list"}, {"port", "show", "v0"}, {"pmd", "show"}, {"fdb", "show"}, {"flow", "dump"}}
}

// busyBars has what the others rest on first: a control side that was not as busy as it should be shows nothing, nor does a
// load that had no time to send.
func busyBars(*options) []bar {
	return []bar{
		atLeast(figBusyChanges, 0.95*busyChanges).given(figBusyChanges),
		atLeast(figBusyScrapes, 0.95*busyScrapes).given(figBusyScrapes),
		atLeast(figBusyOffered, 0.95).given(figBusyOffered),
		atLeast(figBusyKept, 0.9).given(figBusyChanges, figBusyScrapes, figBusyOffered),
		atMost(figBusyCost, 1.1).given(figBusyChanges, figBusyScrapes),
		atMost(figBusyGaps, 0).given(figBusyChanges, figBusyScrapes),
		atMost(figFreshLost, 0),
	}
}

// busyRound sends known flows with a calm, a busy and again a calm control side. What the control side leaves of its CPU is
// filled throughout.
func busyRound(ctx context.Context, o *options, dir string, m *measurements) error {
	b, rate, err := startForwarding(ctx, o, dir, m)
	if b != nil {
		defer b.close()
	}
	if err != nil {
		return err
	}
	if err := b.fill(); err != nil {
		return err
	}
	knowns, length := stream{name: "known", rate: min(rate, busyRate), next: known(uint64(o.Known))}, busyPhases*o.phase()
	before, err := b.measure(ctx, length, knowns)
	if err != nil {
		return err
	}
	collected, err := b.weft.collections(ctx)
	if err != nil {
		return err
	}
	during, work, err := b.measureBusy(ctx, length, knowns, m)
	if err != nil {
		return err
	}
	if err := b.addCollections(ctx, m, collected, "busy"); err != nil {
		return err
	}
	after, err := b.measure(ctx, length, knowns)
	if err != nil {
		return err
	}
	calm := (before.rate(0) + after.rate(0)) / 2
	calmGaps := float64(before.span.gapsOver(1000)+after.span.gapsOver(1000)) / 2
	gaps, sent := float64(during.span.gapsOver(1000)), during.streams[0]
	work.addTo(m)
	m.add(figBusyOffered, "", float64(sent.Sent)/float64(sent.Sent+sent.Skipped))
	m.add("known flows, calm", "Mpps", calm/1e6)
	m.add("known flows, busy", "Mpps", during.rate(0)/1e6)
	m.add(figBusyKept, "", during.rate(0)/calm)
	addCycles(m, "calm", before)
	addCycles(m, "busy", during)
	m.add(figBusyCost, "", during.span.perPacket()/((before.span.perPacket()+after.span.perPacket())/2))
	m.add("gaps over 1 ms, calm", "", calmGaps)
	m.add("gaps over 1 ms, busy", "", gaps)
	m.add(figBusyGaps, "", max(0, gaps-2*calmGaps))
	m.add(figFreshLost, "packets", max(before.unaccounted(), during.unaccounted(), after.unaccounted()))
	m.note("longest gap busy: %s, calm: %s; busy, %s", during.span.longestText(), after.span.longestText(), during.span.dropText())
	return nil
}

// fill starts a process that takes what is left of the load's CPU, and gives way to everything else at once. A hypervisor
// that grants a guest less than all its CPUs stops all of them for milliseconds once none of them rests any more: that is to
// happen with a calm control side as with a busy one.
func (b *bed) fill() (err error) {
	b.filler, err = b.group.Start(host.Spec{Name: "filler", Args: []string{
		"chrt", "--idle", "0", "taskset", "--cpu-list", strconv.Itoa(b.o.LoadCPU), "sh", "-c", "while :; do :; done",
	}})
	return err
}

// measureBusy measures while the control side has all to do, and says what that took, and left to the filler of the CPU that
// it shares with the load.
func (b *bed) measureBusy(ctx context.Context, d time.Duration, s stream, m *measurements) (*measured, *chores, error) {
	var before, after [2]time.Duration
	processes := [2]*host.Process{b.weft.Process, b.filler}
	read := func(to *[2]time.Duration) error {
		var errs [2]error
		for i, p := range processes {
			to[i], errs[i] = cpuTime(p)
		}
		return errors.Join(errs[:]...)
	}
	if err := read(&before); err != nil {
		return nil, nil, err
	}
	work := b.begin(ctx)
	during, err := b.measure(ctx, d, s)
	choreErr := work.stop()
	if err := errors.Join(err, choreErr, read(&after)); err != nil {
		return nil, nil, err
	}
	part := func(i int) float64 { return float64(after[i]-before[i]) / float64(work.took) }
	m.add("left of the load's CPU, busy", "%", 100*part(1))
	// The PMD thread polls, which is one CPU.
	m.add("CPU of weft beside its PMD thread, busy", "%", 100*max(0, part(0)-1))
	if made := work.perSecond(changing); made < 0.95*busyChanges {
		m.note("%s of %s rule changes a second were reached: load, control side and commands share a CPU, of which %.0f %% was "+
			"left; what rests on them is not shown", number(made), number(busyChanges), 100*part(1))
	}
	return during, work, nil
}

// changeMany sends changes of rules, one a line, in one request.
func (w *weft) changeMany(ctx context.Context, command, text string) (changed, error) {
	return control.CallText[change, changed](ctx, w.client, http.MethodPost, "/v1/changes",
		&change{Kind: "flow", Command: command, Strict: command == "delete"}, strings.NewReader(text))
}
