package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Group owns processes and clean-up work. Close undoes everything in reverse order.
type Group struct {
	detached bool   // processes outlive this one (KEEP=1)
	logDir   string // output of each process goes to NAME.log here

	mu      sync.Mutex
	closed  bool
	cleanup []func()
	started []*Process
	// hugepages is one more than the size of the hugepage pool before this group changed it, 0 if it did not.
	hugepages int
}

// NewGroup returns a group whose processes write their output to files in logDir. Detached processes survive the end of
// this process and must be stopped by their ids; the others are killed with it.
func NewGroup(logDir string, detached bool) *Group {
	return &Group{logDir: logDir, detached: detached}
}

// Process is one started program.
type Process struct {
	Name string
	Log  string // file with its output
	from int64  // where in the file the output begins; what is before is of earlier processes of this name
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // of Wait, valid after done
}

// Spec says what to start.
type Spec struct {
	Name  string
	Args  []string // program and arguments
	Env   []string // in addition to ours
	Dir   string
	Stdin io.Reader
	Net   bool // in a network namespace of its own
}

// Start starts a program in its own process group, so that a Ctrl-C at the terminal does not reach it.
func (g *Group) Start(s Spec) (*Process, error) {
	path := filepath.Join(g.logDir, s.Name+".log")
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	from, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Dir, s.Stdin, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !g.detached {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if s.Net {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	}
	p := &Process{Name: s.Name, Log: path, from: from, cmd: cmd, done: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	g.mu.Lock()
	g.started = append(g.started, p)
	g.mu.Unlock()
	if !g.Defer(p.Kill) {
		p.Kill()
		return nil, fmt.Errorf("start %s: %w", s.Name, ErrClosed)
	}
	return p, nil
}

// ErrClosed is returned by a Group that is being cleaned up.
var ErrClosed = errors.New("the run is being cleaned up")

// Defer adds clean-up work. It reports false, and does not keep f, when the group is closed already.
func (g *Group) Defer(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.cleanup = append(g.cleanup, f)
	return true
}

// Close undoes everything, last things first. It may be called more than once.
func (g *Group) Close() {
	for {
		g.mu.Lock()
		g.closed = true
		n := len(g.cleanup)
		if n == 0 {
			g.mu.Unlock()
			return
		}
		f := g.cleanup[n-1]
		g.cleanup = g.cleanup[:n-1]
		g.mu.Unlock()
		f()
	}
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running says whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends a signal to the process alone.
func (p *Process) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// Kill ends the process and waits for its end.
func (p *Process) Kill() {
	if p.Running() {
		_ = p.cmd.Process.Kill() // it may have ended by itself meanwhile
	}
	<-p.done
}

// Stop asks the process to end and kills it when it has not after the grace period, which is an error.
func (p *Process) Stop(grace time.Duration) error {
	if !p.Running() {
		return nil
	}
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if err := p.Wait(grace); err != nil {
		p.Kill()
		return err
	}
	return nil
}

// Wait waits for the end; it is an error if that takes longer than limit.
func (p *Process) Wait(limit time.Duration) error {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-p.done:
		return nil
	case <-t.C:
		return fmt.Errorf("%s (process %d) had not ended after %s", p.Name, p.PID(), limit)
	}
}

// State says whether the process runs, or how it ended.
func (p *Process) State() string {
	if p.Running() {
		return fmt.Sprintf("%s runs as process %d", p.Name, p.PID())
	}
	return fmt.Sprintf("%s ended: %s", p.Name, p.cmd.ProcessState)
}

// ExitError is what the process ended with, nil for exit status 0. It is valid after Done.
func (p *Process) ExitError() error { return p.err }

// Output is what the process has written so far.
func (p *Process) Output() (string, error) {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return "", err
	}
	return string(text[min(p.from, int64(len(text))):]), nil
}

// Tail returns the last n lines of the process's output.
func (p *Process) Tail(n int) string {
	text, err := p.Output()
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Processes are all that the group has started, in that order.
func (g *Group) Processes() []*Process {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]*Process(nil), g.started...)
}
