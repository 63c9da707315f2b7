package flowdiff

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// RunCached compares Weft with Weft without caches, under changes of the rules between packets: rules are added,
// replaced, modified and deleted. Packets come again and again, so that they meet flows cached before a change.
func (h *Harness) RunCached(ctx context.Context, seed uint64, limits Limits) ([]*Difference, error) {
	if h.uncached == nil {
		var err error
		if h.uncached, err = newWeft(ctx, -1, h.log); err != nil {
			return nil, err
		}
	}
	var found []*Difference
	end := time.Now().Add(limits.Time)
	for n := uint64(0); time.Now().Before(end) && len(found) < limits.most(); n++ {
		if limits.Cases > 0 && n >= uint64(limits.Cases) {
			break
		}
		c, err := h.changing(seed + n)
		if err != nil {
			return found, err
		}
		d, err := h.compare(ctx, h.uncached, h.weft, c)
		if errors.Is(err, errBothRefuse) {
			h.Broken++
			continue
		}
		if err != nil {
			return found, fmt.Errorf("seed %d: %w\n%s", seed+n, err, c)
		}
		if d != nil {
			d.Seed, d.names = seed+n, [2]string{"Weft without caches", "Weft"}
			small, err := h.shrink(ctx, h.uncached, h.weft, d)
			if err != nil {
				return found, err
			}
			small.names = d.names
			found = append(found, small)
		}
		h.Cases++
	}
	return found, nil
}

// changing draws a case with changes between its packets.
func (h *Harness) changing(seed uint64) (*Case, error) {
	// Which bucket of a select group a flow gets is each switch's own choice.
	types := h.gen.groupTypes
	h.gen.groupTypes = slices.DeleteFunc(slices.Clone(types), func(t string) bool { return t == selectType })
	c, err := h.gen.generate(seed, packetsPerCase/2)
	h.gen.groupTypes = types
	if err != nil {
		return nil, err
	}
	r := h.gen.r
	refused := func(rule string) bool { return h.weft.accepts(rule) != nil }
	c.Rules = slices.DeleteFunc(c.Rules, refused)
	packets, steps := c.Steps, []Step(nil)
	for range 3 * packetsPerCase {
		if r.IntN(4) == 0 {
			if line := h.drawChange(r, c.Rules); line != "" {
				steps = append(steps, Step{Change: line})
			}
		}
		steps = append(steps, pick(r, packets))
	}
	return c.with(steps), nil
}

// drawChange draws one change of rules like those given.
func (h *Harness) drawChange(r *rand.Rand, rules []string) string {
	if len(rules) == 0 {
		return ""
	}
	old := pick(r, rules)
	match, _, _ := strings.Cut(old, "actions=")
	match = strings.TrimSuffix(match, ",")
	switch r.IntN(6) {
	case 5:
		_, actions, _ := strings.Cut(pick(r, rules), "actions=")
		terms := slices.DeleteFunc(splitTop(match), func(t string) bool { return strings.HasPrefix(t, "priority=") })
		if h.weft.accepts(match+",actions="+actions) == nil {
			return "modify " + strings.Join(terms, ",") + ",actions=" + actions
		}
		return "modify_strict " + match + ",actions=drop"
	case 0:
		return "delete_strict " + match
	case 1: // a looser deletion: without the priority, and perhaps more
		terms := slices.DeleteFunc(splitTop(match), func(t string) bool { return strings.HasPrefix(t, "priority=") })
		return "delete " + strings.Join(terms[:1+r.IntN(len(terms))], ",")
	case 2:
		return "add " + old
	case 3: // other actions for the same match
		_, actions, _ := strings.Cut(pick(r, rules), "actions=")
		if line := match + ",actions=" + actions; h.weft.accepts(line) == nil {
			return "add " + line
		}
		return "add " + match + ",actions=output:3"
	}
	drawn := h.gen.draw(r.IntN(tables), 101+r.IntN(100)).text
	if h.weft.accepts(drawn) != nil {
		return ""
	}
	return "add " + drawn
}
