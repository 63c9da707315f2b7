package vswitch

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// parser walks a YAML tree, checks every node and collects every mistake with its place.
type parser struct {
	opts    ParseOptions
	file    string
	source  []string // the lines of the file, for the columns of block scalars
	nowhere bool     // positions mean nothing to the reader (the text came from the command line)
	errs    ConfigErrors
}

// field is one key of a mapping: its name and what to do with its value.
type field struct {
	name string
	set  func(v *yaml.Node)
}

// at is a node's place.
func (p *parser) at(n *yaml.Node) position {
	if p.nowhere || n == nil {
		return position{}
	}
	return position{p.file, n.Line, n.Column}
}

// fail records a mistake at a place.
func (p *parser) fail(at position, hint, format string, args ...any) {
	msg := brief(fmt.Sprintf(format, args...))
	e := &ConfigError{File: at.file, Line: at.line, Column: at.col, Message: msg, Hint: brief(hint)}
	if e.File == "" && !p.nowhere {
		e.File = p.file
	}
	p.errs = append(p.errs, e)
}

// err is what was collected, ordered by place, or nil.
func (p *parser) err() error {
	if len(p.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(p.errs, func(a, b *ConfigError) int {
		if a.File != b.File {
			return strings.Compare(a.File, b.File)
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return p.errs
}

// resolve follows an alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// isNull reports an absent value: a key with nothing behind it.
func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// mapping visits the fields of n and returns their values by name. what names the mapping in messages: "a port".
func (p *parser) mapping(n *yaml.Node, what string, fields []field) map[string]*yaml.Node {
	n = resolve(n)
	seen := make(map[string]*yaml.Node)
	if isNull(n) {
		return seen
	}
	if n.Kind != yaml.MappingNode {
		p.fail(p.at(n), "write it as \"name: value\" lines", "%s must be a mapping, not %s", what, kindName(n))
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], resolve(n.Content[i+1])
		j := slices.IndexFunc(fields, func(f field) bool { return f.name == key.Value })
		switch first, twice := seen[key.Value]; {
		case key.Kind != yaml.ScalarNode || j < 0:
			p.unknown(key, what, fields)
		case twice:
			hint := "remove one of them"
			if !p.nowhere {
				hint = fmt.Sprintf("it is set at line %d already: remove one of them", first.Line)
			}
			p.fail(p.at(key), hint, "field %q appears twice in %s", key.Value, what)
		default:
			seen[key.Value] = key
			if !isNull(value) {
				fields[j].set(value)
			}
		}
	}
	return seen
}

// unknown reports a key that is not among fields.
func (p *parser) unknown(key *yaml.Node, what string, fields []field) {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	hint := "known fields: " + strings.Join(names, ", ")
	if near := nearest(key.Value, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	p.fail(p.at(key), hint, "unknown field %q in %s", key.Value, what)
}

// list visits the elements of a sequence.
func (p *parser) list(n *yaml.Node, what string, each func(i int, v *yaml.Node)) {
	n = resolve(n)
	if n.Kind != yaml.SequenceNode {
		p.fail(p.at(n), "write it as \"- item\" lines or as [item, item]", "%s must be a list, not %s", what, kindName(n))
		return
	}
	for i, v := range n.Content {
		each(i, resolve(v))
	}
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return "empty"
		}
		return strconv.Quote(n.Value)
	}
	return "something else"
}

// maxMessage bounds a message in bytes.
const maxMessage = 400

// longQuote and longWord find values that are too long to be shown.
var (
	longQuote = regexp.MustCompile(`"([^"]{60})[^"]+"`)
	longWord  = regexp.MustCompile(`(\S{100})\S{28,}`)
)

// brief makes a message short enough to be read: quoted values are cut to 60 characters, other words to 100.
func brief(msg string) string {
	if len(msg) > 10*maxMessage {
		msg = msg[:10*maxMessage] + `"...`
	}
	msg = longWord.ReplaceAllString(longQuote.ReplaceAllString(msg, `"$1"...`), "$1...")
	if len(msg) > maxMessage {
		msg = msg[:maxMessage] + "..."
	}
	return strings.ToValidUTF8(msg, "")
}

// text reads a scalar that is not empty.
func (p *parser) text(n *yaml.Node, what string) (string, bool) {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode || n.Value == "" || n.Tag == "!!null" {
		p.fail(p.at(n), "write a text", "%s must be a text, not %s", what, kindName(n))
		return "", false
	}
	return n.Value, true
}

// oneOf reads a scalar that is one of a few words.
func (p *parser) oneOf(n *yaml.Node, what string, words ...string) (string, bool) {
	v, ok := p.text(n, what)
	if !ok {
		return "", false
	}
	if !slices.Contains(words, v) {
		hint := "use one of: " + strings.Join(words, ", ")
		if near := nearest(v, words); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		p.fail(p.at(n), hint, "%s cannot be %q", what, v)
		return "", false
	}
	return v, true
}

// number reads an integer within bounds.
func (p *parser) number(n *yaml.Node, what string, low, high int) (int, bool) {
	n = resolve(n)
	v, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		p.fail(p.at(n), fmt.Sprintf("write a number from %d to %d", low, high), "%s must be a whole number, not %s",
			what, kindName(n))
		return 0, false
	}
	if v < low || v > high {
		p.fail(p.at(n), fmt.Sprintf("choose a number from %d to %d", low, high), "%s cannot be %d", what, v)
		return 0, false
	}
	return v, true
}

// duration reads a time with its unit within bounds.
func (p *parser) duration(n *yaml.Node, what string, low, high time.Duration) (time.Duration, bool) {
	n = resolve(n)
	v, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		p.fail(p.at(n), "write a number with its unit (us, ms, s, m, h), for example "+durationText(low),
			"%s must be a time, not %s", what, kindName(n))
		return 0, false
	}
	if v < low || v > high {
		p.fail(p.at(n), "choose a time from "+durationText(low)+" to "+durationText(high), "%s cannot be %s", what,
			durationText(v))
		return 0, false
	}
	return v, true
}

// durationText writes a time as it can be typed.
func durationText(d time.Duration) string { return strings.ReplaceAll(d.String(), "µ", "u") }

// nearest is the word closest to s, if one is close enough to have been meant.
func nearest(s string, words []string) string {
	best, bestAt := "", 3
	if len(s) < 4 {
		bestAt = 2
	}
	for _, w := range words {
		if letters(s) == letters(w) {
			return w // in another order
		}
		if d := distance(strings.ToLower(s), w); d < bestAt {
			best, bestAt = w, d
		}
	}
	return best
}

// letters are the letters of a word in the order of the alphabet.
func letters(s string) string {
	b := []byte(strings.ToLower(s))
	slices.Sort(b)
	return string(b)
}

// distance is the number of insertions, deletions and substitutions between two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
