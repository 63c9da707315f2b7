package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"weft/switch"
	"weft/switch/control"
)

func (a *app) flowCommand() *cobra.Command {
	return group("flow", "Show and change rules", a.flowDumpCommand(), a.flowAddCommand(), a.flowDelCommand())
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
		flows, err := routeFlows.call(cmd.Context(), a, &flowRequest{Bridge: bridge, Filter: filter})
		if err != nil {
			return about(err, filter, "filter")
		}
		return a.show(flows, func(w io.Writer) { printFlows(w, flows, bare) })
	}
	return cmd
}

func (a *app) flowAddCommand() *cobra.Command {
	var bridge, file string
	cmd := &cobra.Command{
		Use:   "add [BRIDGE] RULE...",
		Short: "Add rules in the syntax of ovs-ofctl add-flow: all of them, or none",
		Long: paragraphs(
			"Adds rules in the syntax of ovs-ofctl add-flow, from the command line, from a file (-f FILE) or, " +
				"where RULE is -, from standard input. In a file empty lines and what follows a # are skipped. A rule " +
				"with the same table, priority and match as an older one replaces it. Either all rules are added or, " +
				"when one is wrong, none.",
		),
		Example: "  weft flow add 'priority=100,in_port=vm1,ip,nw_dst=10.0.0.0/8,actions=output:wire'\n" +
			"  weft flow add br0 -f rules.txt\n" +
			"  generate-rules | weft flow add -",
		ValidArgsFunction: a.completeBridges,
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "read rules from a file; - is standard input")
	a.bridgeFlag(cmd, &bridge)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 && isName(args[0]) {
			if bridge != "" {
				return &usageError{errors.New("the bridge is named twice"), cmd}
			}
			bridge, args = args[0], args[1:]
		}
		rules, err := a.readRules(args, file)
		if err != nil {
			return err
		}
		if len(rules) == 0 {
			return &usageError{errors.New("no rule is given"), cmd}
		}
		return a.addRules(cmd.Context(), bridge, rules)
	}
	return cmd
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

// rule is one rule to add and where it comes from.
type rule struct {
	text   string
	file   string // "" from the command line
	line   int    // in the file
	indent int    // bytes before the rule in its line
}

// readRules collects the rules of flow add.
func (a *app) readRules(args []string, file string) ([]rule, error) {
	var rules []rule
	if file != "" {
		args = append(args, "")
		copy(args[1:], args)
		args[0] = "-"
	}
	for i, arg := range args {
		if arg != "-" {
			rules = append(rules, rule{text: arg})
			continue
		}
		r, name := a.in, "standard input"
		if i == 0 && file != "" && file != "-" {
			f, err := os.Open(file)
			if err != nil {
				return nil, fmt.Errorf("read rules: %w", err)
			}
			defer f.Close()
			r, name = f, file
		}
		more, err := scanRules(r, name)
		if err != nil {
			return nil, err
		}
		rules = append(rules, more...)
	}
	return rules, nil
}

// maxRule is the longest line that is read as a rule, maxRules the longest text that is read as rules, in bytes.
const (
	maxRule  = 1 << 20
	maxRules = 64 << 20
)

// scanRules reads one rule a line.
func scanRules(r io.Reader, name string) ([]rule, error) {
	var rules []rule
	bounded := &io.LimitedReader{R: r, N: maxRules + 1}
	s := bufio.NewScanner(bounded)
	s.Buffer(nil, maxRule)
	n := 0
	for s.Scan() {
		n++
		line, _, _ := strings.Cut(s.Text(), "#")
		text := strings.TrimSpace(line)
		if text != "" {
			rules = append(rules, rule{text, name, n, strings.Index(line, text)})
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read rules: %s:%d: %w", name, n+1, err)
	}
	if bounded.N <= 0 {
		return nil, fmt.Errorf("read rules: %s is longer than %d MiB: add them in parts", name, maxRules>>20)
	}
	return rules, nil
}

func (a *app) addRules(ctx context.Context, bridge string, rules []rule) error {
	in := flowAddRequest{Bridge: bridge, Rules: make([]string, len(rules))}
	for i, r := range rules {
		in.Rules[i] = r.text
	}
	n, err := routeFlowAdd.call(ctx, a, &in)
	if err != nil {
		return placeRules(err, rules)
	}
	return a.say(map[string]int{"added": n.Count}, "%s added", plural(n.Count, "rule"))
}

// placeRules turns "rule 3, column 7" into the place that the rule was read from.
func placeRules(err error, rules []rule) error {
	var e *control.Error
	if !errors.As(err, &e) || e.Line < 1 || e.Line > len(rules) {
		return err
	}
	var out placedError
	for _, e := range append([]*control.Error{e}, e.More...) {
		if len(out.mistakes) == maxMistakes || e.Line < 1 || e.Line > len(rules) {
			break
		}
		r := rules[e.Line-1]
		m := mistake{Error: *e, source: r.text}
		m.More = nil
		if r.file != "" {
			m.File, m.Line = r.file, r.line
			m.Column += r.indent
			m.source = strings.Repeat(" ", r.indent) + r.text
		} else {
			m.File, m.Line = "", 0
			where := fmt.Sprintf("column %d: ", e.Column)
			if len(rules) > 1 {
				where = fmt.Sprintf("rule %d, ", e.Line) + where
			}
			m.Message = where + m.Message
		}
		out.mistakes = append(out.mistakes, m)
	}
	return &out
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func printFlows(w io.Writer, flows []vswitch.FlowInfo, bare bool) {
	out := bufio.NewWriter(w)
	defer out.Flush()
	several := slices.ContainsFunc(flows, func(f vswitch.FlowInfo) bool { return f.Bridge != flows[0].Bridge })
	last := ""
	for i := range flows {
		f := &flows[i]
		if several && f.Bridge != last {
			fmt.Fprintf(out, "# bridge %s\n", f.Bridge)
			last = f.Bridge
		}
		if bare {
			fmt.Fprintln(out, f.Text)
		} else {
			fmt.Fprintln(out, f.Dump)
		}
	}
}
