package sys

import (
	"runtime"
	"runtime/debug"
	"testing"
	"unsafe"
)

func TestMemoryBetweenGuards(t *testing.T) {
	const size = 3 * 4096
	f, fd, err := MemfdFile("test", 2*size, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a, err := MapGuarded(fd, 0, 2*size)
	if err != nil {
		t.Fatal(err)
	}
	b, err := MapGuarded(fd, size, size)
	if err != nil {
		t.Fatal(err)
	}
	a[size], b[size-1] = 1, 2
	if b[0] != 1 || a[2*size-1] != 2 {
		t.Error("two mappings of one file differ")
	}
	start := unsafe.Pointer(unsafe.SliceData(b))
	for name, p := range map[string]unsafe.Pointer{
		// SAFETY: nothing lies there, which is what is tested.
		"before": unsafe.Add(start, -1), "behind": unsafe.Add(start, size), "far behind": unsafe.Add(start, size+1<<20),
	} {
		if !faults(p) {
			t.Errorf("the byte %s a mapping can be read", name)
		}
	}
	for _, m := range [][]byte{a, b} {
		if err := UnmapGuarded(m); err != nil {
			t.Error(err)
		}
	}
	if !faults(start) {
		t.Error("memory can be read after it was unmapped")
	}
}

func faults(p unsafe.Pointer) (faulted bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		_, faulted = recover().(runtime.Error)
	}()
	runtime.KeepAlive(*(*byte)(p))
	return false
}
