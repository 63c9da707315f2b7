package adminq

import (
	"bytes"
	"testing"
	"time"
)

// FuzzCommands feeds descriptors and buffers to the PF's and a VF's send queue, as a driver gone mad would. Each step of the
// input is an opcode's place in the table (or an opcode), flags, length, parameters, and the buffer's bytes. Whatever they
// say, each command is completed, nothing is written outside of the buffer, and the firmware works afterwards.
func FuzzCommands(f *testing.F) {
	f.Add([]byte{0, 0x30, 16, 1, 0, 0, 0x82, 2, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0xFF, 0})
	f.Add([]byte{40, 0x34, 128, 0, 2, 1, 0, 0, 0, 2, 0, 0x40})
	f.Add(bytes.Repeat([]byte{0x55, 0x34, 0x40, 1, 0, 0, 2}, 20))
	ops := make([]Opcode, 0, 140)
	for op := range uint32(0x10000) {
		if _, has := opcodeNames[Opcode(op)]; has {
			ops = append(ops, Opcode(op))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fz := newFuzzed(t)
		for n := 0; len(data) >= 12 && n < 64; n++ {
			p := fz.ports[data[0]>>7]
			d := Descriptor{
				Opcode: ops[int(data[0]&0x7F)%len(ops)], Flags: uint16(data[1]) << 8 & knownFlags &^ FlagFE,
				DataLen: uint16(data[2]) << (data[3] & 3),
			}
			copy(d.Params[:8], data[4:12])
			data = data[12:]
			size := min(int(d.DataLen), len(data), MaxBuffer)
			canary := bytes.Repeat([]byte{0xA5}, 128)
			copy(p.mem.data[bufAt-memBase:], data[:size])
			copy(p.mem.data[bufAt-memBase+int(d.DataLen):], canary)
			data = data[min(size, 64):]
			d.SetAddress(bufAt)
			done := p.send(d, nil)
			if done.Flags&(FlagDD|FlagCMP) != FlagDD|FlagCMP || Code(done.RetVal) > CodeFileSize {
				t.Fatalf("%+v is completed as %+v", d, done)
			}
			if int(d.DataLen) <= MaxBuffer && !bytes.Equal(p.mem.data[bufAt-memBase+int(d.DataLen):][:128], canary) {
				t.Fatalf("%+v: bytes behind its buffer were written", d)
			}
		}
		fz.stillWorks(t)
	})
}

// fuzzed is a firmware with a PF and a VF.
type fuzzed struct {
	fw    *Firmware
	ports [2]*port
}

func newFuzzed(t *testing.T) *fuzzed {
	t.Helper()
	cfg := DefaultConfig()
	cfg.NVM = make([]uint16, 4096)
	fz := &fuzzed{}
	depth := 0
	fw, err := New(cfg, registerFile{0x100: 1}, Hooks{
		Violation: func(string, ...any) {},
		Trace:     func(string) {},
		AfterFunc: func(_ time.Duration, f func()) {
			if depth++; depth < 4 {
				f()
			}
			depth--
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	fz.fw = fw
	fz.ports[0] = newPort(t, func(m *memory, raise func()) *Pair { return fw.AttachPF(m, raise) })
	fz.ports[1] = newPort(t, func(m *memory, raise func()) *Pair {
		pair, err := fw.AttachVF(0, m, raise)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	})
	for _, p := range fz.ports {
		p.start()
	}
	return fz
}

// stillWorks asks for the version, sends frames through the switch, and resets.
func (fz *fuzzed) stillWorks(t *testing.T) {
	t.Helper()
	for _, p := range fz.ports {
		p.must(OpGetVersion, nil, nil, false)
	}
	s := fz.fw.Switch()
	for _, v := range s.VSIs() {
		h := &Header{
			Dst: mac1, Src: mac2, Tagged: true, TCI: 5, EtherType: 0x800, L3: &L3{DstPort: 80},
			Tunnel: &Tunnel{InnerDst: mac1, Inner: &L3{}},
		}
		for _, verdict := range []Verdict{s.Transmit(v.Number, h), s.Receive(h)} {
			for _, d := range verdict.To {
				if d.VSI == nil || s.VSI(d.VSI.Number) != d.VSI {
					t.Fatalf("delivered to a VSI that does not exist: %+v", d)
				}
			}
		}
	}
	fz.fw.Reset(ResetEMP)
}

// FuzzRegisters writes registers and memory at random: rings that lie anywhere, tails that run anywhere.
func FuzzRegisters(f *testing.F) {
	f.Add([]byte{0, 4, 0, 0, 0, 5, 1, 2, 0x80, 0, 0, 0x10, 1, 4, 0, 0, 0, 31})
	f.Fuzz(func(t *testing.T, data []byte) {
		fz := newFuzzed(t)
		for len(data) >= 6 {
			p := fz.ports[data[0]&1]
			v := uint32(data[2])<<24 | uint32(data[3])<<16 | uint32(data[4])<<8 | uint32(data[5])
			switch side := Side(data[0] >> 1 & 1); {
			case data[1] < 200:
				p.pair.Write(side, Register(data[1]%5), v)
			case data[1] < 230:
				copy(p.mem.data[v%memSize:], data)
			default:
				p.pair.Post(Event{Opcode: OpSendToPF, Buffer: data})
			}
			data = data[6:]
		}
		fz.fw.Reset(ResetEMP)
		for _, p := range fz.ports {
			p.start()
			p.must(OpGetVersion, nil, nil, false)
		}
	})
}
