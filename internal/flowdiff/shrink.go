package flowdiff

import (
	"context"
	"regexp"
	"slices"
	"strings"
)

// shrinkTries bounds how often a case is run again to make it smaller.
const shrinkTries = 250

// shrinker makes a case smaller as long as it still shows the same kind of difference.
type shrinker struct {
	h     *Harness
	a, b  side
	tries int
	best  *Difference
	err   error
}

// shrink returns the smallest case found that differs as d does.
func (h *Harness) shrink(ctx context.Context, a, b side, d *Difference) (*Difference, error) {
	s := &shrinker{h: h, a: a, b: b, tries: shrinkTries, best: d}
	if d.Step >= 0 {
		s.steps(ctx)
	} else {
		s.try(ctx, s.best.Case.with(nil))
	}
	for before := 0; before != s.tries && s.tries > 0; {
		before = s.tries
		s.lines(ctx)
		if before-s.tries == 0 {
			break
		}
		size := len(s.best.Case.String())
		s.terms(ctx)
		if size == len(s.best.Case.String()) {
			break
		}
	}
	s.frame(ctx)
	return s.best, s.err
}

// try runs c, and keeps it if it shows the difference.
func (s *shrinker) try(ctx context.Context, c *Case) bool {
	if s.tries == 0 || s.err != nil {
		return false
	}
	s.tries--
	d, err := s.h.compare(ctx, s.a, s.b, c)
	if err == errBothRefuse {
		return false
	}
	if err != nil {
		s.err = err
		return false
	}
	if d == nil || !d.resembles(s.best) {
		return false
	}
	d.Seed = s.best.Seed
	if s.h.classify(d); d.knownAs != s.best.knownAs {
		return false
	}
	if d.Step >= 0 {
		d.Case = d.Case.with(d.Case.Steps[:d.Step+1])
	}
	s.best = d
	return true
}

// resembles reports whether two differences are of one kind: frames, counters, or a refusal with one message.
func (d *Difference) resembles(e *Difference) bool {
	switch {
	case d.Step < 0 != (e.Step < 0), (d.Counted == "") != (e.Counted == ""):
		return false
	case d.Step < 0:
		return d.reason() == e.reason()
	}
	return true
}

// places in messages, and what they quote of the line.
var places = regexp.MustCompile(`line \d+, column \d+|\d+`)

// reason is why a line is refused, without what depends on the line.
func (d *Difference) reason() string {
	return d.Refusal[:4] + places.ReplaceAllString(d.refused.why, "")
}

// steps leaves out steps before the one that differs: all of them, else those that do not matter.
func (s *shrinker) steps(ctx context.Context) {
	all := s.best.Case.Steps[:s.best.Step+1]
	if s.try(ctx, s.best.Case.with(all[len(all)-1:])) {
		return
	}
	// Where counters differ, it may be for any of the packets.
	kept := 1
	if s.best.Counted != "" {
		kept = 0
	}
	for n := len(all) / 2; n > 0; n /= 2 {
		for i := 0; i+n+kept <= len(s.best.Case.Steps); {
			if !s.try(ctx, s.best.Case.with(slices.Delete(slices.Clone(s.best.Case.Steps), i, i+n))) {
				i += n
			}
		}
	}
}

// lines leaves out rules, groups and meters.
func (s *shrinker) lines(ctx context.Context) {
	parts := []func(*Case) *[]string{
		func(c *Case) *[]string { return &c.Rules },
		func(c *Case) *[]string { return &c.Groups },
		func(c *Case) *[]string { return &c.Meters },
		func(c *Case) *[]string { return &c.Ports },
	}
	for _, part := range parts {
		for i := 0; i < len(*part(s.best.Case)); {
			c := *s.best.Case
			*part(&c) = slices.Delete(slices.Clone(*part(&c)), i, i+1)
			if !s.try(ctx, &c) {
				i++
			}
		}
	}
}

// terms leaves out conditions and actions within rules and groups.
func (s *shrinker) terms(ctx context.Context) {
	for _, part := range []func(*Case) *[]string{
		func(c *Case) *[]string { return &c.Rules },
		func(c *Case) *[]string { return &c.Groups },
	} {
		for i := range *part(s.best.Case) {
			for k := 0; ; {
				c := *s.best.Case
				lines := slices.Clone(*part(&c))
				terms := splitTop(lines[i])
				if k >= len(terms) {
					break
				}
				if fixture.MatchString(terms[k]) {
					k++
					continue
				}
				lines[i] = joinTerms(slices.Delete(terms, k, k+1))
				*part(&c) = lines
				if lines[i] == "" || !s.try(ctx, &c) {
					k++
				}
			}
		}
	}
}

// fixture are terms that stay: without them, rules would come to the same place, and which one wins is not defined.
var fixture = regexp.MustCompile(`^(table|priority|group_id|type)=`)

// splitTop splits a rule at commas that are in no parentheses.
func splitTop(rule string) []string {
	var terms []string
	depth, start := 0, 0
	for i, c := range rule {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				terms = append(terms, rule[start:i])
				start = i + 1
			}
		}
	}
	return append(terms, rule[start:])
}

// joinTerms makes a rule of terms, one of which may have been the one with the word "actions=".
func joinTerms(terms []string) string {
	return strings.Join(terms, ",")
}

// frame makes the last packet shorter and its bytes zero.
func (s *shrinker) frame(ctx context.Context) {
	if s.best.Step < 0 {
		return
	}
	with := func(f []byte) *Case {
		steps := slices.Clone(s.best.Case.Steps)
		steps[len(steps)-1].Frame = f
		return s.best.Case.with(steps)
	}
	last := func() []byte { return s.best.Case.Steps[len(s.best.Case.Steps)-1].Frame }
	for cut := len(last()) / 2; cut > 0; {
		if len(last())-cut < 14 || !s.try(ctx, with(last()[:len(last())-cut])) {
			cut /= 2
		}
	}
	for i := len(last()) - 1; i >= 0; i-- {
		if last()[i] == 0 {
			continue
		}
		f := slices.Clone(last())
		f[i] = 0
		s.try(ctx, with(f))
	}
}
