package flowdiff

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"weft/internal/e2e/host"
)

const (
	ovsBridge  = "br0"
	ovsSchema  = "/usr/share/openvswitch/vswitch.ovsschema"
	portMTU    = 9000 // so that no frame is too long
	startLimit = 30 * time.Second
)

// Debian's package, and the daemon in it; the alternative with DPDK would do as well.
var ovsNeed = host.Need{Package: "openvswitch-switch", Program: "/usr/lib/openvswitch-switch/ovs-vswitchd"}

// ovs is a private ovs-vswitchd with one bridge of dummy ports.
type ovs struct {
	dir      string
	group    *host.Group
	vswitchd *host.Process
	ctl      *unixctl
	taps     [Ports]*capture
	received uint64
	ports    []string // settings in force
	groups   bool     // there may be groups or meters
	unlock   func()
}

// startOVS installs Open vSwitch if it is missing, and starts it.
func startOVS(ctx context.Context, log *slog.Logger) (_ *ovs, err error) {
	if err := host.Install(ctx, log, ovsNeed); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "flowdiff")
	if err != nil {
		return nil, err
	}
	o := &ovs{dir: dir, group: host.NewGroup(dir, false)}
	o.group.Defer(func() { _ = os.RemoveAll(dir) })
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := o.daemons(ctx); err != nil {
		return nil, err
	}
	if err := o.bridge(ctx); err != nil {
		return nil, err
	}
	if o.ctl, err = dialUnixctl(o.path("vswitchd.ctl")); err != nil {
		return nil, err
	}
	if o.received, err = o.ctl.received(); err != nil {
		return nil, err
	}
	for i := range o.taps {
		if o.taps[i], err = openCapture(o.path(fmt.Sprintf("p%d.pcap", i+1))); err != nil {
			return nil, err
		}
	}
	// Exact-match datapath flows: what a wider one would hide is not what is compared here.
	_, err = o.ctl.call("upcall/disable-megaflows")
	return o, err
}

// daemons starts ovsdb-server and ovs-vswitchd. They die with the thread that started them, so one is kept for it.
func (o *ovs) daemons(ctx context.Context) error {
	if _, err := o.run(ctx, "", "ovsdb-tool", "create", o.path("conf.db"), ovsSchema); err != nil {
		return err
	}
	release, started := make(chan struct{}), make(chan error)
	o.unlock = func() { close(release) }
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- o.startDaemons(ctx)
		<-release
	}()
	return <-started
}

func (o *ovs) startDaemons(ctx context.Context) error {
	db, err := o.group.Start(host.Spec{
		Name: "ovsdb-server", Env: o.env(),
		Args: []string{
			"ovsdb-server", o.path("conf.db"), "--remote=punix:" + o.path("db.sock"), "--unixctl=" + o.path("ovsdb.ctl"),
		},
	})
	if err != nil {
		return err
	}
	if err := waitSocket(ctx, o.path("db.sock"), db); err != nil {
		return err
	}
	if _, err := o.vsctl(ctx, "--no-wait", "init", "--", "set", "Open_vSwitch", ".",
		"other_config:vlan-limit=2"); err != nil {
		return err
	}
	o.vswitchd, err = o.group.Start(host.Spec{
		Name: "ovs-vswitchd", Env: o.env(),
		Args: []string{
			ovsNeed.Program, "unix:" + o.path("db.sock"), "--unixctl=" + o.path("vswitchd.ctl"),
			"--enable-dummy=override", "--disable-system", "-vconsole:err",
		},
	})
	if err != nil {
		return err
	}
	return waitSocket(ctx, o.path("vswitchd.ctl"), o.vswitchd)
}

// bridge makes the bridge and its ports.
func (o *ovs) bridge(ctx context.Context) error {
	args := []string{"add-br", ovsBridge, "--", "set", "bridge", ovsBridge, "datapath_type=dummy", "fail-mode=secure"}
	for i := 1; i <= Ports; i++ {
		name := fmt.Sprintf("p%d", i)
		args = append(args, "--", "add-port", ovsBridge, name, "--", "set", "interface", name, "type=dummy",
			fmt.Sprintf("ofport_request=%d", i), fmt.Sprintf("mtu_request=%d", portMTU),
			"options:tx_pcap="+o.path(name+".pcap"))
	}
	_, err := o.vsctl(ctx, args...)
	return err
}

func (o *ovs) close() {
	if o.ctl != nil {
		_ = o.ctl.close()
	}
	for _, c := range o.taps {
		if c != nil {
			_ = c.close()
		}
	}
	o.group.Close()
	if o.unlock != nil {
		o.unlock()
		o.unlock = nil
	}
}

func (o *ovs) path(name string) string { return filepath.Join(o.dir, name) }

func (o *ovs) env() []string {
	return []string{"OVS_RUNDIR=" + o.dir, "OVS_LOGDIR=" + o.dir, "OVS_DBDIR=" + o.dir}
}

func (o *ovs) vsctl(ctx context.Context, args ...string) (string, error) {
	return o.run(ctx, "", "ovs-vsctl", append([]string{"--timeout=20", "--db=unix:" + o.path("db.sock")}, args...)...)
}

// run runs a program of Open vSwitch's and returns what it printed, on both channels.
func (o *ovs) run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), o.env()...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s", name, err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// waitSocket waits until a daemon has made its socket.
func waitSocket(ctx context.Context, path string, p *host.Process) error {
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("flowdiff: %s did not make %s: %w", p.Name, path, ctx.Err())
		case <-p.Done():
			return fmt.Errorf("flowdiff: %s ended: %v\n%s", p.Name, p.ExitError(), p.Tail(10))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// The OpenFlow versions that rules are loaded with. ovs-ofctl's own choice is 1.0 with Nicira's extensions wherever that
// can say it; it cannot say what the words in newer mean, and drops some of them, or the mask of a set_field, silently.
const (
	openFlow10 = "OpenFlow10"
	openFlow15 = "OpenFlow15"
	// anyOpenFlow is all of them: a rule is accepted when there is a version that can say it.
	anyOpenFlow = "OpenFlow10,OpenFlow11,OpenFlow12,OpenFlow13,OpenFlow14,OpenFlow15"
)

var newer = regexp.MustCompile(`write_actions|set_field|clear_actions|write_metadata|push_vlan|meter[:=(]`)

// versionFor is the OpenFlow version that a rule or change is to be sent with.
func versionFor(rule string) string {
	if newer.MatchString(rule) {
		return openFlow15
	}
	return openFlow10
}

// refusal says that a side does not accept a line.
type refusal struct {
	line string
	why  string
}

func (r *refusal) Error() string { return fmt.Sprintf("%q is refused: %s", r.line, r.why) }

func (o *ovs) ofctl(ctx context.Context, version, stdin, command string, args ...string) (string, error) {
	args = append([]string{"-O", version, command, "unix:" + o.path(ovsBridge+".mgmt")}, args...)
	return o.run(ctx, stdin, "ovs-ofctl", args...)
}

// load sets up a case. A *refusal names the first line that is not accepted.
func (o *ovs) load(ctx context.Context, c *Case) error {
	if err := o.setPorts(ctx, c.Ports); err != nil {
		return err
	}
	if err := o.setGroups(ctx, c); err != nil {
		return err
	}
	if err := o.replaceRules(ctx, c.Rules); err != nil {
		return err
	}
	_, err := o.ctl.call("fdb/flush", ovsBridge)
	return err
}

// replaceRules loads rules in place of all that are there, with as few calls as their versions allow.
func (o *ovs) replaceRules(ctx context.Context, rules []string) error {
	old, recent := []string{"delete"}, []string(nil)
	for _, r := range rules {
		if versionFor(r) == openFlow10 {
			old = append(old, r)
		} else {
			recent = append(recent, r)
		}
	}
	if err := o.sendLines(ctx, openFlow10, old); err != nil || len(recent) == 0 {
		return err
	}
	return o.sendLines(ctx, openFlow15, recent)
}

var lineOfError = regexp.MustCompile(`(?m)^ovs-ofctl: [^:]*:(\d+): (.*)$`)

// sendLines gives lines to "ovs-ofctl add-flows".
func (o *ovs) sendLines(ctx context.Context, version string, lines []string) error {
	out, err := o.ofctl(ctx, version, strings.Join(lines, "\n")+"\n", "add-flows", "-")
	if err == nil {
		return nil
	}
	if m := lineOfError.FindStringSubmatch(out); m != nil {
		if n, _ := strconv.Atoi(m[1]); n >= 1 && n <= len(lines) {
			return &refusal{lines[n-1], m[2]}
		}
	}
	if len(lines) == 1 {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return &refusal{lines[0], firstLine(out)}
		}
		return err
	}
	// The switch refused one of them, and does not say which in so many words.
	for _, l := range lines {
		if err := o.sendLines(ctx, version, []string{l}); err != nil {
			return err
		}
	}
	return err
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}

// setGroups replaces groups and meters.
func (o *ovs) setGroups(ctx context.Context, c *Case) error {
	if o.groups {
		// Rules first: 3.1 asserts when a rule goes with the second of its groups.
		if err := o.sendLines(ctx, openFlow10, []string{"delete"}); err != nil {
			return err
		}
		if _, err := o.ofctl(ctx, openFlow15, "", "del-groups"); err != nil {
			return err
		}
		if _, err := o.ofctl(ctx, openFlow15, "", "del-meters"); err != nil {
			return err
		}
	}
	o.groups = len(c.Groups)+len(c.Meters) > 0
	for _, m := range c.Meters {
		if out, err := o.ofctl(ctx, openFlow15, "", "add-meter", m); err != nil {
			return &refusal{m, firstLine(out)}
		}
	}
	if len(c.Groups) == 0 {
		return nil
	}
	if _, err := o.ofctl(ctx, openFlow15, strings.Join(c.Groups, "\n")+"\n", "add-groups", "-"); err == nil {
		return nil
	}
	for _, g := range c.Groups {
		if out, err := o.ofctl(ctx, openFlow15, g+"\n", "mod-group", "--may-create", "-"); err != nil {
			return &refusal{g, firstLine(out)}
		}
	}
	return nil
}

// setPorts brings the ports' columns of the database to what the lines say: "2 vlan_mode=access tag=5".
func (o *ovs) setPorts(ctx context.Context, lines []string) error {
	if strings.Join(lines, "\n") == strings.Join(o.ports, "\n") {
		return nil
	}
	var args []string
	for i := 1; i <= Ports; i++ {
		args = append(args, "--", "clear", "port", fmt.Sprintf("p%d", i), "vlan_mode", "tag", "trunks", "cvlans",
			"other_config")
	}
	for _, l := range lines {
		words := strings.Fields(l)
		args = append(append(args, "--", "set", "port", "p"+words[0]), words[1:]...)
	}
	if _, err := o.vsctl(ctx, args[1:]...); err != nil {
		return err
	}
	o.ports = lines
	return nil
}

// change does one line of changes.
func (o *ovs) change(ctx context.Context, line string) error {
	return o.sendLines(ctx, versionFor(line), []string{line})
}

// packet lets a frame arrive and returns what leaves.
func (o *ovs) packet(port int, frame []byte) (*Output, error) {
	err := errors.Join(
		o.ctl.queue("revalidator/purge"),
		o.ctl.queue("netdev-dummy/receive", fmt.Sprintf("p%d", port), fmt.Sprintf("%x", frame)),
		o.ctl.queue("coverage/read-counter", "netdev_received"))
	if err != nil {
		return nil, err
	}
	out, err := o.ctl.flush(3)
	if err != nil {
		return nil, fmt.Errorf("netdev-dummy/receive: %w\n%s", err, o.vswitchd.Tail(10))
	}
	o.received++
	for {
		n, err := parseCounter(out)
		if err != nil {
			return nil, err
		}
		if n >= o.received {
			o.received = n
			break
		}
		if out, err = o.ctl.call("coverage/read-counter", "netdev_received"); err != nil {
			return nil, err
		}
	}
	got := new(Output)
	for i, c := range o.taps {
		if got[i], err = c.read(); err != nil {
			return nil, err
		}
	}
	return got, nil
}

// trace is what Open vSwitch says that it would do with a frame.
func (o *ovs) trace(port int, frame []byte) string {
	out, err := o.ctl.call("ofproto/trace", ovsBridge, fmt.Sprintf("in_port=%d", port), fmt.Sprintf("%x", frame))
	if err != nil {
		return "no trace: " + err.Error()
	}
	return out
}

// accepts reports whether "ovs-ofctl parse-flow" takes a rule, and can read back what it would send, with the error if
// not. It sends the oldest version that it thinks can say it, which is not always right; so the newest is tried as well.
func (o *ovs) accepts(ctx context.Context, rule string) error {
	var why string
	for _, version := range []string{anyOpenFlow, openFlow15} {
		out, err := o.run(ctx, "", "ovs-ofctl", "-O", version, "parse-flow", rule)
		_, decoding, bad := strings.Cut(out, "***decode error: ")
		switch {
		case err == nil && !bad:
			return nil
		case why == "" && bad:
			why = firstLine(decoding)
		case why == "":
			why = firstLine(out)
		}
		if !bad {
			break
		}
	}
	return &refusal{rule, why}
}
