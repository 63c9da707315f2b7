package vswitch

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestBridgeWithoutRulesIsNormal(t *testing.T) {
	r := newRig(t)
	r.apply(threePorts())
	if err := r.FlowAdd("", []string{"priority=5,in_port=a,actions=b"}); err != nil {
		t.Fatal(err)
	}
	flows, err := r.FlowDump("br0", "")
	if err != nil || len(flows) != 2 || flows[1].Priority != 0 || !bytes.Contains(flows[1].Text, []byte("NORMAL")) {
		t.Errorf("%+v, %v", flows, err)
	}
	r.apply(threePorts("priority=3,actions=drop"))
	if flows, err = r.FlowDump("", ""); err != nil || len(flows) != 2 || flows[1].Priority != 3 {
		t.Errorf("with configured rules: %+v, %v", flows, err)
	}
}

func TestBridgeWithAnEmptyListOfRulesDropsEverything(t *testing.T) {
	r := newRig(t)
	r.apply(threePorts() + "  flows: []\n")
	r.send("a", frame(9, 1, 64))
	r.want(nil)
	if br := r.Bridges()[0]; br.Rules != 0 || br.Drops["no_match"] != 1 {
		t.Errorf("%d rules, drops %v", br.Rules, br.Drops)
	}
}

// TestDumpedRulesCanBeAddedAgain feeds both forms of a dump back.
func TestDumpedRulesCanBeAddedAgain(t *testing.T) {
	r := newRig(t)
	text := threePorts("priority=1,actions=drop", "table=3,cookie=0x7,hard_timeout=300,ip,nw_dst=10.0.0.0/8,actions=b,c",
		"check_overlap,reset_counts,send_flow_rem,priority=5,in_port=a,dl_vlan=0xffff,actions=mod_vlan_vid:7,NORMAL")
	r.apply(text)
	if plan := r.apply(text); len(plan.Lines) != 0 {
		t.Errorf("the same rules are a change: %q", plan.Lines)
	}
	before, err := r.FlowDump("", "")
	if err != nil || len(before) != 3 {
		t.Fatal(before, err)
	}
	for _, form := range []func(FlowInfo) string{
		func(f FlowInfo) string { return f.Text.String() }, func(f FlowInfo) string { return f.Dump.String() },
	} {
		var rules []string
		for _, f := range before {
			rules = append(rules, form(f))
		}
		if _, err := r.FlowDel("", "", false); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time each rule replaces itself
			if err := r.FlowAdd("", rules); err != nil {
				t.Fatal(err)
			}
		}
		after, err := r.FlowDump("", "")
		if err != nil || len(after) != len(before) {
			t.Fatal(after, err)
		}
		for i := range after {
			if !bytes.Equal(after[i].Text, before[i].Text) {
				t.Errorf("it was %s and is %s", before[i].Text, after[i].Text)
			}
		}
	}
}

func TestRulesAreAddedAllOrNone(t *testing.T) {
	r := newRig(t)
	r.apply(threePorts("priority=1,actions=drop"))
	err := r.FlowAdd("", []string{"priority=2,actions=b", "priority=3,actions=output:nowhere"})
	var bad *ConfigError
	if !errors.As(err, &bad) || bad.File != "" || bad.Line != 2 || bad.Column != 27 {
		t.Errorf("%v", err)
	}
	if flows, err := r.FlowDump("", ""); err != nil || len(flows) != 1 {
		t.Errorf("%+v, %v", flows, err)
	}
	if _, err := r.FlowDel("", "bogus=1", false); err == nil || !strings.HasPrefix(err.Error(), "filter:1:1: ") {
		t.Errorf("%v", err)
	}
	if err := r.FlowAdd("", []string{"priority=2,in_port=a,actions=b", "priority=2,in_port=b,actions=a"}); err != nil {
		t.Fatal(err)
	}
	if n, err := r.FlowDel("", "in_port=a", false); n != 1 || err != nil {
		t.Error(n, err)
	}
	if flows, err := r.FlowDump("", "in_port=b"); err != nil || len(flows) != 1 || flows[0].Origin != OriginRuntime {
		t.Errorf("%+v, %v", flows, err)
	}
}
