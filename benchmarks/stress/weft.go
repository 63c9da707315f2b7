package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"weft/internal/e2e/daemon"
	"weft/switch/control"
)

// weft is the daemon and its control socket.
type weft struct {
	*daemon.Daemon
	client *control.Client
}

// requestLimit bounds one request: deleting some million rules is one.
const requestLimit = 5 * time.Minute

// startDaemon runs weft with two ports whose sockets the front ends listen on, and one PMD thread.
func (b *bed) startDaemon(ctx context.Context, rules string) (*weft, error) {
	file, socket := filepath.Join(b.dir, "weft.yaml"), filepath.Join(b.dir, "weft.sock")
	metrics, err := freeAddress()
	if err != nil {
		return nil, err
	}
	limit := ""
	if b.macs > 0 {
		limit = fmt.Sprintf("\n    mac_limit: %d", b.macs)
	}
	config := fmt.Sprintf(`log: {level: warn}
control: {socket: %s}
metrics: {address: %q}
pmd: {cpus: %d, idle: %s, exclusive: true}
bridges:
  - name: br0
    ports:
      - {name: v0, driver: vhost-user, number: 1, path: %s, mode: client}
      - {name: v1, driver: vhost-user, number: 2, path: %s, mode: client}
    flows_file: %s%s
`, socket, metrics, b.o.SwitchCPU, b.idle, b.sockets[0], b.sockets[1], rules, limit)
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return nil, err
	}
	d, err := daemon.Start(ctx, b.group, daemon.Config{
		Name: "weft", Binary: b.o.weft, File: file, Socket: socket, Metrics: metrics,
	})
	if err != nil {
		return nil, err
	}
	w := &weft{d, control.NewClient(socket, requestLimit)}
	b.group.Defer(w.client.Close)
	return w, nil
}

// freeAddress is an address on the loopback on which nobody listens now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// The requests and answers of the control socket, as far as they are used here.
type (
	nothing struct{}
	change  struct {
		Kind    string `json:"kind"`
		Command string `json:"command"`
		Strict  bool   `json:"strict"`
	}
	changed struct {
		Added   int `json:"added"`
		Deleted int `json:"deleted"`
	}
	delRules struct {
		Filter string `json:"filter"`
	}
	counted struct {
		Count int `json:"count"`
	}
)

// add adds one rule.
func (w *weft) add(ctx context.Context, rule string) error {
	_, err := control.CallText[change, changed](ctx, w.client, http.MethodPost, "/v1/changes",
		&change{Kind: "flow", Command: "add"}, strings.NewReader(rule))
	return err
}

// del deletes the rules that a filter selects, or with strict the one rule of this match and priority, and returns their
// number. Without a filter it deletes all.
func (w *weft) del(ctx context.Context, filter string, strict bool) (int, error) {
	if filter == "" {
		n, err := control.Call[delRules, counted](ctx, w.client, http.MethodDelete, "/v1/flows", &delRules{})
		return n.Count, err
	}
	n, err := control.CallText[change, changed](ctx, w.client, http.MethodPost, "/v1/changes",
		&change{Kind: "flow", Command: "delete", Strict: strict}, strings.NewReader(filter))
	return n.Deleted, err
}

// reading is everything that the switch counts, at one moment.
type reading struct {
	pmd   threadReading
	drops map[string]uint64 // where:reason, in packets
	fdb   fdbReading
}

// fdbReading is the bridge's MAC table.
type fdbReading struct {
	Entries int    `json:"entries"`
	Flooded uint64 `json:"flooded"`
}

// threadReading is the PMD thread's account.
type threadReading struct {
	BusyCycles       uint64       `json:"busy_cycles"`
	TSCHz            uint64       `json:"tsc_hz"`
	Packets          uint64       `json:"packets"`
	Batches          uint64       `json:"batches"`
	LongestGapCycles uint64       `json:"longest_gap_cycles"`
	Gaps             []gapReading `json:"gaps"`
	Bridges          []struct {
		Cache struct {
			Misses uint64 `json:"misses"`
		} `json:"cache"`
	} `json:"bridges"`
}

type gapReading struct {
	Over  int64  `json:"over_us"`
	Count uint64 `json:"count"`
}

// dropReading is what ports and bridges say about drops.
type dropReading struct {
	Name  string            `json:"name"`
	Drops map[string]uint64 `json:"drops"`
	Rx    struct {
		Drops map[string]uint64 `json:"drops"`
	} `json:"rx"`
	Tx struct {
		Drops map[string]uint64 `json:"drops"`
	} `json:"tx"`
	FDB fdbReading `json:"fdb"` // of a bridge
}

// bridgeDrops is where the drops of the rules, and of what has no rule, are counted.
const bridgeDrops = "bridge"

// read takes a reading.
func (w *weft) read(ctx context.Context) (*reading, error) {
	threads, err := control.Call[nothing, []threadReading](ctx, w.client, http.MethodGet, "/v1/pmd", &nothing{})
	if err != nil {
		return nil, err
	}
	if len(threads) != 1 {
		return nil, fmt.Errorf("weft has %d PMD threads instead of one", len(threads))
	}
	ports, err := control.Call[nothing, []dropReading](ctx, w.client, http.MethodGet, "/v1/ports", &nothing{})
	if err != nil {
		return nil, err
	}
	bridges, err := control.Call[nothing, []dropReading](ctx, w.client, http.MethodGet, "/v1/bridges", &nothing{})
	if err != nil {
		return nil, err
	}
	r := &reading{pmd: threads[0], drops: make(map[string]uint64)}
	add := func(where string, drops map[string]uint64) {
		for reason, n := range drops {
			r.drops[where+": "+reason] += n
		}
	}
	for _, p := range ports {
		add(p.Name+" rx", p.Rx.Drops)
		add(p.Name+" tx", p.Tx.Drops)
	}
	for _, b := range bridges {
		add(bridgeDrops, b.Drops)
		r.fdb = b.FDB // there is one bridge
	}
	return r, nil
}

// memory is what /proc/PID/status says, in bytes.
type memory struct{ resident, peak float64 }

func (w *weft) memory() (memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.Process.PID()))
	if err != nil {
		return memory{}, err
	}
	return parseMemory(string(text))
}

// parseMemory finds VmRSS and VmHWM (proc(5)).
func parseMemory(status string) (m memory, err error) {
	for line := range strings.Lines(status) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "kB" {
			continue
		}
		to := map[string]*float64{"VmRSS:": &m.resident, "VmHWM:": &m.peak}[f[0]]
		if to == nil {
			continue
		}
		kB, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			return m, err
		}
		*to = kB * 1024
	}
	if m.resident == 0 || m.peak == 0 {
		return m, fmt.Errorf("no VmRSS and VmHWM in the status of the process")
	}
	return m, nil
}

// collections is what Go's collector of garbage did.
type collections struct {
	cycles float64 // collections
	pauses float64 // seconds that all threads were asked to stop
	cpu    float64 // CPU seconds, as of the last collection; NaN when not exported
}

func (w *weft) collections(ctx context.Context) (collections, error) {
	text, err := w.Scrape(ctx)
	if err != nil {
		return collections{}, err
	}
	return parseCollections(text)
}

// parseCollections reads the metrics of the Go runtime.
func parseCollections(exposition string) (c collections, err error) {
	found := 0
	for line := range strings.Lines(exposition) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		to := map[string]*float64{
			"go_gc_duration_seconds_count": &c.cycles, "go_gc_duration_seconds_sum": &c.pauses,
			"go_cpu_classes_gc_total_cpu_seconds_total": &c.cpu,
		}[name]
		if to == nil {
			continue
		}
		if *to, err = strconv.ParseFloat(value, 64); err != nil {
			return c, fmt.Errorf("metric %s: %w", name, err)
		}
		found++
	}
	if found != 3 {
		return c, fmt.Errorf("the metrics have %d of the 3 that tell of the collector", found)
	}
	return c, nil
}
