package vfiouser

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/sys"
)

const (
	// handoverTime is how long a second client waits for the first one to be gone, as when a virtual machine restarts.
	handoverTime = 500 * time.Millisecond
	// acceptPause is the pause after accept failed, as it does when the process is out of descriptors.
	acceptPause = 100 * time.Millisecond
	// defaultDMATimeout is below the 5 s that qemu waits for a reply of ours.
	defaultDMATimeout = 3 * time.Second
)

// Options of a server. The zero value is good.
type Options struct {
	// Log gets a line for each client, and for commands that were refused; nil for none.
	Log *slog.Logger
	// MaxTransfer is how many bytes a region read or write may have at most; 0 means 1 MiB.
	MaxTransfer uint32
	// DMATimeout bounds the wait for a client's answer to an access to memory that came without a descriptor; 0 means
	// 3 s.
	DMATimeout time.Duration
}

func (o Options) maxXfer() uint32 {
	if o.MaxTransfer == 0 {
		return defaultXfer
	}
	return min(o.MaxTransfer, maxXfer)
}

func (o Options) dmaTimeout() time.Duration {
	if o.DMATimeout == 0 {
		return defaultDMATimeout
	}
	return o.DMATimeout
}

func (o Options) filled() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// ServePath makes a socket at path, readable and writable by its owner, and serves dev there as Serve does. A socket of
// a server that is dead is replaced. The file is removed at the end.
func ServePath(ctx context.Context, path string, dev Device, opt Options) error {
	l, err := Listen(path)
	if err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		_ = l.Close()
		return err
	}
	defer func() {
		if now, err := os.Lstat(path); err == nil && os.SameFile(now, info) {
			_ = os.Remove(path)
		}
	}()
	return Serve(ctx, l, dev, opt)
}

// Listen makes a socket at path, readable and writable by its owner, and replaces that of a server that is dead.
func Listen(path string) (*net.UnixListener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("vfiouser: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("vfiouser: %s exists and is not a socket: remove it or choose another path", path)
	default:
		conn, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			_ = conn.Close()
			return nil, fmt.Errorf("vfiouser: another process is listening on %s: stop it or choose another path", path)
		}
		if !sys.Refused(err) {
			return nil, fmt.Errorf("vfiouser: %s exists, and whether it is in use cannot be told: %w", path, err)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("vfiouser: %w", err)
		}
	}
	l, err := sys.ListenUnix(path)
	if err != nil {
		return nil, fmt.Errorf("vfiouser: listening on %s: %w", path, err)
	}
	return l, nil
}

// Serve serves dev to the clients that connect to l, one at a time, until ctx ends; the error is nil then. Whatever a
// client does or leaves undone ends at most its own session, and the next one finds the device reset. A client that comes
// while another is there is refused with EBUSY. l is the server's to close.
func Serve(ctx context.Context, l *net.UnixListener, dev Device, opt Options) error {
	opt = opt.filled()
	defer l.Close()
	info := dev.Info()
	if err := info.check(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Unix(1, 0)) })()
	var over chan struct{} // closed when the session is over; nil before the first
	defer func() {
		if over != nil {
			<-over
		}
	}()
	for {
		conn, err := l.AcceptUnix()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("vfiouser: the socket was closed: %w", err)
			}
			opt.Log.Warn("vfio-user: accept", "error", err)
			pause(ctx, acceptPause)
			continue
		}
		if over != nil && !ended(ctx, over) {
			go busy(conn, opt.Log)
			continue
		}
		over = make(chan struct{})
		go func(over chan struct{}) {
			defer close(over)
			if err := ServeConn(ctx, conn, dev, opt); err != nil {
				opt.Log.Warn("vfio-user: a session ended", "error", err)
			}
		}(over)
	}
}

// ServeConn serves dev to the client at the other end of conn until that goes, misbehaves, or ctx ends. The last command
// that was received is answered first. It closes conn.
func ServeConn(ctx context.Context, conn *net.UnixConn, dev Device, opt Options) error {
	s, err := newSession(conn, dev, opt.filled())
	if err != nil {
		return err
	}
	s.log.Info("vfio-user: a client has connected")
	defer s.log.Info("vfio-user: the client is gone")
	return s.run(ctx)
}

// ended waits a little for a session to be over.
func ended(ctx context.Context, over chan struct{}) bool {
	t := time.NewTimer(handoverTime)
	defer t.Stop()
	select {
	case <-over:
		return true
	case <-ctx.Done():
	case <-t.C:
	}
	return false
}

// busy tells a client that it is one too many, in reply to its VERSION: qemu 11.1 aborts when a request gets no reply.
func busy(conn *net.UnixConn, log *slog.Logger) {
	log.Warn("vfio-user: a second client was refused")
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	l := newLink(conn)
	m, err := l.receive()
	if err != nil {
		return
	}
	defer m.close()
	_ = l.answer(m, nil, nil, unix.EBUSY)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
