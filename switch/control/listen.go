package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// DefaultMode lets the socket's owner and group use it.
const DefaultMode fs.FileMode = 0o660

// maxAddress is what fits sockaddr_un with its terminating zero (unix(7)), maxPath leaves room for the suffix of the
// temporary name.
const (
	maxAddress = 107
	maxPath    = maxAddress - len(tmpSuffix)
)

const (
	tmpSuffix    = ".new"
	probeTimeout = 2 * time.Second
)

// ListenConfig is the control socket.
type ListenConfig struct {
	Path string
	// Mode is the socket file's; 0 means DefaultMode.
	Mode fs.FileMode
	// Group, by name or number, owns the socket file; empty means the process's own.
	Group string
}

// InUseError says that another process answers on the socket.
type InUseError struct{ Path string }

func (e *InUseError) Error() string {
	return fmt.Sprintf("control: another weft is running on %s; stop it, or give this one another control socket", e.Path)
}

// Listen opens the control socket. A socket file that nobody listens on any more is replaced; one that is in use is an
// *InUseError. The file appears with its final owner and mode, and goes when the listener is closed.
func Listen(cfg ListenConfig) (net.Listener, error) {
	if cfg.Mode == 0 {
		cfg.Mode = DefaultMode
	}
	if len(cfg.Path) > maxPath {
		return nil, fmt.Errorf("control: the socket path %s is %d bytes long; at most %d are possible",
			cfg.Path, len(cfg.Path), maxPath)
	}
	gid, err := groupID(cfg.Group)
	if err != nil {
		return nil, err
	}
	if err := vacant(cfg.Path); err != nil {
		return nil, err
	}
	// Made under another name and then renamed: nobody can connect before the mode is right, and the rename replaces a
	// file that a killed process left.
	tmp := cfg.Path + tmpSuffix
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("control: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("control: the directory %s does not exist; create it, or name another control socket",
				filepath.Dir(cfg.Path))
		}
		return nil, fmt.Errorf("control: listen on %s: %w", cfg.Path, err)
	}
	l.SetUnlinkOnClose(false)
	u := &unixListener{UnixListener: l, path: cfg.Path}
	if err := u.publish(tmp, cfg.Mode, gid); err != nil {
		_ = l.Close()
		_ = os.Remove(tmp)
		return nil, err
	}
	return u, nil
}

// vacant makes sure that nobody listens on path and that replacing it destroys nothing.
func vacant(path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("control: %w", err)
	case st.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("control: %s exists and is not a socket; remove it, or name another control socket", path)
	}
	c, err := net.DialTimeout("unix", path, probeTimeout)
	if err == nil {
		_ = c.Close()
		return &InUseError{path}
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if errors.Is(err, syscall.EAGAIN) { // its backlog is full, so it listens
		return &InUseError{path}
	}
	return fmt.Errorf("control: find out who listens on %s: %w", path, err)
}

func groupID(name string) (int, error) {
	if name == "" {
		return -1, nil
	}
	if id, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(id), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("control: group %q does not exist on this host; create it, or name another", name)
	}
	return strconv.Atoi(g.Gid)
}

// unixListener removes its socket file when it is closed, if the file is still its own.
type unixListener struct {
	*net.UnixListener
	path string
	file fs.FileInfo
	once sync.Once
}

func (l *unixListener) publish(tmp string, mode fs.FileMode, gid int) error {
	if gid >= 0 {
		if err := os.Chown(tmp, -1, gid); err != nil {
			return fmt.Errorf("control: set the socket's group: %w", err)
		}
	}
	if err := os.Chmod(tmp, mode); err != nil {
		return fmt.Errorf("control: set the socket's mode: %w", err)
	}
	var err error
	if l.file, err = os.Lstat(tmp); err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if err := os.Rename(tmp, l.path); err != nil {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}

// Close stops listening and removes the socket file.
func (l *unixListener) Close() error {
	l.once.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.file) {
			_ = os.Remove(l.path)
		}
	})
	return l.UnixListener.Close()
}

// Addr is the socket's path.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }
