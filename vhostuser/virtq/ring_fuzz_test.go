package virtq_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"weft/vhostuser/vhosttest"
	"weft/vhostuser/virtq"
)

// fuzzStepLen is the bytes of one step: what to do, where, and two numbers.
const fuzzStepLen = 10

func step(op, a byte, addr, n uint32) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{op, a}, addr)
	return binary.LittleEndian.AppendUint32(b, n)
}

// FuzzRing lets a program of steps write anything into both rings and run the device between. Mutated inputs are best
// minimised briefly (-fuzzminimizetime 5x): the time is better spent on new ones.
func FuzzRing(f *testing.F) {
	const offer, receive, transmit = 2, 7, 8
	for _, program := range [][][]byte{
		{step(0, 0, 0x1000, 100), step(offer, 1, 0, 0), step(receive, 0, 0, 0)},
		{step(0, 1, 0x1000, 12|1<<28), step(offer, 1, 0, 0), step(receive, 0, 0, 0), step(transmit, 0, 0, 0)},
		{step(0, 0, 0x1000, 64|4<<28), step(1, 0, 0x2000, 90), step(offer, 1, 0, 0), step(receive, 0, 0, 0)},
		{step(4, 0x83, 9, 9), step(3, 9, 3, 3), step(receive, 0, 0, 0), step(9, 0, 0, 0), step(receive, 0, 0, 0)},
		{step(0, 0x80, 0x1ffc0, 128|2<<28), step(offer, 0x81, 0, 0), step(transmit, 0, 0, 0)},
	} {
		f.Add(false, bytes.Join(program, nil))
		f.Add(true, bytes.Join(program, nil))
	}
	fuzz(f, false, fuzzSplit)
}

// FuzzPackedRing is the same for packed rings, of a size that is no power of two.
func FuzzPackedRing(f *testing.F) {
	const desc, table, offer, chain, receive, transmit, anew = 0, 1, 2, 6, 7, 8, 9
	for _, program := range [][][]byte{
		{step(offer, 1, 0x1000, 100), step(receive, 0, 0, 0)},
		{step(chain, 3, 0x1000, 12), step(receive, 0, 0, 0), step(anew, 0, 3, 0), step(receive, 0, 0, 0)},
		{step(table, 0, 0x2000, 90), step(offer, 1, 0, 64|4<<28), step(receive, 0, 0, 0), step(4, 0, 5, 0x7fff)},
		{step(offer, 0x81, 0x1ffc0, 128|2<<28), step(transmit, 0, 0, 0), step(3, 0x80, 1, 1), step(transmit, 0, 0, 0)},
		{step(chain, 0x8f, 0x3000, 600|2<<28), step(transmit, 0, 0, 0), step(desc, 0x80, 0x3000, 100|2<<28)},
		{step(offer, 1, 0x1000, 100), step(receive, 0, 0, 0), step(anew, 1, 0x8000, 1), step(receive, 0, 0, 0)},
	} {
		f.Add(false, bytes.Join(program, nil))
		f.Add(true, bytes.Join(program, nil))
	}
	fuzz(f, true, fuzzPacked)
}

// fuzz runs programs, step by step, on a rig with mergeable buffers, used in order, and one without either.
func fuzz(f *testing.F, packed bool, run func(r *rig, q *vhosttest.Queue, op, a byte, addr, n uint32)) {
	vary := func(c *vhosttest.Config) {
		if c.Packed = packed; packed {
			c.RingSize = hostileRing - 3
		}
	}
	rigs := map[bool]*rig{false: hostileRig(f, true, vary), true: hostileRig(f, true, vary, func(c *vhosttest.Config) {
		c.Mergeable, c.InOrder, c.RxBuffer = true, true, 600
	})}
	clean := map[bool][][]byte{false: image(rigs[false].guest), true: image(rigs[true].guest)}
	f.Fuzz(func(t *testing.T, mergeable bool, program []byte) {
		r := rigs[mergeable]
		r.t = t
		for i, l := range r.guest.Memory().Layout() {
			p, _ := r.guest.Memory().At(l.GPA, l.Size)
			copy(p.Bytes, clean[mergeable][i])
		}
		r.attach()
		for ; len(program) >= fuzzStepLen; program = program[fuzzStepLen:] {
			q := r.guest.Tx(0)
			if program[1]&0x80 != 0 {
				q = r.guest.Rx(0)
			}
			addr, n := binary.LittleEndian.Uint32(program[2:]), binary.LittleEndian.Uint32(program[6:])
			run(r, q, program[0], program[1], addr, n)
		}
		if p, _ := r.guest.Memory().At(secretGPA, secretSize); !bytes.Equal(p.Bytes, clean[mergeable][0]) {
			t.Fatal("the device wrote to memory that it was not told of")
		}
	})
}

// fuzzDevice has the device receive, or transmit.
func fuzzDevice(r *rig, receive bool) {
	if !receive {
		r.transmit([][]byte{make([]byte, 60), make([]byte, 1400), make([]byte, 14)}, rand.New(rand.NewPCG(1, 1)))
		return
	}
	n := r.rx.Receive(r.batch)
	r.segmentsInside(n)
	if n > 0 {
		r.rx.Release(r.batch)
	}
}

// fuzzDesc is a descriptor whose address is made to hit memory often.
func fuzzDesc(addr, n uint32) vhosttest.Desc {
	d := vhosttest.Desc{
		Addr: lowGPA + uint64(addr&0x7ffff), Len: n & 0xffff, Flags: uint16(n >> 28), Next: uint16(n>>20) & 0x1f,
	}
	if addr>>24 == 0xff {
		d.Addr, d.Len = ^uint64(addr&0xffff), n
	}
	return d
}

// fuzzTable writes an indirect table's descriptor, or anything else in memory.
func fuzzTable(r *rig, a byte, d vhosttest.Desc) {
	if p, err := r.guest.Memory().At(lowGPA+uint64(a&0x7f)*16, 16); err == nil {
		_ = r.guest.Memory().WriteDescs(p.GPA, d)
	}
}

// fuzzSplit writes one field.
func fuzzSplit(r *rig, q *vhosttest.Queue, op, a byte, addr, n uint32) {
	ring, d := q.Ring(), fuzzDesc(addr, n)
	switch op % 10 {
	case 0:
		ring.SetDesc(uint32(a), d)
	case 1:
		fuzzTable(r, a, d)
	case 2:
		ring.Offer(uint16(addr))
	case 3:
		ring.SetAvailHead(uint16(n), uint16(addr))
	case 4:
		ring.SetAvail(uint16(a), uint16(addr))
	case 5:
		ring.SetUsedHead(uint16(n), uint16(addr))
	case 6:
		ring.SetUsed(uint16(a), vhosttest.UsedElem{ID: addr, Len: n})
	case 7, 8:
		fuzzDevice(r, op%10 == 7)
	case 9: // the guest starts anew
		_, used := ring.UsedHead()
		ring.SetAvailHead(0, used)
		r.attach()
	}
}

// fuzzPacked does the same to a packed ring. Chains are offered where the device is, or how far behind the address says.
func fuzzPacked(r *rig, q *vhosttest.Queue, op, a byte, addr, n uint32) {
	ring, d := q.PackedRing(), fuzzDesc(addr, n)
	p := vhosttest.PackedDesc{Addr: d.Addr, Len: d.Len, ID: d.Next, Flags: d.Flags}
	devices := map[*vhosttest.Queue]*virtq.Ring{r.guest.Tx(0): r.rxRing, r.guest.Rx(0): r.txRing}
	at := ring.Advance(uint16(devices[q].Base()), uint16(addr>>20)&7)
	switch op % 10 {
	case 0:
		ring.SetDesc(uint32(a), p)
	case 1:
		fuzzTable(r, a, vhosttest.Desc{Addr: d.Addr, Len: d.Len, Flags: d.Next, Next: d.Flags})
	case 2:
		ring.Offer(at, p)
	case 3:
		ring.SetDriverEvent(uint16(n), uint16(addr))
	case 4:
		ring.SetState(uint32(a), uint16(addr), uint16(n))
	case 5:
		ring.SetDeviceEvent(uint16(n), uint16(addr))
	case 6: // as long as a says
		chain := make([]vhosttest.PackedDesc, 1+a&0x0f)
		for i := range chain {
			chain[i] = p
			chain[i].Flags |= next
		}
		chain[len(chain)-1].Flags = p.Flags
		ring.Offer(at, chain...)
	case 7, 8:
		fuzzDevice(r, op%10 == 7)
	case 9: // another device comes, which believes the base or not
		fuzzAnew(r, q, uint32(uint16(addr)), n&1 != 0)
	}
}

// fuzzAnew attaches rings that go on at the base for q's, and where they began for the other.
func fuzzAnew(r *rig, q *vhosttest.Queue, base uint32, old bool) {
	r.attach()
	cfg := r.ringConfig(q)
	cfg.Base, cfg.OldBase = base, old
	ring, err := virtq.NewRing(cfg)
	switch {
	case err != nil:
	case q == r.guest.Tx(0):
		r.rxRing = ring
		r.rx.Attach(ring)
	default:
		r.txRing = ring
		r.tx.Attach(ring)
	}
}
