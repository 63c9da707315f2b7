package ovs

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"strconv"
)

// PMDStats is what dpif-netdev/pmd-stats-show says about the first PMD thread since ClearPMDStats; NaN is what it did not
// say.
type PMDStats struct {
	BusyCycles float64 // for each packet
	Idle       float64 // part of all cycles
	Lookups    float64 // masks tried for each packet that the megaflow cache knew
	Upcalls    float64 // packets to the slow path
}

// ClearPMDStats sets the counters of the PMD threads to zero.
func (o *OVS) ClearPMDStats(ctx context.Context) error {
	_, err := o.Appctl(ctx, "dpif-netdev/pmd-stats-clear")
	return err
}

// PMDStats reads the counters of the PMD thread.
func (o *OVS) PMDStats(ctx context.Context) (PMDStats, error) {
	text, err := o.Appctl(ctx, "dpif-netdev/pmd-stats-show")
	return parsePMDStats(text), err
}

// The lines of pmd-stats-show, which has "main thread" after the PMD threads.
var (
	cyclesLine  = regexp.MustCompile(`avg processing cycles per packet: ([0-9.]+)`)
	idleLine    = regexp.MustCompile(`idle cycles: [0-9]+ \(([0-9.]+)%\)`)
	lookupsLine = regexp.MustCompile(`avg\. subtable lookups per megaflow hit: ([0-9.]+)`)
	upcallsLine = regexp.MustCompile(`miss with success upcall: ([0-9]+)`)
)

func parsePMDStats(text string) PMDStats {
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
	return PMDStats{find(cyclesLine), find(idleLine) / 100, find(lookupsLine), find(upcallsLine)}
}

// What ovs-ofctl dump-ports says about drops of each port, and coverage/show about the datapath's.
var (
	portLine     = regexp.MustCompile(`(?m)^ *port +(\S+?): `)
	dropField    = regexp.MustCompile(`\bdrop=([0-9]+)`)
	coverageLine = regexp.MustCompile(`(?m)^(?:datapath_drop|drop_action)_\w+ .* total: ([0-9]+)`)
)

// parseDropped sums the drops of all ports but the bridge's own, and the datapath's.
func parseDropped(ports, coverage string) (uint64, error) {
	counts := coverageLine.FindAllStringSubmatch(coverage, -1)
	headings := portLine.FindAllStringSubmatchIndex(ports, -1)
	for i, h := range headings {
		end := len(ports)
		if i+1 < len(headings) {
			end = headings[i+1][0]
		}
		if ports[h[2]:h[3]] != "LOCAL" {
			counts = append(counts, dropField.FindAllStringSubmatch(ports[h[1]:end], -1)...)
		}
	}
	var sum uint64
	for _, c := range counts {
		n, err := strconv.ParseUint(c[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("ovs: a count of drops: %w", err)
		}
		sum += n
	}
	if len(headings) == 0 {
		return 0, fmt.Errorf("ovs: no ports in what dump-ports says:\n%s", ports)
	}
	return sum, nil
}

// learnedLine is of fdb/stats-show.
var learnedLine = regexp.MustCompile(`Current/maximum MAC entries in the table: ([0-9]+)/`)

func parseLearned(text string) (int, error) {
	found := learnedLine.FindStringSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("ovs: no number of MAC entries in what fdb/stats-show says:\n%s", text)
	}
	return strconv.Atoi(found[1])
}
