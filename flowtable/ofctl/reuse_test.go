package ofctl_test

import (
	"testing"

	"weft/flowtable/ofctl"
)

// TestAParserForgetsTheLastRule: what a rule, or a mistake, left in the memory of a Parser does not show in the next.
func TestAParserForgetsTheLastRule(t *testing.T) {
	lines := []string{
		"table=3,priority=7,cookie=0x9,idle_timeout=5,send_flow_rem,tcp,nw_src=10.0.0.0/8,tp_dst=80,actions=push_vlan:0x8100,output:1",
		"actions=drop",
		"in_port=1,nonsense",
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
