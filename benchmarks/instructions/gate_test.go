package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the budgets anew, as the scenarios are now")

// TestMain lets the test be the program that is counted in, too: it is the same code.
func TestMain(m *testing.M) {
	if os.Getenv(tracedScenario) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// readTable reads the budgets, and skips the test if this program is not like the one that they are of.
func readTable(t *testing.T) *budgets {
	t.Helper()
	table, err := readBudgets()
	if err != nil {
		t.Fatal(err)
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("the test binary does not say how it was built")
	}
	if *update {
		table.toolchain = runtime.Version()
	}
	if why := table.incomparable(runtime.Version(), info.Settings); why != "" {
		t.Skip("not counted: " + why)
	}
	if testing.CoverMode() != "" {
		t.Skip("not counted: compiled with -cover, and the budgets are of a program without")
	}
	return table
}

// counted is what a scenario's packets take. It skips the test where no process may look into another.
func counted(t *testing.T, s *scenario, laps int) *count {
	t.Helper()
	c, err := measure(s, laps)
	if errors.Is(err, unix.EPERM) {
		t.Skipf("not counted: this process may not use ptrace: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestInstructionsPerPacket holds every scenario to its budget, and to allocate nothing.
func TestInstructionsPerPacket(t *testing.T) {
	table := readTable(t)
	var now []budget
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			b := table.of(s.name)
			b.instructions = hold(t, &s, b)
			now = append(now, b)
		})
	}
	for _, row := range table.list {
		if !slices.ContainsFunc(scenarios(), func(s scenario) bool { return s.name == row.scenario }) && !*update {
			t.Errorf("%s has a budget for %s, which is no scenario; take it out: %s", budgetFile, row.scenario, howToUpdate)
		}
	}
	if *update && len(now) == len(scenarios()) {
		table.list = now
		if err := os.WriteFile(budgetFile, []byte(table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// hold counts, and complains if it has to. What exceeds a budget is counted once more, in another process: a hash may have
// had a bad seed.
func hold(t *testing.T, s *scenario, b budget) (instructions float64) {
	t.Helper()
	const tries = 2
	for try := 1; ; try++ {
		c := counted(t, s, 1)
		for _, f := range c.functions {
			if strings.HasPrefix(f.name, "runtime.mallocgc") {
				t.Fatalf("%s allocates: %.2f instructions per packet in %s", s.name, f.perPacket, f.name)
			}
		}
		err := b.check(c.perPacket)
		if err == nil || *update {
			t.Logf("%.1f instructions per packet", c.perPacket)
			return c.perPacket
		}
		if try == tries {
			t.Error(err)
			return c.perPacket
		}
	}
}

func TestLapsTakeTheSameInstructions(t *testing.T) {
	readTable(t)
	s := scenarios()[0]
	c := counted(t, &s, 2)
	// The loop's account of time may take one branch or the other.
	const handful = 8
	if a, b := c.laps[0], c.laps[1]; max(a, b)-min(a, b) > handful {
		t.Errorf("the same %d packets took %d instructions", s.perLap(), c.laps)
	}
}

func TestBudgetsAreHeldBothWays(t *testing.T) {
	b := budget{"some", 500, 2}
	for _, c := range []struct {
		instructions float64
		want         string
	}{
		{500, ""},
		{509.9, ""},
		{490.1, ""},
		{511, "2.2 % more than its budget of 500.0"},
		{489, "2.2 % less than its budget of 500.0; lower it"},
	} {
		if got := fmt.Sprint(b.check(c.instructions)); c.want == "" && got != "<nil>" || !strings.Contains(got, c.want) {
			t.Errorf("%v of 500: %s, want %q", c.instructions, got, c.want)
		}
	}
	if err := new(budgets).of("new").check(1); err == nil || !strings.Contains(err.Error(), "no budget") {
		t.Errorf("a scenario without a budget: %v", err)
	}
}

func TestBudgetFile(t *testing.T) {
	const text = "# Why.\ntoolchain go1.26.8\n64              583.0  2\nacl            4500.5  5\n"
	b, err := parseBudgets(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != text {
		t.Errorf("read and written again:\n%s\nwant:\n%s", got, text)
	}
	for wrong, want := range map[string]string{
		"64 583 2":                       `no line "toolchain"`,
		"toolchain go1.26\n64 583":       "budget.txt:2",
		"toolchain go1.26\n64 many 2":    "budget.txt:2",
		"toolchain go1.26\n64 583 2 now": "budget.txt:2",
	} {
		if _, err := parseBudgets(wrong); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", wrong, err, want)
		}
	}
}

func TestWhatCannotBeComparedIsSkippedWithAReason(t *testing.T) {
	b := &budgets{toolchain: "go1.26.8"}
	for _, c := range []struct {
		version, key, value, want string
	}{
		{"go1.26.9", "GOAMD64", "v1", ""},
		{"go1.27.0", "GOAMD64", "v1", "compiled by go1.27.0"},
		{"go1.26.8", "GOAMD64", "v3", "GOAMD64=v3"},
		{"go1.26.8", "-race", "true", "-race=true"},
		{"go1.26.8", "-gcflags", "-N", "-gcflags=-N"},
	} {
		got := b.incomparable(c.version, []debug.BuildSetting{{Key: "-compiler", Value: "gc"}, {Key: c.key, Value: c.value}})
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s with %s=%s: %q, want %q", c.version, c.key, c.value, got, c.want)
		}
	}
}
