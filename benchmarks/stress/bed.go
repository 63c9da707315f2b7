package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"weft/benchmarks/rig"
	"weft/internal/e2e/host"
	"weft/internal/e2e/ovs"
	"weft/internal/sys"
	"weft/vhostuser/vhosttest"
)

const (
	// connectLimit is how long a switch has to connect to the sockets of the guests.
	connectLimit = 20 * time.Second

	// guestMemoryMB is the hugepages of both guests, of which each takes some megabytes.
	guestMemoryMB = 64
)

// bed is one switch under test with its two guests.
type bed struct {
	o       *options
	group   *host.Group
	dir     string
	sockets [2]string
	idle    string // what weft's PMD thread does when there is nothing to do
	macs    int    // addresses that the bridge learns at most, 0 for its default
	load    *load
	all     tally       // of everything that was sent
	prober  *rig.Prober // see slices

	filler *host.Process // see fill

	weft *weft    // one of the two
	ovs  *ovs.OVS // is there
}

// newBed makes a bed without a switch.
func newBed(o *options, dir string) (*bed, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return &bed{
		o: o, group: host.NewGroup(dir, false), dir: dir, idle: "poll",
		sockets: [2]string{filepath.Join(dir, "v0"), filepath.Join(dir, "v1")},
	}, nil
}

// close ends everything.
func (b *bed) close() {
	b.group.Close()
	_ = os.RemoveAll(b.dir)
}

// start starts one of the switches with rules and connects the guests.
func (b *bed) start(ctx context.Context, name, rules string) error {
	if name == "ovs" {
		return b.startOVS(ctx, rules)
	}
	return b.startWeft(ctx, rules)
}

// startWeft starts weft with rules and connects the guests.
func (b *bed) startWeft(ctx context.Context, rules string) error {
	if err := unconfine(b.o); err != nil {
		return err
	}
	w, err := b.startDaemon(ctx, rules)
	if err != nil {
		return err
	}
	b.weft = w
	if err := b.connect(ctx); err != nil {
		return b.explain(err)
	}
	if err := w.WaitLink(ctx, true, "v0", "v1"); err != nil {
		return b.explain(err)
	}
	return confine(b.o)
}

// startOVS starts Open vSwitch with rules and connects the guests.
func (b *bed) startOVS(ctx context.Context, rules string) (err error) {
	if err := unconfine(b.o); err != nil {
		return err
	}
	b.ovs, err = ovs.Start(ctx, b.group, ovs.Config{
		Dir: filepath.Join(b.dir, "ovs"), MainCPU: b.o.LoadCPU, PMDCPU: b.o.SwitchCPU,
		Sockets: b.sockets[:], Names: []string{"v0", "v1"}, FlowsFile: rules, MACs: b.macs,
	})
	if err != nil {
		return err
	}
	if err := b.connect(ctx); err != nil {
		return b.explain(err)
	}
	if err := b.ovs.WaitLink(ctx); err != nil {
		return b.explain(err)
	}
	return confine(b.o)
}

// connect makes the guests, which listen, and waits for the switch to connect.
func (b *bed) connect(ctx context.Context) error {
	// A guest waits for a connection and not for a context: give it one, on which nobody answers.
	defer context.AfterFunc(ctx, b.hangUp)()
	var guests [2]*vhosttest.Guest
	var errs [2]error
	var wg sync.WaitGroup
	for i := range guests {
		wg.Go(func() {
			guests[i], errs[i] = vhosttest.Connect(vhosttest.Config{
				Path: b.sockets[i], Server: true, Mergeable: true, RingSize: ringSize, Huge: true, Timeout: connectLimit,
			})
		})
	}
	wg.Wait()
	for _, g := range guests {
		if g != nil {
			// The switch, which was started before, ends after this; it has its own mapping of the memory.
			b.group.Defer(func() { _ = g.Close() })
		}
	}
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	b.load = newLoad(guests, b.o.LoadCPU)
	return nil
}

// hangUp connects to the guests' sockets and leaves.
func (b *bed) hangUp() {
	for _, path := range b.sockets {
		if c, err := net.Dial("unix", path); err == nil {
			_ = c.Close()
		}
	}
}

// explain adds the end of what the programs of the bed wrote.
func (b *bed) explain(err error) error {
	for _, p := range b.group.Processes() {
		err = fmt.Errorf("%w\n%s\n%s", err, p.State(), p.Tail(8))
	}
	return err
}

// send runs the load for a time.
func (b *bed) send(ctx context.Context, d time.Duration, streams ...stream) (*outcome, error) {
	r := b.load.begin(streams...)
	wait(ctx, d)
	out, err := r.end()
	if err != nil {
		return nil, err
	}
	b.all.add(out.total())
	return out, ctx.Err()
}

// addUnaccounted adds by how many frames all those sent since weft was started differ from those received and those counted
// as dropped.
func (b *bed) addUnaccounted(ctx context.Context, m *measurements) error {
	end, err := b.weft.read(ctx)
	if err != nil {
		return b.explain(err)
	}
	all := measured{&outcome{streams: []tally{b.all}}, between(new(reading), end)}
	m.add(figFreshLost, "packets", all.unaccounted())
	return nil
}

// measured is a run of the load together with what weft counted meanwhile.
type measured struct {
	*outcome
	span span
}

// measure runs the load for a time between two readings of weft. All frames have arrived, or were dropped, before the
// second.
func (b *bed) measure(ctx context.Context, d time.Duration, streams ...stream) (*measured, error) {
	before, err := b.weft.read(ctx)
	if err != nil {
		return nil, b.explain(err)
	}
	out, err := b.send(ctx, d, streams...)
	if err != nil {
		return nil, b.explain(err)
	}
	after, err := b.weft.read(ctx)
	if err != nil {
		return nil, b.explain(err)
	}
	m := &measured{out, between(before, after)}
	if m.span.packets == 0 {
		return nil, b.explain(errors.New("weft received nothing"))
	}
	return m, nil
}

// unaccounted is by how many frames those sent differ from those received and those counted as dropped.
func (m *measured) unaccounted() float64 {
	t := m.total()
	return math.Abs(float64(t.lost() - int64(m.span.dropped())))
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// confine keeps this process, and what it starts from now on, off the switch's CPU.
func confine(o *options) error {
	return allow(slices.DeleteFunc(slices.Clone(o.allowed), func(c int) bool { return c == o.SwitchCPU }))
}

// unconfine undoes confine, for a switch that is to be started may run everywhere.
func unconfine(o *options) error { return allow(o.allowed) }

// allow sets the affinity of all threads of this process. Those to come inherit it; that of the load sets its own.
func allow(cpus []int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := sys.SetAffinity(tid, cpus); err != nil && !isGone(tid) {
			return fmt.Errorf("keep thread %d on CPUs %v: %w", tid, cpus, err)
		}
	}
	return nil
}

func isGone(tid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", tid))
	return errors.Is(err, os.ErrNotExist)
}
