package virtq_test

import (
	"fmt"
	"testing"
	"time"

	"weft/internal/packet"
	"weft/vhostuser/vhosttest"
	"weft/vhostuser/virtq"
)

var frameSizes = []int{64, 1500, 9000}

// benchRig is a guest for frames of one size, as Linux makes its buffers: those to receive into take 2048 bytes if they can be
// merged, the longest frame if not.
func benchRig(b *testing.B, size int, mergeable bool) *rig {
	cfg := vhosttest.Config{Mergeable: mergeable, MaxFrame: size, SlotSize: max(2048, size+virtq.HeaderMergeable)}
	if mergeable {
		cfg.RxBuffer = 2048
	}
	return newRig(b, cfg)
}

func reportPackets(b *testing.B, took time.Duration, packets int) {
	b.ReportMetric(float64(took.Nanoseconds())/float64(packets), "ns/packet")
	b.ReportMetric(float64(packets)/took.Seconds(), "packets/s")
}

// BenchmarkReceive is a batch received and released; ns/packet leaves out the guest that sends it.
func BenchmarkReceive(b *testing.B) {
	for _, size := range frameSizes {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			r := benchRig(b, size, true)
			frames := make([][]byte, packet.BatchSize)
			for i := range frames {
				frames[i] = make([]byte, size)
			}
			var took time.Duration
			packets := 0
			for b.Loop() {
				if n, err := r.guest.Tx(0).SendBurst(frames); n != len(frames) || err != nil {
					b.Fatalf("%d frames sent: %v", n, err)
				}
				start := time.Now()
				packets += r.rx.Receive(r.batch)
				r.rx.Release(r.batch)
				took += time.Since(start)
			}
			reportPackets(b, took, packets)
			if n := r.rx.Counters().Packets; n != uint64(packets) || packets%packet.BatchSize != 0 {
				b.Fatalf("%d frames received, %d counted", packets, n)
			}
			r.healthy()
		})
	}
}

// BenchmarkTransmit is a batch transmitted; ns/packet leaves out the guest that takes it.
func BenchmarkTransmit(b *testing.B) {
	for _, mergeable := range []bool{true, false} {
		for _, size := range frameSizes {
			b.Run(fmt.Sprintf("mergeable=%v/size=%d", mergeable, size), func(b *testing.B) {
				r := benchRig(b, size, mergeable)
				frame := make([]byte, size)
				idx := make([]uint8, packet.BatchSize)
				r.batch.Reset()
				for i := range idx {
					idx[i] = uint8(i)
					p := r.batch.Add(min(size, packet.WindowSize))
					if size > packet.WindowSize {
						r.batch.AddSegment(p, packet.SegmentOf(frame[packet.WindowSize:]))
					}
				}
				var took time.Duration
				packets := 0
				for b.Loop() {
					start := time.Now()
					r.tx.Transmit(r.batch, idx)
					took += time.Since(start)
					n, _, err := r.guest.Rx(0).Drain(len(idx))
					if n != len(idx) || err != nil {
						b.Fatalf("%d of %d frames arrived: %v", n, len(idx), err)
					}
					packets += n
				}
				reportPackets(b, took, packets)
				r.healthy()
			})
		}
	}
}
