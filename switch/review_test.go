package vswitch

import (
	"fmt"
	"strings"
	"testing"

	"weft/flowtable"
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
