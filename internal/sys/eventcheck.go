package sys

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// CheckEvent makes sure that fd, which a peer sent, is an event descriptor or a pipe, and that writing to it does not
// block.
//
// The peer shares the descriptor's status flags, so it can clear O_NONBLOCK again: whoever signals it lets the peer
// block itself at worst as long as the peer keeps the counter at its maximum.
func CheckEvent(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil {
			return err
		}
		if !strings.HasPrefix(name, "anon_inode:[eventfd") {
			return fmt.Errorf("the descriptor is %s, neither an eventfd nor a pipe", name)
		}
	}
	return unix.SetNonblock(fd, true)
}
