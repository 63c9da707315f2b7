package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// table prints rows in columns as wide as they need to be, unless that is wider than a terminal: then texts are cut in
// their middle, where a "~" shows it. A heading that begins with ">" aligns its column right; numbers are never cut.
type table struct {
	head []string
	rows [][]string
}

func newTable(head ...string) *table { return &table{head: head} }

func (t *table) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

// print writes the table, each line after indent.
func (t *table) print(w io.Writer, indent string) {
	head := make([]string, len(t.head))
	right := make([]bool, len(t.head))
	width := make([]int, len(t.head))
	for i, h := range t.head {
		head[i], right[i] = strings.CutPrefix(h, ">")
		width[i] = len(head[i])
	}
	for _, r := range t.rows {
		for i, c := range r {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	fit(width, right, head, lineWidth-len(indent))
	for _, r := range append([][]string{head}, t.rows...) {
		var line strings.Builder
		for i, c := range r {
			if i > 0 {
				line.WriteString("  ")
			}
			c = cut(c, width[i])
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if right[i] {
				line.WriteString(pad + c)
			} else {
				line.WriteString(c + pad)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(indent+line.String(), " "))
	}
}

// minColumn is how narrow a column of texts becomes at the least.
const minColumn = 8

// fit narrows the widest columns of texts until a table is not wider than limit, as far as that is possible.
func fit(width []int, right []bool, head []string, limit int) {
	total := 2 * (len(width) - 1)
	for _, w := range width {
		total += w
	}
	for ; total > limit; total-- {
		widest := -1
		for i, w := range width {
			if !right[i] && w > max(minColumn, len(head[i])) && (widest < 0 || w > width[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		width[widest]--
	}
}

// cut shortens a text to so many columns: its beginning and its end stay.
func cut(text string, columns int) string {
	r := []rune(text)
	if len(r) <= columns {
		return text
	}
	tail := (columns - 1) / 2
	return string(r[:columns-1-tail]) + "~" + string(r[len(r)-tail:])
}

// pairs prints "name: value" lines with the values under each other.
type pairs [][2]string

func (p *pairs) add(name, format string, args ...any) {
	*p = append(*p, [2]string{name, fmt.Sprintf(format, args...)})
}

// addUnlessEmpty is add, for what is not always there.
func (p *pairs) addUnlessEmpty(name, value string) {
	if value != "" {
		p.add(name, "%s", value)
	}
}

const (
	pairColumn = 15
	lineWidth  = 80
)

func (p pairs) print(w io.Writer, indent string) {
	for _, kv := range p {
		head := fmt.Sprintf("%s%-*s ", indent, pairColumn, kv[0]+":")
		fmt.Fprintln(w, strings.TrimRight(head+wrap(kv[1], len(head)), " "))
	}
}

// wrap breaks text at spaces so that it fits a terminal when it begins at column at; further lines begin there too.
func wrap(text string, at int) string {
	var b strings.Builder
	col := at
	for i, word := range strings.Fields(text) {
		switch n := utf8.RuneCountInString(word); {
		case i == 0:
			col += n
		case col+1+n > lineWidth:
			b.WriteString("\n" + strings.Repeat(" ", at))
			col = at + n
		default:
			b.WriteByte(' ')
			col += 1 + n
		}
		b.WriteString(word)
	}
	return b.String()
}

// paragraphs is a help text: each paragraph wrapped, with an empty line between them.
func paragraphs(text ...string) string {
	for i := range text {
		text[i] = wrap(text[i], 0)
	}
	return strings.Join(text, "\n\n")
}
