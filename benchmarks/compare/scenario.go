package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"

	"weft/benchmarks/rig"
)

// work is what a switch has to do.
type work struct {
	Size         int    `json:"frame_bytes"`
	NotMergeable bool   `json:"not_mergeable,omitempty"`
	Packed       bool   `json:"packed_rings,omitempty"`
	Queues       int    `json:"queue_pairs"`
	Flows        int    `json:"flows,omitempty"` // distinct destinations; 0: frames go round, one flow each way
	Rules        string `json:"rules"`           // a key of ruleSets
	Changes      int    `json:"rule_changes_per_second,omitempty"`
	Requests     int    `json:"requests_per_second,omitempty"` // that change nothing
	CacheEntries int    `json:"cache_entries,omitempty"`       // Weft's, 0: its default
}

// maxStandard is the longest frame that switches pass without being told.
const maxStandard = 1500 + 14

// mtu is what a switch must be told to pass the frames, 0 for nothing.
func (w *work) mtu() int {
	if w.Size <= maxStandard {
		return 0
	}
	return w.Size
}

// contender is a switch and its work.
type contender struct {
	Label string `json:"label"`
	Peer  string `json:"peer"`
	Work  work   `json:"work"`
}

// bar is what a ratio must reach: that of the rates, or that of the busy cycles for a packet where the load is known to be the
// slower end, and another one for each of the two.
type bar struct {
	Of, To   string
	Least    float64
	OfCycles bool
}

// scenario is what is compared in one go.
type scenario struct {
	name       string
	title      string
	contenders []contender
	bars       []bar
	quick      bool // part of the quick selection
}

// Names of rule sets.
const (
	rulesPort = "one per port"
	rulesFlow = "one per flow and direction"
	rulesACL  = "ACL of 1000 mixed masks"
)

// among gives every peer the same work.
func among(w work, peers ...string) []contender {
	var list []contender
	for _, p := range peers {
		list = append(list, contender{p, p, w})
	}
	return list
}

// scenarios is the table of them.
func scenarios() []scenario { return slices.Concat(ringScenarios(), sizeScenarios(), flowScenarios()) }

// port is one rule for each port, and frames of this size.
func port(size int) work { return work{Size: size, Queues: 1, Rules: rulesPort} }

// ringScenarios have rings of several kinds.
func ringScenarios() []scenario {
	packed := func(w work) work { w.Packed = true; return w }
	unmerged, paired, longPaired := port(64), port(64), port(1500)
	unmerged.NotMergeable, paired.Queues, longPaired.Queues = true, 2, 2
	return []scenario{
		{
			"64", "64-byte frames", among(port(64), peerWeft, peerOVS, peerTestpmd),
			[]bar{{Of: peerWeft, To: peerOVS, Least: 1.5}, {Of: peerWeft, To: peerTestpmd, Least: 1.2}},
			true,
		},
		{
			"64-unmerged", "64-byte frames, receive buffers not mergeable", among(unmerged, peerWeft, peerOVS, peerTestpmd),
			[]bar{{Of: peerWeft, To: peerOVS, Least: 1.5}, {Of: peerWeft, To: peerTestpmd, Least: 1.2}},
			false,
		},
		{
			"64-pairs", "64-byte frames, two queue pairs",
			// What the load itself loses with twice as many rings shows in testpmd's two figures, and in Weft's idle time: the
			// rates are the load's. What a packet takes of the PMD thread is to be no more than with one pair.
			append(among(paired, peerWeft, peerOVS, peerTestpmd), contender{"weft, 1 pair", peerWeft, port(64)},
				contender{"testpmd, 1 pair", peerTestpmd, port(64)}),
			[]bar{{Of: peerWeft, To: "weft, 1 pair", Least: 1, OfCycles: true}},
			false,
		},
		// With these the switch is the slower end, so that the rates can be compared, too.
		{
			"1500-pairs", "1500-byte frames, two queue pairs",
			append(among(longPaired, peerWeft, peerOVS, peerTestpmd), contender{"weft, 1 pair", peerWeft, port(1500)}),
			[]bar{{Of: peerWeft, To: "weft, 1 pair", Least: 1}},
			false,
		},
		{
			"64-packed", "64-byte frames, packed rings",
			append(among(packed(port(64)), peerWeft, peerOVS, peerTestpmd), contender{"weft, split", peerWeft, port(64)}),
			[]bar{{Of: peerWeft, To: peerOVS, Least: 1.5}, {Of: peerWeft, To: peerTestpmd, Least: 1.2}},
			false,
		},
		{
			"64-packed-unmerged", "64-byte frames, packed rings, receive buffers not mergeable",
			among(packed(unmerged), peerWeft, peerOVS, peerTestpmd),
			[]bar{{Of: peerWeft, To: peerOVS, Least: 1.5}, {Of: peerWeft, To: peerTestpmd, Least: 1.2}},
			false,
		},
		{
			"1500-packed", "1500-byte frames, packed rings", among(packed(port(1500)), peerWeft, peerOVS, peerTestpmd),
			[]bar{{Of: peerWeft, To: peerOVS, Least: 1.8}, {Of: peerWeft, To: peerTestpmd, Least: 1.5}},
			false,
		},
	}
}

// sizeScenarios have frames of several sizes.
func sizeScenarios() []scenario {
	return []scenario{
		{"128", "128-byte frames", among(port(128), peerWeft, peerOVS, peerTestpmd), nil, false},
		{"512", "512-byte frames", among(port(512), peerWeft, peerOVS, peerTestpmd), nil, false},
		{
			"1500", "1500-byte frames", among(port(1500), peerWeft, peerOVS, peerTestpmd),
			[]bar{{Of: peerWeft, To: peerOVS, Least: 1.8}, {Of: peerWeft, To: peerTestpmd, Least: 1.5}},
			true,
		},
		// Longer than a guest's buffer of 2 KiB, so that each frame takes five of them.
		{
			"9000", "9000-byte frames, over five mergeable buffers each", among(port(9000), peerWeft, peerOVS, peerTestpmd),
			[]bar{{Of: peerWeft, To: peerOVS, Least: 1.8}},
			false,
		},
	}
}

// flowScenarios have many flows or rules, or rules that change.
func flowScenarios() []scenario {
	flows := func(n, cache int) work {
		return work{Size: 64, Queues: 1, Flows: n, Rules: rulesFlow, CacheEntries: cache}
	}
	// Client and control side are on the load's CPU, which the load then lacks: what rule changes cost the switch shows
	// beside as many requests that change nothing.
	changing, asked := flows(1000, 0), flows(1000, 0)
	changing.Changes, asked.Requests = 1000, 1000
	acl := work{Size: 64, Queues: 1, Flows: 10000, Rules: rulesACL}
	return []scenario{
		{
			"flows-1k", "1,000 flows, a /32 rule for each and direction", among(flows(1000, 0), peerWeft, peerOVS),
			[]bar{{Of: peerWeft, To: peerOVS, Least: 1.5}},
			false,
		},
		{
			"flows-100k", "100,000 flows, a /32 rule for each and direction",
			append(among(flows(100_000, 0), peerWeft, peerOVS), contender{"weft, 10 flows", peerWeft, flows(10, 0)}),
			[]bar{{Of: peerWeft, To: peerOVS, Least: 10}, {Of: peerWeft, To: "weft, 10 flows", Least: 0.5}},
			true,
		},
		// A cache is sized for a million flows when asked; what is lost without shows beside.
		{"flows-1m", "1,000,000 flows, a /32 rule for each and direction", []contender{
			{"weft, large cache", peerWeft, flows(1_000_000, 1<<21)},
			{"weft, default cache", peerWeft, flows(1_000_000, 0)},
			{"weft, 10 flows", peerWeft, flows(10, 0)},
		}, []bar{{Of: "weft, large cache", To: "weft, 10 flows", Least: 1. / 3}}, false},
		{
			"acl", "an ACL of 1,000 rules of mixed masks, 10,000 flows", among(acl, peerWeft, peerOVS),
			[]bar{{Of: peerWeft, To: peerOVS, Least: 2}},
			false,
		},
		{"changes", "1,000 rule changes a second that have nothing to do with the traffic", []contender{
			{"weft, changing", peerWeft, changing}, {"weft, asked", peerWeft, asked}, {peerWeft, peerWeft, flows(1000, 0)},
		}, []bar{{Of: "weft, changing", To: "weft, asked", Least: 0.9}}, false},
	}
}

// chooseScenarios finds scenarios by name; "all" and "quick" are selections.
func chooseScenarios(list string) ([]scenario, error) {
	all := scenarios()
	if list == "all" {
		return all, nil
	}
	if list == "quick" {
		return slices.DeleteFunc(all, func(s scenario) bool { return !s.quick }), nil
	}
	return rig.Choose(all, func(s *scenario) string { return s.name }, list, "all", "quick")
}

// addOther puts the other weft beside weft in every scenario that has one of this label.
func addOther(list []scenario) {
	for i := range list {
		s := &list[i]
		if at := slices.IndexFunc(s.contenders, func(c contender) bool { return c.Label == peerWeft }); at >= 0 {
			s.contenders = slices.Insert(s.contenders, at+1, contender{peerOther, peerOther, s.contenders[at].Work})
		}
	}
}

// writeRules writes the rules of a work to a file, in the syntax that both switches read.
func writeRules(path string, w *work) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(f)
	switch w.Rules {
	case rulesFlow:
		for i := range w.Flows {
			n := 10<<24 | 253<<16 + i
			dst := fmt.Sprintf("%d.%d.%d.%d", n>>24, n>>16&255, n>>8&255, n&255)
			fmt.Fprintf(out, "in_port=1,ip,nw_dst=%s,actions=output:2\n", dst)
			fmt.Fprintf(out, "in_port=2,ip,nw_dst=%s,actions=output:1\n", dst)
		}
	case rulesACL:
		writeACL(out, 1000)
	default:
		fmt.Fprintln(out, "in_port=1,actions=output:2")
		fmt.Fprintln(out, "in_port=2,actions=output:1")
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// writeACL writes n rules that look at prefixes of both addresses, the protocol and ports, most of which the load does
// not meet, and the two that let it through below them. The same for every run.
func writeACL(out *bufio.Writer, n int) {
	r := rand.New(rand.NewPCG(1, 2))
	prefixes := []int{8, 12, 16, 20, 24, 28, 32}
	net := func() string {
		return fmt.Sprintf("%d.%d.%d.%d/%d", 11+r.IntN(100), r.IntN(256), r.IntN(256), r.IntN(256), prefixes[r.IntN(len(prefixes))])
	}
	for i := range n {
		fmt.Fprintf(out, "priority=%d,udp,nw_src=%s,nw_dst=%s", 60000-i, net(), net())
		if r.IntN(2) == 0 {
			fmt.Fprintf(out, ",tp_dst=%d", r.IntN(65536))
		}
		if r.IntN(4) == 0 {
			fmt.Fprintf(out, ",tp_src=%#x/0xff00", r.IntN(256)<<8)
		}
		fmt.Fprintln(out, ",actions=drop")
	}
	fmt.Fprintln(out, "priority=10,in_port=1,udp,nw_dst=10.253.0.0/16,actions=output:2")
	fmt.Fprintln(out, "priority=10,in_port=2,udp,nw_dst=10.253.0.0/16,actions=output:1")
}
