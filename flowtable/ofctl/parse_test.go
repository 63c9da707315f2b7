package ofctl

import (
	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
)

import (
	"errors"
	"strings"
	"testing"
)

func TestPortNamesAreReadAndWrittenAsOvsOfctlDoes(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"in_port=vm1,actions=vm-2,wire,output:7up", `in_port=vm1 actions=output:"vm-2",output:wire,output:"7up"`},
		{`in_port="vm-2",actions="vm-2",output:"vm1"`, `in_port="vm-2" actions=output:"vm-2",output:vm1`},
		{`actions=output:"normal",normal`, `actions=output:"normal",NORMAL`},
		{`actions="12",12,output:6`, `actions=output:"12",output:12,output:"12"`},
		{"in_port=ip,ip,actions=ip", "ip,in_port=ip actions=output:ip"},
		{`actions="a\"b"`, `actions=output:"a\"b"`},
		{`actions="drop"`, `actions=output:drop`},
		{"actions=resubmit(vm1,2),resubmit:vm-2", `actions=resubmit(vm1,2),resubmit:"vm-2"`},
		{"in_port=50,actions=51", "in_port=50 actions=output:51"},
	} {
		r, err := ParseRule(c.in, flowtest.SomePorts)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if got := FormatRule(r, flowtest.SomePorts); got != c.want {
			t.Errorf("%s:\n got  %s\n want %s", c.in, got, c.want)
		}
		if back, err := ParseRule(FormatRule(r, flowtest.SomePorts), flowtest.SomePorts); err != nil || !back.Equal(r) {
			t.Errorf("%s: reads back as %v, %v", FormatRule(r, flowtest.SomePorts), back, err)
		}
	}
}

func TestErrorsSayWhereAndWhatToDo(t *testing.T) {
	for _, c := range []struct {
		in   string
		col  int
		says string
	}{
		{"in_prt=1,actions=2", 1, "did you mean in_port?"},
		{"ip,nw_dts=1.2.3.4,actions=2", 4, "did you mean nw_dst?"},
		{"actions=outptu:1", 9, "did you mean output?"},
		{"in_port=nosuch,actions=1", 9, "unknown port nosuch"},
		{"tp_dst=80,actions=1", 1, "add tcp, udp"},
		{"ip,tcp_flags=+syn,actions=1", 4, "add tcp or tcp6"},
		{"priority=1,ip,nw_src=300.0.0.1,actions=1", 22, "not an IPv4 address"},
		{"ct_mark=1,actions=1", 1, "Weft does not"},
		{"actions=clone(output:1)", 9, "Weft does not"},
		{"actions=output:1,learn(table=1)", 18, "Weft does not"},
		{`actions=output:"x`, 16, "never closed"},
		{"actions=resubmit(1,2,ct)", 22, "resubmit takes two values"},
		{"actions=set_field:1->tcp_dst,1", 9, "add tcp or tcp6"},
		{"actions=set_field:1->nonsense,1", 22, "not a field"},
		{"actions=set_field:1->reg0[3],1", 22, "load:VALUE->reg0[FIRST..LAST]"},
		{"actions=set_field:1->NXM_NX_REG0,1", 22, "write ->reg0"},
		{"actions=set_field:1->tcp_srk,1", 22, "did you mean tcp_src?"},
		{"ip,actions=set_field:1->nw_proto,1", 25, "read-only"},
		{"ip,actions=load:1->NXM_OF_IP_PROTO[],1", 12, "read-only"},
		{"actions=load:0x100->reg0[1..5],1", 14, "does not fit into 5 bits"},
		{"actions=load:1->reg0[1..32],1", 25, "largest is 31"},
		{"actions=move:reg0[0..3]->reg1[0..4],1", 9, "4 bits wide and the destination 5"},
		{"actions=1,move:reg0->regg1", 22, "unknown field"},
		{"actions=output(port=1,max_len=100)", 16, "does not cut packets short"},
		{"actions=1,meter:1", 11, "meter must stand before other actions"},
		{"actions=clear_actions,1", 23, "the order is meter"},
		{"actions=write_actions(1),write_actions(2)", 26, "given twice"},
		{"actions=write_actions(write_actions(2))", 23, "inside write_actions"},
		{"actions=write_actions(meter:1)", 23, "part of an action set"},
		{"actions=write_actions(output:reg0)", 23, "part of an action set"},
		{"actions=push_vlan:0x8100,mod_nw_src:1.2.3.4,1", 26, "which push_vlan demands (add ip to the match)"},
		{"ip,actions=push_mpls:0x8847,dec_ttl,meter:1", 37, "meter must stand before"},
		{"actions=dec_ttl(1,2x)", 19, "controller"},
		{"actions=note:0g", 14, "pairs of hexadecimal digits"},
		{"actions=mod_nw_tos:5,1", 9, "multiple of 4"},
		{"actions=goto_table:1,1", 22, "resubmit(,N) goes to a table and comes back"},
		{"in_port=1 actions=)", 19, "unexpected ')'"},
		{"nw_frag=later,udp,tp_dst=1,actions=1", 1, "later"},
		{"table=254,actions=1", 7, "253"},
	} {
		_, err := ParseRule(c.in, flowtest.SomePorts)
		var se *SyntaxError
		if !errors.As(err, &se) {
			t.Errorf("%s: got %v, want a *SyntaxError", c.in, err)
			continue
		}
		if se.Col != c.col || !strings.Contains(se.Error(), c.says) {
			t.Errorf("%s:\n got  %v\n want column %d and %q", c.in, err, c.col, c.says)
		}
	}
}

func TestFiltersAndModificationsAreRead(t *testing.T) {
	f, err := ParseFilter("table=3,cookie=0x10/-1,out_port=vm1,ip,nw_dst=10.0.0.0/8", false, flowtest.SomePorts)
	if err != nil || !f.HasTable || f.Table != 3 || f.Cookie != 0x10 || f.CookieMask != ^uint64(0) || f.OutPort != 1 || f.Strict {
		t.Errorf("filter %+v, %v", f, err)
	}
	if f, err = ParseFilter("", false, nil); err != nil || f.HasTable || f.Match != (flow.Match{}) {
		t.Errorf("empty filter %+v, %v", f, err)
	}
	if f, err = ParseFilter("priority=7,in_port=1", true, nil); err != nil || !f.Strict || f.Priority != 7 {
		t.Errorf("strict filter %+v, %v", f, err)
	}
	for _, s := range []string{"priority=7", "actions=1", "idle_timeout=3", "cookie=1/x"} {
		if f, err = ParseFilter(s, false, nil); err == nil {
			t.Errorf("filter %q was accepted: %+v", s, f)
		}
	}
	c, err := ParseModify("cookie=1/-1,cookie=2,in_port=1,actions=normal", false, nil)
	if err != nil || c.Command != flow.Modify || !c.SetCookie || c.Rule.Cookie != 2 || c.Filter.Cookie != 1 ||
		c.Filter.CookieMask != ^uint64(0) || c.Rule.Actions[0].Kind != flow.ActionNormal {
		t.Errorf("modification %+v, %v", c, err)
	}
	if _, err = ParseModify("in_port=1", false, nil); err == nil {
		t.Error("a modification without actions was accepted")
	}
}

func TestLinesOfAFileOfChangesAreRead(t *testing.T) {
	for _, c := range []struct {
		line   string
		want   flow.Command
		strict bool
	}{
		{"in_port=1,actions=2", flow.Add, false},
		{"  add in_port=1,actions=2", flow.Add, false},
		{"modify in_port=1,actions=2", flow.Modify, false},
		{"modify_strict priority=3,in_port=1,actions=2", flow.Modify, true},
		{"delete in_port=1", flow.Delete, false},
		{"delete_strict priority=3,in_port=1", flow.Delete, true},
		{"delete", flow.Delete, false},
	} {
		got, err := ParseChange(c.line, nil)
		if err != nil || got.Command != c.want || got.Filter.Strict != c.strict {
			t.Errorf("%q: %+v, %v", c.line, got, err)
		}
	}
	_, err := ParseChange("  delete   foo=1", nil)
	var se *SyntaxError
	if !errors.As(err, &se) || se.Col != 12 {
		t.Errorf("got %v, want an error in column 12", err)
	}
}

func TestRulesMadeByProgramsAreChecked(t *testing.T) {
	ok := func(s string) flow.Rule {
		r, err := ParseRule(s, nil)
		if err != nil {
			t.Fatal(err)
		}
		return *r
	}
	for name, change := range map[string]func(r *flow.Rule){
		"value outside the mask": func(r *flow.Rule) { r.Match.Key[flow.WordTHA] = 1 << 16 },
		"no prerequisite":        func(r *flow.Rule) { r.Match.Mask[flow.WordIPv6S] = 1 },
		"bits of no field":       func(r *flow.Rule) { r.Match.Mask[flow.WordSHA] |= 1 },
		"half an in_port":        func(r *flow.Rule) { r.Match.Mask[flow.WordPort] |= 3 << flow.ShiftInPort },
		"a table that is not":    func(r *flow.Rule) { r.Table = 254 },
		"output to port 0":       func(r *flow.Rule) { r.Actions = []flow.Action{{Kind: flow.ActionOutput}} },
		"an unknown action":      func(r *flow.Rule) { r.Actions = []flow.Action{{Kind: flow.NumActionKinds}} },
		"too many actions":       func(r *flow.Rule) { r.Actions = make([]flow.Action, flow.MaxActions+1) },
		"part of nw_frag":        func(r *flow.Rule) { r.Match.Mask[flow.WordL4] |= 1 << flow.ShiftFrag },
		"part of a DSCP":         func(r *flow.Rule) { r.Match.Mask[flow.WordL4] |= 4 << flow.ShiftTOS },
	} {
		r := ok("tcp,tp_dst=80,actions=1")
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&r)
		if err := r.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if err := r.Validate(); err == nil {
			t.Errorf("%s: added", name)
		}
	}
}

// FuzzParseRule: whatever is accepted can be written, and reads back as the same.
func FuzzParseRule(f *testing.F) {
	for _, list := range [][]string{agreed, refused, differing, actionRules, refusedActions} {
		for _, s := range list {
			f.Add(s)
		}
	}
	f.Add(`in_port="vm-2",actions="7up",output:"a\"b",resubmit("12",3)`)
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRule(s, flowtest.SomePorts)
		if err != nil {
			var se *SyntaxError
			if !errors.As(err, &se) || se.Col < 1 || se.Col > len(s)+1 {
				t.Fatalf("%q: error %v", s, err)
			}
			return
		}
		if err := r.Validate(); err != nil {
			t.Fatalf("%q: accepted, but not valid: %v", s, err)
		}
		for _, ports := range []PortNames{nil, flowtest.SomePorts} {
			text := FormatRule(r, ports)
			back, err := ParseRule(text, ports)
			if err != nil || !back.Equal(r) {
				t.Fatalf("%q: written as %q, which reads back as %+v, %v", s, text, back, err)
			}
		}
		_, _ = ParseChange(s, flowtest.SomePorts)
		_, _ = ParseFilter(s, true, flowtest.SomePorts)
	})
}
