package vswitch

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// load sends frames into a queue of d and empties d's transmit rings, until stop is closed.
func load(wg *sync.WaitGroup, stop chan struct{}, d *memDevice, queue int, who byte, sent *atomic.Uint64) {
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	wg.Go(func() {
		for i := 0; !stopped(); i++ {
			if d.Inject(queue, frame(byte(i%7), who, 64+i%900)) {
				sent.Add(1)
			} else {
				time.Sleep(50 * time.Microsecond)
			}
			if i%64 == 0 {
				time.Sleep(100 * time.Microsecond)
			}
		}
	})
	if queue > 0 {
		return
	}
	wg.Go(func() {
		for !stopped() {
			drainAll(d)
			time.Sleep(100 * time.Microsecond)
		}
	})
}

// TestTrafficWhileEverythingChanges runs PMD threads that share transmit queues, while ports, rules, queues and PMD
// threads change. Nothing may be lost between the two ports that stay: every frame is received, and each is either
// transmitted or counted.
func TestTrafficWhileEverythingChanges(t *testing.T) {
	r := newRig(t)
	r.options.RingSize = 1 << 14
	config := func(i int) string {
		return strings.NewReplacer(
			"cpus: 1-2", "cpus: "+[]string{"1-2", "1-2", "2-3", "1-3", "2"}[i%5],
			"name: wire", fmt.Sprintf("name: wire%d", i%3),
			"priority=1,", fmt.Sprintf("priority=%d,", 1+i%4),
			"queues: 2", "queues: 2, rxq_cpus: ["+[]string{"2", "2, 2", "2"}[i%3]+"]",
			"name: br1", fmt.Sprintf("name: br1\n  mac_limit: %d", 10+i%2),
		).Replace(baseConfig)
	}
	r.apply(config(0))
	vm1, vm2 := r.dev("vm1"), r.dev("vm2")
	var sent [2]atomic.Uint64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	load(&wg, stop, vm1, 0, 0, &sent[0])
	load(&wg, stop, vm1, 1, 0, &sent[0])
	load(&wg, stop, vm2, 0, 1, &sent[1])
	for i := 1; i <= 15; i++ {
		r.apply(config(i))
		name := fmt.Sprintf("extra%d", i)
		if _, err := r.AddPort(context.Background(), "br0", PortConfig{Name: name, Driver: "memory"}); err != nil {
			t.Fatal(err)
		}
		vm2.setActive(nil, []bool{true})
		if err := r.FlowAdd("br0", []string{fmt.Sprintf("priority=20,in_port=%s,actions=flood", name)}); err != nil {
			t.Fatal(err)
		}
		r.Stats()
		time.Sleep(2 * time.Millisecond)
		if err := r.DelPort(name); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	r.eventually(func() bool { return vm1.Pending(0)+vm1.Pending(1)+vm2.Pending(0) == 0 })
	r.settle()
	r.checkPair("vm1", "vm2", sent[0].Load())
	r.checkPair("vm2", "vm1", sent[1].Load())
	if st := r.Stats(); st.Orphans != 0 || st.Bridges[0].Dropped != 0 {
		t.Errorf("%d orphans, drops %v", st.Orphans, st.Bridges[0].Drops)
	}
}

// checkPair checks that what one port sent all came to the other, or was counted there.
func (r *rig) checkPair(from, to string, sent uint64) {
	r.t.Helper()
	a, err := r.Port(from)
	if err != nil {
		r.t.Fatal(err)
	}
	b, err := r.Port(to)
	if err != nil {
		r.t.Fatal(err)
	}
	if a.Rx.Packets != sent {
		r.t.Errorf("%s sent %d, %d were received", from, sent, a.Rx.Packets)
	}
	if n := b.Tx.Packets + b.Tx.Dropped; n != sent {
		r.t.Errorf("%s sent %d, %d transmitted or dropped by %s (%+v)", from, sent, n, to, b.Tx)
	}
	if b.Tx.Packets == 0 {
		r.t.Errorf("nothing came to %s", to)
	}
}

// TestThreadsShareATransmitQueue has three PMD threads send to a port with one queue.
func TestThreadsShareATransmitQueue(t *testing.T) {
	r := newRig(t)
	r.options.RingSize = 1 << 14
	r.apply(strings.NewReplacer("cpus: 1", "cpus: 1-3",
		"name: a, driver: memory", "name: a, driver: memory, queues: 3, rxq_cpus: [1, 2, 3]").
		Replace(threePorts("in_port=a,actions=b,mod_vlan_vid:7,b")))
	a := r.dev("a")
	var wg sync.WaitGroup
	for q := range 3 {
		wg.Go(func() {
			for i := range 2000 {
				for !a.Inject(q, frame(byte(q), byte(i), 64+i%1000)) {
					time.Sleep(20 * time.Microsecond)
				}
			}
		})
	}
	wg.Wait()
	r.eventually(func() bool { return a.Pending(0)+a.Pending(1)+a.Pending(2) == 0 })
	out := r.want(map[string]int{"b": 12000})
	next := map[string]int{}
	for _, f := range out["b"] {
		key := fmt.Sprint(f[5], f[12] == 0x81) // queue and VLAN
		i := next[key]
		if int(f[11]) != i%256 {
			t.Fatalf("%s: frame %d at place %d", key, f[11], i)
		}
		want := frame(f[5], f[11], 64+i%1000)
		if f[12] == 0x81 {
			want = tail(frame(f[5], f[11], 64, 7), want)
		}
		if string(want) != string(f) {
			t.Fatalf("%s: frame %d is damaged:\n%x\nwant\n%x", key, i, f, want)
		}
		next[key]++
	}
}

// TestRulesAgeAndAddressesExpire lives through real seconds.
func TestRulesAndAddressesExpire(t *testing.T) {
	r := newRig(t)
	r.apply(strings.Replace(threePorts(), "name: br0\n", "name: br0\n  mac_ageing: 1s\n", 1))
	if err := r.FlowAdd("", []string{"priority=9,hard_timeout=1,arp,actions=drop"}); err != nil {
		t.Fatal(err)
	}
	r.send("a", frame(2, 1, 64))
	if n := r.Bridges()[0]; n.FDB.Entries != 1 || n.Rules != 2 {
		t.Errorf("%+v", n)
	}
	r.eventually(func() bool {
		n := r.Bridges()[0]
		return n.FDB.Entries == 0 && n.FDB.Expired == 1 && n.Rules == 1
	})
}
