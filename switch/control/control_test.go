package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

type query struct {
	Bridge string `json:"bridge"`
	Name   string `json:"name"`
	Table  int    `json:"table"`
	Strict bool   `json:"strict"`
}

type command struct {
	Name  string   `json:"name"`
	Rules []string `json:"rules"`
	CPU   *int     `json:"cpu,omitempty"`
}

type result struct {
	Got  query   `json:"got"`
	Sent command `json:"sent"`
}

var errMapped = errors.New("mapped")

// daemon serves a few routes on a socket in a new directory until the test ends.
func daemon(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "weft.sock")
	l, err := Listen(ListenConfig{Path: socket})
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(slog.New(slog.DiscardHandler), func(err error) *Error {
		if errors.Is(err, errMapped) {
			return &Error{Code: CodeConflict, Message: "it was mapped"}
		}
		return nil
	})
	s.maxRequest = 1 << 20
	Handle(s, "GET", "/v1/ports", func(_ context.Context, q *query) (result, error) { return result{Got: *q}, nil })
	Handle(s, "GET", "/v1/ports/{name}", func(_ context.Context, q *query) (result, error) { return result{Got: *q}, nil })
	Handle(s, "POST", "/v1/ports/{name}", func(_ context.Context, c *command) (result, error) {
		return result{Sent: *c}, nil
	})
	Handle(s, "GET", "/v1/error/{name}", func(_ context.Context, q *query) (result, error) {
		switch q.Name {
		case "typed":
			return result{}, fmt.Errorf("wrapped: %w", &Error{
				Code: CodeInvalid, Message: "wrong", File: "a.yaml", Line: 3, Column: 7, Hint: "mend it",
				More: []*Error{{Code: CodeInvalid, Message: "also wrong", Line: 4, Column: 1}},
			})
		case "mapped":
			return result{}, errMapped
		case "panic":
			panic("ouch")
		}
		return result{}, errors.New("plain")
	})
	s.maxText = 100
	HandleText(s, "POST", "/v1/text/{name}", func(_ context.Context, q *query, body io.Reader) (string, error) {
		text, err := io.ReadAll(body)
		return fmt.Sprintf("%s %s: %s", q.Bridge, q.Name, text), err
	})
	HandleList(s, "/v1/list", func(_ context.Context, q *query) (iter.Seq[command], error) {
		if q.Table < 0 {
			return nil, errMapped
		}
		return func(yield func(command) bool) {
			for i := 0; i < q.Table && yield(command{Name: strconv.Itoa(i)}); i++ {
			}
		}, nil
	})
	Handle(s, "GET", "/v1/slow", func(ctx context.Context, _ *query) (result, error) {
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
		}
		return result{}, nil
	})
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		cancel()
		_ = s.Shutdown(ctx)
		if err := <-done; err != nil {
			t.Error("serve: ", err)
		}
		if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
			t.Error("the socket file is left behind")
		}
	})
	return socket
}

func client(t *testing.T, socket string) *Client {
	c := NewClient(socket, 5*time.Second)
	t.Cleanup(c.Close)
	return c
}

func TestCallCarriesParameters(t *testing.T) {
	c := client(t, daemon(t))
	cpu := 0
	tests := []struct {
		name string
		call func() (result, error)
		want result
	}{
		{"in the query", func() (result, error) {
			return Call[query, result](t.Context(), c, "GET", "/v1/ports",
				&query{Bridge: "br0&x=1", Table: 3, Strict: true})
		}, result{Got: query{Bridge: "br0&x=1", Table: 3, Strict: true}}},
		{"none at all", func() (result, error) {
			return Call[query, result](t.Context(), c, "GET", "/v1/ports", &query{})
		}, result{}},
		{"in the path", func() (result, error) {
			return Call[query, result](t.Context(), c, "GET", "/v1/ports/{name}", &query{Name: "a b/c%?", Bridge: "br0"})
		}, result{Got: query{Name: "a b/c%?", Bridge: "br0"}}},
		{"in the body", func() (result, error) {
			return Call[command, result](t.Context(), c, "POST", "/v1/ports/{name}",
				&command{Name: "vm1", Rules: []string{"a", "b"}, CPU: &cpu})
		}, result{Sent: command{Name: "vm1", Rules: []string{"a", "b"}, CPU: &cpu}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.call()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestErrorsCrossTheSocket(t *testing.T) {
	c := client(t, daemon(t))
	tests := []struct {
		name string
		want *Error
		text string
	}{
		{"typed", &Error{
			Code: CodeInvalid, Message: "wrong", File: "a.yaml", Line: 3, Column: 7, Hint: "mend it",
			More: []*Error{{Code: CodeInvalid, Message: "also wrong", Line: 4, Column: 1}},
		}, "a.yaml:3:7: wrong; mend it"},
		{"mapped", &Error{Code: CodeConflict, Message: "it was mapped"}, "it was mapped"},
		{"plain", &Error{Code: CodeInternal, Message: "plain"}, "plain"},
		{
			"panic", &Error{Code: CodeInternal, Message: "the daemon failed inside: ouch; its log has the stack"},
			"the daemon failed inside: ouch; its log has the stack",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Call[query, result](t.Context(), c, "GET", "/v1/error/{name}", &query{Name: tt.name})
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("error is %T %v, want *Error", err, err)
			}
			if diff := cmp.Diff(tt.want, e); diff != "" {
				t.Error(diff)
			}
			if e.Error() != tt.text {
				t.Errorf("text is %q, want %q", e.Error(), tt.text)
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	for want, e := range map[string]Error{
		"m":                     {Message: "m"},
		"m; h":                  {Message: "m", Hint: "h"},
		"f: m":                  {Message: "m", File: "f"},
		"line 2, column 3: m":   {Message: "m", Line: 2, Column: 3},
		"f:2:3: m; do this one": {Message: "m", File: "f", Line: 2, Column: 3, Hint: "do this one"},
	} {
		if got := e.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestBadRequests(t *testing.T) {
	socket := daemon(t)
	raw := &http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) },
	}}
	defer raw.CloseIdleConnections()
	tests := []struct {
		name, method, url, body string
		status                  int
		want                    string
	}{
		{"an unknown parameter", "GET", "/v1/ports?bridg=x", "", 400, `unknown parameter \"bridg\"`},
		{"a parameter twice", "GET", "/v1/ports?bridge=x&bridge=y", "", 400, "given 2 times"},
		{"a number that is none", "GET", "/v1/ports?table=x", "", 400, "not a number"},
		{"a number too large", "GET", "/v1/ports?table=99999999999999999999", "", 400, "not a number that fits"},
		{"neither true nor false", "GET", "/v1/ports?strict=maybe", "", 400, "neither true nor false"},
		{"an unknown field", "POST", "/v1/ports/x", `{"rulez":[]}`, 400, "rulez"},
		{"no JSON", "POST", "/v1/ports/x", `hello`, 400, "body is not what this route takes"},
		{"two values", "POST", "/v1/ports/x", `{} {}`, 400, "goes on after"},
		{"a query beside a body", "POST", "/v1/ports/x?bridge=y", `{}`, 400, "not in the query"},
		{"an unknown route", "GET", "/v2/ports", "", 404, "different versions"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://weft"+tt.url, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := raw.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status || !strings.Contains(string(body), tt.want) {
				t.Errorf("status %d, body %s; want %d and %q", resp.StatusCode, body, tt.status, tt.want)
			}
		})
	}
}

// endless is a JSON string that does not end.
type endless struct{ begun bool }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	if !e.begun {
		e.begun = true
		copy(p, `{"name":"`)
	}
	return len(p), nil
}

func TestRequestSizeIsBounded(t *testing.T) {
	socket := daemon(t)
	raw := &http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) },
	}}
	defer raw.CloseIdleConnections()
	resp, err := raw.Post("http://weft/v1/ports/x", "application/json", &endless{})
	if err != nil {
		// The server may close the connection before the client has finished writing; that is bounded too.
		t.Log("connection closed: ", err)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d, want 413", resp.StatusCode)
	}
}

func TestClientSaysWhenNoDaemonRuns(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, socket := range []string{filepath.Join(dir, "none.sock"), stale} {
		_, err := Call[query, result](t.Context(), client(t, socket), "GET", "/v1/ports", &query{})
		var down *NotRunningError
		if !errors.As(err, &down) {
			t.Fatalf("error is %T %v, want *NotRunningError", err, err)
		}
		want := "weft is not running: no one listens on " + socket + "; start it with 'weft run -c FILE', " +
			"or point --socket (WEFT_SOCKET) at its control socket"
		if err.Error() != want {
			t.Errorf("text is %q, want %q", err, want)
		}
	}
}

func TestClientTimesOut(t *testing.T) {
	c := NewClient(daemon(t), 50*time.Millisecond)
	defer c.Close()
	_, err := Call[query, result](t.Context(), c, "GET", "/v1/slow", &query{})
	if err == nil || !strings.Contains(err.Error(), "does not answer in time") {
		t.Errorf("error is %v", err)
	}
}

func TestListenSetsModeAndRefusesWhatIsInUse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "weft.sock")
	l, err := Listen(ListenConfig{Path: path, Group: fmt.Sprint(os.Getgid())})
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode() != fs.ModeSocket|DefaultMode {
		t.Errorf("mode is %v, want %v", st.Mode(), fs.ModeSocket|DefaultMode)
	}
	_, err = Listen(ListenConfig{Path: path})
	var used *InUseError
	if !errors.As(err, &used) {
		t.Errorf("a second listener: error is %v, want *InUseError", err)
	}
	l.Close()
	if names, _ := os.ReadDir(dir); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}

func TestListenReplacesStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.sock")
	for _, name := range []string{path, path + tmpSuffix} {
		dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		dead.SetUnlinkOnClose(false)
		dead.Close()
	}
	l, err := Listen(ListenConfig{Path: path, Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestCloseLeavesASuccessorsSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.sock")
	first, err := Listen(ListenConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(path)
	second, err := Listen(ListenConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Error("the successor's socket is gone: ", err)
	}
}

func TestListenSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		cfg  ListenConfig
		want string
	}{
		{"no directory", ListenConfig{Path: filepath.Join(dir, "no", "weft.sock")}, "does not exist; create it"},
		{"no socket", ListenConfig{Path: file}, "is not a socket; remove it"},
		{"a long path", ListenConfig{Path: "/" + strings.Repeat("x", 107)}, "at most 103 are possible"},
		{"no group", ListenConfig{Path: filepath.Join(dir, "s"), Group: "no-such-group"}, "does not exist on this host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Listen(tt.cfg)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want one that says %q", err, tt.want)
			}
		})
	}
	if data, err := os.ReadFile(file); err != nil || len(data) != 0 {
		t.Error("the file was touched")
	}
}

func TestShutdownAnswersWhatRuns(t *testing.T) {
	// net/http keeps a connection half a second longer, at times, so that the peer reads the answer before a reset.
	defer goleak.VerifyNone(t, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
	path := filepath.Join(t.TempDir(), "weft.sock")
	l, err := Listen(ListenConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(slog.New(slog.DiscardHandler), nil)
	entered, release := make(chan struct{}), make(chan struct{})
	Handle(s, "POST", "/v1/wait", func(context.Context, *query) (string, error) {
		close(entered)
		<-release
		return "done", nil
	})
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	c := NewClient(path, 10*time.Second)
	defer c.Close()
	answered := make(chan error)
	go func() {
		got, err := Call[query, string](context.Background(), c, "POST", "/v1/wait", &query{})
		if err == nil && got != "done" {
			err = fmt.Errorf("answer %q", got)
		}
		answered <- err
	}()
	<-entered
	stopped := make(chan error)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	if err := <-served; err != nil {
		t.Error("serve: ", err)
	}
	if _, err := net.Dial("unix", path); err == nil {
		t.Error("it still accepts")
	}
	close(release)
	if err := <-answered; err != nil {
		t.Error("the running request: ", err)
	}
	if err := <-stopped; err != nil {
		t.Error("shutdown: ", err)
	}
}

func TestTextIsStreamedAndBounded(t *testing.T) {
	c := client(t, daemon(t))
	got, err := CallText[query, string](t.Context(), c, "POST", "/v1/text/{name}", &query{Name: "x", Bridge: "br0"},
		strings.NewReader("one\ntwo"))
	if err != nil || got != "br0 x: one\ntwo" {
		t.Errorf("%q, %v", got, err)
	}
	_, err = CallText[query, string](t.Context(), c, "POST", "/v1/text/{name}", &query{Name: "x"},
		strings.NewReader(strings.Repeat("x", 101)))
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeTooLarge || e.Hint == "" {
		t.Errorf("too long a text: %v", err)
	}
}

func TestListsArriveElementByElement(t *testing.T) {
	c := client(t, daemon(t))
	for _, n := range []int{0, 1, 100_000} {
		got := 0
		err := CallList(t.Context(), c, "/v1/list", &query{Table: n}, func(v *command) error {
			if v.Name != strconv.Itoa(got) {
				return fmt.Errorf("element %d is %+v", got, v)
			}
			got++
			return nil
		})
		if err != nil || got != n {
			t.Errorf("%d of %d elements, %v", got, n, err)
		}
	}
	stop := errors.New("enough")
	if err := CallList(t.Context(), c, "/v1/list", &query{Table: 5}, func(*command) error { return stop }); err != stop {
		t.Errorf("a visit that stops: %v", err)
	}
	var e *Error
	err := CallList(t.Context(), c, "/v1/list", &query{Table: -1}, func(*command) error { return nil })
	if !errors.As(err, &e) || e.Code != CodeConflict {
		t.Errorf("an error of the route: %v", err)
	}
}
