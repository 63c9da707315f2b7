package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"weft/internal/e2e/agent"
	"weft/internal/e2e/daemon"
	"weft/internal/e2e/guest"
	"weft/internal/e2e/host"
	"weft/internal/e2e/vm"
)

// What configs/demo.yaml says, as far as this program must know it.
const (
	wireDevice     = "weft-wire"
	metricsAddress = "127.0.0.1:9471"
	guestMemoryMB  = 256
	bootLimit      = 2 * time.Minute
)

// endpoint is one of the three hosts.
type endpoint struct {
	name, address string
	*agent.Client
}

type demo struct {
	weft, config, source string
	keep                 bool
	out                  io.Writer
	start                time.Time

	group     *host.Group
	log       *slog.Logger
	image     *guest.Image
	accel     vm.Accel
	hugepages bool
	daemon    *daemon.Daemon
	ends      []endpoint
	wire      *host.Namespace
}

// step prints a line of progress.
func (d *demo) step(format string, args ...any) {
	fmt.Fprintf(d.out, "[%5.1f s] %s\n", time.Since(d.start).Seconds(), fmt.Sprintf(format, args...))
}

// run does it all. Whatever happens, the group is closed, unless all went well and is to be kept.
func (d *demo) run(ctx context.Context) (err error) {
	if os.Geteuid() != 0 {
		return fmt.Errorf("not root: network namespaces, tap interfaces and hugepages need it")
	}
	if _, running, err := host.Saved(stateFile); err != nil || len(running) > 0 {
		return fmt.Errorf("a kept demo is still running (%d processes); stop it first: make demo-stop", len(running))
	}
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return err
	}
	d.group = host.NewGroup(runDir, d.keep)
	d.log = slog.New(stepHandler{d})
	defer func() {
		if err == nil && d.keep && ctx.Err() == nil {
			err = d.explainKept()
			return
		}
		if err != nil {
			d.step("failed: cleaning up")
		}
		d.group.Close()
		_ = os.RemoveAll(runDir)
	}()
	for _, f := range []func(context.Context) error{d.prepare, d.startSwitch, d.startEnds, d.exercise, d.show} {
		if err := f(ctx); err != nil {
			return err
		}
	}
	d.step("every pair worked")
	return nil
}

// prepare installs and builds what is missing.
func (d *demo) prepare(ctx context.Context) error {
	d.step("looking for qemu and a guest kernel")
	if err := host.Install(ctx, d.log, host.QEMU, host.XZ); err != nil {
		return err
	}
	var err error
	if d.image, err = guest.Build(ctx, d.log, d.source, guest.CacheDir(), runDir); err != nil {
		return err
	}
	d.step("guest: Linux %s with our own init", d.image.Version)
	if err := host.ReserveHugepages(d.group, 2*guestMemoryMB+daemon.HugepagesMB); err != nil {
		d.step("no hugepages, going on with ordinary memory: %v", err)
	} else {
		d.hugepages = true
		d.step("hugepages: %d MiB are free for guests and switch", 2*guestMemoryMB+daemon.HugepagesMB)
	}
	d.step("trying whether a guest boots with KVM")
	accel, why := vm.ProbeAccel(ctx, d.group, d.image, runDir)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.accel = accel
	d.step("guests run with %s: %s", accel, why)
	return nil
}

func (d *demo) startSwitch(ctx context.Context) error {
	d.step("starting: weft run -c %s", d.config)
	var err error
	d.daemon, err = daemon.Start(ctx, d.group, daemon.Config{
		Name: "weft", Binary: d.weft, File: d.config,
		Socket: filepath.Join(runDir, "weft.sock"), Metrics: metricsAddress,
	})
	return err
}

// startEnds boots the guests and makes the wire.
func (d *demo) startEnds(ctx context.Context) error {
	d.step("booting two qemu guests on vhost-user ports")
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	var guests []*vm.VM
	for i, name := range []string{"vm1", "vm2"} {
		address := fmt.Sprintf("10.1.0.%d", i+1)
		v, err := vm.Start(d.group, vm.Config{
			Name: name, Dir: runDir, Image: d.image, Accel: d.accel, MemoryMB: guestMemoryMB, Hugepages: d.hugepages,
			NICs: []vm.NIC{{
				Socket: filepath.Join(runDir, name+".sock"), MAC: fmt.Sprintf("52:54:00:00:00:%02x", i+1),
			}},
			Addresses: []string{"eth0:" + address + "/24"},
		})
		if err != nil {
			return err
		}
		guests = append(guests, v)
		d.ends = append(d.ends, endpoint{name: name, address: address})
	}
	d.step("making the wire: a network namespace with the tap %s", wireDevice)
	wire, err := host.NewNamespace(ctx, d.group, "wire", d.image.Agent, runDir)
	if err != nil {
		return err
	}
	if err := wire.Adopt(ctx, wireDevice, "10.1.0.3/24"); err != nil {
		return err
	}
	d.wire = wire
	for i, v := range guests {
		if err := v.Ready(ctx); err != nil {
			return err
		}
		d.ends[i].Client = v.Client
		d.step("%s is up", v.Name)
	}
	d.ends = append(d.ends, endpoint{name: "wire", address: "10.1.0.3", Client: wire.Client})
	return d.daemon.WaitLink(ctx, true, "vm1", "vm2", "wire")
}

// stepHandler prints log records as lines of progress.
type stepHandler struct{ d *demo }

func (stepHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (h stepHandler) WithAttrs([]slog.Attr) slog.Handler         { return h }
func (h stepHandler) WithGroup(string) slog.Handler              { return h }

func (h stepHandler) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.Key + "=" + a.Value.String()
		return true
	})
	h.d.step("%s", text)
	return nil
}
