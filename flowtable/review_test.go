package flowtable

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/flowtable/ofctl"
	"weft/internal/packet"
)

// A rule on port 0 is for every fragment; flows of first fragments must not stay with what they had before it came.
func TestCachedFragmentsSeeNewRules(t *testing.T) {
	first := flowtest.NewFrame().IPv4(flow.ProtoUDP, 0x2000, 0, flowtest.UDPHdr(53, 2000, 4))
	b := newBench(t, "priority=2,udp,tp_dst=2000,actions=1", "priority=0,actions=3")
	for range 2 {
		if got := b.send(5, first); got[0] != output(3)[0] {
			t.Fatalf("%v, want output 3", got)
		}
	}
	b.add("priority=1,udp,tp_dst=0,actions=2")
	if got := b.send(5, first); got[0] != output(2)[0] {
		t.Errorf("%v, want output 2 by the rule that came", got)
	}
}

// Whether buckets are live must not be asked again for every way that leads to a group.
func TestGroupsThatWatchOneAnotherAreSettledAtOnce(t *testing.T) {
	b := newBench(t)
	const chain, wide = 40, 10
	var changes []flow.Change
	for id := 1; id <= chain; id++ {
		watch := fmt.Sprintf("watch_group:%d", id+1)
		if id == chain {
			watch = "watch_port:9"
		}
		changes = append(changes, groupMod(t, fmt.Sprintf("group_id=%d,type=ff", id)+
			strings.Repeat(",bucket="+watch+",output:1", wide)))
	}
	done := make(chan error, 1)
	go func() { done <- b.p.Apply(changes) }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("a chain of groups is still being settled")
	}
	live := func() (n int) {
		for _, g := range b.p.Groups() {
			for _, l := range g.Live {
				if l {
					n++
				}
			}
		}
		return n
	}
	if n := live(); n != 0 {
		t.Errorf("%d buckets are live, while the port is not", n)
	}
	b.p.SetPortLive(9, true)
	if n := live(); n != chain*wide {
		t.Errorf("%d buckets are live, want %d", n, chain*wide)
	}
}

func dotted(v uint32) string { return fmt.Sprintf("%d.%d.%d.%d", v>>24, v>>16&255, v>>8&255, v&255) }

// Groups, meters, rules of many masks and failing transactions come and go while threads look packets up. Every batch
// sees one version of all, and no packet is counted twice or not at all.
func TestGroupsAndMetersChangeUnderTraffic(t *testing.T) {
	p := NewPipeline(Config{})
	step := func(i int) []flow.Change {
		id, mask := 1+i%3, uint32(i)*2654435761|1<<31
		list := []flow.Change{
			groupMod(t, fmt.Sprintf("add_or_mod group_id=%d,type=all,bucket=mod_dl_src:02:00:00:00:00:01,output:%d,"+
				"bucket=output:9", id, 1+i%1000)),
			{Meter: &flow.MeterMod{Command: flow.MeterModify, Meter: flow.Meter{
				ID: 1, Flags: flow.MeterPktps, Bands: []flow.Band{{Rate: uint32(1 + i)}},
			}}},
			{Rule: rule(t, fmt.Sprintf("ip,nw_dst=10.0.0.1,actions=meter:1,group:%d", id))},
			{Rule: rule(t, fmt.Sprintf("ip,nw_dst=10.0.0.2,actions=meter:1,group:%d", id))},
			{Rule: rule(t, fmt.Sprintf("table=3,priority=%d,ip,nw_src=%s/%s,actions=resubmit(,4)", i%97,
				dotted(uint32(i)&mask), dotted(mask)))},
		}
		if i > 600 {
			old := i - 600
			mask := uint32(old)*2654435761 | 1<<31
			r := rule(t, fmt.Sprintf("table=3,priority=%d,ip,nw_src=%s/%s,actions=drop", old%97,
				dotted(uint32(old)&mask), dotted(mask)))
			list = append(list, flow.Change{Command: flow.Delete, Filter: flow.Filter{
				HasTable: true, Table: 3, Match: r.Match, Strict: true, Priority: r.Priority,
			}})
		}
		return list
	}
	if err := p.Apply([]flow.Change{meterMod(t, flow.MeterAdd, "meter=1,pktps,bands=type=drop,rate=5")}); err != nil {
		t.Fatal(err)
	}
	if err := p.Apply(step(0)); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	var sent [2]uint64
	for i := range sent {
		l := p.NewLookup(LookupConfig{CacheEntries: 1 - 2*i}) // one of them has no cache
		wg.Go(func() {
			b := packet.NewBatch(nil)
			fill(b, 1, []flowtest.Frame{udpTo(0x0a000001), udpTo(0x0a000002)})
			for !stop.Load() {
				l.Batch(b)
				sent[i]++
				if !slices.Equal(l.Ops(0), l.Ops(1)) || len(l.Ops(0)) != 6 {
					t.Errorf("one batch saw %v and %v", l.Ops(0), l.Ops(1))
					return
				}
				if m := l.Meter(l.Ops(0)[0].A); m == nil {
					t.Error("no meter")
					return
				}
			}
		})
	}
	wg.Go(func() {
		for !stop.Load() {
			p.Expire(time.Now())
			p.Groups()
			p.SetPortLive(9, true)
			p.SetPortLive(9, false)
		}
	})
	steps := 1500
	for i := range steps {
		changes := step(1 + i)
		if i%5 == 0 {
			bad := append(slices.Clone(changes), flow.Change{Rule: rule(t, "actions=group:77")})
			if err := p.Apply(bad); err == nil {
				t.Fatal("a rule of a group that does not exist was taken")
			}
		}
		if err := p.Apply(changes); err != nil {
			t.Error(err)
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	for _, s := range p.Dump(flow.Filter{HasTable: true}) {
		if s.Packets != sent[0]+sent[1] {
			t.Errorf("%s counted %d packets of %d", ofctl.FormatRule(&s.Rule, nil), s.Packets, sent[0]+sent[1])
		}
	}
	if n := p.Stats().Rules; n != 603 {
		t.Errorf("%d rules", n)
	}
	p.Delete(flow.Filter{})
	for range 4 {
		p.SetPortLive(8, true)
		p.Expire(time.Now())
	}
	if used := int(p.slab.next) - len(p.slab.free); used > 50 {
		t.Errorf("%d records in use for no rules and %d groups", used, len(p.groups))
	}
	if n := len(p.actions.byText) + len(p.users); n != 0 {
		t.Errorf("%d lists of actions and users are left: %v", n, p.users)
	}
}

// Fragments are dropped where that is asked for, whatever rules look at.
func TestFragmentsAreDroppedWhenNoRuleLooksAtThem(t *testing.T) {
	first := flowtest.NewFrame().IPv4(flow.ProtoUDP, 0x2000, 0, flowtest.UDPHdr(53, 2000, 4))
	whole := flowtest.NewFrame().IPv4(flow.ProtoUDP, 0, 0, flowtest.UDPHdr(53, 2000, 4))
	for _, match := range []string{"", "in_port=5,", "dl_src=00:00:00:00:00:00/01:00:00:00:00:00,", "dl_vlan=9,"} {
		b := newBench(t, match+"actions=1", "priority=1,actions=1")
		b.p.SetFragments(flow.FragmentsDrop)
		for _, f := range []flowtest.Frame{first, whole, first} {
			want := drop(packet.DropFragment)
			if &f[0] == &whole[0] {
				want = output(1)
			}
			if got := b.send(5, f); !slices.Equal(got, want) {
				t.Errorf("%q: %v, want %v", match, got, want)
			}
		}
	}
}
