package vhostuser

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"weft/internal/sys"
)

const (
	// probeTimeout bounds the question whether somebody answers on a socket that exists already.
	probeTimeout = time.Second
	// acceptPause is the pause after accept failed, as it does when the process is out of descriptors.
	acceptPause = 100 * time.Millisecond
	// silence is how long a front end may hold the port without having sent a message, once another one wants it.
	silence = 2 * time.Second
)

// listener is a listening socket and its file.
type listener struct {
	*net.UnixListener
	path string
	info os.FileInfo
}

// listen makes the socket of a server port.
func listen(cfg Config) (*listener, error) {
	uid, gid, err := ownership(cfg.Owner, cfg.Group)
	if err != nil {
		return nil, err
	}
	if err := checkFolder(cfg.Path); err != nil {
		return nil, err
	}
	if err := removeStale(cfg.Path); err != nil {
		return nil, err
	}
	l, err := sys.ListenUnix(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", cfg.Path, err)
	}
	ln := &listener{UnixListener: l, path: cfg.Path}
	if err := ln.own(uid, gid, cfg.Mode); err != nil {
		ln.close()
		return nil, err
	}
	return ln, nil
}

// own gives the socket file to its owner and only then opens it to more users.
func (l *listener) own(uid, gid int, mode fs.FileMode) error {
	var err error
	if l.info, err = os.Lstat(l.path); err != nil {
		return err
	}
	if uid >= 0 || gid >= 0 {
		if err := os.Lchown(l.path, uid, gid); err != nil {
			return fmt.Errorf("giving the socket to its owner and group (needs root or CAP_CHOWN): %w", err)
		}
	}
	return os.Chmod(l.path, mode)
}

// close ends the listening and removes the file, if it is still the one that listen made.
func (l *listener) close() {
	if now, err := os.Lstat(l.path); err == nil && l.info != nil && os.SameFile(now, l.info) {
		_ = os.Remove(l.path)
	}
	_ = l.Close()
}

// checkFolder explains a missing folder better than bind does.
func checkFolder(path string) error {
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the socket's folder %s does not exist: create it (mkdir -p %s) "+
			"and let the front end's user enter it", dir, dir)
	case err != nil:
		return fmt.Errorf("the socket's folder: %w", err)
	case !info.IsDir():
		return fmt.Errorf("the socket's folder %s is not a folder", dir)
	}
	return nil
}

// removeStale removes the socket file of a server that is dead, which is seen by nobody answering.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket: remove it or choose another path", path)
	}
	conn, err := net.DialTimeout("unix", path, probeTimeout)
	switch {
	case err == nil:
		_ = conn.Close()
		return fmt.Errorf("another process is listening on %s: stop it or choose another path", path)
	case sys.Refused(err):
		return os.Remove(path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("%s exists, and whether it is in use cannot be told: %w", path, err)
}

// ownership resolves names or numbers; -1 stands for an empty one.
func ownership(owner, group string) (uid, gid int, err error) {
	uid, gid = -1, -1
	if owner != "" {
		if uid, err = strconv.Atoi(owner); err != nil {
			u, err := user.Lookup(owner)
			if err != nil {
				return 0, 0, fmt.Errorf("the socket's owner: %w", err)
			}
			if uid, err = strconv.Atoi(u.Uid); err != nil {
				return 0, 0, err
			}
		}
	}
	if group != "" {
		if gid, err = strconv.Atoi(group); err != nil {
			g, err := user.LookupGroup(group)
			if err != nil {
				return 0, 0, fmt.Errorf("the socket's group: %w", err)
			}
			if gid, err = strconv.Atoi(g.Gid); err != nil {
				return 0, 0, err
			}
		}
	}
	return uid, gid, nil
}

// serve accepts front ends until ctx ends, one at a time: a second one is refused, unless the first is on its way out.
func (p *Port) serve(ctx context.Context, l *listener) {
	defer l.close()
	defer context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Unix(1, 0)) })()
	p.log.Info("vhost-user: listening", "path", p.cfg.Path)
	var cur *session
	var over chan struct{}
	defer func() {
		if over != nil {
			<-over // before the socket's file goes: whoever waits for that finds the rings at rest
		}
	}()
	for ctx.Err() == nil {
		conn, err := l.AcceptUnix()
		if err != nil {
			p.acceptFailed(ctx, err)
			continue
		}
		if cur != nil && !cur.gone() && !cur.giveWay() {
			p.refuse(conn)
			continue
		}
		if over != nil {
			<-over
		}
		cur, over = newSession(p, conn), make(chan struct{})
		go func(s *session, over chan<- struct{}) {
			defer close(over)
			p.session(ctx, s)
		}(cur, over)
	}
}

// gone reports that the session is over, or will be as soon as it notices.
func (s *session) gone() bool { return s.ending.Load() || sys.PeerGone(s.conn) }

// giveWay ends the session if its front end has been silent since it connected, long enough for any to have spoken: a
// process that merely holds the connection must not keep the real front end out.
func (s *session) giveWay() bool {
	if s.spoke.Load() || time.Since(s.connected) < silence {
		return false
	}
	select {
	case s.failed <- errSilent:
	default: // it is ending for another reason
	}
	return true
}

func (p *Port) acceptFailed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	p.note(err)
	p.say(p.log, slog.LevelError, "accepting a front end failed", err.Error(), "error", err)
	pause(ctx, acceptPause)
}

func (p *Port) refuse(conn *net.UnixConn) {
	pid, _, _, _ := sys.PeerCredentials(conn)
	p.mu.Lock()
	p.refused++
	p.mu.Unlock()
	_ = conn.Close()
	p.say(p.log, slog.LevelWarn, "a second front end was refused: the port is in use", "", "pid", pid)
}

// connect connects to the front end's socket and serves it, again and again, until ctx ends.
func (p *Port) connect(ctx context.Context) {
	p.log.Info("vhost-user: connecting", "path", p.cfg.Path)
	wait := backoff{min: p.cfg.ReconnectMin, max: p.cfg.ReconnectMax}
	var d net.Dialer
	for ctx.Err() == nil {
		conn, err := d.DialContext(ctx, "unix", p.cfg.Path)
		if err == nil {
			s := newSession(p, conn.(*net.UnixConn))
			p.session(ctx, s)
			if s.hasFeats {
				wait.reset()
			}
		} else if ctx.Err() == nil {
			p.connectFailed(err)
		}
		pause(ctx, wait.next())
	}
}

// connectFailed says what to do about it. That nobody is there yet is the usual case, and not worth a warning.
func (p *Port) connectFailed(err error) {
	p.mu.Lock()
	p.waiting = err.Error()
	p.mu.Unlock()
	hint := "start the front end with server=on for this path"
	if errors.Is(err, fs.ErrPermission) {
		hint = "let this process's user write to the socket and enter its folder"
	}
	p.say(p.log, slog.LevelInfo, "waiting for the front end", err.Error(), "error", err, "hint", hint)
}

// backoff are pauses that double from min to max, each shortened at random by up to a half, so that many ports do not
// knock at once.
type backoff struct{ min, max, cur time.Duration }

func (b *backoff) reset() { b.cur = 0 }

func (b *backoff) next() time.Duration {
	b.cur = min(max(2*b.cur, b.min), b.max)
	return b.cur - rand.N(b.cur/2+1)
}
