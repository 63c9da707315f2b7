package main

import (
	"context"
	"fmt"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// notify tells systemd, when it started the daemon, what the daemon does (sd_notify(3)).
func (d *daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.log.Warn("systemd was not notified", "state", state, "err", err)
	}
}

// reloadingState is what systemd wants to hear before a reload, with the time, so that answers are not mixed up.
func reloadingState() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return sd.SdNotifyReloading
	}
	return fmt.Sprintf("%s\nMONOTONIC_USEC=%d", sd.SdNotifyReloading, now.Nano()/int64(time.Microsecond))
}

// feedWatchdog tells systemd that the PMD threads move, if the unit has a watchdog, until ctx ends.
func (d *daemon) feedWatchdog(ctx context.Context) {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		d.log.Warn("systemd's watchdog is not fed", "err", err)
	}
	if interval == 0 {
		return
	}
	t := time.NewTicker(interval / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := d.health.err(); err != nil {
				d.log.Error("the watchdog is not fed", "err", err)
				continue
			}
			d.notify(sd.SdNotifyWatchdog)
		}
	}
}
