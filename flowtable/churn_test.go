package flowtable

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/flowtable/ofctl"
	"weft/internal/packet"
)

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
