package vhosttest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"weft/internal/sys"
)

// FrontEnd is the guest's end of a vhost-user socket. It can be used alone, without a [Guest], to say anything to a
// back end.
//
// Concurrency: one goroutine at a time.
type FrontEnd struct {
	path     string
	listener *net.UnixListener // nil when the back end listens
	conn     *net.UnixConn     // nil while not connected
	timeout  time.Duration

	// NeedReply makes Send ask for an acknowledgement, once REPLY_ACK is negotiated.
	NeedReply bool

	offered  uint64 // features
	features uint64
	protocol uint64
	pairs    uint64 // what GET_QUEUE_NUM said

	masked   *os.File // the call descriptor of rings whose interrupts nobody wants yet, as qemu has it
	maskedFD int
}

// Dial makes a front end that connects to the socket path, on which a back end listens or will within timeout.
func Dial(path string, timeout time.Duration) (*FrontEnd, error) {
	f, err := newFrontEnd(path, timeout)
	if err != nil {
		return nil, err
	}
	if err := f.Redial(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Listen makes a front end that listens on the socket path. Redial waits for the back end.
func Listen(path string, timeout time.Duration) (*FrontEnd, error) {
	f, err := newFrontEnd(path, timeout)
	if err != nil {
		return nil, err
	}
	f.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("vhosttest: %w", err), f.Close())
	}
	return f, nil
}

func newFrontEnd(path string, timeout time.Duration) (*FrontEnd, error) {
	f := &FrontEnd{path: path, timeout: timeout}
	var err error
	if f.masked, f.maskedFD, err = sys.EventFile(); err != nil {
		return nil, fmt.Errorf("vhosttest: %w", err)
	}
	return f, nil
}

// Redial hangs up, if there is a connection, and makes a new one. Nothing is negotiated on it.
func (f *FrontEnd) Redial() error {
	f.HangUp()
	f.offered, f.features, f.protocol, f.pairs = 0, 0, 0, 0
	if f.listener != nil {
		if err := f.listener.SetDeadline(time.Now().Add(f.timeout)); err != nil {
			return fmt.Errorf("vhosttest: %w", err)
		}
		conn, err := f.listener.AcceptUnix()
		if err != nil {
			return fmt.Errorf("vhosttest: no back end connects: %w", err)
		}
		f.conn = conn
		return nil
	}
	const pause = 5 * time.Millisecond
	for deadline := time.Now().Add(f.timeout); ; time.Sleep(pause) {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: f.path, Net: "unix"})
		if err == nil {
			f.conn = conn
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("vhosttest: no back end listens: %w", err)
		}
	}
}

// HangUp closes the connection as a front end that dies does.
func (f *FrontEnd) HangUp() {
	if f.conn != nil {
		_ = f.conn.Close()
		f.conn = nil
	}
}

// Close hangs up and stops listening.
func (f *FrontEnd) Close() error {
	f.HangUp()
	err := f.masked.Close()
	if f.listener != nil {
		err = errors.Join(err, f.listener.Close())
	}
	return err
}

// Features are the virtio features negotiated on this connection.
func (f *FrontEnd) Features() uint64 { return f.features }

// Offered are the virtio features that the back end offered.
func (f *FrontEnd) Offered() uint64 { return f.offered }

// Protocol are the protocol features negotiated on this connection.
func (f *FrontEnd) Protocol() uint64 { return f.protocol }

// SetProtocol declares protocol features as negotiated, for tests that negotiate by hand: Send needs to know of
// REPLY_ACK.
func (f *FrontEnd) SetProtocol(bits uint64) { f.protocol = bits }

var errHungUp = errors.New("vhosttest: the front end is not connected")

// Write sends any bytes with any descriptors, which stay the caller's. The descriptors travel with the first byte.
func (f *FrontEnd) Write(raw []byte, fds ...int) error {
	if f.conn == nil {
		return errHungUp
	}
	if err := f.conn.SetWriteDeadline(time.Now().Add(f.timeout)); err != nil {
		return fmt.Errorf("vhosttest: %w", err)
	}
	if err := sys.SendFDs(f.conn, raw, fds); err != nil {
		return fmt.Errorf("vhosttest: %w", err)
	}
	return nil
}

// Read waits for one message of the back end. It is io.EOF when the back end has hung up.
func (f *FrontEnd) Read() (Message, error) {
	if f.conn == nil {
		return Message{}, errHungUp
	}
	if err := f.conn.SetReadDeadline(time.Now().Add(f.timeout)); err != nil {
		return Message{}, fmt.Errorf("vhosttest: %w", err)
	}
	var h [messageHeader]byte
	if _, err := io.ReadFull(f.conn, h[:]); err != nil {
		return Message{}, fmt.Errorf("vhosttest: reading a reply: %w", err)
	}
	m := Message{
		Request: Request(binary.NativeEndian.Uint32(h[0:])), Flags: binary.NativeEndian.Uint32(h[4:]),
	}
	n := binary.NativeEndian.Uint32(h[8:])
	if n > maxReply {
		return m, fmt.Errorf("vhosttest: a reply to request %d of %d bytes", m.Request, n)
	}
	m.Payload = make([]byte, n)
	if _, err := io.ReadFull(f.conn, m.Payload); err != nil {
		return m, fmt.Errorf("vhosttest: reading a reply: %w", err)
	}
	return m, nil
}

// Ask sends a request that has an answer of its own and returns that.
func (f *FrontEnd) Ask(req Request, payload []byte, fds ...int) (Message, error) {
	if err := f.Write(Encode(req, FlagVersion, payload), fds...); err != nil {
		return Message{}, err
	}
	return f.reply(req)
}

func (f *FrontEnd) reply(req Request) (Message, error) {
	m, err := f.Read()
	if err != nil {
		return m, fmt.Errorf("request %d: %w", req, err)
	}
	if m.Request != req || m.Flags != FlagVersion|FlagReply {
		return m, fmt.Errorf("vhosttest: request %d was answered by request %d with flags %#x", req, m.Request, m.Flags)
	}
	return m, nil
}

// AskU64 is Ask for answers of one number.
func (f *FrontEnd) AskU64(req Request) (uint64, error) {
	m, err := f.Ask(req, nil)
	if err != nil {
		return 0, err
	}
	return m.number()
}

// Send sends a request that has no answer of its own. With NeedReply it waits for the acknowledgement; a failure is a
// *RefusedError.
func (f *FrontEnd) Send(req Request, payload []byte, fds ...int) error {
	acked := f.NeedReply && f.protocol&ProtocolReplyAck != 0
	flags := uint32(FlagVersion)
	if acked {
		flags |= FlagNeedReply
	}
	if err := f.Write(Encode(req, flags, payload), fds...); err != nil || !acked {
		return err
	}
	m, err := f.reply(req)
	if err != nil {
		return err
	}
	code, err := m.number()
	if err == nil && code != 0 {
		err = &RefusedError{req, code}
	}
	return err
}

// Sync waits until the back end has handled everything sent so far.
func (f *FrontEnd) Sync() error {
	_, err := f.AskU64(GetFeatures)
	return err
}

// Gone waits until the back end has hung up. Anything that it sends before is skipped.
func (f *FrontEnd) Gone() error {
	for {
		_, err := f.Read()
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("vhosttest: the back end still holds the connection: %w", err)
		default:
			return nil // end of file, or a reset because data was left unread
		}
	}
}
