package vswitch

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"weft/flowtable"
	"weft/pmd/memport"
)

func (r *rig) change(kind, command, text string) {
	r.t.Helper()
	if _, err := r.FlowApply(FlowRequest{Kind: kind, Command: command}, strings.NewReader(text)); err != nil {
		r.t.Fatal(err)
	}
}

// A program may save as many packets as groups can be inside each other, and NORMAL saves one more for a port's tags.
func TestTheDeepestGroupEndsInNormal(t *testing.T) {
	r := newRig(t)
	r.apply("pmd: {cpus: 1, idle: sleep}\nbridges:\n- name: br0\n  ports:\n" +
		"  - {name: a, driver: memory, vlan: {tag: 5}}\n  - {name: b, driver: memory}\n  - {name: c, driver: memory}\n")
	var groups, rules strings.Builder
	const deep = flowtable.MaxSaves
	for i := range deep {
		inner := fmt.Sprintf("resubmit(,%d)", i+1)
		if i == deep-1 {
			inner = "load:1->in_port,normal"
		}
		fmt.Fprintf(&groups, "group_id=%d,type=all,bucket=%s,bucket=output:2\n", i+1, inner)
		fmt.Fprintf(&rules, "table=%d,actions=load:%d->in_port,output:2,group:%d\n", i, 1+i%2*2, i+1)
	}
	r.change(KindGroup, CommandAdd, groups.String())
	r.change(KindFlow, CommandAdd, rules.String())
	r.send("a", frame(9, 1, 64))
	r.want(map[string]int{"b": 2*deep + 1, "c": 1}) // one for each rule and second bucket, and NORMAL's
	if d := r.dropped(); len(d) > 0 {
		t.Errorf("dropped %v", d)
	}
}

// Many copies of many packets, all different, far more than a batch has clones and segments for.
func TestEveryBucketOfALargeGroupSendsItsOwnCopy(t *testing.T) {
	for _, style := range []memport.Style{memport.Lent, memport.Owned} {
		for _, c := range []struct{ buckets, packets int }{{40, 32}, {200, 3}} {
			t.Run(fmt.Sprintf("%d/%d", style, c.buckets), func(t *testing.T) {
				r := newRig(t)
				r.style, r.options.RingSize = style, 4096
				r.apply(threePorts())
				r.sendThroughBuckets(c.buckets, c.packets)
			})
		}
	}
}

func (r *rig) sendThroughBuckets(buckets, packets int) {
	t := r.t
	var group strings.Builder
	group.WriteString("group_id=1,type=all")
	for i := range buckets {
		fmt.Fprintf(&group, ",bucket=mod_dl_src:02:00:00:00:%02x:%02x,push_vlan:0x8100,output:2", i>>8, i&0xff)
	}
	r.change(KindGroup, CommandAdd, group.String())
	r.change(KindFlow, CommandAdd, "in_port=1,actions=output:3,group:1,output:3\nin_port=2,actions=drop")
	var frames [][]byte
	for i := range packets {
		frames = append(frames, frame(9, byte(i), []int{60, 509, 512, 513, 1500}[i%5]))
	}
	for _, f := range frames {
		r.dev("a").Inject(0, f)
	}
	r.send("a")
	got := r.want(map[string]int{"b": buckets * packets, "c": 2 * packets})
	for i, f := range got["c"] {
		if want := frames[i/2]; len(f) < 12 || !bytes.Contains(bytes.Join(frames, []byte{0xff}), f) {
			t.Fatalf("port c: frame %d is %x, want one like %x", i, f[:16], want[:16])
		}
	}
	seen := make(map[string]int)
	for _, f := range got["b"] {
		i := int(f[10])<<8 | int(f[11])
		seen[string(f)]++
		ok := false
		for _, o := range frames {
			ok = ok || len(f) == len(o)+4 && bytes.Equal(f[16:], o[12:])
		}
		if i >= buckets || !ok || !bytes.Equal(f[12:16], []byte{0x81, 0, 0, 0}) {
			t.Fatalf("bucket %d sent %x", i, f[:20])
		}
	}
	if d := r.dropped(); len(d) > 0 {
		t.Errorf("dropped %v", d)
	}
}

// What people feed in: texts of other systems' editors, dumps of ovs-ofctl, lines without end. Mistakes are placed where
// they are.
func TestTextsAsTheyComeAreTakenOrRefusedAtTheirPlace(t *testing.T) {
	r := newRig(t)
	r.apply(threePorts())
	for _, c := range []struct {
		name, kind, text string
		want             FlowCounts
		line             int    // of the error, -1: there is none
		message          string // of the error
	}{
		{
			"byte order mark and CRLF", KindFlow, "\ufeffin_port=1,actions=2\r\nin_port=2,actions=1\r\n",
			FlowCounts{Lines: 2, Added: 2},
			-1, "",
		},
		{"a mark further on", KindFlow, "in_port=1,actions=2\n\ufeffin_port=2,actions=1", FlowCounts{}, 2, "unknown keyword"},
		{
			"a dump", KindFlow, "NXST_FLOW reply (xid=0x4):\n cookie=0x7, duration=1.8s, table=0, n_packets=9, n_bytes=8, idle_age=2," +
				" in_port=3 actions=NORMAL\nOFPST_FLOW reply (OF1.5) (xid=0x2):\n", FlowCounts{Lines: 1, Added: 1}, -1, "",
		},
		{
			"groups and meters", KindGroup, "group_id=1,type=all,bucket=output:1\nmeter add meter=2,pktps,bands=type=drop,rate=1\n" +
				"flow add cookie=7,actions=meter:2,group:1\ndelete group_id=8\n", FlowCounts{Lines: 4, Added: 1, Entries: 2}, -1, "",
		},
		{
			"a group that is not there", KindGroup, "\ngroup_id=5,type=all,bucket=group:6\n\nflow add actions=drop\n",
			FlowCounts{},
			2, "group 6",
		},
		{
			"a group that goes", KindGroup, "group_id=3,type=all,bucket=group:1\ndelete group_id=3\ngroup_id=3,type=all,bucket=group:1\n" +
				"delete group_id=1\n", FlowCounts{}, 3, "group 3 names group 1",
		},
		{
			"a long line", KindFlow, strings.Repeat("# more\n", 9) + "in_port=1" + strings.Repeat(" ", maxLine) + "actions=2",
			FlowCounts{},
			10, "too long",
		},
	} {
		n, err := r.FlowApply(FlowRequest{Kind: c.kind, Command: CommandAdd}, strings.NewReader(c.text))
		var errs ConfigErrors
		switch {
		case c.line < 0:
			if err != nil || n != c.want {
				t.Errorf("%s: %+v, %v, want %+v", c.name, n, err, c.want)
			}
		case !errors.As(err, &errs) || errs[0].Line != c.line || !strings.Contains(errs[0].Message, c.message):
			t.Errorf("%s: %v, want %q in line %d", c.name, err, c.message, c.line)
		}
	}
	if n, err := r.FlowDel("br0", "cookie=7/-1", false); err != nil || n != 2 {
		t.Errorf("%d rules have the cookie, %v", n, err)
	}
}

// What dump prints of meters is what add and mod take.
func TestMetersAreDumpedAsTheyAreWritten(t *testing.T) {
	r := newRig(t)
	r.apply(threePorts())
	const text = "meter=1 pktps bands=type=drop rate=5 type=drop rate=7\nmeter=3 kbps burst bands=type=drop rate=5 burst_size=4\n"
	r.change(KindMeter, CommandAdd, text)
	dump := func() (s string) {
		list, err := r.Meters("")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			s += m.Text + "\n"
		}
		return s
	}
	if got := dump(); got != text {
		t.Errorf("dumped as\n%s", got)
	}
	r.change(KindMeter, CommandModify, dump())
	if got := dump(); got != text {
		t.Errorf("modified, dumped as\n%s", got)
	}
}
