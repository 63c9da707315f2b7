package vfiouser

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/sys"
)

// patience bounds waits for what must happen.
const patience = 10 * time.Second

// card is a device whose BAR0 is plain memory, of which offset 0x100 reads memory of the client and writes raise vectors.
type card struct {
	mu       sync.Mutex
	info     DeviceInfo
	bar0     []byte
	session  *Session
	resets   int
	attached int
	detached int
	maps     []Mapping
	sets     []IRQSet
	fail     error                     // what ReadRegion and WriteRegion return
	onRead   func(offset uint64) error // called without the lock
	onWrite  func()
}

const bar0Size = 1 << 20

func newCard() *card {
	return &card{
		bar0: make([]byte, bar0Size),
		info: DeviceInfo{
			Regions: []RegionInfo{
				{Index: RegionBAR0, Size: bar0Size, Flags: RegionRead | RegionWrite},
				{Index: RegionROM, Size: 4096, Flags: RegionRead},
				{Index: RegionConfig, Size: 4096, Flags: RegionRead | RegionWrite},
			},
			IRQs: []IRQInfo{
				{Index: IRQINTx, Count: 1, Flags: IRQEventFD | IRQMaskable | IRQAutoMasked},
				{Index: IRQMSIX, Count: 40, Flags: IRQEventFD | IRQNoResize},
			},
			Reset: true,
		},
	}
}

// reading has ReadRegion call f, without the lock, before anything else. So has writing WriteRegion.
func (c *card) reading(f func(offset uint64) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onRead = f
}

func (c *card) writing(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onWrite = f
}

// told is what the card was told so far: mappings that are there, and changes of vectors.
func (c *card) told() (maps []Mapping, sets []IRQSet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.maps), slices.Clone(c.sets)
}

// clients is how many came and went.
func (c *card) clients() (attached, detached int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attached, c.detached
}

func (c *card) Info() DeviceInfo { return c.info }

func (c *card) Attach(s *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = s
	c.attached++
}

func (c *card) Detach() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = nil
	c.maps = nil
	c.detached++
}

func (c *card) ReadRegion(index int, offset uint64, p []byte) error {
	c.mu.Lock()
	hook := c.onRead
	c.mu.Unlock()
	if hook != nil {
		if err := hook(offset); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return c.fail
	}
	copy(p, c.bar0[offset:])
	return nil
}

func (c *card) WriteRegion(index int, offset uint64, p []byte) error {
	c.mu.Lock()
	hook := c.onWrite
	c.mu.Unlock()
	if hook != nil {
		hook()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return c.fail
	}
	copy(c.bar0[offset:], p)
	return nil
}

func (c *card) SetIRQs(s IRQSet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sets = append(c.sets, s)
}

func (c *card) Mapped(m Mapping) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.maps = append(c.maps, m)
}

func (c *card) Unmapped(m Mapping) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.maps {
		if c.maps[i] == m {
			c.maps = append(c.maps[:i], c.maps[i+1:]...)
			return
		}
	}
	panic("unmapped what was not mapped")
}

func (c *card) Reset() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resets++
	clear(c.bar0)
	return nil
}

// current is the session, once there is one.
func (c *card) current(t testing.TB) *Session {
	t.Helper()
	var s *Session
	until(t, "a session", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		s = c.session
		return s != nil
	})
	return s
}

func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// testLog shows a server's log in failing tests.
func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// socketPair is a connection, both ends.
func socketPair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	a, f, err := sys.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); c.Close() })
	return a, c.(*net.UnixConn)
}

// serve serves dev to one client over a socket pair, whose other end it returns. The server must end without a panic;
// its error is sent to the channel.
func serve(t testing.TB, dev Device, opt Options) (*net.UnixConn, <-chan error) {
	t.Helper()
	opt.Log = testLog(t)
	ours, theirs := socketPair(t)
	over := make(chan error, 1)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(done)
		over <- ServeConn(ctx, ours, dev, opt)
	}()
	t.Cleanup(func() {
		theirs.Close()
		cancel()
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("the server does not end")
		}
	})
	return theirs, over
}

// connect is a client and a server that serves dev to it.
func connect(t testing.TB, dev Device, opt Options, copt ClientOptions) *Client {
	t.Helper()
	conn, _ := serve(t, dev, opt)
	c, err := NewClient(context.Background(), conn, copt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// memory is a memfd.
func memory(t testing.TB, size int64) *os.File {
	t.Helper()
	f, _, err := sys.MemfdFile("test", size, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// eventFile is an eventfd.
func eventFile(t testing.TB) *os.File {
	t.Helper()
	f, _, err := sys.EventFile()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// count is what was added to an eventfd since it was last asked, 0 when nothing.
func count(t testing.TB, f *os.File) uint64 {
	t.Helper()
	var b [8]byte
	if err := f.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read(b[:]); err != nil {
		if os.IsTimeout(err) {
			return 0
		}
		t.Fatal(err)
	}
	return binary.NativeEndian.Uint64(b[:])
}

// openFiles lists what the process has open, without what the runtime and the test harness open when they like.
func openFiles(t testing.TB) map[string]int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	open := make(map[string]int)
	for _, e := range entries {
		name, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.HasPrefix(name, "/proc/") || strings.Contains(name, "eventpoll") {
			continue
		}
		if strings.HasPrefix(name, "socket:") {
			name = "socket"
		}
		open[name]++
	}
	// The runtime's own poller has one eventfd from the first use of the network on.
	return open
}

// noLeaks makes sure that the test leaves as many descriptors as there were.
func noLeaks(t testing.TB) {
	t.Helper()
	memory(t, 4096) // and whatever the runtime opens for the first
	a, _ := socketPair(t)
	_ = a.SetDeadline(time.Now().Add(time.Hour))
	before := openFiles(t)
	t.Cleanup(func() {
		var after map[string]int
		for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if after = openFiles(t); same(before, after) {
				return
			}
		}
		t.Errorf("open before: %v\nopen after:  %v", before, after)
	})
}

func same(a, b map[string]int) bool {
	for name := range b {
		if a[name] < b[name] {
			return false
		}
	}
	return true
}

// raw is a client that sends what it likes.
type raw struct {
	t    testing.TB
	conn *net.UnixConn
	id   uint16
}

func (r *raw) send(cmd command, flags uint32, body []byte, fds ...int) uint16 {
	r.t.Helper()
	r.id++
	h := header{id: r.id, cmd: cmd, flags: flags, size: uint32(headerSize + len(body))}
	r.sendBytes(append(headerBytes(h), body...), fds...)
	return r.id
}

func headerBytes(h header) []byte {
	b := make([]byte, headerSize)
	h.put(b)
	return b
}

func (r *raw) sendBytes(b []byte, fds ...int) {
	r.t.Helper()
	if err := sys.SendFDs(r.conn, b, fds); err != nil {
		r.t.Fatal(err)
	}
}

// receive reads one message.
func (r *raw) receive() *message {
	r.t.Helper()
	if err := r.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	l := newLink(r.conn)
	l.xfer = maxXfer
	m, err := l.receive()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(m.close)
	return m
}

// ask sends a command and returns the reply, whose header must be in order.
func (r *raw) ask(cmd command, body []byte, fds ...int) *message {
	r.t.Helper()
	id := r.send(cmd, 0, body, fds...)
	m := r.receive()
	if m.id != id || m.cmd != cmd || m.flags&flagTypeMask != flagReply {
		r.t.Fatalf("reply to %s (%d) is %+v", cmd, id, m.header)
	}
	if m.flags&flagError != 0 && len(m.body)+len(m.fds) > 0 {
		r.t.Errorf("error reply to %s has %d bytes and %d descriptors", cmd, len(m.body), len(m.fds))
	}
	return m
}

// refused asks and wants an error reply.
func (r *raw) refused(want unix.Errno, cmd command, body []byte, fds ...int) {
	r.t.Helper()
	m := r.ask(cmd, body, fds...)
	if m.flags&flagError == 0 || unix.Errno(m.errno) != want {
		r.t.Errorf("%s %x: flags %#x, errno %v, want %v", cmd, body[:min(len(body), 64)], m.flags, unix.Errno(m.errno), want)
	}
}

// granted asks and wants a reply of so many bytes.
func (r *raw) granted(size int, cmd command, body []byte, fds ...int) *message {
	r.t.Helper()
	m := r.ask(cmd, body, fds...)
	if m.flags&flagError != 0 || len(m.body) != size {
		r.t.Fatalf("%s %x: flags %#x, errno %v, %d bytes, want %d", cmd, body[:min(len(body), 64)], m.flags,
			unix.Errno(m.errno), len(m.body), size)
	}
	return m
}

// gone wants the server to close.
func (r *raw) gone() {
	r.t.Helper()
	_ = r.conn.SetReadDeadline(time.Now().Add(patience))
	_, err := r.conn.Read(make([]byte, 1))
	if !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
		r.t.Errorf("the server does not close: %v", err)
	}
}

const qemuVersion = `{"capabilities": {"migration": {"pgsize": 4096, "max_bitmap_size": 536870912}, ` +
	`"max_msg_fds": 16, "max_data_xfer_size": 1048576, "max_dma_maps": 65535, "pgsizes": 4096, "write_multiple": true}}`

func versionBody(major, minor uint16, text string) []byte {
	b := []byte{byte(major), byte(major >> 8), byte(minor), byte(minor >> 8)}
	if text == "" {
		return b
	}
	return append(append(b, text...), 0)
}

// rawClient has shaken hands.
func rawClient(t testing.TB, dev Device, opt Options) (*raw, <-chan error) {
	t.Helper()
	conn, over := serve(t, dev, opt)
	r := &raw{t: t, conn: conn}
	m := r.ask(cmdVersion, versionBody(0, 0, qemuVersion))
	if m.flags&flagError != 0 || !bytes.HasSuffix(m.body, []byte{0}) {
		t.Fatalf("VERSION: %+v %q", m.header, m.body)
	}
	return r, over
}
