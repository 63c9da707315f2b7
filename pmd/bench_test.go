package pmd

import (
	"fmt"
	"testing"

	"weft/internal/packet"
	"weft/internal/sys"
	"weft/pmd/memport"
)

// BenchmarkIteration is the cost of one iteration of the loop over so many queues that are empty, pause included.
func BenchmarkIteration(b *testing.B) {
	for _, queues := range []int{1, 8} {
		b.Run(fmt.Sprintf("queues=%d", queues), func(b *testing.B) {
			th := &thread{turn: sys.NoTurn(), batch: packet.NewBatch(nil), gapLimits: limitsAt(2_000_000_000)}
			list := &queueList{}
			for range queues - 1 {
				port, err := memport.New(memport.Config{})
				if err != nil {
					b.Fatal(err)
				}
				list.queues = append(list.queues, &polledQueue{rx: port.Rx(0)})
			}
			left := b.N
			list.queues = append(list.queues, &polledQueue{rx: &scriptedRx{func() {
				if left--; left == 0 {
					th.list.Store(&queueList{stop: true})
				}
			}}})
			th.list.Store(list)
			b.ResetTimer()
			th.loop()
		})
	}
}

// scriptedRx is an empty queue that calls a function at each poll.
type scriptedRx struct{ poll func() }

func (q *scriptedRx) Receive(*packet.Batch) int { q.poll(); return 0 }
func (q *scriptedRx) Release(*packet.Batch)     {}
