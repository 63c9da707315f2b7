package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

func (a *app) runCommand() *cobra.Command {
	var file string
	var profile bool
	cmd := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Run the daemon in the foreground",
		Long: paragraphs(
			"Runs the switch as the configuration file says, until SIGTERM or SIGINT. SIGHUP, or 'weft reload', " +
				"reads the file again. Under systemd it notifies readiness and feeds the watchdog.",
		),
		Args: noArgs,
	}
	flags := cmd.Flags()
	flags.StringVarP(&file, "config", "c", "", "configuration file (WEFT_CONFIG)")
	flags.BoolVar(&profile, "pprof", false, "serve Go's profiles below /debug/pprof/ on the control socket")
	must(a.settings.BindPFlag("config", flags.Lookup("config")))
	must(cmd.MarkFlagFilename("config", "yaml", "yml"))
	a.addSettingFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		// Signals come first: one that arrives while the daemon starts neither kills it nor is lost.
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		// A second signal ends the process at once.
		context.AfterFunc(ctx, stop)
		hangup := make(chan os.Signal, 1)
		signal.Notify(hangup, syscall.SIGHUP)
		defer signal.Stop(hangup)
		path := a.settings.GetString("config")
		if path == "" {
			return &usageError{errors.New("no configuration is given: say -c FILE"), cmd}
		}
		path, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		d := &daemon{app: a, cmd: cmd, path: path, hangup: hangup, profile: profile, level: new(slog.LevelVar)}
		return d.run(ctx)
	}
	return cmd
}
