package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"time"

	"weft/internal/e2e/host"
)

// HugepagesMB is what one PMD thread takes of the machine's hugepages, if it can, for the flow cache of one bridge: some
// 66 MiB at the default size, most of it reserved and not touched. Who reserves hugepages for a peer adds this, or the
// two take them from each other.
const HugepagesMB = 96

// Config says which daemon to run.
type Config struct {
	Name    string // for the log file
	Binary  string // weft
	File    string // its configuration
	Socket  string // control.socket of the configuration
	Metrics string // metrics.address of the configuration, may be empty
}

// Daemon is a running weft.
type Daemon struct {
	Config
	Process *host.Process
	group   *host.Group
}

// Build builds the binary from the module's root directory.
func Build(ctx context.Context, source, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "./cmd/weft")
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build weft: %w\n%s", err, out)
	}
	return nil
}

// Start starts weft and waits until it answers on its control socket.
func Start(ctx context.Context, g *host.Group, cfg Config) (*Daemon, error) {
	d := &Daemon{Config: cfg, group: g}
	return d, d.Restart(ctx)
}

// Restart starts weft again after its process has ended.
func (d *Daemon) Restart(ctx context.Context) error {
	p, err := d.group.Start(host.Spec{Name: d.Name, Args: []string{d.Binary, "run", "-c", d.File}})
	if err != nil {
		return err
	}
	d.Process = p
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		_, err := d.CLI(ctx, "port", "list")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("weft does not answer: %w\n%s", err, p.Tail(20))
		case <-p.Done():
			return fmt.Errorf("%s\n%s", p.State(), p.Tail(20))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends weft with SIGTERM; it must end by itself, with status 0.
func (d *Daemon) Stop() error {
	if err := d.Process.Stop(10 * time.Second); err != nil {
		return err
	}
	if err := d.Process.ExitError(); err != nil {
		return fmt.Errorf("weft after SIGTERM: %w\n%s", err, d.Process.Tail(20))
	}
	return nil
}

// CLI runs one command of the command line against the daemon and returns what it printed.
func (d *Daemon) CLI(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, d.Binary, append([]string{"--socket", d.Socket}, args...)...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("weft %v: %w: %s", args, err, bytes.TrimSpace(errOut.Bytes()))
	}
	return out.String(), nil
}

// JSON runs a command with -o json and decodes its answer.
func (d *Daemon) JSON(ctx context.Context, v any, args ...string) error {
	out, err := d.CLI(ctx, append([]string{"-o", "json"}, args...)...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return fmt.Errorf("weft %v: %w in %q", args, err, out)
	}
	return nil
}

// Port is what "weft port show" says about a port, as far as tests look at it.
type Port struct {
	Name     string  `json:"name"`
	Link     bool    `json:"link"`
	State    string  `json:"state"`
	Error    string  `json:"error"`
	Sessions uint64  `json:"sessions"`
	Rx       Traffic `json:"rx"`
	Tx       Traffic `json:"tx"`
	RxQueues []Queue `json:"rx_queues"`
	TxQueues []Queue `json:"tx_queues"`
}

// Traffic is what passed one way.
type Traffic struct {
	Packets uint64            `json:"packets"`
	Bytes   uint64            `json:"bytes"`
	Dropped uint64            `json:"dropped"`
	Drops   map[string]uint64 `json:"drops"`
}

// Queue is one queue of a port.
type Queue struct {
	Index  int  `json:"index"`
	Active bool `json:"active"`
	Traffic
}

// Ports returns all ports by name.
func (d *Daemon) Ports(ctx context.Context) (map[string]Port, error) {
	var list []Port
	if err := d.JSON(ctx, &list, "port", "list"); err != nil {
		return nil, err
	}
	ports := make(map[string]Port, len(list))
	for _, p := range list {
		ports[p.Name] = p
	}
	return ports, nil
}

// Dropped is how many packets all ports and bridges have dropped, for whatever reason.
func (d *Daemon) Dropped(ctx context.Context) (n uint64, err error) {
	ports, err := d.Ports(ctx)
	if err != nil {
		return 0, err
	}
	for _, p := range ports {
		n += p.Rx.Dropped + p.Tx.Dropped
	}
	var bridges []struct {
		Drops map[string]uint64 `json:"drops"`
	}
	if err := d.JSON(ctx, &bridges, "bridge", "list"); err != nil {
		return 0, err
	}
	for _, b := range bridges {
		for _, dropped := range b.Drops {
			n += dropped
		}
	}
	return n, nil
}

// linkLimit is how long a front end may take to come up or to go: a guest's driver has loaded by the time its agent
// answers, and reconnecting takes qemu and DPDK a second.
const linkLimit = 20 * time.Second

// WaitLink waits until the ports named have a link, or, with up false, none.
func (d *Daemon) WaitLink(ctx context.Context, up bool, names ...string) error {
	ctx, cancel := context.WithTimeout(ctx, linkLimit)
	defer cancel()
	for {
		ports, err := d.Ports(ctx)
		missing := ""
		for _, n := range names {
			if p, found := ports[n]; !found || p.Link != up {
				missing = n
			}
		}
		if err == nil && missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("link of port %s is not %t: %w", missing, up, errors.Join(ctx.Err(), err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Scrape fetches /metrics.
func (d *Daemon) Scrape(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.Metrics+"/metrics", nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("scrape: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("scrape: %s: %s", resp.Status, body)
	}
	return string(body), err
}
