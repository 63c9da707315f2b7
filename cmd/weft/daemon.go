package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"weft/numa"
	"weft/switch"
	"weft/switch/control"
)

const (
	shutdownTimeout = 3 * time.Second
)

// daemon is the running switch and what serves it.
type daemon struct {
	app     *app
	cmd     *cobra.Command // its flags replace settings of the file, at every reload
	path    string
	hangup  <-chan os.Signal // SIGHUP, also those of the time before serve
	profile bool

	log    *slog.Logger
	level  *slog.LevelVar
	sw     *vswitch.Switch
	web    *webServer
	health *health

	mu  sync.Mutex      // one reload at a time
	cfg *vswitch.Config // what runs
}

// run runs the switch until ctx ends.
func (d *daemon) run(ctx context.Context) (err error) {
	tuneGC()
	topo, err := numa.Read(sysfsRoot)
	if err != nil {
		return fmt.Errorf("read the machine's topology: %w", err)
	}
	d.cfg, err = d.app.loadConfig(d.cmd, d.path, vswitch.ParseOptions{Drivers: drivers(), Topology: topo})
	if err != nil {
		return err
	}
	d.log = newLogger(d.app.err, d.cfg.Log.Format, d.level)
	d.level.Set(levelOf(d.cfg.Log.Level))
	v := buildVersion()
	d.log.Info("weft starts", "version", v.Version, "revision", v.Revision, "config", d.path, "pid", os.Getpid())
	for _, o := range d.app.overrides(d.cmd) {
		d.log.Info("a setting of the configuration is replaced", "setting", o.setting, "by", o.source, "value", o.value)
	}

	// The control socket first: whoever holds it is the one daemon, and no port of another is touched.
	l, err := control.Listen(control.ListenConfig{
		Path: d.cfg.Control.Socket, Mode: d.cfg.Control.Permissions, Group: d.cfg.Control.Group,
	})
	if err != nil {
		return err
	}
	defer l.Close()
	if d.sw, err = vswitch.New(vswitch.Options{Drivers: drivers(), Topology: topo, Log: d.log}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.sw.Close()) }()
	d.health = newHealth(d.sw.PMDShow)
	d.web = newWebServer(d)
	defer d.web.close()
	if err := d.web.listen(d.cfg.Metrics.Address); err != nil {
		return err
	}
	plan, err := d.sw.Apply(ctx, d.cfg)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		d.log.Info("weft stops before it was ready")
		d.notify("STOPPING=1")
		return nil
	}
	if err != nil {
		return err
	}
	d.logPlan(plan)
	return d.serve(ctx, l)
}

// serve answers the control socket and signals until ctx ends.
func (d *daemon) serve(ctx context.Context, l net.Listener) error {
	s := control.NewServer(d.log, toControlError)
	d.bindRoutes(s)
	if d.profile {
		bindProfiles(s)
	}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()

	beat, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { d.health.watch(beat) })
	wg.Go(func() { d.feedWatchdog(beat) })
	defer func() {
		stop()
		wg.Wait()
	}()

	d.log.Info("weft is ready", "control", d.cfg.Control.Socket, "metrics", d.web.address())
	d.notify("READY=1")
	for {
		select {
		case <-ctx.Done():
			d.log.Info("weft stops")
			d.notify("STOPPING=1")
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
			defer cancel()
			if err := s.Shutdown(end); err != nil {
				d.log.Warn("control socket closed", "err", err)
			}
			return <-failed
		case err := <-failed:
			return err
		case <-d.hangup:
			if _, err := d.reload(ctx, false); err != nil {
				d.log.Error("reload failed; the switch stays as it was", "err", err)
			}
		}
	}
}

// reload reads the configuration again and applies the difference; with dry it only tells.
func (d *daemon) reload(ctx context.Context, dry bool) (*vswitch.Plan, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	// A client that goes away must not leave a reload half done.
	ctx = context.WithoutCancel(ctx)
	cfg, err := d.app.loadConfig(d.cmd, d.path, d.sw.ParseOptions())
	if err != nil {
		return nil, err
	}
	own := d.ownChanges(cfg)
	if dry {
		plan, err := d.sw.Check(cfg)
		if err != nil {
			return nil, err
		}
		plan.Lines = append(own, plan.Lines...)
		return plan, nil
	}
	d.notify(reloadingState())
	defer d.notify("READY=1")
	web, err := d.web.prepare(cfg.Metrics.Address)
	if err != nil {
		return nil, err
	}
	plan, err := d.sw.Apply(ctx, cfg)
	if err != nil {
		web.discard()
		return nil, err
	}
	web.commit()
	d.level.Set(levelOf(cfg.Log.Level))
	// What only a start can change stays as it is, so that the next reload says so again.
	cfg.Log.Format, cfg.Control = d.cfg.Log.Format, d.cfg.Control
	d.cfg = cfg
	plan.Lines = append(own, plan.Lines...)
	d.logPlan(plan)
	return plan, nil
}

// ownChanges are the differences of what is not the switch's but the daemon's.
func (d *daemon) ownChanges(cfg *vswitch.Config) []string {
	var lines []string
	change := func(what, from, to string, live bool) {
		if from == to {
			return
		}
		line := fmt.Sprintf("~ %s %s -> %s", what, orNone(from), orNone(to))
		if !live {
			line += " (takes effect when the daemon is started again)"
		}
		lines = append(lines, line)
	}
	was := d.cfg
	change("log level", was.Log.Level, cfg.Log.Level, true)
	change("log format", was.Log.Format, cfg.Log.Format, false)
	change("control socket", was.Control.Socket, cfg.Control.Socket, false)
	change("control group", was.Control.Group, cfg.Control.Group, false)
	change("control permissions", was.Control.Permissions.String(), cfg.Control.Permissions.String(), false)
	change("metrics address", was.Metrics.Address, cfg.Metrics.Address, true)
	return lines
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func (d *daemon) logPlan(plan *vswitch.Plan) {
	for _, line := range plan.Lines {
		d.log.Info("configuration applied", "change", line)
	}
}

func newLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// levelOf is the level of a name that the configuration has checked.
func levelOf(name string) slog.Level {
	var l slog.Level
	if l.UnmarshalText([]byte(name)) != nil {
		return slog.LevelInfo
	}
	return l
}

// bindProfiles serves Go's profiles.
func bindProfiles(s *control.Server) {
	s.HandleHTTP("/debug/pprof/", http.HandlerFunc(pprof.Index))
	s.HandleHTTP("/debug/pprof/cmdline", http.HandlerFunc(pprof.Cmdline))
	s.HandleHTTP("/debug/pprof/profile", http.HandlerFunc(pprof.Profile))
	s.HandleHTTP("/debug/pprof/symbol", http.HandlerFunc(pprof.Symbol))
	s.HandleHTTP("/debug/pprof/trace", http.HandlerFunc(pprof.Trace))
}
