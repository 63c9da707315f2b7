package guest

import (
	"bufio"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Symbolic links in a newc archive hold their target as contents (POSIX <sys/stat.h>).
const modeLink = 0o120777

// libraryDir is where Debian keeps the shared objects of this architecture, and interpreter is their loader.
const (
	libraryDir  = "usr/lib/x86_64-linux-gnu"
	interpreter = "lib64/ld-linux-x86-64.so.2"
)

// Debian describes an image whose user space is more than the agent: programs taken out of a Debian root.
type Debian struct {
	Name      string   // of the initial file system's file
	Root      string   // the directory of a Debian system, for programs and their libraries
	KernelDir string   // a kernel package was unpacked here
	Modules   []string // inserted at boot, with all they depend on
	// Later are modules that lie in /modules/later/NAME.ko for the agent to insert; what they depend on is inserted at
	// boot.
	Later    []string
	Programs []string // paths below Root, "usr/bin/NAME"; their libraries come with them
	Plugins  []string // shared objects that programs load by path, "usr/lib/x86_64-linux-gnu/DIR/NAME"
}

// BuildDebian builds an image. Like Build, it takes the agent's program from the module in source and leaves what it
// makes in workDir.
func BuildDebian(ctx context.Context, source, workDir string, d Debian) (*Image, error) {
	img := &Image{Agent: filepath.Join(workDir, "agent"), Initrd: filepath.Join(workDir, d.Name+".cpio")}
	kernels, err := filepath.Glob(filepath.Join(d.KernelDir, "boot", "vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return nil, fmt.Errorf("guest kernel: %d kernels in %s, want one: remove that directory and try again",
			len(kernels), d.KernelDir)
	}
	img.Kernel = kernels[0]
	img.Version = strings.TrimPrefix(filepath.Base(img.Kernel), "vmlinuz-")
	if err := buildAgent(ctx, source, img.Agent); err != nil {
		return nil, err
	}
	f, err := os.Create(img.Initrd)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	// Not compressed: an emulated processor takes longer to unpack it than qemu to load it.
	w := bufio.NewWriterSize(f, 1<<20)
	if err := d.write(w, img); err != nil {
		return nil, fmt.Errorf("initial file system %s: %w", d.Name, err)
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	return img, f.Close()
}

// buildAgent builds the guest's init, which is the agent too.
func buildAgent(ctx context.Context, source, to string) error {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", to, "./internal/e2e/guest/init")
	build.Dir = source
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the guest's init: %w\n%s", err, out)
	}
	return nil
}

func (d *Debian) write(w io.Writer, img *Image) error {
	program, err := os.ReadFile(img.Agent)
	if err != nil {
		return err
	}
	c := &cpioWriter{w: w}
	for _, dir := range []string{
		".", // which would be writable by everyone, and DPDK loads nothing from below such a directory
		"dev", "proc", "sys", "run", "tmp", "root", "etc", "modules", "modules/later", "lib64", "usr", "usr/bin", "usr/sbin",
		"usr/lib", libraryDir, "usr/lib/firmware", "var", "var/run",
	} {
		c.add(dir, modeDir, nil, 0, 0)
	}
	for _, link := range []string{"lib", "bin", "sbin"} {
		c.add(link, modeLink, []byte("usr/"+link), 0, 0)
	}
	c.add("dev/console", modeChar, nil, 5, 1) // where process 1 writes before /dev is mounted
	c.add("init", modeProg, program, 0, 0)
	if err := d.writeModules(c, img.Version); err != nil {
		return err
	}
	if err := d.writePrograms(c); err != nil {
		return err
	}
	return c.close()
}

func (d *Debian) writeModules(c *cpioWriter, version string) error {
	set, err := findModules(filepath.Join(d.KernelDir, "usr", "lib", "modules", version))
	if err != nil {
		return err
	}
	later := make(map[string]bool)
	for _, name := range d.Later {
		later[name] = true
	}
	modules, err := set.resolve(append(append([]string(nil), d.Modules...), d.Later...))
	if err != nil {
		return err
	}
	for i, m := range modules {
		name := fmt.Sprintf("modules/%02d-%s.ko", i, m.name)
		if later[m.name] {
			name = fmt.Sprintf("modules/later/%s.ko", m.name)
		}
		c.add(name, modeFile, m.data, 0, 0)
	}
	return nil
}

// writePrograms adds the programs, the plugins and, once each, the libraries that any of them needs.
func (d *Debian) writePrograms(c *cpioWriter) error {
	if len(d.Programs) == 0 {
		return nil
	}
	dirs := map[string]bool{"lib64": true, "usr": true, "usr/bin": true, "usr/sbin": true, "usr/lib": true, libraryDir: true}
	done := make(map[string]bool)
	var add func(path string) error
	add = func(path string) error {
		if done[path] {
			return nil
		}
		done[path] = true
		data, err := os.ReadFile(filepath.Join(d.Root, path))
		if err != nil {
			return err
		}
		addParents(c, dirs, filepath.Dir(path))
		c.add(path, modeProg, data, 0, 0)
		needed, err := libraries(filepath.Join(d.Root, path))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, lib := range needed {
			if strings.HasPrefix(lib, "ld-linux") {
				continue // the interpreter, added below
			}
			if err := add(filepath.Join(libraryDir, lib)); err != nil {
				return fmt.Errorf("%s needs %w", path, err)
			}
		}
		return nil
	}
	for _, path := range append([]string{interpreter}, d.Programs...) {
		if err := add(path); err != nil {
			return err
		}
	}
	for _, path := range d.Plugins {
		// One file for a plugin and the library that it is to programs which name it: the loader would take two for two,
		// and run both.
		library, err := soname(filepath.Join(d.Root, path))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		library = filepath.Join(libraryDir, library)
		if err := add(library); err != nil {
			return err
		}
		addParents(c, dirs, filepath.Dir(path))
		c.add(path, modeLink, []byte("/"+library), 0, 0)
	}
	return nil
}

// soname is the name that programs know a shared object by.
func soname(path string) (string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	names, err := f.DynString(elf.DT_SONAME)
	if err == nil && len(names) != 1 {
		err = fmt.Errorf("%d names (DT_SONAME), want one", len(names))
	}
	if err != nil {
		return "", err
	}
	return names[0], nil
}

// addParents adds the directories of a path that the archive does not have yet.
func addParents(c *cpioWriter, have map[string]bool, dir string) {
	if dir == "." || have[dir] {
		return
	}
	addParents(c, have, filepath.Dir(dir))
	have[dir] = true
	c.add(dir, modeDir, nil, 0, 0)
}

// libraries reads which shared objects a program or an object names as needed.
func libraries(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return f.ImportedLibraries()
}
