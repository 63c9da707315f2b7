package numa

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weft/internal/sys"
)

// ParseCPUs reads a list of CPUs as the kernel writes it: numbers and ranges, separated by commas, such as "0-3,8". The
// result is ascending and has no duplicates; the empty string is the empty list.
func ParseCPUs(list string) ([]int, error) {
	cpus := []int{}
	if strings.TrimSpace(list) == "" {
		return cpus, nil
	}
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		from, to, isRange := strings.Cut(item, "-")
		first, err := parseCPU(from)
		if err != nil {
			return nil, fmt.Errorf("numa: CPU list %q: %q: %w", list, item, err)
		}
		last := first
		if isRange {
			if last, err = parseCPU(to); err != nil {
				return nil, fmt.Errorf("numa: CPU list %q: %q: %w", list, item, err)
			}
		}
		if last < first {
			return nil, fmt.Errorf("numa: CPU list %q: the range %q ends before it starts", list, item)
		}
		for c := first; c <= last; c++ {
			cpus = append(cpus, c)
		}
	}
	slices.Sort(cpus)
	return slices.Compact(cpus), nil
}

func parseCPU(s string) (int, error) {
	// ParseUint accepts no sign, so that "-1" and "+1" are no CPUs.
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a CPU number; write it like 0-3,8", s)
	}
	if n >= sys.MaxCPUs {
		return 0, fmt.Errorf("CPU %d is above the highest that Linux supports, %d", n, sys.MaxCPUs-1)
	}
	return int(n), nil
}

// FormatCPUs writes cpus, ascending and without duplicates, as ParseCPUs reads them.
func FormatCPUs(cpus []int) string {
	var b strings.Builder
	for i := 0; i < len(cpus); {
		j := i
		for j+1 < len(cpus) && cpus[j+1] == cpus[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(cpus[i]))
		if j > i {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(cpus[j]))
		}
		i = j + 1
	}
	return b.String()
}

// without is the elements of a that are not in b.
func without(a, b []int) []int {
	return slices.DeleteFunc(slices.Clone(a), func(c int) bool { return slices.Contains(b, c) })
}

// intersection is the elements of a that are in b.
func intersection(a, b []int) []int {
	return slices.DeleteFunc(slices.Clone(a), func(c int) bool { return !slices.Contains(b, c) })
}
