package sys

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrTruncatedFDs says that a peer sent more descriptors than the receiver had room for. Those that came with the last
// read have been closed.
var ErrTruncatedFDs = errors.New("more file descriptors than can be received")

// RecvFDs reads once from a stream socket into buf, and appends the descriptors that came along (SCM_RIGHTS, unix(7))
// to fds, which never grows beyond maxFDs. They are close-on-exec and the caller's to close, also when an error is
// returned.
//
// It returns io.EOF through err when the peer has closed, and ErrTruncatedFDs when there were more than maxFDs or the
// process is at its limit of open files. oob is room for control data, at least FDSpace(maxFDs) bytes.
func RecvFDs(conn *net.UnixConn, buf, oob []byte, fds []int, maxFDs int) (n int, out []int, err error) {
	n, oobn, flags, _, err := conn.ReadMsgUnix(buf, oob)
	got, perr := parseRights(oob[:oobn])
	over := flags&unix.MSG_CTRUNC != 0 || len(fds)+len(got) > maxFDs || perr != nil
	if over {
		CloseFDs(got)
	} else {
		fds = append(fds, got...)
	}
	switch {
	case err != nil:
		return n, fds, err
	case over:
		return n, fds, ErrTruncatedFDs
	}
	return n, fds, nil
}

// FDSpace is the size of the control data of a message with n descriptors.
func FDSpace(n int) int { return unix.CmsgSpace(4 * n) }

// SendFDs writes all of data to conn, with the descriptors fds beside its first byte.
func SendFDs(conn *net.UnixConn, data []byte, fds []int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	n, oobn, err := conn.WriteMsgUnix(data, oob, nil)
	if err != nil {
		return err
	}
	if oobn != len(oob) {
		return fmt.Errorf("sendmsg sent %d of %d bytes of control data", oobn, len(oob))
	}
	for n < len(data) {
		m, err := conn.Write(data[n:])
		if err != nil {
			return err
		}
		n += m
	}
	return nil
}

// CloseFDs closes each of fds.
func CloseFDs(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// parseRights collects the descriptors of every SCM_RIGHTS block in oob. On an error it still returns those it found.
func parseRights(oob []byte) ([]int, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	blocks, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var fds []int
	for i := range blocks {
		if blocks[i].Header.Level != unix.SOL_SOCKET || blocks[i].Header.Type != unix.SCM_RIGHTS {
			continue
		}
		got, err := unix.ParseUnixRights(&blocks[i])
		fds = append(fds, got...)
		if err != nil {
			return fds, err
		}
	}
	return fds, nil
}

// PeerCredentials are the process, user and group that the other end of conn had when it connected or listened
// (SO_PEERCRED).
func PeerCredentials(conn *net.UnixConn) (pid, uid, gid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, 0, 0, err
	}
	var cred *unix.Ucred
	var serr error
	err = raw.Control(func(fd uintptr) { cred, serr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil {
		return 0, 0, 0, err
	}
	if serr != nil {
		return 0, 0, 0, serr
	}
	return int(cred.Pid), int(cred.Uid), int(cred.Gid), nil
}

// PeerGone reports that the other end of conn has closed it, even when data that it sent before is still unread.
func PeerGone(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, perr := unix.Poll(p, 0)
		gone = perr == nil && n == 1 && p[0].Revents&(unix.POLLHUP|unix.POLLRDHUP|unix.POLLERR) != 0
	})
	return gone || err != nil
}

// ListenUnix listens on a new stream socket at path. Its file is accessible to nobody but its owner from the start, so
// that nobody else can connect before the caller has set the owner and mode that it wants. Closing the listener leaves
// the file.
func ListenUnix(path string) (*net.UnixListener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var serr error
		// bind(2) takes the file's mode from the socket's, less the umask.
		if err := c.Control(func(fd uintptr) { serr = unix.Fchmod(int(fd), 0o600) }); err != nil {
			return err
		}
		return serr
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	ul := l.(*net.UnixListener)
	ul.SetUnlinkOnClose(false)
	return ul, nil
}

// Refused reports that err is that of connecting to a socket on which nobody listens.
func Refused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }
