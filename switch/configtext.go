package vswitch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds a file of configuration or rules in bytes: a quarter of a million rules of 256 bytes.
const maxFile = 64 << 20

// readBounded reads a file, whatever kind of file it is, that has at most maxFile bytes.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is longer than %d MiB, which is more than is read", path, maxFile>>20)
	}
	return data, err
}

// legible makes sure that data is text in UTF-8 without control characters, which is all that YAML 1.2.2 §5.1 takes.
// file is where it comes from.
func (p *parser) legible(data []byte, file string) bool {
	at := position{file, 1, 1}
	const hint = "save it as UTF-8 text"
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		p.failText(at, hint, "the text is UTF-16")
		return false
	}
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			p.failText(at, hint, "the byte 0x%02x here is not UTF-8", data[i])
			return false
		case r == 0:
			p.failText(at, hint, "a zero byte is here, as in UTF-16 or in a file that is not text")
			return false
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r >= 0x7f && r < 0xa0 && r != 0x85, r == 0xfffe, r == 0xffff:
			p.failText(at, "remove it", "the control character %U is here", r)
			return false
		}
		i += n
		at.col++
		if r == '\n' {
			at.line, at.col = at.line+1, 1
		}
	}
	return true
}

// failText is fail for a place that was counted in the text itself.
func (p *parser) failText(at position, hint, format string, args ...any) {
	if p.nowhere {
		at = position{}
	}
	p.fail(at, hint, format, args...)
}

// document reads the one YAML document of data: its root node, nil for an empty one.
func (p *parser) document(data []byte) (*yaml.Node, bool) {
	if !p.legible(data, p.file) {
		return nil, false
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, true
	}
	if err == nil {
		if err = dec.Decode(&more); errors.Is(err, io.EOF) {
			if len(doc.Content) == 0 || isNull(doc.Content[0]) {
				return nil, true
			}
			return doc.Content[0], true
		}
		if err == nil {
			p.fail(p.at(&more), "remove the \"---\" line", "a second document begins here")
			return nil, false
		}
	}
	at, msg := p.yamlPlace(err)
	p.failText(at, "check the indentation, colons and quotes of this line and its neighbours", "not valid YAML: %s", msg)
	return nil, false
}

// yamlError and unknownAnchor take the YAML library's errors apart.
var (
	yamlError     = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// yamlPlace finds the place that an error of the YAML library is about, and what is left of the error.
func (p *parser) yamlPlace(err error) (at position, msg string) {
	msg = strings.ReplaceAll(err.Error(), "\n", " ")
	m := yamlError.FindStringSubmatch(msg)
	if m == nil {
		return position{file: p.file}, msg
	}
	// The library leaves out the first line's number.
	at, msg = position{p.file, 1, 1}, m[2]
	if n, err := strconv.Atoi(m[1]); err == nil && n > 0 {
		at.line = n
	}
	if a := unknownAnchor.FindStringSubmatch(msg); a != nil {
		alias := regexp.MustCompile(`\*` + regexp.QuoteMeta(a[1]) + `(?:[\s,\]}]|$)`)
		for i, line := range p.source {
			if found := alias.FindStringIndex(line); found != nil {
				return position{p.file, i + 1, utf8.RuneCountInString(line[:found[0]]) + 1}, msg
			}
		}
	}
	return at, msg
}
