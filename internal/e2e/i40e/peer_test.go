//go:build i40e

package i40e

import (
	"encoding/binary"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"weft/internal/e2e/agent"
	"weft/internal/e2e/host"
)

// Addresses of the guest and of its peer; the third byte is the VLAN, 0 for none.
func guestAddress(vlan int) string { return fmt.Sprintf("10.7.%d.1", vlan) }
func peerAddress(vlan int) string  { return fmt.Sprintf("10.7.%d.2", vlan) }

// noIPv6 keeps both ends from sending what no gate asked for: their counters are compared to the packet.
const noIPv6 = "ipv6.disable=1"

// peer is the other end of the wire: the taps of a trunk in a network namespace.
type peer struct {
	*host.Namespace
	trunk  *trunk
	device string // of untagged frames
}

// newPeer moves the taps into a namespace and gives each the peer's address of its VLAN.
func (r *rig) newPeer(t *trunk) *peer {
	r.t.Helper()
	ns, err := host.NewNamespace(r.ctx, r.group, "peer", shared.linux.Agent, r.dir)
	r.must(err)
	r.must(ns.WriteFile(r.ctx, "/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1")))
	for id, name := range t.names {
		r.must(ns.Adopt(r.ctx, name, peerAddress(id)+"/24"))
	}
	r.must(ns.TCPServe(r.ctx, ":5001"))
	return &peer{Namespace: ns, trunk: t, device: t.names[0]}
}

// mustPing wants every ping of a series answered. What ARP needs is sent before and not counted.
func (r *rig) mustPing(from *agent.Client, target string, sizes ...int) {
	r.t.Helper()
	for _, size := range sizes {
		_, err := from.Ping(r.ctx, agent.PingArgs{Target: target, Count: 2, IntervalMS: 50, TimeoutMS: 5000, Size: size})
		r.must(err)
		p, err := from.Ping(r.ctx, agent.PingArgs{Target: target, Count: 5, IntervalMS: 30, TimeoutMS: 5000, Size: size})
		r.must(err)
		if p.Lost() != 0 || p.Corrupt != 0 || p.Duplicates != 0 {
			r.t.Errorf("ping %s with %d bytes: %+v", target, size, p)
		}
	}
}

// mustSend moves bytes over TCP and wants the receiver to have got just those.
func (r *rig) mustSend(from *agent.Client, target string, bytes int64, streams int) {
	r.t.Helper()
	res, err := from.TCPSend(r.ctx, agent.TCPSendArgs{
		Target: target + ":5001", Bytes: bytes, TimeoutMS: 90_000, Streams: streams,
	})
	if err != nil {
		r.t.Error(err)
		return
	}
	r.t.Logf("TCP to %s, %d streams: %.0f Mbit/s", target, streams, res.Mbps)
}

// bothWays pings with each size and moves bytes over TCP, from the guest and to it.
func (r *rig) bothWays(p *peer, vlan int, bytes int64, sizes ...int) {
	r.t.Helper()
	r.mustPing(r.guest.Client, peerAddress(vlan), sizes...)
	r.mustPing(p.Client, guestAddress(vlan), sizes...)
	r.mustSend(r.guest.Client, peerAddress(vlan), bytes, 1)
	r.mustSend(p.Client, guestAddress(vlan), bytes, 1)
}

// vlanBothWays makes a VLAN of the guest's device and uses it.
func (r *rig) vlanBothWays(p *peer, device string, id int) {
	r.t.Helper()
	r.must(r.guest.Do(r.ctx, agent.OpVLAN, agent.VLANArgs{Interface: device, ID: id}, nil))
	r.addr(fmt.Sprintf("%s.%d", device, id), id)
	from, to := p.trunk.tagged[0].Load(), p.trunk.tagged[1].Load()
	r.bothWays(p, id, 1<<20, 56, 1472)
	from, to = p.trunk.tagged[0].Load()-from, p.trunk.tagged[1].Load()-to
	if n := p.trunk.stray.Load(); from < 700 || to < 700 || n > 0 {
		r.t.Errorf("%d tagged frames from the card and %d to it, %d with a tag that nobody has", from, to, n)
	}
}

// filter is what stands before a guest's device.
type filter struct {
	card   *card
	device string
	settle time.Duration // until the driver's counters have what was under way
}

// admits says whether a series of frames to an address, tagged unless vlan is 0, reaches the guest's kernel.
func (f *filter) admits(r *rig, address string, vlan int) bool {
	r.t.Helper()
	const (
		frames = 100 // fewer than a ring has buffers
		strays = 20  // what else may come meanwhile: ARP and the like
	)
	mac, err := net.ParseMAC(address)
	r.must(err)
	// The kernel counts them and throws them away: the EtherType is one for experiments (IEEE 802).
	b := append(append([]byte(nil), mac...), testMACs[6:]...)
	if vlan > 0 {
		b = binary.BigEndian.AppendUint16(b, etherVLAN)
		b = binary.BigEndian.AppendUint16(b, uint16(vlan))
	}
	b = append(binary.BigEndian.AppendUint16(b, 0x88B5), make([]byte, 60)...)
	received := func() uint64 {
		counters, err := r.guest.Counters(r.ctx, f.device)
		r.must(err)
		return counters["rx_packets"]
	}
	time.Sleep(f.settle)
	before := received()
	for range frames {
		f.card.Receive(b)
	}
	time.Sleep(f.settle)
	n := received() - before
	if n > strays && n < frames || n > frames+strays {
		r.t.Errorf("%d of %d frames to %s, VLAN %d, arrived", n, frames, address, vlan)
	}
	return n >= frames
}

// want checks whether frames pass.
func (f *filter) want(r *rig, address string, vlan int, want bool) {
	r.t.Helper()
	if got := f.admits(r, address, vlan); got != want {
		r.t.Errorf("frames to %s, VLAN %d: passed the filter: %t, want %t", address, vlan, got, want)
	}
}

// netdev is the name of the only network device of the guest with this driver, once it is there.
func (r *rig) netdev() string {
	r.t.Helper()
	name := ""
	r.eventually(20*time.Second, func() error {
		hello, err := r.guest.Hello(r.ctx)
		if err != nil {
			return err
		}
		for _, i := range hello.Interfaces {
			if i != "lo" && !strings.Contains(i, ".") {
				name = i
				return nil
			}
		}
		return fmt.Errorf("the guest has no network card; its kernel says:\n%s", r.complaints())
	})
	return name
}

// addr gives a device of the guest its address and brings it up.
func (r *rig) addr(device string, vlan int) {
	r.t.Helper()
	r.must(r.guest.Addr(r.ctx, device, guestAddress(vlan)+"/24"))
}

// waitCarrier waits until the guest's device has, or has not, a link.
func (r *rig) waitCarrier(device string, want bool) {
	r.t.Helper()
	state := map[bool]string{true: "1", false: "0"}[want]
	r.eventually(20*time.Second, func() error {
		got, err := r.guest.ReadFile(r.ctx, "/sys/class/net/"+device+"/carrier")
		if err == nil && strings.TrimSpace(string(got)) == state {
			return nil
		}
		return fmt.Errorf("carrier of %s is %q (%v), want %s; the guest's kernel says:\n%s", device, got, err, state,
			r.complaints())
	})
}

// complaints are the last lines of the guest's kernel log.
func (r *rig) complaints() string {
	out, _ := r.try("dmesg")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// trouble is what a kernel log must not hold after a gate.
var trouble = regexp.MustCompile(`NETDEV WATCHDOG|Call Trace|BUG:|WARNING:|Oops|Tx Unit Hang|tx_timeout|TX driver issue|` +
	`RX driver issue|Malicious|MDD|AQ command|failed|timed? ?out|Error|error|invalid`)

// checkKernelLog fails on what the driver complained about. allowed are parts of lines that the gate brought about.
func (r *rig) checkKernelLog(allowed ...string) {
	r.t.Helper()
	for line := range strings.Lines(r.exec("dmesg")) {
		if !strings.Contains(line, "i40e") && !strings.Contains(line, "iavf") && !strings.Contains(line, "WATCHDOG") &&
			!strings.Contains(line, "BUG:") && !strings.Contains(line, "Call Trace") {
			continue
		}
		fine := !trouble.MatchString(line)
		for _, a := range allowed {
			fine = fine || strings.Contains(line, a)
		}
		if !fine {
			r.t.Errorf("the guest's kernel complains: %s", strings.TrimSpace(line))
		}
	}
}

var statLine = regexp.MustCompile(`(?m)^\s*([^:\n]+):\s*(\d+)\s*$`)

// ethtoolStats is what "ethtool -S" prints.
func (r *rig) ethtoolStats(device string) map[string]uint64 {
	r.t.Helper()
	stats := make(map[string]uint64)
	for _, m := range statLine.FindAllStringSubmatch(r.exec("ethtool", "-S", device), -1) {
		n, err := strconv.ParseUint(m[2], 10, 64)
		r.must(err)
		stats[strings.TrimSpace(m[1])] = n
	}
	if len(stats) == 0 {
		r.t.Fatal("ethtool -S printed no counters")
	}
	return stats
}

// part runs one part of a gate; the gate ends at the first that fails, because the next builds on it.
type part struct {
	name string
	run  func(r *rig)
}

func (r *rig) parts(parts []part) {
	r.t.Helper()
	for _, p := range parts {
		if !r.t.Run(p.name, func(t *testing.T) { p.run(r.on(t)) }) {
			r.t.FailNow()
		}
	}
}
