package virtq_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"weft/internal/sys"
	"weft/vhostuser/vhosttest"
	"weft/vhostuser/virtq"
)

// armedRig is a rig whose receive queue has a bell that watches the guest's kicks.
func armedRig(t *testing.T) (*rig, *sys.Bell) {
	t.Helper()
	r := newRig(t, vhosttest.Config{Mergeable: true})
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

func rang(bell *sys.Bell) bool {
	fds := []unix.PollFd{{Fd: int32(bell.FD()), Events: unix.POLLIN}}
	for range 3 { // Go's own signals may end a wait
		sys.WaitAny(fds, 1e6)
	}
	return fds[0].Revents&unix.POLLIN != 0
}

func TestAGuestKicksAQueueThatIsArmed(t *testing.T) {
	r, bell := armedRig(t)
	tx := r.guest.Tx(0)
	send := func() {
		t.Helper()
		if err := r.guest.Send(0, make([]byte, 60)); err != nil {
			t.Fatal(err)
		}
	}
	noNotify := func() bool { flags, _ := tx.Ring().UsedHead(); return flags&1 != 0 } // VIRTQ_USED_F_NO_NOTIFY
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
	r, bell := armedRig(t)
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
