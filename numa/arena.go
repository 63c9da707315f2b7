package numa

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"weft/internal/sys"
)

// hugepageSize is that of the hugepages an Arena asks for, amd64's 2 MiB. Larger ones must be set aside when the
// machine boots, and their gain over 2 MiB is small for tables of some hundred megabytes.
const hugepageSize = 2 << 20

// PageKind says what pages an arena's memory consists of.
type PageKind string

// The kinds, best first.
const (
	// HugetlbPages come from the kernel's pool of hugepages.
	HugetlbPages PageKind = "hugetlb"
	// TransparentPages are ordinary memory that the kernel was asked to back with hugepages, as far as it finds them.
	TransparentPages PageKind = "transparent"
	// OrdinaryPages are of 4 KiB.
	OrdinaryPages PageKind = "ordinary"
)

// ArenaConfig says what memory is wanted.
type ArenaConfig struct {
	// Node is the NUMA node, -1 for any.
	Node int
	// Size is in bytes; it is rounded up to whole pages.
	Size int
	// Small asks for ordinary pages in the first place: right for less than a hugepage.
	Small bool
	// Lazy leaves pages to come when they are touched: right for memory most of which may never be needed. Those of the
	// pool are reserved, so that touching them cannot fail; where the node's run out, another node's stand in.
	Lazy bool
}

// ArenaInfo says what memory an arena got.
type ArenaInfo struct {
	// Node is the node that its first page lies on, -1 when the kernel does not tell.
	Node int
	// Size is in bytes.
	Size  int
	Pages PageKind
	// Notes says in a sentence each what was wanted and not got.
	Notes []string
}

// Arena is zeroed memory of one NUMA node, resident from the start unless it is lazy. It is handed out in pieces and given
// back as a whole.
type Arena struct {
	mu      sync.Mutex
	mapping []byte // as mapped; nil once closed
	mem     []byte // the usable part of it
	used    int
	info    ArenaInfo
}

// NewArena gets memory: hugepages of the node's pool; failing that, ordinary memory, of the node if it has some, with
// transparent hugepages. Info tells which. It fails only when there is no memory at all.
func NewArena(cfg ArenaConfig) (*Arena, error) {
	if cfg.Size <= 0 {
		return nil, fmt.Errorf("numa: arena of %d bytes: the size must be positive", cfg.Size)
	}
	a := &Arena{}
	if !cfg.Small {
		err := a.mapHuge(cfg)
		if err == nil {
			a.info.Node = a.placed()
			return a, nil
		}
		a.note("no hugepages (%v); reserve more with vm.nr_hugepages", err)
	}
	if err := a.mapOrdinary(cfg); err != nil {
		return nil, fmt.Errorf("numa: arena of %d bytes: %w", cfg.Size, err)
	}
	a.info.Node = a.placed()
	if cfg.Node >= 0 && a.info.Node >= 0 && a.info.Node != cfg.Node {
		a.note("the memory is on node %d, not %d", a.info.Node, cfg.Node)
	}
	return a, nil
}

// mapHuge takes hugepages of the pool. The node is binding, since ordinary memory of the right node is better than
// hugepages of the wrong one; pages are made resident here, where the lack of one is an error and not a SIGBUS. For lazy
// memory the node is only preferred: what the pool has reserved may lie on any.
func (a *Arena) mapHuge(cfg ArenaConfig) error {
	size := roundUp(cfg.Size, hugepageSize)
	b, err := sys.MapHuge(size, hugepageSize)
	if err != nil {
		return err
	}
	if cfg.Node >= 0 {
		err = sys.BindMemory(b, cfg.Node, !cfg.Lazy)
	}
	if err == nil && !cfg.Lazy {
		err = sys.Populate(b)
	}
	if err != nil {
		return errors.Join(err, sys.Unmap(b))
	}
	a.mapping, a.mem = b, b
	a.info.Size, a.info.Pages = size, HugetlbPages
	return nil
}

// mapOrdinary takes ordinary memory, which is always to be had.
func (a *Arena) mapOrdinary(cfg ArenaConfig) error {
	size, align := roundUp(cfg.Size, sys.PageSize()), 1
	if !cfg.Small {
		size, align = roundUp(cfg.Size, hugepageSize), hugepageSize
	}
	// A transparent hugepage needs an aligned place, which mmap does not promise: map one more and cut.
	b, err := sys.MapAnonymous(size + align - 1)
	if err != nil {
		return err
	}
	at := padding(b, align)
	a.mapping, a.mem = b, b[at:at+size:at+size]
	a.info.Size, a.info.Pages = size, OrdinaryPages
	if cfg.Node >= 0 {
		if err := sys.BindMemory(a.mapping, cfg.Node, false); err != nil {
			a.note("not bound to node %d (%v)", cfg.Node, err)
		}
	}
	if !cfg.Small {
		if err := adviseHuge(a.mem); err != nil {
			a.note("no transparent hugepages (%v)", err)
		} else {
			a.info.Pages = TransparentPages
		}
	}
	if cfg.Lazy {
		return nil
	}
	if err := sys.Populate(a.mem); err != nil {
		for i := 0; i < len(a.mem); i += sys.PageSize() {
			a.mem[i] = 0 // a kernel before 5.14
		}
	}
	return nil
}

// adviseHuge asks for transparent hugepages and fails where the administrator has switched them off, in which case the
// kernel accepts the advice and does nothing.
func adviseHuge(b []byte) error {
	const mode = "/sys/kernel/mm/transparent_hugepage/enabled"
	text, err := os.ReadFile(mode)
	if err != nil {
		return err
	}
	if strings.Contains(string(text), "[never]") {
		return fmt.Errorf("%s says never", mode)
	}
	return sys.AdviseHuge(b)
}

func (a *Arena) note(format string, args ...any) {
	a.info.Notes = append(a.info.Notes, fmt.Sprintf(format, args...))
}

// Info says what memory the arena got.
func (a *Arena) Info() ArenaInfo { return a.info }

// Alloc hands out size bytes that start at a multiple of align, a power of two of at most the page size. They are zero,
// and valid until Close.
func (a *Arena) Alloc(size, align int) ([]byte, error) {
	if size < 0 || align <= 0 || align&(align-1) != 0 || align > sys.PageSize() {
		return nil, fmt.Errorf("numa: allocate %d bytes aligned to %d: the alignment is a power of two up to %d",
			size, align, sys.PageSize())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mapping == nil {
		return nil, errors.New("numa: the arena is closed")
	}
	at := roundUp(a.used, align)
	if size > len(a.mem)-at {
		return nil, fmt.Errorf("numa: allocate %d bytes: %d of the arena's %d are left", size, len(a.mem)-a.used, len(a.mem))
	}
	a.used = at + size
	return a.mem[at : at+size : at+size], nil
}

// Close gives all memory back. Nothing may use it any more. Closing twice does nothing.
func (a *Arena) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mapping == nil {
		return nil
	}
	b := a.mapping
	a.mapping, a.mem = nil, nil
	if err := sys.Unmap(b); err != nil {
		return fmt.Errorf("numa: close arena: %w", err)
	}
	return nil
}

// roundUp rounds n up to a multiple of unit, a power of two.
func roundUp(n, unit int) int { return (n + unit - 1) &^ (unit - 1) }
