package vfiouser

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/sys"
)

// writeTimeout is how long the other side may leave its socket full. It is as long as qemu waits for a reply.
const writeTimeout = 5 * time.Second

// link is one end of a connection: it sends messages whole, receives them whole, and matches replies to commands.
//
// Concurrency: one goroutine receives. Any may send, call and close.
type link struct {
	conn *net.UnixConn
	oob  []byte // the receiver's
	xfer uint32 // the most data a message may carry, set before anything but VERSION is received

	sending sync.Mutex

	mu      sync.Mutex
	nextID  uint16
	waiting map[uint16]*call
	err     error // why the link is over
}

// call is a command that waits for its reply.
type call struct {
	cmd    command
	maxFDs int
	reply  chan *message // one place; closed when the link is over
}

func newLink(conn *net.UnixConn) *link {
	return &link{conn: conn, oob: make([]byte, sys.FDSpace(ourMaxFDs)), xfer: defaultXfer, waiting: make(map[uint16]*call)}
}

// send sends one message. It borrows body and fds.
func (l *link) send(h header, body []byte, fds []int) error {
	h.size = uint32(headerSize + len(body))
	b := make([]byte, headerSize, h.size)
	h.put(b)
	b = append(b, body...)
	l.sending.Lock()
	defer l.sending.Unlock()
	if err := l.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return sys.SendFDs(l.conn, b, fds)
}

// answer sends the reply to m, or the error reply for err.
func (l *link) answer(m *message, body []byte, fds []int, err error) error {
	if m.flags&flagNoReply != 0 {
		return nil
	}
	h := header{id: m.id, cmd: m.cmd, flags: flagReply}
	if err != nil {
		h.flags |= flagError
		h.errno = uint32(errnoOf(err))
		body, fds = nil, nil
	}
	return l.send(h, body, fds)
}

// receive reads one message. The descriptors that came along are in it; with an error they have been closed.
func (l *link) receive() (*message, error) {
	m := new(message)
	var head [headerSize]byte
	err := l.fill(m, head[:])
	if err == nil {
		if m.header, err = parseHeader(head[:], l.xfer); err == nil {
			m.body = make([]byte, m.size-headerSize)
			err = l.fill(m, m.body)
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
		}
	}
	if err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// fill reads all of b, and collects descriptors. The error is io.EOF when the other side closed before the first byte.
func (l *link) fill(m *message, b []byte) error {
	for got := 0; got < len(b); {
		n, fds, err := sys.RecvFDs(l.conn, b[got:], l.oob, m.fds, ourMaxFDs)
		m.fds = fds
		got += n
		switch {
		case err == nil && n == 0, errors.Is(err, io.EOF):
			if got > 0 {
				return io.ErrUnexpectedEOF
			}
			return io.EOF
		case errors.Is(err, sys.ErrTruncatedFDs):
			return protocolf("more than %d descriptors with a message, or more than this process may open", ourMaxFDs)
		case err != nil:
			return err
		}
	}
	return nil
}

// close closes the descriptors that nobody took.
func (m *message) close() {
	sys.CloseFDs(m.fds)
	m.fds = nil
}

// deliver hands a reply to the caller that waits for it. One that nobody waits for, as after a time-out, is dropped.
func (l *link) deliver(m *message) error {
	l.mu.Lock()
	c := l.waiting[m.id]
	delete(l.waiting, m.id)
	l.mu.Unlock()
	if c == nil {
		m.close()
		return nil
	}
	if m.cmd != c.cmd || len(m.fds) > c.maxFDs {
		err := protocolf("the reply to %s is one to %s with %d descriptors", c.cmd, m.cmd, len(m.fds))
		m.close()
		close(c.reply)
		return err
	}
	c.reply <- m
	return nil
}

// register makes an id for a command that is to be replied to.
func (l *link) register(cmd command, maxFDs int) (uint16, *call, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return 0, nil, l.err
	}
	if len(l.waiting) > 1<<15 {
		return 0, nil, refuse(unix.EBUSY, "%d commands wait for their replies", len(l.waiting))
	}
	for l.waiting[l.nextID] != nil {
		l.nextID++
	}
	id := l.nextID
	l.nextID++
	c := &call{cmd: cmd, maxFDs: maxFDs, reply: make(chan *message, 1)}
	l.waiting[id] = c
	return id, c, nil
}

// call sends a command and waits for its reply. The caller closes the descriptors in that; maxFDs is how many there may
// be. A reply with the error flag is a *RemoteError.
func (l *link) call(ctx context.Context, cmd command, body []byte, fds []int, maxFDs int) (*message, error) {
	id, c, err := l.register(cmd, maxFDs)
	if err != nil {
		return nil, err
	}
	if err := l.send(header{id: id, cmd: cmd}, body, fds); err != nil {
		l.abandon(id, c)
		return nil, l.why(err)
	}
	var m *message
	select {
	case m = <-c.reply:
	case <-ctx.Done():
		l.abandon(id, c)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, ErrTimeout
		}
		return nil, ctx.Err()
	}
	if m == nil {
		return nil, l.why(ErrDetached)
	}
	if m.flags&flagError != 0 {
		m.close()
		return nil, &RemoteError{Command: cmd.String(), Errno: unix.Errno(m.errno)}
	}
	return m, nil
}

// abandon forgets a call, and the reply if it came meanwhile.
func (l *link) abandon(id uint16, c *call) {
	l.mu.Lock()
	if l.waiting[id] == c {
		delete(l.waiting, id)
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	if m := <-c.reply; m != nil { // somebody has taken the call off the list to reply to it
		m.close()
	}
}

// post sends a command that is not to be replied to.
func (l *link) post(cmd command, body []byte) error {
	l.mu.Lock()
	id := l.nextID
	l.nextID++
	err := l.err
	l.mu.Unlock()
	if err != nil {
		return err
	}
	return l.why(l.send(header{id: id, cmd: cmd, flags: flagNoReply}, body, nil))
}

// fail ends the link for err: every call returns. The first reason stays.
func (l *link) fail(err error) {
	l.hangUp(err)
	_ = l.conn.Close()
}

// hangUp ends all calls, as no reply will come any more. Replies can still be sent.
func (l *link) hangUp(err error) {
	l.mu.Lock()
	if l.err == nil {
		l.err = err
	}
	waiting := l.waiting
	l.waiting = make(map[uint16]*call)
	l.mu.Unlock()
	for _, c := range waiting {
		close(c.reply)
	}
}

// why is the reason that the link ended for, if it did, or else err. Closing is no reason of its own.
func (l *link) why(err error) error {
	if err == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil && (errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) || errors.Is(err, ErrDetached)) {
		return l.err
	}
	return err
}

// withFDs calls f with the descriptors of files, which stay open during the call and in the mode they are in.
func withFDs(files []*os.File, fds []int, f func(fds []int) error) error {
	if len(files) == 0 {
		return f(fds)
	}
	raw, err := files[0].SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = withFDs(files[1:], append(fds, int(fd)), f) })
	if err != nil {
		return err
	}
	return inner
}
