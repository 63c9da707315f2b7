package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Machine is what figures depend on beside what was measured.
type Machine struct {
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Kernel string `json:"kernel"`
	Load   string `json:"load_average_before"`
}

// ThisMachine describes the machine now.
func ThisMachine() Machine {
	return Machine{
		CPU: cpuModel(), CPUs: runtime.NumCPU(), Kernel: oneLine("/proc/sys/kernel/osrelease"), Load: oneLine("/proc/loadavg"),
	}
}

// String is one line for a report.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d CPUs, Linux %s, load average before: %s", m.CPU, m.CPUs, m.Kernel, m.Load)
}

// Version is what a program prints about its version, or why that cannot be had.
func Version(ctx context.Context, program string, args ...string) string {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return "unknown: " + err.Error()
	}
	return strings.TrimSpace(string(out))
}

// PackageVersion is the version of a Debian package that is installed.
func PackageVersion(ctx context.Context, name string) string {
	return Version(ctx, "dpkg-query", "-W", "-f", "${Package} ${Version}", name)
}

// WriteJSON writes a report to a file, whose directory is made.
func WriteJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// ReadJSON reads a report that WriteJSON wrote.
func ReadJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Median is the middle value, or the mean of the two in the middle. There is at least one value.
func Median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// Percentile is the least value that p percent of v do not exceed. There is at least one value.
func Percentile(v []float64, p int) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[max(0, (len(s)*p+99)/100-1)]
}

// Join formats values one by one.
func Join(v []float64, format func(float64) string) string {
	var words []string
	for _, x := range v {
		words = append(words, format(x))
	}
	return strings.Join(words, " ")
}

func oneLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // without it there is no line either
	for line := range strings.Lines(string(text)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}
