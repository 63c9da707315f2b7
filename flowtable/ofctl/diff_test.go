package ofctl

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/flowtable/flow"
)

func TestDifferencesAreThoseOfOvsOfctlDiffFlows(t *testing.T) {
	needOfctl(t)
	before := []string{
		"actions=drop", "priority=5,ip,nw_dst=10.0.0.0/8,actions=output:1", "table=3,tcp,tp_dst=80,actions=output:2",
		"cookie=0x5,in_port=1,actions=group:4", "table=1,priority=7,dl_vlan=5,actions=strip_vlan,output:3",
		"priority=9,udp,actions=move:NXM_OF_IP_SRC[]->NXM_NX_REG0[],output:1",
	}
	after := []string{
		"actions=drop", "priority=5,ip,nw_dst=10.0.0.0/8,actions=output:2", "table=3,tcp,tp_dst=81,actions=output:2",
		"cookie=0x6,in_port=1,actions=group:4", "table=1,priority=7,dl_vlan=5,actions=strip_vlan,output:3",
		"priority=9,udp,idle_timeout=5,hard_timeout=6,actions=move:NXM_OF_IP_SRC[]->NXM_NX_REG0[],output:1",
	}
	parse := func(lines []string) (list []*flow.Rule) {
		for _, s := range lines {
			r, err := ParseRule(s, nil)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, r)
		}
		return list
	}
	got := strings.Split(FormatDiff(flow.DiffRules(parse(before), parse(after)), nil), "\n")
	dir := t.TempDir()
	file := func(name string, lines []string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	out, _ := exec.Command("ovs-ofctl", "diff-flows", file("a", before), file("b", after)).Output() // differences are exit code 2
	want := strings.Split(string(out), "\n")
	// ovs-ofctl's order is that of its hash tables.
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if d := flow.DiffRules(parse(before), parse(before)); len(d) != 0 {
		t.Errorf("the same rules differ: %v", FormatDiff(d, nil))
	}
}
