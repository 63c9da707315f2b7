package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"weft/switch"
	"weft/switch/control"
)

// mistake is one thing that is wrong, with the line that it is in when that is known.
type mistake struct {
	control.Error
	source string // the line, "" unknown
}

// placedError is an error about text that the command line has before it, such as the rules of flow add.
type placedError struct{ mistakes []mistake }

func (e *placedError) Error() string { return e.mistakes[0].Error.Error() }

// codeUsage is the code of a command line that cannot be understood. It never crosses the control socket.
const codeUsage control.Code = "usage"

// report prints an error for the operator: a line that says where and what, the source with a caret under the column,
// and what to do.
func (a *app) report(err error) {
	var usage *usageError
	isUsage := errors.As(err, &usage)
	asJSON := a.wantsJSON() || isUsage && asksForJSON(a.args)
	var list []mistake
	switch {
	case isUsage:
		hint := fmt.Sprintf("try '%s --help'", usage.cmd.CommandPath())
		list = []mistake{{Error: control.Error{Code: codeUsage, Message: usage.Error(), Hint: hint}}}
		if !asJSON {
			fmt.Fprintf(a.err, "weft: %v\n  %s\n", usage.err, hint)
			return
		}
	default:
		list = mistakesOf(err)
	}
	if asJSON {
		plain := make([]*control.Error, len(list))
		for i := range list {
			plain[i] = &list[i].Error
			plain[i].More = nil
		}
		_ = json.NewEncoder(a.err).Encode(map[string]any{"errors": plain})
		return
	}
	for i := range list {
		list[i].print(a.err)
	}
}

// maxMistakes bounds what one error prints.
const maxMistakes = 20

// mistakesOf takes an error apart.
func mistakesOf(err error) []mistake {
	var placed *placedError
	if errors.As(err, &placed) {
		return placed.mistakes
	}
	var list []mistake
	for _, e := range flatten(err) {
		if len(list) == maxMistakes {
			break
		}
		e := *e
		list = append(list, mistake{Error: e, source: lineOf(e.File, e.Line)})
	}
	return list
}

// flatten finds all errors in err that know their place, in order; an error that contains none is one itself.
func flatten(err error) []*control.Error {
	switch e := err.(type) { // each level by itself
	case *control.Error:
		return append([]*control.Error{e}, e.More...)
	case vswitch.ConfigErrors, *vswitch.ConfigError:
		return configErrors(e)
	case interface{ Unwrap() []error }:
		var all []*control.Error
		for _, inner := range e.Unwrap() {
			all = append(all, flatten(inner)...)
		}
		return all
	}
	var remote *control.Error
	if inner := errors.Unwrap(err); inner != nil && (errors.As(inner, &remote) || configErrors(inner) != nil) {
		return flatten(inner)
	}
	return []*control.Error{{Code: control.CodeInternal, Message: err.Error()}}
}

// configErrors turns the switch's errors about a configuration into those of the control socket; nil for others.
func configErrors(err error) []*control.Error {
	var many vswitch.ConfigErrors
	if !errors.As(err, &many) {
		var one *vswitch.ConfigError
		if !errors.As(err, &one) {
			return nil
		}
		many = vswitch.ConfigErrors{one}
	}
	out := make([]*control.Error, len(many))
	for i, e := range many {
		out[i] = &control.Error{
			Code: control.CodeInvalid, Message: e.Message, File: e.File, Line: e.Line, Column: e.Column, Hint: e.Hint,
			Source: e.Source,
		}
	}
	return out
}

func (m *mistake) print(w io.Writer) {
	e := m.Error
	hint := e.Hint
	e.Hint = ""
	fmt.Fprintf(w, "weft: %s\n", e.Error())
	if m.source != "" && e.Column > 0 {
		text := strings.ReplaceAll(m.source, "\t", " ")
		col := min(e.Column-1, len(text))
		// A long line is shown from a little before the mistake on.
		if from := max(0, col-lineWidth/2); len(text) > lineWidth && from > 0 {
			text = "..." + text[from:]
			col = col - from + len("...")
		}
		if len(text) > lineWidth {
			text = text[:lineWidth] + "..."
		}
		fmt.Fprintf(w, "  %s\n  %s^\n", text, strings.Repeat(" ", col))
	}
	if hint != "" {
		fmt.Fprintf(w, "  hint: %s\n", hint)
	}
}

// lineOf reads a line of a file, or "" when that is not possible.
func lineOf(path string, line int) string {
	if path == "" || line <= 0 {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for n := 1; s.Scan(); n++ {
		if n == line {
			return s.Text()
		}
	}
	return ""
}
