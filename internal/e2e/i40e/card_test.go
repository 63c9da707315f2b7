//go:build i40e

package i40e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/vfiouser"
	"weft/pmd/i40e/i40esim"
	"weft/pmd/i40e/i40esim/adminq"
	"weft/pmd/i40e/i40esim/wire"
)

// card is a model in this process and the socket that a guest's qemu finds it at.
type card struct {
	*i40esim.Device
	name   string // of the device in qemu
	socket string
	mac    string // as a driver shows it
	trace  string // file with every step of the driver
}

// newCard makes a PF plugged into port and serves it. nvm makes its shadow RAM, nil for the model's own: the kernel's
// driver sums all of it up at each load, by three register accesses a word, which takes ten seconds and more in an emulated
// guest. So a gate that loads it often does that with a small one, and TestPCIEnumeration once with all of it.
func (r *rig) newCard(name string, port wire.Port, nvm func(adminq.MAC, uint16) []uint16) *card {
	r.t.Helper()
	number := byte(len(name)) + name[len(name)-1] // any byte that tells the cards of one gate apart
	mac := adminq.MAC{0x3c, 0xfd, 0xfe, 0x11, 0x22, number}
	c := &card{name: name, mac: net.HardwareAddr(mac[:]).String(), trace: filepath.Join(r.dir, name+".trace")}
	config := adminq.DefaultConfig()
	config.MAC = mac
	if nvm != nil {
		config.NVM = nvm(mac, config.DeviceID)
	}
	f, err := os.Create(c.trace)
	r.must(err)
	w := bufio.NewWriterSize(f, 1<<16)
	c.Device, err = i40esim.New(i40esim.Config{Card: config, Wire: port, Trace: w})
	r.must(err)
	port.Start(c.Receive)
	c.socket = r.serve(name, c.Device)
	r.t.Cleanup(func() { // runs after the group has ended qemu and the server
		if r.t.Failed() {
			c.logViolations(r.t)
		}
		c.SetTrace(nil)
		if err := errors.Join(w.Flush(), f.Close()); err != nil {
			r.t.Errorf("trace of %s: %v", name, err)
		}
		c.keepTrace(r.t)
	})
	return c
}

// keepTrace copies the trace, and how often each register and command was used, to the directory that the environment
// names; nothing is kept without one.
func (c *card) keepTrace(t *testing.T) {
	dir := os.Getenv("WEFT_I40E_TRACES")
	if dir == "" {
		return
	}
	name := filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-")+"-"+c.name)
	text, err := os.ReadFile(c.trace)
	if err == nil {
		err = errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(name+".trace", text, 0o644))
	}
	use := c.Coverage()
	var list strings.Builder
	for what, counts := range map[string]map[string]uint64{"read": use.Reads, "write": use.Writes, "command": use.Commands} {
		for _, register := range slices.Sorted(maps.Keys(counts)) {
			fmt.Fprintf(&list, "%-8s%-40s%d\n", what, register, counts[register])
		}
	}
	if err = errors.Join(err, os.WriteFile(name+".coverage", []byte(list.String()), 0o644)); err != nil {
		t.Errorf("keep the trace: %v", err)
	}
}

// serve serves a function on a socket until the gate ends.
func (r *rig) serve(name string, dev vfiouser.Device) (socket string) {
	r.t.Helper()
	socket = filepath.Join(r.dir, name+".vfu")
	l, err := vfiouser.Listen(socket)
	r.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	go func() { done <- vfiouser.Serve(ctx, l, dev, vfiouser.Options{Log: log.With("model", name)}) }()
	r.group.Defer(func() { // the group ends last things first: qemu, which was started later, is gone by now
		cancel()
		select {
		case err := <-done:
			if err != nil && !errors.Is(err, context.Canceled) {
				r.t.Errorf("serving %s: %v", name, err)
			}
		case <-time.After(10 * time.Second):
			r.t.Errorf("the server of %s does not end", name)
		}
	})
	return socket
}

// devices are qemu's arguments for functions behind root ports of their own, in order: bus 1, bus 2 and so on.
func devices(functions ...*function) (args []string) {
	for i, f := range functions {
		args = append(args,
			"-device", fmt.Sprintf("pcie-root-port,id=port%d,slot=%d,chassis=%d", i, i+1, i+1),
			"-device", fmt.Sprintf(`{"driver":"vfio-user-pci","id":%q,"bus":"port%d","socket":{"type":"unix","path":%q}}`,
				f.name, i, f.socket))
	}
	return args
}

// function names a socket with a function of a card behind it.
type function struct{ name, socket string }

func (c *card) function() *function { return &function{c.name, c.socket} }

// newVF plugs in a VF of a card and serves it.
func (r *rig) newVF(pf *card, index int) *function {
	r.t.Helper()
	vf, err := pf.VF(index)
	r.must(err)
	name := fmt.Sprintf("%s-vf%d", pf.name, index)
	return &function{name, r.serve(name, vf)}
}

// lane is the test's own end of a wire.
type lane struct {
	port wire.Port

	mu     sync.Mutex
	frames [][]byte
}

// newLane returns a port to plug a card into and the other end of its wire.
func (r *rig) newLane() (wire.Port, *lane) {
	near, far := wire.Pair()
	l := &lane{port: far}
	far.Start(func(frame []byte) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.frames = append(l.frames, slices.Clone(frame))
	})
	r.group.Defer(func() { _, _ = near.Close(), far.Close() })
	return near, l
}

func (l *lane) send(frames [][]byte) {
	for _, f := range frames {
		l.port.Send(f)
	}
}

// take waits for n frames and removes them.
func (l *lane) take(r *rig, n int) (frames [][]byte) {
	r.t.Helper()
	r.eventually(10*time.Second, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.frames) < n {
			return fmt.Errorf("%d of %d frames came", len(l.frames), n)
		}
		frames, l.frames = l.frames[:n], l.frames[n:]
		return nil
	})
	return frames
}

// nothing wants no frame to come within a moment.
func (l *lane) nothing(r *rig) {
	r.t.Helper()
	time.Sleep(300 * time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.frames {
		r.t.Errorf("a frame of %d bytes that should not be: % x", len(f), f[:min(len(f), 60)])
	}
	l.frames = nil
}

func (c *card) macBytes() []byte {
	mac, _ := net.ParseMAC(c.mac) // which newCard formatted
	return mac
}

// breakSelfTest makes one part of the driver's self-test fail, and returns what makes it pass again.
func (c *card) breakSelfTest(part string) (undo func()) {
	switch part {
	case "Register":
		c.StickRegister("PFINT_STAT_CTL0")
	case "Eeprom":
		c.CorruptNVM(true)
	case "Interrupt":
		c.LoseSoftwareInterrupts(true)
	case "Link":
		c.SetLink(false)
		return func() { c.SetLink(true) }
	}
	return c.ClearFaults
}

// logViolations prints the first few of what the driver did wrong, with what led to it.
func (c *card) logViolations(t *testing.T) {
	violations := c.Violations()
	for i, v := range violations {
		if i == 10 {
			t.Logf("and %d violations more", len(violations)-i)
			break
		}
		t.Logf("violation: %s", v)
	}
}

// check fails on violations and prints what the driver used of the model.
func (c *card) check(r *rig, driver string) {
	r.t.Helper()
	if n := len(c.Violations()); n > 0 {
		r.t.Errorf("%s: %d violations", driver, n) // the end of the gate prints them
	}
	use := c.Coverage()
	registers := make(map[string]bool)
	var reads, writes, commands uint64
	for name, n := range use.Reads {
		registers[name] = true
		reads += n
	}
	for name, n := range use.Writes {
		registers[name] = true
		writes += n
	}
	for _, n := range use.Commands {
		commands += n
	}
	if len(registers) == 0 {
		r.t.Errorf("%s used no register at all", driver)
	}
	r.t.Logf("%s: %d registers (%d reads, %d writes), %d admin queue commands of %d kinds", driver, len(registers), reads,
		writes, commands, len(use.Commands))
	r.t.Logf("%s: commands: %s", driver, strings.Join(slices.Sorted(maps.Keys(use.Commands)), ", "))
}
