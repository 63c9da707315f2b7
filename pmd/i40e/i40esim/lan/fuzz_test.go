package lan

import (
	"encoding/binary"
	"testing"

	"weft/pmd/i40e/i40esim/frame"
)

// FuzzTransmit puts noise into a ring and wants: no panic, frames within the limits, a head that moves to the tail or an
// event that says why not, and no write outside of the descriptors' quad word 1.
func FuzzTransmit(f *testing.F) {
	add := func(words ...uint64) {
		var b []byte
		for _, w := range words {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
		f.Add(b, uint8(len(words)/2), false)
		f.Add(b, uint8(len(words)/2), true)
	}
	o := offloadFor(0)
	add(bufferAt, dataWord(cmdEOP|cmdRS, o, 1000, 0))
	add(0, ctxWord(ctxTSO, 946, 300), bufferAt, dataWord(0, o, 500, 0), bufferAt+500, dataWord(cmdEOP|cmdTag1, o, 500, 7))
	w0, w1 := filterWords(sampleFilter())
	add(w0, w1, bufferAt, dataWord(cmdEOP|cmdRS|cmdDummy, frame.Offload{}, 512, 0))
	add(3|5<<2|1<<9|15<<12|7<<32, ctxWord(ctxTag2, 0, 0), bufferAt, dataWord(cmdEOP, o, 300, 7))
	add(bufferAt, dataWord(0, o, 16383, 0), bufferAt, dataWord(cmdEOP, o, 16383, 0))
	f.Fuzz(func(t *testing.T, ring []byte, tail uint8, headWB bool) {
		r := newTxRing(t, func(c *TxContext) {
			if headWB {
				c.HeadWB, c.HeadWBAddr = true, headWBAt
			}
		})
		copy(r.mem[bufferAt-hostBase:], tcpFrame(t, 4000))
		n := min(len(ring)/txDescLen, int(tail%64))
		copy(r.mem[:n*txDescLen], ring)
		r.q.SetTail(uint32(n))
		r.q.Run(func(p *Packet) {
			if len(p.Frame)+CRCLen > MaxFrame || len(p.Frame) < MinPacket {
				t.Fatalf("a frame of %d bytes", len(p.Frame))
			}
		})
		r.q.Flush()
		if r.q.Stopped() != (len(r.events) == 1) || len(r.events) > 1 || r.q.Stopped() && len(r.violations) == 0 {
			t.Fatalf("stopped %v, events %v, violations %q", r.q.Stopped(), r.events, r.violations)
		}
		if int(r.q.Head()) > n {
			t.Fatalf("head %d, tail %d", r.q.Head(), n)
		}
		for i := range n {
			if got, want := r.u64(r.descAt(i)), binary.LittleEndian.Uint64(ring[i*txDescLen:]); got != want {
				t.Fatalf("descriptor %d: address %#x became %#x", i, want, got)
			}
		}
	})
}

// FuzzReceive delivers any bytes to a ring of any descriptors: what the host then sees must be the frame, whole.
func FuzzReceive(f *testing.F) {
	f.Add(tcpFrame(f, 100), []byte{0}, uint8(0xFF))
	f.Add(tcpFrame(f, 3000, 5, 6), []byte{1, 2, 3}, uint8(0x15))
	f.Add([]byte{1}, []byte{}, uint8(0x02))
	f.Fuzz(func(t *testing.T, b, noise []byte, flags uint8) {
		r := newRxRing(t, func(c *RxContext) {
			c.Long, c.L2TSel, c.StripCRC, c.ShowIV = flags&1 != 0, flags&2 != 0, flags&4 != 0, flags&8 != 0
		})
		if len(noise) > 0 {
			copy(r.mem[:r.descLen()*int(r.ctx.Len)], noise)
		}
		m := metaOf(b)
		m.Strip, m.TagMode = int(flags>>4&3), TagMode(flags>>6)
		v := r.q.Deliver(b, m)
		r.q.Flush()
		if r.q.Stopped() != (len(r.events) == 1) || (v == Stopped) != r.q.Stopped() {
			t.Fatalf("verdict %d, stopped %v, events %v", v, r.q.Stopped(), r.events)
		}
		if (v == Oversize) != (len(b)+CRCLen > r.ctx.RxMax) && v != Stopped {
			t.Fatalf("verdict %d for %d bytes", v, len(b))
		}
		if v != Received {
			return
		}
		total, i := 0, 0
		for ; ; i++ {
			if !r.done(i) {
				t.Fatalf("descriptor %d of the frame is not done", i)
			}
			total += r.length(i)
			if r.word(i, 1)&rxEOF != 0 {
				break
			}
		}
		want := len(b)
		if !r.ctx.StripCRC {
			want += CRCLen
		}
		if total > want || total < want-3*frame.TagLen || int(r.q.Head()) != i+1 {
			t.Fatalf("%d bytes arrived of %d, head %d", total, want, r.q.Head())
		}
	})
}
