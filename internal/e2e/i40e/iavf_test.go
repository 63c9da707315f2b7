//go:build i40e

package i40e

import (
	"strings"
	"testing"
	"time"

	"weft/internal/e2e/agent"
	"weft/internal/e2e/vm"
)

// linuxVF is a guest whose kernel drives a VF; the model's own PF side answers its mailbox.
type linuxVF struct {
	card *card
	peer *peer
	dev  string
}

// TestLinuxIAVF is the gate of iavf.ko.
func TestLinuxIAVF(t *testing.T) {
	r := newRig(t, 4*time.Minute)
	cable := r.newTrunk(100, 101)
	g := &linuxVF{card: r.newCard("pf", cable, nil)}
	g.peer = r.newPeer(cable)
	vf := r.newVF(g.card, 0)
	r.boot(vm.Config{
		Name: "iavf", Image: shared.linux, MemoryMB: 512, CPUs: 2, KernelArgs: noIPv6, Devices: devices(vf),
	})
	r.parts([]part{
		{"probe and link", g.probe},
		{"ping and TCP both ways", func(r *rig) { r.bothWays(g.peer, 0, 2<<20, 0, 56, 1472) }},
		{"statistics agree with the peer", g.statistics},
		{"another MAC address", g.changeMAC},
		{"VLAN", g.vlan},
		{"unload and load", g.reload},
	})
	r.checkKernelLog()
	g.card.check(r, "Linux iavf")
}

func (g *linuxVF) probe(r *rig) {
	r.insmod("iavf", "")
	g.dev = r.netdev()
	r.addr(g.dev, 0)
	r.waitCarrier(g.dev, true)
	r.must(r.guest.TCPServe(r.ctx, ":5001"))
	r.mustShow(`driver: iavf`, "ethtool", "-i", g.dev)
	r.mustShow(`Speed: 10000Mb/s`, "ethtool", g.dev)
}

// filter of a VF: its driver asks its PF for counters every two seconds.
func (g *linuxVF) filter() *filter { return &filter{g.card, g.dev, 2500 * time.Millisecond} }

// changeMAC gives the VF another address: the old one stops to work, the new one works.
func (g *linuxVF) changeMAC(r *rig) {
	const other = "02:00:00:00:be:ef"
	old, err := r.guest.ReadFile(r.ctx, "/sys/class/net/"+g.dev+"/address")
	r.must(err)
	first := strings.TrimSpace(string(old))
	g.filter().want(r, first, 0, true)
	g.filter().want(r, other, 0, false)
	r.exec("ip", "link", "set", "dev", g.dev, "address", other)
	r.eventually(10*time.Second, func() error {
		mac, err := r.guest.ReadFile(r.ctx, "/sys/class/net/"+g.dev+"/address")
		if err != nil {
			return err
		}
		return wantText(string(mac), other)
	})
	// The peer's neighbour entry is of the old address until the guest speaks.
	r.mustPing(r.guest.Client, peerAddress(0), 56)
	r.mustPing(g.peer.Client, guestAddress(0), 56)
	if arp, err := g.peer.ReadFile(r.ctx, "/proc/net/arp"); err != nil || !strings.Contains(string(arp), other) {
		r.t.Errorf("the peer does not know the new address (%v):\n%s", err, arp)
	}
	g.filter().want(r, first, 0, false)
	g.filter().want(r, other, 0, true)
}

func (g *linuxVF) vlan(r *rig) {
	r.vlanBothWays(g.peer, g.dev, 100)
	// A second one comes and goes: filters are added and deleted while there is traffic.
	r.vlanBothWays(g.peer, g.dev, 101)
	mac, err := r.guest.ReadFile(r.ctx, "/sys/class/net/"+g.dev+"/address")
	r.must(err)
	own := strings.TrimSpace(string(mac))
	g.filter().want(r, own, 101, true)
	r.exec("ip", "link", "del", g.dev+".101")
	r.mustPing(r.guest.Client, peerAddress(100), 56)
	g.filter().want(r, own, 101, false)
	g.filter().want(r, own, 100, true)
}

func (g *linuxVF) statistics(r *rig) {
	count := func() (card, peer map[string]uint64) {
		time.Sleep(4 * time.Second) // the driver asks its PF every two seconds
		card, err := r.guest.Counters(r.ctx, g.dev)
		r.must(err)
		peer, err = g.peer.Counters(r.ctx, g.peer.device)
		r.must(err)
		return card, peer
	}
	card0, peer0 := count()
	r.mustPing(r.guest.Client, peerAddress(0), 56, 1400)
	r.mustSend(r.guest.Client, peerAddress(0), 512<<10, 1)
	card1, peer1 := count()
	for guestName, peerName := range map[string]string{"rx_packets": "tx_packets", "tx_packets": "rx_packets"} {
		got, want := card1[guestName]-card0[guestName], peer1[peerName]-peer0[peerName]
		if got != want || want < 20 {
			r.t.Errorf("%s grew by %d, the peer counted %d", guestName, got, want)
		}
	}
}

func (g *linuxVF) reload(r *rig) {
	for range 3 {
		r.rmmod("iavf")
		r.insmod("iavf", "")
		g.dev = r.netdev()
		r.addr(g.dev, 0)
		r.waitCarrier(g.dev, true)
		r.mustPing(r.guest.Client, peerAddress(0), 56)
		r.mustPing(g.peer.Client, guestAddress(0), 56)
	}
	p, err := r.guest.Ping(r.ctx, agent.PingArgs{Target: peerAddress(0), Count: 1, TimeoutMS: 1000})
	r.must(err)
	if p.Lost() > 0 {
		r.t.Error("a ping was lost after the last load")
	}
	r.rmmod("iavf")
}
