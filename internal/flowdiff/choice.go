package flowdiff

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var selectGroup = regexp.MustCompile(`^group_id=(\d+),type=select`)

// couldGive reports whether out is right for a packet that a select group may have sent to any of its buckets: whether
// Open vSwitch gives the same with one of the buckets alone. A packet that meets the group twice gets one bucket both
// times, unless it was changed in between; such a case is not told from a difference.
func (o *ovs) couldGive(ctx context.Context, c *Case, s Step, out *Output) (bool, error) {
	for _, g := range c.Groups {
		m := selectGroup.FindStringSubmatch(g)
		if m == nil {
			continue
		}
		buckets := strings.Split(g, ",bucket=")[1:]
		fits := false
		for _, b := range buckets {
			alone := fmt.Sprintf("group_id=%s,type=indirect,bucket=%s", m[1], weight.ReplaceAllString(b, ""))
			if err := o.modGroup(ctx, alone); err != nil {
				return false, err
			}
			got, err := o.packet(s.Port, s.Frame)
			if err != nil {
				return false, err
			}
			if fits = got.equal(out); fits {
				break
			}
		}
		return fits, o.modGroup(ctx, g)
	}
	return false, nil
}

var weight = regexp.MustCompile(`weight:\d+,`)

func (o *ovs) modGroup(ctx context.Context, group string) error {
	out, err := o.ofctl(ctx, openFlow15, "", "mod-group", group)
	if err != nil {
		return fmt.Errorf("flowdiff: group %q: %s", group, firstLine(out))
	}
	return nil
}

// slot is a table and a priority, which in a drawn case belong to one rule.
type slot struct{ table, priority int }

// tally is what a rule has counted.
type tally struct{ packets, bytes uint64 }

var (
	dumped      = regexp.MustCompile(`table=(\d+), n_packets=(\d+), n_bytes=(\d+)`)
	dumpedPrior = regexp.MustCompile(`[ ,]priority=(\d+)`)
)

// counts are the packets and bytes of each rule.
func (o *ovs) counts(ctx context.Context) (map[slot]tally, error) {
	if _, err := o.ctl.call("revalidator/purge"); err != nil { // which hands in what the datapath has counted
		return nil, err
	}
	out, err := o.ofctl(ctx, openFlow10, "", "dump-flows")
	if err != nil {
		return nil, err
	}
	m := make(map[slot]tally)
	for l := range strings.Lines(out) {
		f := dumped.FindStringSubmatch(l)
		if f == nil {
			continue
		}
		priority := "32768"
		if p := dumpedPrior.FindStringSubmatch(l); p != nil {
			priority = p[1]
		}
		var n [4]uint64
		for i, s := range []string{f[1], f[2], f[3], priority} {
			if n[i], err = strconv.ParseUint(s, 10, 64); err != nil {
				return nil, fmt.Errorf("flowdiff: dump-flows: %w", err)
			}
		}
		m[slot{int(n[0]), int(n[3])}] = tally{n[1], n[2]}
	}
	return m, nil
}

// miscounted compares what the rules have counted on two sides.
//
// Behind pop_mpls Open vSwitch may count the packet as it is then, and Weft as it was when it arrived; so bytes do not
// count there.
func miscounted(c *Case, left, right map[slot]tally) string {
	var b strings.Builder
	shrinks := slices.ContainsFunc(slices.Concat(c.Rules, c.Groups), func(l string) bool {
		return strings.Contains(l, "pop_mpls")
	})
	for s, l := range left {
		r := right[s]
		if shrinks {
			l.bytes = r.bytes
		}
		if r != l {
			fmt.Fprintf(&b, "table=%d,priority=%d: %d packets, %d bytes against %d packets, %d bytes\n", s.table, s.priority,
				l.packets, l.bytes, r.packets, r.bytes)
		}
	}
	return b.String()
}
