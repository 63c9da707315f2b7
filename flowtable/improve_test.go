package flowtable

import (
	"errors"
	"iter"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"weft/flowtable/classbench"
	"weft/flowtable/flow"
)

// classBench is a pipeline with a set of rules like those of the literature, whose priorities the model knows.
type classBench struct {
	t     *testing.T
	p     *Pipeline
	rules []classbench.Rule
	r     *rand.Rand
}

func (c *classBench) changes(rules []classbench.Rule) iter.Seq2[*flow.Change, error] {
	return func(yield func(*flow.Change, error) bool) {
		for i := range rules {
			r := flow.Rule{Match: rules[i].Match, Priority: rules[i].Priority, Actions: oneOutput(i)}
			if !yield(&flow.Change{Rule: &r}, nil) {
				return
			}
		}
	}
}

// check compares what st finds for some keys with a search of all rules.
func (c *classBench) check(st *state, rules []classbench.Rule) {
	c.t.Helper()
	for range 300 {
		key := classbench.Corner(c.r, &c.rules[c.r.IntN(len(c.rules))].Match)
		want := -1
		for i := range rules {
			if int(rules[i].Priority) > want && rules[i].Match.Matches(&key) {
				want = int(rules[i].Priority)
			}
		}
		got := -1
		if slot, _ := st.classify(0, &key); slot != noSlot {
			got = int(c.p.slab.chunks.at(slot).priority)
		}
		if got != want {
			c.t.Fatalf("key %x: priority %d, want %d", key, got, want)
		}
	}
}

func TestManyMasksShareTuplesAndNothingElseChanges(t *testing.T) {
	c := &classBench{t: t, p: NewPipeline(Config{}), r: rand.New(rand.NewPCG(1, 9))}
	c.rules = classbench.Expand(classbench.Generate(classbench.FW, 1500, 5))
	if len(c.rules) < 3*bulkChanges {
		t.Fatalf("only %d rules", len(c.rules))
	}
	// A thread that is always in a batch, so that nothing may be taken from under it.
	l := c.p.NewLookup(LookupConfig{CacheEntries: -1})
	half := len(c.rules) / 2
	if _, err := c.p.ApplyEach(c.changes(c.rules[:half])); err != nil {
		t.Fatal(err)
	}
	old := c.p.state.Load()
	atomic.StoreUint64(&l.active, old.epoch)
	c.check(old, c.rules[:half])

	bad := errors.New("the file ends in the middle of a line")
	_, err := c.p.ApplyEach(func(yield func(*flow.Change, error) bool) {
		for change := range c.changes(c.rules[half:]) {
			if !yield(change, nil) {
				return
			}
		}
		yield(nil, bad)
	})
	if !errors.Is(err, bad) {
		t.Fatalf("got error %v", err)
	}
	c.check(c.p.state.Load(), c.rules[:half])
	c.check(old, c.rules[:half])
	if n := c.p.Stats().Rules; n != half {
		t.Fatalf("%d rules after a transaction that failed, want %d", n, half)
	}

	for change := range c.changes(c.rules[half:]) {
		if err := c.p.Apply([]flow.Change{*change}); err != nil {
			t.Fatal(err)
		}
	}
	now := c.p.state.Load()
	c.check(now, c.rules)
	for range 4 {
		c.p.Expire(c.p.now())
		c.check(c.p.state.Load(), c.rules)
		c.check(now, c.rules)
		c.check(old, c.rules[:half])
	}
	atomic.StoreUint64(&l.active, 0)
	for range 20 {
		c.p.Expire(c.p.now())
	}
	c.check(c.p.state.Load(), c.rules)
	s := c.p.Stats().ByTable[0]
	if s.Rules != len(c.rules) || s.Tuples*4 > s.Masks {
		t.Errorf("%+v: want far fewer tuples than masks", s)
	}
	if c.p.tables[0].Moving() {
		t.Error("rules are still moving")
	}
	if n := c.p.Delete(flow.Filter{}); n != len(c.rules) {
		t.Errorf("deleted %d rules of %d", n, len(c.rules))
	}
	c.check(c.p.state.Load(), nil)
	t.Logf("%+v", s)
}
