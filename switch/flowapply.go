package vswitch

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"weft/flowtable"
	"weft/flowtable/flow"
	"weft/flowtable/ofctl"
)

// What a text of changes is about, and what its lines do unless they begin with a command of their own.
const (
	KindFlow  = "flow"
	KindGroup = "group"
	KindMeter = "meter"

	CommandAdd     = "add"
	CommandModify  = "modify"
	CommandDelete  = "delete"
	CommandReplace = "replace" // the rules of the text become the only ones; of flows alone
)

// FlowRequest says how a text of changes is meant.
type FlowRequest struct {
	Bridge  string `json:"bridge"` // "": the only one
	Kind    string `json:"kind"`
	Command string `json:"command"`
	Strict  bool   `json:"strict"` // of modify and delete of rules: exactly this match and priority
}

// FlowCounts is what changes did to the rules, groups and meters of a bridge, and how many lines said so.
type FlowCounts struct {
	Lines    int `json:"lines"`
	Added    int `json:"added"`
	Modified int `json:"modified"`
	Deleted  int `json:"deleted"`
	Entries  int `json:"entries"` // groups and meters that were added, changed or deleted
}

// maxFlowErrors is how many mistakes of a text are reported.
const maxFlowErrors = 20

// FlowApply makes the changes that a text says, one a line, in the syntax of ovs-ofctl: all of them or, on error, none.
// Empty lines, and what follows a #, do not count. A line may begin with flow, group or meter, as in the files of
// "ovs-ofctl bundle", and with a command (add, modify, modify_strict, delete, delete_strict), which then goes before
// that of the request. Mistakes are reported as ConfigErrors without a file, with the line.
//
// The text is read to its end before anything happens; packets are forwarded meanwhile and all the time.
func (s *Switch) FlowApply(req FlowRequest, text io.Reader) (FlowCounts, error) {
	if err := req.check(); err != nil {
		return FlowCounts{}, err
	}
	memory := s.borrowTextMemory()
	defer s.returnTextMemory(memory)
	return s.applyText(req, text, memory)
}

// applyText is FlowApply in given memory.
func (s *Switch) applyText(req FlowRequest, text io.Reader, memory *textMemory) (FlowCounts, error) {
	t := flowText{req: req, parser: memory.parser}
	if err := t.read(text, memory); err != nil {
		return FlowCounts{}, err
	}
	rules, names, err := s.rulesOf(req.Bridge)
	if err != nil {
		return FlowCounts{}, err
	}
	t.use(names)
	var done flowtable.Applied
	if req.Command == CommandReplace {
		done, err = rules.pipeline.ReplaceEach(t.rules())
	} else {
		done, err = rules.pipeline.ApplyEach(t.changes())
	}
	if err != nil {
		return FlowCounts{}, t.explain(err)
	}
	return FlowCounts{t.count, done.Added, done.Modified, done.Deleted, done.Entries}, nil
}

func (r *FlowRequest) check() error {
	switch {
	case r.Kind != KindFlow && r.Kind != KindGroup && r.Kind != KindMeter:
		return &ConfigError{Message: fmt.Sprintf("changes of kind %q", r.Kind), Hint: "use flow, group or meter"}
	case r.Command == CommandReplace && r.Kind == KindFlow:
		return nil
	case r.Command != CommandAdd && r.Command != CommandModify && r.Command != CommandDelete:
		return &ConfigError{Message: fmt.Sprintf("command %q for a %s", r.Command, r.Kind), Hint: "use add, modify or delete"}
	}
	return nil
}

// rulesOf finds a bridge's rules and the names of its ports as they are now.
func (s *Switch) rulesOf(bridge string) (*ruleSet, portNames, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	br, err := s.bridge(bridge)
	if err != nil {
		return nil, portNames{}, err
	}
	return br.rules, br.names(), nil
}

// flowText is a text of changes on its way into a pipeline.
type flowText struct {
	req    FlowRequest
	data   []string // pieces of whole lines, lent
	names  portNames
	parser *ofctl.Parser
	count  int // lines that say something

	// The line at hand.
	line   int
	source string
	errs   ConfigErrors
	groups map[uint32]placedLine // the last line about each group
}

type placedLine struct {
	line int
	text string
}

// use says which names of ports are meant.
func (t *flowText) use(names portNames) {
	t.names = names
	t.parser.Reset(names)
}

// lines yields what each line says, without comment and white space around it, and how much was before it.
func (t *flowText) lines() iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		for i, piece := range t.data {
			for whole := range strings.Lines(piece) {
				t.line++
				for whole != "" && (whole[len(whole)-1] == '\n' || whole[len(whole)-1] == '\r') {
					whole = whole[:len(whole)-1]
				}
				if t.line == 1 {
					whole = strings.TrimPrefix(whole, byteOrderMark)
				}
				body, _, _ := strings.Cut(whole, "#")
				text := strings.TrimSpace(body)
				if text == "" || isReplyHead(text) {
					continue
				}
				t.count++
				t.source = whole
				if !yield(text, strings.Index(body, text)) {
					return
				}
			}
			t.data[i] = ""
		}
	}
}

// byteOrderMark is what some editors begin a text with.
const byteOrderMark = "\ufeff"

// isReplyHead reports whether a line is the heading that ovs-ofctl prints above what it dumps.
func isReplyHead(text string) bool {
	return (strings.HasPrefix(text, "NXST_") || strings.HasPrefix(text, "OFPST_")) && strings.Contains(text, " reply ")
}

// changes yields the changes, each in the same memory. After the first mistake it only looks for further ones, and ends
// with all of them.
func (t *flowText) changes() iter.Seq2[*flow.Change, error] {
	return func(yield func(*flow.Change, error) bool) {
		for text, indent := range t.lines() {
			c, err := t.change(text)
			if err != nil {
				if t.mistake(err, indent); len(t.errs) == maxFlowErrors {
					break
				}
				continue
			}
			if c.Group != nil {
				t.noteGroup(c.Group.Group.ID)
			}
			if len(t.errs) == 0 && !yield(c, nil) {
				return
			}
		}
		if len(t.errs) > 0 {
			yield(nil, t.errs)
		}
	}
}

// rules yields the rules of a text that has nothing else, each in the same memory.
func (t *flowText) rules() iter.Seq2[*flow.Rule, error] {
	return func(yield func(*flow.Rule, error) bool) {
		for text, indent := range t.lines() {
			r, err := t.parser.Rule(text)
			if err != nil {
				if t.mistake(err, indent); len(t.errs) == maxFlowErrors {
					break
				}
				continue
			}
			if len(t.errs) == 0 && !yield(r, nil) {
				return
			}
		}
		if len(t.errs) > 0 {
			yield(nil, t.errs)
		}
	}
}

// mistake notes what is wrong with the line at hand, which begins with indent bytes that the parser did not see.
func (t *flowText) mistake(err error, indent int) {
	e := &ConfigError{Line: t.line, Column: indent + 1, Message: brief(err.Error()), Source: cutShort(t.source)}
	var syntax *ofctl.SyntaxError
	if errors.As(err, &syntax) {
		e.Column, e.Message, e.Hint = indent+max(1, syntax.Col), brief(syntax.Msg), brief(syntax.Hint)
	}
	t.errs = append(t.errs, e)
}

// noteGroup notes that the line at hand is about a group.
func (t *flowText) noteGroup(id uint32) {
	if t.groups == nil {
		t.groups = make(map[uint32]placedLine)
	}
	t.groups[id] = placedLine{t.line, t.source}
}

// explain places an error that the pipeline found: in the line at hand or, since what groups have to do with one another
// shows only at the end, in the line that was the last about that group.
func (t *flowText) explain(err error) error {
	var errs ConfigErrors
	if errors.As(err, &errs) {
		return err
	}
	var group *flowtable.GroupError
	if errors.As(err, &group) {
		at, ok := t.groups[group.ID]
		if !ok {
			return &ConfigError{Message: strings.TrimPrefix(err.Error(), "flowtable: ")}
		}
		t.line, t.source = at.line, at.text
	}
	return ConfigErrors{{
		Line: t.line, Column: 1, Message: brief(strings.TrimPrefix(err.Error(), "flowtable: ")), Source: cutShort(t.source),
	}}
}

// change parses one line. The change is the parser's, or new.
func (t *flowText) change(text string) (*flow.Change, error) {
	kind := t.req.Kind
	word, rest, more := strings.Cut(text, " ")
	if more && (word == KindFlow || word == KindGroup || word == KindMeter) {
		kind, text = word, blank(len(word)+1)+rest
	}
	switch kind {
	case KindGroup:
		return t.groupChange(text)
	case KindMeter:
		return t.meterChange(text)
	}
	if hasCommand(text) {
		return t.parser.Change(text)
	}
	switch t.req.Command {
	case CommandModify:
		return t.parser.Modify(text, t.req.Strict)
	case CommandDelete:
		return t.parser.Delete(text, t.req.Strict)
	}
	return t.parser.Add(text)
}

// blank is white space that keeps the columns of what comes behind it.
func blank(n int) string { return strings.Repeat(" ", n) }

// commandWords are what lines of a file of changes may begin with.
var commandWords = []string{"add", "modify", "modify_strict", "delete", "delete_strict", "add_or_mod"}

// hasCommand reports whether a line begins with a command.
func hasCommand(text string) bool {
	word, _, _ := strings.Cut(strings.TrimLeft(text, " "), " ")
	for _, w := range commandWords {
		if w == word {
			return true
		}
	}
	return false
}

// groupChange parses one change of the group table.
func (t *flowText) groupChange(text string) (*flow.Change, error) {
	shift := 0
	if !hasCommand(text) {
		word := t.req.Command + " "
		text, shift = word+text, len(word)
	}
	m, err := ofctl.ParseGroupMod(text, t.names)
	var syntax *ofctl.SyntaxError
	if errors.As(err, &syntax) {
		moved := *syntax
		moved.Col = max(1, moved.Col-shift)
		return nil, &moved
	}
	return &flow.Change{Group: &m}, err
}

// meterChange parses one change of the meter table.
func (t *flowText) meterChange(text string) (*flow.Change, error) {
	command := t.req.Command
	if hasCommand(text) {
		trimmed := strings.TrimLeft(text, " ")
		word, rest, _ := strings.Cut(trimmed, " ")
		command, text = word, blank(len(text)-len(rest))+rest
	}
	switch command {
	case CommandDelete:
		id, all, err := ofctl.ParseMeterFilter(strings.TrimLeft(text, " "))
		m := flow.MeterMod{Command: flow.MeterDelete, Meter: flow.Meter{ID: id}}
		if all {
			m.Command = flow.MeterDeleteAll
		}
		return &flow.Change{Meter: &m}, err
	case CommandAdd, CommandModify:
	default:
		return nil, &ofctl.SyntaxError{Col: 1, Msg: command + " is no command for meters", Hint: "use add, modify or delete"}
	}
	parsed, err := ofctl.ParseMeter(text)
	if err != nil {
		return nil, err
	}
	m := flow.MeterMod{Command: flow.MeterAdd, Meter: *parsed}
	if command == CommandModify {
		m.Command = flow.MeterModify
	}
	return &flow.Change{Meter: &m}, nil
}

// cutShort is a copy of a line, or of its beginning, to be shown.
func cutShort(s string) string {
	return strings.Clone(strings.ToValidUTF8(s[:min(len(s), 4*maxMessage)], "?"))
}
