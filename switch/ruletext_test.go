package vswitch

import (
	"bytes"
	"encoding/json"
	"testing"

	"weft/flowtable/flow"
)

// TestRuleTextsAreStringsInJSON: byte for byte what a string would be, wherever the value is.
func TestRuleTextsAreStringsInJSON(t *testing.T) {
	for _, s := range []string{"", "actions=drop", `in_port="a<b>&\"c",actions=drop`, "in_port=\"\u2028\xff\x01\"", "\t\n\\"} {
		want, err := json.Marshal(struct {
			Text string `json:"text"`
		}{s})
		if err != nil {
			t.Fatal(err)
		}
		v := struct {
			Text RuleText `json:"text"`
		}{RuleText(s)}
		for _, in := range []any{v, &v} {
			got, err := json.Marshal(in)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %v, want %s", got, err, want)
			}
		}
		wantBack := struct{ Text string }{}
		if err := json.Unmarshal(want, &wantBack); err != nil {
			t.Fatal(err)
		}
		back := struct{ Text RuleText }{RuleText("what was there")}
		if err := json.Unmarshal(want, &back); err != nil || back.Text.String() != wantBack.Text {
			t.Errorf("%s reads back as %q, %v, want %q", want, back.Text, err, wantBack.Text)
		}
	}
}

// TestAListedRuleIsShownAnew: what the last rule left in the memory does not show in the next, in both directions.
func TestAListedRuleIsShownAnew(t *testing.T) {
	r := newRig(t)
	r.apply(threePorts("table=0,priority=9,cookie=0x5,in_port=a,dl_vlan=7,actions=strip_vlan,b", "priority=3,actions=drop"))
	if err := r.FlowAdd("", []string{"table=1,priority=7,ip,nw_dst=10.0.0.0/8,actions=c"}); err != nil {
		t.Fatal(err)
	}
	list, err := r.FlowEach("", "")
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for range 2 {
		for f := range list {
			fresh := FlowInfo{Bridge: f.Bridge}
			br := r.bridges[0]
			br.rules.pipeline.Each(&flow.Filter{HasTable: true, Table: uint8(f.Table)}, func(st *flow.RuleStats) bool {
				if int(st.Rule.Priority) == f.Priority {
					fresh.show(st, br.names(), br.rules.isConfigured(&st.Rule))
				}
				return true
			})
			if !bytes.Equal(f.Text, fresh.Text) || f.Origin != fresh.Origin || f.Cookie != fresh.Cookie {
				t.Errorf("%+v\nwant %+v", f, fresh)
			}
			shown = append(shown, f.Text.String())
		}
	}
	if len(shown) != 6 || shown[0] != shown[3] || shown[2] != shown[5] || shown[0] == shown[1] {
		t.Errorf("%q", shown)
	}
}
