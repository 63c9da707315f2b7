//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"weft/internal/e2e/daemon"
	"weft/internal/e2e/testpmd"
)

// pairConfig: two ports that are joined. %s is the mode of the sockets, %d the number of queue pairs.
const pairConfig = `pmd: {cpus: 1, idle: poll}
bridges:
  - name: br0
    ports:
      - {name: v0, driver: vhost-user, number: 1, path: @/v0, mode: %s, queues: %d%s}
      - {name: v1, driver: vhost-user, number: 2, path: @/v1, mode: %[1]s, queues: %[2]d%[3]s}
    flows:
      - in_port=v0,actions=output:v1
      - in_port=v1,actions=output:v0
`

// quickReconnect keeps the tests of mode client short.
const quickReconnect = ", reconnect: {min: 20ms, max: 200ms}"

func (r *rig) pairSockets() [2]string { return [2]string{r.path("v0"), r.path("v1")} }

// weftPair starts weft with two joined ports.
func (r *rig) weftPair(mode string, queues int) *daemon.Daemon {
	extra := ""
	if mode == "client" {
		extra = quickReconnect
	}
	return r.weft(fmt.Sprintf(pairConfig, mode, queues, extra))
}

// load starts testpmd and waits until both ports have their link.
func (r *rig) load(d *daemon.Daemon, c testpmd.Config) *testpmd.Testpmd {
	r.t.Helper()
	c.Name, c.CPU = "load", loadCPU
	if c.Sockets[0] == "" {
		c.Sockets = r.pairSockets()
	}
	l, err := testpmd.Start(r.ctx, r.group, c)
	r.must(err)
	r.must(d.WaitLink(r.ctx, true, "v0", "v1"))
	return l
}

// flowing is a rate, in packets per second, that even a starved machine reaches as long as packets go round at all: the 256
// packets of circulate four times. With five times as many threads as processors 7000 were seen.
const flowing = 1_000

// circulate sends the first bursts and wants traffic to flow from then on.
func (r *rig) circulate(d *daemon.Daemon, l *testpmd.Testpmd, during time.Duration) {
	r.t.Helper()
	_, err := l.Command(r.ctx, "start tx_first 4")
	r.must(err)
	rate, err := l.Rate(r.ctx, during)
	r.must(err)
	r.t.Logf("%.2f Mpps", rate/1e6)
	if rate < flowing {
		ports, err := d.Ports(r.ctx)
		r.t.Fatalf("only %.0f packets per second went round; weft's ports: %+v, %v", rate, ports, err)
	}
}

// drainLimit is how long packets may stay in the rings after testpmd stopped sending: weft or testpmd may not come to run.
const drainLimit = 10 * time.Second

// conserved compares what testpmd and weft counted: what was sent was received, but for drops that are counted. before
// are weft's counters when testpmd started.
func (r *rig) conserved(d *daemon.Daemon, l *testpmd.Testpmd, before map[string]daemon.Port) {
	r.t.Helper()
	r.eventually(drainLimit, func() error {
		if err := l.Drain(r.ctx, 500*time.Millisecond); err != nil {
			return err
		}
		stats, err := l.Stats(r.ctx)
		if err != nil {
			return err
		}
		ports, err := d.Ports(r.ctx)
		if err != nil {
			return err
		}
		return balance(stats, ports, before)
	})
}

// balance says where packets are missing, of all that testpmd and weft counted.
func balance(stats [2]testpmd.PortStats, ports, before map[string]daemon.Port) error {
	var errs []error
	var in, out, dropped uint64
	for i, name := range []string{"v0", "v1"} {
		s, p, b := stats[i], ports[name], before[name]
		rx := p.Rx.Packets + p.Rx.Dropped - b.Rx.Packets - b.Rx.Dropped
		tx := p.Tx.Packets - b.Tx.Packets
		if s.TxPackets != rx {
			errs = append(errs, fmt.Errorf("%s: testpmd sent %d packets, weft received %d", name, s.TxPackets, rx))
		}
		if s.RxPackets != tx {
			errs = append(errs, fmt.Errorf("%s: weft transmitted %d packets, testpmd received %d", name, tx, s.RxPackets))
		}
		if got := p.Tx.Bytes - b.Tx.Bytes; got != s.RxBytes {
			errs = append(errs, fmt.Errorf("%s: weft transmitted %d bytes, testpmd received %d", name, got, s.RxBytes))
		}
		in += s.TxPackets
		out += s.RxPackets
		dropped += p.Tx.Dropped - b.Tx.Dropped + p.Rx.Dropped - b.Rx.Dropped
	}
	if in == 0 || in != out+dropped {
		errs = append(errs, fmt.Errorf("%d packets were sent, %d received, %d counted as dropped", in, out, dropped))
	}
	return errors.Join(errs...)
}

func TestTestpmdForwards(t *testing.T) {
	for _, c := range []struct {
		name string
		testpmd.Config
	}{
		{"mergeable, one queue pair", testpmd.Config{}},
		{"mergeable, two queue pairs", testpmd.Config{Queues: 2}},
		{"not mergeable, one queue pair", testpmd.Config{NotMergeable: true}},
		{"not mergeable, two queue pairs", testpmd.Config{NotMergeable: true, Queues: 2}},
		{"mergeable, 1500 bytes", testpmd.Config{FrameBytes: 1500}},
		{"not mergeable, 1500 bytes, short rings", testpmd.Config{NotMergeable: true, FrameBytes: 1500, QueueSize: 256}},
		{"packed, mergeable", testpmd.Config{Packed: true}},
		{"packed, not mergeable, two queue pairs", testpmd.Config{Packed: true, NotMergeable: true, Queues: 2}},
		{"packed, out of order, short rings", testpmd.Config{Packed: true, QueueSize: 256, ExtraVdev: ",in_order=0"}},
		{"packed, 9000 bytes over five buffers", testpmd.Config{Packed: true, FrameBytes: 9000}},
		{"packed, not vectorized, 1500 bytes", testpmd.Config{Packed: true, FrameBytes: 1500, ExtraVdev: ",vectorized=0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, time.Minute)
			c.NoHugepages = !r.needTestpmd(testpmd.MemoryMB)
			d := r.weftPair("server", max(c.Queues, 1))
			before, err := d.Ports(r.ctx)
			r.must(err)
			l := r.load(d, c.Config)
			r.circulate(d, l, time.Second)
			r.conserved(d, l, before)
			r.must(l.Quit(10 * time.Second))
			r.must(d.WaitLink(r.ctx, false, "v0", "v1"))
			r.must(d.Stop())
		})
	}
}

// TestTestpmdReconnectsAfterRestarts has either end restart, on sockets of either end.
func TestTestpmdReconnectsAfterRestarts(t *testing.T) {
	t.Run("testpmd restarts, weft listens", func(t *testing.T) {
		r := newRig(t, time.Minute)
		noHuge := !r.needTestpmd(testpmd.MemoryMB)
		d := r.weftPair("server", 1)
		for range 2 {
			before, err := d.Ports(r.ctx)
			r.must(err)
			l := r.load(d, testpmd.Config{NoHugepages: noHuge})
			r.circulate(d, l, 500*time.Millisecond)
			r.conserved(d, l, before)
			r.must(l.Quit(10 * time.Second))
			r.must(d.WaitLink(r.ctx, false, "v0", "v1"))
		}
	})
	t.Run("testpmd restarts, weft connects", func(t *testing.T) {
		r := newRig(t, time.Minute)
		noHuge := !r.needTestpmd(testpmd.MemoryMB)
		d := r.weftPair("client", 1)
		for range 2 {
			before, err := d.Ports(r.ctx)
			r.must(err)
			l := r.load(d, testpmd.Config{NoHugepages: noHuge, Server: true})
			r.circulate(d, l, 500*time.Millisecond)
			r.conserved(d, l, before)
			r.must(l.Quit(10 * time.Second))
			r.must(d.WaitLink(r.ctx, false, "v0", "v1"))
		}
	})
	for name, packed := range map[string]bool{"weft restarts": false, "weft restarts, packed rings": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, time.Minute)
			noHuge := !r.needTestpmd(testpmd.MemoryMB)
			d := r.weftPair("client", 1)
			l := r.load(d, testpmd.Config{NoHugepages: noHuge, Server: true, Packed: packed})
			r.circulate(d, l, 500*time.Millisecond)
			for range 2 {
				r.must(d.Stop())
				r.must(d.Restart(r.ctx))
				r.must(d.WaitLink(r.ctx, true, "v0", "v1"))
				_, err := l.Command(r.ctx, "stop")
				r.must(err)
				r.circulate(d, l, 500*time.Millisecond)
			}
		})
	}
}
