package sys

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSocketPairIsConnected(t *testing.T) {
	a, file, err := SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer file.Close()
	if _, err := file.WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, err := a.Read(b); err != nil || string(b[:n]) != "hello" {
		t.Errorf("%q, %v", b[:n], err)
	}
	if flags, err := unix.FcntlInt(file.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("the other end is passed on to programs (%v)", err)
	}
}

func TestUnixConnTakesTheDescriptorInAnyCase(t *testing.T) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[1])
	if c, err := UnixConn(pipe[0]); err == nil {
		c.Close()
		t.Error("a pipe is no socket")
	}
	if _, err := unix.FcntlInt(uintptr(pipe[0]), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("the descriptor is still open: %v", err)
	}
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := UnixConn(udp); err == nil {
		c.Close()
		t.Error("a UDP socket is no Unix socket")
	}
	if _, err := UnixConn(-1); err == nil {
		t.Error("no descriptor")
	}
}

func TestMapFileReadOnlyNeedsNoMore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = ControlFD(f, func(fd int) error {
		if mem, err := MapFile(fd, 0, 4096, true); err == nil {
			_ = UnmapShared(mem)
			t.Error("mapped for writing")
		}
		mem, err := MapFile(fd, 0, 4096, false)
		if err != nil {
			return err
		}
		if string(mem[:7]) != "content" {
			t.Errorf("%q", mem[:7])
		}
		return UnmapShared(mem)
	})
	if err != nil {
		t.Error(err)
	}
}
