package guest

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kernelPackage depends on Debian's newest kernel for virtual machines, on Debian 12 and 13 alike.
const kernelPackage = "linux-image-cloud-amd64"

// Image is what qemu boots, and the agent's program for the host's side.
type Image struct {
	Kernel  string // vmlinux, or the package's vmlinuz if that is not unpacked
	Initrd  string
	Agent   string // the program that is the guest's init, as a file on the host
	Version string // of the kernel
}

// CacheDir is where downloads are kept: $WEFT_CACHE, the user's cache directory, or a last resort below /var/cache.
func CacheDir() string {
	if dir := os.Getenv("WEFT_CACHE"); dir != "" {
		return dir
	}
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "weft")
	}
	return "/var/cache/weft"
}

// Build returns an image. source is the module's root directory, where the agent's program is built from; workDir
// receives the program and the initial file system. The kernel is downloaded once, into cacheDir.
func Build(ctx context.Context, log *slog.Logger, source, cacheDir, workDir string) (*Image, error) {
	img := &Image{Agent: filepath.Join(workDir, "agent"), Initrd: filepath.Join(workDir, "initrd.gz")}
	root, err := kernelRoot(ctx, log, cacheDir)
	if err != nil {
		return nil, err
	}
	kernels, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return nil, fmt.Errorf("guest kernel: %d kernels in %s, want one: remove that directory and try again",
			len(kernels), root)
	}
	img.Version = strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")
	if err := img.setKernel(log, kernels[0], filepath.Join(workDir, "vmlinux")); err != nil {
		return nil, err
	}
	if err := buildAgent(ctx, source, img.Agent); err != nil {
		return nil, err
	}
	modules := filepath.Join(root, "lib", "modules", img.Version)
	if _, err := os.Stat(modules); err != nil {
		modules = filepath.Join(root, "usr", "lib", "modules", img.Version) // Debian 13: /lib is a link to /usr/lib
	}
	if err := writeInitrd(img, modules); err != nil {
		return nil, err
	}
	return img, nil
}

// setKernel has qemu start the kernel proper and not the bzImage, which unpacks itself into the guest's memory. Across a
// reboot qemu's TCG keeps what it has translated, and a write to a page that such code came from takes a slow way, byte by
// byte, until all of it is overwritten. Unpacking took a second at the first boot and, by where the last kernel happened
// to lie, up to 13 at the next ones; on a busy machine 87 were seen, where the rest of the boot took 20.
func (img *Image) setKernel(log *slog.Logger, vmlinuz, vmlinux string) error {
	err := writeVmlinux(vmlinuz, vmlinux)
	switch {
	case errors.Is(err, errCompression):
		img.Kernel = vmlinuz
		log.Warn("guests unpack their kernel themselves: booting takes longer, and a reboot without KVM much longer",
			"because", err)
	case err != nil:
		return fmt.Errorf("guest kernel: %w", err)
	default:
		img.Kernel = vmlinux
	}
	return nil
}

// kernelRoot returns the directory that the kernel package was unpacked into, downloading it at first use.
func kernelRoot(ctx context.Context, log *slog.Logger, cacheDir string) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", "--important", kernelPackage).Output()
	if err != nil {
		return "", fmt.Errorf("apt-cache depends %s: %w; run apt-get update", kernelPackage, err)
	}
	pkg := dependency(string(out))
	if pkg == "" {
		return "", fmt.Errorf("apt-cache knows no dependency of %s; run apt-get update", kernelPackage)
	}
	root := filepath.Join(cacheDir, pkg)
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(cacheDir, "kernel-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	log.Info("downloading the guest kernel", "package", pkg, "to", root)
	// apt's unprivileged downloader cannot write to a private directory, so it runs as the caller.
	get := exec.CommandContext(ctx, "apt-get", "-o", "APT::Sandbox::User=root", "-qq", "download", pkg)
	get.Dir = tmp
	if out, err := get.CombinedOutput(); err != nil {
		return "", fmt.Errorf("apt-get download %s: %w\n%s", pkg, err, out)
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return "", fmt.Errorf("apt-get download %s left %d packages, want one", pkg, len(debs))
	}
	unpacked := filepath.Join(tmp, "root")
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", debs[0], unpacked).CombinedOutput(); err != nil {
		return "", fmt.Errorf("dpkg-deb -x %s: %w\n%s", debs[0], err, out)
	}
	if err := os.Rename(unpacked, root); err != nil {
		return "", err
	}
	return root, nil
}

// dependency finds the kernel in what apt-cache depends prints.
func dependency(text string) string {
	for line := range strings.Lines(text) {
		if name, found := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); found {
			return "linux-image-" + name
		}
	}
	return ""
}

func writeInitrd(img *Image, modulesDir string) error {
	set, err := findModules(modulesDir)
	if err != nil {
		return err
	}
	modules, err := set.resolve(wantedModules)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(img.Agent)
	if err != nil {
		return err
	}
	f, err := os.Create(img.Initrd)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	c := &cpioWriter{w: z}
	for _, dir := range []string{"dev", "proc", "sys", "modules"} {
		c.add(dir, modeDir, nil, 0, 0)
	}
	c.add("dev/console", modeChar, nil, 5, 1) // where process 1 writes before /dev is mounted
	c.add("init", modeProg, program, 0, 0)
	for i, m := range modules {
		c.add(fmt.Sprintf("modules/%02d-%s.ko", i, m.name), modeFile, m.data, 0, 0)
	}
	if err := c.close(); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return f.Close()
}
