package vfiouser

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/sys"
)

// defaultClientTimeout is qemu's own.
const defaultClientTimeout = 5 * time.Second

// ClientOptions of a client. The zero value is good.
type ClientOptions struct {
	// Timeout bounds the wait for each reply; 0 means 5 s.
	Timeout time.Duration
	// TwinSocket asks for a second socket for the server's commands.
	TwinSocket bool
}

// Client is a session with a server, from the side of the machine that the device is plugged into.
//
// Concurrency: any goroutine may call the methods at any time; commands are sent in the order of the calls and are not
// held up by each other.
type Client struct {
	opt  ClientOptions
	link *link
	back *link // the server's commands: the same link, or the twin socket

	caps   capabilities // the server's
	xfer   int          // bytes of data in one message
	memory clientMemory
	inbox  *inbox // the server's commands

	running sync.WaitGroup
	done    chan struct{}
}

// Dial connects to the server that listens at path.
func Dial(ctx context.Context, path string, opt ClientOptions) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("vfiouser: connecting to %s: %w", path, err)
	}
	return NewClient(ctx, conn.(*net.UnixConn), opt)
}

// NewClient begins a session on conn, which is the client's to close from now on, also with an error.
func NewClient(ctx context.Context, conn *net.UnixConn, opt ClientOptions) (*Client, error) {
	if opt.Timeout == 0 {
		opt.Timeout = defaultClientTimeout
	}
	c := &Client{opt: opt, link: newLink(conn), inbox: newInbox(), done: make(chan struct{})}
	c.back = c.link
	ctx, cancel := context.WithTimeout(ctx, opt.Timeout)
	defer cancel()
	if err := c.handshake(ctx); err != nil {
		c.link.fail(err)
		return nil, err
	}
	c.running.Add(2)
	go c.receive(c.link)
	go c.serveMemory()
	if c.back != c.link {
		c.running.Add(1)
		go c.receive(c.back)
	}
	go func() {
		c.running.Wait()
		c.inbox.discard()
		close(c.done)
	}()
	return c, nil
}

// handshake exchanges VERSION messages. Nobody else receives yet.
func (c *Client) handshake(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = c.link.conn.SetReadDeadline(time.Unix(1, 0)) })()
	number := func(n uint64) *uint64 { return &n }
	yes := true
	offer := version{ourMajor, ourMinor, capabilities{
		MaxFDs: number(ourMaxFDs), MaxXfer: number(defaultXfer), MaxDMAMaps: number(ourMaxDMAMaps),
		PageSizes: number(ourPageSizes), WriteMany: &yes,
	}}
	if c.opt.TwinSocket {
		offer.caps.TwinSocket = &twinSocket{Supported: true}
	}
	body, err := offer.bytes(false)
	if err != nil {
		return err
	}
	if err := c.link.send(header{cmd: cmdVersion}, body, nil); err != nil {
		return fmt.Errorf("vfiouser: VERSION: %w", err)
	}
	m, err := c.link.receive()
	if err != nil {
		if ctx.Err() != nil {
			err = ErrTimeout
		}
		return fmt.Errorf("vfiouser: waiting for the reply to VERSION: %w", err)
	}
	defer m.close()
	return c.agree(m)
}

// agree takes the server's reply to VERSION.
func (c *Client) agree(m *message) error {
	if m.cmd != cmdVersion || !m.reply() {
		return protocolf("VERSION was replied to by %s", m.cmd)
	}
	if m.flags&flagError != 0 {
		return &RemoteError{Command: cmdVersion.String(), Errno: unix.Errno(m.errno)}
	}
	v, err := parseVersion(m.body)
	if err != nil {
		return err
	}
	if v.major != ourMajor || v.minor > ourMinor {
		return protocolf("the server speaks version %d.%d", v.major, v.minor)
	}
	c.caps = v.caps
	c.xfer = int(min(v.caps.xfer(), defaultXfer))
	t := v.caps.TwinSocket
	if t == nil || !t.Supported {
		return nil
	}
	if !c.opt.TwinSocket || t.FDIndex == nil || *t.FDIndex >= uint64(len(m.fds)) {
		return protocolf("the server's second socket is not there, or was not asked for")
	}
	fd := m.fds[*t.FDIndex]
	m.fds[*t.FDIndex] = m.fds[len(m.fds)-1]
	m.fds = m.fds[:len(m.fds)-1]
	conn, err := sys.UnixConn(fd)
	if err != nil {
		return fmt.Errorf("vfiouser: the second socket: %w", err)
	}
	c.back = newLink(conn)
	return nil
}

// receive hands out replies and queues commands until its link ends.
func (c *Client) receive(l *link) {
	defer c.running.Done()
	for {
		m, err := l.receive()
		if err == nil && m.reply() {
			err = l.deliver(m)
		} else if err == nil {
			err = c.inbox.put(m)
		}
		if err != nil {
			c.end(fmt.Errorf("vfiouser: the server is gone: %w", err))
			return
		}
	}
}

func (c *Client) end(why error) {
	c.inbox.close()
	c.link.fail(why)
	if c.back != c.link {
		c.back.fail(why)
	}
}

// Close ends the session, and returns when nothing of it is running any more. Files given to it stay open.
func (c *Client) Close() error {
	c.end(ErrDetached)
	<-c.done
	return nil
}

// Done is closed when the session is over, by Close or by the server's doing.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the session is over; nil as long as it is not.
func (c *Client) Err() error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	return c.link.err
}

// call sends a command whose reply has at least n bytes and no descriptors.
func (c *Client) call(cmd command, body []byte, fds []int, n int) ([]byte, error) {
	m, err := c.callFDs(cmd, body, fds, 0)
	if err != nil {
		return nil, err
	}
	if len(m.body) < n {
		return nil, protocolf("the reply to %s has %d bytes, %d are needed", cmd, len(m.body), n)
	}
	return m.body, nil
}

// callFDs is call for replies with descriptors, which are the caller's to close.
func (c *Client) callFDs(cmd command, body []byte, fds []int, maxFDs int) (*message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.opt.Timeout)
	defer cancel()
	m, err := c.link.call(ctx, cmd, body, fds, maxFDs)
	var remote *RemoteError
	if err != nil && !errors.As(err, &remote) {
		return nil, fmt.Errorf("vfiouser: %s: %w", cmd, err)
	}
	return m, err
}

// Summary is what a device says of itself.
type Summary struct {
	PCI, Reset    bool
	Regions, IRQs int // indexes below these may exist
}

// Info asks for the device's kind.
func (c *Client) Info() (Summary, error) {
	b, err := c.call(cmdGetInfo, words(uint32(deviceInfoSize), uint32(0), uint32(0), uint32(0)), nil, deviceInfoSize)
	if err != nil {
		return Summary{}, err
	}
	flags, regions, irqs := le32(b[4:]), le32(b[8:]), le32(b[12:])
	if regions > maxRegions || irqs > maxRegions {
		return Summary{}, protocolf("a device with %d regions and %d kinds of interrupt", regions, irqs)
	}
	return Summary{
		PCI: flags&devicePCI != 0, Reset: flags&deviceReset != 0, Regions: int(regions), IRQs: int(irqs),
	}, nil
}

// Reset resets the device.
func (c *Client) Reset() error {
	_, err := c.call(cmdReset, nil, nil, 0)
	return err
}

// Feature sends a VFIO_DEVICE_FEATURE with flags, which hold the feature's number and what to do, and data. It returns
// the data of the reply.
func (c *Client) Feature(flags uint32, data []byte) ([]byte, error) {
	b, err := c.call(cmdFeature, append(words(uint32(maxPlainBody), flags), data...), nil, 8)
	if err != nil {
		return nil, err
	}
	return b[8:], nil
}

// takeFiles makes files of a message's descriptors.
func takeFiles(m *message, name string) []*os.File {
	files := make([]*os.File, len(m.fds))
	for i, fd := range m.fds {
		files[i] = os.NewFile(uintptr(fd), name)
	}
	m.fds = nil
	return files
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
