package vswitch

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"weft/numa"
	"weft/pmd"
)

// ParseOptions say what a configuration is checked against.
type ParseOptions struct {
	// File is the name for messages; a relative flows_file is looked for beside it.
	File string
	// Drivers are the known kinds of port, by name. Required.
	Drivers map[string]Driver
	// Topology is the machine whose CPUs the file may name; nil leaves CPU numbers unchecked.
	Topology *numa.Topology
}

// Default is what applies where a configuration says nothing.
func Default() *Config {
	return &Config{
		Log:     LogConfig{Level: "info", Format: "text"},
		Control: ControlConfig{Socket: DefaultControlSocket},
		PMD: PMDConfig{
			Idle: pmd.IdlePoll, MaxSleep: pmd.DefaultMaxSleep, CacheEntries: DefaultCacheEntries, Exclusive: true,
		},
	}
}

// Load reads and validates a whole configuration file. The error is a ConfigErrors for mistakes in it.
func Load(path string, opts ParseOptions) (*Config, error) {
	data, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if opts.File == "" {
		opts.File = path
	}
	return Parse(data, opts)
}

// Parse validates a whole configuration (YAML). The error is a ConfigErrors.
func Parse(data []byte, opts ParseOptions) (*Config, error) {
	p := &parser{opts: opts, file: opts.File, source: strings.Split(string(data), "\n")}
	cfg := Default()
	cfg.File = opts.File
	root, ok := p.document(data)
	switch {
	case ok && root == nil:
		// Editors empty a file before they write it anew: a reload in between must not take everything away.
		p.fail(position{file: p.file}, "a configuration without bridges says \"bridges: []\"", "the file is empty")
	case ok:
		p.config(root, cfg)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return cfg, nil
}

// ParsePort validates one port: a YAML or JSON mapping with the fields that a port has in the configuration file.
func ParsePort(data []byte, opts ParseOptions) (PortConfig, error) {
	p := &parser{opts: opts, file: opts.File, nowhere: true}
	root, ok := p.document(data)
	if ok && root == nil {
		p.fail(position{}, "give at least name and driver", "the port is empty")
	}
	var pc PortConfig
	if ok && root != nil {
		pc = p.port(root)
	}
	return pc, p.err()
}

// config reads the root mapping. The bridges come last, because their checks need what the others say.
func (p *parser) config(n *yaml.Node, cfg *Config) {
	var bridges *yaml.Node
	before := len(p.errs)
	p.mapping(n, "the configuration", []field{
		{"log", func(v *yaml.Node) { p.mapping(v, "log", p.logFields(&cfg.Log)) }},
		{"control", func(v *yaml.Node) { p.mapping(v, "control", p.controlFields(&cfg.Control)) }},
		{"metrics", func(v *yaml.Node) { p.mapping(v, "metrics", p.metricsFields(&cfg.Metrics)) }},
		{"pmd", func(v *yaml.Node) { p.mapping(v, "pmd", p.pmdFields(&cfg.PMD)) }},
		{"bridges", func(v *yaml.Node) { bridges = v }},
	})
	if bridges == nil {
		if len(p.errs) == before { // else the bridges may be what is misspelt
			p.fail(position{file: p.file}, "to run without any, write \"bridges: []\"", "the configuration has no bridges")
		}
		return
	}
	p.list(bridges, "bridges", func(_ int, v *yaml.Node) {
		cfg.Bridges = append(cfg.Bridges, p.bridge(v))
	})
	p.duplicates(cfg)
	for i := range cfg.Bridges {
		p.checkPins(&cfg.Bridges[i], cfg.PMD.CPUs)
		p.rules(&cfg.Bridges[i])
	}
}

func (p *parser) logFields(c *LogConfig) []field {
	return []field{
		{"level", func(v *yaml.Node) {
			if s, ok := p.oneOf(v, "log level", "debug", "info", "warn", "error"); ok {
				c.Level = s
			}
		}},
		{"format", func(v *yaml.Node) {
			if s, ok := p.oneOf(v, "log format", "text", "json"); ok {
				c.Format = s
			}
		}},
	}
}

func (p *parser) controlFields(c *ControlConfig) []field {
	return []field{
		{"socket", func(v *yaml.Node) {
			if s, ok := p.socket(v, "control socket", maxControlPath); ok {
				c.Socket = s
			}
		}},
		{"group", func(v *yaml.Node) {
			if s, ok := p.account(v, "group"); ok {
				c.Group = s
			}
		}},
		{"permissions", func(v *yaml.Node) {
			if m, ok := p.permissions(v); ok {
				c.Permissions = m
			}
		}},
	}
}

func (p *parser) metricsFields(c *MetricsConfig) []field {
	return []field{{"address", func(v *yaml.Node) {
		s, ok := p.text(v, "metrics address")
		if !ok {
			return
		}
		if _, port, err := net.SplitHostPort(s); err != nil || !isPort(port) {
			p.fail(p.at(v), "write host:port, for example 127.0.0.1:9471", "metrics address cannot be %q", s)
			return
		}
		c.Address = s
	}}}
}

func isPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 0 && n <= 65535
}

func (p *parser) pmdFields(c *PMDConfig) []field {
	return []field{
		{"cpus", func(v *yaml.Node) { c.CPUs = p.cpuSet(v, "pmd cpus") }},
		{"idle", func(v *yaml.Node) {
			if s, ok := p.oneOf(v, "pmd idle", string(pmd.IdlePoll), string(pmd.IdleSleep)); ok {
				c.Idle = pmd.IdleMode(s)
			}
		}},
		{"max_sleep", func(v *yaml.Node) {
			if d, ok := p.duration(v, "pmd max_sleep", pmd.MinMaxSleep, pmd.MaxMaxSleep); ok {
				c.MaxSleep = d
			}
		}},
		{"cache_entries", func(v *yaml.Node) {
			if n, ok := p.number(v, "pmd cache_entries", 1, MaxCacheEntries); ok {
				c.CacheEntries = n
			}
		}},
		{"exclusive", func(v *yaml.Node) {
			if s, ok := p.oneOf(v, "pmd exclusive", "true", "false"); ok {
				c.Exclusive = s == "true"
			}
		}},
	}
}

// DaemonSettings are the dotted names of the settings that are not bridges: those that flags and the environment may
// replace.
func DaemonSettings() []string {
	return []string{
		"log.level", "log.format", "control.socket", "control.group", "control.permissions", "metrics.address",
		"pmd.cpus", "pmd.idle", "pmd.max_sleep", "pmd.cache_entries", "pmd.exclusive",
	}
}

// Override replaces one daemon setting (see DaemonSettings) by a value from a flag or the environment, with the same
// checks as in the file. source names where the value comes from: "--log-level", "WEFT_LOG_LEVEL".
func (c *Config) Override(setting, value, source string, opts ParseOptions) error {
	p := &parser{opts: opts, file: source, nowhere: true}
	section, name, _ := strings.Cut(setting, ".")
	var fields []field
	switch section {
	case "log":
		fields = p.logFields(&c.Log)
	case "control":
		fields = p.controlFields(&c.Control)
	case "metrics":
		fields = p.metricsFields(&c.Metrics)
	case "pmd":
		fields = p.pmdFields(&c.PMD)
	}
	i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
	if i < 0 {
		return &ConfigError{File: source, Message: fmt.Sprintf("unknown setting %q", setting)}
	}
	fields[i].set(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value})
	if user := c.portWithPath(c.Control.Socket); setting == "control.socket" && user != "" {
		p.fail(position{}, "choose another", "the socket %q is used by port %s", c.Control.Socket, user)
	}
	for _, e := range p.errs {
		e.File = source
	}
	return p.err()
}

// portWithPath is the name of the port whose socket is at path, "" for none.
func (c *Config) portWithPath(path string) string {
	for i := range c.Bridges {
		for j := range c.Bridges[i].Ports {
			if pc := &c.Bridges[i].Ports[j]; pc.Path == path {
				return pc.Name
			}
		}
	}
	return ""
}

// cpuSet reads CPUs: "2-5,8", 2 or [2, 3].
func (p *parser) cpuSet(n *yaml.Node, what string) []int {
	n = resolve(n)
	var cpus []int
	add := func(at *yaml.Node, text string) {
		list, err := numa.ParseCPUs(text)
		if err != nil {
			p.fail(p.at(at), "", "%s: %s", what, strings.TrimPrefix(err.Error(), "numa: "))
			return
		}
		for _, cpu := range list {
			if slices.Contains(cpus, cpu) {
				p.fail(p.at(at), "name each CPU once", "%s: CPU %d appears twice", what, cpu)
			} else if p.cpuExists(p.at(at), what, cpu) {
				cpus = append(cpus, cpu)
			}
		}
	}
	if n.Kind == yaml.SequenceNode {
		p.list(n, what, func(_ int, v *yaml.Node) {
			if s, ok := p.text(v, what); ok {
				add(v, s)
			}
		})
	} else if s, ok := p.text(n, what); ok {
		add(n, s)
	}
	slices.Sort(cpus)
	return cpus
}

// cpuExists reports a CPU that this machine does not have or that is offline.
func (p *parser) cpuExists(at position, what string, cpu int) bool {
	if p.opts.Topology == nil {
		return true
	}
	if _, online := p.opts.Topology.CPU(cpu); online {
		return true
	}
	hint := "this machine has the CPUs " + numa.FormatCPUs(p.opts.Topology.Online())
	p.fail(at, hint, "%s: CPU %d does not exist or is offline", what, cpu)
	return false
}

// permissions reads a file mode, which is octal.
func (p *parser) permissions(n *yaml.Node) (fs.FileMode, bool) {
	n = resolve(n)
	m, err := strconv.ParseUint(strings.TrimPrefix(n.Value, "0o"), 8, 32)
	if n.Kind != yaml.ScalarNode || err != nil || m == 0 || m > 0o777 {
		p.fail(p.at(n), "write an octal mode, for example 0660", "permissions cannot be %s", kindName(n))
		return 0, false
	}
	return fs.FileMode(m), true
}

// maxSocketPath is what fits sockaddr_un with its terminating zero (unix(7)). The control socket is made under a longer
// name first.
const (
	maxSocketPath  = 107
	maxControlPath = maxSocketPath - len(".new")
)

// socket reads the path of a unix socket, of at most so many bytes, whose directory must exist. It is returned in its
// shortest form, so that two names of one socket are the same.
func (p *parser) socket(n *yaml.Node, what string, longest int) (string, bool) {
	path, ok := p.text(n, what)
	if !ok {
		return "", false
	}
	path = filepath.Clean(path)
	dir := filepath.Dir(path)
	st, err := os.Stat(dir)
	switch {
	case !filepath.IsAbs(path):
		p.fail(p.at(n), "write it from the root: /run/...", "%s %q is not an absolute path", what, path)
	case len(path) > longest:
		hint := fmt.Sprintf("at most %d bytes fit a socket address", longest)
		p.fail(p.at(n), hint, "%s is %d bytes long", what, len(path))
	case errors.Is(err, fs.ErrNotExist):
		p.fail(p.at(n), "create it first: mkdir -p "+dir, "%s: the directory %s does not exist", what, dir)
	case err != nil:
		p.fail(p.at(n), "check the permissions of the path", "%s: %v", what, err)
	case !st.IsDir():
		p.fail(p.at(n), "choose a path in a directory", "%s: %s is not a directory", what, dir)
	default:
		return path, true
	}
	return "", false
}
