package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

// Server runs commands in the network namespace and on the machine it was started in.
type Server struct {
	power func(reboot bool) error // ends the machine; nil where the agent does not own one

	mu        sync.Mutex
	listeners map[string]io.Closer // by listen address
	programs  map[string]*program  // started and not ended, by the caller's name
}

// NewServer returns a server. power ends or restarts the machine; it is nil when the agent is only a process on a host.
func NewServer(power func(reboot bool) error) *Server {
	return &Server{power: power, listeners: make(map[string]io.Closer)}
}

// Serve answers requests from rw until it ends, each on its own goroutine.
func (s *Server) Serve(rw io.ReadWriter) error {
	var writeMu sync.Mutex
	sc := bufio.NewScanner(rw)
	sc.Buffer(make([]byte, 0, 4096), 1<<20)
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		if line == "" {
			continue
		}
		req, err := parseRequest(line)
		go func() {
			reply := Reply{ID: req.ID}
			if err == nil {
				reply.Result, err = s.Run(req)
			}
			if err != nil {
				reply.Error = err.Error()
			}
			out, _ := json.Marshal(reply) // a Reply of ours always encodes
			writeMu.Lock()
			defer writeMu.Unlock()
			_, _ = rw.Write(append(out, '\n')) // a reader that left is noticed by Scan
		}()
	}
	return sc.Err()
}

// parseRequest takes a JSON request, or words as a person types them.
func parseRequest(line string) (Request, error) {
	if strings.HasPrefix(line, "{") {
		var r Request
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return r, fmt.Errorf("not a request: %w", err)
		}
		return r, nil
	}
	return ParseWords(strings.Fields(line))
}

// ParseWords turns "ping 10.1.0.2 5" and the like into a request.
func ParseWords(w []string) (Request, error) {
	word := func(i int) string {
		if i < len(w) {
			return w[i]
		}
		return ""
	}
	number := func(i, fallback int) int {
		if n, err := strconv.Atoi(word(i)); err == nil {
			return n
		}
		return fallback
	}
	var args any
	switch word(0) {
	case OpHello, OpPoweroff, OpReboot:
		args = struct{}{}
	case OpAddr:
		args = AddrArgs{Interface: word(1), CIDR: word(2)}
	case OpLink:
		args = LinkArgs{Interface: word(1), MTU: number(2, 0)}
	case OpVLAN:
		args = VLANArgs{Interface: word(1), ID: number(2, 0)}
	case OpChannels:
		args = ChannelsArgs{Interface: word(1), Combined: number(2, 1)}
	case OpCounters:
		args = CountersArgs{Interface: word(1)}
	case OpPing:
		args = PingArgs{Target: word(1), Count: number(2, 5), IntervalMS: 200, TimeoutMS: 2000, Size: number(3, 56)}
	case OpTCPServe:
		args = TCPServeArgs{Listen: word(1)}
	case OpTCPSend:
		args = TCPSendArgs{Target: word(1), Bytes: int64(number(2, 1<<20)), TimeoutMS: 60000}
	default:
		return Request{}, fmt.Errorf("unknown command %q; there are: hello, addr IF CIDR, link IF MTU, vlan IF ID, "+
			"channels IF N, counters IF, ping IP [COUNT [SIZE]], tcp-serve :PORT, tcp-send IP:PORT [BYTES], "+
			"poweroff, reboot", word(0))
	}
	raw, err := json.Marshal(args)
	return Request{Op: w[0], Args: raw}, err
}

// Run carries one request out.
func (s *Server) Run(req Request) (json.RawMessage, error) {
	switch req.Op {
	case OpHello:
		return call(req, hello)
	case OpAddr:
		return call(req, setAddr)
	case OpLink:
		return call(req, setLink)
	case OpVLAN:
		return call(req, addVLAN)
	case OpChannels:
		return call(req, setChannels)
	case OpCounters:
		return call(req, counters)
	case OpPing:
		return call(req, ping)
	case OpTCPServe:
		return call(req, s.tcpServe)
	case OpTCPSend:
		return call(req, tcpSend)
	case OpExec:
		return call(req, run)
	case OpStart:
		return call(req, s.start)
	case OpTalk:
		return call(req, s.talk)
	case OpEnd:
		return call(req, s.end)
	case OpRead:
		return call(req, readFile)
	case OpWrite:
		return call(req, writeFile)
	case OpInsert:
		return call(req, insertModule)
	case OpRemove:
		return call(req, removeModule)
	case OpPoweroff, OpReboot:
		if s.power == nil {
			return nil, errors.New("this agent does not own a machine")
		}
		return nil, s.power(req.Op == OpReboot)
	}
	return nil, fmt.Errorf("unknown command %q", req.Op)
}

// call decodes the arguments, runs f and encodes its result.
func call[In, Out any](req Request, f func(In) (Out, error)) (json.RawMessage, error) {
	var in In
	if len(req.Args) > 0 {
		if err := json.Unmarshal(req.Args, &in); err != nil {
			return nil, fmt.Errorf("arguments of %s: %w", req.Op, err)
		}
	}
	out, err := f(in)
	if err != nil {
		return nil, err
	}
	return json.Marshal(out)
}
