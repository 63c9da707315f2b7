package flowdiff

import (
	"context"
	"regexp"
	"slices"
	"strings"
)

// knownRefusalRow is a difference in what is accepted that is meant to stay.
type knownRefusalRow struct {
	side      int    // who refuses
	why, line string // patterns of its message and of the line
	reason    string
}

func (k *knownRefusalRow) name() string { return "refused for " + k.why }

// Who refuses.
const (
	byOVS  = 0
	byWeft = 1
)

// knownRefusals is the table of them. Where Open vSwitch accepts, it ignores or alters what was said.
func knownRefusals() []knownRefusalRow {
	return slices.Concat(conditionRefusals(), valueRefusals(), refusalsByOVS())
}

// conditionRefusals are about what a rule is made of.
func conditionRefusals() []knownRefusalRow {
	return []knownRefusalRow{
		{
			byWeft, missing, ``,
			"Open vSwitch drops the condition, and the rule matches more than it says",
		},
		{byWeft, `contradicts an earlier condition`, ``, "in Open vSwitch the last one wins"},
		{byWeft, `is given twice`, ``, "in Open vSwitch the last one wins"},
		{
			byWeft, `takes no value`,
			`(?i)\b(ip|ipv4|ipv6|ip6|tcp6?|udp6?|sctp6?|icmp6?|r?arp|mplsm?|vlan|eth)[=:]`,
			"Open vSwitch ignores the value",
		},
		{
			byWeft, `(tcp|udp|sctp)_(src|dst) needs a condition`, `tcp|udp|sctp`,
			"Open vSwitch takes the names of all three protocols' ports for the same field",
		},
		{
			byWeft, `(clear_actions|normal|flood|all|in_port|local|(strip|pop)_vlan|dec_mpls_ttl|exit) takes no value`,
			``,
			"Open vSwitch ignores the value",
		},
		{
			byWeft, `icmp(v6)?_(type|code) needs a condition`, `icmp6?\b`,
			"Open vSwitch takes the names of either protocol's fields for the same field",
		},
		{
			byWeft, `actions is missing a value`, `actions?:`,
			"ovs-ofctl takes what is behind the next equals sign for the actions",
		},
	}
}

// valueRefusals are about how values are written.
func valueRefusals() []knownRefusalRow {
	return []knownRefusalRow{
		{byWeft, `"[^"]*/[^"]*" is not a number for tcp_flags`, ``, "Open vSwitch ignores a second slash and what follows"},
		{byWeft, `is not a number for a controller of dec_ttl`, ``, "Open vSwitch reads what is no number as 0"},
		{byWeft, `"-1" is not a number`, ``, "Open vSwitch reads all ones"},
		{byWeft, `too large for dl_vlan`, ``, "Open vSwitch cuts the number"},
		{byWeft, `in_port: unknown port (0|65535);`, ``, "no packet arrives from there"},
		{
			byWeft, `Weft has no controllers to tell`, `dec_ttl`,
			"ids of controllers that are to hear of it; there are none",
		},
		{byWeft, `is missing a value`, `=(,|$)`, "Open vSwitch reads 0"},
		{byWeft, `"0x" is not a number`, ``, "Open vSwitch reads 0"},
		{
			byWeft, `too large for (nw_ecn|ip_ecn|ip_dscp|arp_op|icmp_|tp_|mpls_)`, ``,
			"Open vSwitch cuts the number",
		},
		{byWeft, `too large for table`, `table.255`, "ovs-ofctl passes it on; no switch has a table 255"},
		{byWeft, `unknown action \d`, `[,=]\d+[=:]`, "Open vSwitch ignores what follows the port's number"},
		{byWeft, `output: unknown port 0;`, ``, "OpenFlow 1.0 had a port 0, to which Open vSwitch outputs nothing"},
		{byWeft, `action controller is not supported`, ``, "there is no controller yet"},
		{byWeft, `is not an IPv4 address`, `[=:.]0\d+|\.\d+[^0-9./,]`, "Open vSwitch is generous with digits"},
		{byWeft, `ICMP has no ports`, ``, "Open vSwitch cuts the number"},
		{byWeft, `can match no packet`, `vlan_`, "a tag's bits without the bit that says there is one"},
		{
			byWeft, `nw_frag=later excludes`, ``,
			"no packet fulfils both; ovs-ofctl takes it, the switch behind it does not",
		},
		{
			byWeft, `in_port: unknown port (?i)(any|none|controller)`, ``,
			"no packet arrives from there: there is no controller yet",
		},
		{
			byWeft, `is not an Ethernet address`,
			`([0-9a-f]+:){5}[0-9a-f]+[^0-9a-f/:,)-]|[:=,/][0-9a-f]{3,}:|mod_dl_(src|dst):[0-9a-f:]+/`,
			"Open vSwitch ignores what follows the address, and takes numbers of any length for a byte",
		},
	}
}

// refusalsByOVS are what Weft takes and Open vSwitch does not.
func refusalsByOVS() []knownRefusalRow {
	return []knownRefusalRow{
		{
			byOVS, `OFPBAC_BAD_TAG`, `push_vlan`,
			"Open vSwitch does not take a rule that pushes a tag on two that it knows of; Weft makes three",
		},
		{
			byOVS, `IPv6`, `(ipv6_(src|dst)|nd_target)=[0-9a-f:.]+/[0-9][0-9a-f]*:`,
			"ovs-ofctl takes a mask whose first character is a decimal digit for the length of a prefix",
		},
		{
			byOVS, `none of the usable flow formats|OFPBAC_MATCH_INCONSISTENT`,
			`nw_frag=later.*(tp|tcp|udp|sctp)_(src|dst)`,
			"Open vSwitch refuses to set ports that a later fragment has not; Weft has nothing to set",
		},
		{
			byOVS, `OFPBAC_MATCH_INCONSISTENT|lacks correct prerequisites`, `(push|pop)_mpls.*write_actions\(.*(set|mod|load|move|dec)`,
			"Open vSwitch checks write_actions against the packet as the actions before leave it; Weft against the match",
		},
		{
			byOVS, `OFPBAC_MATCH_INCONSISTENT|lacks correct prerequisites`, `mod_nw_(ttl|ecn)`,
			"Open vSwitch lets mod_nw_src and others into rules that do not match IP, but not these two",
		},
		{
			byOVS, `OFPBAC_MATCH_INCONSISTENT`, `(?i)->\w*vlan_tci.*vlan_(pcp|vid)`,
			"Open vSwitch loses track of the tag when a part of vlan_tci is written",
		},
		{
			byOVS, `OFPBAC_MATCH_INCONSISTENT|no usable protocol`,
			`(strip|pop|mod)_vlan.*push_vlan|push_vlan.*(strip|pop|mod)_vlan`,
			"no OpenFlow version has both; Weft's rules belong to none",
		},
	}
}

// missing is what Weft says when a prerequisite is missing.
const missing = `(\w+) needs a condition that is missing`

// kept reports whether Open vSwitch keeps the condition for which Weft misses a prerequisite: then Weft asks too much.
func (h *Harness) kept(d *Difference) bool {
	m := regexp.MustCompile(missing).FindStringSubmatch(d.refused.why)
	if m == nil || h.ovs == nil {
		return false
	}
	out, err := h.ovs.run(context.Background(), "", "ovs-ofctl", "-O", anyOpenFlow, "parse-flow", d.refused.line)
	_, flow, found := strings.Cut(out, ": ADD ")
	flow, _, _ = strings.Cut(flow, "actions=")
	name := m[1]
	for _, other := range [][2]string{
		{`^(nw|ip)_`, `(nw|ip)_`}, {`^(tp|tcp|udp|sctp)_`, `(tp|tcp|udp|sctp)_`}, {`^icmp(v6)?_`, `icmp(v6)?_`},
	} {
		name = regexp.MustCompile(other[0]).ReplaceAllString(name, other[1])
	}
	return err == nil && found && regexp.MustCompile(`\b`+name+`=`).MatchString(flow)
}

// knownRefusal names a refusal if it is a known one.
func (h *Harness) knownRefusal(d *Difference) string {
	kept := h.kept(d)
	matches := func(pattern, text string) bool { return regexp.MustCompile(pattern).MatchString(text) }
	for _, k := range knownRefusals() {
		if strings.HasPrefix(d.Refusal, refusedBy(k.side)) && matches(k.why, d.refused.why) &&
			matches(k.line, d.refused.line) && !(kept && k.why == missing) {
			return k.name()
		}
	}
	return ""
}
