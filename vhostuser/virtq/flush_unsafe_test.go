package virtq

import (
	"runtime"
	"runtime/debug"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestFlushingMemoryThatIsGoneIsAFault: a guest may truncate its memory between the last look at a descriptor and its flushing.
func TestFlushingMemoryThatIsGoneIsAFault(t *testing.T) {
	if !flushingHelps() {
		t.Skip("nothing is flushed on this processor")
	}
	fd, err := unix.MemfdCreate("gone", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, 4096); err != nil {
		t.Fatal(err)
	}
	mem, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(mem) }()
	mem[0] = 1
	if err := unix.Ftruncate(fd, 0); err != nil {
		t.Fatal(err)
	}
	r := Ring{desc: unsafe.Pointer(&mem[0])} // SAFETY: mapped, and as long as what is flushed.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		err, ok := recover().(interface {
			runtime.Error
			Addr() uintptr
		})
		if at := uintptr(r.desc); !ok || err.Addr()&^4095 != at {
			t.Errorf("%v, want a memory fault at %#x", err, at)
		}
	}()
	r.flushLines(span{0, perLine})
}
