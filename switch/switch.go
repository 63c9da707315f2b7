package vswitch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weft/internal/packet"
	"weft/numa"
	"weft/pmd"
)

// Options are what a switch is built from.
type Options struct {
	// Drivers are the kinds of port, by the name that the configuration uses.
	Drivers map[string]Driver
	// Topology is the machine. It is required.
	Topology *numa.Topology
	// Log may be nil: slog.Default.
	Log *slog.Logger
}

// ErrClosed is what a closed switch answers.
var ErrClosed = errors.New("the switch has been closed")

// Switch is bridges, ports and PMD threads.
//
// Concurrency: every method may be called from any goroutine. mu serialises them; PMD threads never take it.
type Switch struct {
	drivers  map[string]Driver
	topology *numa.Topology
	log      *slog.Logger

	mu      sync.Mutex
	closed  bool
	pmdCfg  PMDConfig
	bridges []*bridge        // in the order of the configuration
	ports   map[string]*port // by name
	slots   []*port          // by index (see ingress); nil: free
	locking bool             // several PMD threads exist, or may in a moment

	// manager is nil until the first Apply. Written under mu.
	manager atomic.Pointer[pmd.Manager]

	// workers are the processors of the PMD threads, by CPU. The pmd package makes them while a caller of it holds mu.
	workersMu sync.Mutex
	workers   map[int]*worker
	retired   []*worker
	gone      packet.CounterSnapshot // orphans of retired workers

	// devices are those that are open, for PMD threads that had a memory fault. Written under mu, replaced as a whole.
	devices             atomic.Pointer[[]Device]
	faults, strayFaults atomic.Uint64

	texts sync.Pool // of *textMemory

	changed chan struct{} // capacity 1: a device changed since the last reconcile
	quit    chan struct{}
	done    chan struct{}
}

// bridge is a bridge as the control side keeps it.
type bridge struct {
	cfg    Bridge // name, ageing, limit
	fdb    *fdb
	rules  *ruleSet
	dirty  bool                   // views must be rebuilt
	gone   packet.CounterSnapshot // what retired workers had counted
	lost   packet.CounterSnapshot // the same for flooded
	ports  map[uint32]*port       // by OpenFlow number
	linked map[uint32]bool        // ports that have a link, as the rules know
}

// port is a port as the control side keeps it.
type port struct {
	index  uint32
	cfg    PortConfig
	origin string
	br     *bridge
	number uint32
	dev    Device
	queues Queues // as of the last reconcile
	locks  map[TxQueue]*txLock
	log    *slog.Logger
}

// New makes a switch without bridges and without PMD threads; the first Apply brings both.
func New(opts Options) (*Switch, error) {
	if opts.Topology == nil {
		return nil, errors.New("vswitch: Options.Topology is missing")
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	s := &Switch{
		drivers: opts.Drivers, topology: opts.Topology, log: opts.Log,
		ports: make(map[string]*port), workers: make(map[int]*worker),
		changed: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
	s.devices.Store(new([]Device))
	go s.run()
	return s, nil
}

// ParseOptions are what this switch checks a configuration against, without a file name.
func (s *Switch) ParseOptions() ParseOptions {
	return ParseOptions{Drivers: s.drivers, Topology: s.topology}
}

// run is the switch's own goroutine: it follows the devices and the clock.
func (s *Switch) run() {
	defer close(s.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-s.changed:
			s.reconcile()
		case now := <-tick.C:
			s.tick(now)
		}
	}
}

// tick ages addresses and rules.
func (s *Switch) tick(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, br := range s.bridges {
		br.fdb.tick()
		s.expire(br, now)
	}
}

// notify asks for a reconcile. Calls that come before it runs are one.
func (s *Switch) notify() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// reconcile brings PMD threads and views in line with what the devices offer now.
func (s *Switch) reconcile() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.manager.Load() == nil {
		return
	}
	if err := s.publish(); err != nil {
		s.log.Error("queues could not be assigned to PMD threads", "error", err)
	}
}

// synchronize waits until no PMD thread uses what was detached before.
func (s *Switch) synchronize() {
	if m := s.manager.Load(); m != nil {
		m.Synchronize()
	}
}

// Close stops the PMD threads after their current batch and closes all devices. The switch cannot be used afterwards.
func (s *Switch) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.quit)
	s.mu.Unlock()
	<-s.done

	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.manager.Load(); m != nil {
		m.Stop()
	}
	var errs []error
	for _, p := range s.slots {
		if p != nil {
			errs = append(errs, s.closeDevice(p))
		}
	}
	s.ports, s.slots = make(map[string]*port), nil
	for _, w := range s.workers {
		s.retired = append(s.retired, w)
	}
	s.workers = make(map[int]*worker)
	s.buryWorkers()
	s.bridges = nil
	return errors.Join(errs...)
}

// openDevice opens a port's device.
func (s *Switch) openDevice(ctx context.Context, p *port) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("open port %s: %w", p.cfg.Name, err)
	}
	driver, ok := s.drivers[p.cfg.Driver]
	if !ok {
		return fmt.Errorf("open port %s: unknown driver %q", p.cfg.Name, p.cfg.Driver)
	}
	dev, err := driver.Open(p.cfg, Host{Changed: s.notify, Synchronize: s.synchronize, Log: p.log})
	if err != nil {
		return fmt.Errorf("open port %s (%s): %w", p.cfg.Name, p.cfg.Driver, err)
	}
	p.dev = dev
	p.locks = make(map[TxQueue]*txLock)
	s.addDevice(dev)
	return nil
}

// closeDevice closes a port's device, whose queues have left the PMD threads.
func (s *Switch) closeDevice(p *port) error {
	err := p.dev.Close()
	s.removeDevice(p.dev)
	if err != nil {
		return fmt.Errorf("close port %s: %w", p.cfg.Name, err)
	}
	return nil
}

// newPort makes a port without device, at a free index.
func (s *Switch) newPort(cfg PortConfig, origin string) *port {
	p := &port{cfg: cfg, origin: origin, log: s.log.With("port", cfg.Name)}
	i := slices.Index(s.slots, nil)
	if i < 0 {
		i = len(s.slots)
		s.slots = append(s.slots, nil)
	}
	s.slots[i] = p
	p.index = uint32(i)
	return p
}

// NotFoundError says that a bridge or port does not exist.
type NotFoundError struct {
	Kind string // "bridge" or "port"
	Name string
	Hint string
}

func (e *NotFoundError) Error() string {
	if e.Name == "" {
		return join("no "+e.Kind, e.Hint)
	}
	return join("no "+e.Kind+" "+e.Name, e.Hint)
}

// bridge finds a bridge by name; "" is the only one.
func (s *Switch) bridge(name string) (*bridge, error) {
	names := make([]string, len(s.bridges))
	for i, br := range s.bridges {
		names[i] = br.cfg.Name
		if br.cfg.Name == name || name == "" && len(s.bridges) == 1 {
			return br, nil
		}
	}
	switch {
	case len(names) == 0:
		return nil, &NotFoundError{"bridge", name, "the configuration has none"}
	case name == "":
		return nil, &NotFoundError{"bridge", "", "there are several, name one: " + strings.Join(names, ", ")}
	}
	return nil, &NotFoundError{"bridge", name, "there are: " + strings.Join(names, ", ")}
}

// selected is the named bridge, or all with "".
func (s *Switch) selected(name string) ([]*bridge, error) {
	if name == "" {
		return s.bridges, nil
	}
	br, err := s.bridge(name)
	if err != nil {
		return nil, err
	}
	return []*bridge{br}, nil
}

// port finds a port by name.
func (s *Switch) port(name string) (*port, error) {
	if p, ok := s.ports[name]; ok {
		return p, nil
	}
	return nil, &NotFoundError{"port", name, "\"weft port list\" shows those that exist"}
}

// names are the ports of a bridge for reading and writing rules.
func (br *bridge) names() portNames {
	n := newPortNames()
	for number, p := range br.ports {
		n.add(p.cfg.Name, number)
	}
	return n
}
