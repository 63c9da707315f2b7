package vhosttest_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"weft/vhostuser/vhosttest"
)

// recorder is a back end that can say what it was told and does nothing else: enough to see what a front end makes of
// packed rings. It answers what must be answered.
type recorder struct {
	listener *net.UnixListener
	done     sync.WaitGroup

	offered uint64 // besides VERSION_1, packed rings and protocol features

	mu       sync.Mutex
	features uint64              // as set
	bases    map[uint32][]uint32 // SET_VRING_BASE of each ring
	addrs    map[uint32][3]uint64
	stopped  func(ring uint32) uint32 // the answer to GET_VRING_BASE
}

func newRecorder(t *testing.T, path string, offered uint64) *recorder {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{
		listener: l, offered: offered, bases: make(map[uint32][]uint32), addrs: make(map[uint32][3]uint64),
	}
	r.done.Go(func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			if err := r.serve(conn); !errors.Is(err, io.EOF) {
				t.Errorf("the front end's last message: %v", err)
			}
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.done.Wait()
	})
	return r
}

func (r *recorder) serve(conn *net.UnixConn) error {
	for {
		var h [12]byte
		if _, err := io.ReadFull(conn, h[:]); err != nil {
			return err
		}
		payload := make([]byte, binary.NativeEndian.Uint32(h[8:]))
		if _, err := io.ReadFull(conn, payload); err != nil {
			return err
		}
		req := vhosttest.Request(binary.NativeEndian.Uint32(h[:]))
		if answer := r.handle(req, payload); answer != nil {
			raw := vhosttest.Encode(req, vhosttest.FlagVersion|vhosttest.FlagReply, answer)
			if _, err := conn.Write(raw); err != nil {
				return err
			}
		}
	}
}

func (r *recorder) handle(req vhosttest.Request, payload []byte) (answer []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(payload[at:]) }
	u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(payload[at:]) }
	switch req {
	case vhosttest.GetFeatures:
		return vhosttest.U64(r.offered | vhosttest.FeatureVersion1 | vhosttest.FeaturePacked | vhosttest.FeatureProtocol)
	case vhosttest.SetFeatures:
		r.features = u64(0)
	case vhosttest.SetVringBase:
		r.bases[u32(0)] = append(r.bases[u32(0)], u32(4))
	case vhosttest.SetVringAddr:
		r.addrs[u32(0)] = [3]uint64{u64(8), u64(16), u64(24)} // descriptor, used, available
	case vhosttest.GetVringBase:
		return vhosttest.VringState(u32(0), r.stopped(u32(0)))
	}
	return nil
}

// expectBase checks what the n-th SET_VRING_BASE of the transmitq was, and that it is the last. The front end must have
// synchronized.
func (r *recorder) expectBase(t *testing.T, want uint32, n int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if all := r.bases[1]; len(all) != n || all[n-1] != want {
		t.Fatalf("the bases %#x were sent, want %d of them and %#x as the last", all, n, want)
	}
}

// TestPackedBasesTellWhereRingsGoOn: a front end of packed rings says both positions and both wrap counters when it starts
// a ring (vhost-user, "Vring descriptor indices for packed virtqueues"), after a stop those that the back end said, and after
// the back end's death those that stand in the ring.
func TestPackedBasesTellWhereRingsGoOn(t *testing.T) {
	path := socketPath(t)
	r := newRecorder(t, path, 0)
	g := connect(t, vhosttest.Config{
		Path: path, NoProtocol: true, Packed: true, RingSize: 5, FirstIndex: 8, Verify: true, // 3, wrap counter 0
	})
	d := newEchoDevice(t, g, 1)
	r.mu.Lock()
	r.stopped = func(ring uint32) uint32 {
		end := map[uint32]echoEnd{0: d.rx, 1: d.tx}[ring]
		return uint32(end.avail) | uint32(end.used)<<16
	}
	if want := uint64(vhosttest.FeatureVersion1 | vhosttest.FeaturePacked); r.features != want {
		t.Errorf("features %#x were negotiated, want %#x", r.features, want)
	}
	q := g.Tx(0)
	desc, driver, device := q.Parts()
	if want := [3]uint64{desc.User, device.User, driver.User}; r.addrs[1] != want {
		t.Errorf("the ring's parts were announced as %#x, want %#x", r.addrs[1], want)
	}
	r.mu.Unlock()
	r.expectBase(t, 0x0003_0003, 1)

	traffic(t, d, 4) // 3, 4 with wrap counter 0, then 0, 1 with 1
	for _, step := range []func() error{g.Stop, g.Start} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	r.expectBase(t, 0x8002_8002, 2)
	traffic(t, d, 1)

	// One frame is sent back and not reaped, one is not even seen, and the back end dies.
	for range 2 {
		if err := g.Send(0, make([]byte, 60)); err != nil {
			t.Fatal(err)
		}
	}
	chain, _ := d.take(&d.tx)
	d.give(&d.tx, []echoChain{chain}, []int{0})
	g.HangUp()
	if err := g.Reconnect(); err != nil {
		t.Fatal(err)
	}
	r.expectBase(t, 0x8004_8004, 3)

	d.rx.avail++
	var v *vhosttest.ViolationError
	if err := g.Stop(); !errors.As(err, &v) || v.Section != "2.8.12" {
		t.Errorf("a back end that took a buffer along: got %v, want a violation of section 2.8.12", err)
	}
}
