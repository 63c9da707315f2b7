package sys

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// MaxCPUs is how many CPUs an affinity mask can name: the largest NR_CPUS that Linux can be built with on amd64.
const MaxCPUs = 8192

// ThreadID is the kernel's number of the calling thread.
func ThreadID() int { return unix.Gettid() }

// SetAffinity allows thread tid (0: the calling one) to run on these CPUs only. The kernel silently leaves out CPUs
// that do not exist or that the process's cpuset does not have; when none is left the error is EINVAL.
func SetAffinity(tid int, cpus []int) error {
	set := unix.NewCPUSet(MaxCPUs)
	for _, c := range cpus {
		if c < 0 || c >= MaxCPUs {
			return fmt.Errorf("sched_setaffinity: CPU %d: not from 0 to %d", c, MaxCPUs-1)
		}
		set.Set(c)
	}
	if err := unix.SchedSetaffinityDynamic(tid, set); err != nil {
		return fmt.Errorf("sched_setaffinity to %v: %w", cpus, err)
	}
	return nil
}

// Affinity is the CPUs that thread tid (0: the calling one) may run on, ascending.
func Affinity(tid int) ([]int, error) {
	set := unix.NewCPUSet(MaxCPUs)
	if err := unix.SchedGetaffinityDynamic(tid, set); err != nil {
		return nil, fmt.Errorf("sched_getaffinity: %w", err)
	}
	var cpus []int
	for c := range MaxCPUs {
		if set.IsSet(c) {
			cpus = append(cpus, c)
		}
	}
	return cpus, nil
}

// SetTimerSlack sets by how many nanoseconds the kernel may delay the calling thread's timers in order to batch them.
// The default is 50 microseconds; 0 would mean the default.
func SetTimerSlack(ns int) error {
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(ns), 0, 0, 0); err != nil {
		return fmt.Errorf("prctl(PR_SET_TIMERSLACK): %w", err)
	}
	return nil
}

// TimerSlack is the calling thread's timer slack in nanoseconds.
func TimerSlack() (int, error) {
	ns, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return 0, fmt.Errorf("prctl(PR_GET_TIMERSLACK): %w", err)
	}
	return ns, nil
}

// SetThreadName names the calling thread as top and ps show it, in up to 15 bytes.
func SetThreadName(name string) error {
	if err := os.WriteFile("/proc/thread-self/comm", []byte(name), 0); err != nil {
		return fmt.Errorf("name a thread: %w", err)
	}
	return nil
}
