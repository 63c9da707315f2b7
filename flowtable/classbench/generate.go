package classbench

import (
	"math"
	"math/bits"
	"math/rand/v2"

	"weft/flowtable/flow"
)

// Filter is one rule as ClassBench has it: with port ranges.
type Filter struct {
	Src, Dst       uint32 // addresses, without bits beyond their lengths
	SrcLen, DstLen int
	Proto          uint8     // 0 = any
	SrcPort        [2]uint16 // first and last
	DstPort        [2]uint16
}

// Generate draws n different filters, the most specific addresses as often as they come: order is priority, highest
// first. Fewer come back when the kind has not enough of them.
func Generate(kind Kind, n int, seed uint64) []Filter {
	g := &generator{p: &kinds[kind], r: rand.New(rand.NewPCG(seed, uint64(kind))), seed: seed}
	seen := make(map[Filter]bool, n)
	filters := make([]Filter, 0, n)
	for tries := 0; len(filters) < n && tries < 40*n; tries++ {
		// Sets that are larger than what was measured have more branches (the tool's "branch scaling").
		g.spread = tries / n
		if f := g.filter(); !seen[f] {
			seen[f] = true
			filters = append(filters, f)
		}
	}
	return filters
}

type generator struct {
	p      *params
	r      *rand.Rand
	seed   uint64
	spread int // percent of the nodes with one child that have two
}

func (g *generator) filter() Filter {
	a := g.p.apps[pick(g.r, len(g.p.apps), func(i int) int { return g.p.apps[i].weight })]
	l := g.lengths(a)
	f := Filter{Proto: a.proto, SrcLen: l.src, DstLen: l.dst}
	f.SrcPort = g.ports(a.src, g.p.srcRange, g.p.srcPort)
	f.DstPort = g.ports(a.dst, g.p.dstRange, g.p.dstPort)
	f.Src = g.address(&g.p.src, 1, l.src)
	f.Dst = g.follow(f.Src, l)
	return f
}

func pick(r *rand.Rand, n int, weight func(int) int) int {
	sum := 0
	for i := range n {
		sum += weight(i)
	}
	x := r.IntN(sum)
	for i := range n {
		if x -= weight(i); x < 0 {
			return i
		}
	}
	return n - 1
}

func (g *generator) lengths(a app) lengths {
	for _, p := range g.p.pairs {
		if p.src == a.src && p.dst == a.dst {
			return p.list[pick(g.r, len(p.list), func(i int) int { return p.list[i].weight })]
		}
	}
	return lengths{src: 32, dst: 32}
}

func (g *generator) ports(c portClass, ranges, exact []ports) [2]uint16 {
	list := ranges
	switch {
	case c == hi:
		return [2]uint16{1024, 65535}
	case c == lo:
		return [2]uint16{0, 1023}
	case c == em:
		list = exact
	}
	if c == wc || len(list) == 0 {
		return [2]uint16{0, 65535}
	}
	p := list[pick(g.r, len(list), func(i int) int { return list[i].weight })]
	return [2]uint16{uint16(p.lo), uint16(p.hi)}
}

// address walks down a tree for length bits.
func (g *generator) address(tree *[32]depth, which uint64, length int) uint32 {
	var a uint32
	for d := range length {
		a |= g.step(tree, which, a, d) << (31 - d)
	}
	return a
}

// step is the next bit below the node that the first d bits of a lead to. The tree is not stored: what a node is like
// follows from its place.
func (g *generator) step(tree *[32]depth, which uint64, a uint32, d int) uint32 {
	node := rand.NewPCG(g.seed^which<<56^uint64(a)<<8^uint64(d), 0x9e3779b97f4a7c15)
	r := rand.New(node)
	side := uint32(r.IntN(2))
	if r.IntN(1000) >= tree[d].two && r.IntN(100) >= g.spread {
		return side // the only child
	}
	heavy, light := 1000, 1000-tree[d].skew
	if g.spread > 0 {
		light = heavy
	}
	if g.r.IntN(heavy+light) < light {
		return 1 - side
	}
	return side
}

// follow is a destination: it goes the way of src until it leaves it.
func (g *generator) follow(src uint32, l lengths) uint32 {
	var a uint32
	same := true
	for d := range l.dst {
		if same = same && d < l.src && g.r.IntN(1000) < g.p.same[d]; same {
			a |= src & (1 << (31 - d))
		} else {
			a |= g.step(&g.p.dst, 2, a, d) << (31 - d)
		}
	}
	return a
}

// Rule is a match and its priority.
type Rule struct {
	Match    flow.Match
	Priority uint16
	Filter   int // the filter that it came from, by index
}

// Expand turns filters into matches, as users of ovs-ofctl do: a port range becomes up to 30 masks, both become their
// product. Priorities fall from 65535 to 1; what comes twice is left out.
func Expand(filters []Filter) []Rule {
	var rules []Rule
	seen := make(map[flow.Match]bool, len(filters))
	for i := range filters {
		priority := uint16(65535 - i*65534/max(1, len(filters)))
		filters[i].expand(func(m *flow.Match) {
			if !seen[*m] {
				seen[*m] = true
				rules = append(rules, Rule{*m, priority, i})
			}
		})
	}
	return rules
}

func (f *Filter) expand(yield func(*flow.Match)) {
	var m flow.Match
	m.Mask[flow.WordPort] = 0xffff << flow.ShiftEthType
	m.Key[flow.WordPort] = flow.EthIPv4 << flow.ShiftEthType
	m.Mask[flow.WordIPv4] = prefix(f.SrcLen)<<flow.ShiftIPSrc | prefix(f.DstLen)
	m.Key[flow.WordIPv4] = uint64(f.Src)<<flow.ShiftIPSrc | uint64(f.Dst)
	if f.Proto != 0 {
		m.Mask[flow.WordL4] = 0xff << flow.ShiftProto
		m.Key[flow.WordL4] = uint64(f.Proto) << flow.ShiftProto
	}
	for _, s := range split(f.SrcPort) {
		for _, d := range split(f.DstPort) {
			one := m
			one.Mask[flow.WordL4] |= s[1]<<flow.ShiftTPSrc | d[1]
			one.Key[flow.WordL4] |= s[0]<<flow.ShiftTPSrc | d[0]
			yield(&one)
		}
	}
}

func prefix(n int) uint64 { return 0xffffffff << (32 - n) & 0xffffffff }

// split is the fewest pairs of value and mask that make up a range of ports.
func split(p [2]uint16) [][2]uint64 {
	var list [][2]uint64
	for at, end := uint64(p[0]), uint64(p[1])+1; at < end; {
		size := uint64(1) << min(16, bits.TrailingZeros64(at))
		for at+size > end {
			size /= 2
		}
		list = append(list, [2]uint64{at, 0xffff &^ (size - 1)})
		at += size
	}
	return list
}

// Corner is a key that fulfils m, and in the addresses' and ports' other bits has zeros, ones or anything.
func Corner(r *rand.Rand, m *flow.Match) flow.Key {
	k := m.Key
	for _, part := range [...]flow.Key{
		{flow.WordIPv4: 0xffffffff << 32},
		{flow.WordIPv4: 0xffffffff},
		{flow.WordL4: 0xffff << 16},
		{flow.WordL4: 0xffff},
	} {
		fill := r.Uint64()
		switch r.IntN(3) {
		case 0:
			fill = 0
		case 1:
			fill = math.MaxUint64
		}
		for w := range part {
			k[w] |= fill & part[w] &^ m.Mask[w]
		}
	}
	if m.Mask[flow.WordL4]>>flow.ShiftProto == 0 {
		k[flow.WordL4] |= []uint64{flow.ProtoTCP, flow.ProtoUDP}[r.IntN(2)] << flow.ShiftProto
	}
	return k
}

// Trace is at least n keys of rules chosen at random, each as many times in a row as a Pareto distribution with shape a
// and scale b says ("ClassBench", section V-B): b 0 has no locality, 1 much.
func Trace(r *rand.Rand, rules []Rule, n int, a, b float64) []flow.Key {
	keys := make([]flow.Key, 0, n)
	for len(keys) < n {
		k := Corner(r, &rules[r.IntN(len(rules))].Match)
		times := 1
		if b > 0 {
			times = int(min(1e4, math.Ceil(b/math.Pow(1-r.Float64(), 1/a))))
		}
		for range times {
			keys = append(keys, k)
		}
	}
	return keys
}

// Explosion is the access control list of the tuple-space-explosion attack (Csikor et al., "Tuple Space Explosion: A
// Denial-of-Service Attack Against a Software Packet Classifier", CoNEXT 2019), each rule allowing one value of one
// field, the rest denied; and the attack's headers: for each of the fields one that differs from the allowed value first
// in its first, second, ... bit, in all combinations. A cache of wildcarded flows gets a mask for each of them.
func Explosion() ([]Rule, []flow.Key) {
	fields := []struct {
		word, shift, width int
		value              uint64
	}{
		{flow.WordL4, 0, 16, 80},
		{flow.WordIPv4, 32, 32, 0x0a000001},
		{flow.WordL4, 16, 16, 12345},
	}
	var base flow.Match
	base.Mask[flow.WordPort], base.Key[flow.WordPort] = 0xffff<<flow.ShiftEthType, flow.EthIPv4<<flow.ShiftEthType
	base.Mask[flow.WordL4], base.Key[flow.WordL4] = 0xff<<flow.ShiftProto, flow.ProtoTCP<<flow.ShiftProto
	var rules []Rule
	var keys []flow.Key
	attack := []flow.Key{base.Key}
	for i, f := range fields {
		m := base
		m.Mask[f.word] |= (1<<f.width - 1) << f.shift
		m.Key[f.word] |= f.value << f.shift
		rules = append(rules, Rule{m, uint16(40 - 10*i), i})
		keys = keys[:0]
		for _, k := range attack {
			for bit := range f.width {
				c := k
				c[f.word] |= (f.value ^ 1<<bit) << f.shift
				keys = append(keys, c)
			}
		}
		attack, keys = keys, attack
	}
	return append(rules, Rule{flow.Match{}, 1, len(fields)}), attack
}
