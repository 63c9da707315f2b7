package flow

import (
	"cmp"
	"slices"
)

// RuleDiff is a rule before and after; nil where it is not there.
type RuleDiff struct{ Old, New *Rule }

// DiffRules compares two sets of rules and returns what differs, by table, falling priority and match. Of two rules with the
// same table, priority and match in one set the later one counts.
func DiffRules(before, after []*Rule) []RuleDiff {
	type place struct {
		table    uint8
		priority uint16
		match    Match
	}
	pairs := make(map[place]*RuleDiff, len(before))
	at := func(r *Rule) *RuleDiff {
		k := place{r.Table, r.Priority, r.Match}
		d := pairs[k]
		if d == nil {
			d = new(RuleDiff)
			pairs[k] = d
		}
		return d
	}
	for _, r := range before {
		at(r).Old = r
	}
	for _, r := range after {
		at(r).New = r
	}
	var out []RuleDiff
	for _, d := range pairs {
		if d.Old == nil || d.New == nil || !d.Old.sameEffect(d.New) {
			out = append(out, *d)
		}
	}
	slices.SortFunc(out, func(a, b RuleDiff) int { return compareRules(a.any(), b.any()) })
	return out
}

// any is the newer rule of d, if there is one.
func (d *RuleDiff) any() *Rule {
	if d.New != nil {
		return d.New
	}
	return d.Old
}

// sameEffect compares what ovs-ofctl diff-flows compares of rules with the same match.
func (r *Rule) sameEffect(o *Rule) bool {
	return r.Cookie == o.Cookie && r.IdleTimeout == o.IdleTimeout && r.HardTimeout == o.HardTimeout &&
		r.Importance == o.Importance && slices.Equal(r.Actions, o.Actions)
}

func compareRules(a, b *Rule) int {
	return cmp.Or(
		cmp.Compare(a.Table, b.Table), cmp.Compare(b.Priority, a.Priority),
		slices.Compare(a.Match.Mask[:], b.Match.Mask[:]), slices.Compare(a.Match.Key[:], b.Match.Key[:]),
	)
}
