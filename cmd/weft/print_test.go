package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"weft/pmd"
	"weft/pmd/tap"
	"weft/switch"
	"weft/switch/control"
	"weft/vhostuser"
)

var update = flag.Bool("update", false, "write golden files")

// golden compares text with testdata/golden/NAME.txt and makes sure that it fits 80 columns.
func golden(t *testing.T, name string, print func(io.Writer)) {
	t.Helper()
	var got bytes.Buffer
	print(&got)
	path := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("run 'go test ./cmd/weft -update' if this is meant:\n%s", diff)
	}
	for line := range strings.Lines(got.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > lineWidth {
			t.Errorf("%d columns: %s", n, line)
		}
		if strings.TrimRight(line, " \n") != strings.TrimSuffix(line, "\n") {
			t.Errorf("trailing blanks: %q", line)
		}
	}
}

func traffic(packets uint64, drops map[string]uint64) vswitch.Traffic {
	tr := vswitch.Traffic{Packets: packets, Bytes: packets * 64, Batches: packets / 20, Drops: drops}
	for _, n := range drops {
		tr.Dropped += n
	}
	return tr
}

var testNow = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func busyPort() *vswitch.PortInfo {
	connected := testNow.Add(-time.Hour)
	drops := map[string]uint64{"no_descriptor": 1234567, "over_mtu": 3, "port_down": 17}
	return &vswitch.PortInfo{
		Name: "vm1", Bridge: "br0", Driver: driverVhostUser, Number: 1, Origin: vswitch.OriginConfig, MACs: 2,
		DeviceStatus: vswitch.DeviceStatus{
			Link: true, State: "up", Error: "session ended: SET_VRING_ADDR: the used ring is not in guest memory",
			ErrorTime: testNow.Add(-90 * time.Second), MTU: 1500, Node: 1, Sessions: 3, Disconnects: 2,
			Detail: vhostuser.Status{
				State: vhostuser.StateUp, Mode: "server", Path: "/run/weft/vm1.sock", Session: "running",
				Peer: &vhostuser.Peer{PID: 4711, UID: 64055, GID: 108}, Connected: &connected, QueuePairs: 2, MTU: 1500,
				Features: []string{
					"CSUM", "MTU", "MRG_RXBUF", "STATUS", "MQ", "INDIRECT_DESC", "PROTOCOL_FEATURES", "VERSION_1",
				},
				ProtocolFeatures: []string{"MQ", "REPLY_ACK", "NET_MTU"},
				Rings: []vhostuser.RingStatus{
					{Name: "tx0", State: "started", Enabled: true, Usable: true, Size: 256, Interrupts: true},
					{Name: "rx0", State: "started", Enabled: true, Usable: true, Size: 256},
					{Name: "tx1", State: "broken", Enabled: true, Size: 256, Error: "descriptor 7 points at itself"},
					{Name: "rx1", State: "started", Size: 256, WaitingFor: "SET_VRING_KICK"},
				},
				Memory: vhostuser.MemoryStatus{Regions: 2, Bytes: 4 << 30, Node: 1},
			},
		},
		Rx: traffic(123456789012, nil), Tx: traffic(987654321, drops),
		RxQueues: []vswitch.QueueInfo{
			{Index: 0, Active: true, CPU: 3, Traffic: traffic(123456789000, nil)},
			{Index: 1, CPU: -1, Traffic: traffic(12, nil)},
		},
		TxQueues: []vswitch.QueueInfo{
			{Index: 0, Active: true, CPU: -1, Traffic: traffic(987654321, drops)}, {Index: 1, CPU: -1},
		},
	}
}

func tapPort() *vswitch.PortInfo {
	return &vswitch.PortInfo{
		Name: "wire", Bridge: "br0", Driver: driverTap, Number: 10, Origin: vswitch.OriginRuntime,
		DeviceStatus: vswitch.DeviceStatus{
			Link: false, State: "down", Node: -1,
			Detail: tap.Status{
				State: tap.StateDown, Interface: "tap7", Foreign: true, MTU: 9000, Queues: 1, RingSize: 512, Reopened: 2,
			},
		},
		RxQueues: []vswitch.QueueInfo{{Active: true, CPU: 2}},
		TxQueues: []vswitch.QueueInfo{{Active: true, CPU: -1}},
	}
}

func TestPortShow(t *testing.T) {
	golden(t, "port_show_vhostuser", func(w io.Writer) { printPort(w, busyPort(), testNow) })
	golden(t, "port_show_tap", func(w io.Writer) { printPort(w, tapPort(), testNow) })
	idle := busyPort()
	idle.DeviceStatus = vswitch.DeviceStatus{State: "listening", Node: -1, Detail: vhostuser.Status{
		State: vhostuser.StateListening, Mode: "server", Path: "/run/weft/vm1.sock", QueuePairs: 2,
		OfferedFeatures: []string{"MRG_RXBUF", "MQ", "VERSION_1"},
	}}
	golden(t, "port_show_listening", func(w io.Writer) { printPort(w, idle, testNow) })
}

func TestLists(t *testing.T) {
	golden(t, "port_list", func(w io.Writer) { printPorts(w, []vswitch.PortInfo{*busyPort(), *tapPort()}) })
	golden(t, "port_list_long", func(w io.Writer) {
		one, two := *busyPort(), *tapPort()
		one.Name, one.Bridge = "p"+strings.Repeat("0123456789", 6)+"-1", "br-"+strings.Repeat("long-", 12)
		two.Name = "p" + strings.Repeat("0123456789", 6) + "-2"
		printPorts(w, []vswitch.PortInfo{one, two})
	})
	golden(t, "port_list_empty", func(w io.Writer) { printPorts(w, nil) })
	golden(t, "bridge_list", func(w io.Writer) {
		printBridges(w, []vswitch.BridgeInfo{{
			Name: "br0", Ports: 3, Rules: 100000, Dropped: 12, FDB: vswitch.FDBStats{Entries: 8192},
			Cache: vswitch.CacheStats{Hits: 123456789012, Misses: 456789},
		}})
	})
}

func TestPMDShow(t *testing.T) {
	golden(t, "pmd_show", func(w io.Writer) {
		printPMD(w, []vswitch.PMDInfo{
			{
				ThreadStats: pmd.ThreadStats{
					Thread: 0, CPU: 2, Node: 0, State: pmd.StatePolling, BusyCycles: 900, IdleCycles: 90, SleepCycles: 10,
					Iterations: 5, Sleeps: 3, Faults: 1, Load: 90.5, TSCHz: 2_000_000_000, LongestGapCycles: 7_654_000,
					Gaps: []pmd.LoopGap{{Over: 100, Count: 12}, {Over: 500, Count: 3}, {Over: 1000, Count: 2}},
					Queues: []pmd.QueueStats{
						{
							Port: "vm1", Queue: 0, Node: 0, Pinned: true, Packets: 123456789012, Batches: 4000000000,
							Cycles: 50000000000000, Load: 75.2,
						},
						{Port: "wire", Queue: 0, Node: -1, Packets: 10, Batches: 10, Cycles: 3000, Load: 15.3},
						{Port: "vm2", Queue: 1, Node: 1, PinUnmet: true, CrossNUMA: true, Suspended: true},
						{Port: strings.Repeat("long", 15) + "-vm", Queue: 1, Node: 1, PinUnmet: true},
					},
				},
				Packets: 123456789022, Batches: 4000000010,
				Bridges: []vswitch.PMDBridge{{
					Bridge: "br0", Cache: vswitch.CacheStats{Hits: 999, Misses: 1, Entries: 1, Size: 32768},
				}},
			},
			{ThreadStats: pmd.ThreadStats{Thread: 1, CPU: 3, Node: -1, State: pmd.StateNoQueues}},
		})
	})
}

// reported is an error and what the operator sees of it.
type reported struct {
	name string
	err  error
	want string
}

func reports() []reported {
	one, file := &changeText{args: []string{"actions=drop"}}, &changeText{args: []string{"actions=drop"}, name: "r.txt"}
	const source = "  nw_dstt=1,actions=drop"
	long := strings.Repeat("x", 100) + "," + strings.Repeat("y", 100)
	return []reported{
		{"a plain error", errors.New("no"), "weft: no\n"},
		{
			"an error of the daemon", &control.Error{Message: "no port vm9", Hint: "there is vm1"},
			"weft: no port vm9\n  hint: there is vm1\n",
		},
		{
			"a rule from a file",
			file.place(&control.Error{
				Message: "unknown field", Line: 8, Column: 3, Hint: "did you mean nw_dst?", Source: source,
			}),
			"weft: r.txt:7:3: unknown field\n    nw_dstt=1,actions=drop\n    ^\n  hint: did you mean nw_dst?\n",
		},
		{
			"a rule from the command line", file.place(&control.Error{Message: "bad", Line: 1, Column: 9, Source: "actions=drop"}),
			"weft: line 1, column 9: bad\n  actions=drop\n          ^\n",
		},
		{
			"the only rule", one.place(&control.Error{Message: "bad", Line: 1, Column: 9, Source: "actions=drop"}),
			"weft: column 9: bad\n  actions=drop\n          ^\n",
		},
		{
			"several rules", file.place(&control.Error{
				Message: "bad", Line: 1, Column: 1, Source: "actions=drop",
				More: []*control.Error{{Message: "worse", Line: 8, Column: 24, Source: source}},
			}),
			"weft: line 1, column 1: bad\n  actions=drop\n  ^\n" +
				"weft: r.txt:7:24: worse\n    nw_dstt=1,actions=drop\n                         ^\n",
		},
		{
			"a long rule", one.place(&control.Error{Message: "bad", Line: 1, Column: 102, Source: long}),
			"weft: column 102: bad\n  ..." + strings.Repeat("x", 39) + "," + strings.Repeat("y", 37) + "...\n" +
				strings.Repeat(" ", 2+3+40) + "^\n",
		},
		{
			"a filter", about(&control.Error{Message: "bad", Line: 1, Column: 4}, "tcp=1", "filter"),
			"weft: filter, column 4: bad\n  tcp=1\n     ^\n",
		},
		{
			"mistakes of the configuration",
			vswitch.ConfigErrors{
				{File: "/none.yaml", Line: 1, Column: 2, Message: "one", Hint: "h"}, {Message: "two"},
			},
			"weft: /none.yaml:1:2: one\n  hint: h\nweft: two\n",
		},
		{"two at once", errors.Join(errors.New("a"), vswitch.ConfigErrors{{Message: "b"}}), "weft: a\nweft: b\n"},
	}
}

func TestErrorsPointAtTheirPlace(t *testing.T) {
	for _, tt := range reports() {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			a := &app{err: &out, settings: newSettings()}
			a.report(tt.err)
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWrap(t *testing.T) {
	text := strings.Repeat("word ", 30)
	for i, line := range strings.Split(wrap(text, 20), "\n") {
		if i > 0 && !strings.HasPrefix(line, strings.Repeat(" ", 20)+"word") {
			t.Errorf("line %d is not indented: %q", i, line)
		}
		if n := len(line); i > 0 && n > lineWidth || i == 0 && n > lineWidth-20 {
			t.Errorf("line %d has %d columns", i, n)
		}
	}
	if got := wrap(strings.Repeat("x", 200), 20); got != strings.Repeat("x", 200) {
		t.Error("a word that fits nowhere was broken")
	}
}
