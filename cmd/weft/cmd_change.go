package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"weft/switch"
	"weft/switch/control"
)

// changeSyntax is a command that sends lines of changes: rules, groups or meters, to add, modify or delete.
type changeSyntax struct {
	kind, command string
	use           string
	what          string // one line of it, in the plural
	short, long   string
	example       string
	strict        bool // there is a strict form
}

const fileNote = "The lines come from the command line, from a file (-f FILE) or, where a line is -, from standard input. " +
	"In a file empty lines and what follows a # are skipped, and a line may begin with a command (add, modify, " +
	"modify_strict, delete, delete_strict), or with flow, group or meter and then a command, as in the files of ovs-ofctl " +
	"bundle. Either all of it is done or, when one line is wrong, nothing."

var (
	flowAdd = changeSyntax{
		kind: vswitch.KindFlow, command: vswitch.CommandAdd, use: "add [BRIDGE] RULE...", what: "rules",
		short: "Add rules in the syntax of ovs-ofctl add-flow: all of them, or none",
		long: "Adds rules in the syntax of ovs-ofctl add-flow. A rule with the same table, priority and match as an older " +
			"one replaces it.",
		example: "  weft flow add 'priority=100,in_port=vm1,ip,nw_dst=10.0.0.0/8,actions=output:wire'\n" +
			"  weft flow add br0 -f rules.txt\n" +
			"  generate-rules | weft flow add -",
	}
	flowModify = changeSyntax{
		kind: vswitch.KindFlow, command: vswitch.CommandModify, use: "mod [BRIDGE] RULE...", what: "rules", strict: true,
		short: "Give rules new actions, as ovs-ofctl mod-flows does",
		long: "Gives the rules that match on the same or more the actions of RULE, as ovs-ofctl mod-flows does; where there is " +
			"none, RULE is added. Counters and ages stay.",
		example: "  weft flow mod 'in_port=vm1,actions=drop'\n  weft flow mod --strict 'priority=100,tcp,actions=normal'",
	}
	groupAdd = changeSyntax{
		kind: vswitch.KindGroup, command: vswitch.CommandAdd, use: "add [BRIDGE] GROUP...", what: "groups",
		short:   "Add groups in the syntax of ovs-ofctl add-group",
		long:    "Adds groups in the syntax of ovs-ofctl add-group: types all, select, indirect and ff (fast failover).",
		example: "  weft group add group_id=1,type=select,bucket=weight:10,output:vm1,bucket=weight:20,output:vm2",
	}
	groupModify = changeSyntax{
		kind: vswitch.KindGroup, command: vswitch.CommandModify, use: "mod [BRIDGE] GROUP...", what: "groups",
		short: "Change groups, as ovs-ofctl mod-group does", long: "Replaces groups that are there.",
		example: "  weft group mod group_id=1,type=all,bucket=output:vm1",
	}
	groupDelete = changeSyntax{
		kind: vswitch.KindGroup, command: vswitch.CommandDelete, use: "del [BRIDGE] group_id=N...", what: "groups",
		short: "Delete groups and the rules that use them", long: "Deletes groups and the rules that use them.",
		example: "  weft group del group_id=1\n  weft group del group_id=all",
	}
	meterAdd = changeSyntax{
		kind: vswitch.KindMeter, command: vswitch.CommandAdd, use: "add [BRIDGE] METER...", what: "meters",
		short:   "Add meters in the syntax of ovs-ofctl add-meter",
		long:    "Adds meters in the syntax of ovs-ofctl add-meter, with bands that drop.",
		example: "  weft meter add 'meter=1,kbps,burst,bands=type=drop,rate=1000,burst_size=100'",
	}
	meterModify = changeSyntax{
		kind: vswitch.KindMeter, command: vswitch.CommandModify, use: "mod [BRIDGE] METER...", what: "meters",
		short: "Change meters, as ovs-ofctl mod-meter does", long: "Replaces meters that are there.",
		example: "  weft meter mod 'meter=1,pktps,bands=type=drop,rate=50'",
	}
	meterDelete = changeSyntax{
		kind: vswitch.KindMeter, command: vswitch.CommandDelete, use: "del [BRIDGE] meter=N...", what: "meters",
		short: "Delete meters and the rules that use them", long: "Deletes meters and the rules that use them.",
		example: "  weft meter del meter=1",
	}
)

// changeCommand makes the command of a syntax.
func (a *app) changeCommand(s *changeSyntax) *cobra.Command {
	var bridge, file string
	var strict bool
	cmd := &cobra.Command{
		Use: s.use, Short: s.short, Long: paragraphs(s.long, fileNote), Example: s.example,
		ValidArgsFunction: a.completeBridges,
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "read from a file; - is standard input")
	if s.strict {
		cmd.Flags().BoolVar(&strict, "strict", false, "match and priority must be exactly those of the rule")
	}
	a.bridgeFlag(cmd, &bridge)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 && isName(args[0]) {
			if bridge != "" {
				return &usageError{errors.New("the bridge is named twice"), cmd}
			}
			bridge, args = args[0], args[1:]
		}
		t, err := a.openText(cmd, args, file)
		if err != nil {
			return err
		}
		defer t.close()
		n, err := a.sendChanges(cmd.Context(), &vswitch.FlowRequest{
			Bridge: bridge, Kind: s.kind, Command: s.command, Strict: strict,
		}, t)
		if err != nil {
			return err
		}
		return a.say(n, "%s", s.summary(n))
	}
	return cmd
}

// summary says what was done.
func (s *changeSyntax) summary(n vswitch.FlowCounts) string {
	verb := map[string]string{
		vswitch.CommandAdd: "added", vswitch.CommandModify: "modified", vswitch.CommandDelete: "deleted",
	}[s.command]
	one := strings.TrimSuffix(s.what, "s")
	if s.kind != vswitch.KindFlow {
		return plural(n.Entries, one) + " " + verb
	}
	return countsText(n)
}

// countsText says what changes did to rules: "2 rules added, 1 modified".
func countsText(n vswitch.FlowCounts) string {
	var parts []string
	for _, p := range []struct {
		n    int
		verb string
	}{{n.Added, "added"}, {n.Modified, "modified"}, {n.Deleted, "deleted"}} {
		switch {
		case p.n == 0:
		case parts == nil:
			parts = append(parts, plural(p.n, "rule")+" "+p.verb)
		default:
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.verb))
		}
	}
	return cmp.Or(strings.Join(parts, ", "), "no rule changed")
}

// changeText is the lines of a command: some from the command line, the rest from a file.
type changeText struct {
	args []string
	name string // of the file, "" for none
	file io.Reader
	io.Closer
}

func (t *changeText) close() {
	if t.Closer != nil {
		_ = t.Close() // it was only read
	}
}

// read is all of it.
func (t *changeText) read() io.Reader {
	var parts []io.Reader
	if len(t.args) > 0 {
		parts = append(parts, strings.NewReader(strings.Join(t.args, "\n")+"\n"))
	}
	if t.file != nil {
		parts = append(parts, t.file)
	}
	return io.MultiReader(parts...)
}

// openText finds the lines of a command.
func (a *app) openText(cmd *cobra.Command, args []string, file string) (*changeText, error) {
	t := &changeText{}
	for _, arg := range args {
		switch {
		case arg != "-":
			t.args = append(t.args, strings.ReplaceAll(arg, "\n", " "))
		case file != "":
			return nil, &usageError{errors.New("one file at a time: standard input or another"), cmd}
		default:
			file = "-"
		}
	}
	switch {
	case file == "-":
		t.name, t.file = "standard input", a.in
	case file != "":
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read changes: %w", err)
		}
		t.name, t.file, t.Closer = file, f, f
		if st, err := f.Stat(); err == nil && st.IsDir() {
			t.close()
			return nil, fmt.Errorf("read changes: %s is a directory; name a file", file)
		}
	case len(t.args) == 0:
		return nil, &usageError{errors.New("nothing is given to do"), cmd}
	}
	return t, nil
}

// sendChanges has the daemon make changes.
func (a *app) sendChanges(ctx context.Context, req *vswitch.FlowRequest, t *changeText) (vswitch.FlowCounts, error) {
	c := a.slowClient()
	defer c.Close()
	n, err := control.CallText[vswitch.FlowRequest, vswitch.FlowCounts](ctx, c, routeChanges.method, routeChanges.pattern, req,
		t.read())
	return n, t.place(err)
}

// place turns "line 3, column 7" into the place that the line was read from.
func (t *changeText) place(err error) error {
	var e *control.Error
	if !errors.As(err, &e) || e.Line < 1 {
		return err
	}
	var out placedError
	for _, e := range append([]*control.Error{e}, e.More...) {
		m := mistake{Error: *e, source: e.Source}
		m.More, m.Source = nil, ""
		if e.Line > len(t.args) {
			m.File, m.Line = t.name, e.Line-len(t.args)
		} else {
			m.File, m.Line = "", 0
			where := fmt.Sprintf("column %d: ", e.Column)
			if len(t.args) > 1 || t.name != "" {
				where = fmt.Sprintf("line %d, ", e.Line) + where
			}
			m.Message = where + m.Message
		}
		out.mistakes = append(out.mistakes, m)
	}
	return &out
}
