package main

import (
	"context"
	"fmt"
	"slices"

	"weft/benchmarks/rig"
)

// roundFunc measures once, with directory dir for its files, which does not exist yet.
type roundFunc func(ctx context.Context, o *options, dir string, m *measurements) error

// scenario is one thing that is measured.
type scenario struct {
	name  string
	title func(o *options) string
	bars  func(o *options) []bar
	ovs   bool // needs Open vSwitch
	extra bool // not part of "all"
	round roundFunc
}

// scenarios is the table of them.
func scenarios() []scenario {
	list := []scenario{{
		"new-flows",
		func(o *options) string {
			return fmt.Sprintf("%s flows a second never seen before, beside %d known ones", number(o.Fresh), o.Known)
		},
		newFlowsBars, false, false, newFlowsRound,
	}}
	for _, a := range accessLists() {
		list = append(list, scenario{
			"explosion-" + a.name,
			func(o *options) string {
				return fmt.Sprintf("tuple space explosion: access list %s, %d combinations, %s packets a second", a.name,
					a.combinations(), number(o.Attack))
			},
			explosionBars, true, a.name != worstPublished, explosionRound(a),
		})
	}
	return append(list, scenario{
		"bulk",
		func(o *options) string {
			return fmt.Sprintf("%d rules loaded in one transaction, while packets pass", o.Rules)
		},
		bulkBars, false, false, bulkRound,
	}, scenario{
		"changes",
		func(o *options) string {
			return fmt.Sprintf("%d rule changes a second that have nothing to do with the traffic", o.Changes)
		},
		changesBars, false, false, changesRound,
	}, scenario{
		"busy",
		func(*options) string {
			return fmt.Sprintf("a busy control side: %s rule changes and %d scrapes a second, and commands in a loop",
				number(busyChanges), busyScrapes)
		},
		busyBars, false, false, busyRound,
	}, scenario{
		"latency",
		func(*options) string {
			return "how long a frame takes, at parts of Open vSwitch's highest lossless rate"
		},
		latencyBars, true, false, latencyRound,
	}, scenario{
		"normal-10k",
		func(*options) string {
			return fmt.Sprintf("NORMAL between %d addresses, both directions", 2*stations)
		},
		normalBars, true, false, normalRound,
	}, scenario{
		"rest", func(*options) string { return "two ports, ten flows, and nothing to do" }, restBars, false, false, restRound,
	})
}

// chooseScenarios finds scenarios by name; "all" is every one that is not extra.
func chooseScenarios(list string) ([]scenario, error) {
	all := scenarios()
	if list == "all" {
		return slices.DeleteFunc(all, func(s scenario) bool { return s.extra }), nil
	}
	return rig.Choose(all, func(s *scenario) string { return s.name }, list, "all")
}
