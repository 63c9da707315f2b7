//go:build i40e

package i40e

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

	"weft/internal/e2e/agent"
	"weft/internal/e2e/guest"
	"weft/internal/e2e/host"
	"weft/internal/e2e/trixie"
	"weft/internal/e2e/vm"
)

// source is the module's root directory, seen from this package.
const source = "../../.."

// prepareLimit is how long installing may take, the first time.
const prepareLimit = 15 * time.Minute

// shared is what is made once for all gates.
var shared struct {
	dir    string
	linux  *guest.Image // with the kernel's own drivers and ethtool
	dpdk   *guest.Image // with vfio-pci and testpmd
	debian *trixie.Root
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Println("SKIP: not root: network namespaces, tap interfaces and the Debian of the guests need it")
		return 0
	}
	dir, err := os.MkdirTemp("", "weft-i40e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	shared.dir = dir
	if err := prepare(dir); err != nil {
		fmt.Fprintln(os.Stderr, "preparing the gates of the I40E model:", err)
		return 1
	}
	return m.Run()
}

// modules and programs of the guests. What the kernel's drivers depend on comes by itself.
var (
	drivers    = []string{"i40e", "iavf", "vfio_pci"}
	linuxTools = []string{"usr/sbin/ethtool", "usr/bin/lspci", "usr/bin/dmesg", "usr/bin/ip"}
	dpdkTools  = []string{
		"usr/bin/dpdk-testpmd", "usr/bin/dmesg", "usr/bin/stdbuf",
		"usr/libexec/coreutils/libstdbuf.so",
	}
	dpdkPlugins = []string{
		"librte_bus_pci.so.25.0", "librte_bus_vdev.so.25.0", "librte_mempool_ring.so.25.0", "librte_net_i40e.so.25.0",
	}
	alwaysInsert = []string{"8021q", "vfio_iommu_type1"}
)

// prepare makes what all gates need, outside of their time limits.
func prepare(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), prepareLimit)
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	start := time.Now()
	var err error
	if shared.debian, err = trixie.Ensure(ctx, log, guest.CacheDir()); err != nil {
		return err
	}
	if err := host.Install(ctx, log, host.XZ); err != nil {
		return err
	}
	plugins := make([]string, len(dpdkPlugins))
	for i, name := range dpdkPlugins {
		plugins[i] = filepath.Join("usr/lib/x86_64-linux-gnu/dpdk/pmds-25.0", name)
	}
	base := guest.Debian{Root: shared.debian.Dir, KernelDir: shared.debian.KernelDir(), Modules: alwaysInsert, Later: drivers}
	linux, dpdk := base, base
	linux.Name, linux.Programs = "linux", linuxTools
	dpdk.Name, dpdk.Programs, dpdk.Plugins = "dpdk", dpdkTools, plugins
	if shared.linux, err = guest.BuildDebian(ctx, source, dir, linux); err != nil {
		return err
	}
	if shared.dpdk, err = guest.BuildDebian(ctx, source, dir, dpdk); err != nil {
		return err
	}
	log.Info("guests", "kernel", shared.linux.Version, "took", time.Since(start).Round(time.Millisecond).String())
	return nil
}

// rig is one gate's surroundings. Everything it starts ends with the gate.
type rig struct {
	t     *testing.T
	ctx   context.Context
	dir   string // short, because socket addresses are
	group *host.Group
	guest *vm.VM
}

// newRig prepares a gate that must not take longer than limit.
func newRig(t *testing.T, limit time.Duration) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	dir, err := os.MkdirTemp(shared.dir, "t")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, ctx: ctx, dir: dir, group: host.NewGroup(dir, false)}
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range r.group.Processes() {
				t.Logf("%s; end of its output:\n%s", p.State(), p.Tail(40))
			}
		}
		r.group.Close()
	})
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// on returns the rig as a part of the gate sees it, whose failures are that part's.
func (r *rig) on(t *testing.T) *rig {
	part := *r
	part.t = t
	return &part
}

// boot starts a guest and waits for its agent.
func (r *rig) boot(cfg vm.Config) {
	r.t.Helper()
	start := time.Now()
	cfg.Dir, cfg.Accel = r.dir, vm.TCG
	if accel := vm.Accel(os.Getenv("WEFT_E2E_ACCEL")); accel == vm.KVM {
		cfg.Accel = accel
	}
	cfg.QEMU, cfg.QEMUEnv = shared.debian.QEMU()
	v, err := vm.Boot(r.ctx, r.group, cfg)
	r.must(err)
	r.guest = v
	r.t.Logf("the guest was up after %s", time.Since(start).Round(100*time.Millisecond))
}

// exec runs a program in the guest and wants it to end well.
func (r *rig) exec(args ...string) string {
	r.t.Helper()
	out, status := r.try(args...)
	if status != 0 {
		r.t.Fatalf("%s: status %d\n%s", strings.Join(args, " "), status, out)
	}
	return out
}

// try runs a program in the guest.
func (r *rig) try(args ...string) (output string, status int) {
	r.t.Helper()
	res, err := r.guest.Exec(r.ctx, agent.ExecArgs{Args: args, TimeoutMS: 60_000})
	r.must(err)
	return res.Output, res.Status
}

// insmod inserts one of the drivers.
func (r *rig) insmod(name, params string) {
	r.t.Helper()
	path := "/modules/later/" + name + ".ko"
	r.must(r.guest.Do(r.ctx, agent.OpInsert, agent.ModuleArgs{Name: path, Params: params}, nil))
}

// rmmod removes a driver.
func (r *rig) rmmod(name string) {
	r.t.Helper()
	r.must(r.guest.Do(r.ctx, agent.OpRemove, agent.ModuleArgs{Name: name}, nil))
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
