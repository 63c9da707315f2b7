//go:build i40e

package i40e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/internal/e2e/agent"
	"weft/internal/e2e/vm"
	"weft/pmd/i40e/i40esim"
)

// linuxPF is a guest whose kernel drives the PF, and the peer at the other end of its wire.
type linuxPF struct {
	card *card
	peer *peer
	dev  string
}

// TestLinuxI40e is the gate of i40e.ko: one boot, each part building on those before.
func TestLinuxI40e(t *testing.T) {
	r := newRig(t, 6*time.Minute)
	cable := r.newTrunk(100, 101)
	g := &linuxPF{card: r.newCard("pf", cable, i40esim.NewSmallNVM)}
	g.peer = r.newPeer(cable)
	r.boot(vm.Config{
		Name: "i40e", Image: shared.linux, MemoryMB: 1024, CPUs: 2, KernelArgs: noIPv6,
		Devices: devices(g.card.function()),
	})
	r.parts([]part{
		{"probe and link", g.probe},
		{"ping and TCP both ways", func(r *rig) { r.bothWays(g.peer, 0, 4<<20, 0, 56, 1472) }},
		{"ethtool -S agrees with the peer", g.statistics},
		{"what ethtool shows and sets", g.settings},
		{"MTU of 9000 bytes", g.jumbo},
		{"VLAN", g.vlan},
		{"filters by address and VLAN", g.filters},
		{"RSS spreads flows over queues", g.multiQueue},
		{"flow director", g.flowDirector},
		{"DDP", g.ddp},
		{"offline self-test", g.selfTest},
		{"link flap", g.flap},
		{"lost interrupts", g.lostInterrupts},
		{"resets in the middle of traffic", g.resets},
		{"unload and load ten times", g.reload},
	})
	r.checkKernelLog()
	g.card.check(r, "Linux i40e")
}

func (g *linuxPF) probe(r *rig) {
	r.insmod("i40e", "")
	g.dev = r.netdev()
	r.addr(g.dev, 0)
	r.waitCarrier(g.dev, true)
	r.must(r.guest.TCPServe(r.ctx, ":5001"))
	mac, err := r.guest.ReadFile(r.ctx, "/sys/class/net/"+g.dev+"/address")
	r.must(err)
	if got := strings.TrimSpace(string(mac)); got != g.card.mac {
		r.t.Errorf("the driver read the address %s, the card's is %s", got, g.card.mac)
	}
	r.mustShow(`Speed: 10000Mb/s`, "ethtool", g.dev)
	r.mustShow(`Link detected: yes`, "ethtool", g.dev)
	r.mustShow(`driver: i40e`, "ethtool", "-i", g.dev)
}

// mustShow runs a program and wants its output to match.
func (r *rig) mustShow(pattern string, args ...string) {
	r.t.Helper()
	if out := r.exec(args...); !regexp.MustCompile(pattern).MatchString(out) {
		r.t.Errorf("%s: no match for %q in:\n%s", strings.Join(args, " "), pattern, out)
	}
}

// statistics compares what the card counted with what the tap did, to the packet, and with the bytes on the wire.
func (g *linuxPF) statistics(r *rig) {
	const fcs = 4 // the card counts the frame check sequence, which the wire here does not carry
	settled := func() (card, peer map[string]uint64) {
		// The driver reads the registers once a second, and TCP's last acknowledgements are on their way until then.
		time.Sleep(2500 * time.Millisecond)
		peer, err := g.peer.Counters(r.ctx, g.peer.device)
		r.must(err)
		peer["from card"], peer["to card"] = g.peer.trunk.bytes[0].Load(), g.peer.trunk.bytes[1].Load()
		return r.ethtoolStats(g.dev), peer
	}
	card0, peer0 := settled()
	r.mustPing(r.guest.Client, peerAddress(0), 0, 700, 1472)
	r.mustSend(r.guest.Client, peerAddress(0), 1<<20, 2)
	r.mustSend(g.peer.Client, guestAddress(0), 1<<20, 2)
	card1, peer1 := settled()
	card := func(names ...string) (sum uint64) {
		for _, n := range names {
			after, found := card1[n]
			if !found {
				r.t.Errorf("ethtool -S has no %s", n)
			}
			sum += after - card0[n]
		}
		return sum
	}
	peer := func(name string) uint64 { return peer1[name] - peer0[name] }
	sizes := func(direction string) uint64 {
		var names []string
		for _, size := range []string{"64", "127", "255", "511", "1023", "1522", "big"} {
			names = append(names, "port."+direction+"_size_"+size)
		}
		return card(names...)
	}
	rx := card("port.rx_unicast", "port.rx_multicast", "port.rx_broadcast")
	tx := card("port.tx_unicast", "port.tx_multicast", "port.tx_broadcast")
	for _, c := range []struct {
		what      string
		got, want uint64
	}{
		{"frames received by the port", rx, peer("tx_packets")},
		{"frames sent by the port", tx, peer("rx_packets")},
		{"bytes received by the port", card("port.rx_bytes"), peer("to card") + fcs*rx},
		{"bytes sent by the port", card("port.tx_bytes"), peer("from card") + fcs*tx},
		{"bytes that the peer received", peer("rx_bytes"), peer("from card")},
		{"packets received by the interface", card("rx_packets"), peer("tx_packets")},
		{"frames received, by size", sizes("rx"), rx},
		{"frames sent, by size", sizes("tx"), tx},
		{"receive errors", card("port.rx_crc_errors", "port.illegal_bytes", "port.rx_length_errors", "port.rx_undersize",
			"port.rx_oversize", "port.rx_fragments", "port.rx_jabber", "rx_dropped"), 0},
	} {
		if c.got != c.want {
			r.t.Errorf("%s: %d, want %d as the peer counted", c.what, c.got, c.want)
		}
	}
	if rx < 700 || tx < 700 {
		r.t.Errorf("only %d frames in and %d out: that is not the traffic of this gate", rx, tx)
	}
	r.t.Logf("%d frames in and %d out, both ends agree", rx, tx)
}

// settings walks through what an administrator does with ethtool: each reads or writes other registers and commands.
func (g *linuxPF) settings(r *rig) {
	for _, s := range []struct {
		pattern string
		args    []string
	}{
		{`firmware-version: \d+\.\d+`, []string{"-i"}},
		{`0x0*[0-9a-f]+`, []string{"-d"}},
		{`(?i)0x0000`, []string{"-e", "", "offset", "0", "length", "64"}},
		{`rx-checksumming: on`, []string{"-k"}},
		{`tcp-segmentation-offload: on`, []string{"-k"}},
		{`Autonegotiate`, []string{"-a"}},
		{`rx-usecs`, []string{"-c"}},
		{`Pre-set maximums`, []string{"-g"}},
		{`RX flow hash indirection table`, []string{"-x"}},
		{`PTP Hardware Clock`, []string{"-T"}},
		{`Identifier\s+: 0x03 \(SFP\)[\s\S]*Vendor name\s+: WEFT MODEL`, []string{"-m"}},
		{`flow-director-atr`, []string{"--show-priv-flags"}},
		{``, []string{"-p", "", "1"}}, // its LED blinks for a second
	} {
		args := append([]string{"ethtool", s.args[0], g.dev}, s.args[min(len(s.args), 2):]...)
		r.mustShow(s.pattern, args...)
	}
	for _, set := range []struct{ change, back []string }{
		{[]string{"-K", "rx", "off", "tx", "off", "tso", "off"}, []string{"-K", "rx", "on", "tx", "on", "tso", "on"}},
		{[]string{"-K", "rxvlan", "off", "txvlan", "off"}, []string{"-K", "rxvlan", "on", "txvlan", "on"}},
		{[]string{"-K", "rxhash", "off"}, []string{"-K", "rxhash", "on"}},
		{[]string{"-G", "rx", "128", "tx", "128"}, []string{"-G", "rx", "512", "tx", "512"}},
		{
			[]string{"-C", "adaptive-rx", "off", "adaptive-tx", "off", "rx-usecs", "100", "tx-usecs", "200"},
			[]string{"-C", "adaptive-rx", "on", "adaptive-tx", "on"},
		},
		{[]string{"--set-priv-flags", "legacy-rx", "on"}, []string{"--set-priv-flags", "legacy-rx", "off"}},
	} {
		for _, args := range [][]string{set.change, set.back} {
			r.exec(append([]string{"ethtool", args[0], g.dev}, args[1:]...)...)
			r.waitCarrier(g.dev, true)
			r.mustPing(r.guest.Client, peerAddress(0), 56)
			r.mustSend(r.guest.Client, peerAddress(0), 256<<10, 1)
			r.mustSend(g.peer.Client, guestAddress(0), 256<<10, 1)
		}
	}
}

func (g *linuxPF) setMTU(r *rig, mtu int) {
	r.must(g.peer.Do(r.ctx, agent.OpLink, agent.LinkArgs{Interface: g.peer.device, MTU: mtu}, nil))
	r.must(r.guest.Do(r.ctx, agent.OpLink, agent.LinkArgs{Interface: g.dev, MTU: mtu}, nil))
	r.waitCarrier(g.dev, true)
}

func (g *linuxPF) jumbo(r *rig) {
	g.setMTU(r, 9000)
	before := r.ethtoolStats(g.dev)
	r.bothWays(g.peer, 0, 8<<20, 8972) // 8972 fills an MTU of 9000
	time.Sleep(2500 * time.Millisecond)
	after := r.ethtoolStats(g.dev)
	for _, name := range []string{"port.rx_size_big", "port.tx_size_big"} {
		if after[name]-before[name] < 7 {
			r.t.Errorf("%s grew by %d: the large pings did not go as large frames", name, after[name]-before[name])
		}
	}
	g.setMTU(r, 1500)
}

func (g *linuxPF) vlan(r *rig) {
	r.vlanBothWays(g.peer, g.dev, 100)
	r.mustPing(r.guest.Client, peerAddress(0), 56) // untagged frames still pass
}

// filters sends frames that the port's filters must and must not let pass.
func (g *linuxPF) filters(r *rig) {
	const stranger, group = "02:00:00:00:00:99", "01:00:5e:01:02:03"
	f := &filter{g.card, g.dev, 300 * time.Millisecond}
	f.want(r, g.card.mac, 0, true)
	f.want(r, stranger, 0, false)
	f.want(r, g.card.mac, 100, true) // the VLAN that the gate made before
	f.want(r, g.card.mac, 200, false)
	r.exec("ip", "link", "set", "dev", g.dev, "promisc", "on")
	f.want(r, stranger, 0, true)
	r.exec("ip", "link", "set", "dev", g.dev, "promisc", "off")
	f.want(r, stranger, 0, false)
	f.want(r, group, 0, false)
	r.exec("ip", "maddress", "add", group, "dev", g.dev)
	f.want(r, group, 0, true)
	r.exec("ip", "maddress", "del", group, "dev", g.dev)
	f.want(r, group, 0, false)
}

// lostInterrupts makes the guest deaf for a while; afterwards the driver notices by itself that its queues hang.
func (g *linuxPF) lostInterrupts(r *rig) {
	ping := func() int {
		p, err := r.guest.Ping(r.ctx, agent.PingArgs{Target: peerAddress(0), Count: 3, IntervalMS: 50, TimeoutMS: 500})
		r.must(err)
		return p.Received
	}
	g.card.LoseInterrupts(1 << 30)
	if n := ping(); n > 1 { // one may have been on its way
		r.t.Errorf("%d pings were answered without interrupts", n)
	}
	g.card.LoseInterrupts(0)
	r.eventually(30*time.Second, func() error {
		if n := ping(); n != 3 {
			return fmt.Errorf("after interrupts were lost, %d of 3 pings are answered", n)
		}
		return nil
	})
}

// resets are what happens when somebody else's function, or the firmware, resets the whole card under the driver.
func (g *linuxPF) resets(r *rig) {
	const begin = "get_version (0001)" // the first command of an admin queue's life
	for _, kind := range []i40esim.ResetKind{i40esim.CORER, i40esim.GLOBR, i40esim.EMPR} {
		before := g.card.Coverage().Commands[begin]
		sent := make(chan error, 1)
		go func() {
			_, err := r.guest.TCPSend(r.ctx, agent.TCPSendArgs{Target: peerAddress(0) + ":5001", Bytes: 16 << 20, TimeoutMS: 60_000})
			sent <- err
		}()
		time.Sleep(300 * time.Millisecond)
		g.card.ResetCard(kind)
		if err := <-sent; err != nil {
			r.t.Errorf("the transfer did not survive a %s: %v", kind, err)
		}
		r.waitCarrier(g.dev, true)
		r.mustPing(r.guest.Client, peerAddress(0), 56)
		r.mustPing(g.peer.Client, guestAddress(0), 56)
		if g.card.Coverage().Commands[begin] == before {
			r.t.Errorf("the driver did not set the card up anew after a %s", kind)
		}
	}
}

// queueShares are the packets that each receive queue got since before.
func (g *linuxPF) queueShares(r *rig, before map[string]uint64, queues int) []uint64 {
	after := r.ethtoolStats(g.dev)
	shares := make([]uint64, queues)
	for q := range shares {
		name := fmt.Sprintf("rx-%d.packets", q)
		if _, found := after[name]; !found {
			name = fmt.Sprintf("rx-%d.rx_packets", q)
		}
		if _, found := after[name]; !found {
			r.t.Fatalf("ethtool -S does not count queue %d", q)
		}
		shares[q] = after[name] - before[name]
	}
	return shares
}

func (g *linuxPF) multiQueue(r *rig) {
	const queues, streams = 2, 16
	r.exec("ethtool", "-L", g.dev, "combined", fmt.Sprint(queues))
	r.waitCarrier(g.dev, true)
	// Flow director's sampling moves flows to the queue they are sent from: without it the hash alone decides.
	r.exec("ethtool", "--set-priv-flags", g.dev, "flow-director-atr", "off")
	r.waitCarrier(g.dev, true)
	before := r.ethtoolStats(g.dev)
	r.mustSend(g.peer.Client, guestAddress(0), 4<<20, streams)
	shares := g.queueShares(r, before, queues)
	r.t.Logf("packets of %d flows by receive queue: %v", streams, shares)
	for q, n := range shares {
		if n < 100 {
			r.t.Errorf("queue %d received %d packets of %d flows", q, n, streams)
		}
	}
	// With all of the table on one queue there is no spread: the table decides, and not chance.
	for q := range queues {
		weights := make([]string, queues)
		for i := range weights {
			weights[i] = "0"
		}
		weights[q] = "1"
		r.exec(append([]string{"ethtool", "-X", g.dev, "weight"}, weights...)...)
		before = r.ethtoolStats(g.dev)
		r.mustSend(g.peer.Client, guestAddress(0), 1<<20, streams)
		for other, n := range g.queueShares(r, before, queues) {
			if other != q && n > 20 { // ARP and the like are not hashed: they go to queue 0
				r.t.Errorf("queue %d received %d packets though the table names queue %d alone", other, n, q)
			}
		}
	}
	r.exec("ethtool", "-X", g.dev, "default")
	r.exec("ethtool", "--set-priv-flags", g.dev, "flow-director-atr", "on")
	r.waitCarrier(g.dev, true)
	// All queues send as well.
	before = r.ethtoolStats(g.dev)
	r.mustSend(r.guest.Client, peerAddress(0), 4<<20, streams)
	after := r.ethtoolStats(g.dev)
	for q := range queues {
		name := fmt.Sprintf("tx-%d.packets", q)
		if after[name] == before[name] {
			r.t.Errorf("transmit queue %d sent nothing (%s is %d)", q, name, after[name])
		}
	}
}

// ddp adds a profile and rolls it back, each once and not twice.
func (g *linuxPF) ddp(r *rig) {
	const region, write = "100", "write_personalization_profile (0270)"
	p := testProfile(r)
	r.must(r.guest.WriteFile(r.ctx, "/lib/firmware/intel/i40e/ddp/weft.pkg", p.data))
	before := g.card.Coverage().Commands
	for _, step := range []struct {
		file  string
		works bool
	}{{"weft.pkg", true}, {"weft.pkg", false}, {"-", true}, {"-", false}} {
		out, status := r.try("ethtool", "-f", g.dev, step.file, region)
		if (status == 0) != step.works {
			r.t.Errorf("ethtool -f %s: status %d, want it to work: %t\n%s%s", step.file, status, step.works, out, r.complaints())
		}
	}
	after := g.card.Coverage().Commands
	if n := after[write] - before[write]; n < 4 { // two register sections and the profile itself, there and back
		r.t.Errorf("the driver sent %d sections; commands: %v", n, after)
	}
	r.mustPing(r.guest.Client, peerAddress(0), 56)
}

var ruleLine = regexp.MustCompile(`Added rule with ID (\d+)`)

// flowDirector sends flows where a rule says, and not the hash.
func (g *linuxPF) flowDirector(r *rig) {
	const queues, streams = 2, 16
	r.exec("ethtool", "-K", g.dev, "ntuple", "on")
	r.waitCarrier(g.dev, true)
	for q := range queues {
		out := g.changeRules(r, "flow-type", "tcp4", "dst-port", "5001", "action", fmt.Sprint(q))
		rule := ruleLine.FindStringSubmatch(out)
		if rule == nil {
			r.t.Fatalf("ethtool -N: %s", out)
		}
		before := r.ethtoolStats(g.dev)
		r.mustSend(g.peer.Client, guestAddress(0), 1<<20, streams)
		shares := g.queueShares(r, before, queues)
		for other, n := range shares {
			if other != q && n > 20 || other == q && n < 500 {
				r.t.Errorf("the rule names queue %d, and the packets by queue are %v", q, shares)
				break
			}
		}
		g.changeRules(r, "delete", rule[1])
	}
	r.exec("ethtool", "-K", g.dev, "ntuple", "off")
	r.waitCarrier(g.dev, true)
}

// changeRules runs ethtool -N. It tries again for as long as the driver is busy: whoever turns its sampling off asks for the
// table to be flushed, which its service task does within a second, or ten after the last time, and no rule changes before.
func (g *linuxPF) changeRules(r *rig, args ...string) (output string) {
	r.t.Helper()
	args = append([]string{"ethtool", "-N", g.dev}, args...)
	r.eventually(20*time.Second, func() error {
		out, status := r.try(args...)
		if status == 0 {
			output = out
			return nil
		}
		err := fmt.Errorf("%s: status %d\n%s", strings.Join(args, " "), status, out)
		if !strings.Contains(out, "Device or resource busy") {
			r.t.Fatal(err)
		}
		return err
	})
	return output
}

// selfTestParts are the tests of "ethtool -t DEVICE offline", by the first word of their lines.
var selfTestParts = []string{"Register", "Eeprom", "Interrupt", "Link"}

func (g *linuxPF) selfTest(r *rig) {
	g.wantFailed(r, "without a fault")
	for _, name := range selfTestParts {
		undo := g.card.breakSelfTest(name)
		g.wantFailed(r, "with a fault for the "+name+" test", name)
		undo()
		r.waitCarrier(g.dev, true)
	}
	g.wantFailed(r, "with the faults gone")
	r.waitCarrier(g.dev, true)
	r.mustPing(r.guest.Client, peerAddress(0), 56)
}

// wantFailed wants just these parts of the self-test to fail. It tries again, because the driver waits one millisecond for
// the interrupt, and a busy machine is slower than that now and then; what a fault breaks fails every time.
func (g *linuxPF) wantFailed(r *rig, when string, want ...string) {
	r.t.Helper()
	const attempts = 4
	var got []string
	for range attempts {
		if got = g.failedParts(r); slices.Equal(got, want) {
			return
		}
		r.waitCarrier(g.dev, !slices.Contains(want, "Link"))
	}
	r.t.Errorf("%s, these parts of the self-test fail: %v, want %v", when, got, want)
}

var selfTestLine = regexp.MustCompile(`(?m)^(\w+) test.*\s(-?\d+)\s*$`)

// failedParts runs the self-test and returns which of its parts fail.
func (g *linuxPF) failedParts(r *rig) (failed []string) {
	r.t.Helper()
	out, _ := r.try("ethtool", "-t", g.dev, "offline") // its status says whether a part failed, as its lines do
	lines := selfTestLine.FindAllStringSubmatch(out, -1)
	if len(lines) != len(selfTestParts) {
		r.t.Fatalf("the self-test printed:\n%s", out)
	}
	for _, l := range lines {
		if l[2] != "0" {
			failed = append(failed, l[1])
		}
	}
	return failed
}

func (g *linuxPF) flap(r *rig) {
	for range 3 {
		g.card.SetLink(false)
		r.waitCarrier(g.dev, false)
		p, err := r.guest.Ping(r.ctx, agent.PingArgs{Target: peerAddress(0), Count: 2, IntervalMS: 20, TimeoutMS: 200})
		r.must(err)
		if p.Received != 0 {
			r.t.Errorf("%d pings were answered without a link", p.Received)
		}
		g.card.SetLink(true)
		r.waitCarrier(g.dev, true)
		r.mustPing(r.guest.Client, peerAddress(0), 56)
	}
	log := r.exec("dmesg")
	if down := strings.Count(log, "NIC Link is Down"); down < 3 {
		r.t.Errorf("the driver announced a lost link %d times, want 3 at least", down)
	}
}

func (g *linuxPF) reload(r *rig) {
	for i := range 10 {
		r.rmmod("i40e")
		r.insmod("i40e", "")
		g.dev = r.netdev()
		r.addr(g.dev, 0)
		r.waitCarrier(g.dev, true)
		r.mustPing(r.guest.Client, peerAddress(0), 56)
		r.mustPing(g.peer.Client, guestAddress(0), 56)
		if r.t.Failed() {
			r.t.Fatalf("load %d", i+1)
		}
	}
	r.rmmod("i40e")
}
