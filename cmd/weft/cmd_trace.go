package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weft/switch"
)

func (a *app) flowTraceCommand() *cobra.Command {
	var bridge string
	cmd := &cobra.Command{
		Use:   "trace [BRIDGE] FIELDS [FRAME]",
		Short: "Say what would happen to a packet, table by table, as ofproto/trace does",
		Long: paragraphs(
			"Says what would happen to a packet that has FIELDS, which are written as the condition of a rule, or to FRAME, given " +
				"in hexadecimal digits, with FIELDS saying where it arrives: the rules that it meets table by table, what they " +
				"do, and the program that the switch carries out. Nothing is sent, learned or counted.",
		),
		Example: "  weft flow trace in_port=vm1,tcp,nw_dst=10.0.0.1,tp_dst=80\n" +
			"  weft flow trace br0 in_port=vm1 ffffffffffff5254000000010806...",
		Args: rangeArgs(1, 3), ValidArgsFunction: a.completeBridges,
	}
	a.bridgeFlag(cmd, &bridge)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		frame := ""
		if last := args[len(args)-1]; len(args) == 3 || len(args) == 2 && isFrame(last) {
			frame, args = last, args[:len(args)-1]
		}
		bridge, fields, err := a.bridgeAndFilter(cmd, bridge, args)
		if err != nil {
			return err
		}
		t, err := routeFlowTrace.call(cmd.Context(), a, &traceRequest{bridge, fields, frame})
		if err != nil {
			return about(err, fields, "fields")
		}
		return a.show(t, func(w io.Writer) { printTrace(w, t) })
	}
	return cmd
}

// isFrame reports whether an argument can only be a frame: more hexadecimal digits than a field's value has.
func isFrame(arg string) bool {
	return len(arg) >= 28 && !slices.ContainsFunc([]byte(strings.ToLower(arg)), func(c byte) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'f')
	})
}

func printTrace(w io.Writer, t *vswitch.FlowTrace) {
	title := fmt.Sprintf("bridge(%q)", t.Bridge)
	fmt.Fprintf(w, "Flow: %s\n\n%s\n%s\n", t.Flow, title, strings.Repeat("-", len(title)))
	for _, s := range t.Steps {
		indent := strings.Repeat("    ", s.Depth)
		if s.Table >= 0 {
			fmt.Fprintf(w, "%s%2d. %s\n", indent, s.Table, s.Text)
		} else {
			fmt.Fprintf(w, "%s%s\n", indent, s.Text)
		}
	}
	cached := t.Cached
	if cached == "" {
		cached = "any packet"
	}
	fmt.Fprintf(w, "\nFinal flow: %s\nCached flow: %s\nProgram: %s\n", t.Final, cached, t.Program)
}
