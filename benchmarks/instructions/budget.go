package main

import (
	"fmt"
	"go/version"
	"os"
	"runtime/debug"
	"strings"
)

const (
	budgetFile = "budget.txt"
	// usualTolerance is a new scenario's, in percent.
	usualTolerance = 2

	howToUpdate = "go test ./benchmarks/instructions -update"
)

// budgets is the file of what each scenario's packets may cost.
type budgets struct {
	comments  []string
	toolchain string // that compiled what was counted
	list      []budget
}

// budget is a scenario's instructions per packet.
type budget struct {
	scenario     string
	instructions float64
	tolerance    float64 // percent, either way
}

func parseBudgets(text string) (*budgets, error) {
	b := new(budgets)
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		var row budget
		switch fields := strings.Fields(line); {
		case strings.HasPrefix(line, "#"):
			b.comments = append(b.comments, line)
		case len(fields) == 2 && fields[0] == "toolchain":
			b.toolchain = fields[1]
		default:
			if n, err := fmt.Sscan(line, &row.scenario, &row.instructions, &row.tolerance); n != 3 || len(fields) != 3 {
				return nil, fmt.Errorf("%s:%d: %q is no scenario with instructions per packet and tolerance in percent (%v)",
					budgetFile, i+1, line, err)
			}
			b.list = append(b.list, row)
		}
	}
	if version.Lang(b.toolchain) == "" {
		return nil, fmt.Errorf("%s: there is no line \"toolchain\" with a version of Go", budgetFile)
	}
	return b, nil
}

func (b *budgets) String() string {
	var s strings.Builder
	for _, c := range b.comments {
		s.WriteString(c + "\n")
	}
	fmt.Fprintf(&s, "toolchain %s\n", b.toolchain)
	for _, row := range b.list {
		fmt.Fprintf(&s, "%-12s %8.1f  %g\n", row.scenario, row.instructions, row.tolerance)
	}
	return s.String()
}

// of is a scenario's budget; without one it is nothing, which no scenario keeps to.
func (b *budgets) of(scenario string) budget {
	for _, row := range b.list {
		if row.scenario == scenario {
			return row
		}
	}
	return budget{scenario, 0, usualTolerance}
}

func readBudgets() (*budgets, error) {
	text, err := os.ReadFile(budgetFile)
	if err != nil {
		return nil, err
	}
	return parseBudgets(string(text))
}

// check says what is wrong with a packet that takes so many instructions: also that it takes fewer, or else the budget
// would let that be lost again.
func (b budget) check(instructions float64) error {
	percent := 100 * (instructions - b.instructions) / b.instructions
	switch {
	case b.instructions == 0:
		return fmt.Errorf("%s: %.1f instructions per packet and no budget; give it one: %s", b.scenario, instructions, howToUpdate)
	case percent > b.tolerance:
		return fmt.Errorf("%s: %.1f instructions per packet, %.1f %% more than its budget of %.1f; `make bench-instructions` "+
			"shows where they go. If they are worth it: %s", b.scenario, instructions, percent, b.instructions, howToUpdate)
	case percent < -b.tolerance:
		return fmt.Errorf("%s: %.1f instructions per packet, %.1f %% less than its budget of %.1f; lower it, so that this stays: %s",
			b.scenario, instructions, -percent, b.instructions, howToUpdate)
	}
	return nil
}

// incomparable says why a program that was built like this, by this version of Go, has other instructions than the one that
// the budgets are of. It is empty if it has the same.
func (b *budgets) incomparable(goVersion string, settings []debug.BuildSetting) string {
	if now, then := version.Lang(goVersion), version.Lang(b.toolchain); now != then {
		return fmt.Sprintf("compiled by %s, and the budgets are of %s; count anew with %s", goVersion, b.toolchain, howToUpdate)
	}
	for _, s := range settings {
		switch s.Key {
		case "-race", "-msan", "-asan", "-cover", "-gcflags", "-pgo", "GOEXPERIMENT":
			return fmt.Sprintf("compiled with %s=%s, and the budgets are of a program without", s.Key, s.Value)
		case "GOAMD64":
			if s.Value != "v1" {
				return fmt.Sprintf("compiled with GOAMD64=%s, and the budgets are of v1", s.Value)
			}
		}
	}
	return ""
}
