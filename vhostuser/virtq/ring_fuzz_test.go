package virtq_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"weft/vhostuser/vhosttest"
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
	rigs := map[bool]*rig{false: hostileRig(f, true), true: hostileRig(f, true, func(c *vhosttest.Config) {
		c.Mergeable, c.RxBuffer = true, 600
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
			addr, n := binary.LittleEndian.Uint32(program[2:]), binary.LittleEndian.Uint32(program[6:])
			fuzzStep(r, program[0], program[1], addr, n)
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

// fuzzStep writes one field. The high bit of a chooses the ring; addresses are made to hit memory often.
func fuzzStep(r *rig, op, a byte, addr, n uint32) {
	q := r.guest.Tx(0)
	if a&0x80 != 0 {
		q = r.guest.Rx(0)
	}
	ring := q.Ring()
	d := vhosttest.Desc{
		Addr: lowGPA + uint64(addr&0x7ffff), Len: n & 0xffff, Flags: uint16(n >> 28), Next: uint16(n >> 20),
	}
	if addr>>24 == 0xff {
		d.Addr, d.Len = ^uint64(addr&0xffff), n
	}
	d.Next &= 0x1f
	switch op % 10 {
	case 0:
		ring.SetDesc(uint32(a), d)
	case 1: // an indirect table, or anything else in memory
		if p, err := r.guest.Memory().At(lowGPA+uint64(a&0x7f)*16, 16); err == nil {
			_ = r.guest.Memory().WriteDescs(p.GPA, d)
		}
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
