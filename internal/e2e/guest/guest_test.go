package guest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// unpack reads a newc archive as the kernel's initramfs code does.
func unpack(t *testing.T, b []byte) map[string]string {
	t.Helper()
	files := make(map[string]string)
	for at := 0; ; {
		field := func(i int) int {
			n, err := strconv.ParseUint(string(b[at+6+8*i:at+14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		if string(b[at:at+6]) != "070701" {
			t.Fatalf("no magic number at %d", at)
		}
		mode, size, nameSize := field(1), field(6), field(11)
		name := string(b[at+110 : at+110+nameSize-1])
		if name == "TRAILER!!!" {
			return files
		}
		data := (at + 110 + nameSize + 3) &^ 3
		files[name] = fmt.Sprintf("%o %s", mode, b[data:data+size])
		at = (data + size + 3) &^ 3
	}
}

func TestArchiveReadsBack(t *testing.T) {
	var buf bytes.Buffer
	c := &cpioWriter{w: &buf}
	c.add("dev", modeDir, nil, 0, 0)
	c.add("init", modeProg, []byte("12345"), 0, 0)
	c.add("a", modeFile, []byte("1234"), 0, 0)
	c.add("dev/console", modeChar, nil, 5, 1)
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	got := unpack(t, buf.Bytes())
	want := map[string]string{"dev": "40755 ", "init": "100755 12345", "a": "100644 1234", "dev/console": "20600 "}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestModulesAreFoundByTheKernelsNames(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"kernel/net/virtio-rng.ko.xz": "", "kernel/net/8021q.ko": "",
		"modules.builtin": "kernel/lib/crc-itu-t.ko\nkernel/net/stp.ko\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := findModules(dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.files["virtio_rng"] == "" || s.files["8021q"] == "" || !s.builtin["crc_itu_t"] {
		t.Errorf("%+v", s)
	}
	if m, err := s.resolve([]string{"stp"}); err != nil || len(m) != 0 {
		t.Errorf("a built-in module: %v, %v; want nothing to insert", m, err)
	}
	if _, err := s.resolve([]string{"virtio_net"}); err == nil || !strings.Contains(err.Error(), "virtio_net") {
		t.Errorf("a module that is nowhere: %v", err)
	}
}

func TestDependencyOfTheKernelPackage(t *testing.T) {
	const text = "linux-image-cloud-amd64\n  Depends: linux-image-6.12.48+deb13-cloud-amd64\n  Depends: other\n"
	if got := dependency(text); got != "linux-image-6.12.48+deb13-cloud-amd64" {
		t.Errorf("got %q", got)
	}
	if got := dependency("N: Unable to locate package"); got != "" {
		t.Errorf("got %q from nothing", got)
	}
}

func TestProgramsBringTheirLibraries(t *testing.T) {
	const program = "usr/bin/xz"
	for _, path := range []string{program, interpreter} {
		if _, err := os.Stat("/" + path); err != nil {
			t.Skipf("this machine is no Debian on amd64 with xz: %v", err)
		}
	}
	var buf bytes.Buffer
	c := &cpioWriter{w: &buf}
	d := Debian{Root: "/", Programs: []string{program, program}}
	if err := d.writePrograms(c); err != nil {
		t.Fatal(err)
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	files := unpack(t, buf.Bytes())
	for _, want := range []string{program, interpreter, libraryDir + "/libc.so.6", libraryDir + "/liblzma.so.5"} {
		if !strings.HasPrefix(files[want], "100755 \x7fELF") {
			t.Errorf("%s is missing or no program", want)
		}
	}
	d = Debian{Root: t.TempDir(), Programs: []string{program}}
	if err := d.writePrograms(&cpioWriter{w: &buf}); err == nil {
		t.Error("a program that is not there was packed")
	}
}
