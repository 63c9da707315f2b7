package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/numa"
	"weft/switch"
	"weft/vhostuser/vhosttest"
)

// honest is a guest that exchanges frames with another: sent and received count those, and nobody else's.
type honest struct {
	sent, received atomic.Uint64
	longest        time.Duration // without receiving
}

// run sends and receives until stop is closed, then only receives until end is.
func (h *honest) run(g *vhosttest.Guest, self, peer byte, stop, end <-chan struct{}) error {
	out, in := make([][]byte, 16), make([][]byte, 64)
	for i := range out {
		out[i] = make([]byte, 300)
		copy(out[i], []byte{2, 0, 0, 0, 0, peer, 2, 0, 0, 0, 0, self, 8, 0})
	}
	for i := range in {
		in[i] = make([]byte, 2048)
	}
	last := time.Now()
	for {
		select {
		case <-end:
			return nil
		default:
		}
		select {
		case <-stop:
			last = time.Now() // from here on it has reason to receive nothing
		default:
			n, err := g.Tx(0).SendBurst(out)
			if err != nil {
				return fmt.Errorf("guest %d: send: %w", self, err)
			}
			h.sent.Add(uint64(n))
		}
		n, err := g.Rx(0).ReceiveBurst(in)
		if err != nil && !errors.Is(err, vhosttest.ErrEmpty) {
			return fmt.Errorf("guest %d: receive: %w", self, err)
		}
		got := uint64(0)
		for _, f := range in[:n] {
			if f[11] == peer {
				got++
			}
		}
		now := time.Now()
		h.longest = max(h.longest, now.Sub(last))
		if got > 0 {
			h.received.Add(got)
			last = now
		}
		time.Sleep(50 * time.Microsecond)
	}
}

// cutOff is one life of the hostile guest: it truncates its memory while the switch uses it.
func cutOff(path string, round int, send bool) error {
	g, err := vhosttest.Connect(vhosttest.Config{
		Path: path, Mergeable: true, Regions: []vhosttest.RegionLayout{{GPA: 0, Size: 4 << 20}},
	})
	if err != nil {
		return err
	}
	if send {
		for range 64 { // longer than the header window: the rest of each is lent
			if err := g.Tx(0).Enqueue(append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 3, 8, 0}, make([]byte, 1200)...)); err != nil {
				break
			}
		}
		if err := g.Tx(0).Publish(); err != nil {
			return errors.Join(err, g.Close())
		}
	}
	time.Sleep(time.Duration(round%8) * 250 * time.Microsecond)
	if err := g.Memory().Truncate(0); err != nil {
		return errors.Join(err, g.Close())
	}
	if round%2 == 0 {
		// Otherwise it hangs up at once: the fault and the end of the session come together.
		if err := g.FrontEnd().Gone(); err != nil {
			return errors.Join(err, g.Close())
		}
	}
	return g.Close()
}

// TestMemoryCutOffHarmsNobodyElse has two guests exchange frames by a rule that sends copies to a third,
// which truncates its memory again and again.
func TestMemoryCutOffHarmsNobodyElse(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector sync/atomic runs on a stack from which Go cannot recover a memory fault")
	}
	for _, tt := range []struct {
		name    string
		threads int
		send    bool // the hostile guest sends as well
	}{
		{"receiver-1-thread", 1, false},
		{"receiver-2-threads", 2, false},
		{"sender-2-threads", 2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// The guests are in the switch's process: they must not wait for each other's turn to run.
			procs := runtime.GOMAXPROCS(16)
			t.Cleanup(func() { runtime.GOMAXPROCS(procs) })
			cutOffRun(t, tt.threads, tt.send)
		})
	}
}

func cutOffRun(t *testing.T, threads int, send bool) {
	log := new(syncBuffer)
	s, dir := cutOffSwitch(t, threads, slog.New(slog.NewTextHandler(log, nil)))
	start := time.Now()
	stop, end := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	var guests [2]honest
	for i := range guests {
		g, err := vhosttest.Connect(vhosttest.Config{
			Path: filepath.Join(dir, fmt.Sprintf("vm%d.sock", i+1)), RingSize: 1024,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		wg.Go(func() {
			if err := guests[i].run(g, byte(i+1), byte(2-i), stop, end); err != nil {
				t.Error(err)
			}
		})
	}
	const duration = 2 * time.Second
	rounds := 0
	for ; time.Since(start) < duration; rounds++ {
		if err := cutOff(filepath.Join(dir, "vm3.sock"), rounds, send); err != nil {
			t.Errorf("round %d of the hostile guest: %v", rounds, err)
			break
		}
	}
	close(stop)
	time.Sleep(200 * time.Millisecond)
	close(end)
	wg.Wait()
	st := s.Stats()
	t.Logf("%d rounds, %d faults, %d lines of log", rounds, st.Faults, strings.Count(log.String(), "\n"))
	checkInnocents(t, &st, &guests, send)
	if st.Faults == 0 || st.StrayFaults != 0 {
		t.Errorf("%d faults, %d of them stray", st.Faults, st.StrayFaults)
	}
	hostile := &st.Ports[2]
	if !strings.HasPrefix(hostile.Error, "the front end cut off its memory file while it was in use (SIGBUS at 0x") {
		t.Errorf("the hostile guest's port says %q", hostile.Error)
	}
	// What is logged anyway, and of what a hostile guest causes a few lines a second.
	if lines, limit := strings.Count(log.String(), "\n"), 15+4*int(1+time.Since(start)/time.Second); lines > limit {
		t.Errorf("%d lines of log, want at most %d:\n%s", lines, limit, log)
	}
}

// checkInnocents checks that the two guests noticed nothing.
func checkInnocents(t *testing.T, st *vswitch.Stats, guests *[2]honest, send bool) {
	t.Helper()
	for i := range guests {
		from, to, p := &guests[1-i], &guests[i], &st.Ports[i]
		if p.Sessions != 1 || p.Disconnects != 0 || p.Error != "" {
			t.Errorf("%s: %d sessions, %d ended, %q", p.Name, p.Sessions, p.Disconnects, p.Error)
		}
		sent, got, dropped := from.sent.Load(), to.received.Load(), p.Tx.Dropped
		t.Logf("%s got %d of %d frames, its queue dropped %d; longest pause %v", p.Name, got, sent, dropped, to.longest)
		if to.longest > time.Second { // all guests share this process and its CPUs
			t.Errorf("%s received nothing for %v", p.Name, to.longest)
		}
		// Without the third guest's frames, what did not arrive was dropped here, and counted.
		if got == 0 || !send && got+dropped != sent {
			t.Errorf("%s got %d of %d frames, and %d were dropped on its queue", p.Name, got, sent, dropped)
		}
	}
	for _, thread := range st.PMD {
		for _, q := range thread.Queues {
			if q.Suspended {
				t.Errorf("queue %s/%d is suspended", q.Port, q.Queue)
			}
		}
	}
}

// cutOffSwitch is a switch with the ports vm1 to vm3 and this many PMD threads, if there are so many CPUs.
func cutOffSwitch(t *testing.T, threads int, log *slog.Logger) (s *vswitch.Switch, dir string) {
	t.Helper()
	topo, err := numa.Read(sysfsRoot)
	if err != nil {
		t.Fatal(err)
	}
	cpus, err := topo.AllowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	if s, err = vswitch.New(vswitch.Options{Drivers: drivers(), Topology: topo, Log: log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	dir = t.TempDir()
	text := fmt.Sprintf(`
pmd: {cpus: %q, idle: sleep, cache_entries: 1024}
bridges:
  - name: br0
    ports:
      - {name: vm1, driver: vhost-user, path: %[2]s/vm1.sock}
      - {name: vm2, driver: vhost-user, path: %[2]s/vm2.sock}
      - {name: vm3, driver: vhost-user, path: %[2]s/vm3.sock}
    flows:
      - in_port=vm1,actions=vm3,vm2
      - in_port=vm2,actions=vm3,vm1
      - in_port=vm3,actions=vm1,vm2
`, numa.FormatCPUs(cpus[:min(threads, len(cpus))]), dir)
	cfg, err := vswitch.Parse([]byte(text), vswitch.ParseOptions{File: "t.yaml", Drivers: drivers(), Topology: topo})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	return s, dir
}
