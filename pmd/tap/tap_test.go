package tap

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"weft/internal/packet"
)

// inNamespace is set in the environment of the test binary that runs in a network namespace of its own.
const inNamespace = "WEFT_TAP_TEST_NETNS"

// TestMain runs the tests in a new network namespace where it may, so that all threads are in it and nothing on this
// host is touched.
func TestMain(m *testing.M) {
	if os.Getuid() != 0 || os.Getenv(inNamespace) != "" {
		os.Exit(m.Run())
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	default:
		// A container without the right to make namespaces: the tests that need one say so and are skipped.
		os.Exit(m.Run())
	}
}

func needNamespace(t *testing.T) {
	t.Helper()
	if os.Getenv(inNamespace) == "" {
		t.Skip("SKIP: needs root, to make a network namespace and tap interfaces")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("SKIP: needs /dev/net/tun: ", err)
	}
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}

func socketPair(t *testing.T) (a, b *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b = os.NewFile(uintptr(fds[0]), "a"), os.NewFile(uintptr(fds[1]), "b")
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func openPort(t *testing.T, cfg Config) (*Port, *atomic.Int32) {
	t.Helper()
	changed := new(atomic.Int32)
	p, err := Open(cfg, Host{Changed: func() { changed.Add(1) }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p, changed
}

// packetSocket is a raw socket on the interface: what it sends the switch receives, and the other way round.
type packetSocket struct {
	fd int
}

func openPacketSocket(t *testing.T, iface string) *packetSocket {
	t.Helper()
	link, err := netlink.LinkByName(iface)
	if err != nil {
		t.Fatal(err)
	}
	proto := uint16(0xb588) // 0x88b5 in network order: only the test's own frames
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(proto))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: link.Attrs().Index}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
		t.Fatal(err)
	}
	return &packetSocket{fd}
}

func (s *packetSocket) send(t *testing.T, frame []byte) {
	t.Helper()
	if _, err := unix.Write(s.fd, frame); err != nil {
		t.Fatal("send on the interface: ", err)
	}
}

func (s *packetSocket) receive(t *testing.T) []byte {
	t.Helper()
	buf := make([]byte, 70000)
	n, err := unix.Read(s.fd, buf)
	if err != nil {
		t.Fatal("receive on the interface: ", err)
	}
	return buf[:n]
}

func testFrame(length int, seq byte) []byte {
	f := make([]byte, length)
	copy(f, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5})
	for i := packet.MinFrame; i < length; i++ {
		f[i] = seq + byte(i)
	}
	return f
}

// receiveFrame polls the queues until a frame of ethertype 0x88b5 comes; the host's own (IPv6 announcements) are
// passed.
func receiveFrame(t *testing.T, qs []*RxQueue) []byte {
	t.Helper()
	b := packet.NewBatch(nil)
	var out []byte
	waitFor(t, "a frame from the host", func() bool {
		for _, q := range qs {
			if q.Receive(b) == 0 {
				continue
			}
			for i := range b.Len() {
				if p := b.Packet(i); p.EtherType() == 0x88b5 {
					out = make([]byte, p.Len())
					b.CopyTo(out, p)
				}
			}
			q.Release(b)
		}
		return out != nil
	})
	return out
}

func transmit(q *TxQueue, frame []byte) {
	b := packet.NewBatch(nil)
	n := min(len(frame), packet.WindowSize)
	p := b.Add(n)
	copy(p.Header(), frame)
	if len(frame) > n {
		b.AddSegment(p, packet.SegmentOf(frame[n:]))
	}
	q.Transmit(b, []uint8{0})
}

// exchange sends a frame of the given length each way and compares.
func exchange(t *testing.T, p *Port, s *packetSocket, length int) {
	t.Helper()
	want := testFrame(length, byte(length))
	s.send(t, want)
	if got := receiveFrame(t, p.RxQueues()); string(got) != string(want) {
		t.Fatalf("the switch received %d bytes that differ from the %d sent", len(got), len(want))
	}
	for _, q := range p.TxQueues() {
		transmit(q, want)
		if got := s.receive(t); string(got) != string(want) {
			t.Fatalf("the host received %d bytes that differ from the %d sent", len(got), len(want))
		}
	}
}

func TestFramesPassBothWays(t *testing.T) {
	needNamespace(t)
	for _, queues := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d queues", queues), func(t *testing.T) {
			p, _ := openPort(t, Config{Interface: "wt0", Queues: queues, MTU: 9000})
			s := openPacketSocket(t, "wt0")
			for _, length := range []int{14, 60, 128, 129, 1514, 9014} {
				exchange(t, p, s, length)
			}
			st := p.Status()
			if st.State != StateUp || st.MTU != 9000 || st.Interface != "wt0" || st.Queues != queues {
				t.Errorf("status is %+v", st)
			}
			for i, q := range p.TxQueues() {
				if c := q.Counters(); c.Packets != 6 || c.Bytes != 14+60+128+129+1514+9014 || c.Dropped() != 0 {
					t.Errorf("tx queue %d counted %+v", i, c)
				}
			}
		})
	}
}

func TestFrameLongerThanTheBuffersIsDropped(t *testing.T) {
	needNamespace(t)
	p, _ := openPort(t, Config{Interface: "wt0"})
	s := openPacketSocket(t, "wt0")
	link, _ := netlink.LinkByName("wt0")
	if err := netlink.LinkSetMTU(link, 20000); err != nil {
		t.Fatal(err)
	}
	s.send(t, testFrame(15000, 0))
	waitFor(t, "the drop to be counted", func() bool {
		return p.RxQueues()[0].Counters().Drops[packet.DropFrameTooLong] == 1
	})
	transmit(p.TxQueues()[0], testFrame(15000, 0))
	if got := p.TxQueues()[0].Counters().Drops[packet.DropFrameTooLong]; got != 1 {
		t.Errorf("%d frames dropped on transmission, want 1", got)
	}
	exchange(t, p, s, 1000)
}

func TestInterfaceDownAndUp(t *testing.T) {
	needNamespace(t)
	p, changed := openPort(t, Config{Interface: "wt0"})
	link, _ := netlink.LinkByName("wt0")
	if err := netlink.LinkSetDown(link); err != nil {
		t.Fatal(err)
	}
	transmit(p.TxQueues()[0], testFrame(60, 0))
	waitFor(t, "port_down to be counted", func() bool {
		return p.TxQueues()[0].Counters().Drops[packet.DropPortDown] == 1
	})
	waitFor(t, "state down", func() bool { return p.Status().State == StateDown })
	if changed.Load() == 0 {
		t.Error("the switch was not told")
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	exchange(t, p, openPacketSocket(t, "wt0"), 100)
	waitFor(t, "state up", func() bool { return p.Status().State == StateUp })
	if n := p.Status().Reopened; n != 0 {
		t.Errorf("the interface was made anew %d times, want 0", n)
	}
}

func TestDeletedInterfaceIsMadeAnew(t *testing.T) {
	needNamespace(t)
	p, changed := openPort(t, Config{Interface: "wt0", MTU: 1400, Queues: 2})
	for round := uint64(1); round <= 2; round++ {
		link, err := netlink.LinkByName("wt0")
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkDel(link); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the interface to come back", func() bool {
			st := p.Status()
			return st.State == StateUp && st.Reopened == round
		})
		if st := p.Status(); st.MTU != 1400 || !strings.Contains(st.LastError, "deleted") || st.ErrorTime.IsZero() {
			t.Errorf("status is %+v", st)
		}
		exchange(t, p, openPacketSocket(t, "wt0"), 100)
	}
	if changed.Load() < 4 {
		t.Errorf("the switch was told %d times, want 4 at least", changed.Load())
	}
}

func TestInterfaceMovedToAnotherNamespace(t *testing.T) {
	needNamespace(t)
	p, _ := openPort(t, Config{Interface: "wt0"})
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	link, _ := netlink.LinkByName("wt0")
	result := make(chan error)
	release := make(chan struct{})
	go func() {
		result <- inNewNamespace(func(ns netns.NsHandle) error {
			h, err := netlink.NewHandleAt(home)
			if err != nil {
				return err
			}
			defer h.Close()
			if err := h.LinkSetNsFd(link, int(ns)); err != nil {
				return err
			}
			if link, err = netlink.LinkByName("wt0"); err != nil {
				return err
			}
			if err := netlink.LinkSetUp(link); err != nil {
				return err
			}
			s := openPacketSocket(t, "wt0")
			exchange(t, p, s, 100)
			waitFor(t, "the status to show the move", func() bool {
				st := p.Status()
				return st.Foreign && st.State == StateUp && st.MTU == 1500
			})
			exchange(t, p, s, 1500)
			if err := netlink.LinkSetNsFd(link, int(home)); err != nil {
				return err
			}
			<-release
			return nil
		})
	}()
	waitFor(t, "the interface to come home", func() bool {
		select {
		case err := <-result:
			t.Fatal("in the namespace: ", err)
		default:
		}
		_, err := netlink.LinkByName("wt0")
		return err == nil
	})
	close(release)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the status to show the return", func() bool { return !p.Status().Foreign })
	if n := p.Status().Reopened; n != 0 {
		t.Errorf("the interface was made anew %d times, want 0", n)
	}
}

func TestPersistence(t *testing.T) {
	needNamespace(t)
	p, _ := openPort(t, Config{Interface: "wt0"})
	p.Close()
	if _, err := netlink.LinkByName("wt0"); err == nil {
		t.Error("the interface outlived its port")
	}
	p, _ = openPort(t, Config{Interface: "wt1", Persist: true, Owner: "0", Group: "root"})
	p.Close()
	link, err := netlink.LinkByName("wt1")
	if err != nil {
		t.Fatal("the persistent interface went with its port: ", err)
	}
	// Attaching to it without persistence leaves it as the operator made it.
	p, _ = openPort(t, Config{Interface: "wt1"})
	exchange(t, p, openPacketSocket(t, "wt1"), 100)
	p.Close()
	if _, err := netlink.LinkByName("wt1"); err != nil {
		t.Error("an interface that existed before went with the port: ", err)
	}
	if err := netlink.LinkDel(link); err != nil {
		t.Error(err)
	}
}

func TestAttachesToInterfaceMadeBeforehand(t *testing.T) {
	needNamespace(t)
	made := &netlink.Tuntap{
		LinkAttrs: netlink.LinkAttrs{Name: "wt0"},
		Mode:      netlink.TUNTAP_MODE_TAP,
		Flags:     netlink.TUNTAP_MULTI_QUEUE_DEFAULTS | netlink.TUNTAP_VNET_HDR,
		Queues:    2,
	}
	if err := netlink.LinkAdd(made); err != nil {
		t.Fatal(err)
	}
	for _, f := range made.Fds {
		f.Close()
	}
	for _, queues := range []int{1, 3} {
		p, _ := openPort(t, Config{Interface: "wt0", Queues: queues})
		exchange(t, p, openPacketSocket(t, "wt0"), 100)
		p.Close()
	}
	if err := netlink.LinkDel(made); err != nil {
		t.Fatal(err)
	}
}

// TestAttachesWithoutPrivilege drops every capability in a child of this test and opens an interface that belongs to it.
func TestAttachesWithoutPrivilege(t *testing.T) {
	needNamespace(t)
	const child = "WEFT_TAP_TEST_CHILD"
	if os.Getenv(child) != "" {
		p, _ := openPort(t, Config{Interface: "wt0", MTU: 1400})
		if st := p.Status(); st.State != StateUp || st.MTU != 1400 {
			t.Errorf("status is %+v", st)
		}
		return
	}
	st, err := os.Stat("/dev/net/tun")
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode()&0o006 != 0o006 {
		t.Skip("SKIP: only root may open /dev/net/tun here")
	}
	p, _ := openPort(t, Config{Interface: "wt0", MTU: 1400, Persist: true, Owner: "65534"})
	p.Close()
	link, err := netlink.LinkByName("wt0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
	// Not by name: the other user may not look into the directory of the test binary.
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestAttachesWithoutPrivilege$")
	cmd.Env = append(os.Environ(), child+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as another user: %v\n%s", err, out)
	}
}

func TestNamesOfInterfaces(t *testing.T) {
	for _, name := range []string{"tap0", "a-b_c.d", "0", "...", "weft-é", "fifteen-bytes-x"} {
		if hint := NameFault(name); hint != "" {
			t.Errorf("%q: %s", name, hint)
		}
	}
	for _, name := range []string{
		"", ".", "..", "all", "default", "a/b", "a:1", "tap%d", "%", "a b", "a\tb", "a\n", "a\u00a0b", "a\x00b", "a\xffb",
		"sixteen-bytes-xx", "fifteen-bytes-é",
	} {
		if NameFault(name) == "" {
			t.Errorf("%q is taken", name)
		}
		if _, err := Open(Config{Interface: name}, Host{}); err == nil || !strings.HasPrefix(err.Error(), "tap: ") {
			t.Errorf("%q: error %v", name, err)
		}
	}
}

func TestOpenSaysWhatToDo(t *testing.T) {
	needNamespace(t)
	openPort(t, Config{Interface: "taken"})
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"no name", Config{}, "no interface is named"},
		{"a name that is too long", Config{Interface: "abcdefghijklmnop"}, "at most 15 bytes"},
		{"too many queues", Config{Interface: "x", Queues: 257}, "1 to 256 are possible"},
		{"a ring that is no power of two", Config{Interface: "x", RingSize: 500}, "power of two"},
		{"an MTU below the minimum", Config{Interface: "x", MTU: 67}, "68 to 65513"},
		{"an unknown owner", Config{Interface: "x", Owner: "no-such-user"}, `user "no-such-user" does not exist`},
		{"an unknown group", Config{Interface: "x", Group: "no-such-group"}, `group "no-such-group" does not exist`},
		{"an interface of another kind", Config{Interface: "lo"}, "is no tap interface"},
		{"an interface in use", Config{Interface: "taken"}, "another process has it open"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Open(tt.cfg, Host{Log: slog.New(slog.DiscardHandler)})
			if err == nil {
				p.Close()
				t.Fatal("it opened")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
		})
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	needNamespace(t)
	defer goleak.VerifyNone(t)
	openDescriptors := func() int {
		names, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	cycle := func() {
		p, err := Open(Config{Interface: "wt0", Queues: 2}, Host{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		transmit(p.TxQueues()[1], testFrame(60, 0))
		p.Close()
		p.Close()
	}
	cycle() // what the runtime opens once
	before := openDescriptors()
	for range 20 {
		cycle()
	}
	if after := openDescriptors(); after != before {
		t.Errorf("%d descriptors open after 20 ports came and went, %d before", after, before)
	}
}

// inNewNamespace calls f on a thread that is in a new network namespace. The runtime ends the thread with the goroutine,
// and the namespace with it.
func inNewNamespace(f func(netns.NsHandle) error) error {
	runtime.LockOSThread() // and never unlocked
	ns, err := netns.New()
	if err != nil {
		return err
	}
	defer ns.Close()
	return f(ns)
}
