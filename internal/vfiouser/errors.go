package vfiouser

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// What can be wrong with an access to a client's memory. DMA's methods wrap them in a DMAError.
var (
	// ErrUnmapped says that the client has not mapped all of the range.
	ErrUnmapped = errors.New("not mapped")
	// ErrDenied says that the client has mapped the range, but not for this direction.
	ErrDenied = errors.New("mapped without that permission")
	// ErrCutOff says that the file behind the memory was shortened, or that its file system has no page for it.
	ErrCutOff = errors.New("the file behind the memory was cut off")
	// ErrDetached says that the session is over.
	ErrDetached = errors.New("the client is gone")
	// ErrTimeout says that the other side did not answer in time.
	ErrTimeout = errors.New("no answer in time")
)

// DMAError says which access to a client's memory failed, and why.
type DMAError struct {
	IOVA  uint64
	Size  int
	Write bool
	Err   error // one of the errors above, or a RemoteError
}

func (e *DMAError) Error() string {
	what := "read"
	if e.Write {
		what = "write"
	}
	return fmt.Sprintf("vfiouser: DMA %s of %d bytes at %#x: %v", what, e.Size, e.IOVA, e.Err)
}

func (e *DMAError) Unwrap() error { return e.Err }

// RemoteError is a reply with the error flag: the other side refused a command.
type RemoteError struct {
	Command string     // its name in the specification
	Errno   unix.Errno // 0 when the other side did not say
}

func (e *RemoteError) Error() string {
	if e.Errno == 0 {
		return fmt.Sprintf("vfiouser: %s refused", e.Command)
	}
	return fmt.Sprintf("vfiouser: %s refused: %v", e.Command, e.Errno)
}

func (e *RemoteError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// protocolError says what was wrong with a message so that nothing after it can be trusted: it ends the session.
type protocolError struct{ what string }

func (e *protocolError) Error() string { return "vfiouser: protocol: " + e.what }

func protocolf(format string, args ...any) error {
	return &protocolError{fmt.Sprintf(format, args...)}
}

// refusal is an error reply, with words for the log.
type refusal struct {
	errno unix.Errno
	why   string
}

func (e *refusal) Error() string { return e.why + ": " + e.errno.Error() }

func (e *refusal) Unwrap() error { return e.errno }

func refuse(errno unix.Errno, format string, args ...any) error {
	return &refusal{errno, fmt.Sprintf(format, args...)}
}

// errnoOf is what an error of a handler looks like to the other side.
func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	if errors.As(err, &errno) && errno != 0 {
		return errno
	}
	return unix.EIO
}
