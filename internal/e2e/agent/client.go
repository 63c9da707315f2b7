package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// writeLimit is how long a request, which is a short line, may take to leave.
const writeLimit = 5 * time.Second

// Client talks to one agent.
type Client struct {
	name string
	conn io.ReadWriteCloser

	writeMu sync.Mutex

	mu      sync.Mutex // guards what follows
	nextID  uint64
	waiting map[uint64]chan Reply
	err     error
}

// NewClient speaks over conn, which it owns from now on. The name is for error messages.
func NewClient(name string, conn io.ReadWriteCloser) *Client {
	c := &Client{name: name, conn: conn, waiting: make(map[uint64]chan Reply)}
	go c.read()
	return c
}

// Dial connects to an agent's unix socket, trying until ctx ends, and waits for its first answer.
func Dial(ctx context.Context, name, path string) (*Client, error) {
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			c := NewClient(name, conn)
			if err = c.waitHello(ctx); err == nil {
				return c, nil
			}
			_ = c.Close()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("agent %s: no answer on %s: %w", name, path, errors.Join(ctx.Err(), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// waitHello repeats hello until the agent answers: bytes written to a serial port before the guest opens it are lost.
func (c *Client) waitHello(ctx context.Context) error {
	for {
		try, cancel := context.WithTimeout(ctx, time.Second)
		_, err := c.Hello(try)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || c.broken() != nil {
			return err
		}
	}
}

func (c *Client) broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the conversation; the agent goes on.
func (c *Client) Close() error { return c.conn.Close() }

func (c *Client) read() {
	sc := bufio.NewScanner(c.conn)
	sc.Buffer(make([]byte, 0, 4096), 1<<20)
	for sc.Scan() {
		var r Reply
		if json.Unmarshal(sc.Bytes(), &r) != nil {
			continue // line noise of a serial port that is just coming up
		}
		c.mu.Lock()
		ch := c.waiting[r.ID]
		delete(c.waiting, r.ID)
		c.mu.Unlock()
		if ch != nil {
			ch <- r
		}
	}
	err := sc.Err()
	if err == nil {
		err = io.EOF
	}
	c.mu.Lock()
	c.err = fmt.Errorf("agent %s: connection lost: %w", c.name, err)
	for id, ch := range c.waiting {
		delete(c.waiting, id)
		close(ch)
	}
	c.mu.Unlock()
}

// Do sends one command and decodes its result into out, which may be nil.
func (c *Client) Do(ctx context.Context, op string, args, out any) error {
	raw, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("agent %s: %s: %w", c.name, op, err)
	}
	ch := make(chan Reply, 1)
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return c.err
	}
	c.nextID++
	req := Request{ID: c.nextID, Op: op, Args: raw}
	c.waiting[req.ID] = ch
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, req.ID)
		c.mu.Unlock()
	}()
	if err := c.write(req); err != nil {
		return fmt.Errorf("agent %s: %s: %w", c.name, op, err)
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("agent %s: %s: %w", c.name, op, ctx.Err())
	case r, ok := <-ch:
		switch {
		case !ok:
			return c.broken()
		case r.Error != "":
			return fmt.Errorf("agent %s: %s: %s", c.name, op, r.Error)
		case out != nil:
			return json.Unmarshal(r.Result, out)
		}
		return nil
	}
}

func (c *Client) write(req Request) error {
	line, err := json.Marshal(req)
	if err != nil {
		return err
	}
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if conn, isConn := c.conn.(net.Conn); isConn {
		// A guest that hangs reads nothing, and qemu then reads nothing from us.
		if err := conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
			return err
		}
	}
	_, err = c.conn.Write(append(line, '\n'))
	return err
}

// Hello asks the agent who it is.
func (c *Client) Hello(ctx context.Context) (Hello, error) {
	var h Hello
	err := c.Do(ctx, OpHello, struct{}{}, &h)
	return h, err
}

// Addr gives an interface an address and brings it up.
func (c *Client) Addr(ctx context.Context, ifname, cidr string) error {
	return c.Do(ctx, OpAddr, AddrArgs{Interface: ifname, CIDR: cidr}, nil)
}

// Ping sends a series of echo requests and waits for the replies.
func (c *Client) Ping(ctx context.Context, a PingArgs) (PingResult, error) {
	var r PingResult
	err := c.Do(ctx, OpPing, a, &r)
	return r, err
}

// TCPServe starts a counting listener.
func (c *Client) TCPServe(ctx context.Context, listen string) error {
	return c.Do(ctx, OpTCPServe, TCPServeArgs{Listen: listen}, nil)
}

// TCPSend moves bytes to a listener started by TCPServe on another agent.
func (c *Client) TCPSend(ctx context.Context, a TCPSendArgs) (TCPResult, error) {
	var r TCPResult
	err := c.Do(ctx, OpTCPSend, a, &r)
	return r, err
}

// Counters returns the interface's statistics, by the names that they have in /sys.
func (c *Client) Counters(ctx context.Context, ifname string) (map[string]uint64, error) {
	m := make(map[string]uint64)
	err := c.Do(ctx, OpCounters, CountersArgs{Interface: ifname}, &m)
	return m, err
}
