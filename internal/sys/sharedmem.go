package sys

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// FileInfo is what decides whether and how a file that a peer sent can be mapped.
type FileInfo struct {
	Dev, Ino uint64
	// Size is the file's length in bytes.
	Size uint64
	// PageSize is what offset and length of a mapping must be multiples of: the huge page size on hugetlbfs, else the
	// system's page size.
	PageSize uint64
	// Regular is false for devices, sockets and the like, whose Size says nothing.
	Regular bool
	// Remote is true on file systems whose page faults wait for another machine or process: FUSE, NFS and the like.
	Remote bool
}

// remoteFileSystems are magic numbers of statfs(2).
var remoteFileSystems = [...]int64{
	unix.FUSE_SUPER_MAGIC, unix.NFS_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC,
	unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.CODA_SUPER_MAGIC, unix.OCFS2_SUPER_MAGIC,
}

// StatFile describes fd (fstat(2), fstatfs(2)).
func StatFile(fd int) (FileInfo, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return FileInfo{}, fmt.Errorf("fstat: %w", err)
	}
	info := FileInfo{
		Dev: st.Dev, Ino: st.Ino, Size: uint64(st.Size), PageSize: uint64(os.Getpagesize()),
		Regular: st.Mode&unix.S_IFMT == unix.S_IFREG,
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return FileInfo{}, fmt.Errorf("fstatfs: %w", err)
	}
	info.Remote = slices.Contains(remoteFileSystems[:], fs.Type)
	if fs.Type == unix.HUGETLBFS_MAGIC {
		info.PageSize = uint64(fs.Bsize)
	}
	return info, nil
}

// MapShared maps length bytes of fd at offset, both multiples of the file's page size, readable and writable, shared
// with everyone who maps it, without reserving swap, and kept out of core dumps. The descriptor may be closed
// afterwards. UnmapShared ends it.
func MapShared(fd int, offset, length uint64) ([]byte, error) {
	return MapFile(fd, offset, length, true)
}

// UnmapShared ends a mapping of MapShared. Nothing may use it any more.
func UnmapShared(mem []byte) error { return unix.Munmap(mem) }
