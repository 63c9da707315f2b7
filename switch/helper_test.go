package vswitch

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/packet"
	"weft/numa"
	"weft/numa/numatest"
	"weft/pmd/memport"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file under testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// twoNodes is a machine that is not there: CPUs 0-15, two nodes.
func twoNodes(t testing.TB) *numa.Topology {
	t.Helper()
	topo, err := numa.Read(numatest.TwoNodes(t))
	if err != nil {
		t.Fatal(err)
	}
	return topo
}

// memDevice is a memport as a device whose state the test decides.
type memDevice struct {
	*memport.Port
	cfg  PortConfig
	host Host

	mu       sync.Mutex
	activeRx []bool
	activeTx []bool
	failed   bool
	closed   bool
	owns     uintptr // the one address that is the device's, until it fails
	node     int
	gate     *gateQueue // when set, the only transmit queue
}

// gateQueue is a transmit queue that holds its caller until it is opened. The caller, a PMD thread, must not block. So a
// collection of garbage would wait for it, and the test for the collection: see closeGate.
type gateQueue struct {
	TxQueue
	entered, open atomic.Bool
}

func (q *gateQueue) Transmit(b *packet.Batch, idx []uint8) {
	q.entered.Store(true)
	for !q.open.Load() {
	}
	q.TxQueue.Transmit(b, idx)
}

// closeGate puts a gate before a device's transmit queue. There are no collections until the test ends.
func closeGate(t *testing.T, d *memDevice) *gateQueue {
	percent := debug.SetGCPercent(-1)
	t.Cleanup(func() { debug.SetGCPercent(percent) })
	runtime.GC() // and none is under way
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gate = &gateQueue{TxQueue: d.Tx(0)}
	return d.gate
}

func (d *memDevice) Queues() Queues {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := Queues{ActiveRx: d.activeRx, ActiveTx: d.activeTx}
	for i := range d.Port.Queues() {
		q.Rx = append(q.Rx, d.Rx(i))
		q.Tx = append(q.Tx, d.Tx(i))
	}
	if d.gate != nil {
		q.Tx = []TxQueue{d.gate}
	}
	return q
}

func (d *memDevice) Status() DeviceStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := DeviceStatus{Link: !d.failed, State: "up", MTU: d.cfg.MTU, Node: d.node}
	if d.failed {
		st.State, st.Error = "failed", "memory fault"
	}
	return st
}

func (d *memDevice) setOwned(addr uintptr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.owns = addr
}

func (d *memDevice) Fault(addr uintptr) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if addr != d.owns {
		return false
	}
	d.owns, d.failed = 0, true
	d.activeRx = make([]bool, d.Port.Queues())
	d.host.Changed()
	return true
}

func (d *memDevice) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return fmt.Errorf("%s closed twice", d.cfg.Name)
	}
	d.closed = true
	return nil
}

func (d *memDevice) setActive(rx, tx []bool) {
	d.mu.Lock()
	d.activeRx, d.activeTx = rx, tx
	d.mu.Unlock()
	d.host.Changed()
}

// rig is a switch over memports.
type rig struct {
	*Switch
	t       testing.TB
	drivers map[string]Driver

	mu      sync.Mutex
	devices map[string]*memDevice // by port, the latest
	opened  []string
	refuse  map[string]error      // ports that do not open
	held    map[string]*memDevice // by path
	style   memport.Style
	options memport.Config

	collected []map[string][][]byte
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, devices: map[string]*memDevice{}, refuse: map[string]error{}, held: map[string]*memDevice{}}
	r.drivers = map[string]Driver{"memory": {
		Open: r.openMemory, Options: []string{"queues", "mtu", "path", "colour"}, MaxQueues: 8,
	}}
	log := slog.New(slog.NewTextHandler(logWriter{t}, nil))
	s, err := New(Options{Drivers: r.drivers, Topology: twoNodes(t), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	r.Switch = s
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for name, d := range r.devices {
			if !d.closed {
				t.Errorf("device %s was not closed", name)
			}
		}
	})
	return r
}

// logWriter keeps a switch's log out of the test's output unless it fails.
type logWriter struct{ t testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	if testing.Verbose() {
		return os.Stderr.Write(p)
	}
	return io.Discard.Write(p)
}

func (r *rig) openMemory(cfg PortConfig, host Host) (Device, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.refuse[cfg.Name]; err != nil {
		return nil, err
	}
	if d := r.held[cfg.Path]; cfg.Path != "" && d != nil && !d.closed {
		return nil, fmt.Errorf("%s is in use", cfg.Path)
	}
	c := r.options
	c.Queues, c.MTU, c.Style = cfg.Queues, cfg.MTU, r.style
	p, err := memport.New(c)
	if err != nil {
		return nil, err
	}
	d := &memDevice{Port: p, cfg: cfg, host: host, node: -1}
	r.devices[cfg.Name] = d
	r.opened = append(r.opened, cfg.Name)
	if cfg.Path != "" {
		r.held[cfg.Path] = d
	}
	host.Changed()
	return d, nil
}

// dev is a port's device.
func (r *rig) dev(name string) *memDevice {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.devices[name]
	if d == nil {
		r.t.Fatalf("no device %s", name)
	}
	return d
}

// parse reads a configuration; $DIR in it is a directory that exists.
func (r *rig) parse(text string) (*Config, error) {
	opts := r.ParseOptions()
	opts.File = "weft.yaml"
	return Parse([]byte(text), opts)
}

// apply makes the switch as text says.
func (r *rig) apply(text string) *Plan {
	r.t.Helper()
	cfg, err := r.parse(text)
	if err != nil {
		r.t.Fatal(err)
	}
	plan, err := r.Apply(context.Background(), cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return plan
}

// threePorts is a bridge br0 with the ports a (1), b (2) and c (3) and these rules, on one PMD thread.
func threePorts(rules ...string) string {
	var b strings.Builder
	b.WriteString("pmd: {cpus: 1, idle: sleep}\nbridges:\n- name: br0\n  ports:\n")
	for _, name := range []string{"a", "b", "c"} {
		fmt.Fprintf(&b, "  - {name: %s, driver: memory}\n", name)
	}
	if len(rules) > 0 {
		b.WriteString("  flows:\n")
	}
	for _, r := range rules {
		fmt.Fprintf(&b, "  - %q\n", r)
	}
	return b.String()
}

// frame is an Ethernet frame of n bytes from src to dst (the last bytes of their addresses), with these tags.
func frame(dst, src byte, n int, tags ...uint16) []byte {
	f := []byte{2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src}
	for _, tci := range tags {
		f = append(f, 0x81, 0, byte(tci>>8), byte(tci))
	}
	f = append(f, 0x08, 0x00)
	for len(f) < n {
		f = append(f, byte(len(f)))
	}
	return f
}

// send injects frames and fails when the ring is full.
func (r *rig) send(port string, frames ...[]byte) {
	r.t.Helper()
	d := r.dev(port)
	for _, f := range frames {
		if !d.Inject(0, f) {
			r.t.Fatalf("port %s: the ring is full", port)
		}
	}
	deadline := time.Now().Add(5 * time.Second)
	for d.Pending(0) > 0 {
		if time.Now().After(deadline) {
			r.t.Fatalf("port %s: %d frames were not received", port, d.Pending(0))
		}
		time.Sleep(20 * time.Microsecond)
	}
}

// got takes what was transmitted to a port, on all its queues.
func (r *rig) got(port string) [][]byte {
	r.t.Helper()
	d := r.dev(port)
	var frames [][]byte
	for i := range d.Port.Queues() {
		frames = append(frames, d.Drain(i)...)
	}
	return frames
}

// want checks how many frames each port got; what is not named got none. It returns all of them.
func (r *rig) want(counts map[string]int) map[string][][]byte {
	r.t.Helper()
	all := make(map[string][][]byte)
	ports, err := r.Ports("")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range ports {
		all[p.Name] = r.got(p.Name)
		if n := len(all[p.Name]); n != counts[p.Name] {
			r.t.Errorf("port %s got %d frames, want %d", p.Name, n, counts[p.Name])
		}
	}
	return all
}

// dropped are the pipeline's drops on the only bridge.
func (r *rig) dropped() map[string]uint64 { return r.Bridges()[0].Drops }

// change applies changes at run time.
func (r *rig) change(kind, command, text string) {
	r.t.Helper()
	req := FlowRequest{Bridge: "br0", Kind: kind, Command: command}
	if _, err := r.FlowApply(req, strings.NewReader(text)); err != nil {
		r.t.Fatal(err)
	}
}
