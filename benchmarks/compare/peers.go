package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"weft/internal/e2e/daemon"
	"weft/internal/e2e/host"
	"weft/internal/e2e/ovs"
	"weft/internal/e2e/testpmd"
)

// peer is one switch to measure.
type peer struct {
	name  string
	needs []host.Need
	// listens says that the switch makes the two sockets; otherwise the load does.
	listens bool
	// start starts the switch between the two sockets. What it returns waits until both ports
	// are connected, as far as the switch tells.
	start func(ctx context.Context, g *host.Group, o *options, dir string, sockets [2]string) (ready, error)
	// version describes what is measured.
	version func(ctx context.Context, o *options) string
}

type ready func(ctx context.Context) error

func choosePeers(o *options) ([]peer, []host.Need, error) {
	all := []peer{
		{"weft", nil, false, startWeft, weftVersion},
		{"ovs", []host.Need{host.OVS}, false, startOVS, func(ctx context.Context, _ *options) string {
			return packageVersion(ctx, host.OVS.Package)
		}},
		{"testpmd", nil, true, startTestpmd, func(ctx context.Context, _ *options) string {
			return packageVersion(ctx, host.Testpmd.Package)
		}},
	}
	needs := []host.Need{host.Testpmd}
	var chosen []peer
	for _, name := range strings.Split(o.Peers, ",") {
		found := false
		for _, p := range all {
			if p.name == name {
				chosen, needs, found = append(chosen, p), append(needs, p.needs...), true
			}
		}
		if !found {
			return nil, nil, fmt.Errorf("-peers: %q is none of weft, ovs, testpmd", name)
		}
	}
	return chosen, needs, nil
}

// startWeft runs weft with the two rules that Open vSwitch gets too.
func startWeft(ctx context.Context, g *host.Group, o *options, dir string, sockets [2]string) (ready, error) {
	file, socket := filepath.Join(dir, "weft.yaml"), filepath.Join(dir, "weft.sock")
	config := fmt.Sprintf(`log: {level: warn}
control: {socket: %s}
pmd: {cpus: %d, idle: poll}
bridges:
  - name: br0
    ports:
      - {name: v0, driver: vhost-user, number: 1, path: %s, mode: client, queues: %d}
      - {name: v1, driver: vhost-user, number: 2, path: %s, mode: client, queues: %[4]d}
    flows:
      - in_port=v0,actions=output:v1
      - in_port=v1,actions=output:v0
`, socket, o.SwitchCPU, sockets[0], max(o.Queues, 1), sockets[1])
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return nil, err
	}
	d, err := daemon.Start(ctx, g, daemon.Config{Name: "weft", Binary: o.weft, File: file, Socket: socket})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return d.WaitLink(ctx, true, "v0", "v1") }, nil
}

func weftVersion(ctx context.Context, o *options) string {
	out, err := exec.CommandContext(ctx, o.weft, "version").Output()
	if err != nil {
		return "unknown: " + err.Error()
	}
	return strings.TrimSpace(string(out))
}

func startOVS(ctx context.Context, g *host.Group, o *options, dir string, sockets [2]string) (ready, error) {
	v, err := ovs.Start(ctx, g, ovs.Config{
		Dir: filepath.Join(dir, "ovs"), MainCPU: o.LoadCPU, PMDCPU: o.SwitchCPU,
		Sockets: sockets[:], Names: []string{"v0", "v1"},
		Flows: []string{"in_port=1,actions=output:2", "in_port=2,actions=output:1"},
	})
	return v.WaitLink, err
}

func startTestpmd(ctx context.Context, g *host.Group, o *options, _ string, sockets [2]string) (ready, error) {
	t, err := testpmd.Start(ctx, g, testpmd.Config{
		Name: "vhost", Sockets: sockets, Vhost: true, CPU: o.SwitchCPU, Queues: o.Queues,
	})
	if err != nil {
		return nil, err
	}
	_, err = t.Command(ctx, "start")
	return func(context.Context) error { return nil }, err // the load connects while it starts
}

func packageVersion(ctx context.Context, name string) string {
	out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Package} ${Version}", name).Output()
	if err != nil {
		return "unknown: " + err.Error()
	}
	return string(out)
}
