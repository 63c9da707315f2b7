package flowtable

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
)

// A rule on port 0 is for every fragment; flows of first fragments must not stay with what they had before it came.
func TestCachedFragmentsSeeNewRules(t *testing.T) {
	first := flowtest.NewFrame().IPv4(flow.ProtoUDP, 0x2000, 0, flowtest.UDPHdr(53, 2000, 4))
	b := newBench(t, "priority=2,udp,tp_dst=2000,actions=1", "priority=0,actions=3")
	for range 2 {
		if got := b.send(5, first); got[0] != output(3)[0] {
			t.Fatalf("%v, want output 3", got)
		}
	}
	b.add("priority=1,udp,tp_dst=0,actions=2")
	if got := b.send(5, first); got[0] != output(2)[0] {
		t.Errorf("%v, want output 2 by the rule that came", got)
	}
}

// Whether buckets are live must not be asked again for every way that leads to a group.
func TestGroupsThatWatchOneAnotherAreSettledAtOnce(t *testing.T) {
	b := newBench(t)
	const chain, wide = 40, 10
	var changes []flow.Change
	for id := 1; id <= chain; id++ {
		watch := fmt.Sprintf("watch_group:%d", id+1)
		if id == chain {
			watch = "watch_port:9"
		}
		changes = append(changes, groupMod(t, fmt.Sprintf("group_id=%d,type=ff", id)+
			strings.Repeat(",bucket="+watch+",output:1", wide)))
	}
	done := make(chan error, 1)
	go func() { done <- b.p.Apply(changes) }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("a chain of groups is still being settled")
	}
	live := func() (n int) {
		for _, g := range b.p.Groups() {
			for _, l := range g.Live {
				if l {
					n++
				}
			}
		}
		return n
	}
	if n := live(); n != 0 {
		t.Errorf("%d buckets are live, while the port is not", n)
	}
	b.p.SetPortLive(9, true)
	if n := live(); n != chain*wide {
		t.Errorf("%d buckets are live, want %d", n, chain*wide)
	}
}
