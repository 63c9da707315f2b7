package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"weft/benchmarks/rig"
	"weft/internal/e2e/daemon"
	"weft/internal/e2e/host"
	"weft/internal/e2e/ovs"
	"weft/internal/e2e/testpmd"
)

// bench is where one contender is measured: its work, and the sockets to the load.
type bench struct {
	o       *options
	group   *host.Group
	dir     string
	work    *work
	sockets [2]string
}

// running is a switch that was started.
type running struct {
	// ready waits until both ports are connected, as far as the switch tells.
	ready func(ctx context.Context) error
	// change makes the i-th of an endless sequence of rule changes; nil: not offered.
	change func(ctx context.Context, i int) error
	// ask is a request that changes nothing; nil: not offered.
	ask     func(ctx context.Context, i int) error
	account account
	// dropped is how many packets the switch says that it dropped since it was started. If that is exact, a run fails in
	// which it is not what the load misses.
	dropped func(ctx context.Context) (uint64, error)
	exact   bool
}

// account begins an account of the forwarding thread's cycles and returns what ends it; nil: the switch keeps none.
type account func(ctx context.Context) (end func(ctx context.Context) (cycles, error), err error)

// cycles is a forwarding thread's own account.
type cycles struct {
	Busy float64 `json:"busy_cycles_per_packet,omitempty"`
	Idle float64 `json:"idle,omitempty"` // part of all
}

// peer is one kind of switch to measure.
type peer struct {
	needs []host.Need
	// listens says that the switch makes the two sockets; otherwise the load does.
	listens bool
	start   func(ctx context.Context, b *bench) (running, error)
	// version describes what is measured.
	version func(ctx context.Context, o *options) string
}

// Names of peers.
const (
	peerWeft    = "weft"
	peerOther   = "other weft" // -against
	peerOVS     = "ovs"
	peerTestpmd = "testpmd"
)

var peers = map[string]peer{
	peerWeft: {nil, false, startWeft, func(ctx context.Context, o *options) string { return rig.Version(ctx, o.weft, "version") }},
	peerOther: {nil, false, startOther, func(ctx context.Context, o *options) string {
		return rig.Version(ctx, o.against, "version")
	}},
	peerOVS: {[]host.Need{host.OVS}, false, startOVS, func(ctx context.Context, _ *options) string {
		return rig.PackageVersion(ctx, host.OVS.Package)
	}},
	peerTestpmd: {nil, true, startTestpmd, func(ctx context.Context, _ *options) string {
		return rig.PackageVersion(ctx, host.Testpmd.Package)
	}},
}

// needs are the packages that the scenarios take.
func needs(list []scenario) []host.Need {
	out := []host.Need{host.Testpmd}
	for _, name := range peerNames(list) {
		out = append(out, peers[name].needs...)
	}
	return out
}

func (b *bench) rulesFile() (string, error) {
	path := filepath.Join(b.dir, "rules.txt")
	return path, writeRules(path, b.work)
}

func startWeft(ctx context.Context, b *bench) (running, error) { return b.startWeft(ctx, b.o.weft) }

func startOther(ctx context.Context, b *bench) (running, error) { return b.startWeft(ctx, b.o.against) }

// startWeft runs weft with the rules that Open vSwitch gets too.
func (b *bench) startWeft(ctx context.Context, binary string) (running, error) {
	rules, err := b.rulesFile()
	if err != nil {
		return running{}, err
	}
	file, socket := filepath.Join(b.dir, "weft.yaml"), filepath.Join(b.dir, "weft.sock")
	cache := ""
	if b.work.CacheEntries > 0 {
		cache = fmt.Sprintf(", cache_entries: %d", b.work.CacheEntries)
	}
	config := fmt.Sprintf(`log: {level: warn}
control: {socket: %s}
pmd: {cpus: %d, idle: poll, exclusive: true%s}
bridges:
  - name: br0
    ports:
      - {name: v0, driver: vhost-user, number: 1, path: %s, mode: client, queues: %d}
      - {name: v1, driver: vhost-user, number: 2, path: %[6]s, mode: client, queues: %[5]d}
    flows: []
`, socket, b.o.SwitchCPU, cache, b.sockets[0], max(b.work.Queues, 1), b.sockets[1])
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return running{}, err
	}
	d, err := daemon.Start(ctx, b.group, daemon.Config{Name: "weft", Binary: binary, File: file, Socket: socket})
	if err != nil {
		return running{}, err
	}
	if _, err := d.CLI(ctx, "flow", "add", "-f", rules); err != nil {
		return running{}, err
	}
	control := &session{socket: socket}
	return running{
		ready:   func(ctx context.Context) error { return d.WaitLink(ctx, true, "v0", "v1") },
		change:  control.change,
		ask:     control.ask,
		account: weftAccount(d),
		dropped: d.Dropped,
		exact:   true,
	}, nil
}

// weftAccount subtracts two readings of the only PMD thread.
func weftAccount(d *daemon.Daemon) account {
	type reading struct {
		Busy    float64 `json:"busy_cycles"`
		Idle    float64 `json:"idle_cycles"`
		Packets float64 `json:"packets"`
	}
	read := func(ctx context.Context) (reading, error) {
		var threads []reading
		if err := d.JSON(ctx, &threads, "pmd", "show"); err != nil {
			return reading{}, err
		}
		if len(threads) != 1 {
			return reading{}, fmt.Errorf("weft has %d PMD threads instead of one", len(threads))
		}
		return threads[0], nil
	}
	return func(ctx context.Context) (func(ctx context.Context) (cycles, error), error) {
		before, err := read(ctx)
		return func(ctx context.Context) (cycles, error) {
			after, err := read(ctx)
			busy, idle := after.Busy-before.Busy, after.Idle-before.Idle
			return cycles{busy / (after.Packets - before.Packets), idle / (busy + idle)}, err
		}, err
	}
}

// session is one connection to the control socket, on which its owner's goroutine alone does everything: that is what is
// on the load's CPU.
type session struct {
	socket  string
	conn    net.Conn
	answers *bufio.Reader
}

// change makes rule changes that no packet of the load meets: it adds single rules, and deletes each by match and priority.
func (s *session) change(ctx context.Context, i int) error {
	rule, command := fmt.Sprintf("ip,nw_dst=192.0.2.%d", i/2%256), "delete"
	if i%2 == 0 {
		rule, command = rule+",actions=drop", "add"
	}
	return s.do(ctx, http.MethodPost, "/v1/changes?kind=flow&strict=true&command="+command, rule)
}

// ask asks for something that changes nothing.
func (s *session) ask(ctx context.Context, _ int) error {
	return s.do(ctx, http.MethodGet, "/v1/version", "")
}

func (s *session) do(ctx context.Context, method, path, body string) error {
	if s.conn == nil {
		var (
			dialer net.Dialer
			err    error
		)
		if s.conn, err = dialer.DialContext(ctx, "unix", s.socket); err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { _ = s.conn.Close() }) // which ends what waits for an answer
		s.answers = bufio.NewReader(s.conn)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://weft"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	if err := req.Write(s.conn); err != nil {
		return err
	}
	resp, err := http.ReadResponse(s.answers, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil { // up to the next answer
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	return nil
}

func startOVS(ctx context.Context, b *bench) (running, error) {
	rules, err := b.rulesFile()
	if err != nil {
		return running{}, err
	}
	v, err := ovs.Start(ctx, b.group, ovs.Config{
		Dir: filepath.Join(b.dir, "ovs"), MainCPU: b.o.LoadCPU, PMDCPU: b.o.SwitchCPU,
		Sockets: b.sockets[:], Names: []string{"v0", "v1"}, FlowsFile: rules, MTU: b.work.mtu(),
	})
	if err != nil {
		return running{}, err
	}
	return running{
		ready:   v.WaitLink,
		dropped: v.Dropped,
		account: func(ctx context.Context) (func(ctx context.Context) (cycles, error), error) {
			return func(ctx context.Context) (cycles, error) {
				s, err := v.PMDStats(ctx)
				return cycles{s.BusyCycles, s.Idle}, err
			}, v.ClearPMDStats(ctx)
		},
	}, nil
}

// Buffers of testpmd as a switch for frames that a standard buffer does not hold.
const (
	jumboSpare = 216 // so that 9000 bytes make 9216, which is 9 KiB
	jumboMbufs = 16384
)

func startTestpmd(ctx context.Context, b *bench) (running, error) {
	cfg := testpmd.Config{
		Name: "vhost", Sockets: b.sockets, Vhost: true, CPU: b.o.SwitchCPU, Queues: b.work.Queues, FrameBytes: b.work.Size,
	}
	if b.work.mtu() > 0 {
		// A buffer for a whole frame, which is what Open vSwitch takes; as many as fit the memory that a standard run has.
		cfg.MbufBytes, cfg.Mbufs = b.work.Size+jumboSpare, jumboMbufs
	}
	t, err := testpmd.Start(ctx, b.group, cfg)
	if err != nil {
		return running{}, err
	}
	_, err = t.Command(ctx, "start")
	return running{
		ready:   func(context.Context) error { return nil }, // the load connects while it starts
		dropped: t.Dropped,
	}, err
}
