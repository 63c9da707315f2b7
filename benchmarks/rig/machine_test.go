package rig

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestTheMachineIsDescribedInFull(t *testing.T) {
	m := ThisMachine(t.Context())
	v := reflect.ValueOf(m)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("%s is empty", v.Type().Field(i).Name)
		}
		if f := v.Field(i); f.Kind() == reflect.String && !strings.Contains(m.String(), f.String()) {
			t.Errorf("the report lacks %q:\n%s", f, m)
		}
	}
	if host, err := os.Hostname(); err == nil && len(host) > 4 && strings.Contains(m.String(), host) {
		t.Errorf("the report names the host:\n%s", m)
	}
}

func TestHypervisor(t *testing.T) {
	for _, c := range []struct{ flags, lscpu, want string }{
		{"fpu hypervisor vme", "CPU(s): 2\nHypervisor vendor:    KVM\n", "KVM"},
		{"fpu hypervisor vme", "unknown: no lscpu", unknown},
		{"fpu vme", "CPU(s): 2\n", "none"},
	} {
		if got := hypervisor("processor : 0\nflags\t\t: "+c.flags+"\n", c.lscpu); got != c.want {
			t.Errorf("%q, %q: %s, want %s", c.flags, c.lscpu, got, c.want)
		}
	}
}

func TestHugepagesOfTheDefaultSize(t *testing.T) {
	const text = "MemTotal: 9 kB\nHugePages_Total:    1200\nHugePages_Free:     7\nHugepagesize:       2048 kB\n"
	if got := hugepages(text); got != "1200 of 2048 kB" {
		t.Errorf("%q", got)
	}
	if got := hugepages("MemTotal: 9 kB\n"); got != "none" {
		t.Errorf("%q", got)
	}
	if got := valueOf("NAME=x\nPRETTY_NAME=\"Some Linux 12\"\n", "PRETTY_NAME", "="); got != "Some Linux 12" {
		t.Errorf("%q", got)
	}
}

func TestLineOfAVersion(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	const script = "#!/bin/sh\n[ \"$1\" = --version ] && printf 'program 3.1\\nDPDK 22.11\\n'\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := LineOf(t.Context(), "DPDK", program); got != "DPDK 22.11" {
		t.Errorf("%q", got)
	}
	for _, program := range []string{"/bin/true", "/nowhere/program"} {
		if got := LineOf(t.Context(), "DPDK", program); !strings.HasPrefix(got, unknown) {
			t.Errorf("%s: %q", program, got)
		}
	}
}
