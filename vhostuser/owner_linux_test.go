package vhostuser

import (
	"os"
	"syscall"
)

// ownerOf is who owns a file.
func ownerOf(info os.FileInfo) (uid, gid uint32) {
	st := info.Sys().(*syscall.Stat_t)
	return st.Uid, st.Gid
}
