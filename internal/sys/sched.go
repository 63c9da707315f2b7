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

// MostUrgent is the nice value that gets a thread the most of a CPU that several share.
const MostUrgent = -20

// SetNice gives thread tid (0: the calling one) a nice value. A lower one than it has takes CAP_SYS_NICE, or RLIMIT_NICE.
func SetNice(tid, nice int) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, tid, nice); err != nil {
		return fmt.Errorf("setpriority to nice %d: %w", nice, err)
	}
	return nil
}

// Nice is the nice value of thread tid (0: the calling one).
func Nice(tid int) (int, error) {
	// The system call, unlike the C library's function, returns 40 for the most urgent and 1 for the least.
	n, err := unix.Getpriority(unix.PRIO_PROCESS, tid)
	if err != nil {
		return 0, fmt.Errorf("getpriority: %w", err)
	}
	return 20 - n, nil
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
