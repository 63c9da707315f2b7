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

// TestTrafficWhileEverythingChanges runs two PMD threads that share transmit queues, while ports, rules, queues and PMD
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
	stop := make(chan struct{})
	var wg sync.WaitGroup
	inject := func(d *memDevice, queue, who int) {
		defer wg.Done()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if d.Inject(queue, frame(byte(i%7), byte(who), 64+i%900)) {
				sent[who].Add(1)
			} else {
				time.Sleep(50 * time.Microsecond)
			}
			if i%64 == 0 {
				time.Sleep(100 * time.Microsecond)
			}
		}
	}
	collect := func(d *memDevice) {
		defer wg.Done()
		buf := make([]byte, 2048)
		for {
			select {
			case <-stop:
				return
			default:
			}
			for q := range d.Port.Queues() {
				for {
					if _, ok := d.Collect(q, buf); !ok {
						break
					}
				}
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	wg.Add(5)
	go inject(vm1, 0, 0)
	go inject(vm1, 1, 0)
	go inject(vm2, 0, 1)
	go collect(vm1)
	go collect(vm2)
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

	for who, name := range []string{"vm1", "vm2"} {
		from, err := r.Port(name)
		if err != nil {
			t.Fatal(err)
		}
		to, err := r.Port([]string{"vm2", "vm1"}[who])
		if err != nil {
			t.Fatal(err)
		}
		if from.Rx.Packets != sent[who].Load() {
			t.Errorf("%s sent %d, %d were received", name, sent[who].Load(), from.Rx.Packets)
		}
		if n := to.Tx.Packets + to.Tx.Dropped; n != from.Rx.Packets {
			t.Errorf("%s: %d received, %d transmitted or dropped by %s (%+v)", name, from.Rx.Packets, n, to.Name, to.Tx)
		}
	}
	if st := r.Stats(); st.Orphans != 0 || st.Bridges[0].Dropped != 0 {
		t.Errorf("%d orphans, drops %v", st.Orphans, st.Bridges[0].Drops)
	}
}

// TestThreadsShareATransmitQueue has three PMD threads send to a port with one queue.
func TestThreadsShareATransmitQueue(t *testing.T) {
	r := newRig(t)
	r.options.RingSize = 1 << 14
	r.apply(strings.NewReplacer("cpus: 1", "cpus: 1-3", "name: a, driver: memory", "name: a, driver: memory, queues: 3, rxq_cpus: [1, 2, 3]").
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

func BenchmarkProcess(b *testing.B) {
	for _, rule := range []string{"actions=b", "actions=normal", "dl_dst=02:00:00:00:00:09,actions=b"} {
		b.Run(rule, func(b *testing.B) {
			r := newRig(b)
			r.apply(threePorts(rule))
			var frames [][]byte
			for range 32 {
				frames = append(frames, frame(9, 1, 64))
			}
			w, batch := r.batchOf("a", frames...)
			for range 2 { // b learned
				r.send("b", frame(1, 9, 64))
			}
			for b.Loop() {
				w.Process(batch)
				r.devices["b"].Tx(0).SetDown(true)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/32, "ns/packet")
		})
	}
}
