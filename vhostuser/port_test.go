package vhostuser

import (
	"encoding/json"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newLink opens a port of either mode and returns how the next front end comes.
func newLink(t *testing.T, server bool) (*bench, func() *front) {
	t.Helper()
	if server {
		b := newBench(t, Config{})
		return b, func() *front { t.Helper(); return dial(t, b.path) }
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	b := newBench(t, Config{Path: path, ReconnectMin: time.Millisecond, ReconnectMax: 5 * time.Millisecond})
	until(t, "connected, though not accepted", func() bool { return b.Status().Session != "" })
	return b, func() *front {
		t.Helper()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		f := &front{t, conn.(*net.UnixConn)}
		t.Cleanup(f.close)
		return f
	}
}

func open(t *testing.T, cfg Config) (*Port, error) {
	t.Helper()
	p, err := Open(cfg, Host{})
	if err == nil {
		t.Cleanup(func() { _ = p.Close() })
	}
	return p, err
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ok := filepath.Join(dir, "s")
	cases := []struct {
		name string
		cfg  Config
		want string
	}{
		{"no path", Config{}, "not absolute"},
		{"relative path", Config{Path: "s"}, "not absolute"},
		{"abstract socket", Config{Path: "@s"}, "not absolute"},
		{"path too long", Config{Path: "/" + strings.Repeat("x", 107)}, "use a shorter one"},
		{"too many pairs", Config{Path: ok, QueuePairs: 129}, "queue pairs"},
		{"negative pairs", Config{Path: ok, QueuePairs: -1}, "queue pairs"},
		{"MTU too small", Config{Path: ok, MTU: 67}, "MTU"},
		{"MTU too large", Config{Path: ok, MTU: 65536}, "MTU"},
		{"setuid socket", Config{Path: ok, Server: true, Mode: fs.ModeSetuid | 0o600}, "permission bits"},
		{"missing folder", Config{Path: filepath.Join(dir, "no", "s"), Server: true}, "mkdir -p"},
		{"a file as folder", Config{Path: filepath.Join(file, "s"), Server: true}, "folder"},
		{"a file in the way", Config{Path: file, Server: true}, "not a socket"},
		{"no such owner", Config{Path: ok, Server: true, Owner: "nobody-by-this-name"}, "owner"},
		{"no such group", Config{Path: ok, Server: true, Group: "nobody-by-this-name"}, "group"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			check := noLeak(t)
			c.cfg.Name = "vm7"
			_, err := open(t, c.cfg)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "vm7") {
				t.Errorf("error %v, want %q and the port's name", err, c.want)
			}
			check()
			if _, err := os.Lstat(ok); err == nil {
				t.Error("a socket was left behind")
			}
		})
	}
}

func TestSocketFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	mode := func() fs.FileMode {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode()
	}
	p, err := open(t, Config{Path: path, Server: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := mode(); got != fs.ModeSocket|DefaultMode {
		t.Errorf("mode %v, want %v", got, DefaultMode)
	}
	_ = p.Close()
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is there after Close")
	}

	if os.Geteuid() != 0 {
		t.Skip("SKIP: giving files away needs root")
	}
	p, err = open(t, Config{Path: path, Server: true, Owner: "nobody", Group: "1234", Mode: 0o606})
	if err != nil {
		t.Fatal(err)
	}
	if got := mode(); got != fs.ModeSocket|0o606 {
		t.Errorf("mode %v", got)
	}
	if out, err := exec.Command("stat", "-c", "%u:%g", path).Output(); err != nil || string(out) != "65534:1234\n" {
		t.Errorf("owner and group %q, %v", out, err)
	}
	// A file that somebody else has put there meanwhile is not ours to remove.
	_ = os.Remove(path)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = p.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Error("a foreign file was removed")
	}
}

func TestSocketOfADeadServerIsReplacedThatOfALivingOneIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = open(t, Config{Path: path, Server: true})
	if err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("error %v", err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal("the test's own socket is gone")
	}
	p, err := open(t, Config{Path: path, Server: true})
	if err != nil {
		t.Fatal(err)
	}
	f := dial(t, path)
	f.sync()
	_ = p
}

func TestSecondFrontEndIsRefusedWhileTheFirstIsServed(t *testing.T) {
	b := newBench(t, Config{})
	first := dial(t, b.path)
	first.sync()
	for range 5 {
		second := dial(t, b.path)
		second.ended()
	}
	if st := b.Status(); st.Refused != 5 || st.Sessions != 1 {
		t.Errorf("%d refused, %d sessions", st.Refused, st.Sessions)
	}
	if n := strings.Count(b.log.String(), "refused"); n != 1 {
		t.Errorf("%d log lines for 5 refusals in a moment, want 1", n)
	}
	first.sync()
	first.close()
	dial(t, b.path).sync()
}

func TestFrontEndThatFollowsADeadOneAtOnceIsServed(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	for n := range 50 {
		f := dial(t, b.path)
		g.quickStart(f)
		if n%2 == 0 {
			f.sync()
		}
		f.close()
	}
	dial(t, b.path).sync()
	if st := b.Status(); st.Refused != 0 || st.Sessions != 51 {
		t.Errorf("%d refused, %d sessions", st.Refused, st.Sessions)
	}
}

func TestClientConnectsWheneverTheFrontEndComes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	b := newBench(t, Config{Path: path, ReconnectMin: time.Millisecond, ReconnectMax: 20 * time.Millisecond})
	until(t, "a failed attempt", func() bool { return b.Status().Waiting != "" })
	if st := b.Status(); st.LastError != "" || st.State != StateConnecting || st.Mode != "client" {
		t.Errorf("%+v", st)
	}
	for n := range 3 {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		f := &front{t, conn.(*net.UnixConn)}
		f.negotiate()
		st := b.Status()
		if st.Session != "negotiated" || st.Peer == nil || st.Peer.PID != os.Getpid() || st.Peer.UID != os.Getuid() {
			t.Errorf("round %d: %+v", n, st)
		}
		f.close()
		_ = l.Close()
		until(t, "connecting", func() bool { return b.Status().State == StateConnecting })
	}
	if st := b.Status(); st.Sessions != 3 || st.Reconnects != 2 || st.Disconnects != 3 {
		t.Errorf("%+v", st)
	}
	if n := strings.Count(b.log.String(), "waiting for the front end"); n > 3 {
		t.Errorf("%d log lines about attempts to connect", n)
	}
}

func TestCloseEndsEveryWait(t *testing.T) {
	waits := []struct {
		name string
		make func(*testing.T) *bench
	}{
		{"for a front end to come", func(t *testing.T) *bench { return newBench(t, Config{}) }},
		{"between attempts to connect", func(t *testing.T) *bench {
			return newBench(t, Config{Path: filepath.Join(t.TempDir(), "s"), ReconnectMin: time.Hour, ReconnectMax: time.Hour})
		}},
		{"for a message", func(t *testing.T) *bench { b := newBench(t, Config{}); dial(t, b.path).sync(); return b }},
		{"for the rest of a message", func(t *testing.T) *bench {
			b := newBench(t, Config{})
			f := dial(t, b.path)
			f.sync()
			f.raw([]byte{1, 0, 0})
			return b
		}},
		{"for answers to be read", func(t *testing.T) *bench {
			b := newBench(t, Config{})
			f := dial(t, b.path)
			_ = f.conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			for {
				if _, err := f.conn.Write(wire(GetFeatures, flagVersion, nil)); err != nil {
					return b
				}
			}
		}},
	}
	for _, w := range waits {
		t.Run(w.name, func(t *testing.T) {
			b := w.make(t)
			began := time.Now()
			if err := b.Close(); err != nil {
				t.Error(err)
			}
			if d := time.Since(began); d > replyTimeout+time.Second {
				t.Errorf("Close took %v", d)
			}
		})
	}
}

func TestBackoffDoublesFromMinToMax(t *testing.T) {
	b := backoff{min: 10 * time.Millisecond, max: 75 * time.Millisecond}
	for range 2 {
		for i, top := range []time.Duration{10, 20, 40, 75, 75, 75} {
			top *= time.Millisecond
			if got := b.next(); got > top || got < top/2 {
				t.Errorf("pause %d is %v, want %v to %v", i, got, top/2, top)
			}
		}
		b.reset()
	}
}

func TestLimiter(t *testing.T) {
	now := time.Unix(1000, 0)
	l := limiter{now: func() time.Time { return now }}
	logged, held := 0, 0
	for range 600 { // ten minutes at ten failures a second, texts all the same
		for range 10 {
			if n, ok := l.allow("a", "x"); ok {
				logged++
				held += n
			}
			now = now.Add(100 * time.Millisecond)
		}
	}
	if logged < 5 || logged > 20 || held < 4000 {
		t.Errorf("%d logged, %d reported as held back, of 6000", logged, held)
	}
	if _, ok := l.allow("b", "x"); !ok {
		t.Error("another kind was held back")
	}
	if _, ok := l.allow("a", "y"); !ok {
		t.Error("news was held back")
	}
	for i := range 100 {
		if _, ok := l.allow("a", string(rune('A'+i))); ok {
			t.Error("ever new texts flood the log")
		}
	}
}

func TestStatusAsJSON(t *testing.T) {
	b := newBench(t, Config{QueuePairs: 2, MTU: 1500})
	g := newGuest(t, 2, 64)
	f := dial(t, b.path)
	g.start(f)
	raw, err := json.Marshal(b.Status())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"state":"up"`, `"mode":"server"`, `"session":"running"`, `"queue_pairs":2`, `"mtu":1500`,
		`"features":["MTU","MRG_RXBUF","CTRL_RX","GUEST_ANNOUNCE","MQ","INDIRECT_DESC","PROTOCOL_FEATURES","VERSION_1","IN_ORDER"]`,
		`"protocol_features":["MQ","REPLY_ACK","MTU","RESET_DEVICE","CONFIGURE_MEM_SLOTS","STATUS"]`,
		`"memory":{"regions":1,"bytes":1048576,"node":-1}`,
		`{"name":"tx0","state":"started","enabled":true,"usable":true,"size":64,"interrupts":true}`,
		`"sessions":1,"reconnects":0,"disconnects":0,"refused":0`,
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
}
