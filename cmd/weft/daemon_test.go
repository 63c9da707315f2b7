package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"weft/internal/packet"
	"weft/numa"
	"weft/pmd"
	"weft/switch"
	"weft/switch/metrics"
)

func TestEveryDropReasonHasAPlaceInTheMetrics(t *testing.T) {
	places := make(map[packet.DropReason]int)
	for _, list := range [][]packet.DropReason{rxReasons, txReasons, bridgeReasons} {
		for _, r := range list {
			places[r]++
		}
	}
	for r := range packet.DropReason(packet.NumDropReasons) {
		if places[r] != 1 {
			t.Errorf("%s is in %d lists, want 1", r, places[r])
		}
	}
}

func TestMetricsOfABusySwitch(t *testing.T) {
	st := &vswitch.Stats{
		Ports: []vswitch.PortInfo{*busyPort(), *tapPort()},
		Bridges: []vswitch.BridgeInfo{{
			Name: "br0", Rules: 5, Tables: []vswitch.TableRules{{Table: 0, Rules: 1}, {Table: 3, Rules: 4}},
			Drops: map[string]uint64{"no_match": 3, "new_reason": 4}, FDB: vswitch.FDBStats{Entries: 2},
		}},
		PMD: []vswitch.PMDInfo{{
			ThreadStats: pmd.ThreadStats{CPU: 1, Queues: []pmd.QueueStats{{Port: "vm1", Cycles: 9}}},
			Bridges:     []vswitch.PMDBridge{{Bridge: "br0", Cache: vswitch.CacheStats{Hits: 6}}},
		}},
	}
	c := metrics.NewCollector(func() metrics.Snapshot { return metricsOf(st, versionInfo{Version: "v", Revision: "r"}) })
	problems, err := testutil.CollectAndLint(c)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	want := `
# HELP weft_bridge_dropped_packets_total Packets that a bridge's rules or the lack of an output dropped, by reason.
# TYPE weft_bridge_dropped_packets_total counter
weft_bridge_dropped_packets_total{bridge="br0",reason="bad_tag"} 0
weft_bridge_dropped_packets_total{bridge="br0",reason="fragment"} 0
weft_bridge_dropped_packets_total{bridge="br0",reason="hairpin"} 0
weft_bridge_dropped_packets_total{bridge="br0",reason="header_too_long"} 0
weft_bridge_dropped_packets_total{bridge="br0",reason="headroom"} 0
weft_bridge_dropped_packets_total{bridge="br0",reason="memory_fault"} 0
weft_bridge_dropped_packets_total{bridge="br0",reason="meter"} 0
weft_bridge_dropped_packets_total{bridge="br0",reason="new_reason"} 4
weft_bridge_dropped_packets_total{bridge="br0",reason="no_clone"} 0
weft_bridge_dropped_packets_total{bridge="br0",reason="no_match"} 3
weft_bridge_dropped_packets_total{bridge="br0",reason="no_output"} 0
weft_bridge_dropped_packets_total{bridge="br0",reason="no_such_port"} 0
weft_bridge_dropped_packets_total{bridge="br0",reason="queue_busy"} 0
weft_bridge_dropped_packets_total{bridge="br0",reason="reserved_multicast"} 0
weft_bridge_dropped_packets_total{bridge="br0",reason="resubmit_limit"} 0
weft_bridge_dropped_packets_total{bridge="br0",reason="rule"} 0
weft_bridge_dropped_packets_total{bridge="br0",reason="too_many_labels"} 0
weft_bridge_dropped_packets_total{bridge="br0",reason="vlan"} 0
# HELP weft_flow_rules Rules in a flow table; tables without rules are absent.
# TYPE weft_flow_rules gauge
weft_flow_rules{bridge="br0",table="0"} 1
weft_flow_rules{bridge="br0",table="3"} 4
# HELP weft_port_sessions_total How often the other end of the port connected.
# TYPE weft_port_sessions_total counter
weft_port_sessions_total{bridge="br0",port="vm1"} 3
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want),
		"weft_bridge_dropped_packets_total", "weft_flow_rules", "weft_port_sessions_total"); err != nil {
		t.Error(err)
	}
}

func TestHealthNoticesAStandstill(t *testing.T) {
	threads := []vswitch.PMDInfo{
		{ThreadStats: pmd.ThreadStats{CPU: 1, Queues: []pmd.QueueStats{{}}}},
		{ThreadStats: pmd.ThreadStats{CPU: 2}}, // without queues a thread may rest
	}
	h := newHealth(func() []vswitch.PMDInfo { return threads })
	for range stallLimit {
		h.look()
		if err := h.err(); err != nil {
			t.Fatal("too early: ", err)
		}
	}
	h.look()
	if err := h.err(); err == nil || !strings.Contains(err.Error(), "CPU 1") {
		t.Errorf("error is %v, want one about CPU 1", err)
	}
	threads[0].Iterations++
	h.look()
	if err := h.err(); err != nil {
		t.Error("it moves again: ", err)
	}
}

// testConfig writes a configuration with a vhost-user port and returns its path and directory.
func testConfig(t *testing.T) (path, dir string) {
	t.Helper()
	dir = t.TempDir()
	path = filepath.Join(dir, "weft.yaml")
	text := fmt.Sprintf(`
control: {socket: %[1]s/weft.sock}
metrics: {address: "127.0.0.1:0"}
pmd: {idle: sleep, max_sleep: 1ms, cache_entries: 1024}
bridges:
  - name: br0
    ports:
      - {name: vm1, driver: vhost-user, path: %[1]s/vm1.sock}
    flows: ["actions=NORMAL"]
`, dir)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, dir
}

// syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestDaemonNotifiesSystemd(t *testing.T) {
	path, dir := testConfig(t)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "notify"))
	t.Setenv("WATCHDOG_USEC", "300000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))

	// next reads states until one that begins as wanted; others may be watchdog messages only.
	next := func(want string) {
		t.Helper()
		buf := make([]byte, 256)
		for {
			if err := notify.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			n, err := notify.Read(buf)
			if err != nil {
				t.Fatalf("waiting for %s: %v", want, err)
			}
			got := string(buf[:n])
			if strings.HasPrefix(got, want) {
				return
			}
			if got != "WATCHDOG=1" {
				t.Fatalf("state %q, want %q", got, want)
			}
		}
	}
	log := new(syncBuffer)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"run", "-c", path}, nil, new(bytes.Buffer), log) }()
	next("READY=1")
	next("WATCHDOG=1")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	next("RELOADING=1\nMONOTONIC_USEC=")
	next("READY=1")
	cancel()
	next("STOPPING=1")
	if code := <-done; code != exitOK {
		t.Errorf("exit code %d, log:\n%s", code, log)
	}
}

func TestProfilesAreServedOnlyWhenAsked(t *testing.T) {
	path, dir := testConfig(t)
	for _, asked := range []bool{false, true} {
		args := []string{"run", "-c", path}
		want := http.StatusNotFound
		if asked {
			args, want = append(args, "--pprof"), http.StatusOK
		}
		stop := startDaemon(t, args)
		c := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.Dial("unix", filepath.Join(dir, "weft.sock"))
		}}}
		resp, err := c.Get("http://weft/debug/pprof/goroutine?debug=1")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		c.CloseIdleConnections()
		if resp.StatusCode != want {
			t.Errorf("--pprof %v: status %d, want %d", asked, resp.StatusCode, want)
		}
		stop()
	}
}

// startDaemon runs a daemon in this process until the returned function is called.
func startDaemon(t *testing.T, args []string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	log := new(syncBuffer)
	done := make(chan int, 1)
	go func() { done <- run(ctx, args, nil, new(bytes.Buffer), log) }()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(log.String(), "weft is ready"); {
		if time.Now().After(deadline) {
			t.Fatalf("it was not ready after 20 s, log:\n%s", log)
		}
		time.Sleep(time.Millisecond)
	}
	return func() {
		t.Helper()
		cancel()
		if code := <-done; code != exitOK {
			t.Fatalf("exit code %d, log:\n%s", code, log)
		}
	}
}

func TestDaemonLeavesNothingBehind(t *testing.T) {
	path, dir := testConfig(t)
	descriptors := func() int {
		names, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	cycle := func() {
		t.Helper()
		startDaemon(t, []string{"run", "-c", path})()
	}
	cycle() // what the runtime opens once
	before := descriptors()
	ignore := goleak.IgnoreCurrent()
	for range 5 {
		cycle()
	}
	if after := descriptors(); after > before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
	goleak.VerifyNone(t, ignore)
	names, err := filepath.Glob(filepath.Join(dir, "*.sock*"))
	if err != nil || len(names) > 0 {
		t.Errorf("files left behind: %v %v", names, err)
	}
}

// TestShippedConfigurationsAreValid parses configs/ with its directories replaced by one that exists.
func TestShippedConfigurationsAreValid(t *testing.T) {
	topo, err := numa.Read(sysfsRoot)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"example.yaml", "demo.yaml"} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("..", "..", "configs", name))
			if err != nil {
				t.Fatal(err)
			}
			text := strings.NewReplacer("/run/weft-demo", t.TempDir(), "/run/weft", t.TempDir()).Replace(string(data))
			cfg, err := vswitch.Parse([]byte(text), vswitch.ParseOptions{File: name, Drivers: drivers(), Topology: topo})
			if err != nil {
				t.Fatal(err)
			}
			if len(cfg.Bridges) != 1 || len(cfg.Bridges[0].Ports) != 3 || len(cfg.Bridges[0].Flows) == 0 {
				t.Errorf("it has not one bridge with three ports and rules: %+v", cfg.Bridges)
			}
			if br := &cfg.Bridges[0]; name == "example.yaml" && (len(br.Groups) == 0 || len(br.Meters) == 0) {
				t.Errorf("it has %d groups and %d meters", len(br.Groups), len(br.Meters))
			}
		})
	}
}

func TestTapOptions(t *testing.T) {
	for _, tt := range []struct {
		cfg  vswitch.PortConfig
		want string
	}{
		{vswitch.PortConfig{Device: "tap0"}, ""},
		{vswitch.PortConfig{Device: "tap0", Extra: map[string]string{"ring_size": "1024", "persist": "true"}}, ""},
		{vswitch.PortConfig{Device: "a-name-too-long-"}, "device: "},
		{vswitch.PortConfig{Device: "tap%d"}, "device: "},
		{vswitch.PortConfig{Device: "tap0", MTU: 65522}, "mtu: "},
		{vswitch.PortConfig{Device: "tap0", Extra: map[string]string{"ring_size": "500"}}, "ring_size: "},
		{vswitch.PortConfig{Device: "tap0", Extra: map[string]string{"ring_size": "x"}}, "ring_size: "},
		{vswitch.PortConfig{Device: "tap0", Extra: map[string]string{"persist": "maybe"}}, "persist: "},
	} {
		err := tapDriver().Check(tt.cfg)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("%+v: error %v, want %q", tt.cfg, err, tt.want)
		}
	}
}

func TestSettingsHaveFlagsAndVariables(t *testing.T) {
	a := &app{settings: newSettings()}
	root := a.rootCommand()
	cmd, _, err := root.Find([]string{"run"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range vswitch.DaemonSettings() {
		if cmd.Flags().Lookup(flagOf(s)) == nil && root.PersistentFlags().Lookup(flagOf(s)) == nil {
			t.Errorf("setting %s has no flag --%s", s, flagOf(s))
		}
		if strings.Contains(flagOf(s), "_") {
			t.Errorf("flag --%s has an underscore", flagOf(s))
		}
	}
	if !slices.Contains(vswitch.DaemonSettings(), settingSocket) {
		t.Errorf("%s is no setting", settingSocket)
	}
}

// TestFlagsAndVariablesReplaceSettings gives each setting by the environment, and then by a flag, which wins.
func TestFlagsAndVariablesReplaceSettings(t *testing.T) {
	for _, name := range []string{"run", "check"} {
		for _, s := range vswitch.DaemonSettings() {
			t.Setenv(envOf(s), "from-env")
			for _, args := range [][]string{nil, {"--" + flagOf(s), "from-flag"}} {
				a := &app{settings: newSettings()}
				cmd, _, err := a.rootCommand().Find([]string{name})
				if err == nil {
					err = cmd.ParseFlags(args)
				}
				if err != nil {
					t.Fatal(err)
				}
				want := override{s, "from-env", envOf(s)}
				if args != nil {
					want = override{s, "from-flag", args[0]}
				}
				if got := a.overrides(cmd); len(got) != 1 || got[0] != want {
					t.Errorf("%s %v: %v, want %v alone", name, args, got, want)
				}
			}
			t.Setenv(envOf(s), "")
		}
	}
}
