package main

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

const figVictimKept = "weft: victim keeps of its rate"

// victimFlows is how many flows the victim has.
const victimFlows = 100

func explosionBars(*options) []bar {
	return []bar{atLeast(figVictimKept, 0.9), atMost(figFreshLost, 0)}
}

// explosionRound attacks weft and Open vSwitch with the same packets.
func explosionRound(list accessList) roundFunc {
	return func(ctx context.Context, o *options, dir string, m *measurements) error {
		if err := attackWeft(ctx, o, &list, filepath.Join(dir, "weft"), m); err != nil {
			return fmt.Errorf("weft: %w", err)
		}
		if err := attackOVS(ctx, o, &list, filepath.Join(dir, "ovs"), m); err != nil {
			return fmt.Errorf("ovs: %w", err)
		}
		return nil
	}
}

// forgets is when Open vSwitch removes a cached flow that it has not seen (other_config:max-idle, in
// ovs-vswitchd.conf.db(5)).
const forgets = 10 * time.Second

// attackStreams are the victim's traffic, as fast as it goes, the attack's, and how long that takes to have sent each
// combination, as far as a switch remembers them.
func attackStreams(o *options, list *accessList) (victims, attack stream, explode time.Duration) {
	all := time.Duration(1.2 * float64(list.combinations()) / o.Attack * float64(time.Second))
	return stream{name: "victim", next: victim(victimFlows)}, stream{name: "attack", rate: o.Attack, next: list.attack()},
		min(all, forgets)
}

// attackBed makes a bed whose rules are the access list.
func attackBed(o *options, list *accessList, dir string) (b *bed, rules string, err error) {
	if b, err = newBed(o, dir); err != nil {
		return nil, "", err
	}
	rules = filepath.Join(dir, "rules.txt")
	return b, rules, writeFile(rules, list.writeRules)
}

func attackWeft(ctx context.Context, o *options, list *accessList, dir string, m *measurements) error {
	victims, attack, explode := attackStreams(o, list)
	b, rules, err := attackBed(o, list, dir)
	if b != nil {
		defer b.close()
	}
	if err != nil {
		return err
	}
	if err := b.startWeft(ctx, rules); err != nil {
		return err
	}
	if _, err := b.send(ctx, warmUp, victims); err != nil {
		return err
	}
	calm, err := b.measure(ctx, o.phase(), victims)
	if err != nil {
		return err
	}
	first, err := b.send(ctx, explode, attack, victims)
	if err != nil {
		return err
	}
	attack.start = first.streams[0].Sent // goes on where it was
	attacked, err := b.measure(ctx, o.phase(), attack, victims)
	if err != nil {
		return err
	}
	m.add("weft: victim alone", "Mpps", calm.rate(0)/1e6)
	m.add("weft: victim attacked", "Mpps", attacked.rate(1)/1e6)
	m.add(figVictimKept, "", attacked.rate(1)/calm.rate(0))
	m.add("weft: attack packets per second", "", float64(attacked.streams[0].Sent)/attacked.elapsed.Seconds())
	m.add(figFreshLost, "packets", max(calm.unaccounted(), attacked.unaccounted()))
	addCycles(m, "weft: victim alone", calm)
	addCycles(m, "weft: victim attacked", attacked)
	m.add("weft: an attack packet costs", "ns", costOfNew(&calm.span, &attacked.span, attacked.streams[0].Sent))
	m.note("weft, attacked: %s", attacked.span.dropText())
	return nil
}

func attackOVS(ctx context.Context, o *options, list *accessList, dir string, m *measurements) error {
	victims, attack, explode := attackStreams(o, list)
	b, rules, err := attackBed(o, list, dir)
	if b != nil {
		defer b.close()
	}
	if err != nil {
		return err
	}
	if err := b.startOVS(ctx, rules); err != nil {
		return err
	}
	if _, err := b.send(ctx, warmUp, victims); err != nil {
		return err
	}
	calm, calmStats, err := b.measureOVS(ctx, o.phase(), victims)
	if err != nil {
		return err
	}
	first, err := b.send(ctx, explode, attack, victims)
	if err != nil {
		return err
	}
	attack.start = first.streams[0].Sent
	attacked, attackedStats, err := b.measureOVS(ctx, o.phase(), attack, victims)
	if err != nil {
		return err
	}
	if calm.streams[0].Received == 0 {
		return b.explain(fmt.Errorf("nothing went through"))
	}
	m.add("ovs: victim alone", "Mpps", calm.rate(0)/1e6)
	m.add("ovs: victim attacked", "Mpps", attacked.rate(1)/1e6)
	m.add("ovs: victim keeps of its rate", "", attacked.rate(1)/calm.rate(0))
	m.add("ovs: busy cycles per packet, victim alone", "", calmStats.cycles)
	m.add("ovs: busy cycles per packet, victim attacked", "", attackedStats.cycles)
	m.add("ovs: masks tried per packet of the megaflow cache", "", attackedStats.lookups)
	m.add("ovs: packets to the slow path", "", attackedStats.upcalls)
	return nil
}

// ovsStats is what dpif-netdev/pmd-stats-show says about the PMD thread; NaN is what it did not say.
type ovsStats struct{ cycles, lookups, upcalls float64 }

// measureOVS runs the load with Open vSwitch's counters set to zero before.
func (b *bed) measureOVS(ctx context.Context, d time.Duration, streams ...stream) (*outcome, ovsStats, error) {
	if _, err := b.ovs.Appctl(ctx, "dpif-netdev/pmd-stats-clear"); err != nil {
		return nil, ovsStats{}, err
	}
	out, err := b.send(ctx, d, streams...)
	if err != nil {
		return nil, ovsStats{}, err
	}
	text, err := b.ovs.Appctl(ctx, "dpif-netdev/pmd-stats-show")
	return out, parseOVSStats(text), err
}

// The lines of pmd-stats-show, which has "main thread" after the PMD threads.
var (
	ovsCycles  = regexp.MustCompile(`avg processing cycles per packet: ([0-9.]+)`)
	ovsLookups = regexp.MustCompile(`avg\. subtable lookups per megaflow hit: ([0-9.]+)`)
	ovsUpcalls = regexp.MustCompile(`miss with success upcall: ([0-9]+)`)
)

// parseOVSStats reads the first PMD thread's figures.
func parseOVSStats(text string) ovsStats {
	find := func(r *regexp.Regexp) float64 {
		found := r.FindStringSubmatch(text)
		if found == nil {
			return math.NaN()
		}
		v, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			return math.NaN()
		}
		return v
	}
	return ovsStats{find(ovsCycles), find(ovsLookups), find(ovsUpcalls)}
}
