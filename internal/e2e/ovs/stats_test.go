package ovs

import (
	"math"
	"testing"
)

func TestStatisticsOfThePMDThread(t *testing.T) {
	s := parsePMDStats("pmd thread numa_id 0 core_id 1:\n  packets received: 10\n" +
		"  avg. subtable lookups per megaflow hit: 344.60\n  miss with success upcall: 12\n" +
		"  idle cycles: 100 (12.50%)\n  processing cycles: 5212 (87.50%)\n" +
		"  avg processing cycles per packet: 521.25 (5212/10)\nmain thread:\n  idle cycles: 7 (99.00%)\n")
	if s != (PMDStats{521.25, 0.125, 344.6, 12}) {
		t.Errorf("%+v", s)
	}
	if s = parsePMDStats("nothing"); !math.IsNaN(s.BusyCycles) || !math.IsNaN(s.Idle) {
		t.Errorf("%+v", s)
	}
}

func TestAddressesLearned(t *testing.T) {
	const text = "Statistics for bridge \"br0\":\n  Current/maximum MAC entries in the table: 10002/20000\n" +
		"  Current static MAC entries in the table : 0\n"
	if n, err := parseLearned(text); n != 10002 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := parseLearned("no such bridge"); err == nil {
		t.Error("took something else for statistics")
	}
}
