package numa

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"weft/internal/sys"
)

func newArena(t *testing.T, cfg ArenaConfig) *Arena {
	t.Helper()
	a, err := NewArena(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func TestArenaSaysWhatItGot(t *testing.T) {
	a := newArena(t, ArenaConfig{Node: 0, Size: 3 << 20})
	info := a.Info()
	t.Logf("got %+v", info)
	if info.Size != 4<<20 {
		t.Errorf("size %d, want 3 MiB rounded up to hugepages", info.Size)
	}
	switch info.Pages {
	case HugetlbPages:
		if len(info.Notes) != 0 {
			t.Errorf("hugepages were to be had, but: %q", info.Notes)
		}
	case TransparentPages, OrdinaryPages:
		if len(info.Notes) == 0 || !strings.Contains(info.Notes[0], "vm.nr_hugepages") {
			t.Errorf("no hugepages, but the notes do not tell the operator what to do: %q", info.Notes)
		}
	default:
		t.Errorf("pages %q", info.Pages)
	}
	if got, err := NodeOfMemory(pointer(a.mem)); err == nil && got != info.Node {
		t.Errorf("the memory is on node %d, the arena says %d", got, info.Node)
	}
}

// TestLazyMemoryComesWhenItIsTouched reads what the kernel says of the process, as an operator does.
func TestLazyMemoryComesWhenItIsTouched(t *testing.T) {
	const size = 64 << 20
	resident := func() (kB int) {
		text, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) == 3 && (f[0] == "RssAnon:" || f[0] == "HugetlbPages:") {
				n, err := strconv.Atoi(f[1])
				if err != nil {
					t.Fatal(err)
				}
				kB += n
			}
		}
		return kB
	}
	before := resident()
	a := newArena(t, ArenaConfig{Node: 0, Size: size, Lazy: true})
	b, err := a.Alloc(size, 64)
	if err != nil {
		t.Fatal(err)
	}
	if grown := resident() - before; grown > 16<<10 {
		t.Errorf("%d KiB came before anything was touched: %+v", grown, a.Info())
	}
	for i := 0; i < size; i += 4096 {
		b[i] = 1
	}
	if grown := resident() - before; grown < size>>10 {
		t.Errorf("%d KiB came when everything was touched: %+v", grown, a.Info())
	}
}

func TestArenaOfANodeThatIsNotThereFallsBackAndSaysSo(t *testing.T) {
	a := newArena(t, ArenaConfig{Node: 77, Size: 1 << 20})
	info := a.Info()
	if info.Pages == HugetlbPages {
		t.Errorf("hugepages of node 77: %+v", info)
	}
	if notes := strings.Join(info.Notes, "\n"); !strings.Contains(notes, "node 77") {
		t.Errorf("the notes do not name the node: %q", notes)
	}
	b, err := a.Alloc(1<<20, 64)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] = 1 // it is memory all the same
}

func TestArenaAllocates(t *testing.T) {
	a := newArena(t, ArenaConfig{Node: -1, Size: 64 << 10, Small: true})
	if info := a.Info(); info.Pages != OrdinaryPages || info.Size != 64<<10 || len(info.Notes) != 0 {
		t.Errorf("got %+v, want 64 KiB of ordinary pages without notes", info)
	}
	first, err := a.Alloc(10, 1)
	if err != nil || len(first) != 10 || cap(first) != 10 {
		t.Fatalf("Alloc(10, 1): %d bytes of capacity %d, %v", len(first), cap(first), err)
	}
	second, err := a.Alloc(100, 64)
	if err != nil {
		t.Fatal(err)
	}
	if padding(second, 64) != 0 {
		t.Error("Alloc(100, 64) is not aligned")
	}
	for i := range first {
		first[i] = 0xff
	}
	if !bytes.Equal(second, make([]byte, 100)) {
		t.Error("the second piece is not zero: it overlaps the first, or was never cleared")
	}
	rest := 64<<10 - 164
	if _, err := a.Alloc(rest+1, 1); err == nil {
		t.Error("more than there is was handed out")
	}
	if _, err := a.Alloc(rest, 1); err != nil {
		t.Errorf("the exact rest: %v", err)
	}
	for _, bad := range []struct{ size, align int }{{1, 0}, {1, 3}, {-1, 1}, {1, 1 << 20}} {
		if _, err := a.Alloc(bad.size, bad.align); err == nil {
			t.Errorf("Alloc(%d, %d) succeeded", bad.size, bad.align)
		}
	}
}

func TestArenaAlignsForHugepages(t *testing.T) {
	a := newArena(t, ArenaConfig{Node: -1, Size: 1})
	b, err := a.Alloc(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if padding(b, hugepageSize) != 0 {
		t.Errorf("the arena starts at %p, which no hugepage does", &b[0])
	}
}

func TestArenaPiecesDoNotOverlapWhenAllocatedConcurrently(t *testing.T) {
	a := newArena(t, ArenaConfig{Node: -1, Size: 1 << 20, Small: true})
	var wg sync.WaitGroup
	pieces := make([][]byte, 64)
	for i := range pieces {
		wg.Go(func() {
			b, err := a.Alloc(1<<10, 64)
			if err != nil {
				t.Error(err)
				return
			}
			for j := range b {
				b[j] = byte(i)
			}
			pieces[i] = b
		})
	}
	wg.Wait()
	for i, b := range pieces {
		if !bytes.Equal(b, bytes.Repeat([]byte{byte(i)}, 1<<10)) {
			t.Errorf("piece %d was written by another", i)
		}
	}
}

func TestClosedArenaHandsNothingOut(t *testing.T) {
	a := newArena(t, ArenaConfig{Node: -1, Size: 4096, Small: true})
	for range 2 {
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Alloc(1, 1); err == nil {
		t.Error("a closed arena handed memory out")
	}
}

func TestArenaOfImpossibleSizes(t *testing.T) {
	for _, size := range []int{0, -1, 1 << 60} {
		if _, err := NewArena(ArenaConfig{Node: -1, Size: size}); err == nil {
			t.Errorf("an arena of %d bytes was made", size)
		}
	}
}

func TestNodeOfMemoryThatIsNotMapped(t *testing.T) {
	b, err := sys.MapAnonymous(sys.PageSize())
	if err != nil {
		t.Fatal(err)
	}
	p := pointer(b)
	if node, err := NodeOfMemory(p); err == nil && node < 0 {
		t.Errorf("mapped memory is on node %d", node)
	}
	if err := sys.Unmap(b); err != nil {
		t.Fatal(err)
	}
	if node, err := NodeOfMemory(p); err == nil || node != -1 {
		t.Errorf("unmapped memory is on node %d, %v; want -1 and an error", node, err)
	}
}
