package ofctl

import (
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
		w.num("table=", uint64(r.Table))
		w.str(" ")
	}
	if r.Priority != flow.DefaultPriority {
		w.put("priority=", uint64(r.Priority))
	}
	w.match(&r.Match)
	if r.Cookie != 0 {
		w.hex(" cookie=0x", r.Cookie)
	}
	if r.IdleTimeout != 0 {
		w.num(" idle_timeout=", uint64(r.IdleTimeout))
	}
	if r.HardTimeout != 0 {
		w.num(" hard_timeout=", uint64(r.HardTimeout))
	}
	if r.Importance != 0 {
		w.num(" importance=", uint64(r.Importance))
	}
	w.str(" actions=")
	w.actions(r.Actions)
	return string(w.b)
}
