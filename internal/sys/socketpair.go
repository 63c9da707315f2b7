package sys

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// SocketPair makes two stream sockets that are connected to each other: one to use, one to pass on.
func SocketPair() (conn *net.UnixConn, other *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	other = os.NewFile(uintptr(fds[1]), "socketpair")
	conn, err = UnixConn(fds[0])
	if err != nil {
		_ = other.Close()
		return nil, nil, err
	}
	return conn, other, nil
}

// UnixConn makes a connection out of the descriptor of a connected Unix socket. It takes fd, also with an error.
func UnixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "unix socket")
	if f == nil {
		return nil, fmt.Errorf("descriptor %d is not open", fd)
	}
	defer f.Close()
	c, err := net.FileConn(f) // which duplicates it
	if err != nil {
		return nil, err
	}
	u, is := c.(*net.UnixConn)
	if !is {
		_ = c.Close()
		return nil, fmt.Errorf("the descriptor is a %s socket, not a Unix one", c.LocalAddr().Network())
	}
	return u, nil
}
