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
	pieces [][]byte // of textPiece bytes, at most keptPieces
	taken  int      // of them, by the text at hand
	parser *ofctl.Parser
}

const (
	// textPiece is how much of a text is kept in one piece: a text is not known to be long before it has been read, and
	// growing one piece would take twice its memory.
	textPiece = 64 << 10

	// keptPieces is how many pieces are kept for the next text.
	keptPieces = 16

	// maxLine bounds a line.
	maxLine = 4 << 20
)

func newTextMemory() *textMemory { return &textMemory{parser: ofctl.NewParser(nil)} }

// borrowTextMemory returns memory that is to be given back with returnTextMemory.
func (s *Switch) borrowTextMemory() *textMemory {
	if m, found := s.texts.Get().(*textMemory); found {
		return m
	}
	return newTextMemory()
}

func (s *Switch) returnTextMemory(m *textMemory) {
	m.taken = 0
	m.parser.Reset(nil)
	s.texts.Put(m)
}

// piece returns memory for the next piece, which begins with so many bytes of a line.
func (m *textMemory) piece(begun int) []byte {
	if begun >= textPiece {
		return make([]byte, min(2*begun, maxLine+1))
	}
	if m.taken == len(m.pieces) {
		fresh := make([]byte, textPiece)
		if m.taken == keptPieces {
			return fresh
		}
		m.pieces = append(m.pieces, fresh)
	}
	m.taken++
	return m.pieces[m.taken-1]
}

// read reads the text to its end, into pieces of whole lines.
func (t *flowText) read(text io.Reader, memory *textMemory) error {
	piece, n := memory.piece(0), 0
	for {
		got, err := text.Read(piece[n:])
		n += got
		switch {
		case errors.Is(err, io.EOF):
			t.data = append(t.data, lend(piece[:n]))
			return nil
		case err != nil:
			return err
		case n < len(piece):
			continue
		}
		end := bytes.LastIndexByte(piece, '\n') + 1
		if end == 0 && n > maxLine {
			return t.tooLong()
		}
		next := memory.piece(n - end)
		n = copy(next, piece[end:])
		if end > 0 {
			t.data = append(t.data, lend(piece[:end]))
		}
		piece = next
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
