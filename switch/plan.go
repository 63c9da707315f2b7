package vswitch

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"weft/numa"
)

// change is what Apply is about to do: the state that is wanted, and how each part of it comes from the present one.
type change struct {
	cfg     *Config
	lines   []string
	pmd     bool
	bridges []*bridgeChange // those that will exist, in order
	gone    []*bridge
	opens   []*portChange // to be opened while everything else still runs
	swaps   []*portChange // to be opened after the port that holds their socket or interface has been closed
	drops   []*port       // ports that will be closed
}

// bridgeChange is one bridge that will exist.
type bridgeChange struct {
	br    *bridge // new ones are not in Switch.bridges yet
	isNew bool
	cfg   Bridge
	ports []*portChange
	names portNames // with the numbers that the ports will have
	rules *ruleChange
}

// portChange is one port that will exist.
type portChange struct {
	old    *port // the port of this name now, nil: none
	p      *port // the port that will exist: old, or a new one once there is a device for it
	keep   bool  // old stays as it is, with its device
	cfg    PortConfig
	origin string
	number uint32
	bridge *bridgeChange
}

func (c *change) say(format string, args ...any) {
	c.lines = append(c.lines, fmt.Sprintf(format, args...))
}

// plan compares the switch with a configuration.
func (s *Switch) plan(cfg *Config) (*change, error) {
	c := &change{cfg: cfg}
	c.comparePMD(s.pmdCfg, cfg.PMD, s.manager.Load() == nil)
	present := make(map[string]*bridge)
	for _, br := range s.bridges {
		present[br.cfg.Name] = br
	}
	wanted := make(map[string]*portChange)
	for i := range cfg.Bridges {
		if slices.ContainsFunc(c.bridges, func(bc *bridgeChange) bool { return bc.cfg.Name == cfg.Bridges[i].Name }) {
			return nil, &ConflictError{fmt.Sprintf("the bridge name %q is used twice", cfg.Bridges[i].Name), ""}
		}
		bc := c.bridge(cfg.Bridges[i], present[cfg.Bridges[i].Name])
		delete(present, bc.cfg.Name)
		for _, pc := range cfg.Bridges[i].Ports {
			if wanted[pc.Name] != nil {
				return nil, &ConflictError{fmt.Sprintf("the port name %q is used twice", pc.Name), ""}
			}
			wanted[pc.Name] = &portChange{cfg: pc, origin: OriginConfig, bridge: bc, old: s.ports[pc.Name]}
			bc.ports = append(bc.ports, wanted[pc.Name])
		}
		// What was added at run time stays with its bridge, unless the configuration now has a port of that name.
		for _, p := range sortedPorts(bc.br) {
			if p.origin == OriginRuntime && wanted[p.cfg.Name] == nil && !named(cfg, p.cfg.Name) {
				wanted[p.cfg.Name] = &portChange{cfg: p.cfg, origin: OriginRuntime, bridge: bc, old: p}
				bc.ports = append(bc.ports, wanted[p.cfg.Name])
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(present)) {
		c.gone = append(c.gone, present[name])
		c.say("- bridge %s", name)
	}
	for _, name := range slices.Sorted(maps.Keys(s.ports)) {
		if p := s.ports[name]; wanted[name] == nil {
			c.drops = append(c.drops, p)
			c.say("- port %s (%s, bridge %s)", name, p.cfg.Driver, p.br.cfg.Name)
		}
	}
	for _, bc := range c.bridges {
		if err := c.number(bc); err != nil {
			return nil, err
		}
		c.comparePorts(bc)
		var errs ConfigErrors
		if bc.rules, errs = bc.br.rules.plan(bc, c); len(errs) > 0 {
			return nil, errs
		}
	}
	c.order()
	return c, nil
}

// named reports whether a configuration has a port of this name.
func named(cfg *Config, name string) bool {
	return slices.ContainsFunc(cfg.Bridges, func(br Bridge) bool {
		return slices.ContainsFunc(br.Ports, func(pc PortConfig) bool { return pc.Name == name })
	})
}

// sortedPorts are the ports of a bridge by number.
func sortedPorts(br *bridge) []*port {
	var ports []*port
	for _, number := range slices.Sorted(maps.Keys(br.ports)) {
		ports = append(ports, br.ports[number])
	}
	return ports
}

// comparePMD says what changes about PMD threads.
func (c *change) comparePMD(old, now PMDConfig, first bool) {
	cpus := func(p PMDConfig) string {
		if len(p.CPUs) == 0 {
			return "automatic"
		}
		return numa.FormatCPUs(p.CPUs)
	}
	if first {
		c.pmd = true
		c.say("+ pmd cpus %s, idle %s", cpus(now), now.Idle)
		return
	}
	if !slices.Equal(old.CPUs, now.CPUs) {
		c.say("~ pmd cpus %s -> %s", cpus(old), cpus(now))
	}
	if old.Idle != now.Idle {
		c.say("~ pmd idle %s -> %s", old.Idle, now.Idle)
	}
	if old.MaxSleep != now.MaxSleep {
		c.say("~ pmd max_sleep %v -> %v", old.MaxSleep, now.MaxSleep)
	}
	if old.Exclusive != now.Exclusive {
		c.say("~ pmd exclusive %v -> %v", old.Exclusive, now.Exclusive)
	}
	c.pmd = len(c.lines) > 0
	if old.CacheEntries != now.CacheEntries {
		c.pmd = true
		c.say("~ pmd cache_entries %d -> %d", old.CacheEntries, now.CacheEntries)
	}
}

// bridge says what changes about a bridge itself.
func (c *change) bridge(cfg Bridge, br *bridge) *bridgeChange {
	bc := &bridgeChange{br: br, cfg: cfg}
	c.bridges = append(c.bridges, bc)
	switch {
	case br == nil:
		bc.isNew = true
		bc.br = newBridge(cfg)
		c.say("+ bridge %s", cfg.Name)
		if len(cfg.Flows) == 0 && !cfg.DefaultRule {
			c.say("+ bridge %s has no rules: it drops everything", cfg.Name)
		}
	default:
		if br.cfg.MACAgeing != cfg.MACAgeing {
			c.say("~ bridge %s mac_ageing %v -> %v", cfg.Name, br.cfg.MACAgeing, cfg.MACAgeing)
		}
		if br.cfg.MACLimit != cfg.MACLimit {
			c.say("~ bridge %s mac_limit %d -> %d", cfg.Name, br.cfg.MACLimit, cfg.MACLimit)
		}
		if br.cfg.MACRate != cfg.MACRate {
			c.say("~ bridge %s mac_rate %d -> %d", cfg.Name, br.cfg.MACRate, cfg.MACRate)
		}
		if br.cfg.Fragments != cfg.Fragments {
			c.say("~ bridge %s fragments %s -> %s", cfg.Name, br.cfg.Fragments, cfg.Fragments)
		}
		if br.cfg.ForwardReserved != cfg.ForwardReserved {
			c.say("~ bridge %s forward_reserved %v -> %v", cfg.Name, br.cfg.ForwardReserved, cfg.ForwardReserved)
		}
	}
	return bc
}

// number gives every port of a bridge its OpenFlow number: what the configuration says; else what it has now; else the
// lowest free one.
func (c *change) number(bc *bridgeChange) error {
	bc.names = newPortNames()
	take := func(pc *portChange, number uint32) {
		pc.number = number
		bc.names.add(pc.cfg.Name, number)
	}
	for _, pc := range bc.ports {
		if pc.cfg.Number == 0 {
			continue
		}
		if holder, taken := bc.names.PortName(pc.cfg.Number); taken {
			return &ConflictError{fmt.Sprintf("port %s of bridge %s cannot have the number %d: port %s has it", pc.cfg.Name,
				bc.cfg.Name, pc.cfg.Number, holder), "choose another, or delete that port"}
		}
		take(pc, pc.cfg.Number)
	}
	for _, pc := range bc.ports {
		if pc.number == 0 && pc.old != nil && pc.old.br == bc.br {
			if _, taken := bc.names.PortName(pc.old.number); !taken {
				take(pc, pc.old.number)
			}
		}
	}
	next := uint32(1)
	for _, pc := range bc.ports {
		if pc.number == 0 {
			if next = bc.names.free(next); next > MaxPortNumber {
				return fmt.Errorf("bridge %s has no port number left for %s", bc.cfg.Name, pc.cfg.Name)
			}
			take(pc, next)
		}
	}
	return nil
}

// comparePorts says what changes about the ports of a bridge, and sorts out which devices stay.
func (c *change) comparePorts(bc *bridgeChange) {
	for _, pc := range bc.ports {
		name := pc.cfg.Name
		if pc.old == nil {
			c.say("+ port %s (%s, bridge %s, number %d)", name, pc.cfg.Driver, bc.cfg.Name, pc.number)
			c.opens = append(c.opens, pc)
			continue
		}
		for _, diff := range diffFields(pc.old.cfg, pc.cfg) {
			c.say("~ port %s %s", name, diff)
		}
		if pc.old.br != bc.br {
			c.say("~ port %s bridge %s -> %s", name, pc.old.br.cfg.Name, bc.cfg.Name)
		}
		if pc.old.number != pc.number && pc.old.cfg.Number == pc.cfg.Number {
			c.say("~ port %s number %d -> %d", name, pc.old.number, pc.number)
		}
		if pc.old.origin != pc.origin {
			c.say("~ port %s origin %s -> %s", name, pc.old.origin, pc.origin)
		}
		if sameDevice(pc.old.cfg, pc.cfg) {
			pc.keep, pc.p = true, pc.old
			continue
		}
		c.drops = append(c.drops, pc.old)
		c.opens = append(c.opens, pc)
	}
}

// order moves those ports from opens to swaps that need a socket or interface which a port holds that is to be closed.
func (c *change) order() {
	held := make(map[string]bool)
	for _, p := range c.drops {
		for _, r := range resources(&p.cfg) {
			held[r] = true
		}
	}
	var opens []*portChange
	for _, pc := range c.opens {
		if slices.ContainsFunc(resources(&pc.cfg), func(r string) bool { return held[r] }) {
			c.swaps = append(c.swaps, pc)
		} else {
			opens = append(opens, pc)
		}
	}
	c.opens = opens
}

// resources are what only one device can hold at a time: its socket, or else the interface that it is named by.
func resources(pc *PortConfig) []string {
	if pc.Path != "" {
		return []string{"socket " + pc.Path}
	}
	if pc.Device != "" {
		return []string{"interface " + pc.Device}
	}
	return []string{"interface " + pc.Name}
}

// sameDevice reports whether two configurations of a port need no other device: they differ at most in what is the
// switch's own business.
func sameDevice(a, b PortConfig) bool {
	a.Number, a.RxqCPUs, a.VLAN, a.pos = b.Number, b.RxqCPUs, b.VLAN, b.pos
	return reflect.DeepEqual(a, b)
}

// diffFields lists the fields in which two configurations of a port differ: "mtu 1500 -> 9000".
func diffFields(a, b PortConfig) []string {
	var out []string
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range va.NumField() {
		f := va.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		x, y := va.Field(i).Interface(), vb.Field(i).Interface()
		if reflect.DeepEqual(x, y) {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		out = append(out, fmt.Sprintf("%s %s -> %s", strings.TrimSuffix(name, "_ns"), show(x), show(y)))
	}
	return out
}

// show writes a field's value; zero is what was left to the switch or the driver.
func show(v any) string {
	if reflect.ValueOf(v).IsZero() {
		return "default"
	}
	return fmt.Sprint(v)
}

// DaemonChanges lists what differs between two configurations in the daemon's own settings (log, control, metrics), as
// a Plan's lines: the switch does not know about these.
func DaemonChanges(old, now *Config) []string {
	var lines []string
	say := func(name string, a, b any) {
		if a != b {
			lines = append(lines, fmt.Sprintf("~ %s %s -> %s", name, show(a), show(b)))
		}
	}
	say("log level", old.Log.Level, now.Log.Level)
	say("log format", old.Log.Format, now.Log.Format)
	say("control socket", old.Control.Socket, now.Control.Socket)
	say("control group", old.Control.Group, now.Control.Group)
	say("control permissions", old.Control.Permissions, now.Control.Permissions)
	say("metrics address", old.Metrics.Address, now.Metrics.Address)
	return lines
}
