package numa

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"weft/internal/sys"
)

// AllowedCPUs are the CPUs that this process may use, ascending: the calling thread's affinity mask. Isolated CPUs are
// added when that mask is exactly what every process inherits on a machine that has some (all CPUs but the isolated),
// as far as the process's cpuset has them; a mask that someone chose (taskset, CPUAffinity=) is obeyed as it is. In a
// simulated topology every CPU online is allowed.
func (t *Topology) AllowedCPUs() ([]int, error) {
	if t.Simulated() {
		return t.Online(), nil
	}
	mask, err := sys.Affinity(0)
	if err != nil {
		return nil, fmt.Errorf("numa: allowed CPUs: %w", err)
	}
	if len(t.isolated) == 0 || !slices.Equal(mask, without(t.Online(), t.isolated)) {
		return mask, nil
	}
	cpuset, err := probeCPUSet(t.Online())
	if err != nil {
		return nil, fmt.Errorf("numa: allowed CPUs: %w", err)
	}
	mask = append(mask, intersection(t.isolated, cpuset)...)
	slices.Sort(mask)
	return mask, nil
}

// probeCPUSet finds out which of cpus the process's cpuset has: the kernel cuts an affinity mask down to these. Reading
// the cgroup's files instead would need them mounted, and visible in a container.
func probeCPUSet(cpus []int) ([]int, error) {
	runtime.LockOSThread()
	old, err := sys.Affinity(0)
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	var got []int
	if err = sys.SetAffinity(0, cpus); err == nil {
		got, err = sys.Affinity(0)
	}
	if restore := sys.SetAffinity(0, old); restore != nil {
		// The thread stays locked, so that it runs nothing but this goroutine with the wrong mask.
		return nil, errors.Join(err, restore)
	}
	runtime.UnlockOSThread()
	return got, err
}

// PinThread makes the calling OS thread, to which the goroutine must be locked, run on one CPU only. On a simulated
// topology it only checks that there is such a CPU.
func (t *Topology) PinThread(cpu int) error {
	if _, ok := t.CPU(cpu); !ok {
		return fmt.Errorf("numa: there is no CPU %d online: there are %s", cpu, FormatCPUs(t.Online()))
	}
	if t.Simulated() {
		return nil
	}
	if err := sys.SetAffinity(0, []int{cpu}); err != nil {
		return fmt.Errorf("numa: pin a thread to CPU %d, which this process's cpuset must have: %w", cpu, err)
	}
	return nil
}

// ConfineProcess allows every thread of this process but those in except (thread IDs) to run on cpus only. Threads that
// Go starts later inherit it, since Go starts none from a locked thread. On a simulated topology it does nothing.
func (t *Topology) ConfineProcess(cpus, except []int) error {
	if t.Simulated() || len(cpus) == 0 {
		return nil
	}
	done := map[int]bool{}
	for _, tid := range except {
		done[tid] = true
	}
	// A thread that was started meanwhile by one not reached yet has the old mask: go on until nothing new is found.
	for found := true; found; {
		found = false
		entries, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("numa: confine threads: %w", err)
		}
		for _, e := range entries {
			tid, err := strconv.Atoi(e.Name())
			if err != nil || done[tid] {
				continue
			}
			found, done[tid] = true, true
			if err := sys.SetAffinity(tid, cpus); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("numa: confine threads: %w", err)
			}
		}
	}
	return nil
}
