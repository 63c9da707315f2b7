package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"weft/internal/e2e/agent"
)

// controlPort is the serial port that the test talks through; the first one is the console.
const controlPort = "/dev/ttyS1"

// runInit is process 1: it prepares the guest and then serves the control port until told to power off. It
// returns only what went wrong.
func runInit() error {
	for _, m := range []struct{ source, target, fstype string }{
		{"proc", "/proc", "proc"},
		{"sysfs", "/sys", "sysfs"},
		{"devtmpfs", "/dev", "devtmpfs"},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.target, m.fstype, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if err := insertModules("/modules"); err != nil {
		return err
	}
	port, err := openSerial(controlPort)
	if err != nil {
		return err
	}
	server := agent.NewServer(power)
	if err := configure(server); err != nil {
		return err
	}
	fmt.Println("init: ready")
	for {
		// A serial port has no end; if reading it fails, the next attempt may do better.
		if err := server.Serve(port); err != nil {
			return fmt.Errorf("%s: %w", controlPort, err)
		}
	}
}

// insertModules inserts the kernel modules of a directory in the order of their names, which the builder of the image
// chose so that each comes after those it depends on.
func insertModules(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil {
		return err
	}
	sort.Strings(files)
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		_ = f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("insert %s: %w", name, err)
		}
	}
	return nil
}

// openSerial opens a serial port raw: no echo, no line editing, no newline translation.
func openSerial(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("terminal attributes of %s: %w", path, err)
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		return nil, fmt.Errorf("terminal attributes of %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// configure carries out what the kernel command line asks for: weft.ip=eth0:10.1.0.1/24, any number of times.
func configure(server *agent.Server) error {
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	for _, word := range strings.Fields(string(text)) {
		value, found := strings.CutPrefix(word, "weft.ip=")
		if !found {
			continue
		}
		ifname, cidr, _ := strings.Cut(value, ":")
		args, err := json.Marshal(agent.AddrArgs{Interface: ifname, CIDR: cidr})
		if err != nil {
			return err
		}
		if _, err := server.Run(agent.Request{Op: agent.OpAddr, Args: args}); err != nil {
			return fmt.Errorf("%s: %w", word, err)
		}
	}
	return nil
}

// power ends the machine, or restarts it.
func power(reboot bool) error {
	unix.Sync()
	if reboot {
		return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}
