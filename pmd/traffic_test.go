package pmd

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/packet"
	"weft/internal/sys"
	"weft/pmd/memport"
)

// guardedRx is a memport queue that notices when two threads use it at a time.
type guardedRx struct {
	*memport.RxQueue
	busy       atomic.Bool
	concurrent atomic.Uint64
}

func (g *guardedRx) Receive(b *packet.Batch) int {
	if !g.busy.CompareAndSwap(false, true) {
		g.concurrent.Add(1)
	}
	n := g.RxQueue.Receive(b)
	if n == 0 {
		g.busy.Store(false)
	}
	return n
}

func (g *guardedRx) Release(b *packet.Batch) {
	g.RxQueue.Release(b)
	g.busy.Store(false)
}

// forward transmits every packet to the queue of the port of arrival.
type forward struct {
	tx  map[uint32]*memport.TxQueue // by Batch.InPort
	idx [packet.BatchSize]uint8
}

func newForward(tx map[uint32]*memport.TxQueue) *forward {
	f := &forward{tx: tx}
	for i := range f.idx {
		f.idx[i] = uint8(i)
	}
	return f
}

func (f *forward) Process(b *packet.Batch) { f.tx[b.InPort].Transmit(b, f.idx[:b.Len()]) }

// TestQueueIsMovedUnderTrafficWithoutLoss moves one queue between three threads while packets flow through it and
// through another that must not notice.
func TestQueueIsMovedUnderTrafficWithoutLoss(t *testing.T) {
	const packets = 20_000
	port, err := memport.New(memport.Config{Queues: 2})
	if err != nil {
		t.Fatal(err)
	}
	// Ports 10 and 11 have a transmit queue each, used by the thread that polls the receive queue at the time.
	tx := map[uint32]*memport.TxQueue{10: port.Tx(0), 11: port.Tx(1)}
	m := newManager(t, simulated(t), Config{CPUs: []int{1, 2, 5}, Idle: napping}, func(_, _, _ int) Processor {
		return newForward(tx)
	})
	moved, other := &guardedRx{RxQueue: port.Rx(0)}, &guardedRx{RxQueue: port.Rx(1)}
	qs := []Queue{
		{Port: 10, PortName: "moved", Rx: moved, Node: 0, Pin: -1},
		{Port: 11, PortName: "other", Rx: other, Node: 0, Pin: -1},
	}
	if err := m.SetQueues(qs); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var left atomic.Int32
	left.Store(2)
	for i := range 2 {
		wg.Go(func() {
			defer left.Add(-1)
			pump(t, port, i, packets)
		})
	}
	home, moves := cpuOf(m, "other", 0), 0
	for ; left.Load() > 0; moves++ {
		if err := m.Move("moved", 0, []int{1, 2, 5}[moves%3]); err != nil {
			t.Error(err)
		}
		if moves%7 == 0 {
			if err := m.SetQueues(qs); err != nil { // a reload that changes nothing, in the middle
				t.Error(err)
			}
		}
	}
	wg.Wait()
	if moves < 10 {
		t.Errorf("only %d moves were made while packets flowed", moves)
	}
	if got := cpuOf(m, "other", 0); got != home {
		t.Errorf("the other queue went from CPU %d to %d", home, got)
	}
	for name, g := range map[string]*guardedRx{"moved": moved, "other": other} {
		if n := g.concurrent.Load(); n != 0 {
			t.Errorf("%s was polled by two threads at a time, %d times", name, n)
		}
		if got := statsOf(t, m, name, 0).Packets; got != packets {
			t.Errorf("%s is charged with %d packets, want %d", name, got, packets)
		}
	}
	t.Logf("%d moves while %d packets flowed", moves, packets)
}

// pump sends numbered packets into queue i and checks that each comes back once and in order.
func pump(t *testing.T, port *memport.Port, i, packets int) {
	frame, buf := make([]byte, 200), make([]byte, 200)
	deadline := time.Now().Add(60 * time.Second)
	for sent, received := 0, 0; received < packets; {
		// No more under way than the transmit ring holds, so that nothing is dropped.
		for sent < packets && sent-received < memport.DefaultRingSize {
			binary.BigEndian.PutUint32(frame[150:], uint32(sent)) // in what is lent, not in the window
			if !port.Inject(i, frame) {
				break
			}
			sent++
		}
		n, ok := port.Collect(i, buf)
		if !ok {
			if time.Now().After(deadline) {
				t.Errorf("queue %d: %d of %d packets came back in 60 s", i, received, packets)
				return
			}
			time.Sleep(20 * time.Microsecond)
			continue
		}
		if got := binary.BigEndian.Uint32(buf[150:]); n != len(frame) || got != uint32(received) {
			t.Errorf("queue %d: packet %d of %d bytes came back, want packet %d of %d", i, got, n, received, len(frame))
			return
		}
		received++
	}
}

// TestInPortIsTheQueuesPort gives two queues on one thread different ports.
func TestInPortIsTheQueuesPort(t *testing.T) {
	port, err := memport.New(memport.Config{Queues: 2})
	if err != nil {
		t.Fatal(err)
	}
	m := newManager(t, simulated(t), Config{CPUs: []int{1}, Idle: napping}, func(_, _, _ int) Processor {
		return newForward(map[uint32]*memport.TxQueue{7: port.Tx(1), 8: port.Tx(0)})
	})
	err = m.SetQueues([]Queue{
		{Port: 7, PortName: "a", Rx: port.Rx(0), Node: -1, Pin: -1},
		{Port: 8, PortName: "b", Rx: port.Rx(1), Node: -1, Pin: -1},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{"from a to queue 1", "from b to queue 0"} {
		if !port.Inject(i, []byte(text)) {
			t.Fatal("the ring is full")
		}
		if got := port.Wait(1-i, 1, 10*time.Second); len(got) != 1 || string(got[0]) != text {
			t.Errorf("queue %d transmitted %q, want %q", 1-i, got, text)
		}
	}
}

// TestLoopAllocatesNothing runs the loop itself, on this goroutine, for a number of batches.
func TestLoopAllocatesNothing(t *testing.T) {
	port, err := memport.New(memport.Config{})
	if err != nil {
		t.Fatal(err)
	}
	th := &thread{turn: sys.NoTurn(), batch: packet.NewBatch(nil), processor: newForward(map[uint32]*memport.TxQueue{3: port.Tx(0)})}
	stop := &queueList{stop: true}
	rounds := 0
	last := &fakeRx{receive: func(*packet.Batch) int {
		if rounds--; rounds == 0 {
			th.list.Store(stop)
		}
		return 0
	}}
	work := &queueList{
		queues: []*polledQueue{{rx: port.Rx(0), port: 3}, {rx: &fakeRx{}}, {rx: last}},
		maxNap: 2000,
	}
	frame, buf := make([]byte, 300), make([]byte, 300)
	collected := 0
	allocs := testing.AllocsPerRun(20, func() {
		for range 100 {
			if !port.Inject(0, frame) {
				t.Fatal("the ring is full")
			}
		}
		rounds = spinIterations + 20 // the idle back-off is part of it
		th.list.Store(work)
		th.loop()
		for {
			if _, ok := port.Collect(0, buf); !ok {
				break
			}
			collected++
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations in a run, want none", allocs)
	}
	if collected != 21*100 {
		t.Errorf("%d packets were forwarded, want %d", collected, 21*100)
	}
	if th.counters.naps == 0 {
		t.Error("the loop never napped, so the test did not cover that")
	}
}
