package metrics

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
)

var update = flag.Bool("update", false, "write golden files")

// full is a snapshot in which every field that is a count has a value of its own.
func full() Snapshot {
	queue := func(i int, base uint64) Queue {
		return Queue{
			Index: i, Packets: base + 1, Bytes: base + 2, Batches: base + 3,
			Drops: []Drop{{"no_descriptor", base + 4}, {"over_mtu", 0}},
		}
	}
	return Snapshot{
		Version: "v1.2.3", Revision: "abcdef", MemoryFaults: 9, StrayFaults: 2, Orphans: 8,
		Ports: []Port{
			{
				Bridge: "br0", Name: "vm1", Driver: "vhost-user", Up: true, MTU: 1500, Node: 1,
				HasSessions: true, Sessions: 3, Disconnects: 2,
				Rx: []Queue{queue(0, 100), queue(1, 110)}, Tx: []Queue{queue(0, 200), queue(1, 210)},
			},
			{Bridge: "br0", Name: "wire", Driver: "tap", Node: -1, Rx: []Queue{queue(0, 300)}, Tx: []Queue{queue(0, 400)}},
			{Bridge: "br0", Name: "vm2", Driver: "vhost-user", Node: -1, HasSessions: true},
		},
		Bridges: []Bridge{{
			Name: "br0", Rules: []TableRules{{0, 5}, {10, 7}}, Drops: []Drop{{"no_match", 11}, {"rule", 12}},
			MAC: MACTable{
				Entries: 21, Limit: 22, Learned: 23, Moved: 24, Evicted: 25, Expired: 26, Refused: 27, Flushed: 28, Flood: 29,
			},
		}},
		Threads: []Thread{{
			Thread: 0, CPU: 3, Node: 1, BusyCycles: 31, IdleCycles: 32, SleepCycles: 33, CyclesPerSec: 34, Iterations: 35,
			Sleeps: 36, Packets: 37, Batches: 38,
			Gaps: []LoopGap{{0.0001, 45}, {0.001, 46}}, LongestGapCycles: 17,
			Queues: []ThreadQueue{{"vm1", 0, 39}, {"vm1", 1, 40}},
			Caches: []Cache{{"br0", 41, 42, 43, 44}},
		}},
	}
}

func TestNamesPassLint(t *testing.T) {
	problems, err := testutil.CollectAndLint(NewCollector(full))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestExposition(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(NewCollector(full)); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&got, f); err != nil {
			t.Fatal(err)
		}
	}
	golden := filepath.Join("testdata", "full.prom")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Error("run 'go test ./switch/metrics -update' if this is meant:\n", diff)
	}
}

func TestEveryMetricHasSamples(t *testing.T) {
	s := full()
	for _, m := range table {
		n := 0
		m.samples(&s, func(_ float64, labels ...string) {
			n++
			if len(labels) != len(m.labels) {
				t.Errorf("%s: %d label values for %d labels", m.name, len(labels), len(m.labels))
			}
		})
		if n == 0 {
			t.Errorf("%s has no sample in a full snapshot", m.name)
		}
		if !strings.HasSuffix(m.help, ".") {
			t.Errorf("%s: the help text is no sentence", m.name)
		}
	}
}

func TestRegistryHasRuntimeAndSwitch(t *testing.T) {
	n, err := testutil.GatherAndCount(NewRegistry(full), "weft_build_info", "go_goroutines", "process_open_fds",
		"go_cpu_classes_gc_total_cpu_seconds_total")
	if err != nil {
		t.Fatal(err)
	}
	if n != 4 {
		t.Errorf("%d of the 4 samples are there", n)
	}
}

func TestEmptySwitchCollects(t *testing.T) {
	if _, err := testutil.CollectAndLint(NewCollector(func() Snapshot { return Snapshot{} })); err != nil {
		t.Error(err)
	}
}
