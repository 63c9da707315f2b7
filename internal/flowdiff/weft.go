package flowdiff

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"weft/internal/packet"
	"weft/numa"
	"weft/pmd/memport"
	vswitch "weft/switch"
)

const (
	weftBridge  = "br0"
	probeBridge = "probe" // where rules are tried
	// packetLimit ends a run whose PMD thread hangs.
	packetLimit = 20 * time.Second
)

// weft is a whole switch of Weft's with ports in memory.
type weft struct {
	sw    *vswitch.Switch
	ports [Ports]*memport.Port
	setup []string // the ports' VLANs in force, as a case has them
	cpu   int
	cache int
}

// memDevice is a port in memory as the switch sees it.
type memDevice struct{ *memport.Port }

func (d memDevice) Queues() vswitch.Queues {
	return vswitch.Queues{Rx: []vswitch.RxQueue{d.Rx(0)}, Tx: []vswitch.TxQueue{d.Tx(0)}}
}

func (d memDevice) Status() vswitch.DeviceStatus {
	return vswitch.DeviceStatus{Link: true, State: "up", Node: -1}
}

func (d memDevice) Fault(uintptr) bool { return false }
func (d memDevice) Close() error       { return nil }

// Odd ports present frames as guests' rings do, in small pieces, even ones as NICs do.
func memConfig(number uint32) memport.Config {
	c := memport.Config{
		FrameSize: portMTU + 22, RingSize: 1024, Style: memport.Lent, SegmentSize: portMTU / packet.MaxSegments,
	}
	if number%2 == 0 {
		c.Style, c.SegmentSize = memport.Owned, 0
	}
	return c
}

// newWeft starts a switch. cacheEntries is that of its lookups, less than 0 for none.
func newWeft(ctx context.Context, cacheEntries int, log *slog.Logger) (*weft, error) {
	topology, err := numa.Read("/")
	if err != nil {
		return nil, err
	}
	cpus, err := topology.AllowedCPUs()
	if err != nil {
		return nil, err
	}
	w := &weft{cpu: cpus[len(cpus)-1], cache: cacheEntries}
	open := func(cfg vswitch.PortConfig, _ vswitch.Host) (vswitch.Device, error) {
		p, err := memport.New(memConfig(cfg.Number))
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(cfg.Name, "p") {
			w.ports[cfg.Number-1] = p
		}
		return memDevice{p}, nil
	}
	w.sw, err = vswitch.New(vswitch.Options{
		Drivers: map[string]vswitch.Driver{"memory": {Open: open}}, Topology: topology, Log: log,
	})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(w.configure(ctx, nil), w.apply(probeBridge, probeSetup())); err != nil {
		return nil, errors.Join(err, w.sw.Close())
	}
	return w, nil
}

// probeSetup is what rules that are tried may refer to.
func probeSetup() []string {
	lines := []string{"meter add " + fastMeter}
	for id := 1; id <= maxGroups; id++ {
		lines = append(lines, fmt.Sprintf("group add group_id=%d,type=all,bucket=actions=output:1", id))
	}
	return lines
}

// configure gives the ports the VLANs that a case has. Rules that are there stay.
func (w *weft) configure(ctx context.Context, ports []string) error {
	cfg, err := vswitch.Parse([]byte(weftConfig(w.cpu, ports)), w.sw.ParseOptions())
	if err != nil {
		return &refusal{strings.Join(ports, "; "), firstLine(err.Error())}
	}
	cfg.PMD.CacheEntries = w.cache
	if _, err = w.sw.Apply(ctx, cfg); err == nil {
		w.setup = ports
	}
	return err
}

// weftConfig is two bridges with ports of the same numbers, one for traffic and one for trying rules.
func weftConfig(cpu int, ports []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "pmd: {cpus: %d, idle: sleep, max_sleep: 20us}\nbridges:\n", cpu)
	for _, br := range []struct{ name, prefix string }{{weftBridge, "p"}, {probeBridge, "q"}} {
		fmt.Fprintf(&b, "- name: %s\n  flows: []\n  ports:\n", br.name)
		for i := 1; i <= Ports; i++ {
			fmt.Fprintf(&b, "  - {name: %s%d, driver: memory, number: %d", br.prefix, i, i)
			for _, p := range ports {
				if number, columns, _ := strings.Cut(p, " "); number == fmt.Sprint(i) && br.prefix == "p" {
					fmt.Fprintf(&b, ", vlan: {%s}", vlanOptions(columns))
				}
			}
			b.WriteString("}\n")
		}
	}
	return b.String()
}

// vlanOptions says columns of Open vSwitch's as Weft's configuration does: "vlan_mode=trunk trunks=5,7" becomes
// "mode: trunk, trunks: [5,7]".
func vlanOptions(columns string) string {
	var options []string
	for _, c := range strings.Fields(columns) {
		name, value, _ := strings.Cut(c, "=")
		name = strings.TrimPrefix(strings.TrimPrefix(name, "other_config:"), "vlan_")
		if name == "trunks" || name == "cvlans" {
			value = "[" + value + "]"
		}
		options = append(options, strings.ReplaceAll(name, "-", "_")+": "+value)
	}
	return strings.Join(options, ", ")
}

func (w *weft) close() error { return w.sw.Close() }

// accepts reports whether a rule is taken, with the error if not.
func (w *weft) accepts(rule string) error {
	if err := w.apply(probeBridge, []string{"flow add " + rule}); err != nil {
		return err
	}
	_, err := w.sw.FlowDel(probeBridge, "", false)
	return err
}

// load sets up a case.
func (w *weft) load(ctx context.Context, c *Case) error {
	if !slices.Equal(c.Ports, w.setup) {
		if err := w.configure(ctx, c.Ports); err != nil {
			return err
		}
	}
	if _, err := w.sw.FlowDel(weftBridge, "", false); err != nil {
		return err
	}
	if _, err := w.sw.FDBFlush(weftBridge); err != nil {
		return err
	}
	return w.apply(weftBridge, slices.Concat(
		[]string{"group delete", "meter delete"}, prefixed("meter add ", c.Meters), prefixed("group add ", c.Groups),
		prefixed("flow add ", c.Rules)))
}

func prefixed(prefix string, lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = prefix + l
	}
	return out
}

// apply makes changes, all of them or none. A *refusal has the line without the words before it.
func (w *weft) apply(bridge string, lines []string) error {
	req := vswitch.FlowRequest{Bridge: bridge, Kind: vswitch.KindFlow, Command: vswitch.CommandAdd}
	_, err := w.sw.FlowApply(req, strings.NewReader(strings.Join(lines, "\n")))
	var wrong vswitch.ConfigErrors
	if !errors.As(err, &wrong) {
		return err
	}
	line := lines[max(1, wrong[0].Line)-1]
	for _, word := range []string{"meter add ", "group add ", "flow add "} {
		line = strings.TrimPrefix(line, word)
	}
	return &refusal{line, firstLine(err.Error())}
}

// change does one line of changes.
func (w *weft) change(_ context.Context, line string) error {
	return w.apply(weftBridge, []string{line})
}

// packet lets a frame arrive and returns what leaves. The PMD thread gives a frame's memory back after it has
// transmitted all that came of it.
func (w *weft) packet(port int, frame []byte) (*Output, error) {
	p := w.ports[port-1]
	if !p.Inject(0, frame) {
		return nil, fmt.Errorf("flowdiff: port p%d does not take a frame of %d bytes", port, len(frame))
	}
	for deadline := time.Now().Add(packetLimit); p.Pending(0) > 0; time.Sleep(time.Microsecond) {
		if time.Now().After(deadline) {
			return nil, errors.New("flowdiff: the PMD thread does not receive")
		}
	}
	out := new(Output)
	for i := range w.ports {
		out[i] = w.ports[i].Drain(0)
	}
	return out, nil
}

// drops are the packets that the bridge dropped so far, by reason.
func (w *weft) drops() map[string]uint64 {
	for _, br := range w.sw.Bridges() {
		if br.Name == weftBridge {
			return br.Drops
		}
	}
	return nil
}

// trace runs a frame through once more and tells which rules it met and why it was dropped, if it was.
func (w *weft) trace(port int, frame []byte) string {
	hits := func() map[string]uint64 {
		flows, err := w.sw.FlowDump(weftBridge, "")
		m := make(map[string]uint64, len(flows))
		if err == nil {
			for _, f := range flows {
				m[f.Text.String()] = f.Packets
			}
		}
		return m
	}
	before, dropped := hits(), w.drops()
	out, err := w.packet(port, frame)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for text, n := range hits() {
		if n > before[text] {
			fmt.Fprintf(&b, "  met %d times: %s\n", n-before[text], text)
		}
	}
	for reason, n := range w.drops() {
		if n > dropped[reason] {
			fmt.Fprintf(&b, "  dropped: %s\n", reason)
		}
	}
	fmt.Fprintf(&b, "  and out of:\n%s", out)
	return b.String()
}

// droppedFor reports whether Weft drops a frame, sent once more, for a certain reason.
func (w *weft) droppedFor(port int, frame []byte, reason packet.DropReason) bool {
	before := w.drops()[reason.String()]
	_, err := w.packet(port, frame)
	return err == nil && w.drops()[reason.String()] > before
}

// counts are the packets and bytes of each rule.
func (w *weft) counts(context.Context) (map[slot]tally, error) {
	flows, err := w.sw.FlowDump(weftBridge, "")
	m := make(map[slot]tally, len(flows))
	for _, f := range flows {
		m[slot{f.Table, f.Priority}] = tally{f.Packets, f.Bytes}
	}
	return m, err
}
