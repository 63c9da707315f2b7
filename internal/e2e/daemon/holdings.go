package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Holdings is what a process holds of the kernel's things at one moment.
type Holdings struct {
	FDs      map[string]int // open descriptors by what they are, numbers of inodes left out
	Mappings map[string]int // mappings of files and shared memory by name
	Threads  int
}

// Holdings reads /proc of the daemon's process.
func (d *Daemon) Holdings() (Holdings, error) {
	h := Holdings{FDs: make(map[string]int), Mappings: make(map[string]int)}
	proc := fmt.Sprintf("/proc/%d", d.Process.PID())
	fds, err := filepath.Glob(proc + "/fd/*")
	if err != nil {
		return h, err
	}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil { // it may have been closed since
			kind, _, _ := strings.Cut(target, ":[")
			h.FDs[kind]++
		}
	}
	maps, err := os.ReadFile(proc + "/maps")
	if err != nil {
		return h, err
	}
	for line := range strings.Lines(string(maps)) {
		// address permissions offset device inode name
		f := strings.Fields(line)
		if len(f) >= 6 && (strings.HasSuffix(f[1], "s") || f[4] != "0") {
			h.Mappings[strings.Join(f[5:], " ")]++
		}
	}
	tasks, err := os.ReadDir(proc + "/task")
	h.Threads = len(tasks)
	return h, err
}

// Growth lists what h has more of than before had; threads may have grown by spare, for Go's runtime keeps threads that
// blocked in system calls.
func (h Holdings) Growth(before Holdings, spare int) []string {
	var more []string
	compare := func(kind string, now, then map[string]int) {
		for name, n := range now {
			if n > then[name] {
				more = append(more, fmt.Sprintf("%s %s: %d, was %d", kind, name, n, then[name]))
			}
		}
	}
	compare("descriptors", h.FDs, before.FDs)
	compare("mappings", h.Mappings, before.Mappings)
	if h.Threads > before.Threads+spare {
		more = append(more, fmt.Sprintf("threads: %d, was %d", h.Threads, before.Threads))
	}
	sort.Strings(more)
	return more
}
