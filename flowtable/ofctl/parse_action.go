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

// numeric is an action with one number, whose range the action's check knows as well.
func numeric(name string, kind flow.ActionKind, limit uint64) actionSyntax {
	return actionSyntax{name, true, func(_ *parser, it item) (flow.Action, *SyntaxError) {
		n, err := number(it.val, name, limit)
		return flow.Action{Kind: kind, Value: flow.Value{Lo: n}}, err
	}}
}

// identified is an action with the number of a group or a meter.
func identified(name string, kind flow.ActionKind) actionSyntax {
	return actionSyntax{name, true, func(_ *parser, it item) (flow.Action, *SyntaxError) {
		n, err := number(it.val, name, 0xffffffff)
		return flow.Action{Kind: kind, ID: uint32(n)}, err
	}}
}

// ethernet is an action with an Ethernet address.
func ethernet(name string, kind flow.ActionKind) actionSyntax {
	return actionSyntax{name, true, func(_ *parser, it item) (flow.Action, *SyntaxError) {
		mac, err := parseMAC(it.val)
		return flow.Action{Kind: kind, Value: flow.Value{Lo: mac}}, err
	}}
}

// address is an action with an IPv4 address.
func address(name string, kind flow.ActionKind) actionSyntax {
	return actionSyntax{name, true, func(_ *parser, it item) (flow.Action, *SyntaxError) {
		ip, err := parseIPv4(it.val)
		return flow.Action{Kind: kind, Value: flow.Value{Lo: ip}}, err
	}}
}

// actionSyntaxes is the table of actions. Parsers carry it with them: methods that named it would make it refer to itself.
var actionSyntaxes = actionTable()

// actionTable is the table of actions except drop and write_actions, which are lists of their own.
func actionTable() []actionSyntax {
	return []actionSyntax{
		simple("in_port", flow.ActionInPort),
		simple("flood", flow.ActionFlood),
		simple("all", flow.ActionAll),
		simple("normal", flow.ActionNormal),
		simple("local", flow.ActionLocal),
		{"output", true, (*parser).parseOutput},
		identified("group", flow.ActionGroup),
		{"resubmit", true, (*parser).parseResubmit},
		{"goto_table", true, (*parser).parseGoto},
		simple("clear_actions", flow.ActionClearActions),
		{"write_metadata", true, (*parser).parseWriteMetadata},
		identified("meter", flow.ActionMeter),
		simple("exit", flow.ActionExit),
		simple("pop_vlan", flow.ActionPopVLAN),
		simple("strip_vlan", flow.ActionPopVLAN),
		numeric("push_vlan", flow.ActionPushVLAN, 0xffff),
		numeric("push_mpls", flow.ActionPushMPLS, 0xffff),
		numeric("pop_mpls", flow.ActionPopMPLS, 0xffff),
		{"dec_ttl", false, (*parser).parseDecTTL},
		simple("dec_mpls_ttl", flow.ActionDecMPLSTTL),
		{"set_field", true, (*parser).parseSetField},
		{"load", true, (*parser).parseLoad},
		{"move", true, (*parser).parseMove},
		numeric("mod_vlan_vid", flow.ActionModVLANVID, flow.VLANVID),
		numeric("set_vlan_vid", flow.ActionModVLANVID, flow.VLANVID),
		numeric("mod_vlan_pcp", flow.ActionModVLANPCP, 7),
		numeric("set_vlan_pcp", flow.ActionModVLANPCP, 7),
		ethernet("mod_dl_src", flow.ActionModEthSrc),
		ethernet("mod_dl_dst", flow.ActionModEthDst),
		address("mod_nw_src", flow.ActionModIPSrc),
		address("mod_nw_dst", flow.ActionModIPDst),
		numeric("mod_nw_tos", flow.ActionModTOS, 255),
		numeric("mod_nw_ecn", flow.ActionModECN, 3),
		numeric("mod_nw_ttl", flow.ActionModTTL, 255),
		numeric("set_nw_ttl", flow.ActionModTTL, 255),
		numeric("mod_tp_src", flow.ActionModTPSrc, 0xffff),
		numeric("mod_tp_dst", flow.ActionModTPDst, 0xffff),
		numeric("set_mpls_label", flow.ActionSetMPLSLabel, 0xfffff),
		numeric("set_mpls_tc", flow.ActionSetMPLSTC, 7),
		numeric("set_mpls_ttl", flow.ActionSetMPLSTTL, 255),
		{"set_tunnel", true, (*parser).parseSetTunnel},
		numeric("set_tunnel64", flow.ActionSetTunnel64, ^uint64(0)),
	}
}

// unsupportedActions are what ovs-ofctl knows and this version does not, for a better error.
var unsupportedActions = []string{
	"controller", "table", "enqueue", "set_queue", "pop_queue", "push", "pop", "learn", "conjunction", "multipath",
	"bundle", "bundle_load", "sample", "ct", "ct_clear", "nat", "clone", "encap", "decap", "dec_nsh_ttl",
	"check_pkt_larger", "delete_field", "output_reg", "fin_timeout", "none", "any", "unset",
}

// parseActions reads a list of actions, those of write_actions in set. They are added to the rule's.
func (p *parser) parseActions(t text, set bool) *SyntaxError {
	var drop text
	dropped := false
	for {
		it, ok, err := nextItem(&t)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		switch name := strings.ToLower(it.key.s); {
		case it.quoted:
			err = p.parseAction(it, name, set)
		case name == "drop":
			if it.sep != 0 {
				return it.key.errorf("write it alone", "drop takes no value")
			}
			drop, dropped = it.key, true
		case name == "note":
			err = p.parseNote(it, set)
		case name == "write_actions":
			err = p.parseWriteActions(it, set)
		default:
			err = p.parseAction(it, name, set)
		}
		if err != nil {
			return err
		}
	}
	if dropped && len(p.rule.Actions) > 0 && !set {
		return drop.errorf("remove drop or the others", "drop must stand alone")
	}
	return nil
}

// put adds an action that stands at at.
func (p *parser) put(a flow.Action, at text, set bool) {
	a.InSet = set
	p.rule.Actions = append(p.rule.Actions, a)
	p.actionsAt = append(p.actionsAt, at)
}

func (p *parser) parseWriteActions(it item, set bool) *SyntaxError {
	switch {
	case set:
		return it.key.errorf("write one list", "write_actions inside write_actions")
	case p.wrote:
		return it.key.errorf("put all into one", "write_actions is given twice")
	case it.sep == 0:
		return it.key.errorf("write write_actions(LIST)", "write_actions is missing a value")
	}
	p.wrote = true
	return p.parseActions(it.val, true)
}

func (p *parser) parseAction(it item, name string, set bool) *SyntaxError {
	if it.quoted {
		a, err := p.parseOutput(item{val: it.key, sep: ':'})
		p.put(a, it.key, set)
		return err
	}
	table := p.actions
	for i := range table {
		s := &table[i]
		if s.name != name {
			continue
		}
		switch {
		case s.value && it.sep == 0:
			return it.key.errorf("write "+s.name+":VALUE", "%s is missing a value", s.name)
		case !s.value && it.sep != 0 && name != "dec_ttl":
			return it.key.errorf("write it alone", "%s takes no value", s.name)
		}
		it.val = it.val.trim()
		a, err := s.parse(p, it)
		p.put(a, it.key, set)
		return err
	}
	if it.sep == 0 && !slices.Contains(unsupportedActions, name) {
		n, err := parsePort(it.key, "output", p.ports)
		if err == nil {
			p.put(outputTo(n), it.key, set)
			return nil
		}
		if c := name[0:1]; c >= "0" && c <= "9" {
			return err
		}
	}
	return p.unknownAction(it, name, table)
}

func (p *parser) unknownAction(it item, name string, table []actionSyntax) *SyntaxError {
	switch {
	case name == "":
		return it.key.errorf("see ovs-actions(7)", "an action is missing")
	case name == "apply_actions":
		return it.key.errorf("write the actions without it", "apply_actions is what every list of actions is")
	case slices.Contains(unsupportedActions, name):
		return it.key.errorf("Open vSwitch has it, Weft does not yet", "action %s is not supported", name)
	}
	words := []string{"drop", "note", "write_actions"}
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
	if strings.Contains(it.val.s, "max_len") {
		return flow.Action{}, it.val.errorf("write output:PORT; Weft does not cut packets short", "max_len is not supported")
	}
	if slices.Contains(unsupportedActions, strings.ToLower(it.val.s)) {
		return flow.Action{}, it.val.errorf("Open vSwitch has it, Weft does not yet", "output to %s is not supported", it.val.s)
	}
	n, err := parsePort(it.val, "output", p.ports)
	if err == nil {
		return outputTo(n), nil
	}
	if name, _, _ := it.val.cut("["); name.s != "" {
		if _, ok := actionField(name.s, true); ok {
			src, err := parseSubfield(it.val)
			return flow.Action{Kind: flow.ActionOutputReg, Src: src}, err
		}
	}
	return flow.Action{}, err
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
