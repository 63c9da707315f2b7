package flowdiff

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// side is one of the two that are compared.
type side interface {
	load(ctx context.Context, c *Case) error
	change(ctx context.Context, line string) error
	packet(port int, frame []byte) (*Output, error)
	counts(ctx context.Context) (map[slot]tally, error)
}

var (
	_ side = (*ovs)(nil)
	_ side = (*weft)(nil)
)

// Harness is Open vSwitch, Weft, and Weft without caches, ready for cases.
type Harness struct {
	gen             *generator
	ovs             *ovs
	weft, uncached  *weft
	log             *slog.Logger
	known           map[string]int // known differences met, by name
	Cases, Packets  int            // done so far
	Forwarded       int            // packets that left somewhere
	Chosen          int            // packets that a select group sent to another bucket, which is right as well
	Refused, Broken int            // rules that both refuse; cases that could not be loaded
	Crashes         []string       // cases at which Open vSwitch died
	left            []string
	again           map[string]int // differences by their signature
}

// New starts both sides and finds out which rows of the tables can be used.
//
// The rows named in without are left out as well.
func New(ctx context.Context, log *slog.Logger, without ...string) (_ *Harness, err error) {
	h := &Harness{gen: newGenerator(), log: log, known: make(map[string]int), again: make(map[string]int)}
	defer func() {
		if err != nil {
			_ = h.Close()
		}
	}()
	if h.ovs, err = startOVS(ctx, log); err != nil {
		return nil, err
	}
	if h.weft, err = newWeft(ctx, 0, log); err != nil {
		return nil, err
	}
	h.probe()
	h.gen.actions = slices.DeleteFunc(h.gen.actions, func(a actionRow) bool { return slices.Contains(without, a.name) })
	h.gen.fields = slices.DeleteFunc(h.gen.fields, func(f fieldRow) bool { return slices.Contains(without, f.name) })
	return h, nil
}

// Close ends both sides.
func (h *Harness) Close() error {
	var errs []error
	for _, w := range []*weft{h.weft, h.uncached} {
		if w != nil {
			errs = append(errs, w.close())
		}
	}
	if h.ovs != nil {
		h.ovs.close()
	}
	return errors.Join(errs...)
}

// LeftOut names the rows of the tables that Weft does not know yet, with what it says about them.
func (h *Harness) LeftOut() []string { return h.left }

// sampleKind is a kind of packet that has what is needed, as the beginning of a rule.
func (h *Harness) sampleKind(n need) string {
	if n&needsTag != 0 {
		return "vlan_tci=0x1000/0x1000,"
	}
	for _, k := range h.gen.kinds {
		if n == 0 || k.has&n != 0 {
			return strings.TrimPrefix(k.text+",", ",")
		}
	}
	return ""
}

// probeDraws is how many samples of a row are tried: one that is accepted is enough, since some draws make no sense.
const probeDraws = 30

// probe leaves out the rows of which Weft accepts no sample, and remembers them.
func (h *Harness) probe() {
	g := h.gen
	g.kinds = slices.DeleteFunc(g.kinds, func(k kindRow) bool {
		return h.unknown("kind "+k.text, func() string { return strings.TrimPrefix(k.text+",actions=1", ",") })
	})
	g.fields = slices.DeleteFunc(g.fields, func(f fieldRow) bool { return h.unknownField(&f) })
	for i := range g.fields {
		f := &g.fields[i]
		f.names = slices.DeleteFunc(f.names, func(name string) bool {
			other := *f
			other.name, other.names = name, nil
			return h.unknownField(&other)
		})
	}
	h.probeGroups()
	g.ports = slices.DeleteFunc(g.ports, func(p portRow) bool {
		err := h.weft.load(context.Background(), &Case{Ports: []string{"1 " + p.draw(g)}})
		if err != nil {
			h.left = append(h.left, fmt.Sprintf("ports as %s: %v", p.name, err))
		}
		return err != nil
	})
	g.groups = []string{""}
	g.actions = slices.DeleteFunc(g.actions, func(a actionRow) bool {
		return h.unknown("action "+a.name, func() string {
			text := a.draw(g, &position{has: a.need})
			if text == "" {
				return ""
			}
			return h.sampleKind(a.need) + "actions=" + text
		})
	})
	g.groups = nil
}

// unknownField reports whether a field, by its usual name, cannot be matched, and notes whether it can be set.
func (h *Harness) unknownField(f *fieldRow) bool {
	start := h.sampleKind(f.need)
	if f.write != nil && h.unknown("set_field to "+f.name, func() string {
		return start + "actions=set_field:" + f.write(h.gen.r) + "->" + f.name + ",1"
	}) {
		h.gen.unsettable[f.name] = true
	}
	return f.match != nil && h.unknown("field "+f.name, func() string {
		return start + f.name + "=" + f.match(h.gen.r).text + ",actions=1"
	})
}

// probeGroups finds out which types of groups, and whether meters, can be loaded.
func (h *Harness) probeGroups() {
	for _, kind := range []string{"all", "indirect", "ff", "select"} {
		text := "group_id=1,type=" + kind + ",bucket=actions=output:1"
		if kind == "ff" {
			text = "group_id=1,type=ff,bucket=watch_port:1,actions=output:1"
		}
		if err := h.weft.load(context.Background(), &Case{Groups: []string{text}}); err != nil {
			h.left = append(h.left, fmt.Sprintf("group type %s: %v", kind, err))
			continue
		}
		h.gen.groupTypes = append(h.gen.groupTypes, kind)
	}
	err := h.weft.load(context.Background(), &Case{Meters: []string{fastMeter}})
	h.gen.meters = err == nil
	if err != nil {
		h.left = append(h.left, fmt.Sprintf("meters: %v", err))
	}
}

// unknown reports whether Weft refuses all samples, and notes it with what it says about the last.
func (h *Harness) unknown(what string, sample func() string) bool {
	err := errNoSample
	for range probeDraws {
		text := sample()
		if text == "" {
			continue
		}
		if err = h.weft.accepts(text); err == nil {
			return false
		}
	}
	h.left = append(h.left, fmt.Sprintf("%s: %v", what, err))
	return true
}

var errNoSample = errors.New("depends on something that is left out")

// Difference is a case on which the two do not agree.
type Difference struct {
	Case *Case
	// Step is the index of the packet at which they part, -1 when a line is refused by one of them.
	Step        int
	Refusal     string
	Counted     string // what rules have counted, when they differ in that alone
	refused     *refusal
	Left, Right *Output
	names       [2]string
	traces      [2]string
	Seed        uint64
	knownAs     string
}

// String is a report that holds everything needed to see the difference again.
func (d *Difference) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, shrunk to:\n%s", d.Seed, d.Case)
	if d.Step < 0 {
		fmt.Fprintf(&b, "%s\n", d.Refusal)
		return b.String()
	}
	if d.Counted != "" {
		fmt.Fprintf(&b, "%s has counted against %s\n%s", d.names[0], d.names[1], d.Counted)
		return b.String()
	}
	s := d.Case.Steps[d.Step]
	fmt.Fprintf(&b, "at step %d, in_port=%d, %d bytes:\n", d.Step, s.Port, len(s.Frame))
	fmt.Fprintf(&b, " %s gives\n%s %s gives\n%s", d.names[0], d.Left, d.names[1], d.Right)
	for i, t := range d.traces {
		if t != "" {
			fmt.Fprintf(&b, " %s says\n%s\n", d.names[i], t)
		}
	}
	return b.String()
}

// compare runs a case on two sides, and returns where they part, nil if they do not.
func (h *Harness) compare(ctx context.Context, a, b side, c *Case) (*Difference, error) {
	if d, err := h.loadBoth(ctx, a, b, c); d != nil || err != nil {
		return d, err
	}
	for i, s := range c.Steps {
		if s.Change != "" {
			if d, err := both(c, a.change(ctx, s.Change), b.change(ctx, s.Change)); d != nil || err != nil {
				return d, err
			}
			continue
		}
		left, err := a.packet(s.Port, s.Frame)
		if err != nil {
			return nil, err
		}
		right, err := b.packet(s.Port, s.Frame)
		if err != nil {
			return nil, err
		}
		h.Packets++
		if !left.equal(new(Output)) {
			h.Forwarded++
		}
		if left.equal(right) {
			continue
		}
		if again, ok := a.(chooser); ok {
			fits, err := again.couldGive(ctx, c, s, right)
			if err != nil {
				return nil, err
			}
			if fits {
				h.Chosen++
				continue
			}
		}
		return &Difference{Case: c, Step: i, Left: left, Right: right}, nil
	}
	return compareCounts(ctx, a, b, c)
}

// compareCounts compares what the rules have counted at the end of a case. A select group's choice is each side's own,
// and so is what the rules behind it count.
func compareCounts(ctx context.Context, a, b side, c *Case) (*Difference, error) {
	if slices.ContainsFunc(c.Groups, selectGroup.MatchString) || len(c.Steps) == 0 {
		return nil, nil
	}
	left, err := a.counts(ctx)
	if err != nil {
		return nil, err
	}
	right, err := b.counts(ctx)
	if err != nil {
		return nil, err
	}
	if text := miscounted(c, left, right); text != "" {
		return &Difference{Case: c, Step: len(c.Steps) - 1, Counted: text, Left: new(Output), Right: new(Output)}, nil
	}
	return nil, nil
}

// chooser is a side that had a choice: it can tell whether another output would have been right as well.
type chooser interface {
	couldGive(ctx context.Context, c *Case, s Step, out *Output) (bool, error)
}

var _ chooser = (*ovs)(nil)

func (h *Harness) loadBoth(ctx context.Context, a, b side, c *Case) (*Difference, error) {
	return both(c, a.load(ctx, c), b.load(ctx, c))
}

// both tells a difference of opinion about a line from a failure of the harness.
func both(c *Case, left, right error) (*Difference, error) {
	var l, r *refusal
	if left != nil && !errors.As(left, &l) {
		return nil, left
	}
	if right != nil && !errors.As(right, &r) {
		return nil, right
	}
	switch {
	case l != nil && r != nil:
		return nil, errBothRefuse
	case l != nil:
		return &Difference{Case: c, Step: -1, Refusal: refusedBy(byOVS) + l.Error(), refused: l}, nil
	case r != nil:
		return &Difference{Case: c, Step: -1, Refusal: refusedBy(byWeft) + r.Error(), refused: r}, nil
	}
	return nil, nil
}

// refusedBy is how a report of a refusal begins.
func refusedBy(side int) string {
	if side == byOVS {
		return "Open vSwitch alone refuses: "
	}
	return "Weft alone refuses: "
}

var errBothRefuse = errors.New("flowdiff: both sides refuse the case")
