package ovs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"weft/internal/e2e/host"
)

// MemoryMB is what Open vSwitch preallocates from the hugepage pool.
const MemoryMB = 1024

const (
	schema   = "/usr/share/openvswitch/vswitch.ovsschema"
	vswitchd = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
	bridge   = "br0"
)

// Config describes one instance.
type Config struct {
	Dir     string // for the database and sockets; must not exist or be empty
	MainCPU int    // of everything but the PMD thread
	PMDCPU  int
	Sockets []string // that the front ends listen on; one port each
	Names   []string // of the ports
	Flows   []string // in ovs-ofctl syntax
	// FlowsFile has more rules, one a line. Without any rule, the bridge does NORMAL.
	FlowsFile string
	MTU       int // of the ports, 1500 if 0
	MACs      int // addresses that the bridge learns at most, 8192 if 0
}

// OVS is a running instance.
type OVS struct {
	cfg      Config
	database *host.Process
	vswitchd *host.Process
}

// Start starts the two daemons, makes the bridge, the ports and the rules, and returns when they are in place.
func Start(ctx context.Context, g *host.Group, cfg Config) (*OVS, error) {
	o := &OVS{cfg: cfg}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, err
	}
	g.Defer(func() { _ = os.RemoveAll(cfg.Dir) })
	if err := o.startDatabase(ctx, g); err != nil {
		return nil, err
	}
	if err := o.startSwitch(ctx, g); err != nil {
		return nil, err
	}
	return o, o.configure(ctx)
}

func (o *OVS) startDatabase(ctx context.Context, g *host.Group) error {
	db := o.path("conf.db")
	if err := o.run(ctx, "ovsdb-tool", "create", db, schema); err != nil {
		return err
	}
	var err error
	o.database, err = g.Start(host.Spec{
		Name: "ovsdb-server", Env: o.env(),
		Args: []string{"ovsdb-server", db, "--remote=punix:" + o.path("db.sock"), "--unixctl=" + o.path("ovsdb.ctl")},
	})
	if err != nil {
		return err
	}
	if err := waitFile(ctx, o.path("db.sock"), o.database); err != nil {
		return err
	}
	return o.vsctl(ctx, "--no-wait", "init", "--", "set", "Open_vSwitch", ".",
		"other_config:dpdk-init=true",
		fmt.Sprintf("other_config:pmd-cpu-mask=%#x", 1<<o.cfg.PMDCPU),
		fmt.Sprintf("other_config:dpdk-lcore-mask=%#x", 1<<o.cfg.MainCPU),
		fmt.Sprintf("other_config:dpdk-socket-mem=%d", MemoryMB),
		"other_config:dpdk-extra=--no-pci --in-memory --no-telemetry")
}

func (o *OVS) startSwitch(ctx context.Context, g *host.Group) error {
	var err error
	o.vswitchd, err = g.Start(host.Spec{
		Name: "ovs-vswitchd", Env: o.env(), Net: true, // it makes a tap for each bridge
		Args: []string{
			vswitchd, "unix:" + o.path("db.sock"), "--unixctl=" + o.path("vswitchd.ctl"),
			"-vconsole:warn", "-vdpdk:info",
		},
	})
	if err != nil {
		return err
	}
	return waitFile(ctx, o.path("vswitchd.ctl"), o.vswitchd)
}

func (o *OVS) configure(ctx context.Context) error {
	add := []string{"add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev"}
	if o.cfg.MACs > 0 {
		add = append(add, fmt.Sprintf("other_config:mac-table-size=%d", o.cfg.MACs))
	}
	if err := o.vsctl(ctx, add...); err != nil {
		return err
	}
	for i, socket := range o.cfg.Sockets {
		name := o.cfg.Names[i]
		add := []string{
			"add-port", bridge, name, "--", "set", "Interface", name, "type=dpdkvhostuserclient",
			"options:vhost-server-path=" + socket, fmt.Sprintf("ofport_request=%d", i+1),
		}
		if o.cfg.MTU > 0 {
			add = append(add, fmt.Sprintf("mtu_request=%d", o.cfg.MTU))
		}
		if err := o.vsctl(ctx, add...); err != nil {
			return err
		}
	}
	if len(o.cfg.Flows) == 0 && o.cfg.FlowsFile == "" {
		return nil
	}
	if err := o.ofctl(ctx, "del-flows", bridge); err != nil {
		return err
	}
	if o.cfg.FlowsFile != "" {
		if err := o.ofctl(ctx, "add-flows", bridge, o.cfg.FlowsFile); err != nil {
			return err
		}
	}
	for _, f := range o.cfg.Flows {
		if err := o.ofctl(ctx, "add-flow", bridge, f); err != nil {
			return err
		}
	}
	return nil
}

// WaitLink waits until the other ends of all ports are connected and have enabled their rings.
func (o *OVS) WaitLink(ctx context.Context) error {
	for _, name := range o.cfg.Names {
		for {
			state, err := o.output(ctx, "ovs-vsctl", "--timeout=5", "--db=unix:"+o.path("db.sock"), "get", "Interface", name,
				"link_state")
			if err == nil && strings.TrimSpace(state) == "up" {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("ovs: link of %s is %q: %w", name, strings.TrimSpace(state), errors.Join(ctx.Err(), err))
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return nil
}

// Stop ends both daemons.
func (o *OVS) Stop() error {
	err := o.vswitchd.Stop(20 * time.Second)
	if err2 := o.database.Stop(5 * time.Second); err == nil {
		err = err2
	}
	return err
}

func (o *OVS) path(name string) string { return filepath.Join(o.cfg.Dir, name) }

func (o *OVS) env() []string {
	return []string{"OVS_RUNDIR=" + o.cfg.Dir, "OVS_LOGDIR=" + o.cfg.Dir, "OVS_DBDIR=" + o.cfg.Dir}
}

func (o *OVS) vsctl(ctx context.Context, args ...string) error {
	return o.run(ctx, "ovs-vsctl", append([]string{"--timeout=30", "--db=unix:" + o.path("db.sock")}, args...)...)
}

func (o *OVS) ofctl(ctx context.Context, args ...string) error {
	return o.run(ctx, "ovs-ofctl", args...)
}

func (o *OVS) run(ctx context.Context, name string, args ...string) error {
	_, err := o.output(ctx, name, args...)
	return err
}

func (o *OVS) output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), o.env()...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		tail := ""
		if o.vswitchd != nil {
			tail = "\nend of ovs-vswitchd's log:\n" + o.vswitchd.Tail(10)
		}
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out, tail)
	}
	return string(out), nil
}

// waitFile waits until a daemon has made its socket.
func waitFile(ctx context.Context, path string, p *host.Process) error {
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not make %s: %w", p.Name, path, ctx.Err())
		case <-p.Done():
			return fmt.Errorf("%s ended: %v\n%s", p.Name, p.ExitError(), p.Tail(10))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Learned is how many MAC addresses the bridge knows.
func (o *OVS) Learned(ctx context.Context) (int, error) {
	text, err := o.Appctl(ctx, "fdb/stats-show", bridge)
	if err != nil {
		return 0, err
	}
	return parseLearned(text)
}

// Dropped is how many packets the ports and the datapath have dropped, as far as they count.
func (o *OVS) Dropped(ctx context.Context) (uint64, error) {
	ports, err := o.output(ctx, "ovs-ofctl", "dump-ports", bridge)
	if err != nil {
		return 0, err
	}
	coverage, err := o.Appctl(ctx, "coverage/show")
	if err != nil {
		return 0, err
	}
	return parseDropped(ports, coverage)
}

// Appctl sends ovs-vswitchd a command of ovs-appctl(8) and returns the answer.
func (o *OVS) Appctl(ctx context.Context, args ...string) (string, error) {
	return o.output(ctx, "ovs-appctl", append([]string{"-t", o.path("vswitchd.ctl")}, args...)...)
}
