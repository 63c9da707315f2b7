package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"weft/internal/e2e/ovs"
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
	m.add("ovs: busy cycles per packet, victim alone", "", calmStats.BusyCycles)
	m.add("ovs: busy cycles per packet, victim attacked", "", attackedStats.BusyCycles)
	m.add("ovs: masks tried per packet of the megaflow cache", "", attackedStats.Lookups)
	m.add("ovs: packets to the slow path", "", attackedStats.Upcalls)
	return nil
}

// measureOVS runs the load with Open vSwitch's counters set to zero before.
func (b *bed) measureOVS(ctx context.Context, d time.Duration, streams ...stream) (*outcome, ovs.PMDStats, error) {
	if err := b.ovs.ClearPMDStats(ctx); err != nil {
		return nil, ovs.PMDStats{}, err
	}
	out, err := b.send(ctx, d, streams...)
	if err != nil {
		return nil, ovs.PMDStats{}, err
	}
	stats, err := b.ovs.PMDStats(ctx)
	return out, stats, err
}
