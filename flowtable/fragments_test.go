package flowtable

import (
	"slices"
	"testing"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/internal/packet"
)

func TestPortsOfFragmentsAreSeenAsTheBridgeSays(t *testing.T) {
	udp := flowtest.UDPHdr(53, 2000, 4)
	whole := flowtest.NewFrame().IPv4(flow.ProtoUDP, 0, 0, udp)
	first := flowtest.NewFrame().IPv4(flow.ProtoUDP, 0x2000, 0, udp)
	later := flowtest.NewFrame().IPv4(flow.ProtoUDP, 0x0010, 0, udp)
	b := newBench(t, "priority=2,udp,tp_dst=2000,actions=1", "priority=1,udp,tp_dst=0,actions=2", "priority=0,actions=3")
	for _, c := range []struct {
		mode                flow.Fragments
		whole, first, later []Op
	}{
		{flow.FragmentsNormal, output(1), output(2), output(2)},
		{flow.FragmentsMatch, output(1), output(1), output(2)},
		{flow.FragmentsDrop, output(1), drop(packet.DropFragment), drop(packet.DropFragment)},
		{flow.FragmentsNormal, output(1), output(2), output(2)},
	} {
		b.p.SetFragments(c.mode)
		for range 2 { // the second time from the cache
			for _, f := range []struct {
				name  string
				frame flowtest.Frame
				want  []Op
			}{{"whole", whole, c.whole}, {"first", first, c.first}, {"later", later, c.later}} {
				if got := b.send(5, f.frame); len(got) != 1 || got[0] != f.want[0] {
					t.Errorf("%s, %s: %v, want %v", c.mode, f.name, got, f.want)
				}
			}
		}
	}
}

// The checksum of a transport header must be in sight when what it covers is changed, however long the way to it.
func TestTheTransportHeaderIsInSightWhenAddressesChange(t *testing.T) {
	b := newBench(t, "ipv6,actions=set_field:2001:db8::9->ipv6_dst,2")
	if st := b.p.state.Load(); st.layout.depth < flow.DepthL4 {
		t.Errorf("packets are read to depth %d", st.layout.depth)
	}
	b = newBench(t, "ipv6,actions=dec_ttl,2")
	if st := b.p.state.Load(); st.layout.depth >= flow.DepthL4 {
		t.Errorf("packets are read to depth %d for a hop limit", st.layout.depth)
	}
}

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

// Fragments are dropped where that is asked for, whatever rules look at.
func TestFragmentsAreDroppedWhenNoRuleLooksAtThem(t *testing.T) {
	first := flowtest.NewFrame().IPv4(flow.ProtoUDP, 0x2000, 0, flowtest.UDPHdr(53, 2000, 4))
	whole := flowtest.NewFrame().IPv4(flow.ProtoUDP, 0, 0, flowtest.UDPHdr(53, 2000, 4))
	for _, match := range []string{"", "in_port=5,", "dl_src=00:00:00:00:00:00/01:00:00:00:00:00,", "dl_vlan=9,"} {
		b := newBench(t, match+"actions=1", "priority=1,actions=1")
		b.p.SetFragments(flow.FragmentsDrop)
		for _, f := range []flowtest.Frame{first, whole, first} {
			want := drop(packet.DropFragment)
			if &f[0] == &whole[0] {
				want = output(1)
			}
			if got := b.send(5, f); !slices.Equal(got, want) {
				t.Errorf("%q: %v, want %v", match, got, want)
			}
		}
	}
}
