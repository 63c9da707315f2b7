package guest

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// wantedModules are what a guest needs beyond the kernel itself; what is built in is skipped.
var wantedModules = []string{"virtio_pci", "virtio_net", "8021q"}

// moduleSet knows the modules of one kernel package by name.
type moduleSet struct {
	files   map[string]string // name -> path
	builtin map[string]bool
}

// moduleName is how the kernel calls the module of a file: the dash and the underscore are the same to it.
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// findModules reads a lib/modules/VERSION directory.
func findModules(dir string) (*moduleSet, error) {
	s := &moduleSet{files: make(map[string]string), builtin: make(map[string]bool)}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(d.Name(), ".ko") {
			s.files[moduleName(path)] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("kernel modules: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("kernel modules: %w", err)
	}
	for _, line := range strings.Fields(string(text)) {
		s.builtin[moduleName(line)] = true
	}
	return s, nil
}

// module is one module's contents, uncompressed.
type module struct {
	name string
	data []byte
}

// resolve returns the wanted modules and all they depend on, each after its dependencies. The package has no
// modules.dep (depmod makes it at installation), so the dependencies come from the modules themselves.
func (s *moduleSet) resolve(wanted []string) ([]module, error) {
	var out []module
	seen := make(map[string]bool)
	var visit func(name string) error
	visit = func(name string) error {
		if seen[name] || s.builtin[name] {
			return nil
		}
		seen[name] = true
		path, found := s.files[name]
		if !found {
			return fmt.Errorf("kernel module %s is neither built in nor in the package", name)
		}
		data, err := readModule(path)
		if err != nil {
			return err
		}
		deps, err := moduleDeps(data)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, d := range deps {
			if err := visit(d); err != nil {
				return err
			}
		}
		out = append(out, module{name: name, data: data})
		return nil
	}
	for _, name := range wanted {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// readModule reads a module, uncompressed if need be: Debian 12 ships .ko, Debian 13 .ko.xz.
func readModule(path string) ([]byte, error) {
	tool := map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"}[filepath.Ext(path)]
	if tool == "" {
		return os.ReadFile(path)
	}
	data, err := exec.Command(tool, "-dc", path).Output()
	if err != nil {
		return nil, fmt.Errorf("%s -dc %s: %w", tool, path, err)
	}
	return data, nil
}

// moduleDeps reads the names after "depends=" in a module's .modinfo section.
func moduleDeps(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no .modinfo section")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for entry := range strings.SplitSeq(string(info), "\x00") {
		if names, found := strings.CutPrefix(entry, "depends="); found && names != "" {
			return strings.Split(strings.ReplaceAll(names, "-", "_"), ","), nil
		}
	}
	return nil, nil
}
