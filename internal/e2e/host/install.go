package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"strings"
)

// policyPath is the program that invoke-rc.d asks before it starts a service (Debian policy, section 9.3.3).
const policyPath = "/usr/sbin/policy-rc.d"

// Need is a package and a program it brings, by which its presence is seen.
type Need struct{ Package, Program string }

// What the tests, the demonstration and the benchmark need of Debian 12 or 13.
var (
	QEMU       = Need{"qemu-system-x86", "qemu-system-x86_64"}
	XZ         = Need{"xz-utils", "xz"}
	Testpmd    = Need{"dpdk-dev", "dpdk-testpmd"}
	OVS        = Need{"openvswitch-switch-dpdk", "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"}
	Prometheus = Need{"prometheus", "prometheus"}
	CACerts    = Need{"ca-certificates", "/etc/ssl/certs/ca-certificates.crt"}
)

// Install installs what is missing with apt-get, without starting services. It needs root only if something is missing.
func Install(ctx context.Context, log *slog.Logger, needs ...Need) error {
	var missing []string
	for _, n := range needs {
		if _, err := exec.LookPath(n.Program); err == nil {
			continue
		}
		if _, err := os.Stat(n.Program); err == nil && strings.HasPrefix(n.Program, "/") {
			continue
		}
		missing = append(missing, n.Package)
	}
	if len(missing) == 0 {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("install %s: not root; run as root, or: apt-get install %s",
			strings.Join(missing, ", "), strings.Join(missing, " "))
	}
	restore, err := forbidServices()
	if err != nil {
		return err
	}
	defer restore()
	log.Info("installing Debian packages", "packages", strings.Join(missing, " "))
	args := append([]string{"install", "-y", "-q", "--no-install-recommends"}, missing...)
	err = aptGet(ctx, args...)
	if err != nil {
		// On a fresh machine the package lists are missing, on an old one they name versions that are gone.
		if updateErr := Update(ctx, log); updateErr != nil {
			return errors.Join(err, updateErr)
		}
		err = aptGet(ctx, args...)
	}
	return err
}

// Update fetches the package lists.
func Update(ctx context.Context, log *slog.Logger) error {
	log.Info("updating the package lists")
	return aptGet(ctx, "update", "-q")
}

func aptGet(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "NEEDRESTART_SUSPEND=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err,
			strings.Join(lines[max(0, len(lines)-10):], "\n"))
	}
	return nil
}

// forbidServices keeps packages from starting their services while they are installed, unless the machine has a policy
// of its own, and returns what undoes that.
func forbidServices() (restore func(), err error) {
	f, err := os.OpenFile(policyPath, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("keep services from starting: %w", err)
	}
	_, err = f.WriteString("#!/bin/sh\n# No service may be started now (invoke-rc.d: action forbidden).\nexit 101\n")
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(policyPath)
		return nil, fmt.Errorf("keep services from starting: %w", err)
	}
	return func() { _ = os.Remove(policyPath) }, nil
}
