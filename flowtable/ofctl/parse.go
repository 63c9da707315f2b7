package ofctl

import (
	"fmt"
	"math/bits"
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

// Parser reads rules and changes one after another into the same memory: a file may have millions. What its methods return
// is valid until the next call.
type Parser struct{ p parser }

// NewParser makes a Parser.
func NewParser(ports PortNames) *Parser { return &Parser{parser{ports: ports}} }

// Reset makes r a Parser with other names of ports, which does not refer to the texts that it has read.
func (r *Parser) Reset(ports PortNames) {
	r.p.ports = ports
	r.p.actionsAt = r.p.actionsAt[:cap(r.p.actionsAt)]
	clear(r.p.actionsAt)
}

// Rule is [ParseRule].
func (r *Parser) Rule(s string) (*flow.Rule, error) {
	if _, err := r.Add(s); err != nil {
		return nil, err
	}
	return &r.p.rule, nil
}

// Add reads a rule to add, as [ParseRule] does.
func (r *Parser) Add(s string) (*flow.Change, error) { return r.add(text{s, 1}) }

// Delete reads a deletion, as [ParseFilter] does.
func (r *Parser) Delete(s string, strict bool) (*flow.Change, error) {
	return r.delete(text{s, 1}, strict)
}

// Modify is [ParseModify].
func (r *Parser) Modify(s string, strict bool) (*flow.Change, error) {
	return r.modify(text{s, 1}, strict)
}

func (r *Parser) add(t text) (*flow.Change, error) {
	p := &r.p
	p.reset(modeAdd, false)
	if err := p.run(t); err != nil {
		return nil, err
	}
	p.change.Rule = &p.rule
	return &p.change, nil
}

func (r *Parser) delete(t text, strict bool) (*flow.Change, error) {
	p := &r.p
	p.reset(modeFilter, strict)
	if err := p.run(t); err != nil {
		return nil, err
	}
	p.change.Command = flow.Delete
	return &p.change, nil
}

func (r *Parser) modify(t text, strict bool) (*flow.Change, error) {
	p := &r.p
	p.reset(modeModify, strict)
	if err := p.run(t); err != nil {
		return nil, err
	}
	p.change.Command, p.change.Rule, p.change.SetCookie = flow.Modify, &p.rule, p.cookieGiven
	p.change.AddIfNone = p.change.Filter.CookieMask == 0
	return &p.change, nil
}

// Change is [ParseChange].
func (r *Parser) Change(s string) (*flow.Change, error) {
	t := text{s, 1}.trim()
	word := t.s
	if i := strings.IndexAny(word, spaces); i >= 0 {
		word = word[:i]
	}
	rest := t
	rest.take(len(word))
	switch word {
	case "modify", "modify_strict":
		return r.modify(rest, word == "modify_strict")
	case "delete", "delete_strict":
		return r.delete(rest, word == "delete_strict")
	case "add":
		return r.add(rest)
	}
	return r.add(text{s, 1})
}

// ParseFilter reads which rules a dump or a deletion is about, as "ovs-ofctl del-flows" does: conditions, table,
// cookie/mask, out_port, and with strict also priority, which then is DefaultPriority if absent. A table is optional:
// none means all.
func ParseFilter(s string, strict bool, ports PortNames) (flow.Filter, error) {
	c, err := NewParser(ports).Delete(s, strict)
	if err != nil {
		return flow.Filter{}, err
	}
	return c.Filter, nil
}

// ParseModify reads a modification as "ovs-ofctl mod-flows" does: a filter and the new actions. A cookie without a mask
// is the new cookie, one with a mask belongs to the filter. As with ovs-ofctl, the rule is added when nothing matches,
// with the priority and timeouts given, unless there is a cookie mask.
func ParseModify(s string, strict bool, ports PortNames) (flow.Change, error) {
	return changeOf(NewParser(ports).Modify(s, strict))
}

// ParseChange reads one line of a file of changes, as "ovs-ofctl add-flows" does: a rule to add, or one of the words
// add, modify, modify_strict, delete and delete_strict followed by what that command takes.
func ParseChange(s string, ports PortNames) (flow.Change, error) {
	return changeOf(NewParser(ports).Change(s))
}

func changeOf(c *flow.Change, err error) (flow.Change, error) {
	if err != nil {
		return flow.Change{}, err
	}
	return *c, nil
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
	change  flow.Change // of which the settings fill the filter

	fields      [(flow.NumFields + 63) / 64]uint64 // those that were given, and
	at          [flow.NumFields]int                // in which column
	actionsAt   []text                             // where each action stands, for errors
	wrote       bool                               // there was a write_actions
	given       []string                           // settings given so far
	words       [8]conditionWord                   // as of the last line, by their places, and
	place       int                                // the next one's
	cookieGiven bool
	tableGiven  bool
	prioGiven   bool
}

// reset forgets the last rule or change, except for its memory.
func (p *parser) reset(mode parseMode, strict bool) {
	p.mode, p.actions = mode, actionSyntaxes
	p.rule = flow.Rule{Actions: p.rule.Actions[:0]}
	p.change = flow.Change{}
	p.change.Filter.Strict = strict
	clear(p.fields[:])
	p.actionsAt, p.given = p.actionsAt[:0], p.given[:0]
	p.place = 0
	p.wrote, p.cookieGiven, p.tableGiven, p.prioGiven = false, false, false, false
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
	if p.mode == modeAdd {
		return
	}
	f := &p.change.Filter
	f.Match, f.Priority = p.rule.Match, p.rule.Priority
	f.HasTable, f.Table = p.tableGiven, p.rule.Table
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
	return isActionsKey(s[:keyLen(s)])
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
	word, known := p.word(name)
	switch {
	case !known && strings.Contains(name, "["):
		return p.partCondition(it)
	case !known:
		return p.unknownKey(it.key)
	}
	switch word.kind {
	case wordShorthand:
		return p.shorthand(it, &flow.Shorthands[word.at])
	case wordField:
		if it.sep == 0 {
			return it.key.errorf("write "+name+"=VALUE", "%s is missing a value", name)
		}
		val, mask, err := parseValue(&flow.Fields[word.at], it.val, p.ports)
		if err != nil {
			return err
		}
		return p.setMatch(flow.FieldID(word.at), it.key, val, mask)
	case wordSetting:
		return p.setting(it, &settings[word.at])
	}
	if name == "eth" {
		return nil
	}
	if it.sep != 0 {
		return it.key.errorf("write dl_vlan=ID", "vlan takes no value")
	}
	return p.setMatch(flow.FieldVLANTCI, it.key, flow.Value{Lo: flow.VLANPresent}, flow.Value{Lo: flow.VLANPresent})
}

// word is what a word before the actions means. Lines one after another mostly have the same words at the same places.
func (p *parser) word(name string) (word conditionWord, known bool) {
	last := &p.words[p.place%len(p.words)]
	p.place++
	if last.name == name && name != "" {
		return *last, true
	}
	if word, known = conditionWords[name]; known {
		*last = word
	}
	return word, known
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

func (p *parser) shorthand(it item, s *flow.Shorthand) *SyntaxError {
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
	p.fields[id/64] |= 1 << (id % 64)
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
	for i, left := range p.fields {
		for ; left != 0; left &= left - 1 {
			if err := p.prerequisite(flow.FieldID(64*i + bits.TrailingZeros64(left))); err != nil {
				return err
			}
		}
	}
	m := &p.rule.Match
	if !m.ICMPWhole() {
		return text{"", max(p.column(flow.FieldTPSrc), p.column(flow.FieldTPDst))}.errorf(
			"write icmp_type and icmp_code, 0 to 255, without a mask", "ICMP has no ports")
	}
	const later, l4 = uint64(flow.FragLater) << flow.ShiftFrag, uint64(0xffffffff)
	if m.Key[flow.WordL4]&later != 0 && (m.Mask[flow.WordL4]&l4 != 0 || m.Mask[flow.WordSrc]&0xffff != 0) {
		return text{"", p.column(flow.FieldFrag)}.errorf(
			"later fragments carry no ports, flags, type or code; use nw_frag=first or none",
			"nw_frag=later excludes conditions on the transport header")
	}
	return nil
}

// prerequisite checks it for one field.
func (p *parser) prerequisite(id flow.FieldID) *SyntaxError {
	f, m := &flow.Fields[id], &p.rule.Match
	if f.Need == nil || f.Need.Fulfilled(m) {
		return nil
	}
	var all flow.Key
	f.MaskBits(&all)
	if m.Mask[f.Word]&all[f.Word] == 0 && (f.Width != 128 || m.Mask[f.Word+1] == 0) {
		return nil // given as "any"
	}
	return text{"", p.at[id]}.errorf(f.Need.Hint, "%s needs a condition that is missing", f.Name)
}

// column is where a field was given, 0 if it was not.
func (p *parser) column(id flow.FieldID) int {
	if p.fields[id/64]>>(id%64)&1 == 0 {
		return 0
	}
	return p.at[id]
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
