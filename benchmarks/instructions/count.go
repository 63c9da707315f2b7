package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// tracedScenario is the environment variable that makes this program run a scenario to be counted in.
const tracedScenario = "WEFT_INSTRUCTIONS_SCENARIO"

// warmUp is how many batches pass before anything is counted: caches are full, rings have gone round many times.
const warmUp = 4096

// count is what a scenario's packets cost.
type count struct {
	scenario  *scenario
	perPacket float64
	laps      []uint64 // instructions of each lap
	functions []part
	lines     []part
}

// part is one function's or line's part. What was inlined counts where it was written.
type part struct {
	name      string
	perPacket float64
}

// entry is the address of a function's first instruction.
func entry(f func(*queue)) uint64 { return uint64(reflect.ValueOf(f).Pointer()) }

// runTraced is the process that is counted in: it runs a scenario until in ends, and says on out which thread to look at
// and where lap is, since the program may be loaded anywhere.
func runTraced(name string, in io.Reader, out io.Writer) error {
	all := scenarios()
	i := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
	if i < 0 {
		return fmt.Errorf("no scenario %q", name)
	}
	b, err := newBed(&all[i])
	if err != nil {
		return err
	}
	b.run(warmUp / all[i].batches)
	if _, err := fmt.Fprintln(out, b.tid.Load(), entry(lap)); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return errors.Join(err, b.close())
}

// measure counts n laps of a scenario in a process of its own, which runs this program.
func measure(s *scenario, n int) (_ *count, err error) {
	// Both ptrace and the death of a parent are matters of threads.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe")
	// How the runtime copies memory depends on what the CPU can do, unless that is nothing beyond the least.
	cmd.Env = append(os.Environ(), tracedScenario+"="+s.name, "GODEBUG=cpu.all=off,asyncpreemptoff=1", "GOGC=off")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var t *tracer
	defer func() {
		_ = cmd.Process.Kill()
		if t != nil {
			err = errors.Join(err, t.end())
		}
		_ = cmd.Wait() // it was killed
	}()
	var tid int
	var lapAt uint64
	if _, err := fmt.Fscan(bufio.NewReader(out), &tid, &lapAt); err != nil {
		return nil, fmt.Errorf("scenario %s did not start: %w", s.name, err)
	}
	var c *count
	if t, err = trace(cmd.Process.Pid, tid); err == nil {
		c, err = t.count(s, lapAt, n)
	}
	if err != nil {
		return nil, fmt.Errorf("scenario %s: %w", s.name, err)
	}
	return c, nil
}

// count counts n laps.
func (t *tracer) count(s *scenario, lapAt uint64, n int) (*count, error) {
	slide := lapAt - entry(lap) // of the other process's code against ours
	if err := t.freezeAt(lapAt); err != nil {
		return nil, err
	}
	c := &count{scenario: s}
	for range n {
		addresses, err := t.step(lapAt, entry(turn)+slide)
		if err != nil {
			return nil, err
		}
		c.add(addresses, slide)
	}
	return c, nil
}

// add makes a lap the result.
func (c *count) add(addresses map[uint64]uint64, slide uint64) {
	functions, lines, sum := make(map[string]uint64), make(map[string]uint64), uint64(0)
	for addr, n := range addresses {
		if function, line, counts := origin(addr - slide); counts {
			functions[function] += n
			lines[line] += n
			sum += n
		}
	}
	c.laps = append(c.laps, sum)
	c.perPacket = float64(sum) / float64(c.scenario.perLap())
	c.functions, c.lines = c.sorted(functions), c.sorted(lines)
}

// sorted are the parts of a lap, the largest first.
func (c *count) sorted(counts map[string]uint64) (parts []part) {
	for name, n := range counts {
		parts = append(parts, part{strings.TrimPrefix(name, "weft/"), float64(n) / float64(c.scenario.perLap())})
	}
	slices.SortFunc(parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(b.perPacket, a.perPacket), strings.Compare(a.name, b.name))
	})
	return parts
}

// origin is the function and the line that an instruction was written in, and whether it counts: what is here to make the
// switch work does not, and neither does what the loop does only when it is slow, as one that is stepped is.
func origin(addr uint64) (function, line string, counts bool) {
	here := strings.TrimSuffix(runtime.FuncForPC(uintptr(entry(lap))).Name(), "lap")
	frames := runtime.CallersFrames([]uintptr{uintptr(addr) + 1}) // return addresses are what it takes
	for {
		f, more := frames.Next()
		if function == "" {
			function = f.Function
			line = fmt.Sprintf("%s %s:%d", function, filepath.Base(f.File), f.Line)
		}
		switch {
		case f.Function == "weft/pmd.(*thread).noteGap", !more && strings.HasPrefix(f.Function, here):
			return function, line, false
		case !more:
			return function, line, true
		}
	}
}
