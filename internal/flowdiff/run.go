package flowdiff

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Limits say when a run ends.
type Limits struct {
	Time        time.Duration
	Cases       int // 0: as many as the time allows
	Differences int // after so many, 0: 5
}

func (l Limits) most() int {
	if l.Differences == 0 {
		return 5
	}
	return l.Differences
}

// packetsPerCase is a compromise: loading rules takes as long as some fifty packets.
const packetsPerCase = 60

// Run compares cases drawn from seed, seed+1 and so on, and returns what differed, shrunk and traced.
func (h *Harness) Run(ctx context.Context, seed uint64, limits Limits) ([]*Difference, error) {
	var found []*Difference
	end := time.Now().Add(limits.Time)
	for n := uint64(0); time.Now().Before(end) && len(found) < limits.most(); n++ {
		if limits.Cases > 0 && n >= uint64(limits.Cases) {
			break
		}
		c, err := h.gen.generate(seed+n, packetsPerCase)
		if err != nil {
			return found, err
		}
		if err := h.prepare(ctx, c, &found, seed+n); err != nil {
			return found, err
		}
		if err := h.check(ctx, c, &found, seed+n); err != nil {
			if err = h.survive(ctx, err); err != nil {
				return found, fmt.Errorf("seed %d: %w\n%s", seed+n, err, c)
			}
			h.Crashes = append(h.Crashes, fmt.Sprintf("seed %d", seed+n))
		}
		h.Cases++
	}
	return found, nil
}

// prepare removes the rules that both sides refuse, and reports those that one of them does.
func (h *Harness) prepare(ctx context.Context, c *Case, found *[]*Difference, seed uint64) error {
	kept := c.Rules[:0]
	for _, r := range c.Rules {
		refused := h.weft.accepts(r)
		if refused == nil {
			kept = append(kept, r)
			continue
		}
		if h.ovs.accepts(ctx, r) != nil {
			h.Refused++
			continue
		}
		d := &Difference{Case: &Case{Rules: []string{r}}, Step: -1, Refusal: refusedBy(byWeft) + refused.Error(), Seed: seed}
		errors.As(refused, &d.refused)
		if err := h.add(ctx, found, d); err != nil {
			return err
		}
	}
	c.Rules = kept
	return nil
}

// survive starts Open vSwitch again if err is that it died: what it asserts is its own. Any other error stays one.
func (h *Harness) survive(ctx context.Context, err error) error {
	if h.ovs.vswitchd.Wait(time.Second) != nil {
		return err
	}
	h.log.Warn("ovs-vswitchd died", "output", h.ovs.vswitchd.Tail(2))
	h.ovs.close()
	h.ovs, err = startOVS(ctx, h.log)
	return err
}

// add counts a difference that is known or was found before in another form, and shrinks and keeps another.
func (h *Harness) add(ctx context.Context, found *[]*Difference, d *Difference) error {
	if h.classify(d); d.knownAs != "" {
		h.known[d.knownAs]++
		return nil
	}
	small, err := h.explain(ctx, d)
	if err != nil {
		*found = append(*found, small)
		return err
	}
	s := small.signature()
	if h.again[s]++; h.again[s] == 1 {
		*found = append(*found, small)
	}
	return nil
}

// values are what a signature leaves out.
var values = regexp.MustCompile(`[=:][^,()]*|\d+`)

// signature is what a difference is about: the names of conditions and actions in its rules.
func (d *Difference) signature() string {
	words := make(map[string]bool)
	for _, r := range slices.Concat(d.Case.Rules, d.Case.Groups) {
		for _, w := range splitTop(strings.ReplaceAll(r, "actions=", "")) {
			words[values.ReplaceAllString(w, "")] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(words)), ",")
}

// check runs one case to its end, past what differs.
func (h *Harness) check(ctx context.Context, c *Case, found *[]*Difference, seed uint64) error {
	for range 8 {
		d, err := h.compare(ctx, h.ovs, h.weft, c)
		if errors.Is(err, errBothRefuse) {
			h.Broken++
			return nil
		}
		if d == nil || err != nil {
			return err
		}
		d.Seed, d.names = seed, sideNames()
		if err := h.add(ctx, found, d); err != nil {
			return err
		}
		if d.Step < 0 {
			c = c.without(d.refused.line)
		} else {
			c = c.with(c.Steps[d.Step+1:])
		}
		if c == nil || len(c.Steps) == 0 {
			return nil
		}
	}
	return nil
}

// explain shrinks a difference and adds what both sides say about it.
func (h *Harness) explain(ctx context.Context, d *Difference) (*Difference, error) {
	small, err := h.shrink(ctx, h.ovs, h.weft, d)
	if err != nil || small.Step < 0 {
		return small, err
	}
	small.names = d.names
	if err := errors.Join(h.ovs.load(ctx, small.Case), h.weft.load(ctx, small.Case)); err != nil {
		return small, err
	}
	s := small.Case.Steps[small.Step]
	small.traces = [2]string{h.ovs.trace(s.Port, s.Frame), h.weft.trace(s.Port, s.Frame)}
	return small, nil
}

// Replay compares one case and returns an unknown difference, shrunk, or nil.
func (h *Harness) Replay(ctx context.Context, c *Case) (*Difference, error) {
	d, err := h.compare(ctx, h.ovs, h.weft, c)
	if d == nil || err != nil {
		return nil, err
	}
	if h.classify(d); d.knownAs != "" {
		h.known[d.knownAs]++
		return nil, nil
	}
	d.names = sideNames()
	return h.explain(ctx, d)
}

// sideNames are the names of what Run compares.
func sideNames() [2]string { return [2]string{"Open vSwitch", "Weft"} }
