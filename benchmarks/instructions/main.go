package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"weft/benchmarks/rig"
)

func main() {
	if name := os.Getenv(tracedScenario); name != "" {
		exitOn(runTraced(name, os.Stdin, os.Stdout))
		return
	}
	var o options
	flag.StringVar(&o.scenarios, "scenarios", "all", "what to count in: all, or names with commas (-scenarios help lists them)")
	flag.IntVar(&o.top, "top", 12, "how many functions to list for each scenario")
	flag.BoolVar(&o.lines, "lines", false, "list lines instead of functions")
	flag.IntVar(&o.laps, "laps", 1, "how often to count each scenario's packets, to see whether the numbers agree")
	flag.Parse()
	exitOn(report(os.Stdout, &o))
}

// options are the command line.
type options struct {
	scenarios string
	top, laps int
	lines     bool
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "instructions:", err)
		os.Exit(1)
	}
}

// report counts and prints.
func report(w io.Writer, o *options) error {
	chosen := scenarios()
	if o.scenarios != "all" {
		var err error
		chosen, err = rig.Choose(chosen, func(s *scenario) string { return s.name }, o.scenarios, "all")
		if err != nil {
			return err
		}
	}
	for i := range chosen {
		c, err := measure(&chosen[i], max(1, o.laps))
		if err != nil {
			return err
		}
		c.print(w, o)
	}
	return nil
}

// print writes instructions per packet: all, then those of the functions or lines that have most.
func (c *count) print(w io.Writer, o *options) {
	fmt.Fprintf(w, "%9.1f  %s: %s\n", c.perPacket, c.scenario.name, c.scenario.title)
	if len(c.laps) > 1 {
		fmt.Fprintf(w, "%9s  laps of %d packets: %d instructions\n", "", c.scenario.perLap(), c.laps)
	}
	parts := c.functions
	if o.lines {
		parts = c.lines
	}
	for _, p := range parts[:min(max(0, o.top), len(parts))] {
		fmt.Fprintf(w, "%9.1f    %s\n", p.perPacket, p.name)
	}
}
