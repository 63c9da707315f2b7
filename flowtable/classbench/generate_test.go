package classbench

import (
	"math/rand/v2"
	"slices"
	"testing"

	"weft/flowtable/flow"
)

func TestSetsAreAsManyFiltersAsAskedForAndRepeatable(t *testing.T) {
	for _, kind := range Kinds {
		for _, n := range []int{1000, 10000} {
			a, b := Generate(kind, n, 1), Generate(kind, n, 1)
			if len(a) != n || !slices.Equal(a, b) {
				t.Errorf("%s: %d filters of %d, the same twice: %v", kind, len(a), n, slices.Equal(a, b))
			}
			if slices.Equal(a, Generate(kind, n, 2)) {
				t.Errorf("%s: another seed makes the same set", kind)
			}
			rules := Expand(a)
			masks := map[flow.Key]bool{}
			for i := range rules {
				m := &rules[i].Match
				masks[m.Mask] = true
				for w := range m.Key {
					if m.Key[w]&^m.Mask[w] != 0 {
						t.Fatalf("%s: rule %d has bits outside its mask", kind, i)
					}
				}
			}
			t.Logf("%s %d: %d rules, %d masks", kind, n, len(rules), len(masks))
		}
	}
}

func TestSharesAreThoseOfTheParameters(t *testing.T) {
	const n = 20000
	for _, kind := range Kinds {
		protos, pairs := map[uint8]int{}, map[[2]int]int{}
		for _, f := range Generate(kind, n, 3) {
			protos[f.Proto]++
			pairs[[2]int{f.SrcLen, f.DstLen}]++
		}
		want := map[uint8]int{}
		sum := 0
		for _, a := range kinds[kind].apps {
			want[a.proto] += a.weight
			sum += a.weight
		}
		for proto, w := range want {
			// Filters are all different, so that what has few of them, like any protocol from anywhere, becomes rarer.
			if got := protos[proto] * 1000 / n; w*1000/sum > 100 && (got < w/3 || got > 3*w) {
				t.Errorf("%s: protocol %d is %d thousandths, want about %d", kind, proto, got, w)
			}
		}
		if kind == ACL && pairs[[2]int{32, 32}] < n/4 {
			t.Errorf("acl: %d of %d filters are from host to host", pairs[[2]int{32, 32}], n)
		}
	}
}

func TestRangesBecomeTheFewestMasks(t *testing.T) {
	for _, c := range []struct {
		p    [2]uint16
		want int
	}{
		{[2]uint16{0, 65535}, 1},
		{[2]uint16{1024, 65535}, 6},
		{[2]uint16{0, 1023}, 1},
		{[2]uint16{1, 65534}, 30},
		{[2]uint16{80, 80}, 1},
	} {
		list := split(c.p)
		if len(list) != c.want {
			t.Errorf("%v is %d masks, want %d", c.p, len(list), c.want)
		}
		for port := range 65536 {
			n := 0
			for _, s := range list {
				if uint64(port)&s[1] == s[0] {
					n++
				}
			}
			if in := port >= int(c.p[0]) && port <= int(c.p[1]); in != (n == 1) || n > 1 {
				t.Fatalf("%v: port %d is in %d masks", c.p, port, n)
			}
		}
	}
}

func TestTraceFulfilsRulesWithLocality(t *testing.T) {
	rules := Expand(Generate(FW, 500, 1))
	r := rand.New(rand.NewPCG(1, 2))
	for _, b := range []float64{0, 1} {
		runs, last := 0, flow.Key{}
		keys := Trace(r, rules, 5000, 1, b)
		for i := range keys {
			if keys[i] != last {
				runs++
				last = keys[i]
				if !slices.ContainsFunc(rules, func(r Rule) bool { return r.Match.Matches(&last) }) {
					t.Fatalf("key %x fulfils no rule", last)
				}
			}
		}
		if local := runs < len(keys)/2; local != (b == 1) {
			t.Errorf("b=%v: %d runs in %d keys", b, runs, len(keys))
		}
	}
}

func TestExplosionIsDeniedByTheLastRule(t *testing.T) {
	rules, keys := Explosion()
	if len(rules) != 4 || len(keys) != 16*32*16 {
		t.Fatalf("%d rules, %d headers", len(rules), len(keys))
	}
	for i := range keys {
		for j := range rules {
			if rules[j].Match.Matches(&keys[i]) != (j == len(rules)-1) {
				t.Fatalf("header %d and rule %d", i, j)
			}
		}
	}
}
