package vswitch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// tablesConfig is a bridge whose rules use groups and meters.
const tablesConfig = `
pmd: {cpus: 1, idle: sleep}
bridges:
- name: br0
  ports:
  - {name: a, driver: memory}
  - {name: b, driver: memory}
  - {name: c, driver: memory}
  groups:
  - group_id=1,type=all,bucket=output:b,bucket=output:c
  - |
    # a group may name one that comes later
    group_id=2,type=indirect,bucket=group:3
    group_id=3,type=indirect,bucket=output:b
  meters:
  - meter=1 pktps bands=type=drop rate=100000
  - meter=2 kbps burst bands=type=drop rate=1000 burst_size=100
  flows:
  - priority=10,in_port=a,actions=meter:1,group:1
  - priority=20,in_port=a,dl_dst=02:00:00:00:00:09,actions=group:2
`

// lines applies a configuration and compares what the plan says.
func (r *rig) lines(text string, want ...string) {
	r.t.Helper()
	if got := r.apply(text).Lines; !slices.Equal(got, want) {
		r.t.Errorf("plan\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(want, "\n "))
	}
}

// tables lists groups and meters: "1:3 2:0 | 1:3" are groups 1 and 2 and meter 1, each with its packets.
func (r *rig) tables() string {
	r.t.Helper()
	groups, err := r.Groups("br0")
	meters, err2 := r.Meters("br0")
	if err := errors.Join(err, err2); err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, e := range groups {
		out = append(out, fmt.Sprintf("%d:%d", e.ID, e.Packets))
	}
	out = append(out, "|")
	for _, e := range meters {
		out = append(out, fmt.Sprintf("%d:%d", e.ID, e.Packets))
	}
	return strings.Join(out, " ")
}

func (r *rig) wantTables(want string) {
	r.t.Helper()
	if got := r.tables(); got != want {
		r.t.Errorf("groups and meters %s, want %s", got, want)
	}
}

func TestConfiguredRulesUseConfiguredGroupsAndMeters(t *testing.T) {
	r := newRig(t)
	r.lines(tablesConfig,
		"+ pmd cpus 1, idle sleep",
		"+ bridge br0",
		"+ port a (memory, bridge br0, number 1)",
		"+ port b (memory, bridge br0, number 2)",
		"+ port c (memory, bridge br0, number 3)",
		"+ meter br0 meter=1 pktps bands=type=drop rate=100000",
		"+ meter br0 meter=2 kbps burst bands=type=drop rate=1000 burst_size=100",
		"+ group br0 group_id=1,type=all,bucket=bucket_id:0,actions=output:b,bucket=bucket_id:1,actions=output:c",
		"+ group br0 group_id=2,type=indirect,bucket=bucket_id:0,actions=group:3",
		"+ group br0 group_id=3,type=indirect,bucket=bucket_id:0,actions=output:b",
		"+ flow br0 priority=10,in_port=a actions=meter:1,group:1",
		"+ flow br0 priority=20,in_port=a,dl_dst=02:00:00:00:00:09 actions=group:2",
	)
	r.send("a", frame(1, 2, 64), frame(9, 2, 64))
	r.want(map[string]int{"b": 2, "c": 1})
	r.wantTables("1:1 2:1 3:1 | 1:1 2:0")
	r.lines(tablesConfig) // twice in a row: nothing
	r.wantTables("1:1 2:1 3:1 | 1:1 2:0")
}

// TestReloadChangesNoOtherGroupOrMeter changes one of each, and looks at the counters of the others.
func TestReloadChangesNoOtherGroupOrMeter(t *testing.T) {
	r := newRig(t)
	r.apply(tablesConfig)
	r.send("a", frame(1, 2, 64), frame(9, 2, 64))
	r.want(map[string]int{"b": 2, "c": 1})
	changed := strings.NewReplacer("group_id=3,type=indirect,bucket=output:b", "group_id=3,type=indirect,bucket=output:c",
		"rate=100000", "rate=200000").Replace(tablesConfig)
	r.lines(changed,
		"~ meter br0 meter=1 pktps bands=type=drop rate=100000 -> meter=1 pktps bands=type=drop rate=200000",
		"~ group br0 group_id=3,type=indirect,bucket=bucket_id:0,actions=output:b -> "+
			"group_id=3,type=indirect,bucket=bucket_id:0,actions=output:c",
	)
	r.wantTables("1:1 2:1 3:0 | 1:1 2:0") // a group that changes counts anew, a meter goes on
	r.send("a", frame(9, 2, 64))
	r.want(map[string]int{"c": 1})
	r.wantTables("1:1 2:2 3:1 | 1:1 2:0")
	// All of it goes, rules first.
	flows := strings.Index(tablesConfig, "  groups:")
	r.lines(tablesConfig[:flows]+"  flows: []\n",
		"- meter br0 meter=1 pktps bands=type=drop rate=200000",
		"- meter br0 meter=2 kbps burst bands=type=drop rate=1000 burst_size=100",
		"- group br0 group_id=1,type=all,bucket=bucket_id:0,actions=output:b,bucket=bucket_id:1,actions=output:c",
		"- group br0 group_id=2,type=indirect,bucket=bucket_id:0,actions=group:3",
		"- group br0 group_id=3,type=indirect,bucket=bucket_id:0,actions=output:c",
		"- flow br0 priority=10,in_port=a actions=meter:1,group:1",
		"- flow br0 priority=20,in_port=a,dl_dst=02:00:00:00:00:09 actions=group:2",
	)
	r.wantTables("|")
}

func TestReloadKeepsGroupsAndMetersOfRunTime(t *testing.T) {
	r := newRig(t)
	r.apply(tablesConfig)
	r.change(KindMeter, CommandAdd, "meter=7 kbps bands=type=drop rate=7")
	r.change(KindGroup, CommandAdd, "group_id=7,type=all,bucket=group:3")
	r.change(KindFlow, CommandAdd, "in_port=b,actions=meter:7,group:7")
	// The file is the word on what it names: what was deleted with its rules and what was modified is restored.
	r.change(KindMeter, CommandDelete, "meter=1")
	r.change(KindGroup, CommandModify, "group_id=2,type=all")
	r.lines(tablesConfig,
		"+ meter br0 meter=1 pktps bands=type=drop rate=100000",
		"~ group br0 group_id=2,type=all -> group_id=2,type=indirect,bucket=bucket_id:0,actions=group:3",
		"+ flow br0 priority=10,in_port=a actions=meter:1,group:1",
	)
	r.wantTables("1:0 2:0 3:0 7:0 | 1:0 2:0 7:0")
	// What leaves the file stays when someone changed it, or when a rule or group of run time uses it.
	r.change(KindMeter, CommandModify, "meter=2 kbps bands=type=drop rate=5")
	r.change(KindFlow, CommandAdd, "in_port=c,actions=meter:1,output:a")
	flows := strings.Index(tablesConfig, "  groups:")
	without := tablesConfig[:flows] + "  flows: []\n"
	const group3 = "group_id=3,type=indirect,bucket=bucket_id:0,actions=output:b"
	r.lines(without,
		"~ meter br0 meter=1 pktps bands=type=drop rate=100000 stays: what was added at run time uses it",
		"- group br0 group_id=1,type=all,bucket=bucket_id:0,actions=output:b,bucket=bucket_id:1,actions=output:c",
		"- group br0 group_id=2,type=indirect,bucket=bucket_id:0,actions=group:3",
		"~ group br0 "+group3+" stays: what was added at run time uses it",
		"- flow br0 priority=10,in_port=a actions=meter:1,group:1",
		"- flow br0 priority=20,in_port=a,dl_dst=02:00:00:00:00:09 actions=group:2",
	)
	r.wantTables("3:0 7:0 | 1:0 2:0 7:0")
	r.lines(without)
	r.send("b", frame(1, 2, 64))
	r.send("c", frame(1, 2, 64))
	r.want(map[string]int{"a": 1}) // group 7 outputs to b, where the packet came from
	r.wantTables("3:1 7:1 | 1:1 2:0 7:1")
}

// TestAFailedReloadTakesGroupsAndMetersBack makes the last step fail: a port that takes the place of another.
func TestAFailedReloadTakesGroupsAndMetersBack(t *testing.T) {
	r := newRig(t)
	old := strings.Replace(tablesConfig, "{name: c, driver: memory}", "{name: c, driver: memory, path: /tmp/c.sock}", 1)
	r.apply(old)
	r.send("a", frame(1, 2, 64))
	r.want(map[string]int{"b": 1, "c": 1})
	fresh := strings.NewReplacer(
		"{name: c, driver: memory, path: /tmp/c.sock}", "{name: d, driver: memory, path: /tmp/c.sock}",
		"bucket=output:b,bucket=output:c", "bucket=output:b", "group_id=2,type=indirect,bucket=group:3",
		"group_id=4,type=all,bucket=output:d", "rate=100000", "rate=1", "meter=2 kbps", "meter=3 kbps",
		"actions=group:2", "actions=meter:3,group:4", "group_id=3,type=indirect,bucket=output:b", "group_id=5,type=all",
	).Replace(old)
	cfg, err := r.parse(fresh)
	if err != nil {
		t.Fatal(err)
	}
	texts := func() string {
		var out []string
		for line := range strings.SplitSeq(r.state(), "\n") {
			if !strings.HasPrefix(line, "port br0 c ") { // it was closed and opened again
				line, _, _ = strings.Cut(line, " packets ") // what was removed for a while counts anew
				out = append(out, line)
			}
		}
		return strings.Join(out, "\n")
	}
	before := texts()
	r.refuse["d"] = errors.New("refused")
	if _, err := r.Apply(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("error %v", err)
	}
	clear(r.refuse)
	if after := texts(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	r.send("a", frame(9, 2, 64))
	r.want(map[string]int{"b": 1})
	r.apply(fresh)
	r.send("a", frame(9, 2, 64))
	r.want(map[string]int{"d": 1})
	r.wantTables("1:0 4:1 5:0 | 1:1 3:1")
}
