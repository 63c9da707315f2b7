package host

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Kernel files for the default hugepage size (Linux, Documentation/admin-guide/mm/hugetlbpage.rst).
const (
	nrHugepages = "/proc/sys/vm/nr_hugepages"
	meminfo     = "/proc/meminfo"
	dropCaches  = "/proc/sys/vm/drop_caches"
	compact     = "/proc/sys/vm/compact_memory"
)

// hugepageState is the machine's pool of hugepages of the default size.
type hugepageState struct{ total, free, sizeKB int }

func readHugepages() (hugepageState, error) {
	var s hugepageState
	text, err := os.ReadFile(meminfo)
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			continue // a line of another kind
		}
		switch f[0] {
		case "HugePages_Total:":
			s.total = n
		case "HugePages_Free:":
			s.free = n
		case "Hugepagesize:":
			s.sizeKB = n
		}
	}
	if s.sizeKB == 0 {
		return s, fmt.Errorf("hugepages: this kernel has none")
	}
	return s, nil
}

// ReserveHugepages makes at least mb MiB of hugepages free, and gives back what it added when the group is closed.
func ReserveHugepages(g *Group, mb int) error {
	s, err := readHugepages()
	if err != nil {
		return err
	}
	want := (mb*1024 + s.sizeKB - 1) / s.sizeKB
	if s.free >= want {
		return nil
	}
	added := want - s.free
	if err := writeNumber(nrHugepages, s.total+added); err != nil {
		return fmt.Errorf("hugepages: %w", err)
	}
	now, err := readHugepages()
	if err == nil && now.free < want {
		// Fragmented memory: free the page cache, let the kernel compact, and try once more. Both are only hints.
		_ = writeNumber(dropCaches, 3)
		_ = writeNumber(compact, 1)
		if err = writeNumber(nrHugepages, s.total+added); err == nil {
			now, err = readHugepages()
		}
	}
	giveBack := func() { _ = writeNumber(nrHugepages, s.total) } // pages in use stay until their users end
	if err != nil || now.free < want {
		giveBack()
		if err == nil {
			err = fmt.Errorf("%d MiB wanted, only %d MiB could be had: the machine's memory is too small or fragmented",
				mb, now.free*s.sizeKB/1024)
		}
		return fmt.Errorf("hugepages: %w", err)
	}
	g.mu.Lock()
	if g.hugepages == 0 {
		g.hugepages = s.total + 1
	}
	g.mu.Unlock()
	g.Defer(giveBack)
	return nil
}

func writeNumber(path string, n int) error {
	return os.WriteFile(path, []byte(strconv.Itoa(n)), 0o644)
}
