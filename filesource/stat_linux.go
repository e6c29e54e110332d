package filesource

import (
	"io/fs"
	"syscall"
	"time"
)

// changeTime returns when the file's metadata last changed, which, unlike the
// modification time, no writer can set back.
func changeTime(info fs.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix())
	}
	return time.Time{}
}

// keepOwner gives the file the owner of the one that it replaces, where the
// process may, and returns the mode for it. Where not even the group can be kept,
// the new file's group gets no permissions: they were meant for another.
func keepOwner(file handle, replaced fs.FileInfo) fs.FileMode {
	mode := replaced.Mode().Perm()
	st, ok := replaced.Sys().(*syscall.Stat_t)
	if !ok || file.Chown(int(st.Uid), int(st.Gid)) == nil {
		return mode
	}
	if file.Chown(-1, int(st.Gid)) != nil {
		mode &^= 0o070
	}
	return mode
}
