package main

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"testing"
)

func TestFramesAreWhole(t *testing.T) {
	f := newFrame()
	for i := range uint64(1000) {
		want := fresh(i)
		setTuple(f, want, 3)
		sum := uint32(0)
		for k := offIP; k < offUDP; k += 2 {
			sum += uint32(binary.BigEndian.Uint16(f[k:]))
		}
		if sum = sum>>16 + sum&0xffff; sum != 0xffff && sum>>16+sum&0xffff != 0xffff {
			t.Fatalf("the IPv4 checksum of %+v is wrong", want)
		}
		got := tuple{
			binary.BigEndian.Uint32(f[26:]), binary.BigEndian.Uint32(f[30:]),
			binary.BigEndian.Uint16(f[34:]), binary.BigEndian.Uint16(f[36:]),
		}
		if got != want {
			t.Fatalf("the frame has %+v, want %+v", got, want)
		}
		if s, found := streamOf(f); s != 3 || !found {
			t.Fatalf("the frame is of stream %d, %t", s, found)
		}
	}
	f[offMark]++
	if _, found := streamOf(f); found {
		t.Error("a frame without the mark is taken for ours")
	}
}

func TestFreshFlowsNeverRepeatAndHitTheirRules(t *testing.T) {
	seen := make(map[tuple]bool)
	nets := make(map[uint32]bool)
	for i := range uint64(300_000) {
		f := fresh(i)
		if seen[f] {
			t.Fatalf("flow %d was there before", i)
		}
		seen[f] = true
		nets[f.dst>>8] = true
		if f.src>>20 != freshFrom>>20 || f.dst>>16 != freshNet>>16 || f.dstPort != 53 {
			t.Fatalf("flow %d, %+v, hits no rule", i, f)
		}
	}
	if len(nets) != 256 {
		t.Errorf("only %d of 256 rules are hit", len(nets))
	}
	// The factor is odd, so the numbers below 2^36 are permuted: the last one is no exception.
	if seen[fresh(1<<freshBits-1)] || fresh(1<<freshBits) != fresh(0) {
		t.Error("the period is not 2^36")
	}
}

func TestKnownFlowsGoRound(t *testing.T) {
	next, seen := known(1000), make(map[tuple]int)
	for i := range uint64(3000) {
		seen[next(i)]++
	}
	for f, n := range seen {
		if n != 3 || f.dst < knownNet || f.dst >= knownNet+1000 {
			t.Fatalf("%+v was there %d times", f, n)
		}
	}
	if len(seen) != 1000 {
		t.Errorf("%d flows, want 1000", len(seen))
	}
}

// valueOf reads a field of the access list from a packet.
func valueOf(f *field, p tuple) uint32 {
	switch f.name {
	case "nw_src":
		return p.src
	case "nw_dst":
		return p.dst
	case "tp_src":
		return uint32(p.srcPort)
	}
	return uint32(p.dstPort)
}

// TestAttackMakesEachCombinationOfPrefixes computes what a switch must look at to know that no allow rule matches: of
// each field the bits up to the first that differs.
func TestAttackMakesEachCombinationOfPrefixes(t *testing.T) {
	for _, a := range accessLists() {
		next, n := a.attack(), a.combinations()
		if n > 1<<14 {
			n = 1 << 14 // of the largest a part, which must still be all different
		}
		masks := make(map[[4]int]bool)
		for i := range n {
			p := next(i)
			var mask [4]int
			for k := range a.fields {
				f := &a.fields[k]
				differ := valueOf(f, p) ^ f.allowed
				if differ == 0 {
					t.Fatalf("%s: packet %d is allowed by %s", a.name, i, f.name)
				}
				mask[k] = f.width - bits.Len32(differ) + 1
			}
			masks[mask] = true
		}
		if uint64(len(masks)) != n {
			t.Errorf("%s: %d packets make %d masks", a.name, n, len(masks))
		}
		if i := n / 2; next(i) == next(i+a.combinations()) {
			t.Errorf("%s: the second time round is the same as the first", a.name)
		}
	}
}

func TestCombinationsAreThePublished(t *testing.T) {
	want := map[string]uint64{"Dp": 16, "SpDp": 256, "SipDp": 512, "SipSpDp": 8192, "SipDipSpDp": 262144}
	for _, a := range accessLists() {
		if got := a.combinations(); got != want[a.name] {
			t.Errorf("%s: %d combinations, want %d", a.name, got, want[a.name])
		}
	}
}

func TestVictimIsAllowedByTheFirstRule(t *testing.T) {
	next := victim(victimFlows)
	for i := range uint64(2 * victimFlows) {
		if v := next(i); uint32(v.dstPort) != destinationPort.allowed {
			t.Fatalf("%+v is not allowed", v)
		}
	}
	var out strings.Builder
	list := accessList{"x", []field{destinationPort, sourceAddress}}
	if err := list.writeRules(&out); err != nil {
		t.Fatal(err)
	}
	const want = "priority=1000,in_port=1,udp,tp_dst=80,actions=output:2\n" +
		"priority=999,in_port=1,udp,nw_src=10.0.0.1,actions=output:2\npriority=1,actions=drop\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestBulkRulesAreAllDifferentAndNotTheLoads(t *testing.T) {
	var out strings.Builder
	const n = 50_000
	if err := writeBulk(&out, n); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for line := range strings.Lines(out.String()) {
		_, match, _ := strings.Cut(line, "in_port")
		if seen[match] || !strings.Contains(match, "nw_dst=20.") {
			t.Fatalf("rule %q is there twice, or meets the load", line)
		}
		seen[match] = true
	}
	if len(seen) != n {
		t.Errorf("%d rules, want %d", len(seen), n)
	}
	rule, filter := singleRule(3)
	if want := "ip,nw_dst=198.18.0.3"; filter != want || rule != want+",actions=drop" {
		t.Errorf("single rule %q, filter %q", rule, filter)
	}
}

func TestForwardingRulesAreTheSameEveryTime(t *testing.T) {
	var texts [2]strings.Builder
	for i := range texts {
		if err := writeForwarding(&texts[i], 10); err != nil {
			t.Fatal(err)
		}
	}
	if texts[0].String() != texts[1].String() || strings.Count(texts[0].String(), "\n") != aclRules+10+256 {
		t.Error("two sets of rules differ, or rules are missing")
	}
}
