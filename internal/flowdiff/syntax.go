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

// RunSyntax compares what the two sides accept as a rule: rules as Run draws them, written a little differently or a
// little wrong.
func (h *Harness) RunSyntax(ctx context.Context, seed uint64, limits Limits) ([]*Difference, error) {
	var found []*Difference
	end := time.Now().Add(limits.Time)
	for n := uint64(0); time.Now().Before(end) && len(found) < limits.most(); n++ {
		if limits.Cases > 0 && n >= uint64(limits.Cases) {
			break
		}
		h.gen.r = rand.New(rand.NewPCG(seed+n, 0x2545f4914f6cdd1d))
		text := h.gen.misspell(h.gen.draw(h.gen.r.IntN(tables), 1+h.gen.r.IntN(100)).text)
		d, err := h.agreeOn(ctx, text)
		if err != nil {
			return found, err
		}
		h.Cases++
		if d == nil {
			continue
		}
		d.Seed = seed + n
		if h.classify(d); d.knownAs != "" {
			h.known[d.knownAs]++
			continue
		}
		d = h.shrinkText(ctx, d)
		if h.again[d.reason()]++; h.again[d.reason()] == 1 {
			found = append(found, d)
		}
	}
	return found, nil
}

// agreeOn asks both sides whether they accept a rule.
func (h *Harness) agreeOn(ctx context.Context, text string) (*Difference, error) {
	d, err := both(&Case{Rules: []string{text}}, h.ovs.accepts(ctx, text), h.weft.accepts(text))
	if errors.Is(err, errBothRefuse) {
		h.Refused++
		return nil, nil
	}
	return d, err
}

// shrinkText leaves out what does not matter to a refusal.
func (h *Harness) shrinkText(ctx context.Context, d *Difference) *Difference {
	for k := 0; ; {
		terms := splitTop(d.Case.Rules[0])
		if k >= len(terms) {
			return d
		}
		text := joinTerms(slices.Delete(terms, k, k+1))
		smaller, err := h.agreeOn(ctx, text)
		if err != nil || smaller == nil || text == "" || smaller.reason() != d.reason() {
			k++
			continue
		}
		if h.classify(smaller); smaller.knownAs != "" {
			k++
			continue
		}
		smaller.Seed = d.Seed
		d = smaller
	}
}

// misspell writes a rule a little differently: some of what it does is still right.
func (g *generator) misspell(text string) string {
	for range 1 + g.r.IntN(2) {
		terms := splitTop(text)
		i := g.r.IntN(len(terms))
		name, value, has := strings.Cut(terms[i], "=")
		switch g.r.IntN(12) {
		case 0: // something is missing, a prerequisite perhaps
			terms = slices.Delete(terms, i, i+1)
		case 1: // given twice
			terms = append([]string{terms[i]}, terms...)
		case 2:
			terms[i] = strings.ToUpper(terms[i])
		case 3: // another number
			if has {
				terms[i] = name + "=" + pick(g.r, []string{"0", "1", "255", "256", "65535", "65536", "4294967296", "-1", "x", ""})
			}
		case 4: // a mask
			if has {
				terms[i] = name + "=" + value + pick(g.r, []string{"/1", "/0xff", "/255.0.255.0", "/ff:ff:ff:00:00:00", "/0", "/"})
			}
		case 5:
			terms[i] = " " + terms[i] + " "
		case 6:
			terms[i] = pick(g.r, g.kinds).text
		case 7: // a field of a packet of another kind
			f := pick(g.r, g.fields)
			if f.match != nil {
				terms = append([]string{f.drawName(g.r) + "=" + f.match(g.r).text}, terms...)
			}
		case 8: // an action that may need what the match lacks
			a := pick(g.r, g.actions)
			if t := a.draw(g, &position{has: a.need}); t != "" {
				terms = append(terms, t)
			}
		case 9:
			terms[i] = strings.Replace(terms[i], "=", ":", 1)
		case 10:
			terms[i] = name + "=" + pick(g.r, []string{"*", "any", "0x", "1:2:3:4:5:6", "10.0.0.1", "::1", "LOCAL", "CONTROLLER"})
		case 11: // two letters change places
			if n := len(terms[i]); n > 2 {
				k := g.r.IntN(n - 1)
				terms[i] = fmt.Sprintf("%s%c%c%s", terms[i][:k], terms[i][k+1], terms[i][k], terms[i][k+2:])
			}
		}
		text = joinTerms(terms)
		if text == "" {
			return "drop"
		}
	}
	return strings.NewReplacer("\n", "", "\x00", "").Replace(text)
}
