package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// outputLimit is how much of a program's output a reply carries; the end is the part that says what went wrong.
const outputLimit = 512 << 10

// outputGrace is how long a program's descendants may hold its output open after its end.
const outputGrace = 2 * time.Second

// output collects what a program prints and wakes who waits for it.
type output struct {
	mu    sync.Mutex
	buf   []byte
	ended bool
	wake  chan struct{} // closed and replaced at each change
}

func newOutput() *output { return &output{wake: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, p...)
	close(o.wake)
	o.wake = make(chan struct{})
	return len(p), nil
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	close(o.wake)
	o.wake = make(chan struct{})
}

// take removes and returns the output up to and with the text, or all of it for an empty text.
func (o *output) take(until string) (text string, found, ended bool, wake chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at := bytes.Index(o.buf, []byte(until))
	if at < 0 {
		return "", false, o.ended, o.wake
	}
	n := at + len(until)
	if until == "" {
		n = len(o.buf)
	}
	text = string(o.buf[:n])
	o.buf = o.buf[n:]
	return text, true, o.ended, o.wake
}

// tail is the end of the output that is not taken yet.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.buf[max(0, len(o.buf)-2000):])
}

// program is one that OpStart started.
type program struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	output *output
	done   chan struct{}
	err    error // of Wait, valid after done
}

// programEnv is the environment of what the agent runs: a guest's process 1 has none to inherit.
func programEnv() []string {
	return append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", "TERM=dumb")
}

func newCommand(args []string) (*exec.Cmd, error) {
	if len(args) == 0 {
		return nil, errors.New("no program named")
	}
	name := args[0]
	if !strings.Contains(name, "/") {
		for _, dir := range []string{"/usr/sbin/", "/usr/bin/"} {
			if _, err := os.Stat(dir + name); err == nil {
				name = dir + name
				break
			}
		}
	}
	cmd := exec.Command(name, args[1:]...)
	cmd.Env = programEnv()
	cmd.WaitDelay = outputGrace
	return cmd, nil
}

// run runs a program to its end.
func run(a ExecArgs) (ExecResult, error) {
	cmd, err := newCommand(a.Args)
	if err != nil {
		return ExecResult{}, err
	}
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(a.Stdin), &out, &out
	if err := cmd.Start(); err != nil {
		return ExecResult{}, err
	}
	limit := time.Duration(a.TimeoutMS) * time.Millisecond
	timer := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	text := out.String()
	r := ExecResult{Output: text[max(0, len(text)-outputLimit):], Status: cmd.ProcessState.ExitCode()}
	if !timer.Stop() {
		return r, fmt.Errorf("%s had not ended after %s; output so far:\n%s", a.Args[0], limit, r.Output)
	}
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		return r, err
	}
	return r, nil
}

// start starts a program that Talk speaks with.
func (s *Server) start(a StartArgs) (empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.programs[a.Name] != nil {
		return empty{}, fmt.Errorf("a program called %q was started and not ended", a.Name)
	}
	cmd, err := newCommand(a.Args)
	if err != nil {
		return empty{}, err
	}
	p := &program{cmd: cmd, output: newOutput(), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return empty{}, err
	}
	if err := cmd.Start(); err != nil {
		return empty{}, err
	}
	go func() {
		p.err = cmd.Wait()
		p.output.end()
		close(p.done)
	}()
	if s.programs == nil {
		s.programs = make(map[string]*program)
	}
	s.programs[a.Name] = p
	return empty{}, nil
}

func (s *Server) program(name string) (*program, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.programs[name]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("no program called %q was started", name)
}

func (p *program) say(line string) error {
	if line == "" {
		return nil
	}
	_, err := io.WriteString(p.stdin, line+"\n")
	return err
}

// talk writes a line to a program and waits for a text in its output.
func (s *Server) talk(a TalkArgs) (string, error) {
	p, err := s.program(a.Name)
	if err != nil {
		return "", err
	}
	if err := p.say(a.Line); err != nil {
		return "", fmt.Errorf("%s takes no more commands: %w; end of its output:\n%s", a.Name, err, p.output.tail())
	}
	timer := time.NewTimer(time.Duration(a.TimeoutMS) * time.Millisecond)
	defer timer.Stop()
	for {
		text, found, ended, wake := p.output.take(a.Until)
		switch {
		case found:
			return text, nil
		case ended:
			return "", fmt.Errorf("%s ended before it printed %q; end of its output:\n%s", a.Name, a.Until, p.output.tail())
		}
		select {
		case <-wake:
		case <-timer.C:
			return "", fmt.Errorf("%s did not print %q in %d ms; end of its output:\n%s", a.Name, a.Until, a.TimeoutMS,
				p.output.tail())
		}
	}
}

// end waits for a program to end and forgets it.
func (s *Server) end(a EndArgs) (ExecResult, error) {
	p, err := s.program(a.Name)
	if err != nil {
		return ExecResult{}, err
	}
	_ = p.say(a.Line) // a program that is gone already has ended, which is what is wanted
	_ = p.stdin.Close()
	timer := time.NewTimer(time.Duration(a.TimeoutMS) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.done
		err = fmt.Errorf("%s had not ended after %d ms and was killed", a.Name, a.TimeoutMS)
	}
	s.mu.Lock()
	delete(s.programs, a.Name)
	s.mu.Unlock()
	text, _, _, _ := p.output.take("")
	r := ExecResult{Output: text[max(0, len(text)-outputLimit):], Status: p.cmd.ProcessState.ExitCode()}
	if err != nil {
		err = fmt.Errorf("%w; end of its output:\n%s", err, r.Output[max(0, len(r.Output)-2000):])
	}
	return r, err
}

func readFile(a FileArgs) ([]byte, error) { return os.ReadFile(a.Path) }

func writeFile(a FileArgs) (empty, error) {
	if err := os.MkdirAll(filepath.Dir(a.Path), 0o755); err != nil {
		return empty{}, err
	}
	f, err := os.OpenFile(a.Path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return empty{}, err
	}
	_, err = f.Write(a.Data)
	return empty{}, errors.Join(err, f.Close())
}

// insertModule inserts a module file of the guest.
func insertModule(a ModuleArgs) (empty, error) {
	f, err := os.Open(a.Name)
	if err != nil {
		return empty{}, err
	}
	defer func() { _ = f.Close() }()
	if err := unix.FinitModule(int(f.Fd()), a.Params, 0); err != nil {
		return empty{}, fmt.Errorf("insert %s: %w", a.Name, err)
	}
	return empty{}, nil
}

// removeModule removes a loaded module, which must not be in use.
func removeModule(a ModuleArgs) (empty, error) {
	if err := unix.DeleteModule(a.Name, unix.O_NONBLOCK); err != nil {
		return empty{}, fmt.Errorf("remove %s: %w", a.Name, err)
	}
	return empty{}, nil
}
