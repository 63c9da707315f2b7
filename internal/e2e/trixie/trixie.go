package trixie

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/e2e/host"
)

// name is the directory below the cache. The number changes with what is installed.
const name = "trixie-1"

// mirror is where packages come from unless WEFT_DEBIAN_MIRROR says otherwise.
const mirror = "http://deb.debian.org/debian"

// libraries is where a Debian root of this architecture has its shared objects.
const libraries = "usr/lib/x86_64-linux-gnu"

// stepLimit bounds one step of the installation: a mirror that stalls must not use up the whole run.
const stepLimit = 8 * time.Minute

// What the machine itself needs to make the root.
var needs = []host.Need{
	{Package: "debootstrap", Program: "/usr/sbin/debootstrap"},
	{Package: "debian-archive-keyring", Program: "/usr/share/keyrings/debian-archive-keyring.gpg"},
	host.XZ,
}

// Root is a Debian 13 in a directory.
type Root struct{ Dir string }

// Ensure returns the root below cacheDir, making it first if it is not there. Making it needs root and takes two or three
// minutes with a fast mirror; the log says how far it is.
func Ensure(ctx context.Context, log *slog.Logger, cacheDir string) (*Root, error) {
	r := &Root{Dir: filepath.Join(cacheDir, name)}
	if r.complete() {
		return r, nil
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("trixie: %s is not there and making it needs root", r.Dir)
	}
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return nil, fmt.Errorf("trixie: %w", err)
	}
	unlock, err := lock(filepath.Join(cacheDir, name+".lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if r.complete() { // somebody else made it while we waited for the lock
		return r, nil
	}
	if err := host.Install(ctx, log, needs...); err != nil {
		return nil, err
	}
	return r, r.build(ctx, log, cacheDir)
}

func (r *Root) complete() bool {
	_, err := os.Stat(r.Dir)
	return err == nil
}

// lock takes an exclusive lock on a file, waiting for whoever has it.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("trixie: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("trixie: lock %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil // closing gives the lock back
}

// installScript runs with the new root as $1 and the package cache as $2, in a mount namespace of its own.
const installScript = `set -eu
mount -t proc proc "$1/proc"
mount --bind "$2" "$1/var/cache/apt/archives"
mkdir -p "$1/var/cache/apt/archives/partial"
printf 'deb %s trixie main\ndeb %s trixie-backports main\n' "$3" "$3" >"$1/etc/apt/sources.list"
printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"
chmod +x "$1/usr/sbin/policy-rc.d"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
chroot "$1" apt-get update -q
chroot "$1" apt-get install -y -q --no-install-recommends -t trixie-backports \
	qemu-system-x86 dpdk-dev/trixie ethtool pciutils iproute2
`

// kernelScript unpacks the kernel package without installing it: no initial file system has to be made for it.
const kernelScript = `set -eu
mount -t proc proc "$1/proc"
mount --bind "$2" "$1/var/cache/apt/archives"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
package=$(chroot "$1" apt-cache depends --important linux-image-amd64/trixie |
	sed -n 's/^ *Depends: \(linux-image-6\.12[^ ]*\)$/\1/p' | head -n 1)
test -n "$package" || { echo "trixie has no linux-image of version 6.12"; exit 1; }
cd "$2"
ls "$package"_*.deb >/dev/null 2>&1 ||
	chroot "$1" sh -c 'cd /var/cache/apt/archives && apt-get -o APT::Sandbox::User=root -q download "$0"' "$package"
dpkg-deb -x "$package"_*.deb "$1/kernel"
`

func (r *Root) build(ctx context.Context, log *slog.Logger, cacheDir string) error {
	stale, _ := filepath.Glob(filepath.Join(cacheDir, name+".partial-*")) // the pattern is well formed
	for _, dir := range stale {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("trixie: remove what an interrupted attempt left: %w", err)
		}
	}
	debs := filepath.Join(cacheDir, name+".debs")
	if err := os.MkdirAll(debs, 0o755); err != nil {
		return fmt.Errorf("trixie: %w", err)
	}
	partial, err := os.MkdirTemp(cacheDir, name+".partial-")
	if err != nil {
		return fmt.Errorf("trixie: %w", err)
	}
	defer func() { _ = os.RemoveAll(partial) }()     // does nothing once it has been renamed
	if err := os.Chmod(partial, 0o755); err != nil { // MkdirTemp's are private, and apt downloads as a user of its own
		return fmt.Errorf("trixie: %w", err)
	}
	from := mirror
	if m := os.Getenv("WEFT_DEBIAN_MIRROR"); m != "" {
		from = m
	}
	steps := []struct {
		what string
		args []string
	}{
		{"base system", []string{
			"/usr/sbin/debootstrap", "--variant=minbase", "--arch=amd64", "--cache-dir=" + debs, "trixie", partial, from,
		}},
		{"qemu, dpdk, tools", []string{"/bin/sh", "-c", installScript, "install", partial, debs, from}},
		{"guest kernel", []string{"/bin/sh", "-c", kernelScript, "kernel", partial, debs}},
	}
	for i, s := range steps {
		log.Info("making a Debian 13 for the guests", "step", fmt.Sprintf("%d of %d", i+1, len(steps)), "what", s.what)
		start := time.Now()
		if err := isolated(ctx, s.args); err != nil {
			return fmt.Errorf("trixie: %s: %w; what was downloaded is kept in %s", s.what, err, debs)
		}
		log.Info("step done", "what", s.what, "took", time.Since(start).Round(time.Second).String())
	}
	if err := os.Rename(partial, r.Dir); err != nil {
		return fmt.Errorf("trixie: %w", err)
	}
	if err := os.RemoveAll(debs); err != nil {
		return fmt.Errorf("trixie: %w", err)
	}
	return nil
}

// isolated runs a command as process 1 of a process namespace, with mounts of its own: when it ends, by whatever means,
// its children and its mounts are gone.
func isolated(ctx context.Context, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID,
		Unshareflags: syscall.CLONE_NEWNS, // which also makes the mounts private
		Pdeathsig:    syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%w\n%s", err, strings.Join(lines[max(0, len(lines)-15):], "\n"))
	}
	return nil
}

// Command returns the command line, without arguments, that runs a program of the root, "usr/bin/NAME", on this machine:
// by the root's own loader, with the root's libraries and no others.
func (r *Root) Command(program string) []string {
	return []string{
		filepath.Join(r.Dir, "lib64/ld-linux-x86-64.so.2"), "--inhibit-cache", "--library-path",
		filepath.Join(r.Dir, libraries), filepath.Join(r.Dir, program),
	}
}

// QEMU returns the command line of qemu for PCs and what must be in its environment to find its own parts.
func (r *Root) QEMU() (command, env []string) {
	command = append(r.Command("usr/bin/qemu-system-x86_64"),
		"-L", filepath.Join(r.Dir, "usr/share/qemu"), "-L", filepath.Join(r.Dir, "usr/share/seabios"))
	return command, []string{"QEMU_MODULE_DIR=" + filepath.Join(r.Dir, libraries, "qemu")}
}

// KernelDir is where the kernel package was unpacked.
func (r *Root) KernelDir() string { return filepath.Join(r.Dir, "kernel") }
