package pmd

import (
	"sync/atomic"
	"testing"
	"time"

	"weft/internal/packet"
)

// TestFaultWhileAThreadSleepsSparesTheOtherQueue: Arm and Disarm look into a guest's memory, which may go at any time.
func TestFaultWhileAThreadSleepsSparesTheOtherQueue(t *testing.T) {
	for name, inDisarm := range map[string]bool{"arm": false, "disarm": true} {
		t.Run(name, func(t *testing.T) {
			v := newVanishing(t)
			faults := make(chan Fault, 10)
			var attached atomic.Bool
			attached.Store(true)
			touch := func() {
				if attached.Load() {
					v.mem[0]++
				}
			}
			cfg := Config{
				CPUs: []int{1}, Idle: IdleConfig{Mode: IdleSleep, MaxSleep: 10 * time.Microsecond},
				OnFault: owner(v, faults, func() { attached.Store(false) }),
			}
			m := newManager(t, simulated(t), cfg, only(newAbortable(func(*packet.Batch) {})))
			var waits atomic.Int64
			bad := &faultyWaker{arm: touch}
			bad.receive = func(*packet.Batch) int { return 0 }
			if inDisarm {
				bad.arm, bad.disarm = func() {}, touch
			}
			var polls atomic.Int64
			good := &faultyWaker{disarm: func() { waits.Add(1) }}
			good.receive = func(*packet.Batch) int {
				polls.Add(1)
				return 0
			}
			if err := m.SetQueues([]Queue{queue("bad", 0, bad), queue("good", 0, good)}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the thread waits", func() bool { return waits.Load() > 3 })
			v.vanish(t)
			if f := waitFault(t, faults); f.Stage != StageReceive || f.Port != "bad" || !v.contains(f.Addr) {
				t.Fatalf("fault %+v, want one of bad at an address in the mapping", f)
			}
			before := polls.Load()
			eventually(t, "the thread goes on", func() bool { return polls.Load() > before+10 })
			after := waits.Load()
			eventually(t, "it waits again", func() bool { return waits.Load() > after+3 })
			m.Synchronize()
			if n := m.Stats()[0].Faults; n != 1 {
				t.Errorf("%d faults, want 1", n)
			}
		})
	}
}

// faultyWaker is a queue without packets, whose waker runs functions of the test's.
type faultyWaker struct {
	fakeRx
	arm, disarm func()
}

func (q *faultyWaker) Arm() (fd int, ok bool) {
	if q.arm != nil {
		q.arm()
	}
	return -1, true // which ppoll ignores: the wait ends by its limit
}

func (q *faultyWaker) Disarm() {
	if q.disarm != nil {
		q.disarm()
	}
}
