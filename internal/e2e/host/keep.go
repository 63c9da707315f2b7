package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

// State is what a detached run left behind: enough for a later process to clean up after it.
type State struct {
	Processes []KeptProcess `json:"processes"` // in the order they were started
	// Hugepages is the size of the pool to go back to, -1 when it was not changed.
	Hugepages int      `json:"hugepages"`
	Paths     []string `json:"paths"` // to be removed
}

// KeptProcess names a process. The start time makes sure that the id has not gone to another one meanwhile.
type KeptProcess struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	Start string `json:"start"` // in clock ticks since boot, as /proc has it
}

// stopGrace is how long each process has to end by itself.
const stopGrace = 5 * time.Second

// Save writes what the group still runs to a file, for StopSaved.
func (g *Group) Save(path string, paths ...string) error {
	g.mu.Lock()
	state := State{Hugepages: g.hugepages - 1, Paths: paths}
	for _, p := range g.started {
		if start, err := startTime(p.PID()); err == nil && p.Running() {
			state.Processes = append(state.Processes, KeptProcess{Name: p.Name, PID: p.PID(), Start: start})
		}
	}
	g.mu.Unlock()
	text, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// Saved reads the file and returns the processes that still run.
func Saved(path string) (*State, []KeptProcess, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	state := &State{Hugepages: -1}
	if err := json.Unmarshal(text, state); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	var running []KeptProcess
	for _, p := range state.Processes {
		if p.running() {
			running = append(running, p)
		}
	}
	return state, running, nil
}

// StopSaved ends the processes of a kept run, last started first, and undoes the rest. It returns how many it ended.
func StopSaved(path string) (int, error) {
	state, running, err := Saved(path)
	if err != nil || state == nil {
		return 0, err
	}
	for i := len(running) - 1; i >= 0; i-- {
		running[i].stop()
	}
	if state.Hugepages >= 0 {
		err = writeNumber(nrHugepages, state.Hugepages)
	}
	for _, p := range state.Paths {
		err = errors.Join(err, os.RemoveAll(p))
	}
	return len(running), errors.Join(err, os.RemoveAll(path))
}

func (p KeptProcess) running() bool {
	start, err := startTime(p.PID)
	return err == nil && start == p.Start
}

func (p KeptProcess) stop() {
	_ = syscall.Kill(p.PID, syscall.SIGTERM) // an error means that it is gone, as does the next line
	for deadline := time.Now().Add(stopGrace); p.running() && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	if p.running() {
		_ = syscall.Kill(p.PID, syscall.SIGKILL)
	}
}

// startTime is field 22 of /proc/PID/stat (proc(5)). A zombie counts as gone.
func startTime(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is the name in parentheses, which may hold anything.
	_, rest, _ := strings.Cut(string(text[strings.LastIndex(string(text), ")")+1:]), " ")
	const state, start = 0, 22 - 3 // rest begins with field 3
	f := strings.Fields(rest)
	if len(f) <= start || f[state] == "Z" || f[state] == "X" {
		return "", fs.ErrNotExist
	}
	return f[start], nil
}
