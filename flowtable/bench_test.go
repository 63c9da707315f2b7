package flowtable

import (
	"encoding/binary"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
	"weft/internal/packet"
)

// fiveTuples fills p with n rules, each on one flow's five-tuple, and returns the flows' frames' variable part by
// index.
func fiveTuples(b *testing.B, p *Pipeline, n int) {
	b.Helper()
	base := rule(b, "udp,in_port=1,nw_src=10.0.0.1,nw_dst=10.0.0.1,tp_src=1,tp_dst=2,actions=2")
	changes := make([]flow.Change, n)
	for i := range changes {
		r := *base
		r.Match.Key[flow.WordIPv4] = 0x0a000001<<32 | uint64(i)
		changes[i].Rule = &r
	}
	if err := p.Apply(changes); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkLookup is the cost of one packet whose flow is cached, over n flows with a rule each, in random order.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1, 10, 1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("flows=%d", n), func(b *testing.B) {
			p := NewPipeline(Config{})
			fiveTuples(b, p, n)
			benchmarkFlows(b, p.NewLookup(LookupConfig{CacheEntries: n}), n)
		})
	}
}

// BenchmarkClassify is the cost of one packet without a cache.
func BenchmarkClassify(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			p := NewPipeline(Config{})
			fiveTuples(b, p, n)
			benchmarkFlows(b, p.NewLookup(LookupConfig{CacheEntries: -1}), n)
		})
	}
	for _, masks := range []int{8, 64, 512} {
		b.Run(fmt.Sprintf("masks=%d", masks), func(b *testing.B) {
			p := NewPipeline(Config{})
			for i := range masks {
				r := rule(b, "priority=10,udp,actions=2")
				// No packet comes from there, so every mask is tried; and packets in a row differ in where they go.
				r.Match.Mask[flow.WordIPv4] = uint64(i+1)<<32 | 0x80<<56 | 0xffffffff
				r.Match.Key[flow.WordIPv4] = 0x80 << 56
				if err := p.Add(r); err != nil {
					b.Fatal(err)
				}
			}
			benchmarkFlows(b, p.NewLookup(LookupConfig{CacheEntries: -1}), 1000)
		})
	}
}

func benchmarkFlows(b *testing.B, l *Lookup, n int) {
	batch := packet.NewBatch(nil)
	frames := make([]flowtest.Frame, packet.BatchSize)
	for i := range frames {
		frames[i] = udpTo(0)
	}
	fill(batch, 1, frames)
	next, refs := uint64(1), uint32(0)
	step := func() {
		for i := range frames {
			next = next*6364136223846793005 + 1442695040888963407 // Knuth's linear congruential generator
			binary.BigEndian.PutUint32(batch.Packet(i).Header()[30:], uint32(next>>32)%uint32(n))
		}
		l.Batch(batch)
		for i := range frames {
			refs += l.Ref(i) // as an executor does
		}
	}
	for range max(1000, 8*n/packet.BatchSize) {
		step()
	}
	before := l.CacheStats()
	b.ResetTimer()
	for i := 0; i < b.N; i += packet.BatchSize {
		step()
	}
	b.StopTimer()
	s := l.CacheStats()
	misses := float64(s.Misses - before.Misses)
	b.ReportMetric(misses/(misses+float64(s.Hits-before.Hits)), "misses/op")
}

// BenchmarkRevalidate is the cost of one packet whose flow is cached, when rules that it does not meet were changed since the
// last packet of the flow.
func BenchmarkRevalidate(b *testing.B) {
	for _, changed := range []int{1, 1000} {
		b.Run(fmt.Sprintf("changed=%d", changed), func(b *testing.B) { benchmarkRevalidate(b, changed) })
	}
}

func benchmarkRevalidate(b *testing.B, changed int) {
	const n = 1024
	p := NewPipeline(Config{})
	fiveTuples(b, p, n)
	l := p.NewLookup(LookupConfig{})
	frames := make([]flowtest.Frame, packet.BatchSize)
	for i := range frames {
		frames[i] = udpTo(0)
	}
	batch := packet.NewBatch(nil)
	fill(batch, 1, frames)
	var changes []flow.Change
	for i := range changed {
		other := rule(b, fmt.Sprintf("ip,nw_dst=192.0.%d.%d,actions=drop", i>>8, i&255))
		changes = append(changes, flow.Change{Rule: other}, flow.Change{Command: flow.Delete, Filter: flow.Filter{
			Strict: true, Match: other.Match, Priority: other.Priority,
		}}, flow.Change{Rule: other})
	}
	var took time.Duration
	packets := 0
	for b.Loop() {
		if err := p.Apply(changes); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		for at := 0; at < n; at += packet.BatchSize {
			for i := range frames {
				binary.BigEndian.PutUint32(batch.Packet(i).Header()[30:], uint32(at+i))
			}
			l.Batch(batch)
		}
		took += time.Since(start)
		packets += n
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(packets), "ns/packet")
	b.ReportMetric(float64(l.CacheStats().Revalidated)/float64(packets), "revalidated/packet")
}

// manyRules is n rules of one mask, as they may come out of a file one by one.
func manyRules(tb testing.TB, n int) iter.Seq2[*flow.Change, error] {
	r := *rule(tb, "udp,in_port=1,nw_src=10.0.0.1,nw_dst=10.0.0.1,tp_src=1,tp_dst=2,actions=2")
	return func(yield func(*flow.Change, error) bool) {
		for i := range n {
			r.Match.Key[flow.WordIPv4] = 0x0a000001<<32 | uint64(i)
			if !yield(&flow.Change{Rule: &r}, nil) {
				return
			}
		}
	}
}

// cpuTime is what the process has used, which other load on the machine does not change as much as the clock.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLoad is a transaction of two million rules: the time, the processor time, the heap for each rule, and what a
// collection costs then.
func BenchmarkLoad(b *testing.B) {
	const n = 2_000_000
	for b.Loop() {
		p := NewPipeline(Config{})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		cpu := cpuTime(b)
		if _, err := p.ApplyEach(manyRules(b, n)); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric((cpuTime(b) - cpu).Seconds(), "cpu-s")
		runtime.GC()
		runtime.ReadMemStats(&after)
		cpu = cpuTime(b)
		runtime.GC()
		b.ReportMetric(float64((cpuTime(b) - cpu).Microseconds()), "gc-cpu-us")
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/rule")
		b.ReportMetric(float64(after.Sys)/(1<<20), "sys-MiB")
		runtime.KeepAlive(p)
	}
}

// BenchmarkChange is one rule added to two million and deleted again.
func BenchmarkChange(b *testing.B) {
	p := NewPipeline(Config{})
	if _, err := p.ApplyEach(manyRules(b, 2_000_000)); err != nil {
		b.Fatal(err)
	}
	r := rule(b, "udp,in_port=1,nw_src=10.0.0.2,nw_dst=10.0.0.1,tp_src=1,tp_dst=2,actions=2")
	var took []time.Duration
	for b.Loop() {
		r.Match.Key[flow.WordIPv4]++
		start := time.Now()
		if err := p.Add(r); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
		p.Delete(flow.Filter{Strict: true, Match: r.Match, Priority: r.Priority})
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-add-us")
	b.ReportMetric(float64(took[len(took)-1].Microseconds()), "worst-add-us")
}

// BenchmarkExpire is one look at 100000 rules that have timeouts and are in use.
func BenchmarkExpire(b *testing.B) {
	now := time.Unix(1_700_000_000, 0)
	p := NewPipeline(Config{Now: func() time.Time { return now }})
	base := rule(b, "idle_timeout=60,udp,nw_dst=10.0.0.1,actions=2")
	changes := make([]flow.Change, 100_000)
	for i := range changes {
		r := *base
		r.Match.Key[flow.WordIPv4] = uint64(i)
		changes[i].Rule = &r
	}
	if err := p.Apply(changes); err != nil {
		b.Fatal(err)
	}
	p.NewLookup(LookupConfig{})
	for b.Loop() {
		if gone := p.Expire(now); len(gone) != 0 {
			b.Fatal(len(gone))
		}
	}
}
