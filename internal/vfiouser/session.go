package vfiouser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/sys"
)

const (
	// handshakeTimeout bounds the wait for a client's VERSION.
	handshakeTimeout = 10 * time.Second
	// drainTime is how long commands are still read when the server is to end: qemu 11.1 aborts when a request that it
	// has sent gets no reply.
	drainTime = 50 * time.Millisecond
	// loggedRefusals is how many refused commands of a session are warned of.
	loggedRefusals = 20
)

// Session is a client's time with a device.
//
// Concurrency: any goroutine may call the methods. After Detach they do nothing.
type Session struct {
	dev  Device
	info DeviceInfo
	opt  Options
	log  *slog.Logger

	link  *link // the client's commands
	back  *link // ours: the same link, or the twin socket
	inbox *inbox
	dma   DMA
	irqs  *irqTable

	clientXfer uint32 // bytes of data the client takes in one message
	clientFDs  int
	refusals   int
}

// DMA is the client's memory.
func (s *Session) DMA() *DMA { return &s.dma }

// Trigger raises the interrupt vector n of the kind index, such as IRQMSIX. It reports whether the client learns of it:
// false when it has given no descriptor for the vector. It never blocks.
func (s *Session) Trigger(index, n int) bool { return s.irqs.fire(index, n) }

// Assigned reports whether the client has given a descriptor for an interrupt vector.
func (s *Session) Assigned(index, n int) bool { return s.irqs.assigned(index, n) }

// newSession makes one for a client that has just connected. conn is the session's.
func newSession(conn *net.UnixConn, dev Device, opt Options) (*Session, error) {
	info := dev.Info()
	if err := info.check(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	s := &Session{
		dev: dev, info: info, opt: opt, log: opt.Log, link: newLink(conn), inbox: newInbox(),
		irqs: newIRQTable(info), clientXfer: defaultXfer, clientFDs: 1,
	}
	s.back = s.link
	s.dma = DMA{max: ourMaxDMAMaps, remote: s}
	return s, nil
}

// run serves the client until it goes, misbehaves or ctx ends. A client that closed its socket between two messages is
// no error.
func (s *Session) run(ctx context.Context) error {
	defer func() { s.end(ErrDetached) }()
	if err := s.handshake(ctx); err != nil {
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			return nil // somebody only looked whether there is a server
		}
		return err
	}
	if s.info.Reset {
		if err := s.dev.Reset(); err != nil {
			s.log.Warn("vfio-user: reset before a client", "error", err)
		}
	}
	s.dev.Attach(s)
	received := make(chan error, 1)
	go func() { received <- s.receive() }()
	stop := context.AfterFunc(ctx, func() { _ = s.link.conn.SetReadDeadline(time.Now().Add(drainTime)) })
	defer stop()
	if s.back != s.link {
		go s.receiveTwin()
	}
	err := s.dispatch()
	s.end(err)
	s.dev.Detach()
	if derr := s.dma.detach(); derr != nil {
		s.log.Error("vfio-user: giving up a client's memory", "error", derr)
	}
	s.irqs.end()
	rerr := <-received
	s.inbox.discard()
	return sessionError(err, rerr)
}

// sessionError chooses the reason that tells more. That the client is gone is none, nor is our own closing.
func sessionError(dispatched, received error) error {
	var p *protocolError
	if errors.As(received, &p) {
		return received
	}
	for i, err := range []error{dispatched, received} {
		switch {
		case err == nil, errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, ErrDetached),
			errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		case i == 1 && errors.Is(err, os.ErrDeadlineExceeded): // the server is to end
		default:
			return err
		}
	}
	return nil
}

// end closes the sockets, so that nobody waits for the client any more.
func (s *Session) end(why error) {
	if why == nil {
		why = ErrDetached
	}
	s.inbox.close()
	s.link.fail(why)
	if s.back != s.link {
		s.back.fail(why)
	}
}

// handshake exchanges VERSION messages (specification, "VFIO_USER_VERSION").
func (s *Session) handshake(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = s.link.conn.Close() })()
	if err := s.link.conn.SetReadDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	m, err := s.link.receive()
	if err != nil {
		return fmt.Errorf("vfiouser: waiting for VERSION: %w", err)
	}
	defer m.close()
	if err := s.negotiate(m); err != nil {
		_ = s.link.answer(m, nil, nil, err)
		return fmt.Errorf("vfiouser: a client was refused: %w", err)
	}
	return s.link.conn.SetReadDeadline(time.Time{})
}

func (s *Session) negotiate(m *message) error {
	if m.cmd != cmdVersion || m.reply() || len(m.fds) > 0 {
		return refuse(unix.EINVAL, "the first message is %s, not VERSION", m.cmd)
	}
	v, err := parseVersion(m.body)
	if err != nil {
		return err
	}
	if v.major != ourMajor {
		return refuse(unix.EINVAL, "the client speaks version %d.%d, we %d.%d", v.major, v.minor, ourMajor, ourMinor)
	}
	s.clientXfer, s.clientFDs = v.caps.xfer(), v.caps.fds()
	if t := v.caps.TwinSocket; t != nil && t.Supported && s.clientFDs > 0 {
		twin, err := s.makeTwin()
		if err != nil {
			return err
		}
		defer twin.Close()
		return withFDs([]*os.File{twin}, nil, func(fds []int) error { return s.answerVersion(m, v, fds) })
	}
	return s.answerVersion(m, v, nil)
}

func (s *Session) answerVersion(m *message, v version, fds []int) error {
	r := version{ourMajor, min(v.minor, ourMinor), v.caps.reply(s.opt.maxXfer(), len(fds) > 0)}
	body, err := r.replyBody(len(m.body))
	if err != nil {
		return err
	}
	s.link.xfer = s.opt.maxXfer()
	return s.link.answer(m, body, fds, nil)
}

// makeTwin opens the second socket, for our commands, and returns the client's end.
func (s *Session) makeTwin() (*os.File, error) {
	ours, theirs, err := sys.SocketPair()
	if err != nil {
		return nil, err
	}
	s.back = newLink(ours)
	s.back.xfer = s.opt.maxXfer()
	return theirs, nil
}

// receive puts the client's commands into the inbox and hands out its replies, until the socket ends.
func (s *Session) receive() error {
	for {
		m, err := s.link.receive()
		if err == nil && m.reply() {
			err = s.link.deliver(m)
		} else if err == nil {
			err = s.inbox.put(m)
		}
		if err != nil {
			s.inbox.close()
			s.back.hangUp(ErrDetached)
			var p *protocolError
			if errors.As(err, &p) {
				s.end(err) // and what it has sent before is not done any more
			}
			return err
		}
	}
}

// receiveTwin hands out the replies that come by the second socket. When that ends, so does the session.
func (s *Session) receiveTwin() {
	for {
		m, err := s.back.receive()
		if err == nil && !m.reply() {
			m.close()
			err = protocolf("%s came by the socket of the server's commands", m.cmd)
		}
		if err == nil {
			err = s.back.deliver(m)
		}
		if err != nil {
			s.end(err)
			return
		}
	}
}

// dispatch does the commands, one after the other.
func (s *Session) dispatch() error {
	for {
		m := s.inbox.get()
		if m == nil {
			return nil
		}
		err := s.do(m) // which also fails when the socket was closed
		m.close()
		if err != nil {
			return err
		}
	}
}

// do does one command and replies to it. An error ends the session.
func (s *Session) do(m *message) error {
	body, files, err := s.handle(m)
	if err != nil {
		s.refused(m, err)
		return s.link.answer(m, nil, nil, err)
	}
	if len(files) > s.clientFDs {
		return s.link.answer(m, nil, nil, refuse(unix.EMFILE, "%s: %d descriptors", m.cmd, len(files)))
	}
	return withFDs(files, nil, func(fds []int) error { return s.link.answer(m, body, fds, nil) })
}

// refused logs a command that got an error reply.
func (s *Session) refused(m *message, err error) {
	if s.refusals++; s.refusals > loggedRefusals {
		return
	}
	s.log.Warn("vfio-user: refused", "command", m.cmd.String(), "error", err)
	if s.refusals == loggedRefusals {
		s.log.Warn("vfio-user: no more refused commands of this client are logged")
	}
}

// readMemory reads the client's memory by messages of at most what either side takes.
func (s *Session) readMemory(iova uint64, p []byte) error {
	for chunk := range slices.Chunk(p, s.chunk()) {
		m, err := s.remote(cmdDMARead, words(iova, uint64(len(chunk))))
		if err != nil {
			return err
		}
		if len(m.body) != accessSize+len(chunk) || le64(m.body) != iova || le64(m.body[8:]) != uint64(len(chunk)) {
			return protocolf("the reply to a DMA_READ of %d bytes has %d", len(chunk), len(m.body)-accessSize)
		}
		copy(chunk, m.body[accessSize:])
		iova += uint64(len(chunk))
	}
	return nil
}

// writeMemory is readMemory's opposite.
func (s *Session) writeMemory(iova uint64, p []byte) error {
	for chunk := range slices.Chunk(p, s.chunk()) {
		body := append(words(iova, uint64(len(chunk))), chunk...)
		// The specification gives the count in the reply 4 bytes; qemu sends 8.
		m, err := s.remote(cmdDMAWrite, body)
		if err != nil {
			return err
		}
		if len(m.body) < 12 || le64(m.body) != iova || le32(m.body[8:]) != uint32(len(chunk)) {
			return protocolf("the reply to a DMA_WRITE of %d bytes says otherwise", len(chunk))
		}
		iova += uint64(len(chunk))
	}
	return nil
}

func (s *Session) chunk() int { return int(min(s.clientXfer, s.opt.maxXfer())) }

// remote sends the client a command and waits for the reply, which has no descriptors.
func (s *Session) remote(cmd command, body []byte) (*message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.opt.dmaTimeout())
	defer cancel()
	s.inbox.begin()
	defer s.inbox.end()
	return s.back.call(ctx, cmd, body, nil, 0)
}
