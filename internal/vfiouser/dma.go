package vfiouser

import (
	"errors"
	"runtime"
	"runtime/debug"
	"slices"
	"sort"
	"sync"

	"golang.org/x/sys/unix"
)

// DMA is a session's table of the client's memory.
//
// Concurrency: any goroutine may call Read and Write at any time. The session's own goroutine changes the table, and waits
// for running accesses to end before it gives up memory.
type DMA struct {
	max    int // mappings
	remote remoteMemory
	files  fileViews // the session's goroutine's

	mu       sync.RWMutex
	detached bool
	regions  []dmaRegion // sorted by IOVA, not overlapping
}

// remoteMemory accesses the client's memory by messages.
type remoteMemory interface {
	readMemory(iova uint64, p []byte) error
	writeMemory(iova uint64, p []byte) error
}

// dmaRegion is one mapping of the client.
type dmaRegion struct {
	Mapping
	mem  []byte    // Size bytes of file, nil when not shared
	file *fileView // nil when not shared
}

func (r *dmaRegion) last() uint64 { return r.IOVA + (r.Size - 1) }

// span is a part of an access that lies in one region.
type span struct {
	region *dmaRegion
	at     uint64 // in the region
	p      []byte
}

// Read fills p from the client's memory at iova. Nothing is read when not all of the range is mapped and readable. The
// error is a *DMAError.
func (d *DMA) Read(iova uint64, p []byte) error { return d.access(iova, p, false) }

// Write copies p to the client's memory at iova. Nothing is written when not all of the range is mapped and writeable; a
// file that was cut off can end it in the middle. The error is a *DMAError.
//
// An aligned write of 8 bytes becomes visible at once. There is no order within a longer one: publish a descriptor by
// writing the quadword that its reader polls by itself, last. Writes of one goroutine become visible in their order.
func (d *DMA) Write(iova uint64, p []byte) error { return d.access(iova, p, true) }

func (d *DMA) access(iova uint64, p []byte, write bool) error {
	if len(p) == 0 {
		return nil
	}
	far, err := d.shared(iova, p, write)
	if err == nil {
		err = d.byMessage(far, write)
	}
	if err != nil {
		return &DMAError{IOVA: iova, Size: len(p), Write: write, Err: err}
	}
	return nil
}

// remoteSpan is a part of an access that goes by messages.
type remoteSpan struct {
	iova uint64
	p    []byte
}

// shared does what of an access can be done in shared memory, if all of it is allowed, and returns the rest. Nobody may
// wait for a client's reply with the table locked: the client may first want one from us, to a change of the table.
func (d *DMA) shared(iova uint64, p []byte, write bool) (far []remoteSpan, err error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var room [2]span // more than two regions are rare
	spans, err := d.spans(iova, p, write, room[:0])
	if err != nil {
		return nil, err
	}
	for _, s := range spans {
		mem := s.region.mem
		switch {
		case mem == nil:
			far = append(far, remoteSpan{s.region.IOVA + s.at, s.p})
			continue
		case write:
			err = guardedCopy(mem[s.at:], s.p)
		default:
			err = guardedCopy(s.p, mem[s.at:])
		}
		if err != nil {
			return nil, err
		}
	}
	return far, nil
}

func (d *DMA) byMessage(far []remoteSpan, write bool) error {
	for _, s := range far {
		access := d.remote.readMemory
		if write {
			access = d.remote.writeMemory
		}
		if err := access(s.iova, s.p); err != nil {
			return err
		}
	}
	return nil
}

// spans appends the parts of an access to into.
func (d *DMA) spans(iova uint64, p []byte, write bool, into []span) ([]span, error) {
	if d.detached {
		return nil, ErrDetached
	}
	if iova+uint64(len(p)-1) < iova {
		return nil, ErrUnmapped
	}
	i := d.search(iova)
	for ; len(p) > 0; i++ {
		if i == len(d.regions) || d.regions[i].IOVA > iova {
			return nil, ErrUnmapped
		}
		r := &d.regions[i]
		if write && !r.Writeable || !write && !r.Readable {
			return nil, ErrDenied
		}
		at := iova - r.IOVA
		n := min(uint64(len(p)), r.Size-at)
		into = append(into, span{r, at, p[:n]})
		p, iova = p[n:], iova+n
	}
	return into, nil
}

// search is the index of the first region that ends at iova or later.
func (d *DMA) search(iova uint64) int {
	return sort.Search(len(d.regions), func(i int) bool { return d.regions[i].last() >= iova })
}

// guardedCopy is copy, when either may be memory whose file was cut off: the access raises SIGBUS then, which the
// runtime turns into a panic.
func guardedCopy(dst, src []byte) (err error) {
	before := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(before)
		r := recover()
		if r == nil {
			return
		}
		if _, is := r.(memoryFault); !is {
			panic(r)
		}
		err = ErrCutOff
	}()
	copy(dst, src)
	return nil
}

// memoryFault is what the runtime panics with, under debug.SetPanicOnFault, for an address that is not near nil.
type memoryFault interface {
	runtime.Error
	Addr() uintptr
}

// add enters m, backed by the file fd at offset, or by messages when fd is -1. fd stays the caller's to close.
func (d *DMA) add(m Mapping, fd int, offset uint64) error {
	if m.Size == 0 || m.IOVA+(m.Size-1) < m.IOVA {
		return refuse(unix.EINVAL, "mapping of %#x bytes at %#x", m.Size, m.IOVA)
	}
	d.mu.RLock() // only the caller's goroutine changes the table
	i := d.search(m.IOVA)
	taken := i < len(d.regions) && d.regions[i].IOVA <= m.IOVA+(m.Size-1)
	full := len(d.regions) >= d.max
	d.mu.RUnlock()
	if taken {
		return refuse(unix.EEXIST, "mapping of %#x bytes at %#x: overlaps that at %#x", m.Size, m.IOVA, d.regions[i].IOVA)
	}
	if full {
		return refuse(unix.ENOSPC, "more than %d mappings", d.max)
	}
	r := dmaRegion{Mapping: m}
	if fd >= 0 {
		var err error
		if r.file, r.mem, err = d.files.open(fd, offset, m.Size, m.Writeable); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.regions = slices.Insert(d.regions, i, r)
	return nil
}

// covered are the mappings that lie in size bytes from iova, in order. The caller's goroutine is the one that changes
// the table. A mapping that lies there in part is an error, as is none.
func (d *DMA) covered(iova, size uint64) ([]Mapping, error) {
	if size == 0 || iova+(size-1) < iova {
		return nil, refuse(unix.EINVAL, "unmapping %#x bytes at %#x", size, iova)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	last := iova + (size - 1)
	var found []Mapping
	for i := d.search(iova); i < len(d.regions) && d.regions[i].IOVA <= last; i++ {
		r := &d.regions[i]
		if r.IOVA < iova || r.last() > last {
			return nil, refuse(unix.EINVAL, "unmapping %#x bytes at %#x: part of a mapping of %#x at %#x", size, iova,
				r.Size, r.IOVA)
		}
		found = append(found, r.Mapping)
	}
	if len(found) == 0 {
		return nil, refuse(unix.ENOENT, "unmapping %#x bytes at %#x: nothing is mapped there", size, iova)
	}
	return found, nil
}

// all are all mappings, in order.
func (d *DMA) all() []Mapping {
	d.mu.RLock()
	defer d.mu.RUnlock()
	ms := make([]Mapping, len(d.regions))
	for i := range d.regions {
		ms[i] = d.regions[i].Mapping
	}
	return ms
}

// remove gives up mappings that covered or all returned, once no access is running.
func (d *DMA) remove(gone []Mapping) error {
	if len(gone) == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	first := d.search(gone[0].IOVA)
	behind := first + len(gone) // nothing lies between them
	var errs []error
	for i := first; i < behind; i++ {
		errs = append(errs, d.files.close(d.regions[i].file))
	}
	d.regions = slices.Delete(d.regions, first, behind)
	return errors.Join(errs...)
}

// detach gives up everything. Accesses fail from now on.
func (d *DMA) detach() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.detached = true
	var errs []error
	for i := range d.regions {
		errs = append(errs, d.files.close(d.regions[i].file))
	}
	d.regions = nil
	return errors.Join(errs...)
}
