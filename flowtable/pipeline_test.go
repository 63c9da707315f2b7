package flowtable

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/flowtable/ofctl"
	"weft/internal/packet"
)

var update = flag.Bool("update", false, "rewrite golden files")

func rule(t testing.TB, s string) *flow.Rule {
	t.Helper()
	r, err := ofctl.ParseRule(s, flowtest.SomePorts)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return r
}

// bench is a pipeline with a clock and one Lookup.
type bench struct {
	t   testing.TB
	now time.Time
	p   *Pipeline
	l   *Lookup
	b   *packet.Batch
}

func newBench(t testing.TB, rules ...string) *bench {
	b := &bench{t: t, now: time.Unix(1_700_000_000, 0), b: packet.NewBatch(nil)}
	b.p = NewPipeline(Config{Now: func() time.Time { return b.now }})
	b.l = b.p.NewLookup(LookupConfig{CacheEntries: 1})
	b.add(rules...)
	return b
}

func (b *bench) add(rules ...string) {
	b.t.Helper()
	for _, s := range rules {
		if err := b.p.Add(rule(b.t, s)); err != nil {
			b.t.Fatalf("%q: %v", s, err)
		}
	}
}

// send looks frames up and returns the ops of the last.
func (b *bench) send(port uint32, frames ...flowtest.Frame) []Op {
	b.t.Helper()
	fill(b.b, port, frames)
	b.l.Batch(b.b)
	return slices.Clone(b.l.Ops(len(frames) - 1))
}

func (b *bench) dump(f flow.Filter) string {
	var s strings.Builder
	for _, r := range b.p.Dump(f) {
		s.WriteString(ofctl.FormatStats(&r, flowtest.SomePorts) + "\n")
	}
	return s.String()
}

func output(port uint32) []Op { return []Op{{Kind: OpOutput, A: port}} }

func drop(r packet.DropReason) []Op { return []Op{{Kind: OpDrop, A: uint32(r)}} }

func udpTo(dst uint32) flowtest.Frame {
	f := flowtest.NewFrame().IPv4(flow.ProtoUDP, 0, 0, flowtest.UDPHdr(1, 2, 0))
	return append(f[:30], flowtest.Frame{}.U32(dst).Join(f[34:])...)
}

func TestDumpPrintsWhatOvsOfctlPrints(t *testing.T) {
	b := newBench(t,
		"priority=0,actions=normal",
		"table=0,cookie=0x5,priority=100,in_port=vm1,ip,nw_dst=10.0.0.0/8,actions=vm-2,wire",
		"in_port=LOCAL,actions=drop",
		"table=3,idle_timeout=10,hard_timeout=100,priority=3,arp,arp_op=1,actions=LOCAL,in_port,flood,all",
		"table=1,send_flow_rem,importance=4,dl_vlan=5,dl_vlan_pcp=3,actions=strip_vlan,mod_vlan_vid:7,goto_table:3",
		"table=1,tcp6,ipv6_src=fe80::/10,tp_dst=0x50/0xfff0,actions=push_vlan:0x88a8,set_field:6->vlan_vid,resubmit(vm-2,2)",
		"table=2,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=mod_dl_src:1:2:3:4:5:6,"+
			"set_field:02:00:00:00:00:00/02:00:00:00:00:00->eth_dst,resubmit:wire,4",
		"table=2,priority=65535,icmp,icmp_type=8,nw_frag=no,nw_tos=184,nw_ecn=1,nw_ttl=64,actions=4",
	)
	b.send(1, udpTo(0x0a000001), udpTo(0x0a000002), udpTo(0x0b000002))
	b.now = b.now.Add(61500 * time.Millisecond)
	b.p.Expire(b.now)
	c, err := ofctl.ParseModify("table=0,ip,actions=wire", false, flowtest.SomePorts)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.p.Apply([]flow.Change{c}); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(2 * time.Second)
	got := b.dump(flow.Filter{})
	const golden = "testdata/dump.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for _, line := range strings.Split(strings.TrimSpace(got), "\n") {
		r, err := ofctl.ParseRule(line, flowtest.SomePorts)
		if err != nil {
			t.Errorf("a dumped line does not read back: %s: %v", line, err)
		} else if !slices.ContainsFunc(b.p.Dump(flow.Filter{}), func(s flow.RuleStats) bool { return s.Rule.Equal(r) }) {
			t.Errorf("a dumped line reads back as another rule: %s", line)
		}
	}
}

func TestTimeoutsRemoveRules(t *testing.T) {
	b := newBench(t, "idle_timeout=5,ip,actions=1", "hard_timeout=8,arp,actions=1", "priority=1,actions=2")
	var gone []flow.RuleStats
	at := func(seconds int) []flow.RuleStats {
		b.now = time.Unix(1_700_000_000+int64(seconds), 0)
		return b.p.Expire(b.now)
	}
	for s := range 5 {
		if gone = at(s); len(gone) != 0 {
			t.Fatalf("after %d s %v expired", s, gone)
		}
	}
	if got := b.send(3, udpTo(1)); !slices.Equal(got, output(1)) {
		t.Fatalf("got %v", got)
	}
	if gone = at(8); len(gone) != 1 || gone[0].Reason != flow.ReasonHardTimeout || gone[0].Rule.HardTimeout != 8 {
		t.Fatalf("after 8 s %+v expired, want the hard timeout", gone)
	}
	if gone = at(9); len(gone) != 1 || gone[0].Reason != flow.ReasonIdleTimeout || gone[0].Packets != 1 {
		t.Fatalf("after 9 s %+v expired, want the idle timeout with 1 packet", gone)
	}
	if got := b.send(3, udpTo(1)); !slices.Equal(got, output(2)) {
		t.Fatalf("after the timeout got %v", got)
	}
}

func TestRulesInUseOutliveTheirIdleTimeout(t *testing.T) {
	b := newBench(t, "idle_timeout=5,ip,actions=1", "idle_timeout=5,hard_timeout=30,arp,actions=1", "priority=1,actions=2")
	start := b.now
	for s := range 60 {
		b.now = start.Add(time.Duration(s) * time.Second)
		gone := b.p.Expire(b.now)
		// ARP is in use all the time, until its hard timeout. IP comes last at 20 s, then its rule is replaced and
		// inherits that.
		var want []flow.Reason
		switch s {
		case 25:
			want = []flow.Reason{flow.ReasonIdleTimeout}
		case 30:
			want = []flow.Reason{flow.ReasonHardTimeout}
		}
		var got []flow.Reason
		for _, g := range gone {
			got = append(got, g.Reason)
			if g.Reason == flow.ReasonIdleTimeout && g.Packets != 11 {
				t.Errorf("%d packets, want 11", g.Packets)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("after %d s: %v, want %v", s, got, want)
		}
		b.send(3, flowtest.NewFrame().ARP(1))
		if s <= 20 && s%2 == 0 {
			b.send(3, udpTo(1))
		}
		if s == 22 {
			c, err := ofctl.ParseModify("ip,actions=4", false, flowtest.SomePorts)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.p.Apply([]flow.Change{c}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestStatsCountRulesAndMasksByTable(t *testing.T) {
	b := newBench(t, "ip,actions=1", "arp,actions=1", "in_port=1,actions=2", "table=7,udp,tp_dst=1,actions=1",
		"table=253,actions=drop", "table=9,actions=drop")
	b.p.Delete(flow.Filter{HasTable: true, Table: 9})
	s := b.p.Stats()
	want := []TableStats{{0, 3, 2, 2}, {7, 1, 1, 1}, {253, 1, 1, 1}}
	if !slices.Equal(s.ByTable, want) || s.Rules != 5 || s.Tables != 3 || s.Masks != 4 {
		t.Errorf("got %+v, want tables %v", s, want)
	}
}

func TestDropReasonsSayWhy(t *testing.T) {
	for _, c := range []struct {
		rules []string
		want  []Op
	}{
		{nil, drop(packet.DropNoMatch)},
		{[]string{"actions=drop"}, drop(packet.DropByRule)},
		{[]string{"actions=mod_dl_src:1:2:3:4:5:6"}, drop(packet.DropNoOutput)},
		{[]string{"actions=resubmit(,1)"}, drop(packet.DropNoMatch)},
		{[]string{"actions=resubmit(,1)", "table=1,actions=drop"}, drop(packet.DropByRule)},
		{[]string{"actions=1,resubmit(,1)"}, output(1)},
		{[]string{"actions=resubmit(,0)"}, drop(packet.DropResubmitLimit)},
		{[]string{"actions=1,resubmit(,0)"}, drop(packet.DropResubmitLimit)},
		{
			[]string{
				"actions=" + strings.Repeat("resubmit(,1),", 65), "table=1,actions=" + strings.Repeat("resubmit(,2),", 65),
				"table=2,actions=1",
			}, drop(packet.DropResubmitLimit),
		},
		{
			[]string{"actions=" + strings.Repeat("resubmit(,1),", 63) + "1", "table=1,actions=" + strings.Repeat("resubmit(,2),", 64)},
			output(1),
		},
		{
			[]string{"actions=" + strings.Repeat("resubmit(,1),", 3), "table=1,actions=" + strings.Repeat("1,", 512)},
			drop(packet.DropResubmitLimit),
		},
	} {
		b := newBench(t, c.rules...)
		for range 2 {
			if got := b.send(9, udpTo(1)); !slices.Equal(got, c.want) {
				t.Errorf("%.200q: got %v, want %v", c.rules, got, c.want)
			}
		}
	}
}

func TestResubmitsInsideEachOtherEndAt64(t *testing.T) {
	b := newBench(t, "in_port=1,actions=2,resubmit:2", "in_port=2,actions=3,resubmit:1")
	if got := b.send(1, udpTo(1)); !slices.Equal(got, drop(packet.DropResubmitLimit)) {
		t.Errorf("got %v", got)
	}
	// The lookup alone sees the other port: each rule leads to the other, the first one and 64 more.
	d := b.p.Dump(flow.Filter{})
	if d[0].Packets != 33 || d[1].Packets != 32 {
		t.Errorf("the rules were met %d and %d times, want 33 and 32", d[0].Packets, d[1].Packets)
	}
}

func TestOverlapIsCheckedOnRequest(t *testing.T) {
	b := newBench(t, "priority=5,ip,actions=1")
	if err := b.p.Add(rule(t, "check_overlap,priority=5,in_port=1,actions=2")); err == nil {
		t.Error("an overlapping rule was accepted")
	}
	b.add("check_overlap,priority=6,in_port=1,actions=2",
		"check_overlap,priority=5,arp,actions=2", "priority=5,in_port=1,actions=2")
}

func TestATransactionIsAllOrNothing(t *testing.T) {
	b := newBench(t, "priority=5,ip,actions=1", "table=7,actions=2")
	before := b.dump(flow.Filter{})
	gen := b.p.Stats().Generation
	err := b.p.Apply([]flow.Change{
		{Command: flow.Delete},
		{Rule: rule(t, "ip,actions=3")},
		{Command: flow.Modify, Rule: &flow.Rule{Actions: []flow.Action{{Kind: flow.ActionGotoTable, Table: 7}}}},
		{Rule: rule(t, "table=9,actions=3")},
		{
			Command: flow.Modify, Filter: flow.Filter{HasTable: true, Table: 9},
			Rule: &flow.Rule{Actions: []flow.Action{{Kind: flow.ActionGotoTable, Table: 7}}},
		},
	})
	if err == nil || !strings.Contains(err.Error(), "change 5 of 5") {
		t.Fatalf("got error %v", err)
	}
	if got := b.dump(flow.Filter{}); got != before || b.p.Stats().Generation != gen {
		t.Errorf("got\n%swant\n%s", got, before)
	}
	if err := replaceAll(b.p, []*flow.Rule{rule(t, "actions=1"), {Table: 255}}); err == nil || b.dump(flow.Filter{}) != before {
		t.Errorf("ReplaceAll: %v\n%s", err, b.dump(flow.Filter{}))
	}
}

func TestModifyAndDeleteSelectAsOpenFlowSays(t *testing.T) {
	b := newBench(t, "cookie=1,ip,actions=1", "cookie=2,ip,nw_src=10.0.0.1,actions=2", "cookie=3,priority=7,ip,actions=2",
		"cookie=4,arp,actions=LOCAL", "table=1,cookie=5,ip,actions=2")
	cookies := func(text string, strict bool) (got []uint64) {
		t.Helper()
		f, err := ofctl.ParseFilter(text, strict, flowtest.SomePorts)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range b.p.Dump(f) {
			got = append(got, s.Rule.Cookie)
		}
		slices.Sort(got)
		return got
	}
	for _, c := range []struct {
		text   string
		strict bool
		want   []uint64
	}{
		{"", false, []uint64{1, 2, 3, 4, 5}},
		{"ip", false, []uint64{1, 2, 3, 5}},
		{"ip", true, []uint64{1, 5}},
		{"table=0,ip", true, []uint64{1}},
		{"ip,priority=7", true, []uint64{3}},
		{"ip,nw_src=10.0.0.0/8", false, []uint64{2}},
		{"out_port=2", false, []uint64{2, 3, 5}},
		{"out_port=LOCAL", false, []uint64{4}},
		{"table=1", false, []uint64{5}},
		{"cookie=1/1", false, []uint64{1, 3, 5}},
		{"cookie=4/-1", false, []uint64{4}},
		{"cookie=4", false, []uint64{4}},
		{"ipv6", false, nil},
		{"table=200", false, nil},
	} {
		if got := cookies(c.text, c.strict); !slices.Equal(got, c.want) {
			t.Errorf("%q strict %v: rules %v, want %v", c.text, c.strict, got, c.want)
		}
	}
	b.send(9, udpTo(1))
	f, _ := ofctl.ParseFilter("ip,nw_src=10.0.0.0/8", false, nil)
	if n := b.p.Delete(f); n != 1 {
		t.Errorf("deleted %d rules, want 1", n)
	}
	if got := b.send(9, udpTo(1)); !slices.Equal(got, output(1)) {
		t.Errorf("after the deletion got %v", got)
	}
}

func TestAddKeepsCountersUnlessToldOtherwise(t *testing.T) {
	b := newBench(t, "ip,actions=1")
	packets := func() uint64 { return b.p.Dump(flow.Filter{})[0].Packets }
	b.send(9, udpTo(1), udpTo(2))
	b.add("ip,actions=2")
	b.send(9, udpTo(1))
	if packets() != 3 {
		t.Errorf("%d packets, want 3", packets())
	}
	b.add("reset_counts,ip,actions=3")
	b.send(9, udpTo(1))
	if packets() != 1 {
		t.Errorf("%d packets, want 1", packets())
	}
	b.p.Delete(flow.Filter{})
	b.add("ip,actions=1")
	if packets() != 0 {
		t.Errorf("%d packets in a new rule, want 0", packets())
	}
}
