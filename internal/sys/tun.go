package sys

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// TunDevice is the clone device that tap interfaces are made with (Linux Documentation/networking/tuntap.rst).
const TunDevice = "/dev/net/tun"

// TapFlags choose what OpenTapQueue asks of the kernel. Ethernet frames without the packet information header and with
// the virtio-net header are always asked for.
type TapFlags struct {
	// MultiQueue lets more descriptors be attached to the same interface.
	MultiQueue bool
	// VnetHeader is the length of the virtio-net header before each frame: 10 or 12.
	VnetHeader int
}

// OpenTapQueue makes the tap interface called name, or attaches one more queue to it, and returns the queue's
// descriptor, not blocking, and the interface's real name. Offloads are switched off: the kernel hands over whole
// frames with complete checksums.
func OpenTapQueue(name string, f TapFlags) (fd int, real string, err error) {
	fd, err = unix.Open(TunDevice, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, "", fmt.Errorf("open %s: %w", TunDevice, err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	req, err := unix.NewIfreq(name)
	if err != nil {
		return -1, "", fmt.Errorf("interface name %q: at most %d bytes are allowed", name, unix.IFNAMSIZ-1)
	}
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if f.MultiQueue {
		flags |= unix.IFF_MULTI_QUEUE
	}
	req.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return -1, "", fmt.Errorf("TUNSETIFF %s: %w", name, err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, f.VnetHeader); err != nil {
		return -1, "", fmt.Errorf("TUNSETVNETHDRSZ %d: %w", f.VnetHeader, err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, 0); err != nil {
		return -1, "", fmt.Errorf("TUNSETOFFLOAD 0: %w", err)
	}
	return fd, req.Name(), nil
}

// SetTapPersist says whether the interface stays when its last descriptor is closed.
func SetTapPersist(fd int, on bool) error {
	v := 0
	if on {
		v = 1
	}
	return os.NewSyscallError("TUNSETPERSIST", unix.IoctlSetInt(fd, unix.TUNSETPERSIST, v))
}

// SetTapOwner lets the user and group attach to the interface; -1 leaves one as it is.
func SetTapOwner(fd, uid, gid int) error {
	if uid >= 0 {
		if err := unix.IoctlSetInt(fd, unix.TUNSETOWNER, uid); err != nil {
			return os.NewSyscallError("TUNSETOWNER", err)
		}
	}
	if gid >= 0 {
		return os.NewSyscallError("TUNSETGROUP", unix.IoctlSetInt(fd, unix.TUNSETGROUP, gid))
	}
	return nil
}

// TapLink is what the kernel says about the interface behind a tap queue.
type TapLink struct {
	Name    string // now; an operator may have renamed it
	MTU     int
	Up      bool
	Foreign bool // it was moved to another network namespace
}

// TapLinkOf asks for the interface behind fd, also when it was moved to another network namespace. The error is
// unix.EBADFD when the interface was deleted.
func TapLinkOf(fd int) (TapLink, error) {
	var l TapLink
	err := inTapNamespace(fd, func(sock int, req *unix.Ifreq, foreign bool) error {
		l.Name, l.Foreign = req.Name(), foreign
		if err := unix.IoctlIfreq(sock, unix.SIOCGIFFLAGS, req); err != nil {
			return os.NewSyscallError("SIOCGIFFLAGS", err)
		}
		l.Up = req.Uint16()&unix.IFF_UP != 0
		if err := unix.IoctlIfreq(sock, unix.SIOCGIFMTU, req); err != nil {
			return os.NewSyscallError("SIOCGIFMTU", err)
		}
		l.MTU = int(req.Uint32())
		return nil
	})
	return l, err
}

// SetTapLink sets the MTU of the interface behind fd (0 leaves it) and brings it up. What is so already takes no
// privilege.
func SetTapLink(fd, mtu int) error {
	return inTapNamespace(fd, func(sock int, req *unix.Ifreq, _ bool) error {
		if mtu != 0 {
			if err := unix.IoctlIfreq(sock, unix.SIOCGIFMTU, req); err != nil {
				return os.NewSyscallError("SIOCGIFMTU", err)
			}
			if int(req.Uint32()) != mtu {
				req.SetUint32(uint32(mtu))
				if err := unix.IoctlIfreq(sock, unix.SIOCSIFMTU, req); err != nil {
					return fmt.Errorf("set MTU %d: %w", mtu, err)
				}
			}
		}
		if err := unix.IoctlIfreq(sock, unix.SIOCGIFFLAGS, req); err != nil {
			return os.NewSyscallError("SIOCGIFFLAGS", err)
		}
		if req.Uint16()&unix.IFF_UP != 0 {
			return nil
		}
		req.SetUint16(req.Uint16() | unix.IFF_UP)
		if err := unix.IoctlIfreq(sock, unix.SIOCSIFFLAGS, req); err != nil {
			return fmt.Errorf("bring the interface up: %w", err)
		}
		return nil
	})
}

// inTapNamespace calls f with a socket in the network namespace that the interface behind fd is in now.
func inTapNamespace(fd int, f func(sock int, req *unix.Ifreq, foreign bool) error) error {
	req, err := unix.NewIfreq("")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, req); err != nil {
		return os.NewSyscallError("TUNGETIFF", err)
	}
	sock, foreign, err := tapSocket(fd)
	if err != nil {
		return err
	}
	defer unix.Close(sock)
	return f(sock, req, foreign)
}

// tapSocket opens a datagram socket in the namespace of the interface behind fd.
func tapSocket(fd int) (sock int, foreign bool, err error) {
	ns, err := unix.IoctlRetInt(fd, unix.TUNGETDEVNETNS)
	if err != nil {
		// Before Linux 5.2 there is no such call; the interface is taken to be where it was made.
		sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return sock, false, os.NewSyscallError("socket", err)
	}
	defer unix.Close(ns)
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return -1, false, os.NewSyscallError("open /proc/thread-self/ns/net", err)
	}
	defer unix.Close(home)
	if foreign, err = differ(ns, home); err == nil && foreign {
		err = os.NewSyscallError("setns", unix.Setns(ns, unix.CLONE_NEWNET))
	}
	if err != nil {
		runtime.UnlockOSThread()
		return -1, foreign, err
	}
	sock, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	err = os.NewSyscallError("socket", err)
	if foreign {
		if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
			// The thread is in the wrong namespace for good: leave it locked, so that no other goroutine gets it and
			// it ends with this one.
			return sock, foreign, err
		}
	}
	runtime.UnlockOSThread()
	return sock, foreign, err
}

// differ reports whether two descriptors are of different files.
func differ(a, b int) (bool, error) {
	var sa, sb unix.Stat_t
	if err := unix.Fstat(a, &sa); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	if err := unix.Fstat(b, &sb); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	return sa.Dev != sb.Dev || sa.Ino != sb.Ino, nil
}
