package control

import (
	"errors"
	"fmt"
	"net/http"
)

// Code says what kind of error it was, for programs.
type Code string

// The codes, each with the HTTP status that carries it.
const (
	CodeBadRequest  Code = "bad_request" // 400: the request is not what the route takes
	CodeInvalid     Code = "invalid"     // 422: what was asked for is wrong: a rule, a configuration, a name
	CodeNotFound    Code = "not_found"   // 404
	CodeConflict    Code = "conflict"    // 409: it exists already, or is in use
	CodeTooLarge    Code = "too_large"   // 413
	CodeUnavailable Code = "unavailable" // 503: the daemon is stopping
	CodeInternal    Code = "internal"    // 500
)

var statusOf = map[Code]int{
	CodeBadRequest:  http.StatusBadRequest,
	CodeInvalid:     http.StatusUnprocessableEntity,
	CodeNotFound:    http.StatusNotFound,
	CodeConflict:    http.StatusConflict,
	CodeTooLarge:    http.StatusRequestEntityTooLarge,
	CodeUnavailable: http.StatusServiceUnavailable,
	CodeInternal:    http.StatusInternalServerError,
}

// Error is an error that crosses the socket: what is wrong, where, and what to do about it.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	// File, Line and Column (from 1) say where, as far as it is known.
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Hint   string `json:"hint,omitempty"`
	// Source is the text of the line, for errors in a text that the client sent.
	Source string `json:"source,omitempty"`
	// More are further errors of the same request.
	More []*Error `json:"more,omitempty"`
}

// Error is "file:line:column: message; hint", without what is not known. Further errors are not in it.
func (e *Error) Error() string {
	text := e.Message
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	switch {
	case e.Line > 0 && e.File != "":
		return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, text)
	case e.Line > 0:
		return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, text)
	case e.File != "":
		return e.File + ": " + text
	}
	return text
}

// Errorf makes an Error of the given code.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Errorf(format, args...).Error()}
}

// toError makes an Error of any error, for the way to the client.
func toError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Message: err.Error()}
}
