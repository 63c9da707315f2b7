package flowtable

import (
	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
)

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

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

// BenchmarkLoad is what one rule of a transaction of a million costs, and the heap it takes.
func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		p := NewPipeline(Config{})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		fiveTuples(b, p, 1_000_000)
		runtime.GC()
		start := time.Now()
		runtime.GC()
		b.ReportMetric(float64(time.Since(start).Microseconds()), "gc-us")
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "bytes/rule")
		runtime.KeepAlive(p)
	}
}

// BenchmarkChange is one rule added to a million and deleted again.
func BenchmarkChange(b *testing.B) {
	p := NewPipeline(Config{})
	fiveTuples(b, p, 1_000_000)
	r := rule(b, "udp,in_port=1,nw_src=10.0.0.2,nw_dst=10.0.0.1,tp_src=1,tp_dst=2,actions=2")
	for b.Loop() {
		if err := p.Add(r); err != nil {
			b.Fatal(err)
		}
		p.Delete(flow.Filter{Strict: true, Match: r.Match, Priority: r.Priority})
	}
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
