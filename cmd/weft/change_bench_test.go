package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/numa"
	"weft/switch"
	"weft/switch/control"
)

// BenchmarkChanges is what rule changes cost over the control socket, by how many are in a request, the client's part
// included: rules are added beside an access list of many masks, and deleted again one by one. cpu-ns/change is processor
// time of the whole process, B/change garbage.
func BenchmarkChanges(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("request=%d", n), func(b *testing.B) { benchmarkChanges(b, n) })
	}
}

func benchmarkChanges(b *testing.B, n int) {
	c, _ := serveSwitch(b)
	call := func(command, text string, want int) {
		b.Helper()
		in := &vswitch.FlowRequest{Kind: vswitch.KindFlow, Command: command, Strict: command == vswitch.CommandDelete}
		done, err := control.CallText[vswitch.FlowRequest, vswitch.FlowCounts](b.Context(), c, http.MethodPost, "/v1/changes",
			in, strings.NewReader(text))
		if err != nil || done.Added+done.Deleted != want {
			b.Fatalf("%s: %+v, %v", command, done, err)
		}
	}
	const listed, flows = 1000, 1000
	call(vswitch.CommandAdd, accessList(listed)+hostRoutes(flows), listed+flows)
	var add, del strings.Builder
	for i := range n {
		filter := fmt.Sprintf("ip,nw_dst=198.18.%d.%d", i>>8, i&255)
		fmt.Fprintf(&del, "%s\n", filter)
		fmt.Fprintf(&add, "%s,actions=drop\n", filter)
	}
	pair := func() {
		call(vswitch.CommandAdd, add.String(), n)
		call(vswitch.CommandDelete, del.String(), n)
	}
	for range 10 {
		pair() // what is kept for later requests is there
	}
	var before, after runtime.MemStats
	pairs := 0
	runtime.ReadMemStats(&before)
	used := processorTime(b)
	for b.Loop() {
		pair()
		pairs++
	}
	used = processorTime(b) - used
	runtime.ReadMemStats(&after)
	changes := float64(2 * n * pairs)
	b.ReportMetric(float64(used.Nanoseconds())/changes, "cpu-ns/change")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/changes, "B/change")
}

// BenchmarkDump is what it costs to list rules over the control socket: both ends, and with a client that throws away what
// it reads, which leaves the daemon's end.
func BenchmarkDump(b *testing.B) {
	const listed, flows = 1000, 1000
	c, socket := serveSwitch(b)
	in := &vswitch.FlowRequest{Kind: vswitch.KindFlow, Command: vswitch.CommandAdd}
	if _, err := control.CallText[vswitch.FlowRequest, vswitch.FlowCounts](b.Context(), c, http.MethodPost, "/v1/changes",
		in, strings.NewReader(accessList(listed)+hostRoutes(flows))); err != nil {
		b.Fatal(err)
	}
	b.Run("both", func(b *testing.B) {
		benchmarkDump(b, listed+flows, func() error {
			return control.CallList(b.Context(), c, routeFlows.pattern, &flowRequest{},
				func(*vswitch.FlowInfo) error { return nil })
		})
	})
	b.Run("daemon", func(b *testing.B) {
		list, stop := deafClient(socket)
		defer stop()
		benchmarkDump(b, listed+flows, list)
	})
}

// deafClient returns a function that lists rules and throws them away.
func deafClient(socket string) (list func() error, stop func()) {
	h := &http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) },
	}}
	return func() error {
		resp, err := h.Get("http://weft" + routeFlows.pattern)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return errors.Join(err, resp.Body.Close())
	}, h.CloseIdleConnections
}

// TestADumpMakesLittleGarbage: none for each rule, since a collection disturbs the PMD threads.
func TestADumpMakesLittleGarbage(t *testing.T) {
	const rules = 2000
	most := uint64(40 << 10)
	if raceDetector {
		most = 2 << 20 // package json then forgets now and then, rule by rule, the memory that it encodes in
	}
	c, socket := serveSwitch(t)
	in := &vswitch.FlowRequest{Kind: vswitch.KindFlow, Command: vswitch.CommandAdd}
	if _, err := control.CallText[vswitch.FlowRequest, vswitch.FlowCounts](t.Context(), c, http.MethodPost, "/v1/changes",
		in, strings.NewReader(accessList(rules))); err != nil {
		t.Fatal(err)
	}
	list, stop := deafClient(socket)
	defer stop()
	if n := leastGarbage(t, most, list); n > most {
		t.Errorf("a dump of %d rules makes %d bytes of garbage, want at most %d", rules, n, most)
	}
}

// TestChangesMakeLittleGarbage: what a request of a thousand takes, client's part included, is not for each change.
func TestChangesMakeLittleGarbage(t *testing.T) {
	const changes, most = 1000, 48 << 10
	c, _ := serveSwitch(t)
	add := hostRoutes(changes)
	del := strings.ReplaceAll(strings.ReplaceAll(add, ",actions=output:2", ""), "priority=100,", "")
	call := func(command, text string) error {
		in := &vswitch.FlowRequest{Kind: vswitch.KindFlow, Command: command}
		done, err := control.CallText[vswitch.FlowRequest, vswitch.FlowCounts](t.Context(), c, http.MethodPost, "/v1/changes",
			in, strings.NewReader(text))
		if err == nil && done.Added+done.Deleted != changes {
			err = fmt.Errorf("%s: %+v", command, done)
		}
		return err
	}
	n := leastGarbage(t, most, func() error {
		return errors.Join(call(vswitch.CommandAdd, add), call(vswitch.CommandDelete, del))
	})
	if n > most {
		t.Errorf("%d rules that come and go make %d bytes of garbage, want at most %d", changes, n, most)
	}
}

// leastGarbage is how many bytes a call of f takes, the least of many, or enough of them: others take some, and memory that was
// kept for later calls is forgotten by a collection, and now and then under the race detector.
func leastGarbage(t *testing.T, enough uint64, f func() error) uint64 {
	t.Helper()
	least := ^uint64(0)
	var before, after runtime.MemStats
	for calls := 0; calls < 300 && (calls < 2 || least > enough); calls++ {
		runtime.ReadMemStats(&before)
		if err := f(); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

func benchmarkDump(b *testing.B, rules int, list func() error) {
	b.ReportAllocs()
	used := processorTime(b)
	n := 0
	for b.Loop() {
		if err := list(); err != nil {
			b.Fatal(err)
		}
		n += rules
	}
	b.ReportMetric(float64((processorTime(b)-used).Nanoseconds())/float64(n), "cpu-ns/rule")
}

// serveSwitch answers a control socket with a switch that has one bridge without ports, and returns a client
// and the socket.
func serveSwitch(b testing.TB) (*control.Client, string) {
	b.Helper()
	topo, err := numa.Read(sysfsRoot)
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	sw, err := vswitch.New(vswitch.Options{Drivers: drivers(), Topology: topo, Log: log})
	if err != nil {
		b.Fatal(err)
	}
	cfg, err := vswitch.Parse([]byte("bridges: [{name: br0, flows: []}]"), sw.ParseOptions())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := sw.Apply(b.Context(), cfg); err != nil {
		b.Fatal(err)
	}
	socket := filepath.Join(b.TempDir(), "weft.sock")
	l, err := control.Listen(control.ListenConfig{Path: socket, Mode: 0o600})
	if err != nil {
		b.Fatal(err)
	}
	s := control.NewServer(log, toControlError)
	(&daemon{sw: sw}).bindRoutes(s)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c := control.NewClient(socket, time.Minute)
	b.Cleanup(func() {
		c.Close()
		if err := errors.Join(s.Shutdown(context.WithoutCancel(b.Context())), <-served, sw.Close()); err != nil {
			b.Error(err)
		}
	})
	return c, socket
}

// accessList is n rules on prefixes of both addresses and on ports, the same every time.
func accessList(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	net := func() string {
		bits := 8 + 4*r.IntN(7)
		a := (11<<24 + r.Uint32N(100<<24)) &^ (1<<(32-bits) - 1)
		return fmt.Sprintf("%d.%d.%d.%d/%d", a>>24, a>>16&255, a>>8&255, a&255, bits)
	}
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "priority=%d,udp,nw_src=%s,nw_dst=%s", 60000-i, net(), net())
		if r.IntN(2) == 0 {
			fmt.Fprintf(&text, ",tp_dst=%d", r.IntN(65536))
		}
		text.WriteString(",actions=drop\n")
	}
	return text.String()
}

// hostRoutes is n rules on an address each.
func hostRoutes(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "priority=100,in_port=1,udp,nw_dst=10.1.%d.%d,actions=output:2\n", i>>8, i&255)
	}
	return text.String()
}

// processorTime is what the process has used, in user and system.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
