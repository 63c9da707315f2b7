package vswitch

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"weft/flowtable"
	"weft/pmd/memport"
)

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
