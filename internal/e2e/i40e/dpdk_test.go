//go:build i40e

package i40e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"weft/internal/e2e/agent"
	"weft/internal/e2e/vm"
	"weft/pmd/i40e/i40esim/wire"
)

// What testpmd is started with: two ports, four queues each, packet buffers that hold a frame of 9000 bytes in one piece.
const (
	dpdkQueues = 4
	dpdkMaxLen = 9000
)

var testpmdArgs = []string{
	"stdbuf", "-oL", "dpdk-testpmd", "-l", "0,1", "--no-telemetry", "--in-memory", "-m", "256", "--",
	"-i", "--nb-cores=1", "--forward-mode=io", "--rss-udp", "--burst=32",
	fmt.Sprintf("--rxq=%d", dpdkQueues), fmt.Sprintf("--txq=%d", dpdkQueues), "--rxd=256", "--txd=256",
	"--mbuf-size=10240", fmt.Sprintf("--max-pkt-len=%d", dpdkMaxLen), "--total-num-mbufs=8192",
}

// hugepages of the guest, 2 MB each.
const dpdkHugepages = 192

// dpdk is a guest in which testpmd drives two PFs; the test itself is at the other ends of their wires.
type dpdk struct {
	cards [2]*card
	lanes [2]*lane
}

// TestDPDK is the gate of net_i40e over vfio-pci and qemu's IOMMU.
func TestDPDK(t *testing.T) {
	r := newRig(t, 6*time.Minute)
	g := &dpdk{}
	for i := range g.cards {
		var port wire.Port
		port, g.lanes[i] = r.newLane()
		g.cards[i] = r.newCard(fmt.Sprintf("pf%d", i), port, nil)
	}
	qemu := append([]string{"-device", "intel-iommu,caching-mode=on,intremap=on"},
		devices(g.cards[0].function(), g.cards[1].function())...)
	r.boot(vm.Config{
		Name: "dpdk", Image: shared.dpdk, MemoryMB: 1536, CPUs: 2, Devices: qemu,
		KernelArgs: fmt.Sprintf("intel_iommu=on iommu=pt hugepages=%d", dpdkHugepages),
	})
	r.parts([]part{
		{"start", g.start},
		{"port info", g.info},
		{"forward", g.forward},
		{"RSS", g.rss},
		{"VLAN strip and insert", g.vlan},
		{"checksum offload", g.checksum},
		{"TSO", g.tso},
		{"stop and start", g.restart},
		{"what else a driver may ask", g.others},
		{"DDP", g.ddp},
		{"quit", g.quit},
	})
	for i, c := range g.cards {
		c.check(r, fmt.Sprintf("DPDK net_i40e, port %d", i))
	}
}

// bindVFIO gives every function with a network card's class to vfio-pci.
func (r *rig) bindVFIO(devices ...string) {
	r.t.Helper()
	r.insmod("vfio_pci", "")
	for _, d := range devices {
		r.must(r.guest.WriteFile(r.ctx, "/sys/bus/pci/devices/"+d+"/driver_override", []byte("vfio-pci\n")))
		r.must(r.guest.WriteFile(r.ctx, "/sys/bus/pci/drivers_probe", []byte(d+"\n")))
	}
}

const prompt = "testpmd> "

// complaint is what testpmd and its drivers print when something goes wrong.
var complaint = regexp.MustCompile(`(?i)bad arguments|command not found|fail|error|invalid|not supported|cannot`)

func (g *dpdk) start(r *rig) {
	r.bindVFIO("0000:01:00.0", "0000:02:00.0")
	r.must(r.guest.Do(r.ctx, agent.OpStart, agent.StartArgs{Name: "testpmd", Args: testpmdArgs}, nil))
	out, err := r.guest.Talk(r.ctx, agent.TalkArgs{Name: "testpmd", Until: prompt, TimeoutMS: 60_000})
	r.must(err)
	if n := strings.Count(out, "Link up"); !strings.Contains(out, "Port 1:") {
		r.t.Fatalf("testpmd does not have two ports (%d links up):\n%s", n, out)
	}
	for line := range strings.Lines(out) {
		if complaint.MatchString(line) {
			r.t.Errorf("testpmd complains at its start: %s", strings.TrimSpace(line))
		}
	}
	g.command(r, "start")
}

// command types a command and returns what testpmd printed before its next prompt.
func (g *dpdk) command(r *rig, words string) string {
	r.t.Helper()
	out, err := r.guest.Talk(r.ctx, agent.TalkArgs{Name: "testpmd", Line: words, Until: prompt, TimeoutMS: 30_000})
	r.must(err)
	return strings.TrimSuffix(out, prompt)
}

// accept types commands and wants no complaint.
func (g *dpdk) accept(r *rig, commands ...string) {
	r.t.Helper()
	for _, c := range commands {
		out := g.command(r, c)
		if complaint.MatchString(out) {
			r.t.Fatalf("testpmd: %s: %s", c, out)
		}
	}
}

func (g *dpdk) info(r *rig) {
	for i, c := range g.cards {
		r.mustHold("port info", g.command(r, fmt.Sprintf("show port info %d", i)), []string{
			`MAC address: ` + strings.ToUpper(c.mac),
			`Driver name: net_i40e`,
			`Link status: up`,
			`Link speed: 10 Gbps`,
			`Link duplex: full-duplex`,
			fmt.Sprintf(`Current number of RX queues: %d`, dpdkQueues),
			fmt.Sprintf(`Current number of TX queues: %d`, dpdkQueues),
			`Redirection table size: 512`,
			`Hash key size in bytes: 52`,
		})
	}
}

var (
	portHeading = regexp.MustCompile(`NIC statistics for port (\d)`)
	counterText = regexp.MustCompile(`([RT]X-[a-z]+):\s+(\d+)`)
)

// stats are the counters of both ports, by testpmd's names.
func (g *dpdk) stats(r *rig) (stats [2]map[string]uint64) {
	r.t.Helper()
	text := g.command(r, "show port stats all")
	headings := portHeading.FindAllStringIndex(text, -1)
	if len(headings) != len(stats) {
		r.t.Fatalf("statistics of %d ports:\n%s", len(headings), text)
	}
	for i, h := range headings {
		end := len(text)
		if i+1 < len(headings) {
			end = headings[i+1][0]
		}
		stats[i] = make(map[string]uint64)
		for _, m := range counterText.FindAllStringSubmatch(text[h[1]:end], -1) {
			n, err := strconv.ParseUint(m[2], 10, 64)
			r.must(err)
			stats[i][m[1]] = n
		}
	}
	return stats
}

// udpFlow is the n-th of many flows, with a payload of a given size.
func udpFlow(n, size int) *flow {
	f := &flow{
		src: netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), dst: netip.AddrFrom4([4]byte{198, 51, 100, byte(n * 7)}),
		protocol: protoUDP, srcPort: uint16(1000 + n*13), dstPort: uint16(2000 + n*5), id: uint16(n), payload: make([]byte, size),
	}
	for i := range f.payload {
		f.payload[i] = byte(i*n + i>>3)
	}
	return f
}

// through sends frames into one port, a window at a time, and returns what comes out of the other.
func (g *dpdk) through(r *rig, in int, frames [][]byte) (out [][]byte) {
	r.t.Helper()
	const window = 64
	for len(frames) > 0 {
		n := min(window, len(frames))
		g.lanes[in].send(frames[:n])
		out = append(out, g.lanes[1-in].take(r, n)...)
		frames = frames[n:]
	}
	return out
}

func (g *dpdk) forward(r *rig) {
	const count = 1500
	g.command(r, "clear port stats all")
	before := g.stats(r)
	var bytesIn uint64
	for in := range g.lanes {
		frames := make([][]byte, count)
		bytesIn = 0
		for i := range frames {
			frames[i] = udpFlow(i%250, i%1400).frame()
			bytesIn += uint64(len(frames[i]))
		}
		seen := make(map[string]int)
		for _, f := range g.through(r, in, frames) {
			seen[string(f)]++
		}
		for i, f := range frames {
			if seen[string(f)]--; seen[string(f)] < 0 {
				r.t.Fatalf("frame %d into port %d did not come out as it went in", i, in)
			}
		}
	}
	after := g.stats(r)
	for port := range after {
		for name, want := range map[string]uint64{
			"RX-packets": count, "TX-packets": count, "RX-bytes": bytesIn, "TX-bytes": bytesIn,
			"RX-missed": 0, "RX-errors": 0, "RX-nombuf": 0, "TX-errors": 0,
		} {
			if got := after[port][name] - before[port][name]; got != want {
				r.t.Errorf("port %d: %s grew by %d, want %d", port, name, got, want)
			}
		}
	}
	// Large frames in one piece.
	big := [][]byte{udpFlow(1, 8000).frame(), udpFlow(2, 5000).frame()}
	for i := range big {
		if f := g.through(r, 0, big[i:i+1])[0]; !bytes.Equal(f, big[i]) {
			r.t.Errorf("a frame of %d bytes came out as another of %d", len(big[i]), len(f))
		}
	}
}

var (
	keyLine    = regexp.MustCompile(`RSS key:\s*\n?([0-9A-Fa-f]{104})`)
	packetLine = regexp.MustCompile(`RSS hash=0x([0-9a-f]+) - RSS queue=0x([0-9a-f]+)`)
)

// rss compares hash and queue of each of many flows with what the key says.
func (g *dpdk) rss(r *rig) {
	const flows = 64
	m := keyLine.FindStringSubmatch(g.command(r, "show port 0 rss-hash key"))
	if m == nil {
		r.t.Fatalf("testpmd shows no RSS key: %s", g.command(r, "show port 0 rss-hash key"))
	}
	key, err := hex.DecodeString(m[1])
	r.must(err)
	g.accept(r, "stop", "set fwd rxonly", "set verbose 1")
	g.command(r, "start")
	queues := make(map[uint64]int)
	for n := range flows {
		f := udpFlow(n, 30)
		g.lanes[0].send([][]byte{f.frame()})
		out, err := r.guest.Talk(r.ctx, agent.TalkArgs{Name: "testpmd", Until: "ol_flags", TimeoutMS: 10_000})
		r.must(err)
		m := packetLine.FindStringSubmatch(out)
		if m == nil {
			r.t.Fatalf("flow %d: no hash in:\n%s", n, out)
		}
		hash, err := strconv.ParseUint(m[1], 16, 32)
		r.must(err)
		queue, err := strconv.ParseUint(m[2], 16, 32)
		r.must(err)
		if want := toeplitz(key, f.rssInput()); uint32(hash) != want {
			r.t.Errorf("flow %d: hash %#08x, want %#08x", n, hash, want)
		}
		if want := hash % 512 % dpdkQueues; queue != want { // the table of 512 entries names the queues in turn
			r.t.Errorf("flow %d: hash %#08x came to queue %d, want %d", n, hash, queue, want)
		}
		queues[queue]++
	}
	if len(queues) != dpdkQueues {
		r.t.Errorf("%d flows came to these queues: %v", flows, queues)
	}
	r.t.Logf("%d flows by queue: %v", flows, queues)
	g.command(r, "stop")
	g.accept(r, "set verbose 0", "set fwd io")
	g.command(r, "start")
}

// reconfigure changes what only stopped ports let change, and starts them with a forwarding engine.
func (g *dpdk) reconfigure(r *rig, engine string, commands ...string) {
	r.t.Helper()
	g.command(r, "stop")
	g.command(r, "port stop all")
	for _, c := range commands {
		g.accept(r, c)
	}
	g.command(r, "port start all")
	g.accept(r, "set fwd "+engine)
	g.command(r, "start")
	r.eventually(10e9, func() error {
		if n := strings.Count(g.command(r, "show port summary all"), " up "); n != len(g.cards) {
			return fmt.Errorf("%d ports have a link", n)
		}
		return nil
	})
}

func (g *dpdk) vlan(r *rig) {
	const tagIn, tagOut = 100, 200
	f := udpFlow(3, 100)
	f.vlan = tagIn
	check := func(what string, want int) {
		r.t.Helper()
		out, err := parseFrame(g.through(r, 0, [][]byte{f.frame()})[0])
		if err != nil {
			r.t.Errorf("%s: %v", what, err)
			return
		}
		if out.vlan != want || !bytes.Equal(out.payload, f.payload) {
			r.t.Errorf("%s: the frame has tag %d, want %d", what, out.vlan, want)
		}
	}
	g.reconfigure(r, "mac")
	check("neither strip nor insert", tagIn)
	g.reconfigure(r, "mac", "vlan set strip on 0")
	check("strip", 0)
	g.reconfigure(r, "mac", fmt.Sprintf("tx_vlan set 1 %d", tagOut))
	check("strip and insert", tagOut)
	g.reconfigure(r, "mac", "vlan set strip off 0", "tx_vlan reset 1")
	check("neither again", tagIn)
}

func (g *dpdk) checksum(r *rig) {
	g.reconfigure(r, "csum", "csum set ip hw 1", "csum set udp hw 1", "csum set tcp hw 1", "csum set ip hw 0")
	g.command(r, "clear fwd stats all")
	for n, protocol := range []byte{protoTCP, protoUDP} {
		for size := range 40 {
			f := udpFlow(n+1, size+1)
			f.protocol = protocol
			b := f.frame()
			at := etherLen + ipLen + 16
			if protocol == protoUDP {
				at = etherLen + ipLen + 6
			}
			b[at] ^= 0x55 // so that a checksum that nobody computed is wrong
			out, err := parseFrame(g.through(r, 0, [][]byte{b})[0])
			switch {
			case err != nil:
				r.t.Fatalf("protocol %d, %d bytes: %v", protocol, size+1, err)
			case !bytes.Equal(out.payload, f.payload):
				r.t.Fatalf("protocol %d, %d bytes: another payload came out", protocol, size+1)
			}
		}
	}
	bad := udpFlow(9, 64).frame()
	bad[etherLen+10] ^= 1
	g.lanes[0].send([][]byte{bad})
	g.lanes[1].take(r, 1)
	text := g.command(r, "show fwd stats all")
	r.mustHold("forwarding statistics", text, []string{`Bad-ipcsum: 1\s`, `Bad-l4csum: 80\s`})
}

func (g *dpdk) tso(r *rig) {
	const mss, size = 800, 5000
	g.reconfigure(r, "csum", fmt.Sprintf("tso set %d 1", mss))
	f := udpFlow(5, size)
	f.protocol, f.seq = protoTCP, 0xfffff000 // the sequence numbers wrap on the way
	g.lanes[0].send([][]byte{f.frame()})
	want := (size + mss - 1) / mss
	var back []byte
	for i, b := range g.lanes[1].take(r, want) {
		s, err := parseFrame(b)
		if err != nil {
			r.t.Fatalf("segment %d of %d: %v", i, want, err)
		}
		if s.seq != f.seq+uint32(len(back)) {
			r.t.Errorf("segment %d has sequence number %#x after %d bytes", i, s.seq, len(back))
		}
		if s.id != f.id+uint16(i) {
			r.t.Errorf("segment %d has the IPv4 id %d, want %d", i, s.id, f.id+uint16(i))
		}
		if len(s.payload) != min(mss, size-len(back)) {
			r.t.Errorf("segment %d has %d bytes", i, len(s.payload))
		}
		back = append(back, s.payload...)
	}
	if !bytes.Equal(back, f.payload) {
		r.t.Error("the segments together are not what was sent")
	}
	g.lanes[1].nothing(r)
	g.reconfigure(r, "io", "tso set 0 1")
}

func (g *dpdk) restart(r *rig) {
	for range 3 {
		g.reconfigure(r, "io")
		for in := range g.lanes {
			frames := make([][]byte, 200)
			for i := range frames {
				frames[i] = udpFlow(i, 60+i).frame()
			}
			if out := g.through(r, in, frames); len(out) != len(frames) {
				r.t.Errorf("%d of %d frames came through after a restart", len(out), len(frames))
			}
		}
	}
}

// others are commands that touch parts of the card which traffic does not.
func (g *dpdk) others(r *rig) {
	g.accept(r, "mac_addr add 0 02:00:00:00:00:77", "mac_addr remove 0 02:00:00:00:00:77", "set allmulti all on",
		"set allmulti all off", "vlan set filter on 0", "rx_vlan add 5 0", "rx_vlan rm 5 0", "vlan set filter off 0")
	if out := g.command(r, "show port xstats 0"); !strings.Contains(out, "rx_unicast_packets") {
		r.t.Errorf("extended statistics: %s", out)
	}
	// Not promiscuous, the port takes its own address and no other.
	g.accept(r, "set promisc 0 off")
	stranger, own := udpFlow(1, 20).frame(), udpFlow(2, 20).frame()
	copy(own, g.cards[0].macBytes())
	g.lanes[0].send([][]byte{stranger, own})
	if got := g.lanes[1].take(r, 1)[0]; !bytes.Equal(got[etherLen:], own[etherLen:]) {
		r.t.Errorf("a frame for a stranger passed the filter: % x", got[:etherLen])
	}
	g.lanes[1].nothing(r)
	g.accept(r, "set promisc 0 on")
	// The link goes and comes back.
	g.cards[0].SetLink(false)
	r.eventually(10e9, func() error { return wantText(g.command(r, "show port info 0"), "Link status: down") })
	g.cards[0].SetLink(true)
	r.eventually(10e9, func() error { return wantText(g.command(r, "show port info 0"), "Link status: up") })
	g.through(r, 0, [][]byte{udpFlow(1, 1).frame()})
}

func wantText(text, want string) error {
	if strings.Contains(text, want) {
		return nil
	}
	return fmt.Errorf("no %q in:\n%s", want, text)
}

func (g *dpdk) ddp(r *rig) {
	const path, backup = "/tmp/profile.pkg", "/tmp/backup.pkg"
	profile := testProfile(r)
	r.must(r.guest.WriteFile(r.ctx, path, profile.data))
	r.mustHold("ddp get info", g.command(r, "ddp get info "+path), []string{profile.name, `(?i)0x0*80010008`})
	g.command(r, "stop")
	g.command(r, "port stop all")
	none := g.command(r, "ddp get list 0")
	if !strings.Contains(none, "Profile number is: 0") {
		r.t.Errorf("before a profile is added: %s", none)
	}
	g.accept(r, "ddp add 0 "+path+","+backup)
	r.mustHold("ddp get list", g.command(r, "ddp get list 0"), []string{
		`Profile number is: 1`, fmt.Sprintf(`(?i)track[ _]id: +0x0*%x`, profile.track), `(?i)name: +` + profile.name,
	})
	if out := g.command(r, "ddp add 0 "+path+",/tmp/second.pkg"); !strings.Contains(strings.ToLower(out), "exist") &&
		!strings.Contains(strings.ToLower(out), "fail") {
		r.t.Errorf("the same profile was added twice: %s", out)
	}
	g.accept(r, "ddp del 0 "+backup)
	if out := g.command(r, "ddp get list 0"); !strings.Contains(out, "Profile number is: 0") {
		r.t.Errorf("after the profile is gone: %s", out)
	}
	g.command(r, "port start all")
	g.command(r, "start")
	g.through(r, 0, [][]byte{udpFlow(1, 1).frame()})
}

func (g *dpdk) quit(r *rig) {
	res, err := r.guest.End(r.ctx, agent.EndArgs{Name: "testpmd", Line: "quit", TimeoutMS: 30_000})
	r.must(err)
	if res.Status != 0 || !strings.Contains(res.Output, "Bye...") {
		r.t.Errorf("testpmd ended with status %d:\n%s", res.Status, res.Output)
	}
}
