package ofctl

import (
	"fmt"
	"strings"

	"weft/flowtable/flow"
)

// ParseRule reads a rule in the syntax of "ovs-ofctl add-flow" (ovs-ofctl(8) "Flow Syntax", ovs-fields(7),
// ovs-actions(7)):
//
//	table=0,priority=100,in_port=vm1,ip,nw_dst=10.0.0.0/8,actions=output:wire
//
// Items are separated by commas or white space. What a dump adds to a rule (duration, n_packets, n_bytes, idle_age,
// hard_age) is checked and ignored, so that dumps can be fed back. Errors are of type *SyntaxError.
//
// Unlike ovs-ofctl, which drops conditions silently when their prerequisite is missing or a later one contradicts them,
// ParseRule refuses such a rule.
func ParseRule(s string, ports PortNames) (*flow.Rule, error) { return NewParser(ports).Rule(s) }

// Parser reads rules one after another into the same memory: a file may have millions.
type Parser struct{ p parser }

// NewParser makes a Parser.
func NewParser(ports PortNames) *Parser { return &Parser{parser{ports: ports}} }

// Rule is [ParseRule]. The rule and its list of actions are valid until the next call.
func (r *Parser) Rule(s string) (*flow.Rule, error) {
	p := &r.p
	*p = parser{
		ports: p.ports, actions: actionSyntaxes, mode: modeAdd, rule: flow.Rule{Actions: p.rule.Actions[:0]},
		actionsAt: p.actionsAt[:0], given: p.given[:0],
	}
	if err := p.run(text{s, 1}); err != nil {
		return nil, err
	}
	return &p.rule, nil
}

// ParseFilter reads which rules a dump or a deletion is about, as "ovs-ofctl del-flows" does: conditions, table,
// cookie/mask, out_port, and with strict also priority, which then is DefaultPriority if absent. A table is optional:
// none means all.
func ParseFilter(s string, strict bool, ports PortNames) (flow.Filter, error) {
	p := parser{ports: ports, actions: actionSyntaxes, mode: modeFilter}
	p.filter.Strict = strict
	if err := p.run(text{s, 1}); err != nil {
		return flow.Filter{}, err
	}
	return p.filter, nil
}

// ParseModify reads a modification as "ovs-ofctl mod-flows" does: a filter and the new actions. A cookie without a mask
// is the new cookie, one with a mask belongs to the filter. As with ovs-ofctl, the rule is added when nothing matches,
// with the priority and timeouts given, unless there is a cookie mask.
func ParseModify(s string, strict bool, ports PortNames) (flow.Change, error) {
	p := parser{ports: ports, actions: actionSyntaxes, mode: modeModify}
	p.filter.Strict = strict
	if err := p.run(text{s, 1}); err != nil {
		return flow.Change{}, err
	}
	return flow.Change{
		Command: flow.Modify, Rule: &p.rule, Filter: p.filter, SetCookie: p.cookieGiven,
		AddIfNone: p.filter.CookieMask == 0,
	}, nil
}

// ParseChange reads one line of a file of changes, as "ovs-ofctl add-flows" does: a rule to add, or one of the words
// add, modify, modify_strict, delete and delete_strict followed by what that command takes.
func ParseChange(s string, ports PortNames) (flow.Change, error) {
	t := text{s, 1}.trim()
	word := t.s
	if i := strings.IndexAny(word, spaces); i >= 0 {
		word = word[:i]
	}
	rest := strings.Repeat(" ", t.col-1+len(word)) + t.s[len(word):] // keeps the columns
	switch word {
	case "modify", "modify_strict":
		return ParseModify(rest, word == "modify_strict", ports)
	case "delete", "delete_strict":
		f, err := ParseFilter(rest, word == "delete_strict", ports)
		return flow.Change{Command: flow.Delete, Filter: f}, err
	case "add":
		s = rest
	}
	r, err := ParseRule(s, ports)
	return flow.Change{Command: flow.Add, Rule: r}, err
}

// parseMode says which command's syntax is meant.
type parseMode uint8

const (
	modeAdd parseMode = iota
	modeModify
	modeFilter
)

type parser struct {
	ports   PortNames
	actions []actionSyntax
	mode    parseMode
	rule    flow.Rule
	filter  flow.Filter

	at          [flow.NumFields]int // column at which a field was given, 0 = not
	actionsAt   []text              // where each action stands, for errors
	wrote       bool                // there was a write_actions
	given       []string            // settings given so far
	cookieGiven bool
	tableGiven  bool
	prioGiven   bool
}

// run parses everything and checks what only shows when all is known.
func (p *parser) run(t text) error {
	p.rule.Priority = flow.DefaultPriority
	end := text{"", t.col + len(t.s)}
	actions, found, err := p.conditions(&t)
	if err != nil {
		return err
	}
	if err := p.prerequisites(); err != nil {
		return err
	}
	if p.mode == modeFilter {
		if found {
			return actions.errorf("remove it", "actions have no meaning here")
		}
	} else {
		if !found {
			return end.errorf("end the rule with actions=...; actions=drop drops", "the rule has no actions")
		}
		if err := p.parseActions(actions, false); err != nil {
			return err
		}
		if err := p.checkActions(); err != nil {
			return err
		}
	}
	p.fillFilter()
	return nil
}

// fillFilter moves what the common settings said into the filter.
func (p *parser) fillFilter() {
	p.filter.Match = p.rule.Match
	p.filter.HasTable, p.filter.Table = p.tableGiven, p.rule.Table
	p.filter.Priority = p.rule.Priority
}

// conditions parses up to the actions and returns their text.
func (p *parser) conditions(t *text) (actions text, found bool, err *SyntaxError) {
	for {
		before := *t
		it, ok, err := nextItem(t)
		if !ok || err != nil {
			if err != nil && !isActions(before) {
				return text{}, false, err
			}
			if err == nil {
				return text{}, false, nil
			}
		}
		if isActionsKey(it.key.s) && !it.quoted {
			// Take the rest as it is: it has its own items. Blanks around the sign do not matter.
			skip := it.key.col - before.col + len(it.key.s)
			rest := text{before.s[skip:], before.col + skip}.trim()
			if !strings.HasPrefix(rest.s, "=") {
				return text{}, false, it.key.errorf("write actions=LIST", "actions is missing a value")
			}
			rest.take(1)
			return rest, true, nil
		}
		if err := p.condition(it); err != nil {
			return text{}, false, err
		}
	}
}

func isActionsKey(s string) bool { return s == "actions" || s == "action" }

// isActions reports whether t goes on with the actions, whose items have a syntax of their own.
func isActions(t text) bool {
	s := strings.TrimLeft(t.s, separators)
	n := strings.IndexAny(s, separators+"=:()")
	return n > 0 && isActionsKey(s[:n])
}

// condition handles one item before the actions.
func (p *parser) condition(it item) *SyntaxError {
	name := it.key.s
	if it.quoted {
		return it.key.errorf("write in_port="+name+" for a port", "%s is not a field", name)
	}
	if it.sep == '(' {
		return it.key.errorf("write "+name+"=VALUE", "%s does not take parentheses", name)
	}
	for _, s := range flow.Shorthands {
		if s.Name == name {
			return p.shorthand(it, s)
		}
	}
	switch name {
	case "vlan":
		if it.sep != 0 {
			return it.key.errorf("write dl_vlan=ID", "vlan takes no value")
		}
		return p.setMatch(flow.FieldVLANTCI, it.key, flow.Value{Lo: flow.VLANPresent}, flow.Value{Lo: flow.VLANPresent})
	case "eth":
		return nil
	}
	if strings.Contains(name, "[") {
		return p.partCondition(it)
	}
	if id, ok := findField(name); ok {
		if it.sep == 0 {
			return it.key.errorf("write "+name+"=VALUE", "%s is missing a value", name)
		}
		val, mask, err := parseValue(&flow.Fields[id], it.val, p.ports)
		if err != nil {
			return err
		}
		return p.setMatch(id, it.key, val, mask)
	}
	if known, err := p.setting(it); known {
		return err
	}
	return p.unknownKey(it.key)
}

func (p *parser) unknownKey(key text) *SyntaxError {
	if isForeign(key.s) {
		return key.errorf("Open vSwitch has it, Weft does not", "field %s is not supported", key.s)
	}
	words := fieldWords()
	for _, s := range flow.Shorthands {
		words = append(words, s.Name)
	}
	for _, s := range settings {
		words = append(words, s.name)
	}
	hint := "see ovs-fields(7) for the names of fields"
	if w := nearest(strings.ToLower(key.s), append(words, "actions")); w != "" {
		hint = "did you mean " + w + "?"
	}
	return key.errorf(hint, "unknown keyword %q", key.s)
}

func (p *parser) shorthand(it item, s flow.Shorthand) *SyntaxError {
	if it.sep != 0 {
		return it.key.errorf("write it alone", "%s takes no value", s.Name)
	}
	full := flow.Value{Lo: 0xffff}
	if err := p.setMatch(flow.FieldEthType, it.key, flow.Value{Lo: uint64(s.EthType)}, full); err != nil {
		return err
	}
	if s.Proto == flow.AnyProto {
		return nil
	}
	return p.setMatch(flow.FieldIPProto, it.key, flow.Value{Lo: uint64(s.Proto)}, flow.Value{Lo: 0xff})
}

// setMatch adds a condition. One that contradicts an earlier one is an error, one that repeats it is not.
func (p *parser) setMatch(id flow.FieldID, at text, val, mask flow.Value) *SyntaxError {
	f := &flow.Fields[id]
	p.at[id] = at.col
	if f.Width == 128 {
		if err := p.setBits(f.Word, at, val.Hi, mask.Hi); err != nil {
			return err
		}
		return p.setBits(f.Word+1, at, val.Lo, mask.Lo)
	}
	return p.setBits(f.Word, at, val.Lo<<f.Shift, mask.Lo<<f.Shift)
}

func (p *parser) setBits(word uint8, at text, val, mask uint64) *SyntaxError {
	m := &p.rule.Match
	if (m.Key[word]^val)&m.Mask[word]&mask != 0 {
		return at.errorf("remove one of the two", "%s contradicts an earlier condition", at.s)
	}
	m.Key[word] |= val & mask
	m.Mask[word] |= mask
	return nil
}

// prerequisites checks that every field given has what it needs.
func (p *parser) prerequisites() *SyntaxError {
	for id := range flow.Fields {
		f := &flow.Fields[id]
		if p.at[id] == 0 || f.Need == nil || f.Need.Fulfilled(&p.rule.Match) {
			continue
		}
		var bits flow.Key
		f.MaskBits(&bits)
		if p.rule.Match.Mask[f.Word]&bits[f.Word] == 0 && (f.Width != 128 || p.rule.Match.Mask[f.Word+1] == 0) {
			continue // given as "any"
		}
		return text{"", p.at[id]}.errorf(f.Need.Hint, "%s needs a condition that is missing", f.Name)
	}
	m := &p.rule.Match
	if !m.ICMPWhole() {
		return text{"", max(p.at[flow.FieldTPSrc], p.at[flow.FieldTPDst])}.errorf(
			"write icmp_type and icmp_code, 0 to 255, without a mask", "ICMP has no ports")
	}
	const later, l4 = uint64(flow.FragLater) << flow.ShiftFrag, uint64(0xffffffff)
	if m.Key[flow.WordL4]&later != 0 && (m.Mask[flow.WordL4]&l4 != 0 || m.Mask[flow.WordSrc]&0xffff != 0) {
		return text{"", p.at[flow.FieldFrag]}.errorf(
			"later fragments carry no ports, flags, type or code; use nw_frag=first or none",
			"nw_frag=later excludes conditions on the transport header")
	}
	return nil
}

// checkActions validates the actions against the match and says where they stand.
func (p *parser) checkActions() error {
	err := flow.ValidateActions(&p.rule)
	if err == nil {
		return nil
	}
	ae, ok := err.(*flow.ActionError)
	if !ok || ae.I >= len(p.actionsAt) {
		return fmt.Errorf("flowtable: check actions: %w", err)
	}
	return p.actionsAt[ae.I].errorf(ae.Hint, "%s", ae.Msg)
}
