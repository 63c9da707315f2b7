package vswitch

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"weft/pmd"
)

// testOptions are two drivers on a machine with CPUs 0-15.
func testOptions(t *testing.T) ParseOptions {
	return ParseOptions{
		File: "weft.yaml", Topology: twoNodes(t),
		Drivers: map[string]Driver{
			"vhost-user": {
				Options:  []string{"queues", "mtu", "path", "mode", "owner", "group", "permissions", "reconnect"},
				Required: []string{"path"}, MaxQueues: 16,
			},
			"tap": {Options: []string{"device", "queues", "mtu"}, MaxQueues: 4},
			"picky": {Options: []string{"colour"}, Check: func(pc PortConfig) error {
				if pc.Extra["colour"] == "beige" {
					return &OptionError{"colour", "beige is not a colour", "choose red"}
				}
				return nil
			}},
		},
	}
}

// wholeConfig has every field; %[1]s is a directory.
const wholeConfig = `
log: {level: debug, format: json}
control: {socket: %[1]s/weft.sock, group: "0", permissions: 0660}
metrics: {address: "127.0.0.1:9471"}
pmd: {cpus: "2-3,5", idle: sleep, max_sleep: 50us, cache_entries: 1000, exclusive: false}
bridges:
- name: br0
  mac_ageing: 60s
  mac_limit: 100
  ports:
  - {name: vm1, driver: vhost-user, path: %[1]s/vm1.sock, mode: client, queues: 2, mtu: 9000, rxq_cpus: [2, -1]}
  - name: vm2
    driver: vhost-user
    number: 7
    path: %[1]s/vm2.sock
    owner: root
    group: root
    permissions: "0600"
    reconnect: {min: 10ms, max: 2s}
  - {name: wire.0, driver: tap, device: tap0}
  - {name: p, driver: picky, colour: red}
  flows:
  - priority=1,in_port=vm1,actions=output:vm2
  - |
    # in a block

    priority=2,in_port=vm2 actions=vm1
  flows_file: more.flows
- name: br1
`

func TestWholeConfigurationIsRead(t *testing.T) {
	dir := t.TempDir()
	more := []byte("# a comment\n\n  priority=7,actions=vm1\n")
	if err := os.WriteFile(filepath.Join(dir, "more.flows"), more, 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(wholeConfig, dir)
	opts := testOptions(t)
	opts.File = filepath.Join(dir, "weft.yaml")
	cfg, err := Parse([]byte(text), opts)
	if err != nil {
		t.Fatal(err)
	}
	want := PMDConfig{[]int{2, 3, 5}, pmd.IdleSleep, 50 * time.Microsecond, 1000, false}
	if !reflect.DeepEqual(cfg.PMD, want) {
		t.Errorf("pmd: %+v, want %+v", cfg.PMD, want)
	}
	if want := (ControlConfig{dir + "/weft.sock", "0", 0o660}); cfg.Control != want {
		t.Errorf("control: %+v, want %+v", cfg.Control, want)
	}
	if cfg.Log != (LogConfig{"debug", "json"}) || cfg.Metrics.Address != "127.0.0.1:9471" {
		t.Errorf("log %+v, metrics %+v", cfg.Log, cfg.Metrics)
	}
	br := cfg.Bridges[0]
	if br.Name != "br0" || br.MACAgeing != time.Minute || br.MACLimit != 100 || len(br.Ports) != 4 {
		t.Errorf("bridge: %+v", br)
	}
	for i := range br.Ports {
		br.Ports[i].pos = position{}
	}
	ports := []PortConfig{
		{
			Name: "vm1", Driver: "vhost-user", Path: dir + "/vm1.sock", Mode: ModeClient, Queues: 2, MTU: 9000,
			RxqCPUs: []int{2, -1},
		},
		{
			Name: "vm2", Driver: "vhost-user", Number: 7, Path: dir + "/vm2.sock", Owner: "root", Group: "root",
			Permissions: 0o600, ReconnectMin: 10 * time.Millisecond, ReconnectMax: 2 * time.Second,
		},
		{Name: "wire.0", Driver: "tap", Device: "tap0"},
		{Name: "p", Driver: "picky", Extra: map[string]string{"colour": "red"}},
	}
	if !reflect.DeepEqual(br.Ports, ports) {
		t.Errorf("ports:\n%+v\nwant\n%+v", br.Ports, ports)
	}
	flows := []FlowConfig{
		{"priority=1,in_port=vm1,actions=output:vm2", opts.File, 23, 5},
		{"priority=2,in_port=vm2 actions=vm1", opts.File, 27, 5},
		{"priority=7,actions=vm1", filepath.Join(dir, "more.flows"), 3, 3},
	}
	if !reflect.DeepEqual(br.Flows, flows) {
		t.Errorf("flows:\n%+v\nwant\n%+v", br.Flows, flows)
	}
	if b := cfg.Bridges[1]; b.MACAgeing != DefaultMACAgeing || b.MACLimit != DefaultMACLimit {
		t.Errorf("defaults: %+v", b)
	}
}

// mistakeHead is a configuration that lacks nothing.
const mistakeHead = "bridges:\n- name: br0\n  ports:\n  - {name: vm1, driver: tap}\n"

// onePort begins a configuration with a port.
const onePort = "bridges:\n- name: b\n  ports:\n  - "

// mistakes are configurations with one mistake each.
var mistakes = []struct{ what, text string }{
	{"no YAML", "bridges:\n  - name: br0\n ports: x\n"},
	{"tab", "log:\n\tlevel: info\n"},
	{"two documents", "log: {level: info}\n---\nlog: {level: info}\n"},
	{"root is a list", "- a\n"},
	{"unknown section", "brigdes: []\n"},
	{"unknown section, nothing near", "ovsdb: {}\n"},
	{"unknown field of log", "log: {levle: info}\n"},
	{"unknown field of a bridge", mistakeHead + "  mac_aging: 3s\n"},
	{"unknown field of a port", "bridges:\n- name: br0\n  ports:\n  - name: vm1\n    driver: tap\n    devcie: tap0\n"},
	{"option of another driver", "bridges:\n- name: br0\n  ports:\n  - name: vm1\n    driver: tap\n    path: /tmp/x\n"},
	{"unknown field below reconnect", onePort + "{name: v, driver: vhost-user, path: /tmp/x, reconnect: {mni: 1s}}\n"},
	{"unknown driver", "bridges:\n- name: br0\n  ports:\n  - {name: vm1, driver: tpa}\n"},
	{"no driver", "bridges:\n- name: br0\n  ports:\n  - {name: vm1}\n"},
	{"no port name", "bridges:\n- name: br0\n  ports:\n  - {driver: tap}\n"},
	{"no bridge name", "bridges:\n- mac_limit: 3\n"},
	{"no path", "bridges:\n- name: br0\n  ports:\n  - {name: vm1, driver: vhost-user}\n"},
	{"field twice", "log: {level: info, level: debug}\n"},
	{"bridge twice", "bridges:\n- name: br0\n- name: br0\n"},
	{"port twice", mistakeHead + "- name: br1\n  ports:\n  - {name: vm1, driver: tap}\n"},
	{"number twice", onePort + "{name: x, driver: tap, number: 4}\n  - {name: y, driver: tap, number: 4}\n"},
	{"socket twice", onePort + "{name: x, driver: vhost-user, path: /tmp/s}\n" +
		"  - {name: y, driver: vhost-user, path: /tmp/s}\n"},
	{"interface twice", onePort + "{name: x, driver: tap, device: t0}\n  - {name: y, driver: tap, device: t0}\n"},
	{"number too high", onePort + "{name: x, driver: tap, number: 65280}\n"},
	{"number is a word", onePort + "{name: x, driver: tap, number: one}\n"},
	{"name is a number", onePort + "{name: 12, driver: tap}\n"},
	{"name is reserved", onePort + "{name: LOCAL, driver: tap}\n"},
	{"name has a comma", onePort + "{name: \"a,b\", driver: tap}\n"},
	{"CPU that does not exist", "pmd: {cpus: \"2,99\"}\n"},
	{"CPU list", "pmd: {cpus: 5-2}\n"},
	{"CPU of a queue", onePort + "{name: x, driver: tap, rxq_cpus: [77]}\n"},
	{"CPU of a queue without PMD thread", "pmd: {cpus: 2}\n" + onePort + "{name: x, driver: tap, rxq_cpus: [3]}\n"},
	{"too many rxq_cpus", onePort + "{name: x, driver: tap, queues: 1, rxq_cpus: [3, 4]}\n"},
	{"idle mode", "pmd: {idle: slep}\n"},
	{"time without unit", "pmd: {max_sleep: 100}\n"},
	{"time out of bounds", "pmd: {max_sleep: 1s}\n"},
	{"ageing in milliseconds", "bridges:\n- {name: b, mac_ageing: 1500ms}\n"},
	{"MAC table too large", "bridges:\n- {name: b, mac_limit: 10000000}\n"},
	{"missing socket directory", onePort + "{name: x, driver: vhost-user, path: /nonexistent/dir/s.sock}\n"},
	{"relative socket", onePort + "{name: x, driver: vhost-user, path: s.sock}\n"},
	{"long socket", onePort + "{name: x, driver: vhost-user, path: /tmp/" + strings.Repeat("x", 110) + "}\n"},
	{"client owns its socket", onePort + "{name: x, driver: vhost-user, path: /tmp/s, mode: client, owner: root}\n"},
	{"unknown user", onePort + "{name: x, driver: vhost-user, path: /tmp/s, owner: nosuchuser}\n"},
	{"permissions", "control: {permissions: 0999}\n"},
	{"metrics address", "metrics: {address: localhost}\n"},
	{"the driver's own check", "bridges:\n- name: b\n  ports:\n  - name: x\n    driver: picky\n    colour: beige\n"},
	{"ports is no list", "bridges:\n- name: b\n  ports: {name: x}\n"},
	{"rule", mistakeHead + "  flows:\n  - priority=1,in_port=vm1,nw_dst=10.0.0.0/8,actions=vm1\n"},
	{"quoted rule", mistakeHead + "  flows:\n  - \"in_port=vm9,actions=drop\"\n"},
	{"rule in a block", mistakeHead + "  flows:\n  - |\n    # fine\n    actions=normal\n" +
		"    priority=1,bogus=3,actions=drop\n"},
	{"rule twice", mistakeHead + "  flows:\n  - in_port=vm1,actions=drop\n  - priority=32768,in_port=1,actions=normal\n"},
	{"group", mistakeHead + "  groups: ['group_id=1,type=all,bucket=output:vm7']\n"},
	{"group twice", mistakeHead + "  groups:\n  - group_id=1,type=all\n  - |\n    # again\n    group_id=1,type=select\n"},
	{"group that is not there", mistakeHead + "  groups:\n  - group_id=1,type=all,bucket=output:vm1,bucket=group:2\n"},
	{"watched group that is not there", mistakeHead + "  groups: ['group_id=1,type=ff,bucket=watch_group:2,output:vm1']\n"},
	{"groups in a loop", mistakeHead + "  groups:\n  - group_id=3,type=all\n  - group_id=1,type=all,bucket=group:2\n" +
		"  - group_id=2,type=all,bucket=group:1\n"},
	{"meter", mistakeHead + "  meters:\n  - meter=1 bands=type=drop rate=5\n"},
	{"meter twice", mistakeHead + "  meters:\n  - meter=1 kbps bands=type=drop rate=5\n" +
		"  - meter=1 pktps bands=type=drop rate=5\n"},
	{"rule of a group that is not there", mistakeHead + "  groups: ['group_id=2,type=all']\n  flows: ['actions=group:1']\n"},
	{"rule of a meter that is not there", mistakeHead + "  flows: ['actions=meter:1,output:vm1']\n"},
	{"set of a group that is not there", mistakeHead + "  flows: ['actions=write_actions(group:7)']\n"},
	{"groups is no list", mistakeHead + "  groups: group_id=1,type=all\n"},
	{"missing flows_file", mistakeHead + "  flows_file: /nonexistent/flows\n"},
	{"flows_file without end", mistakeHead + "  flows_file: /dev/zero\n"},
	{"empty", ""},
	{"only a comment", "# bridges: []\n\n"},
	{"only the beginning of a document", "---\n"},
	{"no bridges", "log: {level: info}\n"},
	{"bridges without value", "log: {level: info}\nbridges:\n"},
	{"UTF-16", "\xff\xfeb\x00r\x00"},
	{"UTF-16 without mark", "b\x00r\x00"},
	{"Latin-1", "log: {level: info}\n# caf\xe9\nbridges: []\n"},
	{"control character", "bridges: []\n# ä\x07\n"},
	{"mistake in the first line", "bridges: [\n"},
	{"unknown anchor", "log: {level: info} # *b1\nbridges: [*b]\n"},
	{"too deep", "log:\n  level: " + strings.Repeat("[", 20000) + "\n"},
	{"long value", "log: {level: " + strings.Repeat("x", 2000) + "}\n"},
	{"long value that is nearly all quotes", "log: {level: '" + strings.Repeat("\"", 2000) + "'}\n"},
	{"long key", "bridges: []\n" + strings.Repeat("k", 500) + ": 1\n"},
	{"long CPU list", "pmd: {cpus: \"" + strings.Repeat("1,", 500) + "x\"}\n"},
	{"long word in a rule", mistakeHead + "  flows:\n  - actions=" + strings.Repeat("x", 500) + "\n"},
	{"socket twice, spelt differently", onePort + "{name: x, driver: vhost-user, path: /tmp/s}\n" +
		"  - {name: y, driver: vhost-user, path: /tmp/./s}\n"},
	{"control socket is a port's", "control: {socket: /tmp//s}\n" + onePort +
		"{name: x, driver: vhost-user, path: /tmp/s}\n"},
	{"long control socket", "control: {socket: /tmp/" + strings.Repeat("x", 99) + "}\n"},
}

// TestMistakesAreNamed has one mistake in each case; the golden file shows what the operator reads.
func TestMistakesAreNamed(t *testing.T) {
	var out strings.Builder
	opts := testOptions(t)
	for _, c := range mistakes {
		_, err := Parse([]byte(c.text), opts)
		if err == nil {
			t.Errorf("%s: no error", c.what)
			continue
		}
		errs, ok := err.(ConfigErrors)
		if !ok || len(errs) != 1 {
			t.Errorf("%s: one mistake, %d errors: %v", c.what, len(errs), err)
		}
		fmt.Fprintf(&out, "# %s\n%v\n\n", c.what, err)
	}
	golden(t, "config-errors.golden", out.String())
}

func TestAllMistakesAreReportedInOrder(t *testing.T) {
	_, err := Parse([]byte("pmd: {idle: x}\nlog: {level: y}\nbridges:\n- {name: b, nmae: c}\n"), testOptions(t))
	want := []int{1, 2, 4}
	var lines []int
	for _, e := range err.(ConfigErrors) {
		lines = append(lines, e.Line)
	}
	if !reflect.DeepEqual(lines, want) {
		t.Errorf("lines %v, want %v", lines, want)
	}
}

func TestSettingsAreOverridden(t *testing.T) {
	opts := testOptions(t)
	cfg := Default()
	for _, s := range [][2]string{
		{"log.level", "debug"},
		{"log.format", "json"},
		{"control.socket", "/tmp/c.sock"},
		{"control.group", "0"},
		{"control.permissions", "0660"},
		{"metrics.address", "[::1]:1"},
		{"pmd.cpus", "4-5"},
		{"pmd.idle", "sleep"},
		{"pmd.max_sleep", "7us"},
		{"pmd.cache_entries", "5"},
		{"pmd.exclusive", "false"},
	} {
		if err := cfg.Override(s[0], s[1], "--flag", opts); err != nil {
			t.Errorf("%v: %v", s, err)
		}
	}
	want := &Config{
		Log: LogConfig{"debug", "json"}, Control: ControlConfig{"/tmp/c.sock", "0", 0o660}, Metrics: MetricsConfig{"[::1]:1"},
		PMD: PMDConfig{[]int{4, 5}, pmd.IdleSleep, 7 * time.Microsecond, 5, false},
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("%+v\nwant %+v", cfg, want)
	}
	for _, name := range DaemonSettings() {
		if err := Default().Override(name, "???", "WEFT_X", opts); err == nil {
			t.Errorf("%s takes nonsense", name)
		} else if !strings.HasPrefix(err.Error(), "WEFT_X: ") {
			t.Errorf("%s: %q does not name its source", name, err)
		}
	}
	if err := Default().Override("pmd.nothing", "1", "--x", opts); err == nil {
		t.Error("an unknown setting is taken")
	}
	cfg = Default()
	cfg.Bridges = []Bridge{{Ports: []PortConfig{{Name: "vm1", Path: "/tmp/s"}}}}
	err := cfg.Override("control.socket", "/tmp/../tmp/s", "--socket", opts)
	if want := `--socket: the socket "/tmp/s" is used by port vm1; choose another`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestDefaultRuleNeedsBothKeysAbsent makes sure that a list of rules that came out empty does not let everything pass.
func TestDefaultRuleNeedsBothKeysAbsent(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.flows")
	if err := os.WriteFile(empty, []byte("\ufeff# nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"":                                 true,
		"  flows: []\n":                    false,
		"  flows:\n":                       false,
		"  flows: ~\n":                     false,
		"  flows:\n  - |\n    # nothing\n": false,
		"  flows_file:\n":                  false,
		"  flows_file: " + empty + "\n":    false,
		"  flows: [actions=drop]\n":        false,
	} {
		cfg, err := Parse([]byte(mistakeHead+text), testOptions(t))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if got := cfg.Bridges[0].DefaultRule; got != want {
			t.Errorf("%q: default rule %v, want %v", text, got, want)
		}
	}
}

func TestFilesAreReadBounded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "weft.yaml")
	write := func(path, text string, length int64) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, length); err != nil {
			t.Fatal(err)
		}
	}
	opts := testOptions(t)
	opts.File = ""
	write(path, "bridges: []\n", maxFile+1)
	for _, path := range []string{path, "/dev/zero"} {
		want := path + " is longer than 64 MiB, which is more than is read"
		if _, err := Load(path, opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	text := mistakeHead + "  flows_file: long.flows\n"
	write(path, text, int64(len(text)))
	write(filepath.Join(dir, "long.flows"), "", maxFile+1)
	want := "weft.yaml:5:15: flows_file: " + dir + "/long.flows is longer than 64 MiB"
	if _, err := Load(path, opts); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
	// Rules that are not text are reported at their own file.
	write(filepath.Join(dir, "long.flows"), "actions=drop\n\xff\n", 15)
	want = dir + "/long.flows:2:1: the byte 0xff here is not UTF-8"
	if _, err := Load(path, opts); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestPortIsReadFromJSON(t *testing.T) {
	pc, err := ParsePort([]byte(`{"name":"vm9","driver":"tap","device":"t9","queues":2}`), testOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := (PortConfig{Name: "vm9", Driver: "tap", Device: "t9", Queues: 2}); !reflect.DeepEqual(pc, want) {
		t.Errorf("%+v, want %+v", pc, want)
	}
	for text, want := range map[string]string{
		`{"name":"vm9","driver":"tap","devise":"x"}`: `unknown field "devise" in a port with driver "tap"; ` +
			`did you mean "device"?`,
		``:   "the port is empty; give at least name and driver",
		`[]`: `a port must be a mapping, not a list; write it as "name: value" lines`,
	} {
		opts := testOptions(t)
		opts.File = ""
		if _, err := ParsePort([]byte(text), opts); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("pmd: {cpus: 2}\n" + onePort + "&x {name: x, driver: tap}\n  - *x\n  flows:\n  - |\n    a\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("bridges: [{name: b, flows: ['actions=drop'], mac_ageing: 1s}]"))
	opts := ParseOptions{Drivers: map[string]Driver{"tap": {Options: []string{"device"}}}}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse(data, opts)
		if (cfg == nil) == (err == nil) {
			t.Fatalf("config %v, error %v", cfg, err)
		}
	})
}
