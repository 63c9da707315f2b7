package vswitch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Check computes what Apply would do, without doing it.
func (s *Switch) Check(cfg *Config) (*Plan, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	c, err := s.plan(cfg)
	if err != nil {
		return nil, err
	}
	return &Plan{Lines: c.lines}, nil
}

// Apply makes the switch as cfg says, touching nothing that did not change: a port whose device needs no other settings
// keeps its sessions, counters and queues, a rule that stays keeps its counters. Ports and rules that were added at run
// time stay. On error nothing has changed, with one exception that the error names: a port that had to be closed before
// another could take over its socket, and then could not be opened again.
//
// Everything that can fail comes first: the rules are parsed, new devices opened, PMD threads started.
func (s *Switch) Apply(ctx context.Context, cfg *Config) (*Plan, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	c, err := s.plan(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.execute(ctx, c); err != nil {
		return nil, err
	}
	return &Plan{Lines: c.lines, Applied: true}, nil
}

// undoList takes back, in reverse order, what was done so far.
type undoList []func()

func (u *undoList) add(f func()) { *u = append(*u, f) }

func (u undoList) run() {
	for _, f := range slices.Backward(u) {
		f()
	}
}

// execute does what was planned.
func (s *Switch) execute(ctx context.Context, c *change) error {
	var undo undoList
	err := s.prepare(ctx, c, &undo)
	if err != nil {
		undo.run()
		return err
	}
	return s.commit(c)
}

// prepare does everything that can fail, in an order in which the earlier steps disturb nothing that runs.
func (s *Switch) prepare(ctx context.Context, c *change, undo *undoList) error {
	for _, pc := range c.opens {
		if err := s.open(ctx, pc, undo); err != nil {
			return err
		}
	}
	if c.pmd {
		back, err := s.startPMD(c.cfg.PMD)
		if err != nil {
			return err
		}
		undo.add(back)
	}
	for _, bc := range c.bridges {
		back, err := bc.rules.apply()
		if err != nil {
			return fmt.Errorf("rules of bridge %s: %w", bc.cfg.Name, err)
		}
		undo.add(back)
	}
	return s.swap(ctx, c, undo)
}

// open opens the device of a port that is to exist.
func (s *Switch) open(ctx context.Context, pc *portChange, undo *undoList) error {
	p := s.newPort(pc.cfg, pc.origin)
	undo.add(func() { s.slots[p.index] = nil })
	if err := s.openDevice(ctx, p); err != nil {
		return err
	}
	undo.add(func() {
		if err := s.closeDevice(p); err != nil {
			s.log.Warn("after a failed change", "error", err)
		}
	})
	pc.p = p
	return nil
}

// swap closes the ports whose sockets or interfaces others are to have, and opens those. When that fails, the old ones
// are opened again.
func (s *Switch) swap(ctx context.Context, c *change, undo *undoList) error {
	if len(c.swaps) == 0 {
		return nil
	}
	wanted := make(map[string]bool)
	for _, pc := range c.swaps {
		for _, r := range resources(&pc.cfg) {
			wanted[r] = true
		}
	}
	var closing []*port
	for _, p := range c.drops {
		if slices.ContainsFunc(resources(&p.cfg), func(r string) bool { return wanted[r] }) {
			closing = append(closing, p)
		}
	}
	back, err := s.suspend(closing)
	undo.add(back)
	if err != nil {
		return err
	}
	for _, pc := range c.swaps {
		if err := s.open(ctx, pc, undo); err != nil {
			return err
		}
	}
	return nil
}

// suspend takes ports out of the datapath and closes their devices. back opens them again.
func (s *Switch) suspend(ports []*port) (back func(), err error) {
	home := make(map[*port]place)
	for _, p := range ports {
		home[p] = place{p.br, p.number}
		p.br.dirty = true
		delete(p.br.ports, p.number)
		p.br = nil
	}
	err = s.publish()
	for _, p := range ports {
		home[p].forget()
		err = errors.Join(err, s.closeDevice(p))
		p.dev = newBrokenDevice(errors.New("the port is closed for a change"))
	}
	return func() {
		for _, p := range ports {
			if err := s.openDevice(context.Background(), p); err != nil {
				p.log.Error("port could not be opened again after a failed change; delete and add it, or reload", "error", err)
				p.dev = newBrokenDevice(err)
			}
			p.br = home[p].br
			p.br.ports[p.number] = p
			p.br.dirty = true
		}
		if err := s.publish(); err != nil {
			s.log.Error("after a failed change", "error", err)
		}
	}, err
}

// commit puts what was prepared in the place of what was there. Nothing in it can fail but assigning queues, and that
// only when the PMD threads have stopped.
func (s *Switch) commit(c *change) error {
	left := s.adopt(c)
	err := s.publish()
	// From here on no PMD thread uses what was replaced.
	for _, p := range c.drops {
		if _, suspended := p.dev.(*brokenDevice); !suspended {
			if closeErr := s.closeDevice(p); closeErr != nil {
				p.log.Warn("the port's device did not close cleanly", "error", closeErr)
			}
		}
		s.slots[p.index] = nil
	}
	for _, l := range left {
		l.forget()
	}
	for _, br := range c.gone {
		for _, w := range s.allWorkers() {
			w.forget(br)
		}
	}
	for _, bc := range c.bridges {
		bc.rules.done()
	}
	if err != nil {
		return fmt.Errorf("assign queues to PMD threads: %w", err)
	}
	return nil
}

// place is a port's place in a bridge.
type place struct {
	br     *bridge
	number uint32
}

// forget removes what was learned about a place that a port has left.
func (l place) forget() {
	l.br.fdb.flush(func(_ fdbKey, number uint32) bool { return number == l.number })
}

// adopt makes the planned state the switch's. It returns the places that ports have left.
func (s *Switch) adopt(c *change) []place {
	before := make(map[*port]place)
	for _, p := range s.ports {
		if p.br != nil {
			before[p] = place{p.br, p.number}
		}
	}
	for _, p := range c.drops {
		p.br = nil
	}
	s.bridges, s.ports = nil, make(map[string]*port)
	for _, bc := range c.bridges {
		bc.br.reshape(bc.cfg)
		s.bridges = append(s.bridges, bc.br)
		old := bc.br.ports
		bc.br.ports = make(map[uint32]*port)
		for _, pc := range bc.ports {
			p := pc.p
			if !p.cfg.VLAN.same(&pc.cfg.VLAN) {
				// What was learned on it may be of other VLANs now.
				place{bc.br, p.number}.forget()
				bc.br.dirty = true
			}
			p.cfg, p.origin, p.number, p.br = pc.cfg, pc.origin, pc.number, bc.br
			bc.br.ports[p.number] = p
			s.ports[p.cfg.Name] = p
		}
		bc.br.dirty = bc.br.dirty || !maps.Equal(old, bc.br.ports)
	}
	var left []place
	for p, was := range before {
		if was != (place{p.br, p.number}) {
			left = append(left, was)
		}
	}
	return left
}

// reshape gives a bridge's MAC table new settings.
func (br *bridge) reshape(cfg Bridge) {
	if cfg.MACLimit != br.cfg.MACLimit {
		old := br.fdb
		br.fdb = newFDB(cfg.MACLimit, cfg.MACAgeing)
		br.fdb.inherit(old)
		br.dirty = true
	}
	br.fdb.setAgeing(cfg.MACAgeing)
	br.fdb.rate.Store(uint32(cfg.MACRate))
	br.rules.pipeline.SetFragments(cfg.Fragments)
	br.dirty = br.dirty || br.cfg.ForwardReserved != cfg.ForwardReserved
	br.cfg = cfg
	br.cfg.forgetTables()
}

// forgetTables leaves out what is kept as ports and rules.
func (b *Bridge) forgetTables() { b.Ports, b.Groups, b.Meters, b.Flows = nil, nil, nil, nil }

// newBridge makes a bridge without ports and rules.
func newBridge(cfg Bridge) *bridge {
	br := &bridge{
		cfg: cfg, fdb: newFDB(cfg.MACLimit, cfg.MACAgeing), ports: make(map[uint32]*port), linked: make(map[uint32]bool),
		dirty: true,
	}
	br.fdb.rate.Store(uint32(cfg.MACRate))
	br.cfg.forgetTables()
	br.rules = newRuleSet()
	br.rules.pipeline.SetFragments(cfg.Fragments)
	return br
}
