package vswitch

import (
	"errors"
	"fmt"
	"maps"
	"os/user"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"weft/flowtable/flow"
	"weft/numa"
)

// maxCPU bounds CPU numbers before it is known which exist: Linux is built for at most 8192.
const maxCPU = 8191

// nameSyntax is what bridges and ports may be called: what needs no quotes in rules, tables and metrics.
var nameSyntax = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// reservedNames mean something else in rules (OpenFlow's reserved ports and ovs-ofctl's actions).
var reservedNames = []string{
	"in_port", "table", "normal", "flood", "all", "controller", "local", "none", "any", "drop", "unset", "output",
	"resubmit", "goto_table", "group",
}

// name reads the name of a bridge or port.
func (p *parser) name(n *yaml.Node, what string) (string, bool) {
	s, ok := p.text(n, what)
	if !ok {
		return "", false
	}
	if hint := nameFault(s); hint != "" {
		p.fail(p.at(n), hint, "%s cannot be %q", what, s)
		return "", false
	}
	return s, true
}

// nameFault says what a name ought to be, or "" when it is one.
func nameFault(s string) string {
	_, err := strconv.ParseUint(s, 0, 64)
	switch {
	case len(s) > maxNameLen:
		return fmt.Sprintf("use at most %d characters", maxNameLen)
	case !nameSyntax.MatchString(s):
		return "use letters, digits, \"_\", \".\" and \"-\", beginning with a letter, a digit or \"_\""
	case err == nil:
		return "rules would read it as a port number: add a letter"
	case slices.Contains(reservedNames, strings.ToLower(s)):
		return "the word has a meaning in rules: choose another"
	}
	return ""
}

// account reads a user or group, by name or number.
func (p *parser) account(n *yaml.Node, what string) (string, bool) {
	s, ok := p.text(n, what)
	if !ok {
		return "", false
	}
	if id, err := strconv.ParseUint(s, 10, 32); err == nil && id < 1<<32-1 {
		return s, true
	}
	var err error
	if what == "group" {
		_, err = user.LookupGroup(s)
	} else {
		_, err = user.Lookup(s)
	}
	if err != nil {
		p.fail(p.at(n), "name one that exists on this machine, or give its number", "%s %q: %v", what, s, err)
		return "", false
	}
	return s, true
}

// The bounds of a MAC table's ageing time.
const (
	minMACAgeing = time.Second
	maxMACAgeing = 24 * time.Hour
)

func (p *parser) bridge(n *yaml.Node) Bridge {
	br := Bridge{MACAgeing: DefaultMACAgeing, MACLimit: DefaultMACLimit, MACRate: DefaultMACRate, pos: p.at(n)}
	seen := p.mapping(n, "a bridge", []field{
		{"name", func(v *yaml.Node) {
			br.Name, _ = p.name(v, "a bridge's name")
			br.pos = p.at(v)
		}},
		{"mac_ageing", func(v *yaml.Node) {
			d, ok := p.duration(v, "mac_ageing", minMACAgeing, maxMACAgeing)
			if ok && d%time.Second != 0 {
				p.fail(p.at(v), "MAC addresses age by the second", "mac_ageing cannot be %v", d)
			} else if ok {
				br.MACAgeing = d
			}
		}},
		{"mac_limit", func(v *yaml.Node) {
			if k, ok := p.number(v, "mac_limit", 1, MaxMACLimit); ok {
				br.MACLimit = k
			}
		}},
		{"mac_rate", func(v *yaml.Node) {
			if k, ok := p.number(v, "mac_rate", 1, MaxMACRate); ok {
				br.MACRate = k
			}
		}},
		{"fragments", func(v *yaml.Node) {
			s, _ := p.oneOf(v, "fragments", "normal", "nx-match", "drop")
			br.Fragments, _ = flow.ParseFragments(s)
		}},
		{"forward_reserved", func(v *yaml.Node) {
			s, _ := p.oneOf(v, "forward_reserved", "true", "false")
			br.ForwardReserved = s == "true"
		}},
		{"ports", func(v *yaml.Node) {
			p.list(v, "ports", func(_ int, v *yaml.Node) { br.Ports = append(br.Ports, p.port(v)) })
		}},
		{"groups", func(v *yaml.Node) {
			p.list(v, "groups", func(_ int, v *yaml.Node) { br.Groups = append(br.Groups, p.flowItem(v, "a group")...) })
		}},
		{"meters", func(v *yaml.Node) {
			p.list(v, "meters", func(_ int, v *yaml.Node) { br.Meters = append(br.Meters, p.flowItem(v, "a meter")...) })
		}},
		{"flows", func(v *yaml.Node) {
			p.list(v, "flows", func(_ int, v *yaml.Node) { br.Flows = append(br.Flows, p.flowItem(v, "a rule")...) })
		}},
		{"flows_file", func(v *yaml.Node) {
			if s, ok := p.text(v, "flows_file"); ok {
				br.FlowsFile = s
				br.Flows = append(br.Flows, p.flowsFile(v, s)...)
			}
		}},
	})
	if seen != nil && seen["name"] == nil {
		p.fail(p.at(n), "add \"name: br0\"", "a bridge has no name")
	}
	br.DefaultRule = seen["flows"] == nil && seen["flows_file"] == nil
	return br
}

// port reads one port. Which fields it may have is the driver's to say, so the driver is read first.
func (p *parser) port(n *yaml.Node) PortConfig {
	pc := PortConfig{pos: p.at(n)}
	driver, known := p.driver(n, &pc)
	fields := p.commonPortFields(&pc, driver)
	if !known {
		// One clear error about the driver; fields that some driver has are not worth a second one.
		fields = append(fields, p.optionFields(&pc, Driver{MaxQueues: 1 << 16})...)
		p.mapping(n, "a port", fields)
		return pc
	}
	options := p.optionFields(&pc, driver)
	for _, name := range driver.Options {
		i := slices.IndexFunc(options, func(f field) bool { return f.name == name })
		if i >= 0 {
			fields = append(fields, options[i])
			continue
		}
		fields = append(fields, field{name, func(v *yaml.Node) {
			if s, ok := p.text(v, name); ok {
				if pc.Extra == nil {
					pc.Extra = make(map[string]string)
				}
				pc.Extra[name] = s
			}
		}})
	}
	before := len(p.errs)
	seen := p.mapping(n, fmt.Sprintf("a port with driver %q", pc.Driver), fields)
	if seen == nil {
		return pc
	}
	if seen["name"] == nil {
		p.fail(p.at(n), "add \"name: vm1\"", "a port has no name")
	}
	for _, name := range driver.Required {
		if seen[name] == nil {
			p.fail(pc.pos, fmt.Sprintf("add \"%s: ...\"", name), "port %s (driver %s) has no %s", pc.Name, pc.Driver, name)
		}
	}
	if len(p.errs) == before {
		p.checkPort(n, &pc, driver)
	}
	return pc
}

// driver finds out which driver a port has.
func (p *parser) driver(n *yaml.Node, pc *PortConfig) (Driver, bool) {
	names := slices.Sorted(maps.Keys(p.opts.Drivers))
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		return Driver{}, false // mapping will say so
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != "driver" {
			continue
		}
		s, ok := p.oneOf(n.Content[i+1], "driver", names...)
		pc.Driver = s
		return p.opts.Drivers[s], ok
	}
	p.fail(p.at(n), "add \"driver:\" with one of: "+strings.Join(names, ", "), "a port has no driver")
	return Driver{}, false
}

// commonPortFields are those of every port.
func (p *parser) commonPortFields(pc *PortConfig, driver Driver) []field {
	return []field{
		{"name", func(v *yaml.Node) {
			pc.Name, _ = p.name(v, "a port's name")
			pc.pos = p.at(v)
		}},
		{"driver", func(*yaml.Node) {}}, // read before
		{"number", func(v *yaml.Node) {
			if k, ok := p.number(v, "number", 1, MaxPortNumber); ok {
				pc.Number = uint32(k)
			}
		}},
		{"vlan", func(v *yaml.Node) { pc.VLAN = p.vlan(v) }},
		{"rxq_cpus", func(v *yaml.Node) {
			p.list(v, "rxq_cpus", func(_ int, v *yaml.Node) {
				if cpu, ok := p.number(v, "a CPU in rxq_cpus", -1, maxCPU); ok {
					if cpu >= 0 && !p.cpuExists(p.at(v), "rxq_cpus", cpu) {
						return
					}
					pc.RxqCPUs = append(pc.RxqCPUs, cpu)
				}
			})
		}},
	}
}

// The bounds of an MTU in bytes: IPv4's smallest (RFC 791 §3.2), and what a batch can describe less an Ethernet header
// with two tags.
const (
	minMTU = 68
	maxMTU = 65535 - 14 - 8
)

// optionFields are the options that the switch knows how to read; each driver has a selection of them.
func (p *parser) optionFields(pc *PortConfig, driver Driver) []field {
	return []field{
		{"queues", func(v *yaml.Node) {
			if k, ok := p.number(v, "queues", 1, max(1, driver.MaxQueues)); ok {
				pc.Queues = k
			}
		}},
		{"mtu", func(v *yaml.Node) {
			if k, ok := p.number(v, "mtu", minMTU, maxMTU); ok {
				pc.MTU = k
			}
		}},
		{"path", func(v *yaml.Node) { pc.Path, _ = p.socket(v, "path", maxSocketPath) }},
		{"mode", func(v *yaml.Node) { pc.Mode, _ = p.oneOf(v, "mode", ModeServer, ModeClient) }},
		{"owner", func(v *yaml.Node) { pc.Owner, _ = p.account(v, "owner") }},
		{"group", func(v *yaml.Node) { pc.Group, _ = p.account(v, "group") }},
		{"permissions", func(v *yaml.Node) { pc.Permissions, _ = p.permissions(v) }},
		{"reconnect", func(v *yaml.Node) {
			p.mapping(v, "reconnect", []field{
				{"min", func(v *yaml.Node) {
					pc.ReconnectMin, _ = p.duration(v, "reconnect min", time.Millisecond, time.Hour)
				}},
				{"max", func(v *yaml.Node) {
					pc.ReconnectMax, _ = p.duration(v, "reconnect max", time.Millisecond, time.Hour)
				}},
			})
			if pc.ReconnectMax != 0 && pc.ReconnectMin > pc.ReconnectMax {
				p.fail(p.at(v), "min is the first pause, max the longest", "reconnect min %v is longer than max %v",
					pc.ReconnectMin, pc.ReconnectMax)
			}
		}},
		{"device", func(v *yaml.Node) { pc.Device, _ = p.text(v, "device") }},
	}
}

// checkPort looks at what takes more than one field to judge.
func (p *parser) checkPort(n *yaml.Node, pc *PortConfig, driver Driver) {
	at := func(name string) position {
		n := resolve(n)
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				return p.at(n.Content[i+1])
			}
		}
		return pc.pos
	}
	if len(pc.RxqCPUs) > max(1, driver.MaxQueues) || pc.Queues > 0 && len(pc.RxqCPUs) > pc.Queues {
		p.fail(at("rxq_cpus"), "name one CPU for each queue", "rxq_cpus names %d CPUs, the port %s has fewer queues",
			len(pc.RxqCPUs), pc.Name)
		return
	}
	if pc.Mode == ModeClient && (pc.Owner != "" || pc.Group != "" || pc.Permissions != 0) {
		p.fail(at("mode"), "remove owner, group and permissions, or use mode: server",
			"port %s connects to its socket, it does not own it", pc.Name)
		return
	}
	if driver.Check == nil {
		return
	}
	if err := driver.Check(*pc); err != nil {
		place, msg, hint := pc.pos, err.Error(), ""
		var o *OptionError
		if errors.As(err, &o) {
			place, msg, hint = at(o.Option), o.Option+": "+o.Msg, o.Hint
		}
		p.fail(place, hint, "port %s: %s", pc.Name, msg)
	}
}

// duplicates finds names, numbers, sockets and interfaces that are used twice.
func (p *parser) duplicates(cfg *Config) {
	bridges, ports := map[string]position{}, map[string]position{}
	paths, devices := map[string]position{}, map[string]position{}
	if s := cfg.Control.Socket; s != "" {
		paths[s] = position{}
	}
	check := func(seen map[string]position, key, what string, at position) {
		if key == "" {
			return
		}
		if first, twice := seen[key]; twice {
			hint := "choose another"
			if first.line > 0 {
				hint = fmt.Sprintf("it is used at line %d already: choose another", first.line)
			}
			p.fail(at, hint, "%s %q is used twice", what, key)
			return
		}
		seen[key] = at
	}
	for i := range cfg.Bridges {
		br := &cfg.Bridges[i]
		numbers := map[string]position{}
		check(bridges, br.Name, "the bridge name", br.pos)
		for j := range br.Ports {
			pc := &br.Ports[j]
			check(ports, pc.Name, "the port name", pc.pos)
			if pc.Number != 0 {
				check(numbers, strconv.Itoa(int(pc.Number)), "the port number", pc.pos)
			}
			check(paths, pc.Path, "the socket", pc.pos)
			if pc.Device != "" {
				check(devices, pc.Driver+" "+pc.Device, "the interface", pc.pos)
			}
		}
	}
}

// checkPins finds receive queues pinned to a CPU that will have no PMD thread.
func (p *parser) checkPins(br *Bridge, cpus []int) {
	for i := range br.Ports {
		pc := &br.Ports[i]
		for _, cpu := range pc.RxqCPUs {
			if cpu >= 0 && len(cpus) > 0 && !slices.Contains(cpus, cpu) {
				p.fail(pc.pos, fmt.Sprintf("add %d to pmd cpus, or choose from %s", cpu, numa.FormatCPUs(cpus)),
					"port %s: rxq_cpus names CPU %d, which has no PMD thread", pc.Name, cpu)
			}
		}
	}
}
