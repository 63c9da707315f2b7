package flowdiff

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// unixctlTimeout bounds one exchange with ovs-vswitchd; it is there to end a run whose daemon hangs.
const unixctlTimeout = 20 * time.Second

// unixctl is a connection to a daemon's control socket: JSON-RPC 1.0, as ovs-appctl speaks it (ovsdb-server(7),
// RFC 7047 §4 has the encoding).
type unixctl struct {
	conn net.Conn
	dec  *json.Decoder
	buf  []byte
	id   int
}

type unixctlRequest struct {
	ID     int      `json:"id"`
	Method string   `json:"method"`
	Params []string `json:"params"`
}

type unixctlReply struct {
	ID     *int    `json:"id"`
	Result *string `json:"result"`
	Error  *string `json:"error"`
}

func dialUnixctl(path string) (*unixctl, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, fmt.Errorf("flowdiff: control socket of ovs-vswitchd: %w", err)
	}
	return &unixctl{conn: conn, dec: json.NewDecoder(conn)}, nil
}

func (u *unixctl) close() error { return u.conn.Close() }

// queue adds a command to those that the next flush sends.
func (u *unixctl) queue(method string, params ...string) error {
	if params == nil {
		params = []string{}
	}
	u.id++
	text, err := json.Marshal(unixctlRequest{u.id, method, params})
	if err != nil {
		return err
	}
	u.buf = append(u.buf, text...)
	return nil
}

// flush sends what is queued, as many as n commands, in one piece, and returns the last answer. Any error among them is
// one.
func (u *unixctl) flush(n int) (string, error) {
	if err := u.conn.SetDeadline(time.Now().Add(unixctlTimeout)); err != nil {
		return "", err
	}
	_, err := u.conn.Write(u.buf)
	u.buf = u.buf[:0]
	if err != nil {
		return "", fmt.Errorf("flowdiff: command to ovs-vswitchd: %w", err)
	}
	last := ""
	var failed error
	for range n {
		var r unixctlReply
		if err := u.dec.Decode(&r); err != nil {
			return "", fmt.Errorf("flowdiff: answer of ovs-vswitchd: %w", err)
		}
		switch {
		case r.Error != nil:
			failed = errors.New(strings.TrimSpace(*r.Error))
		case r.Result != nil:
			last = *r.Result
		}
	}
	return last, failed
}

// call is one command and its answer.
func (u *unixctl) call(method string, params ...string) (string, error) {
	if err := u.queue(method, params...); err != nil {
		return "", err
	}
	out, err := u.flush(1)
	if err != nil {
		return "", fmt.Errorf("%s: %w", method, err)
	}
	return out, nil
}

// received is how many frames the daemon's main thread has taken from ports since it started, all of them dealt with.
func (u *unixctl) received() (uint64, error) {
	out, err := u.call("coverage/read-counter", "netdev_received")
	if err != nil {
		return 0, err
	}
	return parseCounter(out)
}

func parseCounter(s string) (uint64, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("flowdiff: counter netdev_received: %w", err)
	}
	return n, nil
}
