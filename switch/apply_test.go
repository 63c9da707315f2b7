package vswitch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const baseConfig = `
pmd: {cpus: 1-2, idle: sleep}
bridges:
- name: br0
  ports:
  - {name: vm1, driver: memory, path: /tmp/vm1.sock, queues: 2}
  - {name: vm2, driver: memory}
  - {name: wire, driver: memory, number: 9}
  flows:
  - priority=10,in_port=vm1,actions=vm2
  - priority=10,in_port=vm2,actions=vm1
  - priority=1,actions=NORMAL
- name: br1
  ports:
  - {name: vm3, driver: memory}
`

// state is everything that an operator can see of a switch, without counters and times.
func (r *rig) state() string {
	r.t.Helper()
	var b strings.Builder
	ports, err := r.Ports("")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range ports {
		fmt.Fprintf(&b, "port %s %s %d %s mtu %d state %s device %p\n", p.Bridge, p.Name, p.Number, p.Origin, p.MTU, p.State,
			r.devices[p.Name])
	}
	flows, err := r.FlowDump("", "")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range flows {
		fmt.Fprintf(&b, "flow %s %s %s packets %d\n", f.Bridge, f.Text, f.Origin, f.Packets)
	}
	for _, list := range []func(string) ([]TableEntry, error){r.Groups, r.Meters} {
		entries, err := list("")
		if err != nil {
			r.t.Fatal(err)
		}
		for _, e := range entries {
			fmt.Fprintf(&b, "%s %s packets %d\n", e.Bridge, e.Text, e.Packets)
		}
	}
	for _, br := range r.Bridges() {
		fmt.Fprintf(&b, "bridge %s %d %v\n", br.Name, br.FDB.Limit, br.FDB.Ageing)
	}
	for _, p := range r.PMDShow() {
		fmt.Fprintf(&b, "pmd %d", p.CPU)
		for _, q := range p.Queues {
			fmt.Fprintf(&b, " %s/%d", q.Port, q.Queue)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestReloadSaysAndDoesWhatChanged(t *testing.T) {
	r := newRig(t)
	var out strings.Builder
	step := func(what, text string) {
		t.Helper()
		cfg, err := r.parse(text)
		if err != nil {
			t.Fatal(err)
		}
		before := r.state()
		checked, err := r.Check(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if r.state() != before {
			t.Errorf("%s: Check changed something", what)
		}
		plan, err := r.Apply(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(plan.Lines, checked.Lines) || !plan.Applied || checked.Applied {
			t.Errorf("%s: Check and Apply disagree:\n%v\n%v", what, checked, plan)
		}
		fmt.Fprintf(&out, "# %s\n%s\n\n", what, strings.Join(plan.Lines, "\n"))
		if again, err := r.Check(cfg); err != nil || len(again.Lines) != 0 {
			t.Errorf("%s: applied, and still: %v, %v", what, again, err)
		}
	}
	edit := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(baseConfig) }
	step("first", baseConfig)
	step("nothing", baseConfig)
	step("a rule goes, one comes, one changes", edit("  - priority=10,in_port=vm2,actions=vm1\n",
		"  - priority=11,in_port=vm2,actions=vm1\n", "actions=vm2", "actions=drop"))
	step("back", baseConfig)
	step("a port comes and one goes", edit("name: vm2, driver: memory",
		"name: vm2, driver: memory}\n  - {name: vm4, driver: memory",
		"  - {name: vm3, driver: memory}", "  - {name: vm5, driver: memory}"))
	step("back", baseConfig)
	step("a port changes", edit("name: vm2, driver: memory",
		"name: vm2, driver: memory, mtu: 1500, colour: red, rxq_cpus: [2]"))
	step("back", baseConfig)
	step("a number is fixed that another has", edit("number: 9", "number: 1"))
	step("back", baseConfig)
	step("a port is renamed", edit("name: vm1,", "name: vmA,", "in_port=vm1", "in_port=vmA", "actions=vm1", "actions=vmA"))
	step("back", baseConfig)
	step("a port moves to another bridge", edit("  - {name: vm3, driver: memory}",
		"  - {name: wire, driver: memory, number: 9}",
		"  - {name: wire, driver: memory, number: 9}\n", ""))
	step("back", baseConfig)
	step("bridges", edit("name: br1\n", "name: br2\n", "name: br0\n", "name: br0\n  mac_ageing: 60s\n  mac_limit: 100\n"))
	step("back", baseConfig)
	step("pmd", edit("cpus: 1-2, idle: sleep",
		"cpus: \"2,3\", idle: poll, max_sleep: 7us, cache_entries: 2000, exclusive: false"))
	step("no rules are left", edit("  - priority=10,in_port=vm1,actions=vm2\n", "",
		"  - priority=10,in_port=vm2,actions=vm1\n", "", "  - priority=1,actions=NORMAL\n", ""))
	step("a bridge that drops everything", edit("name: br1\n", "name: br2\n  flows: []\n"))
	step("everything goes", "pmd: {cpus: 1}\nbridges: []\n")
	golden(t, "plans.golden", out.String())
}

func TestReloadTouchesNothingElse(t *testing.T) {
	r := newRig(t)
	r.apply(baseConfig)
	dev1, dev2 := r.dev("vm1"), r.dev("vm2")
	r.send("vm1", frame(1, 2, 64), frame(1, 2, 64))
	r.want(map[string]int{"vm2": 2})
	r.send("wire", frame(1, 7, 64))
	r.want(map[string]int{"vm1": 1, "vm2": 1})
	r.apply(strings.NewReplacer("name: wire", "name: wire, mtu: 1000", "actions=vm1", "actions=wire",
		"number: 9", "number: 8", "mtu: 1000", "mtu: 1000, rxq_cpus: [1]").Replace(baseConfig))
	if r.dev("vm1") != dev1 || r.dev("vm2") != dev2 || dev1.closed || dev2.closed {
		t.Error("ports that did not change were opened again")
	}
	if fdb, err := r.FDBShow("br0"); err != nil || len(fdb) != 0 {
		t.Errorf("a port that was opened anew kept its addresses: %+v, %v", fdb, err)
	}
	flows, err := r.FlowDump("br0", "in_port=vm1")
	if err != nil || len(flows) != 1 || flows[0].Packets != 2 || flows[0].Bytes != 128 {
		t.Errorf("a rule that stays lost its counters: %+v, %v", flows, err)
	}
	p, err := r.Port("vm1")
	if err != nil || p.Rx.Packets != 2 {
		t.Errorf("a port that stays lost its counters: %+v, %v", p, err)
	}
	r.send("vm1", frame(1, 2, 64))
	r.want(map[string]int{"vm2": 1})
	r.send("vm2", frame(1, 2, 64))
	r.want(map[string]int{"wire": 1})
}

// TestFailedReloadChangesNothing makes each thing fail that can fail.
func TestFailedReloadChangesNothing(t *testing.T) {
	r := newRig(t)
	r.apply(baseConfig)
	r.send("vm1", frame(1, 2, 64))
	r.want(map[string]int{"vm2": 1})
	if _, err := r.AddPort(context.Background(), "br1", PortConfig{Name: "extra", Driver: "memory"}); err != nil {
		t.Fatal(err)
	}
	if err := r.FlowAdd("br0", []string{"priority=77,arp,actions=flood"}); err != nil {
		t.Fatal(err)
	}
	many := strings.NewReplacer("name: wire", "name: other", "name: vm3", "name: vm30", "actions=vm1", "actions=drop",
		"idle: sleep", "idle: poll", "name: br1", "name: br7\n  mac_limit: 3").Replace(baseConfig)
	overlap := strings.Replace(many, "  - priority=1,actions=NORMAL\n",
		"  - priority=1,ip,actions=NORMAL\n  - check_overlap,priority=1,in_port=vm1,actions=NORMAL\n", 1)
	cases := []struct{ what, text, refuse, want string }{
		{"a new port does not open", many, "vm30", "open port vm30 (memory): refused"},
		{"the last of several ports does not open", many, "other", "open port other (memory): refused"},
		{"rules overlap", overlap, "", "check_overlap"},
	}
	for _, c := range cases {
		cfg, err := r.parse(c.text)
		if err != nil {
			t.Fatal(err)
		}
		before, opened := r.state(), r.devices
		if c.refuse != "" {
			r.refuse[c.refuse] = errors.New("refused")
		}
		_, err = r.Apply(context.Background(), cfg)
		clear(r.refuse)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %s", c.what, err, c.want)
		}
		if after := r.state(); after != before {
			t.Errorf("%s: before\n%s\nafter\n%s", c.what, before, after)
		}
		for name, d := range opened {
			if _, err := r.Port(name); err != nil && !d.closed {
				t.Errorf("%s: device %s was left open", c.what, name)
			}
		}
	}
	r.send("vm1", frame(1, 2, 64))
	r.want(map[string]int{"vm2": 1})
}

func TestFailedSwapReopensTheOldPort(t *testing.T) {
	r := newRig(t)
	r.apply(baseConfig)
	r.send("wire", frame(1, 7, 64))
	r.want(map[string]int{"vm1": 1, "vm2": 1})
	cfg, err := r.parse(strings.Replace(baseConfig, "{name: vm1, driver: memory, path: /tmp/vm1.sock, queues: 2}",
		"{name: vm1, driver: memory, path: /tmp/vm1.sock, queues: 2, mtu: 99}", 1))
	if err != nil {
		t.Fatal(err)
	}
	old := r.dev("vm1")
	drivers := r.drivers["memory"]
	open := drivers.Open
	r.Switch.drivers["memory"] = Driver{Open: func(pc PortConfig, h Host) (Device, error) {
		if pc.MTU == 99 {
			if !old.closed {
				t.Error("the new port is opened while the old holds its socket")
			}
			return nil, errors.New("refused")
		}
		return open(pc, h)
	}}
	if _, err := r.Apply(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Fatalf("error %v", err)
	}
	r.Switch.drivers["memory"] = drivers
	if r.dev("vm1") == old || r.dev("vm1").closed {
		t.Error("the old port was not opened again")
	}
	r.send("vm1", frame(1, 2, 64))
	r.want(map[string]int{"vm2": 1})
	// And with the driver at peace, the change goes through.
	if _, err := r.Apply(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	if p, err := r.Port("vm1"); err != nil || p.MTU != 99 || p.Number != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	r.send("vm1", frame(1, 2, 64))
	r.want(map[string]int{"vm2": 1})
}

func TestPortThatCannotBeReopenedSaysSo(t *testing.T) {
	r := newRig(t)
	r.apply(baseConfig)
	cfg, err := r.parse(strings.Replace(baseConfig, "queues: 2", "queues: 3", 1))
	if err != nil {
		t.Fatal(err)
	}
	r.refuse["vm1"] = errors.New("the disk is gone")
	if _, err := r.Apply(context.Background(), cfg); err == nil {
		t.Fatal("no error")
	}
	p, err := r.Port("vm1")
	if err != nil || p.State != "broken" || !strings.Contains(p.Error, "the disk is gone") || p.Link {
		t.Errorf("%+v, %v", p, err)
	}
	r.send("vm2", frame(1, 2, 64))
	if p, _ = r.Port("vm1"); p.Tx.Drops["port_down"] != 1 {
		t.Errorf("drops toward a broken port: %+v", p.Tx)
	}
	clear(r.refuse)
	if err := r.DelPort("vm1"); err != nil {
		t.Fatal(err)
	}
	r.apply(baseConfig)
	r.send("vm2", frame(1, 2, 64))
	r.want(map[string]int{"vm1": 1})
}

func TestReloadKeepsWhatWasAddedAtRunTime(t *testing.T) {
	r := newRig(t)
	r.apply(baseConfig)
	if err := r.FlowAdd("br0", []string{
		"priority=50,in_port=wire,actions=wire", // new
		"priority=10,in_port=vm1,actions=drop",  // in the place of a configured one
	}); err != nil {
		t.Fatal(err)
	}
	if n, err := r.FlowDel("br0", "in_port=vm2,priority=10", true); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	origins := func() map[string]string {
		flows, err := r.FlowDump("br0", "")
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]string{}
		for _, f := range flows {
			m[f.Text.String()] = f.Origin
		}
		return m
	}
	before := origins()
	if len(before) != 3 {
		t.Errorf("rules: %v", before)
	}
	// The file says what its rules are: the replaced one and the deleted one come back.
	plan := r.apply(baseConfig)
	if len(plan.Lines) != 2 {
		t.Errorf("plan %q", plan.Lines)
	}
	after := origins()
	runtime, config := 0, 0
	for text, origin := range after {
		switch origin {
		case OriginRuntime:
			runtime++
			if !strings.Contains(text, "priority=50") {
				t.Errorf("%s counts as added at run time", text)
			}
		case OriginConfig:
			config++
		}
	}
	if runtime != 1 || config != 3 {
		t.Errorf("rules: %v", after)
	}
	// A rule that leaves the file goes, but not the one that someone put in its place.
	if err := r.FlowAdd("br0", []string{"priority=10,in_port=vm1,actions=drop"}); err != nil {
		t.Fatal(err)
	}
	r.apply(strings.NewReplacer("  - priority=10,in_port=vm1,actions=vm2\n", "",
		"  - priority=10,in_port=vm2,actions=vm1\n", "").Replace(baseConfig))
	if left := origins(); len(left) != 3 {
		t.Errorf("rules: %v", left)
	}
}

func TestReloadTakesOverAPort(t *testing.T) {
	r := newRig(t)
	r.apply(baseConfig)
	if _, err := r.AddPort(context.Background(), "br0", PortConfig{Name: "extra", Driver: "memory"}); err != nil {
		t.Fatal(err)
	}
	r.apply(baseConfig)
	if p, err := r.Port("extra"); err != nil || p.Origin != OriginRuntime || p.Number != 3 {
		t.Errorf("%+v, %v", p, err)
	}
	dev := r.dev("extra")
	r.apply(strings.Replace(baseConfig, "{name: vm2, driver: memory}",
		"{name: vm2, driver: memory}\n  - {name: extra, driver: memory}", 1))
	if p, err := r.Port("extra"); err != nil || p.Origin != OriginConfig || r.dev("extra") != dev {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestDeviceIsClosedAfterItsLastTransmit holds a PMD thread inside a port's transmit queue while the port is deleted.
func TestDeviceIsClosedAfterItsLastTransmit(t *testing.T) {
	r := newRig(t)
	r.apply(threePorts("in_port=a,actions=b"))
	d := r.dev("b")
	gate := closeGate(t, d)
	d.setActive([]bool{false}, nil) // the thread has no receive queue of b to lose
	r.reconcile()
	if !r.dev("a").Inject(0, frame(9, 1, 64)) {
		t.Fatal("full")
	}
	for deadline := time.Now().Add(10 * time.Second); !gate.entered.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the frame did not reach the gate in 10 s")
		}
	}
	done := make(chan error)
	go func() { done <- r.DelPort("b") }()
	time.Sleep(50 * time.Millisecond)
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		t.Error("closed while a PMD thread transmits")
	}
	gate.open.Store(true)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !d.closed || d.Tx(0).Counters().Packets != 1 {
		t.Errorf("closed %v, %d transmitted", d.closed, d.Tx(0).Counters().Packets)
	}
}

func TestQueuesFollowTheDevice(t *testing.T) {
	r := newRig(t)
	r.apply(strings.Replace(baseConfig, "queues: 2", "queues: 4, rxq_cpus: [2, 1]", 1))
	d := r.dev("vm1")
	polled := func() string {
		var out []string
		for _, p := range r.PMDShow() {
			for _, q := range p.Queues {
				if q.Port == "vm1" {
					out = append(out, fmt.Sprintf("%d@%d", q.Queue, p.CPU))
				}
			}
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	if got := polled(); !strings.HasPrefix(got, "0@2 1@1 2@") {
		t.Errorf("polled: %s", got)
	}
	d.setActive([]bool{true, false, false, false}, []bool{true, false, false, false})
	r.eventually(func() bool { return polled() == "0@2" })
	if !d.Inject(0, frame(1, 2, 64)) {
		t.Fatal("full")
	}
	r.send("vm1")
	if n := len(r.got("vm2")); n != 1 {
		t.Errorf("%d frames", n)
	}
	d.setActive(nil, nil)
	r.eventually(func() bool { return strings.Count(polled(), "@") == 4 })
	if err := r.PMDMove("vm1", 3, 1); err != nil {
		t.Error(err)
	}
	if err := r.PMDMove("vm1", 3, 2); err != nil || !strings.HasSuffix(polled(), "3@2") {
		t.Errorf("%v: %s", err, polled())
	}
}

func TestMovesThatCannotBeMade(t *testing.T) {
	r := newRig(t)
	r.apply(strings.Replace(baseConfig, "queues: 2", "queues: 4, rxq_cpus: [2, 1]", 1))
	var conflict *ConflictError
	err := r.PMDMove("vm1", 3, 9)
	if !errors.As(err, &conflict) || !strings.Contains(err.Error(), "CPU 9 has no PMD thread") {
		t.Errorf("moved to a CPU without PMD thread: %v", err)
	}
	if err := r.PMDMove("vm1", 0, 1); !errors.As(err, &conflict) || !strings.Contains(err.Error(), "pins it to CPU 2") {
		t.Errorf("moved a queue that is pinned: %v", err)
	}
	r.dev("vm1").setActive([]bool{true, true, false, true}, nil)
	for name, want := range map[string]string{
		"nothing/0": "no port nothing; \"weft port list\" shows those that exist",
		"vm1/4":     "no receive queue vm1/4; the port has 4, counted from 0",
		"vm1/-1":    "no receive queue vm1/-1; the port has 4, counted from 0",
		"vm1/2":     "no receive queue vm1/2; the port's other end does not use it now",
	} {
		port, number, _ := strings.Cut(name, "/")
		queue, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		var missing *NotFoundError
		if err := r.PMDMove(port, queue, 1); !errors.As(err, &missing) || err.Error() != want {
			t.Errorf("%s: error %v, want %s", name, err, want)
		}
	}
}

// eventually waits for something that the switch's own goroutine does.
func (r *rig) eventually(ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatal("it did not happen")
		}
	}
}

func TestClosedSwitchRefuses(t *testing.T) {
	r := newRig(t)
	r.apply(baseConfig)
	cfg, err := r.parse(baseConfig)
	if err != nil {
		t.Fatal(err)
	}
	dev := r.dev("vm1")
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !dev.closed {
		t.Error("a device is open")
	}
	if _, err := r.Apply(context.Background(), cfg); !errors.Is(err, ErrClosed) {
		t.Errorf("Apply: %v", err)
	}
	if _, err := r.AddPort(context.Background(), "", PortConfig{Name: "x", Driver: "memory"}); !errors.Is(err, ErrClosed) {
		t.Errorf("AddPort: %v", err)
	}
	dev.host.Changed() // a late call does no harm
	dev.host.Synchronize()
	if st := r.Stats(); len(st.Ports) != 0 || len(st.PMD) != 0 {
		t.Errorf("%+v", st)
	}
}

func TestStatsAreJSON(t *testing.T) {
	r := newRig(t)
	r.apply(baseConfig)
	r.send("vm1", frame(1, 2, 64))
	data, err := json.Marshal(r.Stats())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"name":"vm1"`, `"link":true`, `"numa_node":-1`, `"rx":{"packets":1,"bytes":64,"batches":1,"dropped":0}`,
		`"busy_cycles":`, `"hits":`, `"cpu":1`, `"faults":0`,
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %s in %s", want, data)
		}
	}
}

func TestPMDThreadsChange(t *testing.T) {
	r := newRig(t)
	r.apply(baseConfig)
	for _, cpus := range []string{"3", "3-5", "\"1,4\"", "1-2"} {
		r.apply(strings.Replace(baseConfig, "cpus: 1-2", "cpus: "+cpus, 1))
		r.send("vm1", frame(1, 2, 64))
		r.want(map[string]int{"vm2": 1})
	}
	flows, err := r.FlowDump("br0", "in_port=vm1")
	if err != nil || flows[0].Packets != 4 {
		t.Errorf("%+v, %v", flows, err)
	}
	br := r.Bridges()[0]
	if br.Packets != 4 || br.Cache.Hits+br.Cache.Misses != 4 {
		t.Errorf("what threads that are gone had counted: %+v", br)
	}
	if len(r.workers) != 2 || len(r.retired) != 0 {
		t.Errorf("%d workers, %d retired", len(r.workers), len(r.retired))
	}
}
