package main

import (
	"bufio"
	"encoding/json"
)

// jsonList prints a JSON array whose elements come one by one.
type jsonList struct {
	out *bufio.Writer
	n   int
}

func newJSONList(out *bufio.Writer) *jsonList { return &jsonList{out: out} }

func (l *jsonList) add(v any) error {
	text, err := json.MarshalIndent(v, "  ", "  ")
	if err != nil {
		return err
	}
	sep := ",\n  "
	if l.n == 0 {
		sep = "[\n  "
	}
	l.n++
	_, _ = l.out.WriteString(sep) // what goes wrong shows when the list is flushed
	_, err = l.out.Write(text)
	return err
}

func (l *jsonList) end() {
	if l.n == 0 {
		_, _ = l.out.WriteString("[]\n")
		return
	}
	_, _ = l.out.WriteString("\n]\n")
}
