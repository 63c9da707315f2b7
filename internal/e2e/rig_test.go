//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/e2e/daemon"
	"weft/internal/e2e/guest"
	"weft/internal/e2e/host"
	"weft/internal/e2e/vm"
)

// source is the module's root directory, seen from this package.
const source = "../.."

// CPUs of the load and of the switch's PMD thread in tests with testpmd.
const (
	loadCPU   = 0
	switchCPU = 1
)

// shared is what is made once for all tests.
var shared struct {
	dir   string
	image *guest.Image
	accel vm.Accel
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "weft-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	shared.dir = dir
	if os.Geteuid() == 0 {
		if err := prepare(dir); err != nil {
			fmt.Fprintln(os.Stderr, "preparing the end-to-end tests:", err)
			return 1
		}
	}
	return m.Run()
}

// prepare installs, builds and finds out what all tests need, outside of their time limits.
func prepare(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	err := host.Install(ctx, log, host.QEMU, host.XZ, host.Testpmd, host.Prometheus)
	if err != nil {
		return err
	}
	if err := daemon.Build(ctx, source, filepath.Join(dir, "weft")); err != nil {
		return err
	}
	if shared.image, err = guest.Build(ctx, log, source, guest.CacheDir(), dir); err != nil {
		return err
	}
	g := host.NewGroup(dir, false)
	defer g.Close()
	accel, why := vm.ProbeAccel(ctx, g, shared.image, dir)
	shared.accel = accel
	log.Info("guests", "kernel", shared.image.Version, "accelerator", accel, "because", why)
	return nil
}

// rig is one test's surroundings. Everything it starts ends with the test.
type rig struct {
	t     *testing.T
	ctx   context.Context
	dir   string // short, because socket addresses are
	group *host.Group
	wefts []*daemon.Daemon
}

// newRig prepares a test that must not take longer than limit.
func newRig(t *testing.T, limit time.Duration) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: network namespaces, tap interfaces and hugepages need it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	dir, err := os.MkdirTemp(shared.dir, "t")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, ctx: ctx, dir: dir, group: host.NewGroup(dir, false)}
	t.Cleanup(func() {
		if t.Failed() {
			r.explain()
		}
		r.group.Close()
	})
	return r
}

// explain logs how things stand at the end of a test that failed.
func (r *rig) explain() {
	last := make(map[string]*host.Process) // of each name; earlier ones wrote to the same log
	for _, p := range r.group.Processes() {
		last[p.Name] = p
	}
	for _, p := range last {
		r.t.Logf("%s; end of its output:\n%s", p.State(), p.Tail(25))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // the test's own has ended
	defer cancel()
	for _, d := range r.wefts {
		ports, err := d.Ports(ctx)
		if err != nil {
			r.t.Logf("%s does not say how its ports are: %v", d.Name, err)
		}
		for name := range ports {
			text, err := d.CLI(ctx, "port", "show", name)
			if err != nil {
				text = err.Error()
			}
			r.t.Logf("%s port show %s:\n%s", d.Name, name, text)
		}
	}
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }
func (r *rig) binary() string          { return filepath.Join(shared.dir, "weft") }

// needTestpmd reserves hugepages for so many MiB of testpmd memory beside weft's; it reports whether there are any.
func (r *rig) needTestpmd(mb int) (hugepages bool) {
	r.t.Helper()
	if err := host.ReserveHugepages(r.group, mb+daemon.HugepagesMB); err != nil {
		r.t.Logf("testpmd goes without hugepages: %v", err)
		return false
	}
	return true
}

// weft writes a configuration, with the rig's own sockets, and starts the daemon. The body begins with "pmd:".
func (r *rig) weft(body string) *daemon.Daemon {
	r.t.Helper()
	cfg := daemon.Config{
		Name: "weft", Binary: r.binary(), File: r.path("weft.yaml"), Socket: r.path("weft.sock"),
		Metrics: fmt.Sprintf("127.0.0.1:%d", freePort(r.t)),
	}
	r.writeConfig(cfg, body)
	d, err := daemon.Start(r.ctx, r.group, cfg)
	r.must(err)
	r.wefts = append(r.wefts, d)
	return d
}

// writeConfig replaces @ in the body by the rig's directory.
func (r *rig) writeConfig(cfg daemon.Config, body string) {
	r.t.Helper()
	text := fmt.Sprintf("log: {level: debug}\ncontrol: {socket: %s}\nmetrics: {address: %q}\n", cfg.Socket, cfg.Metrics) +
		strings.ReplaceAll(body, "@", r.dir)
	r.must(os.WriteFile(cfg.File, []byte(text), 0o644))
}

// eventually repeats check until it returns nil.
func (r *rig) eventually(limit time.Duration, check func() error) {
	r.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) || r.ctx.Err() != nil {
			r.t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
