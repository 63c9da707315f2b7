package flowtable

import (
	"errors"
	"iter"
	"testing"

	"weft/flowtable/flow"
)

// replaceAll makes rules the only ones.
func replaceAll(p *Pipeline, rules []*flow.Rule) error {
	_, err := p.ReplaceEach(func(yield func(*flow.Rule, error) bool) {
		for _, r := range rules {
			if !yield(r, nil) {
				return
			}
		}
	})
	return err
}

func changes(t *testing.T, end error, texts ...string) iter.Seq2[*flow.Change, error] {
	return func(yield func(*flow.Change, error) bool) {
		for _, s := range texts {
			if !yield(&flow.Change{Rule: rule(t, s)}, nil) {
				return
			}
		}
		if end != nil {
			yield(nil, end)
		}
	}
}

func TestATransactionThatIsCutOffLeavesNothing(t *testing.T) {
	b := newBench(t, "priority=1,in_port=1,actions=1")
	cut := errors.New("cut off")
	n, err := b.p.ApplyEach(changes(t, cut, "priority=2,in_port=2,actions=2", "priority=1,in_port=1,actions=3"))
	if !errors.Is(err, cut) || n != (Applied{}) || b.p.Stats().Rules != 1 {
		t.Errorf("%+v, %v, %d rules", n, err, b.p.Stats().Rules)
	}
	n, err = b.p.ApplyEach(changes(t, nil, "priority=2,in_port=2,actions=2", "priority=1,in_port=1,actions=3"))
	if err != nil || n != (Applied{Added: 2}) {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestEachGoesOnWhileRulesGo(t *testing.T) {
	b := newBench(t)
	for i := range 1000 {
		r := rule(t, "actions=1")
		r.Priority = uint16(i)
		if err := b.p.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	seen, last := 0, 1000
	b.p.Each(&flow.Filter{}, func(s *flow.RuleStats) bool {
		if int(s.Rule.Priority) >= last {
			t.Fatalf("priority %d after %d", s.Rule.Priority, last)
		}
		last = int(s.Rule.Priority)
		if seen == 0 {
			b.p.Delete(flow.Filter{}) // nobody holds the lock here
		}
		seen++
		return true
	})
	if seen != eachPiece {
		t.Errorf("%d rules seen, want the first piece", seen)
	}
}

// TestWalksDoNotShareMemory: one inside another, and one after another that was cut short.
func TestWalksDoNotShareMemory(t *testing.T) {
	b := newBench(t)
	const n = 3 * eachPiece
	for i := range n {
		r := rule(t, "actions=1")
		r.Priority, r.Table = uint16(i/2), uint8(i%2)
		if err := b.p.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	outer := 0
	b.p.Each(&flow.Filter{HasTable: true, Table: 1}, func(s *flow.RuleStats) bool {
		was, inner := s.Rule.Priority, 0
		b.p.Each(&flow.Filter{HasTable: true, Table: 0}, func(in *flow.RuleStats) bool {
			if want := uint16(n/2 - 1 - inner); in.Rule.Table != 0 || in.Rule.Priority != want {
				t.Fatalf("table %d priority %d, want 0 and %d", in.Rule.Table, in.Rule.Priority, want)
			}
			inner++
			return inner < n/2-outer%2 // every other one is cut short
		})
		if want := uint16(n/2 - 1 - outer); s.Rule.Table != 1 || s.Rule.Priority != was || was != want {
			t.Fatalf("table %d priority %d, want 1 and %d", s.Rule.Table, s.Rule.Priority, want)
		}
		outer++
		return true
	})
	if outer != n/2 {
		t.Errorf("%d rules seen, want %d", outer, n/2)
	}
}
