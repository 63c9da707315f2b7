package flowtable

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/flowtable/ofctl"
	"weft/internal/packet"
)

// flowPerRule fills b with n rules for one IPv4 destination each, whose actions are given by index.
func flowPerRule(b *bench, n int, actions func(i int) []flow.Action) {
	b.t.Helper()
	base := rule(b.t, "udp,nw_dst=10.0.0.0,actions=1")
	changes := make([]flow.Change, n)
	for i := range changes {
		r := *base
		r.Match.Key[flow.WordIPv4] += uint64(i)
		r.Actions = actions(i)
		changes[i].Rule = &r
	}
	if err := b.p.Apply(changes); err != nil {
		b.t.Fatal(err)
	}
}

// sweep sends one packet to each of n destinations and compares every packet's ops.
func sweep(b *bench, n int, want func(i int) []Op) {
	b.t.Helper()
	frames := make([]flowtest.Frame, packet.BatchSize)
	for i := range frames {
		frames[i] = udpTo(10 << 24)
	}
	for i := 0; i < n; i += len(frames) {
		frames = frames[:min(len(frames), n-i)]
		for j := range frames {
			binary.BigEndian.PutUint32(frames[j][30:], 10<<24+uint32(i+j))
		}
		fill(b.b, 1, frames)
		b.l.Batch(b.b)
		for j := range frames {
			if got := b.l.Ops(j); !slices.Equal(got, want(i+j)) {
				b.t.Fatalf("flow %d: got %v, want %v", i+j, got, want(i+j))
			}
			if h := b.l.programs.paths[b.l.path[j]]; h.program != b.l.Ref(j) {
				b.t.Fatalf("flow %d: ref %d, path of program %d", i+j, b.l.Ref(j), h.program)
			}
		}
	}
	checkPrograms(b.t, b.l)
}

// checkPrograms compares what programs hold with what the cache's entries name.
func checkPrograms(t testing.TB, l *Lookup) {
	t.Helper()
	p := &l.programs
	opsFailed, creditsFailed := p.ops.failed, p.credits.failed
	p.begin() // frees what the last batch replaced
	p.ops.failed, p.credits.failed = opsFailed, creditsFailed
	pathUsers, progUsers := map[uint32]uint32{}, map[uint32]uint32{}
	for set := range l.cache.sets {
		for n := range uint64(ways) {
			if e := l.cache.at(set, n); e[0] != 0 {
				pathUsers[uint32(e[0]&pathMask)]++
			}
		}
	}
	ops, credits := 1, 0 // one op is that of tooLongID
	for id, users := range pathUsers {
		h := &p.paths[id]
		if h.users != users {
			t.Fatalf("path %d counts %d users of %d", id, h.users, users)
		}
		if h.nmore > 0 {
			credits += 1 << runClass(int(h.nmore))
		}
		progUsers[h.program]++
	}
	for id, users := range progUsers {
		if p.list[id].users != users {
			t.Fatalf("program %d counts %d users of %d", id, p.list[id].users, users)
		}
		ops += 1 << runClass(int(p.list[id].n))
	}
	if p.pathIDs.live != len(pathUsers) || p.listIDs.live != len(progUsers) {
		t.Fatalf("%d paths of %d, %d programs of %d", p.pathIDs.live, len(pathUsers), p.listIDs.live, len(progUsers))
	}
	if p.ops.used != ops || p.credits.used != credits {
		t.Fatalf("%d ops of %d, %d credits of %d", p.ops.used, ops, p.credits.used, credits)
	}
	if s := l.CacheStats(); s.Entries > s.Capacity {
		t.Fatalf("%d entries, %d fit", s.Entries, s.Capacity)
	}
}

func oneOutput(i int) []flow.Action {
	return []flow.Action{{Kind: flow.ActionOutput, Port: 1 + uint32(i%1000)}}
}

func outputOf(i int) []Op { return output(1 + uint32(i%1000)) }

func TestMoreRulesInUseThanCacheEntriesStayCached(t *testing.T) {
	const n = minCacheEntries * 3 / 2
	for _, c := range []struct {
		name    string
		actions func(i int) []flow.Action
		want    func(i int) []Op
	}{
		{"a path each", oneOutput, outputOf},
		{
			"a program each",
			func(i int) []flow.Action {
				return []flow.Action{
					{Kind: flow.ActionModEthDst, Value: flow.Value{Lo: uint64(i)}},
					{Kind: flow.ActionOutput, Port: 1},
				}
			},
			func(i int) []Op {
				return []Op{{Kind: OpSetEthDst, B: uint64(i), Mask: flow.FullEth}, {Kind: OpOutput, A: 1}}
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			flowPerRule(b, n, c.actions)
			for range 20 {
				sweep(b, n, c.want)
			}
			before := b.l.CacheStats()
			for range 20 {
				sweep(b, n, c.want)
			}
			after := b.l.CacheStats()
			if after.Flushes != before.Flushes {
				t.Errorf("%d flushes", after.Flushes-before.Flushes)
			}
			// Some sets of the cache get more flows than they have room for.
			if misses := after.Misses - before.Misses; misses > 20*n/4 {
				t.Errorf("%d misses of %d", misses, 20*n)
			}
			for _, d := range b.p.Dump(flow.Filter{}) {
				if d.Packets != 40 {
					t.Fatalf("%s: want 40 packets", ofctl.FormatStats(&d, nil))
				}
			}
		})
	}
}

func TestFarMoreRulesInUseThanFitDoNotFlush(t *testing.T) {
	const n = 8 * minCacheEntries
	b := newBench(t)
	flowPerRule(b, n, oneOutput)
	sweep(b, n, outputOf)
	before := b.l.CacheStats()
	for range 3 {
		sweep(b, n, outputOf)
	}
	after := b.l.CacheStats()
	if after.Flushes != before.Flushes || after.Evictions == before.Evictions {
		t.Errorf("before %+v, after %+v: want evictions and no flush", before, after)
	}
}

func TestRuleChurnDoesNotFlush(t *testing.T) {
	const flows, churned, rounds = 64, 32, 400 // many times as many paths as there is room for
	b := newBench(t, "priority=1,udp,nw_dst=10.0.0.0/8,actions=9")
	flowPerRule(b, flows, oneOutput)
	sweep(b, flows, outputOf)
	before := b.l.CacheStats()
	for round := range rounds {
		changes := make([]flow.Change, churned)
		for i := range changes {
			r := *rule(t, "udp,nw_dst=10.0.0.0,actions=1")
			r.Match.Key[flow.WordIPv4] += uint64(i)
			r.Actions = oneOutput(i + round)
			changes[i].Rule = &r
		}
		if err := b.p.Apply(changes); err != nil {
			t.Fatal(err)
		}
		sweep(b, flows, func(i int) []Op {
			if i < churned {
				i += round
			}
			return outputOf(i)
		})
	}
	after := b.l.CacheStats()
	if after.Flushes != before.Flushes {
		t.Errorf("%d flushes", after.Flushes-before.Flushes)
	}
	if after.Programs > flows || b.l.programs.pathIDs.live != flows {
		t.Errorf("%d programs and %d paths for %d flows", after.Programs, b.l.programs.pathIDs.live, flows)
	}
}

// longActions are n outputs, the first of which says which i it is.
func longActions(i, n int) []flow.Action {
	a := make([]flow.Action, n)
	for j := range a {
		a[j] = flow.Action{Kind: flow.ActionOutput, Port: 1 + uint32(i+j)}
	}
	return a
}

func longOps(i, n int) []Op {
	ops := make([]Op, n)
	for j := range ops {
		ops[j] = Op{Kind: OpOutput, A: 1 + uint32(i+j)}
	}
	return ops
}

func TestProgramsThatFindNoRoomAreStillRight(t *testing.T) {
	// 512 programs of 64 ops are eight times what fits.
	const n, length = 512, 64
	b := newBench(t)
	flowPerRule(b, n, func(i int) []flow.Action { return longActions(i, length) })
	want := func(i int) []Op { return longOps(i, length) }
	sweep(b, n, want)
	before := b.l.CacheStats()
	for range 20 {
		sweep(b, n, want)
	}
	after := b.l.CacheStats()
	if hits := after.Hits - before.Hits; hits == 0 || after.Flushes != before.Flushes {
		t.Errorf("%d hits, %d flushes: want what fits to stay", hits, after.Flushes-before.Flushes)
	}
	if s := after.Entries; s == 0 || s > 64 {
		t.Errorf("%d entries", s)
	}
	for _, d := range b.p.Dump(flow.Filter{}) {
		if d.Packets != 21 {
			t.Fatalf("%s: want 21 packets", ofctl.FormatStats(&d, nil))
		}
	}
}

func TestCreditsThatFindNoRoomAreStillRight(t *testing.T) {
	// Every flow credits its own rules in 200 tables.
	const flows, tables = 128, 200
	b := newBench(t)
	for i := range tables {
		b.add(fmt.Sprintf("table=%d,priority=1,actions=resubmit(,%d)", i, i+1))
	}
	last := rule(t, "table=200,udp,nw_dst=10.0.0.0,actions=1")
	for i := range flows {
		r := *last
		r.Match.Key[flow.WordIPv4] += uint64(i)
		r.Actions = oneOutput(i)
		if err := b.p.Add(&r); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		sweep(b, flows, outputOf)
	}
	for _, d := range b.p.Dump(flow.Filter{}) {
		want := uint64(10 * flows)
		if d.Rule.Table == tables {
			want = 10
		}
		if d.Packets != want {
			t.Fatalf("%s: want %d packets", ofctl.FormatStats(&d, nil), want)
		}
	}
}

func TestCrumbledMemoryIsPutTogetherAgain(t *testing.T) {
	const small, big = minCacheEntries, 16
	b := newBench(t)
	// Programs of four ops each take all the memory for ops there is,
	flowPerRule(b, small, func(i int) []flow.Action { return longActions(i, 4) })
	sweep(b, small, func(i int) []Op { return longOps(i, 4) })
	// then they go, and long ones come.
	b.p.Delete(flow.Filter{})
	b.add("priority=0,actions=9")
	for range 3 {
		sweep(b, small, func(int) []Op { return output(9) })
	}
	if top := b.l.programs.ops.top; top < b.l.programs.ops.limit*3/4 {
		t.Fatalf("%d ops of %d were in use; this tests nothing", top, b.l.programs.ops.limit)
	}
	flowPerRule(b, big, func(i int) []flow.Action { return longActions(i, 1000) })
	want := func(i int) []Op { return longOps(i, 1000) }
	for range 3 {
		sweep(b, big, want)
	}
	if b.l.CacheStats().Entries == 0 || b.l.programs.ops.used < 1000 {
		t.Errorf("long programs are not cached: %+v", b.l.CacheStats())
	}
}

func TestARunOfOneFlowIsResolvedOnce(t *testing.T) {
	for _, cached := range []int{1, -1} {
		b := newBench(t, "udp,nw_dst=10.0.0.1,actions=1", "udp,nw_dst=10.0.0.2,actions=2")
		b.l = b.p.NewLookup(LookupConfig{CacheEntries: cached})
		one, two := udpTo(10<<24+1), udpTo(10<<24+2)
		fill(b.b, 1, []flowtest.Frame{one, one, two, two, two, one})
		b.l.Batch(b.b)
		for i, want := range []uint32{1, 1, 2, 2, 2, 1} {
			if !slices.Equal(b.l.Ops(i), output(want)) {
				t.Errorf("packet %d: %v", i, b.l.Ops(i))
			}
		}
		if b.l.Ref(0) != b.l.Ref(1) || b.l.Ref(2) != b.l.Ref(4) || b.l.Ref(0) == b.l.Ref(2) {
			t.Errorf("refs %v", b.l.refs[:6])
		}
		wantMisses, composed := uint64(2), 0
		if cached < 0 {
			wantMisses, composed = 6, 3
		}
		if s := b.l.CacheStats(); s.Misses != wantMisses || s.Hits != 6-wantMisses || b.l.programs.ntemp != composed {
			t.Errorf("cached %d: %+v, %d temporary paths", cached, s, b.l.programs.ntemp)
		}
		if d := b.p.Dump(flow.Filter{}); d[0].Packets != 3 || d[1].Packets != 3 {
			t.Errorf("got\n%s", b.dump(flow.Filter{}))
		}
	}
}

// resident is how much of the mapping that begins at mem is resident, from /proc/self/smaps (proc(5)).
func resident(t *testing.T, mem []byte) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	start := strings.TrimPrefix(fmt.Sprintf("%p", mem), "0x")
	inside := false
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if from, to, ok := strings.Cut(f[0], "-"); ok {
			inside = from <= start && start < to && len(from) == len(start)
		} else if inside && f[0] == "Rss:" {
			kib, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no mapping holds %s", start)
	return 0
}

func TestMemoryIsTouchedWhenItIsUsed(t *testing.T) {
	var mem []byte
	p := NewPipeline(Config{})
	l := p.NewLookup(LookupConfig{CacheEntries: DefaultCacheEntries, Memory: func(size int) []byte {
		// A read-only page on either side keeps the kernel from joining the mapping with others.
		all, err := syscall.Mmap(-1, 0, size+1<<13, syscall.PROT_READ, syscall.MAP_PRIVATE|syscall.MAP_ANON)
		if err == nil {
			mem = all[4096 : 4096+size]
			err = syscall.Mprotect(all[4096:len(all)-4096], syscall.PROT_READ|syscall.PROT_WRITE)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Munmap(all) })
		return mem
	}})
	if n := len(mem); n > 72<<20 {
		t.Errorf("a lookup of the default size asks for %d bytes", n)
	}
	b := &bench{t: t, p: p, l: l, b: packet.NewBatch(nil)}
	b.add("priority=0,actions=normal", "udp,nw_dst=10.0.0.1,tp_dst=2,actions=1", "tcp6,actions=drop")
	if n := resident(t, mem); n > 64<<10 {
		t.Errorf("%d of %d bytes are resident before the first packet", n, len(mem))
	}
	for i := range uint32(100) {
		b.send(1, udpTo(10<<24+i))
	}
	if n := resident(t, mem); n < 16<<10 || n > 1<<20 {
		t.Errorf("%d of %d bytes are resident with 100 flows", n, len(mem))
	}
}
