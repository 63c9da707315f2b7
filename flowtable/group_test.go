package flowtable

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/flowtable/ofctl"
	"weft/internal/packet"
)

// groupMod parses a line of a file of groups.
func groupMod(t testing.TB, s string) flow.Change {
	t.Helper()
	m, err := ofctl.ParseGroupMod(s, flowtest.SomePorts)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return flow.Change{Group: &m}
}

func meterMod(t testing.TB, command flow.MeterCommand, s string) flow.Change {
	t.Helper()
	m, err := ofctl.ParseMeter(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return flow.Change{Meter: &flow.MeterMod{Command: command, Meter: *m}}
}

func (b *bench) groups(lines ...string) {
	b.t.Helper()
	for _, s := range lines {
		if err := b.p.Apply([]flow.Change{groupMod(b.t, s)}); err != nil {
			b.t.Fatalf("%q: %v", s, err)
		}
	}
}

func TestGroupsSendCopiesThatDoNotDisturbEachOther(t *testing.T) {
	b := newBench(t)
	b.groups("group_id=1,type=all,bucket=mod_dl_dst:02:00:00:00:00:aa,output:1,bucket=output:2,bucket=mod_vlan_vid:5,output:3",
		"group_id=2,type=indirect,bucket=push_vlan:0x8100,output:1")
	b.add("in_port=1,actions=mod_dl_src:02:00:00:00:00:01,group:1", "in_port=2,actions=group:1,output:4",
		"in_port=3,actions=group:2,output:4", "in_port=4,actions=group:2")
	save, restore := Op{Kind: OpSave}, Op{Kind: OpRestore}
	first := []Op{{Kind: OpSetEthDst, B: 0x0200000000aa, Mask: flow.FullEth}, output(1)[0]}
	third := []Op{{Kind: OpPushVLAN, A: 0x8100}, {Kind: OpSetVLANVID, A: 5}, output(3)[0]}
	push := []Op{{Kind: OpPushVLAN, A: 0x8100}, output(1)[0]}
	for port, want := range map[uint32][]Op{
		1: slices.Concat(
			[]Op{{Kind: OpSetEthSrc, B: 0x020000000001, Mask: flow.FullEth}, save}, first, []Op{restore}, output(2), third),
		2: slices.Concat([]Op{save}, first, []Op{restore}, output(2), []Op{save}, third, []Op{restore}, output(4)),
		3: slices.Concat([]Op{save}, push, []Op{restore}, output(4)),
		4: push, // nobody needs the packet as it was
	} {
		if got := b.send(port, udpTo(1)); !slices.Equal(got, want) {
			t.Errorf("from port %d:\n got  %v\n want %v", port, got, want)
		}
	}
	s := b.p.Groups()
	if len(s) != 2 || s[0].Packets != 2 || s[0].Refs != 2 || s[1].Packets != 2 || s[0].Bytes != 2*uint64(len(udpTo(1))) {
		t.Fatalf("groups %+v", s)
	}
	for i, n := range s[0].Buckets {
		if n.Packets != 2 {
			t.Errorf("bucket %d of group 1 counted %+v", i, n)
		}
	}
	const want = "group_id=2,duration=0.000s,ref_count=2,packet_count=2,byte_count=84,bucket0:packet_count=2,byte_count=84"
	if got := ofctl.FormatGroupStats(&s[1]); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// shares counts to which ports n flows go.
func (b *bench) shares(n uint32) map[uint32][]uint32 {
	out := make(map[uint32][]uint32)
	for i := range n {
		ops := b.send(1, udpTo(i*2654435761))
		out[ops[0].A] = append(out[ops[0].A], i)
	}
	return out
}

func TestSelectGroupsShareFlowsByWeightAndKeepThemInTheirBuckets(t *testing.T) {
	b := newBench(t)
	b.groups("group_id=7,type=select,bucket=bucket_id:1,weight:1,output:1,bucket=bucket_id:2,weight:2,output:2," +
		"bucket=bucket_id:3,weight:5,output:3,bucket=bucket_id:4,weight:0,output:4")
	b.add("actions=group:7")
	const n = 20000
	before := b.shares(n)
	for port, weight := range map[uint32]float64{1: 1, 2: 2, 3: 5, 4: 0} {
		got, want := float64(len(before[port])), n*weight/8
		if math.Abs(got-want) > 5*math.Sqrt(n)/2 {
			t.Errorf("port %d got %v flows of %d, want about %v", port, got, n, want)
		}
	}
	// A bucket leaves: its flows go elsewhere, all others stay.
	b.groups("modify group_id=7,type=select,bucket=bucket_id:1,weight:1,output:1,bucket=bucket_id:3,weight:5,output:3")
	after := b.shares(n)
	for _, port := range []uint32{1, 3} {
		for _, i := range before[port] {
			if !slices.Contains(after[port], i) {
				t.Fatalf("flow %d left port %d although its bucket stayed", i, port)
			}
		}
	}
	if got := len(after[1]) + len(after[3]); got != n {
		t.Errorf("%d of %d flows found a bucket", got, n)
	}
	// The fragments of a datagram stay together, whether they have ports or not.
	first := flowtest.NewFrame().IPv4(flow.ProtoUDP, 0x2000, 0, flowtest.UDPHdr(1, 2, 8))
	later := flowtest.NewFrame().IPv4(flow.ProtoUDP, 0x0002, 0, flowtest.UDPHdr(9, 9, 8))
	if a, z := b.send(1, first), b.send(1, later); !slices.Equal(a, z) {
		t.Errorf("fragments go to %v and %v", a, z)
	}
}

func TestFailoverFollowsLinksAndClassifiesOnlyWhatMayChange(t *testing.T) {
	b := newBench(t, "priority=1,actions=4", "in_port=9,actions=drop")
	b.groups("group_id=2,type=ff,bucket=watch_port:2,output:2,bucket=watch_port:3,output:3",
		"group_id=1,type=ff,bucket=watch_port:1,output:1,bucket=watch_group:2,actions=group:2")
	b.add("priority=2,in_port=5,ip,nw_dst=10.0.0.0/8,actions=group:1")
	group, other := udpTo(0x0a000001), udpTo(0x0b000001)
	b.send(5, group, other)
	expect := func(want []Op, classified uint64) {
		t.Helper()
		before := b.l.CacheStats().Misses
		if got := b.send(5, other); !slices.Equal(got, output(4)) {
			t.Fatalf("the other flow: %v", got)
		}
		if got := b.l.CacheStats().Misses - before; got != 0 {
			t.Errorf("a flow that uses no group was classified again")
		}
		if got := b.send(5, group); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got := b.l.CacheStats().Misses - before; got != classified {
			t.Errorf("%d flows were classified again, want %d", got, classified)
		}
	}
	expect(drop(packet.DropNoOutput), 0)
	for _, s := range []struct {
		port       uint32
		live       bool
		want       []Op
		classified uint64
	}{
		{3, true, output(3), 1},
		{2, true, output(2), 1},
		{2, true, output(2), 0},
		{7, true, output(2), 0},
		{1, true, output(1), 1},
		{2, false, output(1), 1},
		{1, false, output(3), 1},
		{3, false, drop(packet.DropNoOutput), 1},
	} {
		b.p.SetPortLive(s.port, s.live)
		expect(s.want, s.classified)
	}
	if live := b.p.Groups()[0].Live; !slices.Equal(live, []bool{false, false}) {
		t.Errorf("live buckets of group 1: %v", live)
	}
}

func TestGroupsAndMetersBelongToTransactions(t *testing.T) {
	b := newBench(t)
	b.groups("group_id=1,type=all,bucket=output:1")
	b.add("in_port=1,actions=group:1", "priority=1,actions=2")
	bad := func(says string, changes ...flow.Change) {
		t.Helper()
		before, groups := b.dump(flow.Filter{}), len(b.p.Groups())
		err := b.p.Apply(changes)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want an error that says %q", err, says)
		}
		if got := b.dump(flow.Filter{}); got != before || len(b.p.Groups()) != groups || len(b.p.Meters()) != 0 {
			t.Errorf("after %v there are\n%s%d groups", err, got, len(b.p.Groups()))
		}
	}
	add := func(s string) flow.Change { return flow.Change{Rule: rule(t, s)} }
	bad("group 9 does not exist", add("in_port=3,actions=3"), add("in_port=4,actions=group:9"))
	bad("group 9 does not exist", add("in_port=4,actions=write_actions(group:9)"))
	bad("meter 5 does not exist", add("in_port=4,actions=meter:5,1"))
	bad("group 1 exists", groupMod(t, "group_id=1,type=all"))
	bad("group 2 does not exist; add it", groupMod(t, "modify group_id=2,type=all"))
	bad("names group 3, which does not exist", groupMod(t, "group_id=2,type=all,bucket=group:3"))
	bad("names group 1, which does not exist", groupMod(t, "group_id=2,type=all,bucket=group:1"), groupMod(t, "delete group_id=1"))
	bad("must not form loops", groupMod(t, "group_id=2,type=all,bucket=group:1"),
		groupMod(t, "modify group_id=1,type=all,bucket=group:2"))
	bad("must not form loops", groupMod(t, "group_id=2,type=ff,bucket=watch_group:2,output:1"))
	bad("meter 4 does not exist", meterMod(t, flow.MeterModify, "meter=4,kbps,band=type=drop,rate=1"))
	bad("group 9 does not exist", meterMod(t, flow.MeterAdd, "meter=4,kbps,band=type=drop,rate=1"), add("actions=group:9"))
	bad("does not exist", groupMod(t, "delete group_id=1"), add("actions=group:1"))

	// All in one, and in any order of groups.
	if err := b.p.Apply([]flow.Change{
		groupMod(t, "group_id=2,type=all,bucket=group:3"), groupMod(t, "group_id=3,type=all,bucket=output:3"),
		meterMod(t, flow.MeterAdd, "meter=4,pktps,burst,band=type=drop,rate=1,burst_size=1"),
		add("in_port=2,actions=meter:4,group:2"),
	}); err != nil {
		t.Fatal(err)
	}
	if got := b.send(2, udpTo(1)); len(got) != 2 || got[0].Kind != OpMeter || got[1] != output(3)[0] || b.l.Meter(got[0].A) == nil {
		t.Errorf("got %v", got)
	}
	// A rule goes with the group or the meter that it uses.
	if got := b.send(1, udpTo(1)); !slices.Equal(got, output(1)) {
		t.Errorf("got %v", got)
	}
	b.groups("delete group_id=1")
	if got := b.send(1, udpTo(1)); !slices.Equal(got, output(2)) {
		t.Errorf("after its group was deleted the rule still does %v", got)
	}
	if err := b.p.Apply([]flow.Change{{Meter: &flow.MeterMod{Command: flow.MeterDelete, Meter: flow.Meter{ID: 4}}}}); err != nil {
		t.Fatal(err)
	}
	if got := b.send(2, udpTo(1)); !slices.Equal(got, output(2)) || b.p.Stats().Rules != 1 || b.p.Stats().Meters != 0 {
		t.Errorf("after its meter was deleted the rule still does %v; %+v", got, b.p.Stats())
	}
	b.groups("delete")
	if len(b.p.Groups()) != 0 || len(b.p.users) != 0 || b.p.actions.chained != 0 {
		t.Errorf("left behind: %d groups, users %v, %d chained", len(b.p.Groups()), b.p.users, b.p.actions.chained)
	}
}

func TestSlotsOfGroupsAreUsedAgain(t *testing.T) {
	b := newBench(t)
	b.groups("group_id=1,type=all,bucket=output:1,bucket=output:2")
	b.add("actions=group:1")
	for i := range 500 {
		b.groups(fmt.Sprintf("modify group_id=1,type=all,bucket=output:1,bucket=output:%d", 2+i%2))
		if got := b.send(9, udpTo(1)); len(got) != 2 || got[1].A != uint32(2+i%2) {
			t.Fatalf("after change %d: %v", i, got)
		}
		// What a bucket counts is its own, not what the slot's last owner counted.
		if s := b.p.Groups()[0]; s.Packets != 1 || s.Buckets[0].Packets != 1 || s.Buckets[1].Packets != 1 {
			t.Fatalf("after change %d: %+v", i, s)
		}
	}
	if b.p.slab.next > 50 {
		t.Errorf("%d records for one rule and one group", b.p.slab.next)
	}
	if n := len(b.p.actions.effects); n != 0 {
		t.Errorf("%d effects of outputs alone", n)
	}
}

func TestGroupsOfGroupsAreBounded(t *testing.T) {
	b := newBench(t)
	// Each of 30 groups goes through the next twice: 2^30 ways, none of which outputs.
	var changes []flow.Change
	for i := 1; i <= 30; i++ {
		changes = append(changes, groupMod(t, fmt.Sprintf("group_id=%d,type=all,bucket=group:%d,bucket=group:%d", i, i+1, i+1)))
	}
	changes = append(changes, groupMod(t, "group_id=31,type=all,bucket=drop"), flow.Change{Rule: rule(t, "actions=group:1")})
	if err := b.p.Apply(changes); err != nil {
		t.Fatal(err)
	}
	if got := b.send(1, udpTo(1)); !slices.Equal(got, drop(packet.DropResubmitLimit)) {
		t.Errorf("got %v", got)
	}
	if len(b.l.composer.credits) > maxResubmits+1 {
		t.Errorf("%d credits", len(b.l.composer.credits))
	}
}

func TestThePortOfArrivalCanBeChanged(t *testing.T) {
	b := newBench(t,
		"in_port=1,actions=load:0->NXM_OF_IN_PORT[],1,2",
		"in_port=2,actions=set_field:3->in_port,3,in_port,resubmit(,1)",
		"table=1,in_port=3,actions=flood",
		"in_port=4,actions=set_field:LOCAL->in_port,resubmit(,2)",
		"table=2,in_port=LOCAL,actions=5",
	)
	set := func(port uint32) Op { return Op{Kind: OpSetInPort, A: port} }
	for port, want := range map[uint32][]Op{
		1: {set(0), output(1)[0], output(2)[0]},
		2: {set(3), output(3)[0], {Kind: OpInPort}, {Kind: OpFlood}},
		4: {set(flow.PortLocal), output(5)[0]},
	} {
		if got := b.send(port, udpTo(1)); !slices.Equal(got, want) {
			t.Errorf("from port %d: got %v, want %v", port, got, want)
		}
	}
}

func TestRulesOfGroupsCanBeFiltered(t *testing.T) {
	b := newBench(t)
	b.groups("group_id=1,type=all,bucket=output:7")
	b.add("in_port=1,actions=group:1", "in_port=2,actions=write_actions(group:1)", "in_port=3,actions=7",
		"in_port=4,actions=write_actions(output:7)")
	for s, want := range map[string]int{"out_group=1": 2, "out_group=2": 0, "out_port=7": 2, "out_port=7,out_group=1": 0, "": 4} {
		f, err := ofctl.ParseFilter(s, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(b.p.Dump(f)); got != want {
			t.Errorf("%q selects %d rules, want %d", s, got, want)
		}
	}
}

func TestModificationsOfNothingAddAsOvsOfctlDoes(t *testing.T) {
	b := newBench(t)
	mod := func(s string, strict bool) {
		t.Helper()
		c, err := ofctl.ParseModify(s, strict, nil)
		if err == nil {
			err = b.p.Apply([]flow.Change{c})
		}
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
	}
	mod("priority=5,in_port=1,idle_timeout=9,actions=2", false)
	mod("cookie=3/-1,in_port=2,actions=2", false) // only rules with a cookie: adds nothing
	mod("in_port=1,actions=3", false)
	mod("priority=6,in_port=1,actions=4", true)
	c, err := ofctl.ParseModify("in_port=3,actions=5", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.AddIfNone = false // as OpenFlow 1.3 has it
	if err := b.p.Apply([]flow.Change{c}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range b.p.Dump(flow.Filter{}) {
		got = append(got, ofctl.FormatRule(&s.Rule, nil))
	}
	want := []string{"priority=6,in_port=1 actions=output:4", "idle_timeout=9, priority=5,in_port=1 actions=output:3"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDiffSaysWhatReplaceWouldChange(t *testing.T) {
	b := newBench(t, "in_port=1,actions=1", "in_port=2,actions=2")
	b.send(1, udpTo(1))
	rules := []*flow.Rule{rule(t, "in_port=1,actions=1"), rule(t, "in_port=3,actions=2")}
	const want = "-in_port=2 actions=output:2\n+in_port=3 actions=output:2\n"
	got := strings.Split(ofctl.FormatDiff(b.p.Diff(rules), nil), "\n")
	slices.Sort(got)
	if s := strings.Join(got[1:], "\n") + "\n"; s != "+in_port=3 actions=output:2\n-in_port=2 actions=output:2\n" {
		t.Errorf("got %q, want %q", s, want)
	}
	if err := replaceAll(b.p, rules); err != nil {
		t.Fatal(err)
	}
	if d := b.p.Diff(rules); len(d) != 0 {
		t.Errorf("after ReplaceAll: %s", ofctl.FormatDiff(d, nil))
	}
}

func TestComposingWithGroupsAndSetsDoesNotAllocate(t *testing.T) {
	b := newBench(t)
	b.groups("group_id=2,type=select,bucket=dec_ttl,output:2,bucket=mod_nw_dst:10.0.0.1,output:3",
		"group_id=1,type=all,bucket=mod_vlan_vid:5,output:1,bucket=group:2")
	b.add("priority=1,ip,actions=move:NXM_OF_IP_SRC[]->NXM_NX_REG0[],write_actions(set_field:5->reg1,output:4),goto_table:1",
		"table=1,ip,actions=mod_nw_tos:4,group:1,push_mpls:0x8847,output:5")
	l := b.p.NewLookup(LookupConfig{CacheEntries: -1})
	fill(b.b, 1, []flowtest.Frame{udpTo(1), udpTo(2), udpTo(3)})
	l.Batch(b.b)
	if len(l.Ops(0)) < 10 {
		t.Fatalf("got %v: this tests nothing", l.Ops(0))
	}
	if n := testing.AllocsPerRun(100, func() { l.Batch(b.b) }); n != 0 {
		t.Errorf("%v allocations", n)
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
