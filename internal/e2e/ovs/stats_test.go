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

func TestDropsOfPortsAndDatapath(t *testing.T) {
	const (
		ports = "OFPST_PORT reply (xid=0x2): 3 ports\n" +
			"  port LOCAL: rx pkts=0, bytes=0, drop=100, errs=0, frame=0, over=0, crc=0\n" +
			"           tx pkts=0, bytes=0, drop=100, errs=0, coll=0\n" +
			"  port  v0: rx pkts=10, bytes=600, drop=1, errs=0, frame=?, over=?, crc=?\n" +
			"           tx pkts=7, bytes=420, drop=2, errs=?, coll=?\n" +
			"  port  v1: rx pkts=10, bytes=600, drop=0, errs=0, frame=?, over=?, crc=?\n" +
			"           tx pkts=7, bytes=420, drop=4, errs=?, coll=?\n"
		coverage = "Event coverage, avg rate over last: 5 seconds, last minute, last hour,  hash=95cb4fbd:\n" +
			"datapath_drop_upcall_error   0.0/sec     0.000/sec        0.0000/sec   total: 8\n" +
			"drop_action_of_pipeline      0.0/sec     0.000/sec        0.0000/sec   total: 16\n" +
			"netdev_get_stats           0.0/sec     0.000/sec        0.0000/sec   total: 32\n"
	)
	if n, err := parseDropped(ports, coverage); n != 1+2+4+8+16 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := parseDropped("no such bridge", coverage); err == nil {
		t.Error("took something else for ports")
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
