package flowdiff

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestCasesAreReadAsTheyAreWritten(t *testing.T) {
	c := &Case{
		Comment: []string{"two lines", "about it"}, Ports: []string{"2 vlan_mode=access tag=5"},
		Groups: []string{"group_id=1,type=all,bucket=output:1"}, Meters: []string{"meter=1,kbps,bands=type=drop,rate=1"},
		Rules: []string{"table=0,ip,actions=group:1", "actions=2"},
		Steps: []Step{{Port: 4, Frame: []byte{1, 2, 0xff}}, {Change: "delete ip"}, {Port: 1, Frame: []byte{}}},
	}
	d, err := ParseCase(c.String())
	if err != nil || d.String() != c.String() || len(d.Steps) != 3 {
		t.Errorf("error %v, read\n%s\nwant\n%s", err, d, c)
	}
	for _, bad := range []string{"packet 0 00", "packet 5 00", "packet x 00", "packet 1 0", "packet 1 xx", "rules actions=1"} {
		if _, err := ParseCase("\n" + bad + "\n"); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: error %v, want one with the line", bad, err)
		}
	}
}

func TestRulesAreTakenApartAtCommasOutsideParentheses(t *testing.T) {
	for rule, want := range map[string][]string{
		"ip,actions=resubmit(,1),clone(push_vlan:1,2),3": {"ip", "actions=resubmit(,1)", "clone(push_vlan:1,2)", "3"},
		"actions=drop": {"actions=drop"},
		"":             {""},
	} {
		if got := splitTop(rule); !slices.Equal(got, want) || joinTerms(got) != rule {
			t.Errorf("%q: %q, want %q", rule, got, want)
		}
	}
}

func TestCapturesAreReadRecordByRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.pcap")
	w, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	write := func(b []byte) {
		t.Helper()
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	record := func(n int) []byte {
		h := make([]byte, pcapRecordHeader)
		binary.NativeEndian.PutUint32(h[8:], uint32(n))
		return append(h, bytes.Repeat([]byte{byte(n)}, n)...)
	}
	write(make([]byte, pcapHeader))
	c, err := openCapture(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.close() }()
	for round, sizes := range [][]int{{}, {60, 0, 1500}, {14}, slices.Repeat([]int{9000}, captureLimit/9000+1), {70}} {
		for _, n := range sizes {
			write(record(n))
		}
		frames, err := c.read()
		if err != nil || len(frames) != len(sizes) {
			t.Fatalf("round %d: %d frames, error %v, want %d", round, len(frames), err, len(sizes))
		}
		for i, n := range sizes {
			if !bytes.Equal(frames[i], bytes.Repeat([]byte{byte(n)}, n)) {
				t.Fatalf("round %d: frame %d came out wrong", round, i)
			}
		}
	}
	if s, err := os.Stat(path); err != nil || s.Size() > captureLimit {
		t.Errorf("the capture was not emptied: %v, error %v", s.Size(), err)
	}
	write(record(60)[:30])
	if _, err := c.read(); err == nil {
		t.Error("a record cut short was read")
	}
}

// TestPacketsFulfilTheirConditions draws packets from rules, and asks Weft whether the rules match them.
func TestPacketsFulfilTheirConditions(t *testing.T) {
	w, err := newWeft(t.Context(), 0, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.close() }()
	g := newGenerator()
	g.r = rand.New(rand.NewPCG(1, 2))
	state := regexp.MustCompile(`reg|metadata|tun|mark`)
	drawn, hit := 0, 0
	for drawn < 300 {
		text, _, sets := g.conditions()
		if state.MatchString(text) {
			continue // no packet arrives with it
		}
		rule := strings.TrimPrefix(text+",actions=in_port", ",")
		if w.load(t.Context(), &Case{Rules: []string{rule}}) != nil {
			continue // a row that Weft does not know
		}
		s := newSpec(g.r)
		for _, set := range sets {
			set(s)
		}
		f, err := s.bytes(g.r)
		if err != nil {
			t.Fatal(err)
		}
		out, err := w.packet(int(s.inPort), f)
		if err != nil {
			t.Fatal(err)
		}
		drawn++
		if !out.equal(new(Output)) {
			hit++
		}
	}
	// Not all can: some conditions exclude each other, and some values lie outside of what a packet can be given.
	if hit*10 < drawn*7 {
		t.Errorf("%d of %d packets fulfil the conditions they were drawn for, want most", hit, drawn)
	}
	t.Logf("%d of %d packets fulfil the conditions they were drawn for", hit, drawn)
}

// faulty is a side that loses the last byte of what it sends to a port, and counts wrongly.
type faulty struct {
	*weft
	port  int
	count bool
}

func (f *faulty) packet(port int, frame []byte) (*Output, error) {
	out, err := f.weft.packet(port, frame)
	if err == nil && f.port > 0 {
		for i, x := range out[f.port-1] {
			out[f.port-1][i] = x[:len(x)-1]
		}
	}
	return out, err
}

func (f *faulty) counts(ctx context.Context) (map[slot]tally, error) {
	m, err := f.weft.counts(ctx)
	for s, n := range m {
		if f.count && n.packets > 0 {
			m[s] = tally{n.packets + 1, n.bytes}
		}
	}
	return m, err
}

// TestDifferencesAreFoundAndShrunk makes one side wrong on purpose.
func TestDifferencesAreFoundAndShrunk(t *testing.T) {
	h := &Harness{gen: newGenerator(), known: make(map[string]int), again: make(map[string]int)}
	var err error
	if h.weft, err = newWeft(t.Context(), 0, quiet()); err != nil {
		t.Fatal(err)
	}
	if h.uncached, err = newWeft(t.Context(), -1, quiet()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	h.probe()
	for name, wrong := range map[string]*faulty{
		"frames": {h.weft, 3, false}, "counts": {h.weft, 0, true}, "nothing": {h.weft, 0, false},
	} {
		var found *Difference
		for seed := uint64(1); seed < 30 && found == nil; seed++ {
			c, err := h.gen.generate(seed, packetsPerCase)
			if err != nil {
				t.Fatal(err)
			}
			c.Rules = slices.DeleteFunc(c.Rules, func(r string) bool { return h.weft.accepts(r) != nil })
			if found, err = h.compare(t.Context(), h.uncached, wrong, c); err != nil {
				t.Fatal(err)
			}
		}
		if found == nil != (name == "nothing") {
			t.Errorf("%s: found %v", name, found)
		}
		if found == nil {
			continue
		}
		small, err := h.shrink(t.Context(), h.uncached, wrong, found)
		if err != nil || len(small.Case.Rules) > 4 || len(small.Case.Steps) != 1 || len(small.Case.Steps[0].Frame) > 120 ||
			(small.Counted != "") != (name == "counts") {
			t.Errorf("%s: error %v, shrunk to\n%v", name, err, small)
		}
	}
}

func TestKnownDifferencesAreNarrow(t *testing.T) {
	out := func(frames ...string) *Output {
		o := new(Output)
		for _, f := range frames {
			o[0] = append(o[0], []byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02"+f))
		}
		return o
	}
	for _, x := range []struct {
		rule        string
		left, right *Output
		want        string
	}{
		{"actions=mod_vlan_vid:5", out("\x81\x00\x00\x05\x08\x00"), out("\x81\x00\x10\x05\x08\x00"), "drop-eligible bit"},
		{"actions=mod_vlan_vid:5", out("\x81\x00\x00\x05\x08\x00"), out("\x81\x00\x20\x05\x08\x00"), ""},
		{"actions=1", out("\x08\x00\x10"), out("\x08\x00\x00"), ""},
		{"actions=1", out("\x08\x00"), out("\x08\x00", "\x08\x00"), ""},
		{"actions=1", out("\x81\x00\x00\x05\x08\x00"), out("\x81\x00\x00\x05\x81\x00\x00\x06\x08\x00"), ""},
	} {
		c := &Case{Rules: []string{x.rule}, Steps: []Step{{Port: 1, Frame: x.left[0][0]}}}
		d := &Difference{Case: c, Left: x.left, Right: x.right}
		h := &Harness{weft: nil}
		got := ""
		for _, k := range knownDifferences() {
			if k.name != "headers longer than a window" && k.applies(h, d) {
				got = k.name
				break
			}
		}
		if got != x.want {
			t.Errorf("%s\n%s%s is known as %q, want %q", x.rule, x.left, x.right, got, x.want)
		}
	}
}
