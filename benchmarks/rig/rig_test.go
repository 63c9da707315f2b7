package rig

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 3}, 2.5}} {
		in := slices.Clone(c.in)
		if got := Median(in); got != c.want || !slices.Equal(in, c.in) {
			t.Errorf("Median(%v) = %v, want %v, and left %v", c.in, got, c.want, in)
		}
	}
}

func TestPercentile(t *testing.T) {
	v := []float64{5, 1, 4, 2, 3, 10, 9, 8, 7, 6}
	for p, want := range map[int]float64{0: 1, 50: 5, 90: 9, 99: 10, 100: 10} {
		if got := Percentile(v, p); got != want {
			t.Errorf("percentile %d is %v, want %v", p, got, want)
		}
	}
}

func TestReportIsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results", "x.json")
	if err := WriteJSON(path, ThisMachine(t.Context())); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), `"cpus": `) || !strings.HasSuffix(string(text), "}\n") {
		t.Errorf("%q, %v", text, err)
	}
	if v := Version(context.Background(), "/nowhere/program"); !strings.HasPrefix(v, "unknown: ") {
		t.Errorf("a program that is not there has version %q", v)
	}
}
