package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Machine is what figures depend on beside what was measured. It names no host.
type Machine struct {
	CPU          string `json:"cpu"`
	CPUs         int    `json:"cpus"`
	Nodes        int    `json:"numa_nodes"`
	Hugepages    string `json:"hugepages"`
	Kernel       string `json:"kernel"`
	Distribution string `json:"distribution"`
	Hypervisor   string `json:"hypervisor"`
	Go           string `json:"go"` // with which the load was built
	Load         string `json:"load_average_before"`
}

// ThisMachine describes the machine now.
func ThisMachine(ctx context.Context) Machine {
	cpus, memory := readText("/proc/cpuinfo"), readText("/proc/meminfo")
	nodes, _ := filepath.Glob("/sys/devices/system/node/node[0-9]*") // the pattern is right
	return Machine{
		CPU: orUnknown(valueOf(cpus, "model name", ":")), CPUs: runtime.NumCPU(), Nodes: max(1, len(nodes)),
		Hugepages: hugepages(memory), Kernel: orUnknown(oneLine("/proc/sys/kernel/osrelease")),
		Distribution: orUnknown(valueOf(readText("/etc/os-release"), "PRETTY_NAME", "=")),
		Hypervisor:   hypervisor(cpus, Version(ctx, "env", "LC_ALL=C", "lscpu")),
		Go:           runtime.Version(), Load: orUnknown(oneLine("/proc/loadavg")),
	}
}

// String is two lines for a report.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d CPUs, NUMA nodes: %d, hypervisor: %s, hugepages: %s\n%s, Linux %s, %s, load average before: %s",
		m.CPU, m.CPUs, m.Nodes, m.Hypervisor, m.Hugepages, m.Distribution, m.Kernel, m.Go, m.Load)
}

// hugepages is the pool of the default size.
func hugepages(meminfo string) string {
	total, size := valueOf(meminfo, "HugePages_Total", ":"), valueOf(meminfo, "Hugepagesize", ":")
	if total == "" || size == "" {
		return "none"
	}
	return total + " of " + size
}

// hypervisor is what lscpu calls it. The CPU itself says only whether there is one.
func hypervisor(cpuinfo, lscpu string) string {
	if name := valueOf(lscpu, "Hypervisor vendor", ":"); name != "" {
		return name
	}
	for _, flag := range strings.Fields(valueOf(cpuinfo, "flags", ":")) {
		if flag == "hypervisor" {
			return unknown
		}
	}
	return "none"
}

// valueOf is the first value of a name in lines of names and values, without quotes; "" if there is none.
func valueOf(text, wanted, separator string) string {
	for line := range strings.Lines(text) {
		if name, value, found := strings.Cut(line, separator); found && strings.TrimSpace(name) == wanted {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// readText is what a file says, "" without it.
func readText(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(text)
}

func oneLine(path string) string { return strings.TrimSpace(readText(path)) }

func orUnknown(text string) string {
	if text == "" {
		return unknown
	}
	return text
}
