package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weft/switch"
	"weft/switch/control"
)

func (a *app) flowCommand() *cobra.Command {
	return group("flow", "Show and change rules",
		a.flowDumpCommand(), a.changeCommand(&flowAdd), a.changeCommand(&flowModify), a.flowDelCommand(),
		a.flowReplaceCommand(), a.flowDiffCommand(), a.flowStatsCommand(), a.flowTraceCommand())
}

func (a *app) flowDumpCommand() *cobra.Command {
	var bridge string
	var bare bool
	cmd := &cobra.Command{
		Use:   "dump [BRIDGE] [FILTER]",
		Short: "Print rules with their counters, as ovs-ofctl dump-flows does",
		Long: paragraphs(
			"Prints rules with their counters, as ovs-ofctl dump-flows does. FILTER selects rules: what it " +
				"matches on, a table=N, a cookie=C/MASK, an out_port=P, in the syntax of ovs-ofctl(8).",
		),
		Example:           "  weft flow dump\n  weft flow dump br0 table=0,tcp\n  weft flow dump --no-stats > rules.txt",
		Args:              rangeArgs(0, 2),
		ValidArgsFunction: a.completeBridges,
	}
	cmd.Flags().BoolVar(&bare, "no-stats", false, "print rules alone, in the form that 'flow add' takes")
	a.bridgeFlag(cmd, &bridge)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		bridge, filter, err := a.bridgeAndFilter(cmd, bridge, args)
		if err != nil {
			return err
		}
		out, err := a.flowPrinter(cmd.Context(), bridge, bare)
		if err != nil {
			return err
		}
		if err := routeFlows.each(cmd.Context(), a, &flowRequest{Bridge: bridge, Filter: filter}, out.flow); err != nil {
			return about(err, filter, "filter")
		}
		return out.end()
	}
	return cmd
}

// flowPrinter prints rules as they arrive: as text, with a heading for each bridge where there are several, or as JSON.
type flowPrinter struct {
	out     *bufio.Writer
	bare    bool
	several bool
	last    string // bridge
	list    *jsonList
}

func (a *app) flowPrinter(ctx context.Context, bridge string, bare bool) (*flowPrinter, error) {
	p := &flowPrinter{out: bufio.NewWriterSize(a.out, 64<<10), bare: bare}
	if a.wantsJSON() {
		p.list = newJSONList(p.out)
		return p, nil
	}
	if bridge == "" {
		bridges, err := routeBridges.call(ctx, a, &noRequest{})
		if err != nil {
			return nil, err
		}
		p.several = len(bridges) > 1
	}
	return p, nil
}

func (p *flowPrinter) flow(f *vswitch.FlowInfo) error {
	if p.list != nil {
		return p.list.add(f)
	}
	if p.several && f.Bridge != p.last {
		fmt.Fprintf(p.out, "# bridge %s\n", f.Bridge)
		p.last = f.Bridge
	}
	text := f.Dump
	if p.bare {
		text = f.Text
	}
	_, _ = p.out.Write(text) // what goes wrong shows with the next
	return p.out.WriteByte('\n')
}

func (p *flowPrinter) end() error {
	if p.list != nil {
		p.list.end()
	}
	return p.out.Flush()
}

func (a *app) flowReplaceCommand() *cobra.Command {
	var bridge string
	cmd := &cobra.Command{
		Use:   "replace [BRIDGE] FILE",
		Short: "Make the rules of a file the only ones, as ovs-ofctl replace-flows does",
		Long: paragraphs(
			"Makes the rules of FILE (- is standard input) the only ones, as ovs-ofctl replace-flows does, at once. Rules that " +
				"are there already keep their counters and ages.",
		),
		Example: "  weft flow replace br0 rules.txt", Args: rangeArgs(1, 2), ValidArgsFunction: a.completeBridges,
	}
	a.bridgeFlag(cmd, &bridge)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		bridge, t, err := a.bridgeAndFile(cmd, bridge, args)
		if err != nil {
			return err
		}
		defer t.close()
		n, err := a.sendChanges(cmd.Context(), &vswitch.FlowRequest{
			Bridge: bridge, Kind: vswitch.KindFlow, Command: vswitch.CommandReplace,
		}, t)
		if err != nil {
			return err
		}
		return a.say(n, "%s", countsText(n))
	}
	return cmd
}

func (a *app) flowDiffCommand() *cobra.Command {
	var bridge string
	cmd := &cobra.Command{
		Use:   "diff [BRIDGE] FILE",
		Short: "Compare the rules with those of a file, as ovs-ofctl diff-flows does",
		Long: paragraphs(
			"Prints the rules that are only in the switch with a -, those that are only in FILE (- is standard input) with a + " +
				"and those with other actions, cookie or timeouts with both, as ovs-ofctl diff-flows does. The exit status is 2 " +
				"when there is a difference.",
		),
		Example: "  weft flow diff br0 rules.txt", Args: rangeArgs(1, 2), ValidArgsFunction: a.completeBridges,
	}
	a.bridgeFlag(cmd, &bridge)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		bridge, t, err := a.bridgeAndFile(cmd, bridge, args)
		if err != nil {
			return err
		}
		defer t.close()
		c := a.slowClient()
		defer c.Close()
		d, err := control.CallText[bridgeRequest, vswitch.FlowDifference](cmd.Context(), c, routeFlowDiff.method,
			routeFlowDiff.pattern, &bridgeRequest{Bridge: bridge}, t.read())
		if err != nil {
			return t.place(err)
		}
		if err := a.show(d, func(w io.Writer) {
			for _, line := range d.Lines {
				fmt.Fprintln(w, line)
			}
		}); err != nil || len(d.Lines) == 0 {
			return err
		}
		return errDiffers
	}
	return cmd
}

// bridgeAndFile takes [BRIDGE] FILE apart.
func (a *app) bridgeAndFile(cmd *cobra.Command, flag string, args []string) (bridge string, t *changeText, err error) {
	if len(args) == 2 {
		if flag != "" {
			return "", nil, &usageError{errors.New("the bridge is named twice"), cmd}
		}
		flag, args = args[0], args[1:]
	}
	t, err = a.openText(cmd, nil, args[0])
	return flag, t, err
}

func (a *app) flowStatsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stats [BRIDGE] [FILTER]",
		Short: "Print sums over the rules that a filter selects, and the sizes of the tables",
		Args:  rangeArgs(0, 2), ValidArgsFunction: a.completeBridges,
		RunE: func(cmd *cobra.Command, args []string) error {
			bridge, filter, err := a.bridgeAndFilter(cmd, "", args)
			if err != nil {
				return err
			}
			stats, err := routeFlowStats.call(cmd.Context(), a, &flowRequest{Bridge: bridge, Filter: filter})
			if err != nil {
				return about(err, filter, "filter")
			}
			return a.show(stats, func(w io.Writer) { printFlowStats(w, stats) })
		},
	}
}

func printFlowStats(w io.Writer, stats []vswitch.FlowStats) {
	t := newTable("BRIDGE", ">TABLE", ">RULES", ">MASKS", ">PACKETS", ">BYTES")
	for i := range stats {
		b := &stats[i]
		for _, s := range b.Tables {
			t.row(b.Bridge, s.Table, s.Rules, s.Masks, s.Packets, s.Bytes)
		}
		t.row(b.Bridge, "all", b.Rules, "", b.Packets, b.Bytes)
	}
	t.print(w, "")
}

func (a *app) flowDelCommand() *cobra.Command {
	var bridge string
	var strict, all bool
	cmd := &cobra.Command{
		Use:   "del [BRIDGE] FILTER | --all",
		Short: "Delete the rules that a filter selects, as ovs-ofctl del-flows does",
		Long: paragraphs(
			"Deletes the rules that FILTER selects, as ovs-ofctl del-flows does: those that match on the same or " +
				"more. With --strict the match and the priority must be the same, so that at most one rule of a table " +
				"goes.",
		),
		Example: "  weft flow del in_port=vm1\n" +
			"  weft flow del --strict br0 priority=100,tcp\n" +
			"  weft flow del --all",
		Args:              rangeArgs(0, 2),
		ValidArgsFunction: a.completeBridges,
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "match and priority must be exactly those of the rule")
	cmd.Flags().BoolVar(&all, "all", false, "delete all rules of the bridge")
	a.bridgeFlag(cmd, &bridge)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if all && strict {
			return &usageError{errors.New("--all and --strict exclude each other: --strict needs a match"), cmd}
		}
		bridge, filter, err := a.bridgeAndFilter(cmd, bridge, args)
		switch {
		case err != nil:
			return err
		case filter == "" && !all:
			return &usageError{errors.New("no filter is given; to delete all rules, say --all"), cmd}
		case filter != "" && all:
			return &usageError{errors.New("a filter and --all exclude each other"), cmd}
		}
		n, err := routeFlowDel.call(cmd.Context(), a, &flowRequest{bridge, filter, strict})
		if err != nil {
			return about(err, filter, "filter")
		}
		return a.say(map[string]int{"deleted": n.Count}, "%s deleted", plural(n.Count, "rule"))
	}
	return cmd
}

func (a *app) bridgeFlag(cmd *cobra.Command, bridge *string) {
	cmd.Flags().StringVarP(bridge, "bridge", "b", "", "bridge; may be left out when there is only one")
	must(cmd.RegisterFlagCompletionFunc("bridge", a.completeBridges))
}

// isName reports whether an argument can only be a bridge's name: rules have actions, and - is standard input.
func isName(arg string) bool { return arg != "-" && !strings.ContainsAny(arg, "=,: ") }

// bridgeAndFilter tells the arguments [BRIDGE] [FILTER] apart. One word alone, such as "tcp", is a bridge if there is
// one of that name.
func (a *app) bridgeAndFilter(cmd *cobra.Command, flag string, args []string) (bridge, filter string, err error) {
	switch {
	case len(args) == 2 && flag != "":
		return "", "", &usageError{errors.New("the bridge is named twice"), cmd}
	case len(args) == 2:
		return args[0], args[1], nil
	case len(args) == 0:
		return flag, "", nil
	case flag != "" || !isName(args[0]):
		return flag, args[0], nil
	}
	bridges, err := routeBridges.call(cmd.Context(), a, &noRequest{})
	if err != nil {
		return "", "", err
	}
	if slices.ContainsFunc(bridges, func(b vswitch.BridgeInfo) bool { return b.Name == args[0] }) {
		return args[0], "", nil
	}
	return "", args[0], nil
}

// about adds the text of a filter to the errors about it.
func about(err error, text, what string) error {
	var e *control.Error
	if !errors.As(err, &e) || e.Column == 0 {
		return err
	}
	m := mistake{Error: *e, source: text}
	m.File, m.Line = "", 0
	m.Message = fmt.Sprintf("%s, column %d: %s", what, e.Column, e.Message)
	return &placedError{[]mistake{m}}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
