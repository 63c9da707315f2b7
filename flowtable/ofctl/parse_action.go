package ofctl

import (
	"slices"
	"strings"

	"weft/flowtable/flow"
)

// actionSyntax is how one action is written.
type actionSyntax struct {
	name  string
	value bool // takes a value, behind a colon, an equals sign or in parentheses
	parse func(p *parser, it item) (flow.Action, *SyntaxError)
}

// simple is an action without a value.
func simple(name string, kind flow.ActionKind) actionSyntax {
	return actionSyntax{name, false, func(*parser, item) (flow.Action, *SyntaxError) { return flow.Action{Kind: kind}, nil }}
}

// numeric is an action with one number, whose range the action's check knows.
func numeric(name string, kind flow.ActionKind, limit uint64) actionSyntax {
	return actionSyntax{name, true, func(_ *parser, it item) (flow.Action, *SyntaxError) {
		n, err := number(it.val, name, limit)
		return flow.Action{Kind: kind, Value: n}, err
	}}
}

// ethernet is an action with an Ethernet address.
func ethernet(name string, kind flow.ActionKind) actionSyntax {
	return actionSyntax{name, true, func(_ *parser, it item) (flow.Action, *SyntaxError) {
		mac, err := parseMAC(it.val)
		return flow.Action{Kind: kind, Value: mac, Mask: flow.FullEth}, err
	}}
}

// actionTable is the table of actions except drop, which is a list of its own. A function, because a variable would
// refer to itself through the parse functions.
func actionTable() []actionSyntax {
	return []actionSyntax{
		simple("in_port", flow.ActionInPort),
		simple("flood", flow.ActionFlood),
		simple("all", flow.ActionAll),
		simple("normal", flow.ActionNormal),
		simple("local", flow.ActionLocal),
		simple("pop_vlan", flow.ActionPopVLAN),
		simple("strip_vlan", flow.ActionPopVLAN),
		{"output", true, (*parser).parseOutput},
		{"resubmit", true, (*parser).parseResubmit},
		{"goto_table", true, (*parser).parseGoto},
		numeric("push_vlan", flow.ActionPushVLAN, 0xffff),
		numeric("mod_vlan_vid", flow.ActionModVLANVID, flow.VLANVID),
		numeric("set_vlan_vid", flow.ActionModVLANVID, flow.VLANVID),
		numeric("mod_vlan_pcp", flow.ActionModVLANPCP, 7),
		numeric("set_vlan_pcp", flow.ActionModVLANPCP, 7),
		ethernet("mod_dl_src", flow.ActionModEthSrc),
		ethernet("mod_dl_dst", flow.ActionModEthDst),
		{"set_field", true, (*parser).parseSetField},
	}
}

// unsupportedActions are what ovs-ofctl knows and this version does not, for a better error.
var unsupportedActions = []string{
	"controller", "table", "group", "enqueue", "set_queue", "pop_queue", "mod_nw_src", "mod_nw_dst", "mod_nw_tos",
	"mod_nw_ecn", "mod_nw_ttl", "mod_tp_src", "mod_tp_dst", "dec_ttl", "push_mpls", "pop_mpls", "set_mpls_label",
	"set_mpls_tc", "set_mpls_ttl", "dec_mpls_ttl", "set_tunnel", "set_tunnel64", "load", "move", "push", "pop", "note",
	"clear_actions", "write_actions", "apply_actions", "write_metadata", "meter", "learn", "conjunction", "multipath",
	"bundle", "bundle_load", "sample", "exit", "ct", "ct_clear", "nat", "clone", "encap", "decap", "dec_nsh_ttl",
	"check_pkt_larger", "delete_field", "output_reg", "fin_timeout", "none", "any",
}

// parseActions reads the action list.
func (p *parser) parseActions(t text) *SyntaxError {
	var drop *text
	for {
		it, ok, err := nextItem(&t)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if !it.quoted && strings.EqualFold(it.key.s, "drop") {
			if it.sep != 0 {
				return it.key.errorf("write it alone", "drop takes no value")
			}
			drop = &it.key
			continue
		}
		a, err := p.parseAction(it)
		if err != nil {
			return err
		}
		p.rule.Actions = append(p.rule.Actions, a)
		p.actionsAt = append(p.actionsAt, it.key)
	}
	if drop != nil && len(p.rule.Actions) > 0 {
		return drop.errorf("remove drop or the others", "drop must stand alone")
	}
	return nil
}

func (p *parser) parseAction(it item) (flow.Action, *SyntaxError) {
	if it.quoted {
		return p.parseOutput(item{val: it.key, sep: ':'})
	}
	name := strings.ToLower(it.key.s)
	table := actionTable()
	for i := range table {
		s := &table[i]
		if s.name != name {
			continue
		}
		switch {
		case s.value && it.sep == 0:
			return flow.Action{}, it.key.errorf("write "+s.name+":VALUE", "%s is missing a value", s.name)
		case !s.value && it.sep != 0:
			return flow.Action{}, it.key.errorf("write it alone", "%s takes no value", s.name)
		}
		it.val = it.val.trim()
		return s.parse(p, it)
	}
	if it.sep == 0 && !slices.Contains(unsupportedActions, name) {
		if n, err := parsePort(it.key, "output", p.ports); err == nil {
			return outputTo(n), nil
		}
		if c := name[0:1]; c >= "0" && c <= "9" {
			_, err := parsePort(it.key, "output", p.ports)
			return flow.Action{}, err
		}
	}
	return flow.Action{}, p.unknownAction(it, name, table)
}

func (p *parser) unknownAction(it item, name string, table []actionSyntax) *SyntaxError {
	if name == "" {
		return it.key.errorf("see ovs-actions(7)", "an action is missing")
	}
	if slices.Contains(unsupportedActions, name) {
		return it.key.errorf("Open vSwitch has it, Weft does not yet", "action %s is not supported", name)
	}
	words := []string{"drop"}
	for i := range table {
		words = append(words, table[i].name)
	}
	hint := "neither an action nor a port of this bridge; see ovs-actions(7)"
	if w := nearest(name, words); w != "" {
		hint = "did you mean " + w + "?"
	}
	return it.key.errorf(hint, "unknown action %s", it.key.s)
}

// outputTo is the action that outputs to an ordinary port or LOCAL.
func outputTo(n uint64) flow.Action {
	if n == flow.PortLocal {
		return flow.Action{Kind: flow.ActionLocal}
	}
	return flow.Action{Kind: flow.ActionOutput, Port: uint32(n)}
}

// reservedOutputs are the port names that are actions.
var reservedOutputs = []struct {
	name string
	kind flow.ActionKind
}{
	{"in_port", flow.ActionInPort},
	{"flood", flow.ActionFlood},
	{"all", flow.ActionAll},
	{"normal", flow.ActionNormal},
	{"local", flow.ActionLocal},
}

func (p *parser) parseOutput(it item) (flow.Action, *SyntaxError) {
	for _, r := range reservedOutputs {
		if strings.EqualFold(it.val.s, r.name) {
			return flow.Action{Kind: r.kind}, nil
		}
	}
	if slices.Contains(unsupportedActions, strings.ToLower(it.val.s)) {
		return flow.Action{}, it.val.errorf("Open vSwitch has it, Weft does not yet", "output to %s is not supported", it.val.s)
	}
	n, err := parsePort(it.val, "output", p.ports)
	return outputTo(n), err
}

// parseResubmit reads resubmit:PORT, resubmit(PORT), resubmit(PORT,TABLE) and resubmit(,TABLE).
func (p *parser) parseResubmit(it item) (flow.Action, *SyntaxError) {
	a := flow.Action{Kind: flow.ActionResubmit, Port: flow.SamePort, Table: flow.SameTable}
	port, table := it.val, text{"", it.val.col}
	if it.sep == '(' {
		port, table, _ = it.val.cut(",")
		port, table = port.trim(), table.trim()
		if inner, more, extra := table.cut(","); extra {
			return a, more.errorf("Weft has no connection tracking; write resubmit("+port.s+","+inner.s+")",
				"resubmit takes two values")
		}
	}
	if port.s != "" && !strings.EqualFold(port.s, "in_port") {
		n, err := parsePort(port, "resubmit", p.ports)
		if err != nil {
			return a, err
		}
		a.Port = uint32(n)
	}
	if table.s != "" {
		n, err := number(table, "the table of resubmit", flow.NumTables-1)
		if err != nil {
			return a, err
		}
		a.Table = uint8(n)
	}
	return a, nil
}

func (p *parser) parseGoto(it item) (flow.Action, *SyntaxError) {
	n, err := number(it.val, "goto_table", flow.NumTables-1)
	return flow.Action{Kind: flow.ActionGotoTable, Table: uint8(n)}, err
}

// parseSetField reads set_field:VALUE[/MASK]->FIELD.
func (p *parser) parseSetField(it item) (flow.Action, *SyntaxError) {
	val, dst, ok := it.val.cut("->")
	if !ok {
		return flow.Action{}, it.val.errorf("write set_field:VALUE->FIELD", "%q has no ->", it.val.s)
	}
	switch dst.s {
	case "eth_src", "dl_src":
		return setEth(flow.ActionSetEthSrc, val)
	case "eth_dst", "dl_dst":
		return setEth(flow.ActionSetEthDst, val)
	case "vlan_vid":
		n, err := number(val, "vlan_vid", flow.VLANVID|flow.VLANPresent)
		return flow.Action{Kind: flow.ActionSetVLANVID, Value: n &^ flow.VLANPresent}, err
	case "vlan_pcp", "dl_vlan_pcp":
		n, err := number(val, dst.s, 7)
		return flow.Action{Kind: flow.ActionSetVLANPCP, Value: n}, err
	}
	const hint = "eth_src, eth_dst, vlan_vid and vlan_pcp can be set"
	if _, known := fieldNamed(dst.s); known || isForeign(dst.s) {
		return flow.Action{}, dst.errorf(hint, "setting %s is not supported", dst.s)
	}
	return flow.Action{}, dst.errorf(hint, "%q is not a field", dst.s)
}

func setEth(kind flow.ActionKind, val text) (flow.Action, *SyntaxError) {
	mac, mask, err := parseMaskedMAC(val)
	return flow.Action{Kind: kind, Value: mac & mask, Mask: mask}, err
}
