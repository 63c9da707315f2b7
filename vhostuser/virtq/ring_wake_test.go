package virtq_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"weft/internal/sys"
	"weft/vhostuser/vhosttest"
	"weft/vhostuser/virtq"
)

// armedRig is a rig whose receive queue has a bell that watches the guest's kicks.
func armedRig(t *testing.T, packed bool) (*rig, *sys.Bell) {
	t.Helper()
	r := newRig(t, vhosttest.Config{Mergeable: true, Packed: packed})
	bell, err := sys.NewBell()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bell.Close() })
	if err := bell.Watch(r.guest.Tx(0).KickFD()); err != nil {
		t.Fatal(err)
	}
	r.rx = virtq.NewRxQueue(func() { r.errors.Add(1) }, bell)
	r.rx.Attach(r.rxRing)
	return r, bell
}

func rang(bell *sys.Bell) bool { return readable(bell.FD()) }

func readable(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for range 3 { // Go's own signals may end a wait
		sys.WaitAny(fds, 1e6)
	}
	return fds[0].Revents&unix.POLLIN != 0
}

func TestAGuestKicksAQueueThatIsArmed(t *testing.T) {
	t.Run("split", func(t *testing.T) { kicks(t, false) })
	t.Run("packed", func(t *testing.T) { kicks(t, true) })
}

func kicks(t *testing.T, packed bool) {
	r, bell := armedRig(t, packed)
	tx := r.guest.Tx(0)
	send := func() {
		t.Helper()
		if err := r.guest.Send(0, make([]byte, 60)); err != nil {
			t.Fatal(err)
		}
	}
	noNotify := func() bool {
		if packed {
			_, flags := tx.PackedRing().DeviceEvent()
			return flags == vhosttest.EventsDisable
		}
		flags, _ := tx.Ring().UsedHead()
		return flags&1 != 0 // VIRTQ_USED_F_NO_NOTIFY
	}
	if !noNotify() {
		t.Fatal("a queue that is polled asks for kicks")
	}
	send()
	if rang(bell) {
		t.Error("the guest kicked a queue that is polled")
	}
	if _, ok := r.rx.Arm(); ok || !noNotify() {
		t.Errorf("armed %t, no kicks %t, though a frame waits", ok, noNotify())
	}
	if n := r.poll(func([]byte) {}); n != 1 {
		t.Fatalf("%d frames", n)
	}
	for range 3 {
		fd, ok := r.rx.Arm()
		if !ok || fd != bell.FD() || noNotify() {
			t.Fatalf("armed %t with descriptor %d, no kicks %t", ok, fd, noNotify())
		}
		send()
		if !rang(bell) {
			t.Error("the guest did not kick")
		}
		if r.rx.Disarm(); !noNotify() {
			t.Error("kicks are asked for after Disarm")
		}
		if n := r.poll(func([]byte) {}); n != 1 {
			t.Fatalf("%d frames", n)
		}
	}
	r.healthy()
}

func TestArmingFindsWhatIsWrong(t *testing.T) {
	r, bell := armedRig(t, false)
	r.rx.Detach()
	if fd, ok := r.rx.Arm(); !ok || fd != bell.FD() {
		t.Errorf("without a ring: %d, %t; there will be no packets", fd, ok)
	}
	r.rx.Disarm()
	r.rx.Attach(r.rxRing)
	r.guest.Tx(0).Ring().SetAvailHead(0, 40000)
	if _, ok := r.rx.Arm(); ok || r.errors.Load() != 1 || r.rxRing.Err() == nil {
		t.Errorf("armed %t, %d errors told, ring: %v", ok, r.errors.Load(), r.rxRing.Err())
	}
	if fd, ok := r.rx.Arm(); !ok || fd != bell.FD() || r.errors.Load() != 1 {
		t.Errorf("a broken ring: %d, %t, %d errors told", fd, ok, r.errors.Load())
	}
	if err := bell.Forget(r.guest.Tx(0).KickFD()); err != nil {
		t.Error(err)
	}
	if _, ok := r.rx.Arm(); ok {
		t.Error("armed, though nobody can kick")
	}
	if _, ok := virtq.NewRxQueue(func() {}, nil).Arm(); ok {
		t.Error("armed without a bell")
	}
}

// TestOnlyOneValueOfAPackedRingsEventFlagsStopsInterrupts: without EVENT_IDX the other three ask for them, whatever stands
// beside (virtio 1.3 §2.8.10).
func TestOnlyOneValueOfAPackedRingsEventFlagsStopsInterrupts(t *testing.T) {
	r, _ := armedRig(t, true)
	q := r.guest.Rx(0)
	for i, flags := range []uint16{0, 1, 2, 3, 4, 5, 0xfffc, 0xfffd, 0xfffe, 0xffff} {
		q.PackedRing().SetDriverEvent(uint16(i)*0x5555, flags)
		r.transmit([][]byte{make([]byte, 60)}, nil)
		if got, want := readable(q.CallFD()), flags&3 != vhosttest.EventsDisable; got != want {
			t.Errorf("event flags %#x: interrupted %v, want %v", flags, got, want)
		} else if want {
			var count [8]byte
			if _, err := unix.Read(q.CallFD(), count[:]); err != nil || count[0] != 1 {
				t.Errorf("event flags %#x: %d interrupts for a frame: %v", flags, count[0], err)
			}
		}
	}
	r.healthy()
}
