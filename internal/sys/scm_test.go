package sys

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// unixPair is both ends of a connection.
func unixPair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), d.Close() })
	return c.(*net.UnixConn), d.(*net.UnixConn)
}

func countFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestDescriptorsAreReceivedOrClosed(t *testing.T) {
	a, b := unixPair(t)
	file, fd, err := EventFile()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	oob, buf := make([]byte, FDSpace(3)), make([]byte, 16)
	before := countFDs(t)
	for _, c := range []struct {
		send, have, got int
		over            bool
	}{{0, 0, 0, false}, {3, 0, 3, false}, {2, 1, 3, false}, {3, 1, 1, true}, {4, 0, 0, true}, {200, 0, 0, true}} {
		fds := make([]int, c.send)
		for i := range fds {
			fds[i] = fd
		}
		if err := SendFDs(a, []byte("hello"), fds); err != nil {
			t.Fatal(err)
		}
		n, got, err := RecvFDs(b, buf, oob, make([]int, c.have, 3), 3)
		if n != 5 || len(got) != c.got || errors.Is(err, ErrTruncatedFDs) != c.over || !c.over && err != nil {
			t.Errorf("%d sent to one who had %d: %d bytes, %d descriptors, %v", c.send, c.have, n, len(got), err)
		}
		for _, fd := range got[min(c.have, len(got)):] {
			if err := CheckEvent(fd); err != nil {
				t.Error(err)
			}
			CloseFDs([]int{fd})
		}
		if after := countFDs(t); after != before {
			t.Fatalf("%d sent to one who had %d: %d descriptors became %d", c.send, c.have, before, after)
		}
	}
	if PeerGone(b) {
		t.Error("the peer is said to be gone")
	}
	if pid, uid, _, err := PeerCredentials(b); err != nil || pid != os.Getpid() || uid != os.Getuid() {
		t.Errorf("pid %d, uid %d, %v", pid, uid, err)
	}
	_, _ = a.Write([]byte("unread"))
	_ = a.Close()
	if !PeerGone(b) {
		t.Error("the peer is gone, which is not noticed while its last words are unread")
	}
	if n, _, err := RecvFDs(b, buf, oob, nil, 3); n != 6 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, _, err := RecvFDs(b, buf, oob, nil, 3); !errors.Is(err, io.EOF) {
		t.Errorf("%v at the end", err)
	}
}

func TestSharedFile(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "mem")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(3 * 4096); err != nil {
		t.Fatal(err)
	}
	info, err := StatFile(int(file.Fd()))
	if err != nil || info.Size != 3*4096 || !info.Regular || info.PageSize != uint64(os.Getpagesize()) || info.Ino == 0 {
		t.Errorf("%+v, %v", info, err)
	}
	mem, err := MapShared(int(file.Fd()), 4096, 8192)
	if err != nil {
		t.Fatal(err)
	}
	mem[4096] = 42
	var b [1]byte
	if _, err := file.ReadAt(b[:], 8192); err != nil || b[0] != 42 {
		t.Errorf("read %d, %v", b[0], err)
	}
	if err := UnmapShared(mem); err != nil {
		t.Error(err)
	}
	if _, err := MapShared(int(file.Fd()), 1, 4096); err == nil {
		t.Error("mapped at an odd offset")
	}
}
