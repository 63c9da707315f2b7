package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"
)

// MaxAnswer bounds what the client reads: a dump of a few million rules.
const MaxAnswer = 4 << 30

// writeBuffer is how much of a request is sent in one system call: a thousand rules.
const writeBuffer = 64 << 10

// Client calls a daemon.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient makes a client for the daemon at the socket. It connects when it is used.
func NewClient(socket string, timeout time.Duration) *Client {
	var d net.Dialer
	return &Client{
		socket: socket,
		http: &http.Client{
			Timeout: timeout,
			Transport: &http.Transport{
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return d.DialContext(ctx, "unix", socket)
				},
				DisableCompression: true,
				WriteBufferSize:    writeBuffer,
			},
		},
	}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// NotRunningError says that no daemon answers on the socket.
type NotRunningError struct {
	Socket string
	Err    error
}

func (e *NotRunningError) Error() string {
	return fmt.Sprintf("weft is not running: no one listens on %s; start it with 'weft run -c FILE', "+
		"or point --socket (WEFT_SOCKET) at its control socket", e.Socket)
}

func (e *NotRunningError) Unwrap() error { return e.Err }

// Call sends in to a route, given as Handle's pattern, and returns the answer. An error that the daemon answered is an
// *Error.
func Call[In, Out any](ctx context.Context, c *Client, method, pattern string, in *In) (Out, error) {
	var out Out
	req, err := c.request(ctx, method, pattern, in)
	if err != nil {
		return out, err
	}
	return send[Out](c, req)
}

// CallText calls a route that HandleText bound: in goes into the query, text is the body, sent as it is read.
func CallText[In, Out any](ctx context.Context, c *Client, method, pattern string, in *In, text io.Reader) (Out, error) {
	var out Out
	path, used, err := encodePath(pattern, in)
	if err != nil {
		return out, err
	}
	query, err := encodeQuery(in, used)
	if err != nil {
		return out, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://weft"+path+"?"+query, text)
	if err != nil {
		return out, fmt.Errorf("control: %w", err)
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	return send[Out](c, req)
}

// send sends a request and reads the answer.
func send[Out any](c *Client, req *http.Request) (Out, error) {
	var out Out
	resp, err := c.do(req)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(&io.LimitedReader{R: resp.Body, N: MaxAnswer}).Decode(&out); err != nil {
		return out, fmt.Errorf("the answer of the daemon on %s: %w", c.socket, err)
	}
	return out, nil
}

// do sends a request. An error that the daemon answers is an *Error.
func (c *Client) do(req *http.Request) (*http.Response, error) {
	if n := len(c.socket); n > maxAddress {
		return nil, fmt.Errorf("the socket path %.60s... is %d bytes long: at most %d fit a socket address", c.socket, n,
			maxAddress)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, readError(resp.StatusCode, resp.Body)
	}
	return resp, nil
}

func (c *Client) request(ctx context.Context, method, pattern string, in any) (*http.Request, error) {
	path, used, err := encodePath(pattern, in)
	if err != nil {
		return nil, err
	}
	url := "http://weft" + path
	var body io.Reader
	if method == http.MethodPost || method == http.MethodPut {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("control: encode the request: %w", err)
		}
		if len(data) > MaxRequest {
			return nil, &Error{
				Code: CodeTooLarge, Message: fmt.Sprintf("the request is larger than %d bytes", MaxRequest),
				Hint: "send it in parts",
			}
		}
		body = bytes.NewReader(data)
	} else {
		query, err := encodeQuery(in, used)
		if err != nil {
			return nil, err
		}
		if query != "" {
			url += "?" + query
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

func readError(status int, body io.Reader) error {
	data, _ := io.ReadAll(io.LimitReader(body, 1<<20))
	e := new(Error)
	if err := json.Unmarshal(data, e); err != nil || e.Message == "" {
		return Errorf(CodeInternal, "the daemon answered HTTP status %d: %s", status, bytes.TrimSpace(data))
	}
	return e
}

// explain turns a failed connection into what the operator can do about it.
func (c *Client) explain(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &NotRunningError{c.socket, err}
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to use %s; run as root, or join the group that owns the socket: %w", c.socket, err)
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("the daemon on %s does not answer in time; its log may say why: %w", c.socket, err)
	}
	return fmt.Errorf("talk to the daemon on %s: %w", c.socket, err)
}
