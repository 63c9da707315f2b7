package ofctl

import (
	"fmt"
	"strings"

	"weft/flowtable/flow"
)

// FormatDiff prints what differs as "ovs-ofctl diff-flows" does: a line with - for each rule that is only in the first set,
// with + for one that is only in the second, and both for one that is not the same. With nil ports, ports are numbers.
func FormatDiff(diff []flow.RuleDiff, ports PortNames) string {
	var b strings.Builder
	for _, d := range diff {
		if d.Old != nil {
			b.WriteString("-" + diffText(d.Old, ports) + "\n")
		}
		if d.New != nil {
			b.WriteString("+" + diffText(d.New, ports) + "\n")
		}
	}
	return b.String()
}

// diffText prints a rule in the order of diff-flows: the match first.
func diffText(r *flow.Rule, ports PortNames) string {
	w := ruleWriter{ports: ports}
	if r.Table != 0 {
		fmt.Fprintf(&w.b, "table=%d ", r.Table)
	}
	if r.Priority != flow.DefaultPriority {
		w.put("priority=%d", r.Priority)
	}
	w.match(&r.Match)
	if r.Cookie != 0 {
		fmt.Fprintf(&w.b, " cookie=%#x", r.Cookie)
	}
	if r.IdleTimeout != 0 {
		fmt.Fprintf(&w.b, " idle_timeout=%d", r.IdleTimeout)
	}
	if r.HardTimeout != 0 {
		fmt.Fprintf(&w.b, " hard_timeout=%d", r.HardTimeout)
	}
	if r.Importance != 0 {
		fmt.Fprintf(&w.b, " importance=%d", r.Importance)
	}
	w.b.WriteString(" actions=")
	w.actions(r.Actions)
	return w.b.String()
}
