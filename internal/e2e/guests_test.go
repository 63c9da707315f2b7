//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/internal/e2e/agent"
	"weft/internal/e2e/daemon"
	"weft/internal/e2e/host"
	"weft/internal/e2e/vm"
)

// guestsConfig: vm1's socket is Weft's, vm2's is qemu's. vm2 has two queue pairs, with packed rings.
const guestsConfig = `pmd: {idle: sleep, max_sleep: 200us}
bridges:
  - name: br0
    ports:
      - {name: vm1, driver: vhost-user, number: 1, path: @/vm1.sock, mode: server}
      - {name: vm2, driver: vhost-user, number: 2, path: @/vm2.sock, mode: client, queues: 2,
         reconnect: {min: 50ms, max: 500ms}}
      - {name: wire, driver: tap, number: 10, device: %s}
    flows:
      - priority=0,actions=NORMAL
`

const (
	address1    = "10.1.0.1"
	address2    = "10.1.0.2"
	addressWire = "10.1.0.3"
)

// guests is two guests and a wire on one weft.
type guests struct {
	*rig
	weft     *daemon.Daemon
	vm1, vm2 *vm.VM
	wire     *host.Namespace
	device   string
}

// TestGuests uses the guests one after the other, because booting is what takes time. All of it takes a minute and a half
// on an idle machine with TCG and four on one with seven times as much to do as it has processors.
func TestGuests(t *testing.T) {
	r := newRig(t, 8*time.Minute)
	g := &guests{rig: r, device: fmt.Sprintf("weft-e%d", freePort(t))}
	g.weft = r.weft(fmt.Sprintf(guestsConfig, g.device))
	g.boot()
	for _, step := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"every pair pings and moves TCP", g.everyPair},
		{"both queues of a multi-queue guest carry traffic", g.multiQueue},
		{"rules added and deleted at run time act on live traffic", g.liveRules},
		{"a reload disturbs nothing that did not change", g.reload},
		{"guests survive a restart of weft", func(t *testing.T) { g.restart(t, syscall.SIGTERM) }},
		{"guests survive weft being killed", func(t *testing.T) { g.restart(t, syscall.SIGKILL) }},
		{"a killed qemu disturbs nobody and leaks nothing", g.killedGuest},
		{"a rebooted guest comes back", g.reboot},
	} {
		if !t.Run(step.name, step.run) {
			return // what follows builds on it
		}
	}
}

func (g *guests) startVM2() {
	g.t.Helper()
	v, err := vm.Start(g.group, vm.Config{
		Name: "vm2", Dir: g.dir, Image: shared.image, Accel: shared.accel, CPUs: 2,
		NICs: []vm.NIC{{
			Socket: g.path("vm2.sock"), Server: true, MAC: "52:54:00:00:00:02", QueuePairs: 2, Packed: true,
		}},
		Addresses: []string{"eth0:" + address2 + "/24"},
	})
	g.must(err)
	g.vm2 = v
}

// readyVM2 waits for vm2 and has it use both queue pairs.
func (g *guests) readyVM2() {
	g.t.Helper()
	g.must(g.vm2.Ready(g.ctx))
	g.must(g.vm2.Do(g.ctx, agent.OpChannels, agent.ChannelsArgs{Interface: "eth0", Combined: 2}, nil))
	g.must(g.vm2.TCPServe(g.ctx, ":5001"))
	g.must(g.weft.WaitLink(g.ctx, true, "vm2"))
	shown, err := g.weft.CLI(g.ctx, "port", "show", "vm2")
	g.must(err)
	if !strings.Contains(shown, "RING_PACKED") {
		g.t.Fatalf("vm2 does not use packed rings:\n%s", shown)
	}
}

func (g *guests) boot() {
	g.t.Helper()
	start := time.Now()
	var err error
	g.vm1, err = vm.Start(g.group, vm.Config{
		Name: "vm1", Dir: g.dir, Image: shared.image, Accel: shared.accel,
		NICs:      []vm.NIC{{Socket: g.path("vm1.sock"), MAC: "52:54:00:00:00:01"}},
		Addresses: []string{"eth0:" + address1 + "/24"},
	})
	g.must(err)
	g.startVM2()
	g.wire, err = host.NewNamespace(g.ctx, g.group, "wire", shared.image.Agent, g.dir)
	g.must(err)
	g.must(g.wire.Adopt(g.ctx, g.device, addressWire+"/24"))
	g.must(g.wire.TCPServe(g.ctx, ":5001"))
	g.must(g.vm1.Ready(g.ctx))
	g.must(g.vm1.TCPServe(g.ctx, ":5001"))
	g.readyVM2()
	g.must(g.weft.WaitLink(g.ctx, true, "vm1", "vm2", "wire"))
	hello, err := g.vm1.Hello(g.ctx)
	g.must(err)
	if hello.Kernel != shared.image.Version {
		g.t.Fatalf("the guest runs %s, not %s", hello.Kernel, shared.image.Version)
	}
	g.t.Logf("two guests and a wire were up after %s", time.Since(start).Round(time.Millisecond))
}

// ends are the three hosts by address.
func (g *guests) ends() map[string]*agent.Client {
	return map[string]*agent.Client{address1: g.vm1.Client, address2: g.vm2.Client, addressWire: g.wire.Client}
}

// mustPing wants every ping of a series answered. What ARP needs is sent before and not counted.
func (g *guests) mustPing(t *testing.T, from *agent.Client, target string, size int) {
	t.Helper()
	warm, err := from.Ping(g.ctx, agent.PingArgs{Target: target, Count: 3, IntervalMS: 50, TimeoutMS: 5000, Size: size})
	if err != nil {
		t.Fatal(err)
	}
	p, err := from.Ping(g.ctx, agent.PingArgs{Target: target, Count: 10, IntervalMS: 20, TimeoutMS: 5000, Size: size})
	if err != nil {
		t.Fatal(err)
	}
	if p.Lost() != 0 || p.Corrupt != 0 || p.Duplicates != 0 {
		t.Errorf("ping %s with %d bytes: %+v (before: %+v)", target, size, p, warm)
	}
}

func (g *guests) mustSend(t *testing.T, from *agent.Client, target string, bytes int64, streams int) {
	t.Helper()
	res, err := from.TCPSend(g.ctx, agent.TCPSendArgs{
		Target: target + ":5001", Bytes: bytes, TimeoutMS: 60_000, Streams: streams,
	})
	if err != nil {
		t.Error(err)
		return
	}
	t.Logf("TCP to %s: %.0f Mbit/s", target, res.Mbps)
}

func (g *guests) everyPair(t *testing.T) {
	g.pairs(t, 4<<20, 0, 56, 1472) // 1472 fills an MTU of 1500
}

// pairs has every host ping every other with each of the sizes and send it bytes over TCP.
func (g *guests) pairs(t *testing.T, bytes int64, sizes ...int) {
	t.Helper()
	for _, from := range []string{address1, address2, addressWire} {
		for _, to := range []string{address1, address2, addressWire} {
			if from == to {
				continue
			}
			for _, size := range sizes {
				g.mustPing(t, g.ends()[from], to, size)
			}
			g.mustSend(t, g.ends()[from], to, bytes, 1)
		}
	}
}

func (g *guests) multiQueue(t *testing.T) {
	g.mustSend(t, g.vm2.Client, addressWire, 4<<20, 8)
	g.mustSend(t, g.vm2.Client, address1, 4<<20, 8)
	ports, err := g.weft.Ports(g.ctx)
	if err != nil {
		t.Fatal(err)
	}
	p := ports["vm2"]
	if len(p.RxQueues) != 2 || len(p.TxQueues) != 2 {
		t.Fatalf("vm2 has %d receive and %d transmit queues, want 2 and 2", len(p.RxQueues), len(p.TxQueues))
	}
	for _, q := range p.RxQueues {
		if !q.Active || q.Packets == 0 {
			t.Errorf("receive queue %d: active %t, %d packets", q.Index, q.Active, q.Packets)
		}
	}
}

// background runs a long ping while change is at work, and returns what became of it.
func (g *guests) background(t *testing.T, from *agent.Client, target string, count int, change func()) agent.PingResult {
	t.Helper()
	type outcome struct {
		r   agent.PingResult
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		r, err := from.Ping(g.ctx, agent.PingArgs{Target: target, Count: count, IntervalMS: 50, TimeoutMS: 5000, Size: 56})
		done <- outcome{r, err}
	}()
	time.Sleep(300 * time.Millisecond) // so that the change meets traffic under way
	change()
	o := <-done
	if o.err != nil {
		t.Fatal(o.err)
	}
	return o.r
}

func (g *guests) liveRules(t *testing.T) {
	const rule = "priority=500,icmp,in_port=vm1,actions=drop"
	// Rules that match other traffic come and go without loss.
	p := g.background(t, g.vm1.Client, address2, 60, func() {
		for i := range 20 {
			_, err := g.weft.CLI(g.ctx, "flow", "add", fmt.Sprintf("priority=%d,udp,tp_dst=%d,actions=drop", 600+i, 7000+i))
			g.must(err)
		}
	})
	if p.Lost() != 0 {
		t.Errorf("adding unrelated rules lost pings: %+v", p)
	}
	_, err := g.weft.CLI(g.ctx, "flow", "add", rule)
	g.must(err)
	p, err = g.vm1.Ping(g.ctx, agent.PingArgs{Target: address2, Count: 10, IntervalMS: 20, TimeoutMS: 500, Size: 56})
	g.must(err)
	if p.Received != 0 {
		t.Errorf("after %q pings still pass: %+v", rule, p)
	}
	g.mustPing(t, g.wire.Client, address2, 56)
	dump, err := g.weft.CLI(g.ctx, "flow", "dump")
	g.must(err)
	if !strings.Contains(dump, "n_packets=10,") {
		t.Errorf("no rule counted the 10 dropped pings:\n%s", dump)
	}
	for _, filter := range []string{"icmp,in_port=vm1", "udp"} {
		_, err = g.weft.CLI(g.ctx, "flow", "del", filter)
		g.must(err)
	}
	g.mustPing(t, g.vm1.Client, address2, 56)
}

func (g *guests) reload(t *testing.T) {
	before, err := g.weft.Ports(g.ctx)
	g.must(err)
	changed := fmt.Sprintf(guestsConfig, g.device) + `      - priority=400,tcp,tp_dst=9,actions=drop
  - name: br1
    ports:
      - {name: vm3, driver: vhost-user, path: @/vm3.sock, mode: server}
    flows: [actions=NORMAL]
`
	p := g.background(t, g.vm1.Client, address2, 60, func() {
		g.writeConfig(g.weft.Config, changed)
		out, err := g.weft.CLI(g.ctx, "reload")
		g.must(err)
		for _, want := range []string{"vm3", "br1", "tp_dst=9"} {
			if !strings.Contains(out, want) {
				t.Errorf("the difference that reload printed does not mention %s:\n%s", want, out)
			}
		}
	})
	if p.Lost() != 0 {
		t.Errorf("a reload lost pings: %+v", p)
	}
	p = g.background(t, g.vm1.Client, address2, 30, func() {
		g.writeConfig(g.weft.Config, changed+"    mac_limitt: 5\n")
		if _, err := g.weft.CLI(g.ctx, "reload"); err == nil || !strings.Contains(err.Error(), "mac_limitt") ||
			!strings.Contains(err.Error(), "weft.yaml:") {
			t.Errorf("a misspelt field: error %v, want one that names it, the file and the line", err)
		}
	})
	if p.Lost() != 0 {
		t.Errorf("a refused reload lost pings: %+v", p)
	}
	g.writeConfig(g.weft.Config, fmt.Sprintf(guestsConfig, g.device))
	_, err = g.weft.CLI(g.ctx, "reload")
	g.must(err)
	after, err := g.weft.Ports(g.ctx)
	g.must(err)
	if _, still := after["vm3"]; still {
		t.Error("vm3 is still there after a reload without it")
	}
	for _, name := range []string{"vm1", "vm2"} {
		if before[name].Sessions != after[name].Sessions {
			t.Errorf("%s: %d sessions before, %d after: a reload disconnected it", name, before[name].Sessions,
				after[name].Sessions)
		}
	}
}

func (g *guests) restart(t *testing.T, sig syscall.Signal) {
	before, err := g.vm1.Hello(g.ctx)
	g.must(err)
	p := g.background(t, g.vm1.Client, address2, 120, func() {
		if sig == syscall.SIGTERM {
			g.must(g.weft.Stop())
		} else {
			g.weft.Process.Kill()
		}
		g.must(g.weft.Restart(g.ctx))
	})
	t.Logf("guest to guest, one ping each 50 ms across the restart: %+v", p)
	if p.Received == 0 || p.LongestGap > 80 {
		t.Errorf("pings did not resume: %+v", p)
	}
	g.must(g.weft.WaitLink(g.ctx, true, "vm1", "vm2", "wire"))
	g.must(g.wire.Adopt(g.ctx, g.device, addressWire+"/24"))
	after, err := g.vm1.Hello(g.ctx)
	g.must(err)
	if after.Boot != before.Boot {
		t.Error("vm1 was restarted")
	}
	g.pairs(t, 1<<20, 56)
}

// killedGuest kills vm2 in mid-traffic. vm1 must not lose a single ping to the wire meanwhile.
func (g *guests) killedGuest(t *testing.T) {
	var before daemon.Holdings
	const rounds = 3
	for round := range rounds {
		p := g.background(t, g.vm1.Client, addressWire, 80, func() {
			go func() { // it dies with the guest
				_, _ = g.vm2.TCPSend(g.ctx, agent.TCPSendArgs{Target: addressWire + ":5001", Bytes: 1 << 30, TimeoutMS: 60_000})
			}()
			time.Sleep(700 * time.Millisecond)
			g.vm2.Kill()
			g.must(g.weft.WaitLink(g.ctx, false, "vm2"))
		})
		if p.Lost() != 0 {
			t.Errorf("round %d: killing vm2 cost vm1 pings: %+v", round, p)
		}
		if round == 0 {
			var err error
			time.Sleep(300 * time.Millisecond) // unmapping waits for a quiescent point
			before, err = g.weft.Holdings()
			g.must(err)
		}
		g.eventually(10*time.Second, func() error {
			now, err := g.weft.Holdings()
			if more := now.Growth(before, 2); err == nil && len(more) > 0 {
				err = fmt.Errorf("round %d: weft holds more than after the first round: %v", round, more)
			}
			return err
		})
		if round < rounds-1 {
			g.startVM2()
			g.readyVM2()
			g.mustPing(t, g.vm2.Client, address1, 56)
		}
	}
	g.startVM2()
	g.readyVM2()
	g.pairs(t, 1<<20, 56)
}

// reboot restarts the guest's kernel under the same qemu: the device is reset and set up again.
func (g *guests) reboot(t *testing.T) {
	before, err := g.vm2.Hello(g.ctx)
	g.must(err)
	p := g.background(t, g.vm1.Client, addressWire, 200, func() {
		ctx, cancel := context.WithTimeout(g.ctx, time.Second)
		defer cancel()
		_ = g.vm2.Do(ctx, agent.OpReboot, nil, nil) // the machine is gone before it can answer
	})
	if p.Lost() != 0 {
		t.Errorf("a reboot of vm2 cost vm1 pings: %+v", p)
	}
	_ = g.vm2.Close()
	g.readyVM2()
	after, err := g.vm2.Hello(g.ctx)
	g.must(err)
	if after.Boot == before.Boot {
		t.Fatal("vm2 did not reboot")
	}
	g.mustPing(t, g.vm2.Client, address1, 56)
	g.mustPing(t, g.vm1.Client, address2, 1472)
}
