package ofctl

import (
	"fmt"
	"strconv"
	"strings"
)

// SyntaxError says what is wrong with the text of a rule, where, and what to do about it.
type SyntaxError struct {
	Col  int    // column of the first wrong byte, counted from 1
	Msg  string // what is wrong
	Hint string // what to write instead; may be empty
}

func (e *SyntaxError) Error() string {
	s := fmt.Sprintf("column %d: %s", e.Col, e.Msg)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// PortNames resolves port names for the text syntax. Implementations answer for ordinary ports; the parser knows the
// reserved ones (LOCAL and so on) itself.
type PortNames interface {
	PortNumber(name string) (uint32, bool)
	PortName(n uint32) (string, bool)
}

// text is a stretch of a rule with its place, for errors.
type text struct {
	s   string
	col int // of s[0], counted from 1
}

func (t text) errorf(hint, format string, args ...any) *SyntaxError {
	return &SyntaxError{Col: t.col, Msg: fmt.Sprintf(format, args...), Hint: hint}
}

// cut splits t around the first sep.
func (t text) cut(sep string) (before, after text, found bool) {
	i := strings.Index(t.s, sep)
	if i < 0 {
		return t, text{"", t.col + len(t.s)}, false
	}
	j := i + len(sep)
	return text{t.s[:i], t.col}, text{t.s[j:], t.col + j}, true
}

// trim removes white space at both ends.
func (t text) trim() text {
	s := strings.TrimLeft(t.s, spaces)
	return text{strings.TrimRight(s, spaces), t.col + len(t.s) - len(s)}
}

// item is one key, key=value or key(value) of a rule.
type item struct {
	key, val text
	sep      byte // '=', ':', '(' or 0 for a key alone
	quoted   bool // the key was in quotation marks
}

const (
	spaces     = " \t\r\n"
	separators = ", \t\r\n"
)

// What a byte may be.
const (
	isSeparator = 1 << iota
	endsKey
	marksValue // quotation marks and parentheses, inside which nothing separates
)

// kinds says it for each.
var kinds = [256]uint8{
	',': isSeparator | endsKey, ' ': isSeparator | endsKey, '\t': isSeparator | endsKey, '\r': isSeparator | endsKey,
	'\n': isSeparator | endsKey, '=': endsKey, ':': endsKey, '(': endsKey | marksValue, ')': endsKey | marksValue,
	'"': marksValue,
}

// keyLen is the length of the key that s begins with.
func keyLen(s string) int {
	for i := range len(s) {
		if kinds[s[i]]&endsKey != 0 {
			return i
		}
	}
	return len(s)
}

// nextItem takes the next item off t. ok is false at the end.
func nextItem(t *text) (it item, ok bool, err *SyntaxError) {
	i := 0
	for i < len(t.s) && kinds[t.s[i]]&isSeparator != 0 {
		i++
	}
	t.s, t.col = t.s[i:], t.col+i
	if t.s == "" {
		return item{}, false, nil
	}
	if t.s[0] == '"' {
		n, err := quotedLen(*t)
		if err != nil {
			return item{}, false, err
		}
		it.key, it.quoted = t.take(n), true
		return it, true, t.atSeparator()
	}
	it.key = t.take(keyLen(t.s))
	if t.s == "" || kinds[t.s[0]]&isSeparator != 0 {
		return it, true, nil
	}
	it.sep = t.s[0]
	t.take(1)
	switch it.sep {
	case ')':
		return it, false, text{"", t.col - 1}.errorf("", "unexpected ')'")
	case '(':
		it.val, err = t.takeParens()
	default:
		it.val, err = t.takeValue()
	}
	return it, true, err
}

// take removes the first n bytes of t and returns them.
func (t *text) take(n int) text {
	head := text{t.s[:n], t.col}
	t.s, t.col = t.s[n:], t.col+n
	return head
}

// takeParens takes what stands before the closing parenthesis whose opening one was taken already.
func (t *text) takeParens() (text, *SyntaxError) {
	level := 1
	for i := 0; i < len(t.s); i++ {
		switch t.s[i] {
		case '"':
			n, err := quotedLen(text{t.s[i:], t.col + i})
			if err != nil {
				return text{}, err
			}
			i += n - 1
		case '(':
			level++
		case ')':
			if level--; level == 0 {
				v := t.take(i)
				t.take(1)
				return v, t.atSeparator()
			}
		}
	}
	return text{}, text{"", t.col - 1}.errorf("add the closing ')'", "'(' is never closed")
}

// takeValue takes a value up to the next separator outside quotation marks and parentheses.
func (t *text) takeValue() (text, *SyntaxError) {
	level, i := 0, 0
	for ; i < len(t.s); i++ {
		c := t.s[i]
		if kinds[c]&(isSeparator|marksValue) == 0 {
			continue
		}
		if level == 0 && kinds[c]&isSeparator != 0 {
			break
		}
		switch c {
		case '"':
			n, err := quotedLen(text{t.s[i:], t.col + i})
			if err != nil {
				return text{}, err
			}
			i += n - 1
		case '(':
			level++
		case ')':
			level--
		}
	}
	if level > 0 {
		return text{}, t.errorf("add the closing ')'", "'(' is never closed")
	}
	return t.take(i), nil
}

func (t *text) atSeparator() *SyntaxError {
	if t.s == "" || kinds[t.s[0]]&isSeparator != 0 {
		return nil
	}
	return t.errorf("separate with a comma", "unexpected %q", t.s[:1])
}

// quotedLen is the length of the quoted string that t starts with.
func quotedLen(t text) (int, *SyntaxError) {
	for i := 1; i < len(t.s); i++ {
		switch t.s[i] {
		case '\\':
			i++
		case '"':
			return i + 1, nil
		}
	}
	return 0, t.errorf("add the closing quotation mark", "quotation mark is never closed")
}

// unquote returns what a quoted string says.
func unquote(t text) (string, *SyntaxError) {
	s, err := strconv.Unquote(t.s)
	if err != nil {
		return "", t.errorf(`write names as "name", with \" and \\ inside`, "bad quoted name %s", t.s)
	}
	return s, nil
}

// number parses an unsigned decimal or 0x number up to limit.
func number(t text, what string, limit uint64) (uint64, *SyntaxError) {
	if t.s == "" {
		return 0, t.errorf("write "+what+"=NUMBER", "%s is missing a value", what)
	}
	digits, base := t.s, 10
	if len(digits) > 2 && (digits[:2] == "0x" || digits[:2] == "0X") {
		digits, base = digits[2:], 16
	}
	n, err := strconv.ParseUint(digits, base, 64)
	if err != nil {
		if ne, ok := err.(*strconv.NumError); !ok || ne.Err != strconv.ErrRange {
			return 0, t.errorf("use a decimal number, or a hexadecimal one with 0x", "%q is not a number for %s", t.s, what)
		}
		n = ^uint64(0)
	}
	if n > limit || err != nil {
		return 0, t.errorf(fmt.Sprintf("the largest is %d", limit), "%s is too large for %s", t.s, what)
	}
	return n, nil
}

// nearest is the word in words that is at most two typing mistakes away from s, or "".
func nearest(s string, words []string) string {
	best, bestDist := "", 3
	for _, w := range words {
		if d := editDistance(s, w); d < bestDist && d < len(w) {
			best, bestDist = w, d
		}
	}
	return best
}

// editDistance counts insertions, deletions and replacements between a and b, whose lengths it bounds.
func editDistance(a, b string) int {
	const longest = 32
	if len(a) > longest || len(b) > longest {
		return longest
	}
	var row [longest + 1]int
	for j := range b {
		row[j+1] = j + 1
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
