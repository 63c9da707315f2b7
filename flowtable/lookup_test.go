package flowtable

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/internal/packet"
)

func TestRulesOnPortsAloneNeedOneCachedFlowForEachPort(t *testing.T) {
	b := newBench(t, "in_port=1,actions=2", "in_port=2,actions=1")
	for port := range uint32(4) {
		for i := range uint32(100) {
			b.send(port, udpTo(i), flowtest.NewFrame().ARP(uint16(i)))
		}
	}
	s := b.l.CacheStats()
	if s.Entries != 4 || s.Misses != 4 || s.Hits != 796 {
		t.Errorf("got %+v, want 4 entries, 4 misses, 796 hits", s)
	}
	if d := b.p.Dump(flow.Filter{}); d[0].Packets != 200 || d[1].Packets != 200 {
		t.Errorf("got\n%s", b.dump(flow.Filter{}))
	}
}

func TestOnlyWhatRulesLookAtMakesFlows(t *testing.T) {
	b := newBench(t, "ip,nw_dst=10.0.0.0/24,actions=2", "priority=0,actions=3")
	for i := range uint32(2000) {
		b.send(i%3, udpTo(0x0a000000|i))
	}
	if s := b.l.CacheStats(); s.Entries != 8 { // the /24s of 2000 addresses
		t.Errorf("got %+v, want 8 entries", s)
	}
}

func TestARuleChangeLeavesOtherFlowsInTheCache(t *testing.T) {
	b := newBench(t, "ip,nw_dst=10.0.0.1,actions=1", "ip,nw_dst=10.0.0.2,actions=2", "in_port=77,actions=1")
	b.send(1, udpTo(0x0a000001), udpTo(0x0a000002))
	before := b.l.CacheStats()
	for i := range 50 {
		b.add(fmt.Sprintf("ip,nw_dst=10.0.1.%d,actions=3", i))
		if got := b.send(1, udpTo(0x0a000001)); !slices.Equal(got, output(1)) {
			t.Fatalf("got %v", got)
		}
	}
	after := b.l.CacheStats()
	if after.Misses != before.Misses || after.Revalidated != 50 || after.Flushes != before.Flushes {
		t.Errorf("before %+v, after %+v: want no more misses, 50 revalidated", before, after)
	}
	b.add("priority=40000,ip,nw_dst=10.0.0.1,actions=4")
	if got := b.send(1, udpTo(0x0a000001)); !slices.Equal(got, output(4)) {
		t.Errorf("after a change that matters: %v", got)
	}
	// More generations than are remembered: classified again, and still right.
	for i := range 100 {
		b.add(fmt.Sprintf("ip,nw_dst=10.0.2.%d,actions=3", i))
	}
	if got := b.send(1, udpTo(0x0a000002)); !slices.Equal(got, output(2)) {
		t.Errorf("after 100 changes: %v", got)
	}
}

// TestAChangeOfManyRulesLeavesOtherFlowsInTheCache: in one transaction, of three masks.
func TestAChangeOfManyRulesLeavesOtherFlowsInTheCache(t *testing.T) {
	const flows = 1000
	b := newBench(t, "priority=1,ip,nw_dst=10.0.0.0/16,nw_proto=17,actions=1", "ip,nw_dst=10.0.0.1,actions=1",
		"ip,nw_dst=10.1.0.0/24,actions=1", "udp,tp_dst=1,actions=1")
	send := func() {
		for i := range uint32(flows) {
			b.send(1, udpTo(0x0a000000|i))
		}
	}
	send()
	before := b.l.CacheStats()
	var changes []flow.Change
	for i := range 3000 {
		text := [...]string{
			fmt.Sprintf("priority=9,ip,nw_dst=10.7.%d.%d,actions=2", i>>8, i&255),
			fmt.Sprintf("priority=9,ip,nw_dst=10.%d.%d.0/24,actions=2", 8+i>>8, i&255),
			fmt.Sprintf("priority=9,udp,tp_dst=%d,actions=2", 10000+i),
		}[i%3]
		changes = append(changes, flow.Change{Rule: rule(t, text)})
	}
	changes = append(changes, flow.Change{Rule: rule(t, "priority=9,ip,nw_dst=10.0.0.77,actions=2")})
	// The flows have four networks and one port between them, which by chance look like some that changed: with one seed in
	// fourteen, but not with this one.
	b.p.seed = 1
	if err := b.p.Apply(changes); err != nil {
		t.Fatal(err)
	}
	for i := range uint32(flows) {
		want := output(1)
		if i == 77 {
			want = output(2)
		}
		if got := b.send(1, udpTo(0x0a000000|i)); !slices.Equal(got, want) {
			t.Fatalf("flow %d after the change: %v, want %v", i, got, want)
		}
	}
	after := b.l.CacheStats()
	// With three filters, one flow in 23 is taken for one of those that changed.
	if again := after.Misses - before.Misses; again < 1 || again > flows/10 {
		t.Errorf("%d of %d flows were classified again, want some 45", again, flows)
	}
}

func TestAChangeInALaterTableReachesFlowsWhoseKeyWasRewritten(t *testing.T) {
	b := newBench(t, "dl_dst=02:00:00:00:00:02,actions=mod_dl_dst:02:00:00:00:00:99,resubmit(,1)",
		"table=1,priority=1,actions=1", "table=1,priority=1,dl_src=02:00:00:00:00:77,actions=1")
	b.send(1, udpTo(1))
	b.add("table=1,dl_dst=02:00:00:00:00:99,actions=2")
	if got := b.send(1, udpTo(1)); len(got) != 2 || got[1] != output(2)[0] {
		t.Errorf("got %v, want the new rule's output", got)
	}
}

func TestANewLayoutOfKeysNeverHitsOldEntries(t *testing.T) {
	b := newBench(t, "in_port=1,actions=1")
	r := rand.New(rand.NewPCG(1, 2))
	layouts := []string{
		"priority=1,ip,nw_dst=10.0.0.0/8,actions=2", "priority=1,udp,tp_dst=2,actions=3",
		"priority=1,ipv6,ipv6_dst=2001:db8::/32,actions=4", "priority=1,arp,arp_tha=02:00:00:00:00:09,actions=5",
		"priority=1,dl_src=02:00:00:00:00:01,actions=6",
	}
	check := b.p.NewLookup(LookupConfig{CacheEntries: -1})
	for _, s := range layouts {
		b.add(s)
		for range 400 {
			f := udpTo(r.Uint32())
			got := b.send(2, f)
			fill(b.b, 2, []flowtest.Frame{f})
			check.Batch(b.b)
			if !slices.Equal(got, check.Ops(0)) {
				t.Fatalf("after %q: cached %v, classified %v", s, got, check.Ops(0))
			}
		}
	}
	if s := b.l.CacheStats(); s.Flushes < uint64(len(layouts)) {
		t.Errorf("got %+v: the layouts did not change; this tests nothing", s)
	}
	// Unneeded bits go, but not at once.
	b.p.Delete(flow.Filter{Match: rule(t, layouts[4]).Match})
	b.p.Expire(b.now)
	wide := b.p.state.Load().layout
	b.now = b.now.Add(slackTime * time.Second)
	b.p.Expire(b.now)
	narrow := b.p.state.Load().layout
	if wide.union[flow.WordSrc] == 0 || narrow.union[flow.WordSrc] != 0 {
		t.Errorf("union before %x, after %x", wide.union, narrow.union)
	}
}

func TestTheCacheGrowsWithItsFlows(t *testing.T) {
	b := newBench(t, "priority=0,actions=1", "ip,nw_dst=10.0.0.1,actions=2")
	const flows = 15000
	b.l = b.p.NewLookup(LookupConfig{CacheEntries: 1 << 14})
	pass := func() {
		for i := range uint32(flows) {
			b.send(1, udpTo(i))
		}
	}
	b.send(1, udpTo(0))
	if c := &b.l.cache; c.sets != firstSets {
		t.Errorf("%d sets for one flow", c.sets)
	}
	for _, wider := range []string{"dl_src=02:00:00:00:00:77,actions=3", "dl_dst=02:00:00:00:00:77,actions=3"} {
		for range 4 {
			pass()
		}
		before := b.l.CacheStats()
		pass()
		s := b.l.CacheStats()
		if lost := s.Misses - before.Misses; lost > flows/50 {
			t.Errorf("%d of %d flows were not cached: %+v", lost, flows, s)
		}
		if n := b.l.cache.sets * ways; n < flows || n > s.Capacity {
			t.Errorf("%d entries in use or free, %+v", n, s)
		}
		checkPrograms(t, b.l)
		b.add(wider) // which is another layout, so that it begins again
		b.send(1, udpTo(0))
		if c := &b.l.cache; c.sets != firstSets {
			t.Errorf("%d sets after a new layout", c.sets)
		}
	}
}

func TestMoreFlowsThanFitEvictAndStayRight(t *testing.T) {
	b := newBench(t, "ip,nw_dst=0.0.0.1/0.0.0.1,actions=1", "priority=1,ip,nw_dst=0.0.0.0/0.0.0.0,actions=2",
		"priority=0,ip,nw_dst=1.2.3.4,actions=3")
	for range 3 {
		for i := range uint32(20000) {
			want := output(2 - i&1)
			if got := b.send(1, udpTo(i)); !slices.Equal(got, want) {
				t.Fatalf("flow %d: %v, want %v", i, got, want)
			}
		}
	}
	s := b.l.CacheStats()
	if s.Evictions == 0 || s.Entries > s.Capacity {
		t.Errorf("got %+v", s)
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	b := newBench(t, "priority=0,actions=9", "dl_vlan=5,actions=pop_vlan,resubmit(,1)", "table=1,actions=normal")
	for i := range 500 {
		b.add(fmt.Sprintf("ip,nw_dst=10.0.%d.%d,actions=%d,resubmit(,1)", i>>8, i&255, 1+i%7))
	}
	fill(b.b, 1, flowtest.SampleFrames()[:packet.BatchSize])
	b.l.Batch(b.b)
	if n := testing.AllocsPerRun(200, func() { b.l.Batch(b.b) }); n != 0 {
		t.Errorf("%v allocations for a batch of hits", n)
	}
	frames := make([]flowtest.Frame, packet.BatchSize)
	for i := range frames {
		frames[i] = udpTo(0)
	}
	fill(b.b, 1, frames)
	next := uint32(0)
	before := b.l.CacheStats().Misses
	if n := testing.AllocsPerRun(200, func() {
		for i := range frames {
			next++
			binary.BigEndian.PutUint32(b.b.Packet(i).Header()[30:], 0x0a000000|next)
		}
		b.l.Batch(b.b)
	}); n != 0 {
		t.Errorf("%v allocations for a batch of misses", n)
	}
	if got := b.l.CacheStats().Misses - before; got < 200*packet.BatchSize {
		t.Errorf("%d misses: this tests nothing", got)
	}
}

// TestLookupsGoOnWhileRulesChange has PMD threads looking up all the time while rules come and go. Each batch must see
// rules as one transaction left them: a pair of rules always changes together.
func TestLookupsGoOnWhileRulesChange(t *testing.T) {
	p := NewPipeline(Config{})
	pair := func(gen, filler int) []flow.Change {
		return []flow.Change{
			{Rule: rule(t, fmt.Sprintf("ip,nw_dst=10.0.0.1,actions=%d", 1+gen%1000))},
			{Rule: rule(t, fmt.Sprintf("ip,nw_dst=10.0.0.2,actions=%d", 1+gen%1000))},
			{Rule: rule(t, fmt.Sprintf("priority=%d,ip,nw_dst=10.1.%d.%d,actions=5", 1+filler%50, filler>>8&255, filler&255))},
			{Command: flow.Delete, Filter: flow.Filter{Match: rule(t, fmt.Sprintf("ip,nw_dst=10.1.%d.%d,actions=5",
				(filler-300)>>8&255, (filler-300)&255)).Match}},
		}
	}
	if err := p.Apply(pair(0, 300)); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	var sent [2]uint64
	errs := make(chan string, 2)
	for i := range sent {
		l := p.NewLookup(LookupConfig{CacheEntries: 1})
		wg.Go(func() {
			b := packet.NewBatch(nil)
			fill(b, 1, []flowtest.Frame{udpTo(0x0a000001), udpTo(0x0a000002), udpTo(0x0a010005)})
			for !stop.Load() {
				l.Batch(b)
				sent[i]++
				if l.Ref(0) != l.Ref(1) || !slices.Equal(l.Ops(0), l.Ops(1)) || l.Ops(0)[0].Kind != OpOutput {
					errs <- fmt.Sprintf("one batch saw %v and %v", l.Ops(0), l.Ops(1))
					return
				}
			}
		})
	}
	for i := range 2000 {
		if err := p.Apply(pair(i, 300+i)); err != nil {
			t.Error(err)
			break
		}
		if i%100 == 0 {
			p.Dump(flow.Filter{})
			p.Expire(time.Now())
		}
		if i%400 == 0 {
			l := p.NewLookup(LookupConfig{CacheEntries: 1})
			p.CloseLookup(l)
		}
	}
	stop.Store(true)
	wg.Wait()
	select {
	case e := <-errs:
		t.Fatal(e)
	default:
	}
	var got uint64
	for _, s := range p.Dump(flow.Filter{}) {
		if s.Rule.Match == rule(t, "ip,nw_dst=10.0.0.1,actions=1").Match {
			got = s.Packets
		}
	}
	if got != sent[0]+sent[1] {
		t.Errorf("the rule counted %d packets of %d", got, sent[0]+sent[1])
	}
	// What was deleted is gone for good: nothing piles up.
	p.Expire(time.Now())
	if err := p.Add(rule(t, "actions=1")); err != nil {
		t.Fatal(err)
	}
	p.Expire(time.Now())
	if n := len(p.removed); n != 0 {
		t.Errorf("%d removed rules still linked", n)
	}
	if used := int(p.slab.next) - len(p.slab.free); used > 1000 {
		t.Errorf("%d records in use for %d rules", used, p.Stats().Rules)
	}
}

func TestTablesGrowAndShrink(t *testing.T) {
	// Splits, doubled directories, graves: the classifier against a map.
	p := NewPipeline(Config{})
	const n = 60000
	var changes []flow.Change
	for i := range uint32(n) {
		r := rule(t, "ip,nw_dst=10.0.0.1,actions=1")
		r.Match.Key[flow.WordIPv4] = uint64(i * 2654435761)
		r.Actions = []flow.Action{{Kind: flow.ActionOutput, Port: 1 + i%flow.MaxPort}}
		changes = append(changes, flow.Change{Rule: r})
	}
	if err := p.Apply(changes); err != nil {
		t.Fatal(err)
	}
	l := p.NewLookup(LookupConfig{CacheEntries: -1})
	b := packet.NewBatch(nil)
	check := func(gone func(i uint32) bool) {
		t.Helper()
		for i := range uint32(n) {
			fill(b, 1, []flowtest.Frame{udpTo(i * 2654435761)})
			l.Batch(b)
			want := output(1 + i%flow.MaxPort)
			if gone(i) {
				want = drop(packet.DropNoMatch)
			}
			if !slices.Equal(l.Ops(0), want) {
				t.Fatalf("rule %d: %v, want %v", i, l.Ops(0), want)
			}
		}
	}
	check(func(uint32) bool { return false })
	for i := range uint32(n) {
		if i%3 != 0 {
			p.Delete(flow.Filter{Match: changes[i].Rule.Match})
		}
	}
	check(func(i uint32) bool { return i%3 != 0 })
	if err := p.Apply(changes); err != nil {
		t.Fatal(err)
	}
	check(func(uint32) bool { return false })
	if n := p.Delete(flow.Filter{}); n != 60000 {
		t.Errorf("deleted %d", n)
	}
	check(func(uint32) bool { return true })
	p.Expire(time.Now())
	if s := p.Stats(); s.Rules != 0 || s.Masks != 0 || len(s.ByTable) != 0 {
		t.Errorf("after deleting everything: %+v", s)
	}
}

// FuzzExtract: no frame makes extraction panic, read past the window, say more at less depth, or say something else when
// the frame comes in other pieces.
func FuzzExtract(f *testing.F) {
	for _, s := range flowtest.SampleFrames() {
		f.Add([]byte(s), uint16(0))
		f.Add([]byte(s), uint16(1000))
	}
	var union flow.Key
	for w := range flow.PacketWords {
		union[w] = math.MaxUint64
	}
	everything, batch := makeLayout(&union, false), packet.NewBatch(nil)
	f.Fuzz(func(t *testing.T, b []byte, more uint16) {
		window := slices.Clone(b[:min(len(b), packet.WindowSize)])
		n := len(b) + int(more)
		var full flow.Key
		flow.Extract(window[:len(window):len(window)], n, 3, flow.DepthND, &full)
		if full.InPort() != 3 {
			t.Fatalf("in_port %d", full.InPort())
		}
		for d := flow.DepthPort; d < flow.DepthND; d++ {
			var k flow.Key
			flow.Extract(window, n, 3, d, &k)
			for w := range k {
				if k[w]&^full[w] != 0 {
					t.Fatalf("depth %d says %x in word %d, full depth %x", d, k[w], w, full[w])
				}
			}
		}
		if len(b) > packet.WindowSize+24*packet.MaxSegments {
			return
		}
		var keys [3]flow.Key
		var whole [3]bool
		for i, d := range deliveries {
			batch.Reset()
			d.add(batch, b)
			whole[i] = everything.read(batch, batch.Packet(0), &keys[i])
			if whole[i] != whole[0] || keys[i] != keys[0] {
				t.Fatalf("%s: %x, %v; %s: %x, %v", deliveries[0].name, keys[0], whole[0], d.name, keys[i], whole[i])
			}
		}
	})
}
