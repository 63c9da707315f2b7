package vswitch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"weft/internal/packet"
	"weft/pmd"
)

// ConflictError says that what was asked for exists already, or needs what something else holds.
type ConflictError struct {
	Msg  string
	Hint string
}

func (e *ConflictError) Error() string { return join(e.Msg, e.Hint) }

// AddPort opens a port and adds it to a bridge (which may be "" when there is only one). The port stays until DelPort,
// or until a reload brings a port of that name.
func (s *Switch) AddPort(ctx context.Context, bridge string, cfg PortConfig) (*PortInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	br, err := s.bridge(bridge)
	if err != nil {
		return nil, err
	}
	if hint := nameFault(cfg.Name); hint != "" {
		return nil, &ConfigError{Message: brief(fmt.Sprintf("a port cannot be called %q", cfg.Name)), Hint: hint}
	}
	if p := s.ports[cfg.Name]; p != nil {
		return nil, &ConflictError{
			fmt.Sprintf("port %s exists already, on bridge %s", cfg.Name, p.br.cfg.Name), "choose another name",
		}
	}
	for _, p := range s.ports {
		if r := resources(&cfg); slices.Contains(r, resources(&p.cfg)[0]) {
			return nil, &ConflictError{fmt.Sprintf("port %s uses the %s already", p.cfg.Name, r[0]), "choose another"}
		}
	}
	names := br.names()
	number := cfg.Number
	if number == 0 {
		number = names.free(1)
	}
	if number > MaxPortNumber {
		msg := fmt.Sprintf("port number %d is above %d, the highest there is", number, MaxPortNumber)
		return nil, &ConfigError{Message: msg, Hint: "choose another"}
	}
	if holder, taken := names.PortName(number); taken {
		return nil, &ConflictError{fmt.Sprintf("port number %d is taken by port %s", number, holder), "choose another"}
	}
	p := s.newPort(cfg, OriginRuntime)
	if err := s.openDevice(ctx, p); err != nil {
		s.slots[p.index] = nil
		return nil, err
	}
	p.br, p.number = br, number
	br.ports[number], s.ports[cfg.Name] = p, p
	br.dirty = true
	if err := s.publish(); err != nil {
		return nil, errors.Join(err, s.removePort(p))
	}
	info := s.portInfo(p, s.rxCPUs())
	return &info, nil
}

// DelPort closes a port and removes it. A port of the configuration comes back with the next reload.
func (s *Switch) DelPort(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.port(name)
	if err != nil {
		return err
	}
	return s.removePort(p)
}

func (s *Switch) removePort(p *port) error {
	was := place{p.br, p.number}
	delete(p.br.ports, p.number)
	delete(s.ports, p.cfg.Name)
	p.br.dirty = true
	p.br = nil
	err := s.publish()
	s.slots[p.index] = nil
	was.forget()
	return errors.Join(err, s.closeDevice(p))
}

// Port describes one port.
func (s *Switch) Port(name string) (*PortInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.port(name)
	if err != nil {
		return nil, err
	}
	info := s.portInfo(p, s.rxCPUs())
	return &info, nil
}

// Ports describes all ports (of a bridge, or of all with ""), by bridge and number.
func (s *Switch) Ports(bridge string) ([]PortInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.portInfos(bridge)
}

func (s *Switch) portInfos(bridge string) ([]PortInfo, error) {
	bridges, err := s.selected(bridge)
	if err != nil {
		return nil, err
	}
	cpus := s.rxCPUs()
	infos := []PortInfo{}
	for _, br := range bridges {
		for _, p := range sortedPorts(br) {
			infos = append(infos, s.portInfo(p, cpus))
		}
	}
	return infos, nil
}

// queueName is a receive queue.
type queueName struct {
	port  string
	index int
}

// rxCPUs says which CPU polls each receive queue.
func (s *Switch) rxCPUs() map[queueName]int {
	cpus := make(map[queueName]int)
	for _, t := range s.threadStats() {
		for _, q := range t.Queues {
			cpus[queueName{q.Port, q.Queue}] = t.CPU
		}
	}
	return cpus
}

func (s *Switch) threadStats() []pmd.ThreadStats {
	if m := s.manager.Load(); m != nil {
		return m.Stats()
	}
	return nil
}

func (s *Switch) portInfo(p *port, cpus map[queueName]int) PortInfo {
	info := PortInfo{
		Name: p.cfg.Name, Bridge: p.br.cfg.Name, Driver: p.cfg.Driver, Number: p.number, Origin: p.origin,
		DeviceStatus: p.dev.Status(), Config: p.cfg, RxQueues: []QueueInfo{}, TxQueues: []QueueInfo{},
		MACs: int(p.br.fdb.ports[p.number].Load()),
	}
	queues := p.dev.Queues()
	var rx, tx packet.CounterSnapshot
	for i, q := range queues.Rx {
		counters := q.Counters()
		rx.Add(&counters)
		cpu, polled := cpus[queueName{p.cfg.Name, i}]
		if !polled {
			cpu = -1
		}
		info.RxQueues = append(info.RxQueues, QueueInfo{i, isActive(queues.ActiveRx, i), cpu, traffic(&counters)})
	}
	for i, q := range queues.Tx {
		counters := q.Counters()
		tx.Add(&counters)
		info.TxQueues = append(info.TxQueues, QueueInfo{i, isActive(queues.ActiveTx, i), -1, traffic(&counters)})
	}
	info.Rx, info.Tx = traffic(&rx), traffic(&tx)
	return info
}

// isActive reads Queues.ActiveRx or ActiveTx.
func isActive(active []bool, i int) bool { return active == nil || i < len(active) && active[i] }

// traffic is a snapshot as the control socket shows it.
func traffic(c *packet.CounterSnapshot) Traffic {
	return Traffic{Packets: c.Packets, Bytes: c.Bytes, Batches: c.Batches, Dropped: c.Dropped(), Drops: drops(c)}
}

// drops are the reasons for which there were drops; nil when there are none.
func drops(c *packet.CounterSnapshot) map[string]uint64 {
	var m map[string]uint64
	for i, n := range c.Drops {
		if n != 0 {
			if m == nil {
				m = make(map[string]uint64)
			}
			m[packet.DropReason(i).String()] = n
		}
	}
	return m
}

// FDBShow lists the MAC table of a bridge (of all with ""), by bridge, VLAN and address.
func (s *Switch) FDBShow(bridge string) ([]FDBEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bridges, err := s.selected(bridge)
	if err != nil {
		return nil, err
	}
	list := []FDBEntry{}
	for _, br := range bridges {
		names, first := br.names(), len(list)
		br.fdb.each(func(r fdbRecord) {
			name, _ := names.PortName(r.port)
			list = append(list, FDBEntry{
				Bridge: br.cfg.Name, Port: name, Number: r.port, VLAN: r.key.vlan(), MAC: formatMAC(r.key.mac()),
				Age: uint32(r.age),
			})
		})
		slices.SortFunc(list[first:], func(a, b FDBEntry) int {
			if a.VLAN != b.VLAN {
				return int(a.VLAN) - int(b.VLAN)
			}
			return strings.Compare(a.MAC, b.MAC)
		})
	}
	return list, nil
}

// FDBFlush empties the MAC table of a bridge (of all with "") and returns how many entries it had.
func (s *Switch) FDBFlush(bridge string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bridges, err := s.selected(bridge)
	n := 0
	for _, br := range bridges {
		n += br.fdb.flush(func(fdbKey, uint32) bool { return true })
	}
	return n, err
}
