package ofctl_test

import (
	"reflect"
	"testing"

	"weft/flowtable/ofctl"
)

// TestAParserForgetsTheLastRule: what a rule, or a mistake, left in the memory of a Parser does not show in the next.
func TestAParserForgetsTheLastRule(t *testing.T) {
	lines := []string{
		"table=3,priority=7,cookie=0x9,idle_timeout=5,send_flow_rem,tcp,nw_src=10.0.0.0/8,tp_dst=80,actions=push_vlan:0x8100,output:1",
		"actions=drop",
		"in_port=1,nonsense",
		"=5,actions=drop",
		"priority=7,ip,actions=output:2,output:3,resubmit(,4)",
		"udp,tp_dst=5,tp_dst=6,actions=drop",
		"ip,actions=write_actions(output:1)",
		"actions=note:01.02.03,output:1",
		"arp,actions=normal",
	}
	p := ofctl.NewParser(nil)
	for round := range 2 {
		for i := range lines {
			line := lines[(i*(3+2*round))%len(lines)] // in two orders
			want, wantErr := ofctl.ParseRule(line, nil)
			got, err := p.Rule(line)
			if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
				t.Errorf("%s: error %v, want %v", line, err, wantErr)
				continue
			}
			if err == nil && (!got.Equal(want) || ofctl.FormatRule(got, nil) != ofctl.FormatRule(want, nil)) {
				t.Errorf("%s: parsed to %s, want %s", line, ofctl.FormatRule(got, nil), ofctl.FormatRule(want, nil))
			}
		}
	}
}

// TestAParserForgetsTheLastChange: the same for the lines of a file of changes.
func TestAParserForgetsTheLastChange(t *testing.T) {
	lines := []string{
		"delete_strict table=3,priority=7,cookie=0x9/0xff,tcp,nw_src=10.0.0.0/8,tp_dst=80,out_port=4,out_group=5",
		"delete",
		"modify cookie=5,ip,actions=output:2",
		"modify cookie=5/7,actions=drop",
		"modify_strict priority=5,reset_counts,actions=normal",
		"add in_port=1,actions=output:2,output:3",
		"  delete  priority=5",
		"delete tp_dst=5",
		"modify udp,tp_dst=5,tp_dst=6,actions=drop",
		"table=4,idle_timeout=6,actions=write_actions(output:1)",
		"delete table=0",
		"delete actions=drop",
	}
	p := ofctl.NewParser(nil)
	for round := range 2 {
		for i := range lines {
			line := lines[(i*(5+2*round))%len(lines)]
			want, wantErr := ofctl.ParseChange(line, nil)
			got, err := p.Change(line)
			if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
				t.Errorf("%s: error %v, want %v", line, err, wantErr)
				continue
			}
			if err != nil {
				continue
			}
			if (got.Rule == nil) != (want.Rule == nil) || got.Rule != nil && !got.Rule.Equal(want.Rule) {
				t.Errorf("%s: rule %+v, want %+v", line, got.Rule, want.Rule)
			}
			g, w := *got, want
			g.Rule, w.Rule = nil, nil
			if !reflect.DeepEqual(g, w) {
				t.Errorf("%s: %+v, want %+v", line, g, w)
			}
		}
	}
}

// TestAParserAllocatesNothing in reading one line after another.
func TestAParserAllocatesNothing(t *testing.T) {
	p := ofctl.NewParser(nil)
	for _, line := range []string{
		"table=3,priority=7,cookie=0x9,idle_timeout=5,tcp,nw_src=10.0.0.0/8,tp_dst=80,actions=mod_nw_dst:192.0.2.1,output:1",
		"ip,nw_dst=192.0.2.1,actions=drop",
		"delete_strict ip,nw_dst=192.0.2.1",
		"modify ip,nw_dst=192.0.2.1,actions=output:2",
	} {
		if n := testing.AllocsPerRun(100, func() {
			if _, err := p.Change(line); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", line, n)
		}
	}
}
