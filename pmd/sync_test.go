package pmd

import (
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/packet"
)

// resource is something that a control goroutine retires while PMD threads use it.
type resource struct{ retired atomic.Bool }

// TestNothingRetiredIsUsedAfterSynchronize publishes, unpublishes and retires a resource that processors hold on to for
// the length of a batch.
func TestNothingRetiredIsUsedAfterSynchronize(t *testing.T) {
	var current atomic.Pointer[resource]
	current.Store(&resource{})
	var used, misused atomic.Uint64
	m := newManager(t, simulated(t), Config{CPUs: []int{1, 5}, Idle: napping}, func(_, _, _ int) Processor {
		return processFunc(func(*packet.Batch) {
			r := current.Load()
			for range 200 {
				if r.retired.Load() {
					misused.Add(1)
				}
			}
			used.Add(1)
		})
	})
	if err := m.SetQueues([]Queue{
		queue("a", 0, &fakeRx{receive: onePacket}), queue("b", 0, &fakeRx{receive: onePacket}),
	}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 2 { // Synchronize may be called by several at a time
		wg.Go(func() {
			for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
				old := current.Swap(&resource{})
				m.Synchronize()
				old.retired.Store(true)
			}
		})
	}
	wg.Wait()
	if misused.Load() != 0 || used.Load() == 0 {
		t.Errorf("of %d batches, %d looks were at a retired resource", used.Load(), misused.Load())
	}
}

// TestSynchronizeWaitsForTheBatchThatIsUnderWay holds a thread in the middle of a batch.
func TestSynchronizeWaitsForTheBatchThatIsUnderWay(t *testing.T) {
	// While a PMD thread stays in its batch a collection would wait for it, and this test for the collection.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.GC()
	var entered, leave atomic.Bool
	m := newManager(t, simulated(t), Config{CPUs: []int{1, 5}, Idle: napping}, func(_, _, _ int) Processor {
		return processFunc(func(*packet.Batch) {
			for first := entered.CompareAndSwap(false, true); first && !leave.Load(); { // a PMD thread must not block
			}
		})
	})
	if err := m.SetQueues([]Queue{queue("a", 0, &fakeRx{receive: onePacket})}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a batch is under way", entered.Load)
	var order []string
	done := make(chan struct{})
	var mu sync.Mutex
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, s)
	}
	go func() {
		m.Synchronize()
		note("synchronized")
		close(done)
	}()
	time.Sleep(30 * time.Millisecond)
	note("batch over")
	leave.Store(true)
	<-done
	if want := []string{"batch over", "synchronized"}; !slices.Equal(order, want) {
		t.Errorf("%v, want %v", order, want)
	}
}

func TestSynchronizeEndsWhileThreadsComeAndGo(t *testing.T) {
	m := newManager(t, simulated(t), Config{CPUs: []int{1}, Idle: napping}, discard)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				m.Synchronize()
			}
		}
	})
	for i := range 10 {
		if err := m.Reconfigure(Config{CPUs: []int{1 + i%3, 5 + i%2}, Idle: napping}); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}
