package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/viper"

	"weft/switch"
	"weft/switch/control"
)

// Exit codes.
const (
	exitOK      = 0
	exitError   = 1 // what was asked for could not be done
	exitUsage   = 2
	exitDiffers = 2 // as ovs-ofctl diff-flows has it // it was not asked for in a way that can be understood
)

const (
	outputTable = "table"
	outputJSON  = "json"

	defaultTimeout = time.Minute
	slowTimeout    = 10 * time.Minute
)

// app is one invocation of the command line.
type app struct {
	args     []string
	in       io.Reader
	out, err io.Writer
	settings *viper.Viper
}

// checkedWriter remembers that something could not be written, so that no command has to look after each line.
type checkedWriter struct {
	io.Writer
	err error
}

func (w *checkedWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if w.err == nil && err != nil {
		w.err = fmt.Errorf("write the output: %w", err)
	}
	return n, err
}

// usageError is a command line that cannot be understood.
type usageError struct {
	err error
	cmd *cobra.Command
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// run carries out one command line and returns its exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	checked := &checkedWriter{Writer: out}
	a := &app{args: args, in: in, out: checked, err: errOut, settings: newSettings()}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(checked)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = checked.err
	}
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errDiffers):
		return exitDiffers
	}
	a.report(err)
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitError
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "weft",
		Short: "A virtual switch for virtual machines on vhost-user ports",
		Long: paragraphs(
			"Weft switches packets between virtual machines (vhost-user) and the wire on poll-mode threads, by " +
				"rules in the syntax of ovs-ofctl. 'weft run' is the daemon; the other commands talk to it over its " +
				"control socket.",
		),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE:          nameACommand,
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return &usageError{err, cmd} })
	flags := root.PersistentFlags()
	flags.String("socket", vswitch.DefaultControlSocket, "the daemon's control socket (WEFT_SOCKET)")
	flags.StringP("output", "o", outputTable, "output format: table or json (WEFT_OUTPUT)")
	flags.Duration("timeout", defaultTimeout, "longest wait for the daemon's answer (WEFT_TIMEOUT)")
	for _, name := range []string{"output", "timeout"} {
		must(a.settings.BindPFlag(name, flags.Lookup(name)))
	}
	must(a.settings.BindPFlag(settingSocket, flags.Lookup("socket")))
	must(root.RegisterFlagCompletionFunc("output", fixed(outputTable, outputJSON)))
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if o := a.settings.GetString("output"); o != outputTable && o != outputJSON {
			return &usageError{fmt.Errorf("output format %q: use %s or %s", o, outputTable, outputJSON), cmd}
		}
		return nil
	}
	root.AddCommand(
		a.runCommand(), a.checkCommand(), a.reloadCommand(),
		a.bridgeCommand(), a.portCommand(), a.flowCommand(), a.groupCommand(), a.meterCommand(), a.fdbCommand(),
		a.pmdCommand(),
		a.versionCommand(),
	)
	return root
}

// must is for what only a mistake in this package can make fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// exactArgs, rangeArgs and noArgs are cobra's validators with the exit code of a usage error.
func exactArgs(n int) cobra.PositionalArgs         { return asUsage(cobra.ExactArgs(n)) }
func rangeArgs(low, high int) cobra.PositionalArgs { return asUsage(cobra.RangeArgs(low, high)) }
func noArgs(cmd *cobra.Command, args []string) error {
	return asUsage(cobra.NoArgs)(cmd, args)
}

func asUsage(f cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := f(cmd, args); err != nil {
			return &usageError{err, cmd}
		}
		return nil
	}
}

// noSuchCommand is the argument check of commands that only have other commands below them.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("there is no command %q", strings.TrimSpace(cmd.CommandPath()+" "+args[0]))
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		text += "; did you mean " + strings.Join(s, " or ") + "?"
	}
	return &usageError{errors.New(text), cmd}
}

// nameACommand is what such a command does by itself.
func nameACommand(cmd *cobra.Command, _ []string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			names = append(names, c.Name())
		}
	}
	return &usageError{fmt.Errorf("name a command: %s", strings.Join(names, ", ")), cmd}
}

// group makes a command that only has others below it.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: noSuchCommand, RunE: nameACommand}
	cmd.AddCommand(below...)
	return cmd
}

// fixed completes to one of a few words.
func fixed(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

func (a *app) client() *control.Client {
	return control.NewClient(a.settings.GetString(settingSocket), a.settings.GetDuration("timeout"))
}

// slowClient is for what may take as long as there are rules: it waits for minutes unless the operator has set a time.
func (a *app) slowClient() *control.Client {
	timeout := a.settings.GetDuration("timeout")
	if !a.settings.IsSet("timeout") || timeout == defaultTimeout {
		timeout = slowTimeout
	}
	return control.NewClient(a.settings.GetString(settingSocket), timeout)
}

// errDiffers is no error: what was compared is not the same.
var errDiffers = errors.New("there are differences")

func (a *app) wantsJSON() bool { return a.settings.GetString("output") == outputJSON }

// asksForJSON looks for -o json in a command line that cannot be understood, and may have been left before that flag.
func asksForJSON(args []string) bool {
	asks := false
	for i, arg := range args {
		value, found := strings.CutPrefix(arg, "--output=")
		switch {
		case arg == "--":
			return asks
		case found:
		case (arg == "-o" || arg == "--output") && i+1 < len(args):
			value = args[i+1]
		case strings.HasPrefix(arg, "-o"):
			value = strings.TrimPrefix(arg[2:], "=")
		default:
			continue
		}
		asks = value == outputJSON
	}
	return asks
}

// show prints v as JSON, or calls table.
func (a *app) show(v any, table func(io.Writer)) error {
	if !a.wantsJSON() {
		table(a.out)
		return nil
	}
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// say prints a line about what was done, as JSON an object.
func (a *app) say(v any, format string, args ...any) error {
	return a.show(v, func(w io.Writer) { fmt.Fprintf(w, format+"\n", args...) })
}
