package sys

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OpenTap makes the tap interface called name, or attaches to it, in the calling thread's network namespace. Each read
// of the file is one whole Ethernet frame and each write is one, without any header before it. The kernel splits and
// sums up what it sends, as no offload is switched on. A name with %d gets a number; the second result is the real one.
// The interface goes when the file is closed, unless it was there before.
func OpenTap(name string) (f *os.File, real string, err error) {
	fd, err := unix.Open(TunDevice, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", fmt.Errorf("open %s: %w", TunDevice, err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		unix.Close(fd)
		return nil, "", fmt.Errorf("interface name %q: at most %d bytes are allowed", name, unix.IFNAMSIZ-1)
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		unix.Close(fd)
		return nil, "", fmt.Errorf("TUNSETIFF %s: %w", name, err)
	}
	// Only now can the runtime's poller watch it: before, poll(2) reports an error.
	return os.NewFile(uintptr(fd), TunDevice), req.Name(), nil
}

// ControlFD calls f with the descriptor of file, which stays open meanwhile and in the mode it is in.
func ControlFD(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
