package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Version is what a program prints about its version, or why that cannot be had.
func Version(ctx context.Context, program string, args ...string) string {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return unknown + ": " + err.Error()
	}
	return strings.TrimSpace(string(out))
}

// PackageVersion is the version of a Debian package that is installed.
func PackageVersion(ctx context.Context, name string) string {
	return Version(ctx, "dpkg-query", "-W", "-f", "${Package} ${Version}", name)
}

// LineOf is the line of a program's --version that begins with a word, such as a library's name.
func LineOf(ctx context.Context, word, program string) string {
	text := Version(ctx, program, "--version")
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, word) {
			return strings.TrimSpace(line)
		}
	}
	if strings.HasPrefix(text, unknown) {
		return text
	}
	return unknown + ": " + program + " does not name it"
}

// unknown begins what could not be had.
const unknown = "unknown"

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
