package pmd

import (
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/packet"
	"weft/internal/sys"
	"weft/pmd/memport"
)

// runLoop runs the loop on this goroutine over a queue whose n-th Receive returns script(n), until that is negative.
func runLoop(maxNap time.Duration, script func(n int) int) *thread {
	th := &thread{turn: sys.NoTurn(), batch: packet.NewBatch(nil), processor: processFunc(func(*packet.Batch) {})}
	n := 0
	rx := &fakeRx{receive: func(b *packet.Batch) int {
		got := script(n)
		n++
		if got < 0 {
			th.list.Store(&queueList{stop: true})
			return 0
		}
		for range got {
			onePacket(b)
		}
		return got
	}}
	th.list.Store(&queueList{queues: []*polledQueue{{rx: rx}}, maxNap: maxNap.Nanoseconds()})
	th.loop()
	return th
}

func TestNapsBeginAfterManyEmptyIterationsAndAPacketEndsThem(t *testing.T) {
	th := runLoop(2*time.Microsecond, func(n int) int {
		switch {
		case n < spinIterations+5:
			return 0 // the last five are followed by a nap each
		case n == spinIterations+5:
			return 3
		case n <= spinIterations+5+spinIterations-1:
			return 0 // not enough for another nap
		}
		return -1
	})
	if th.counters.naps != 5 {
		t.Errorf("%d naps, want 5", th.counters.naps)
	}
	if got, want := th.iterations.Load(), uint64(2*spinIterations+7); got != want {
		t.Errorf("%d iterations, want %d: the quiescent point must be passed in each", got, want)
	}
}

func TestPollModeNeverNaps(t *testing.T) {
	th := runLoop(0, func(n int) int { return -n / (10 * spinIterations) })
	if th.counters.naps != 0 {
		t.Errorf("%d naps in poll mode", th.counters.naps)
	}
}

func TestNapsGrowToTheBoundAndNotBeyond(t *testing.T) {
	const bound = 64 * time.Microsecond
	var naps []time.Duration
	before := time.Now()
	runLoop(bound, func(n int) int {
		now := time.Now()
		if n > spinIterations {
			naps = append(naps, now.Sub(before))
		}
		before = now
		if n == spinIterations+40 {
			return -1
		}
		return 0
	})
	// Without the bound the naps looked at would last from 1 ms on. One lasts at least what it says unless a signal
	// ends it, and the machine may make it longer: the median tells.
	later := slices.Sorted(slices.Values(naps[10:26]))
	if median := later[len(later)/2]; median < bound || median > 30*bound {
		t.Errorf("after many naps the median takes %v of %v, want a little more than %v", median, later, bound)
	}
}

func TestBusyIdleAndNapCyclesAddUpToTheTime(t *testing.T) {
	burn := func() {
		for start := time.Now(); time.Since(start) < time.Millisecond; {
		}
	}
	start := sys.Cycles()
	th := runLoop(100*time.Microsecond, func(n int) int {
		switch {
		case n < 20:
			burn()
			return 1
		case n < 2*spinIterations:
			return 0
		}
		return -1
	})
	total := sys.Cycles() - start
	c := &th.counters
	sum := c.busy + c.idle + c.napped
	if sum > total || sum < total/100*90 {
		t.Errorf("busy %d + idle %d + nap %d cycles are %d of %d that passed", c.busy, c.idle, c.napped, sum, total)
	}
	if q := th.list.Load(); len(q.queues) != 0 || c.busy == 0 || c.idle == 0 || c.napped == 0 {
		t.Errorf("busy %d, idle %d, nap %d cycles: want some of each", c.busy, c.idle, c.napped)
	}
}

func TestSuspendedTimeIsNotChargedToTheNextPoll(t *testing.T) {
	m := newManager(t, simulated(t), Config{CPUs: []int{1}}, discard)
	var packets atomic.Int64
	rx := &fakeRx{receive: func(b *packet.Batch) int {
		if packets.Load() == 0 {
			return 0
		}
		packets.Add(-1)
		return onePacket(b)
	}}
	if err := m.SetQueues([]Queue{queue("a", 0, rx)}); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	q := m.queues[queueKey{"a", 0}]
	m.mu.Unlock()
	q.suspended.Store(true)
	m.Synchronize()
	before := m.Stats()[0]
	packets.Store(1)
	time.Sleep(200 * time.Millisecond)
	if rx.releases.Load() != 0 {
		t.Error("a suspended queue was polled")
	}
	q.suspended.Store(false)
	eventually(t, "the packet is taken", func() bool { return statsOf(t, m, "a", 0).Packets == 1 })
	after := m.Stats()[0]
	// Far less than the 200 ms, far more than a poll may take on a shared machine.
	if limit := after.TSCHz / 10; after.BusyCycles > limit || after.Queues[0].Cycles > limit {
		t.Errorf("one batch was charged with %d cycles at %d Hz", after.BusyCycles, after.TSCHz)
	}
	if idle := after.IdleCycles - before.IdleCycles; idle < after.TSCHz/10 {
		t.Errorf("of 200 ms of suspension, %d cycles count as idle, at %d Hz", idle, after.TSCHz)
	}
}

func TestIdleModeChangesLive(t *testing.T) {
	m := newManager(t, simulated(t), Config{CPUs: []int{1}, Idle: napping}, discard)
	if err := m.SetQueues([]Queue{queue("a", 0, &fakeRx{})}); err != nil {
		t.Fatal(err)
	}
	sleeps := func() uint64 { return m.Stats()[0].Sleeps }
	eventually(t, "the thread sleeps", func() bool { return sleeps() > 20 })
	tid := m.Stats()[0].TID
	if err := m.Reconfigure(Config{CPUs: []int{1}, Idle: IdleConfig{Mode: IdlePoll}}); err != nil {
		t.Fatal(err)
	}
	m.Synchronize()
	m.Synchronize() // the first may be satisfied by an iteration that began with the old list
	before, iterations := sleeps(), m.Stats()[0].Iterations
	eventually(t, "many iterations pass", func() bool { return m.Stats()[0].Iterations > iterations+5*spinIterations })
	if got := sleeps(); got != before {
		t.Errorf("%d sleeps after poll mode was set", got-before)
	}
	if err := m.Reconfigure(Config{CPUs: []int{1}, Idle: napping}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the thread sleeps again", func() bool { return sleeps() > before+20 })
	if got := m.Stats()[0].TID; got != tid {
		t.Errorf("the change of mode replaced OS thread %d by %d", tid, got)
	}
}

// TestSleepingThreadWakesWithinItsBound lets the thread fall into its longest naps and then sends a packet.
func TestSleepingThreadWakesWithinItsBound(t *testing.T) {
	const bound = 10 * time.Millisecond
	port, err := memport.New(memport.Config{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Idle: IdleConfig{Mode: IdleSleep, MaxSleep: bound}}
	m := newManager(t, thisMachine(t), cfg, func(_, _, _ int) Processor {
		return newForward(map[uint32]*memport.TxQueue{1: port.Tx(0)})
	})
	if err := m.SetQueues([]Queue{queue("a", 0, port.Rx(0))}); err != nil {
		t.Fatal(err)
	}
	frame, buf := make([]byte, 60), make([]byte, 60)
	var delays []time.Duration
	for range 9 {
		time.Sleep(150 * time.Millisecond) // without a bound naps would double to this length
		start := time.Now()
		port.Inject(0, frame)
		for _, ok := port.Collect(0, buf); !ok; _, ok = port.Collect(0, buf) {
			runtime.Gosched()
		}
		delays = append(delays, time.Since(start))
	}
	slices.Sort(delays)
	// The machine is shared: the median must keep the bound, with as much again for the machine.
	if median := delays[len(delays)/2]; median > 2*bound {
		t.Errorf("a sleeping thread took %v (median of %v) to forward a packet, want at most %v", median, delays, bound)
	}
	if m.Stats()[0].Sleeps == 0 {
		t.Error("the thread never slept")
	}
}

// wakingRx is a queue that can wake the thread, by a bell of the test's.
type wakingRx struct {
	fakeRx
	arm      func() (fd int, ok bool)
	armed    int
	disarmed int
}

func (q *wakingRx) Arm() (int, bool) {
	fd, ok := q.arm()
	if ok {
		q.armed++
	}
	return fd, ok
}

func (q *wakingRx) Disarm() { q.disarmed++ }

func TestAThreadWhoseQueuesAllWakeItWaitsForThem(t *testing.T) {
	bell, err := sys.NewBell()
	if err != nil {
		t.Fatal(err)
	}
	defer bell.Close()
	signal, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(signal)
	if err := bell.Watch(signal); err != nil {
		t.Fatal(err)
	}
	th := &thread{turn: sys.NoTurn(), batch: packet.NewBatch(nil), processor: processFunc(func(*packet.Batch) {})}
	var sent, seen atomic.Int64 // nanoseconds
	waits := 0
	begun := time.Now()
	first := &wakingRx{arm: func() (int, bool) {
		bell.Clear()
		if waits++; waits == 3 {
			go func() {
				time.Sleep(2 * time.Millisecond)
				sent.Store(int64(time.Since(begun)))
				sys.KickEvent(signal)
			}()
		}
		return bell.FD(), true
	}}
	first.receive = func(*packet.Batch) int {
		if sent.Load() != 0 {
			seen.Store(int64(time.Since(begun)))
			th.list.Store(&queueList{stop: true})
		}
		return 0
	}
	ready := false // the second queue has packets, once, when the thread is about to sleep
	second := &wakingRx{arm: func() (int, bool) {
		ready = !ready
		return bell.FD(), !ready
	}}
	second.receive = func(*packet.Batch) int { return 0 }
	queues := []*polledQueue{{rx: first, waker: first}, {rx: second, waker: second}}
	th.list.Store(newQueueList(queues, int64(50*time.Microsecond)))
	th.loop()
	if late := time.Duration(seen.Load() - sent.Load()); late > 5*time.Millisecond {
		t.Errorf("woken %v after the signal", late)
	}
	if first.armed == 0 || first.armed != first.disarmed || second.armed != second.disarmed {
		t.Errorf("armed %d and %d times, disarmed %d and %d", first.armed, second.armed, first.disarmed, second.disarmed)
	}
	if first.armed <= second.armed {
		t.Errorf("armed %d and %d times: packets of the second queue did not keep the thread awake", first.armed, second.armed)
	}
	if th.counters.napped == 0 || th.counters.naps == 0 {
		t.Errorf("%d waits took %d cycles", th.counters.naps, th.counters.napped)
	}
}

func TestOneQueueThatCannotWakeKeepsNapsShort(t *testing.T) {
	waker := &wakingRx{arm: func() (int, bool) { return -1, true }}
	l := newQueueList([]*polledQueue{{rx: waker, waker: waker}, {rx: &fakeRx{}}}, 1)
	if l.waiting != nil {
		t.Error("the thread would wait for queues of which one cannot wake it")
	}
}
