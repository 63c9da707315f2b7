package wire

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"weft/internal/sys"
)

// inNamespace runs f on a thread that is in a network namespace of its own. The runtime ends the thread with its
// goroutine, and the namespace with it.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skipped: tap interfaces and network namespaces need root")
	}
	if _, err := os.Stat(sys.TunDevice); err != nil {
		t.Skipf("skipped: no %s here: %v", sys.TunDevice, err)
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		ns, err := netns.New()
		if err != nil {
			t.Errorf("a network namespace: %v", err)
			return
		}
		defer ns.Close()
		f()
	}()
	<-done
}

const etherTypeTest = 0x88b5 // for local experiments

func etherFrame(n, number int) []byte {
	f := frame(n, number)
	copy(f, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1})
	binary.BigEndian.PutUint16(f[12:], etherTypeTest)
	return f
}

// packetSocket sends and receives the test's frames on an interface, as the kernel's side.
func packetSocket(t *testing.T, name string) int {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	const proto = etherTypeTest>>8 | etherTypeTest&0xff<<8 // in network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: link.Attrs().Index}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestTapCarriesFramesOfEverySize(t *testing.T) {
	inNamespace(t, func() {
		tap, err := OpenTap("wiretest%d", MaxMTU)
		if err != nil {
			t.Error(err)
			return
		}
		defer tap.Close()
		link, err := netlink.LinkByName(tap.Name())
		if err != nil {
			t.Error(err)
			return
		}
		if a := link.Attrs(); a.Name != "wiretest0" || a.MTU != MaxMTU || a.Flags&net.FlagUp == 0 {
			t.Errorf("the interface is %+v", a)
		}
		kernel := packetSocket(t, tap.Name())
		var got sink
		tap.Start(func(f []byte) {
			if binary.BigEndian.Uint16(f[12:]) == etherTypeTest { // and not what the kernel sends by itself
				got.receive(f)
			}
		})
		b := make([]byte, 1<<16)
		for i, size := range []int{14, 60, 1514, 9014, MaxFrame - 4, MaxFrame} {
			f := etherFrame(size, i)
			tap.Send(f)
			n, err := unix.Read(kernel, b)
			if err != nil || !bytes.Equal(b[:n], f) {
				t.Errorf("to the kernel, %d bytes: %d arrive, %v", size, n, err)
			}
			if size > MaxMTU+14 {
				continue // the kernel may not send it
			}
			if _, err := unix.Write(kernel, f); err != nil {
				t.Errorf("%d bytes: %v", size, err)
				continue
			}
			until(t, "the frame", func() bool { return len(got.all()) == i+1 })
			for len(f) < MinFrame {
				f = append(f, 0)
			}
			if !bytes.Equal(got.all()[i], f) {
				t.Errorf("from the kernel, %d bytes: %d arrive", size, len(got.all()[i]))
			}
		}
		tap.Send(make([]byte, MaxFrame+1))
		tap.Send(make([]byte, 3))
		if s := tap.Stats(); s.Sent != 6 || s.Dropped != 2 || s.Received < 5 {
			t.Errorf("counted %+v", s)
		}
	})
}

func TestTapGoesWithClose(t *testing.T) {
	inNamespace(t, func() {
		for range 3 {
			tap, err := OpenTap("wiretest", 0)
			if err != nil {
				t.Error(err)
				return
			}
			tap.Start(func([]byte) {})
			if _, err := OpenTap("wiretest", 0); err == nil {
				t.Error("opened twice")
			}
			closed := make(chan error, 1)
			go func() { closed <- tap.Close() }()
			select {
			case err := <-closed:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(patience):
				t.Error("Close does not return")
				return
			}
			if _, err := netlink.LinkByName("wiretest"); err == nil {
				t.Error("the interface is still there")
			}
			tap.Send(make([]byte, 60))
			if tap.Stats().Dropped != 1 {
				t.Errorf("counted %+v", tap.Stats())
			}
		}
		for _, mtu := range []int{-1, MaxMTU + 1} {
			if _, err := OpenTap("wiretest", mtu); err == nil {
				t.Errorf("an MTU of %d", mtu)
			}
		}
		if _, err := OpenTap("a-name-that-is-too-long", 0); err == nil {
			t.Error("a name of 23 bytes")
		}
	})
}
