package adminq

import (
	"slices"
	"strings"
	"testing"
)

// vfMessage is a VF's, as iavf sends it.
func vfMessage(op uint32, msg []byte) Descriptor {
	d := Descriptor{Opcode: OpSendToPF, Flags: FlagSI, CookieHigh: op, CookieLow: 7, DataLen: uint16(len(msg))}
	if len(msg) > 0 {
		d.Flags |= FlagBUF | FlagRD
	}
	return d
}

func TestMessagesBetweenVFAndPF(t *testing.T) {
	r := newRig(t, func(c *Config) { c.FirstVF, c.VFs = 64, 8 })
	vf := r.addVF(t, 3)
	if d := vf.send(vfMessage(6, []byte("configure")), []byte("configure")); Code(d.RetVal) != CodeOK {
		t.Fatalf("%s", Code(d.RetVal))
	}
	d, msg, ok := r.event()
	if !ok || d.Opcode != OpSendToPF || d.RetVal != 67 || d.CookieHigh != 6 || d.CookieLow != 7 ||
		string(msg) != "configure" {
		t.Errorf("the PF gets %v %+v %q", ok, d, msg)
	}
	if line := r.lines[len(r.lines)-1]; !strings.HasPrefix(line, "VF3 aq send_msg_to_pf (0801)") ||
		!strings.HasSuffix(line, " message=6 status=7 -> OK") {
		t.Errorf("trace %q", line)
	}
	// Without a message (RESET_VF).
	vf.send(vfMessage(2, nil), nil)
	if d, msg, ok := r.event(); !ok || d.CookieHigh != 2 || len(msg) != 0 {
		t.Errorf("the PF gets %v %+v %q", ok, d, msg)
	}

	answer := Descriptor{
		Opcode: OpSendToVF, Flags: FlagSI | FlagBUF | FlagRD, CookieHigh: 6, CookieLow: 0xFFFFFFFB, DataLen: 4,
	}
	copy(answer.Params[:], params32(67))
	if d := r.send(answer, []byte("fine")); Code(d.RetVal) != CodeOK {
		t.Fatalf("%s", Code(d.RetVal))
	}
	d, msg, ok = vf.event()
	if !ok || d.Opcode != OpSendToVF || d.CookieHigh != 6 || d.CookieLow != 0xFFFFFFFB || string(msg) != "fine" ||
		vf.raised == 0 {
		t.Errorf("the VF gets %v %+v %q, %d interrupts", ok, d, msg, vf.raised)
	}
	r.want(CodeNoEnt, OpSendToVF, params32(63), nil, false)
	r.want(CodeNoEnt, OpSendToVF, params32(72), nil, false)
	r.want(CodeNXIO, OpSendToVF, params32(65), nil, false) // nothing is plugged in there
	vf.pair.Write(Receive, LEN, 0)
	r.want(CodeNXIO, OpSendToVF, params32(67), nil, false)
	r.want(CodeNXIO, OpSendToPeer, params32(1), nil, false)
	r.fw.DetachVF(3)
	if r.fw.VF(3) != nil {
		t.Error("the VF is still there")
	}
}

func TestMessagesWithoutPFDriverAreLost(t *testing.T) {
	r := newRig(t)
	vf := r.addVF(t, 0)
	r.pair.Write(Receive, LEN, 0)
	if d := vf.send(vfMessage(1, nil), nil); Code(d.RetVal) != CodeNoSpc {
		t.Errorf("%s", Code(d.RetVal))
	}
}

// echo is a mailbox that answers with what it gets.
type echo struct {
	fw  *Firmware
	got []uint32
}

func (e *echo) FromVF(vf int, op, status uint32, msg []byte) {
	e.got = append(e.got, op)
	e.fw.SendToVF(vf, op, status+1, msg)
}

func TestTheModelAnswersInThePFsStead(t *testing.T) {
	r := newRig(t)
	vf := r.addVF(t, 1)
	e := &echo{fw: r.fw}
	r.fw.SetMailbox(e)
	vf.send(vfMessage(1, []byte("version?")), []byte("version?"))
	d, msg, ok := vf.event()
	if !ok || d.CookieHigh != 1 || d.CookieLow != 8 || string(msg) != "version?" || !slices.Equal(e.got, []uint32{1}) {
		t.Errorf("%v %+v %q", ok, d, msg)
	}
	if _, _, ok := r.event(); ok {
		t.Error("the PF driver got it as well")
	}
	if r.fw.SendToVF(9, 1, 0, nil) {
		t.Error("a message to no VF was delivered")
	}
}

// resetter resets its VF while the message that asks for it is being executed.
type resetter struct{ vf *Pair }

func (m *resetter) FromVF(int, uint32, uint32, []byte) { m.vf.Reset() }

func TestAVFIsResetByItsOwnMessage(t *testing.T) {
	r := newRig(t)
	vf := r.addVF(t, 1)
	r.fw.SetMailbox(&resetter{vf: vf.pair})
	vf.send(vfMessage(2, nil), nil)
	if vf.pair.Read(Send, LEN) != 0 || vf.pair.Read(Send, HEAD) != 0 {
		t.Errorf("LEN %#x, head %d after the reset", vf.pair.Read(Send, LEN), vf.pair.Read(Send, HEAD))
	}
	if d := vf.get(asqAt, 0); d.Flags&FlagDD != 0 {
		t.Error("a completion was written to a ring that is gone")
	}
}

func TestResetsAndVFs(t *testing.T) {
	r := newRig(t)
	vf := r.addVF(t, 1)
	r.fw.Reset(ResetPF)
	if vf.pair.Read(Send, LEN) == 0 {
		t.Error("a PF reset took the VF's queue")
	}
	r.fw.Reset(ResetCore)
	if vf.pair.Read(Send, LEN) != 0 {
		t.Error("a core reset left the VF's queue")
	}
}

func TestExecuteWithoutRing(t *testing.T) {
	r := newRig(t)
	buf := make([]byte, 24)
	d := Descriptor{Opcode: OpReadMAC, Flags: FlagBUF}
	if code := r.fw.Execute(&d, buf); code != CodeOK || MAC(buf[:6]) != r.fw.MAC() || d.Flags&FlagDD == 0 {
		t.Errorf("%s, % x", code, buf)
	}
	d = Descriptor{Opcode: OpReadMAC, Flags: FlagBUF}
	if code := r.fw.Execute(&d, buf[:5]); code != CodeNoMem {
		t.Errorf("%s", code)
	}
	r.expect("needs 24")
	if n := r.fw.Counts()[OpReadMAC]; n != 0 {
		t.Errorf("counted %d times as a driver's", n)
	}
	d = Descriptor{Opcode: 0x7777}
	if code := r.fw.Execute(&d, nil); code != CodeSrch {
		t.Errorf("%s", code)
	}
	r.expect("unknown")
}
