package vswitch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"weft/flowtable/flow"
	"weft/flowtable/ofctl"
)

// flowItem reads an element of flows, groups or meters: one, or several in a block of lines. Lines that are empty or begin
// with # do not count.
func (p *parser) flowItem(n *yaml.Node, what string) []FlowConfig {
	text, ok := p.text(n, what)
	if !ok {
		return nil
	}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		at := p.at(n)
		if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
			at.col++
		}
		return []FlowConfig{{Text: text, File: at.file, Line: at.line, Column: at.col}}
	}
	// The lines of a block begin below its indicator, all at the same column.
	return flowLines(text, position{p.file, n.Line + 1, p.indent(n.Line + 1)})
}

// indent is the column of the first character of a line of the file.
func (p *parser) indent(line int) int {
	for ; line <= len(p.source); line++ {
		s := p.source[line-1]
		if i := len(s) - len(strings.TrimLeft(s, " ")); i < len(s) {
			return i + 1
		}
	}
	return 1
}

// flowLines takes a text apart into rules, one a line. at is the place of its first character.
func flowLines(text string, at position) []FlowConfig {
	var rules []FlowConfig
	line := at.line
	for s := range strings.SplitSeq(text, "\n") {
		s = strings.TrimRight(s, " \t\r")
		body := strings.TrimLeft(s, " \t")
		if body != "" && body[0] != '#' {
			rules = append(rules, FlowConfig{Text: body, File: at.file, Line: line, Column: at.col + len(s) - len(body)})
		}
		line++
	}
	return rules
}

// flowsFile reads the rules of a file beside the configuration.
func (p *parser) flowsFile(n *yaml.Node, name string) []FlowConfig {
	path := name
	if !filepath.IsAbs(path) && p.file != "" {
		path = filepath.Join(filepath.Dir(p.file), path)
	}
	st, err := os.Stat(path)
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	var data []byte
	if err == nil {
		data, err = readBounded(path)
	}
	if err != nil {
		p.fail(p.at(n), "name a readable file, relative to the configuration's directory", "flows_file: %v", err)
		return nil
	}
	if !p.legible(data, path) {
		return nil
	}
	return flowLines(strings.TrimPrefix(string(data), "\ufeff"), position{path, 1, 1})
}

// rules parses the rules of a bridge, with the numbers that its ports would have in an empty switch.
func (p *parser) rules(br *Bridge) {
	names := provisionalNumbers(br)
	tables := p.tables(br, names)
	seen := make(map[ruleID]*FlowConfig, len(br.Flows))
	for i := range br.Flows {
		f := &br.Flows[i]
		r, err := parseFlow(f, names)
		if err != nil {
			p.errs = append(p.errs, err)
			continue
		}
		p.targets(f, r, tables)
		if first := seen[idOf(r)]; first != nil {
			hint := fmt.Sprintf("it is at %s:%d already: remove one of them, or change a priority", first.File, first.Line)
			p.fail(position{f.File, f.Line, f.Column}, hint, "rule: the same table, priority and match appear twice")
		}
		seen[idOf(r)] = f
	}
}

// parseFlow parses one configured rule.
func parseFlow(f *FlowConfig, names ofctl.PortNames) (*flow.Rule, *ConfigError) {
	return parseText(f, "rule", func(s string) (*flow.Rule, error) { return ofctl.ParseRule(s, names) })
}

// parseText parses a configured text. The error is placed at the character at fault.
func parseText[T any](f *FlowConfig, what string, parse func(s string) (*T, error)) (*T, *ConfigError) {
	x, err := parse(f.Text)
	if err == nil {
		return x, nil
	}
	e := &ConfigError{File: f.File, Line: f.Line, Column: f.Column, Message: brief(err.Error())}
	var syntax *ofctl.SyntaxError
	if errors.As(err, &syntax) {
		e.Message, e.Hint = brief(syntax.Msg), brief(syntax.Hint)
		if e.Line > 0 && syntax.Col > 0 {
			e.Column += syntax.Col - 1
		}
	}
	e.Message = what + ": " + e.Message
	return nil, e
}

// provisionalNumbers numbers the ports of a bridge without regard to a running switch.
func provisionalNumbers(br *Bridge) portNames {
	names := newPortNames()
	for i := range br.Ports {
		if n := br.Ports[i].Number; n != 0 {
			names.add(br.Ports[i].Name, n)
		}
	}
	next := uint32(1)
	for i := range br.Ports {
		if br.Ports[i].Number == 0 {
			next = names.free(next)
			names.add(br.Ports[i].Name, next)
		}
	}
	return names
}

// portNames are the ports of a bridge, both ways.
type portNames struct {
	numbers map[string]uint32
	names   map[uint32]string
}

func newPortNames() portNames {
	return portNames{numbers: make(map[string]uint32), names: make(map[uint32]string)}
}

func (n portNames) add(name string, number uint32) {
	n.numbers[name] = number
	n.names[number] = name
}

// free is the lowest number from low on that no port has.
func (n portNames) free(low uint32) uint32 {
	for ; ; low++ {
		if _, used := n.names[low]; !used {
			return low
		}
	}
}

// PortNumber and PortName make portNames a ofctl.PortNames.

func (n portNames) PortNumber(name string) (uint32, bool) {
	number, ok := n.numbers[name]
	return number, ok
}

func (n portNames) PortName(number uint32) (string, bool) {
	name, ok := n.names[number]
	return name, ok
}
