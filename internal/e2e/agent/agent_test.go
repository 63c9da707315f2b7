package agent

import (
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// pair returns a client whose server runs in this process, over a socket.
func pair(t *testing.T, power func(bool) error) *Client {
	t.Helper()
	near, far := net.Pipe()
	go func() { _ = NewServer(power).Serve(far) }()
	c := NewClient("test", near)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestTCPTransferIsCheckedByTheReceiver(t *testing.T) {
	c := pair(t, nil)
	if err := c.TCPServe(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for _, test := range []struct {
		name    string
		receive func(net.Conn)
		want    string
	}{
		{"a receiver that counts", tcpReceive, ""},
		{"a receiver that lost a byte", func(conn net.Conn) {
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				tcpReceive(conn)
			}
		}, "received 1000000 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			go func() {
				if conn, err := l.Accept(); err == nil {
					test.receive(conn)
				}
			}()
			r, err := c.TCPSend(t.Context(), TCPSendArgs{Target: l.Addr().String(), Bytes: 1_000_000, TimeoutMS: 10_000})
			switch {
			case test.want == "" && (err != nil || !r.Verified || r.Bytes != 1_000_001):
				t.Errorf("%+v, %v", r, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestErrorsReachTheClient(t *testing.T) {
	c := pair(t, nil)
	for _, test := range []struct {
		op   string
		args any
		want string
	}{
		{"dance", nil, "unknown command"},
		{OpPing, PingArgs{Target: "nowhere", Count: 1}, "not an IPv4 address"},
		{OpPing, PingArgs{Target: "10.0.0.1"}, "count 0"},
		{OpTCPSend, TCPSendArgs{Target: "127.0.0.1:1"}, "cannot send 0 bytes"},
		{OpPoweroff, nil, "does not own a machine"},
	} {
		if err := c.Do(t.Context(), test.op, test.args, nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.op, err, test.want)
		}
	}
}

func TestRequestsRunSideBySide(t *testing.T) {
	release := make(chan struct{})
	c := pair(t, func(bool) error { <-release; return errors.New("done waiting") })
	slow := make(chan error, 1)
	go func() { slow <- c.Do(t.Context(), OpReboot, nil, nil) }()
	if _, err := c.Hello(t.Context()); err != nil {
		t.Errorf("hello while another request waits: %v", err)
	}
	close(release)
	if err := <-slow; err == nil || !strings.Contains(err.Error(), "done waiting") {
		t.Errorf("reboot: %v", err)
	}
}

func TestALostConnectionFailsWhatWaits(t *testing.T) {
	near, far := net.Pipe()
	c := NewClient("test", near)
	go func() {
		_, _ = far.Read(make([]byte, 100))
		_ = far.Close()
	}()
	if err := c.Do(t.Context(), OpHello, nil, nil); err == nil || !strings.Contains(err.Error(), "connection lost") {
		t.Errorf("error %v", err)
	}
	if err := c.Do(t.Context(), OpHello, nil, nil); err == nil {
		t.Error("a broken client took another request")
	}
}

func TestWordsBecomeRequests(t *testing.T) {
	for words, want := range map[string]string{
		"ping 10.1.0.2 7":      `{"target":"10.1.0.2","count":7,"interval_ms":200,"timeout_ms":2000,"size":56}`,
		"tcp-serve :5001":      `{"listen":":5001"}`,
		"vlan eth0 12":         `{"interface":"eth0","id":12}`,
		"addr eth0 10.0.0.1/8": `{"interface":"eth0","cidr":"10.0.0.1/8"}`,
	} {
		r, err := ParseWords(strings.Fields(words))
		if err != nil || string(r.Args) != want {
			t.Errorf("%q became %s, %v; want %s", words, r.Args, err, want)
		}
	}
	if _, err := ParseWords([]string{"help"}); err == nil || !strings.Contains(err.Error(), "tcp-send") {
		t.Errorf("help: %v, want the list of commands", err)
	}
}

func TestChecksumOfARequestIsZeroWhenSummedAgain(t *testing.T) {
	p := &pinger{id: 0xbeef, payload: []byte("odd")}
	m := p.request(0x1234)
	if got := checksum(m); got != 0 {
		t.Errorf("checksum over the whole message is %#04x, want 0 (RFC 1071)", got)
	}
	if binary.BigEndian.Uint16(m[6:]) != 0x1234 {
		t.Error("sequence number is not where RFC 792 has it")
	}
}

func TestPingSummary(t *testing.T) {
	p := &pinger{rtt: []time.Duration{3 * time.Millisecond, 0, 0, 1 * time.Millisecond, 0}}
	p.result.Sent, p.result.Received = 5, 2
	p.summarise()
	r := p.result
	if r.MinUS != 1000 || r.AvgUS != 2000 || r.MaxUS != 3000 || r.LongestGap != 2 || r.Lost() != 3 {
		t.Errorf("%+v", r)
	}
}

func TestAnAgentThatReadsNothingDoesNotHoldUpTheClient(t *testing.T) {
	near, far := net.Pipe() // which has no buffer at all
	defer func() { _ = far.Close() }()
	c := NewClient("deaf", near)
	start := time.Now()
	if err := c.Do(t.Context(), OpHello, nil, nil); err == nil {
		t.Error("a request that nobody read was answered")
	}
	if took := time.Since(start); took > 2*writeLimit {
		t.Errorf("it took %s", took)
	}
}
