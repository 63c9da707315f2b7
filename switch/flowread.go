package vswitch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"weft/flowtable/ofctl"
)

// textMemory is what reading a text of changes takes. It is used again: most texts are a line, and a thousand may come in
// a second, or they are a thousand lines, and a hundred come.
type textMemory struct {
	buf    []byte // textPiece of them
	parser *ofctl.Parser
}

// textPiece is how much of a text is kept in one piece: a text is not known to be long before it has been read, and growing
// one piece would take twice its memory.
const textPiece = 64 << 10

// maxLine bounds a line.
const maxLine = 4 << 20

// borrowTextMemory returns memory that is to be given back with returnTextMemory.
func (s *Switch) borrowTextMemory() *textMemory {
	m, _ := s.texts.Get().(*textMemory)
	if m == nil {
		m = &textMemory{make([]byte, textPiece), ofctl.NewParser(nil)}
	}
	return m
}

func (s *Switch) returnTextMemory(m *textMemory) {
	m.parser.Reset(nil)
	s.texts.Put(m)
}

// read reads the text to its end, through buf or, as long as a line demands it, a longer one.
func (t *flowText) read(text io.Reader, buf []byte) error {
	n := 0
	for {
		got, err := text.Read(buf[n:])
		n += got
		switch {
		case errors.Is(err, io.EOF):
			t.data = append(t.data, string(buf[:n]))
			return nil
		case err != nil:
			return err
		case n < len(buf):
			continue
		}
		switch end := bytes.LastIndexByte(buf, '\n') + 1; {
		case end > 0:
			t.data = append(t.data, string(buf[:end]))
			n = copy(buf, buf[end:])
		case len(buf) > maxLine:
			return t.tooLong()
		default:
			longer := make([]byte, min(2*len(buf), maxLine+1))
			copy(longer, buf)
			buf = longer
		}
	}
}

// tooLong says that the line behind what was read has no end.
func (t *flowText) tooLong() error {
	line := 1
	for _, piece := range t.data {
		line += strings.Count(piece, "\n")
	}
	return ConfigErrors{{
		Line: line, Column: 1, Message: "the line is too long", Hint: fmt.Sprintf("at most %d bytes make a line", maxLine),
	}}
}
