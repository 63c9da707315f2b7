package main

import (
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"weft/numa"
	"weft/switch"
)

// sysfsRoot is where the machine's topology is read.
const sysfsRoot = "/"

func (a *app) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Validate a configuration file and show what it would do, without a daemon",
		Long: paragraphs(
			"Validates a configuration file with everything it refers to on this machine: directories, CPUs, " +
				"users, rules. Then shows what 'weft run' would do. Every mistake is reported with its line and " +
				"column.",
		),
		Args: exactArgs(1),
	}
	a.addSettingFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		topo, err := numa.Read(sysfsRoot)
		if err != nil {
			return fmt.Errorf("read the machine's topology: %w", err)
		}
		sw, err := vswitch.New(vswitch.Options{Drivers: drivers(), Topology: topo, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		defer sw.Close()
		cfg, err := a.loadConfig(cmd, args[0], sw.ParseOptions())
		if err != nil {
			return err
		}
		plan, err := sw.Check(cfg)
		if err != nil {
			return err
		}
		return a.show(plan, func(w io.Writer) {
			fmt.Fprintf(w, "%s is valid. It would make:\n", args[0])
			printPlan(w, plan)
		})
	}
	return cmd
}

func (a *app) reloadCommand() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Let the daemon read its configuration file again and apply what changed",
		Long: paragraphs(
			"Lets the daemon read its configuration file again, prints the difference, and applies it. What did " +
				"not change is not touched: its packets keep flowing. When the file has a mistake, nothing changes.",
		),
		Args: noArgs,
	}
	cmd.Flags().BoolVarP(&dry, "dry-run", "n", false, "only print the difference")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		plan, err := routeReload.call(cmd.Context(), a, &reloadRequest{dry})
		if err != nil {
			return err
		}
		return a.show(plan, func(w io.Writer) { printPlan(w, &plan) })
	}
	return cmd
}

func printPlan(w io.Writer, plan *vswitch.Plan) {
	if len(plan.Lines) == 0 {
		fmt.Fprintln(w, "nothing changes")
	}
	for _, l := range plan.Lines {
		fmt.Fprintln(w, l)
	}
}

// versionInfo says what was built, and from what.
type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Modified bool   `json:"modified"` // the source differed from the revision
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// buildVersion reads what the Go toolchain recorded in the binary.
func buildVersion() versionInfo {
	v := versionInfo{
		Version: "devel", Revision: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	info, found := debug.ReadBuildInfo()
	if !found {
		return v
	}
	if m := info.Main.Version; m != "" && m != "(devel)" {
		v.Version = m
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func (v versionInfo) String() string {
	revision := v.Revision
	if v.Modified {
		revision += ", modified"
	}
	return fmt.Sprintf("%s (%s) %s %s", v.Version, revision, v.Go, v.Platform)
}

func (a *app) versionCommand() *cobra.Command {
	var remote bool
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version of this binary, and with --daemon that of the running daemon", Args: noArgs,
	}
	cmd.Flags().BoolVar(&remote, "daemon", false, "ask the daemon")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v := buildVersion()
		if remote {
			var err error
			if v, err = routeVersion.call(cmd.Context(), a, &noRequest{}); err != nil {
				return err
			}
		}
		return a.say(v, "weft %s", v)
	}
	return cmd
}
