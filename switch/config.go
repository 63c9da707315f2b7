package vswitch

import (
	"fmt"
	"io/fs"
	"time"

	"weft/flowtable"
	"weft/flowtable/flow"
	"weft/pmd"
)

// Limits and defaults of the configuration.
const (
	// MaxPortNumber is the highest number that a port can have: OpenFlow 1.0 reserves what lies above (OFPP_MAX, 0xff00).
	MaxPortNumber = 0xfeff

	DefaultMACAgeing = 300 * time.Second // as Open vSwitch and IEEE 802.1Q-2018 table 8-6
	DefaultMACLimit  = 8192              // entries
	MaxMACLimit      = 1 << 20
	DefaultMACRate   = 10000 // addresses a second and port
	MaxMACRate       = 1 << 30

	DefaultCacheEntries = flowtable.DefaultCacheEntries // per PMD thread and bridge
	MaxCacheEntries     = flowtable.MaxCacheEntries

	DefaultControlSocket = "/run/weft/weft.sock"

	maxNameLen = 63
)

// Config is one configuration file: what the daemon needs, and the bridges.
type Config struct {
	// File is where it was read from, for messages. It may be empty.
	File string `json:"file,omitempty"`

	Log     LogConfig     `json:"log"`
	Control ControlConfig `json:"control"`
	Metrics MetricsConfig `json:"metrics"`
	PMD     PMDConfig     `json:"pmd"`
	Bridges []Bridge      `json:"bridges"`
}

// LogConfig says how the daemon logs.
type LogConfig struct {
	Level  string `json:"level"`  // debug, info, warn or error
	Format string `json:"format"` // text or json
}

// ControlConfig is the unix socket of the command line.
type ControlConfig struct {
	Socket      string      `json:"socket"`                // path
	Group       string      `json:"group,omitempty"`       // owning group, by name or number; empty: the process's own
	Permissions fs.FileMode `json:"permissions,omitempty"` // 0: 0660
}

// MetricsConfig is where Prometheus scrapes.
type MetricsConfig struct {
	Address string `json:"address,omitempty"` // host:port, empty: none
}

// PMDConfig says where and how PMD threads run.
type PMDConfig struct {
	// CPUs are those that PMD threads are pinned to. Empty: chosen from the topology, leaving one to the rest.
	CPUs []int        `json:"cpus,omitempty"`
	Idle pmd.IdleMode `json:"idle"`
	// MaxSleep bounds the delay that sleeping adds to a packet.
	MaxSleep time.Duration `json:"max_sleep_ns"`
	// CacheEntries is the size of the exact-match cache of each PMD thread and bridge.
	CacheEntries int `json:"cache_entries"`
	// Exclusive keeps others off the CPUs of the PMD threads (see pmd.Config).
	Exclusive bool `json:"exclusive"`
}

// Bridge is one virtual switch.
type Bridge struct {
	Name      string        `json:"name"`
	MACAgeing time.Duration `json:"mac_ageing_ns"` // whole seconds
	MACLimit  int           `json:"mac_limit"`     // entries of the MAC table
	// MACRate is how many addresses a second may be new to or move to one port.
	MACRate int `json:"mac_rate"`
	// ForwardReserved lets NORMAL forward to reserved addresses: spanning tree, LACP, LLDP and the like.
	ForwardReserved bool `json:"forward_reserved,omitempty"`
	// Fragments is what rules see of the ports of IP fragments.
	Fragments flow.Fragments `json:"fragments,omitempty"`
	Ports     []PortConfig   `json:"ports,omitempty"`
	// Groups and Meters are what rules can use.
	Groups []FlowConfig `json:"groups,omitempty"`
	Meters []FlowConfig `json:"meters,omitempty"`
	// Flows are the rules of flows and of flows_file, in that order.
	Flows []FlowConfig `json:"flows,omitempty"`
	// DefaultRule says that the bridge has neither flows nor flows_file, and so gets priority=0,actions=NORMAL. An empty
	// list of rules is not the same: it drops everything.
	DefaultRule bool `json:"default_rule,omitempty"`
	// FlowsFile is where a part of the rules comes from, as it is written in the configuration.
	FlowsFile string `json:"flows_file,omitempty"`

	pos position
}

// The values of PortConfig.Mode.
const (
	ModeServer = "server" // Weft listens on the socket
	ModeClient = "client" // Weft connects to the socket
)

// PortConfig is one port as configured. Options that its driver does not have are zero.
type PortConfig struct {
	Name   string `json:"name"`
	Driver string `json:"driver"`
	// Number is the OpenFlow port number, 0: assigned by the switch, which keeps it as long as the port exists.
	Number uint32 `json:"number,omitempty"`
	// RxqCPUs[i] pins receive queue i to a CPU; -1 or a missing element leaves it to the switch.
	RxqCPUs []int `json:"rxq_cpus,omitempty"`
	// VLAN is which VLANs NORMAL lets through the port, and with what tags.
	VLAN VLANConfig `json:"vlan,omitzero"`

	Queues       int           `json:"queues,omitempty"`      // queue pairs, 0: the driver's default
	MTU          int           `json:"mtu,omitempty"`         // bytes of layer 3 payload, 0: none enforced
	Path         string        `json:"path,omitempty"`        // unix socket
	Mode         string        `json:"mode,omitempty"`        // ModeServer (default) or ModeClient
	Owner        string        `json:"owner,omitempty"`       // of a listening socket, by name or number
	Group        string        `json:"group,omitempty"`       // of a listening socket, by name or number
	Permissions  fs.FileMode   `json:"permissions,omitempty"` // of a listening socket, 0: the driver's default
	ReconnectMin time.Duration `json:"reconnect_min_ns,omitempty"`
	ReconnectMax time.Duration `json:"reconnect_max_ns,omitempty"`
	Device       string        `json:"device,omitempty"` // kernel interface
	// Extra are the driver's own options.
	Extra map[string]string `json:"extra,omitempty"`

	pos position
}

// FlowConfig is one configured rule, group or meter, as text, and where it stands.
type FlowConfig struct {
	Text   string `json:"text"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"` // of the first character of Text
}

// position is a place in a configuration file; line 0 means none.
type position struct {
	file      string
	line, col int
}

// ConfigError is one mistake in a configuration: where, what, and what to do about it.
type ConfigError struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Source is the line, of texts that are not a file.
	Source string `json:"source,omitempty"`
}

// Error is "file:line:column: message; hint".
func (e *ConfigError) Error() string {
	msg := join(e.Message, e.Hint)
	switch {
	case e.Line > 0 && e.File != "":
		return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, msg)
	case e.Line > 0:
		return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, msg)
	case e.File != "":
		return e.File + ": " + msg
	}
	return msg
}

// ConfigErrors are all mistakes of one configuration, in the order of the file. There is at least one.
type ConfigErrors []*ConfigError

// Error has one line for each mistake.
func (e ConfigErrors) Error() string {
	var text []byte
	for i, c := range e {
		if i > 0 {
			text = append(text, '\n')
		}
		text = append(text, c.Error()...)
	}
	return string(text)
}

// Unwrap makes errors.As find the first *ConfigError.
func (e ConfigErrors) Unwrap() []error {
	out := make([]error, len(e))
	for i, c := range e {
		out[i] = c
	}
	return out
}
