package vhostuser

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"weft/internal/sys"
)

// TestTheBellFollowsTheKickDescriptor: what the front end gives for a transmitq, and for nothing else, wakes a thread.
func TestTheBellFollowsTheKickDescriptor(t *testing.T) {
	b := newBench(t, Config{})
	g := newGuest(t, 1, 64)
	f := dial(t, b.path)
	bell := b.bells[0]
	if bell.CanRing() {
		t.Error("the bell can ring before there is a ring")
	}
	g.start(f)
	rings := func(kick *os.File) bool {
		bell.Clear()
		if _, err := kick.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			t.Fatal(err)
		}
		fds := []unix.PollFd{{Fd: int32(bell.FD()), Events: unix.POLLIN}}
		for range 3 { // Go's own signals may end a wait
			sys.WaitAny(fds, 1e6)
		}
		return fds[0].Revents != 0
	}
	if !bell.CanRing() || !rings(g.kickFDs[1]) || rings(g.kickFDs[0]) {
		t.Errorf("can ring %t, or does not when the transmitq is kicked, or does when the receiveq is", bell.CanRing())
	}
	old := g.kickFDs[1]
	f.must(SetVringKick, encodeU64(1), g.kickFD())
	if !bell.CanRing() || rings(old) || !rings(g.kickFDs[2]) {
		t.Error("the bell did not change over to the new descriptor")
	}
	f.must(SetVringKick, encodeU64(1|vringNoFD))
	if bell.CanRing() {
		t.Error("the bell can ring without a descriptor")
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f.must(SetVringKick, encodeU64(1), int(file.Fd()))
	if bell.CanRing() {
		t.Error("an ordinary file can ring the bell")
	}
	g.post(1, 0, frame, false)
	until(t, "the ring works all the same", func() bool { return g.usedIdx(1) == 1 })
	f.must(SetVringKick, encodeU64(1), g.kickFD())
	f.ask(GetVringBase, state(1, 0))
	if bell.CanRing() {
		t.Error("the bell can ring for a ring that was stopped")
	}
	g.startRing(f, 1, 1)
	if !bell.CanRing() {
		t.Error("the bell cannot ring for a ring that was started again")
	}
	f.close()
	until(t, "the session's descriptors are closed", func() bool { return !bell.CanRing() })
}
