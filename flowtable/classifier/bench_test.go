package classifier

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"weft/flowtable/classbench"
	"weft/flowtable/flow"
)

// load is a table with rules, planned as a table is that got its rules in one transaction and then a moment's time.
func load(rules []classbench.Rule) (*Store, *Table) {
	s := NewStore(0x5eed_0f_c1a55)
	t := s.NewTable()
	s.Epoch(2)
	for i := range rules {
		t.Insert(uint32(i+1), &rules[i].Match, rules[i].Priority, 0, 2)
		if t.Wanting() {
			t.Replan(1)
		}
		if i%1024 == 0 {
			s.Reclaim(2)
		}
	}
	if t.Tuples() >= planMin {
		t.Replan(1)
	}
	s.Reclaim(2)
	return s, t
}

// measured is what lookups of some keys cost.
type measured struct {
	median, p99, worst time.Duration
	work, most         Work // sum; the most of each
	slowest            flow.Key
	n                  int
}

// measure times each key alone, best of some: what else the machine does must not count, what the classifier does must.
func measure(v *View, gen uint64, keys []flow.Key) (m measured) {
	const tries, again = 7, 4
	best := make([]time.Duration, len(keys))
	for try := range tries {
		for i := range keys {
			start := time.Now()
			for range again {
				v.Lookup(gen, &keys[i])
			}
			if d := time.Since(start) / again; try == 0 || d < best[i] {
				best[i] = d
			}
		}
	}
	m.n = len(keys)
	for i := range keys {
		if best[i] > m.worst {
			m.worst, m.slowest = best[i], keys[i]
		}
		_, w := v.Explain(gen, &keys[i])
		m.work.Tuples += w.Tuples
		m.work.Blocks += w.Blocks
		m.work.Entries += w.Entries
		m.most.Tuples = max(m.most.Tuples, w.Tuples)
		m.most.Blocks = max(m.most.Blocks, w.Blocks)
		m.most.Entries = max(m.most.Entries, w.Entries)
	}
	slices.Sort(best)
	m.median, m.p99 = best[len(best)/2], best[len(best)*99/100]
	return m
}

// corners is one key for each rule, up to limit rules, with zeros, ones or anything in its free bits; and such keys with the
// destination of another rule.
func corners(r *rand.Rand, rules []classbench.Rule, limit int) (keys []flow.Key) {
	for range min(limit, len(rules)) {
		i := r.IntN(len(rules))
		k := classbench.Corner(r, &rules[i].Match)
		o := classbench.Corner(r, &rules[r.IntN(len(rules))].Match)
		keys = append(keys, k, cross(&k, &o, 1), cross(&k, &o, r.IntN(8)))
	}
	return keys
}

// cross takes the addresses and the protocol with ports from one key or the other.
func cross(a, b *flow.Key, which int) flow.Key {
	k := *a
	for i, part := range [...]flow.Key{{flow.WordIPv4: 0xffffffff}, {flow.WordIPv4: 0xffffffff << 32}, {flow.WordL4: ^uint64(0)}} {
		if which>>i&1 != 0 {
			for w := range part {
				k[w] = k[w]&^part[w] | b[w]&part[w]
			}
		}
	}
	return k
}

// cost is the steps of a lookup as about nanoseconds, to climb by: timing is too noisy for that.
func (w Work) cost() int { return 8*w.Tuples + 15*w.Blocks + 2*w.Entries }

// climb looks for the most expensive key: from the worst of keys it goes to ones made of them and of rules while that
// costs more.
func climb(r *rand.Rand, v *View, gen uint64, keys []flow.Key, rules []classbench.Rule, steps int) []flow.Key {
	cost := func(k *flow.Key) int {
		_, w := v.Explain(gen, k)
		return w.cost()
	}
	type scored struct {
		key  flow.Key
		cost int
	}
	all := make([]scored, len(keys))
	for i := range keys {
		all[i] = scored{keys[i], cost(&keys[i])}
	}
	slices.SortFunc(all, func(a, b scored) int { return b.cost - a.cost })
	all = all[:min(64, len(all))]
	for range steps {
		from := &all[r.IntN(len(all))]
		other := classbench.Corner(r, &rules[r.IntN(len(rules))].Match)
		if r.IntN(3) == 0 {
			other = all[r.IntN(len(all))].key
		}
		k := cross(&from.key, &other, 1+r.IntN(6))
		if c := cost(&k); c > from.cost {
			*from = scored{k, c}
		}
	}
	top := make([]flow.Key, len(all))
	for i := range all {
		top[i] = all[i].key
	}
	return top
}

// BenchmarkClassBench prints what one uncached lookup costs in rule sets like those of the literature: for keys of the
// rules and their corners, and for the worst keys that hill-climbing finds.
func BenchmarkClassBench(b *testing.B) {
	for _, kind := range classbench.Kinds {
		for _, n := range []int{1000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s=%d", kind, n), func(b *testing.B) {
				filters := classbench.Generate(kind, n, 1)
				benchmarkSet(b, len(filters), classbench.Expand(filters))
			})
		}
	}
}

func benchmarkSet(b *testing.B, filters int, rules []classbench.Rule) {
	r := rand.New(rand.NewPCG(1, 1))
	start := time.Now()
	s, t := load(rules)
	built := time.Since(start)
	v := t.View()
	keys := corners(r, rules, 20_000)
	m := measure(&v, 2, keys)
	worst := measure(&v, 2, climb(r, &v, 2, keys, rules, 100_000))
	trace := classbench.Trace(r, rules, 1<<14, 1, 0)
	b.ResetTimer()
	for i := range b.N {
		v.Lookup(2, &trace[i&(1<<14-1)])
	}
	b.StopTimer()
	b.ReportMetric(float64(m.median), "p50-ns")
	b.ReportMetric(float64(m.p99), "p99-ns")
	b.ReportMetric(float64(max(m.worst, worst.worst)), "worst-ns")
	b.ReportMetric(float64(m.work.Tuples)/float64(m.n), "tuples")
	b.ReportMetric(float64(worst.most.Tuples), "most-tuples")
	b.ReportMetric(float64(worst.most.Blocks), "most-blocks")
	b.ReportMetric(float64(worst.most.Entries), "most-entries")
	b.ReportMetric(float64(s.Bytes())/float64(len(rules)), "B/rule")
	b.Logf("%d filters, %d rules, %d masks, %d tuples, built in %v", filters, len(rules), t.Masks(), t.Tuples(),
		built.Round(time.Millisecond))
}

// BenchmarkExplosion is the traffic of the tuple-space-explosion attack: every header is new.
func BenchmarkExplosion(b *testing.B) {
	rules, keys := classbench.Explosion()
	_, t := load(rules)
	v := t.View()
	for i := range b.N {
		v.Lookup(2, &keys[i%len(keys)])
	}
	b.ReportMetric(float64(t.Tuples()), "tuples")
}

// BenchmarkExact is a lookup among n rules with one mask, in random order: two cache lines that are not there.
func BenchmarkExact(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			var m flow.Match
			m.Mask[flow.WordIPv4], m.Mask[flow.WordPort] = 0xffffffff, 0xffff<<flow.ShiftEthType
			s := NewStore(1)
			t := s.NewTable()
			s.Epoch(2)
			for i := range n {
				m.Key[flow.WordIPv4] = uint64(i)
				t.Insert(uint32(i+1), &m, 1, 0, 2)
			}
			v := t.View()
			key, next := m.Key, uint32(1)
			b.ResetTimer()
			for range b.N {
				next = next*1664525 + 1013904223 // Numerical Recipes' linear congruential generator
				key[flow.WordIPv4] = uint64(next>>4) % uint64(n)
				if slot, _ := v.Lookup(2, &key); slot == 0 {
					b.Fatal("not found")
				}
			}
			b.ReportMetric(float64(s.Bytes())/float64(n), "B/rule")
		})
	}
}
