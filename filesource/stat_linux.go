package filesource

import (
	"io/fs"
	"syscall"
	"time"
)

// changeTime returns when the file's metadata last changed. Unlike the modification time,
// no writer can set it back.
func changeTime(info fs.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix())
	}
	return time.Time{}
}

// unlinked reports whether the file has no name in any folder any more. A path leads to
// such a file if it is a mount of a single file that was replaced in its own folder.
func unlinked(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 0
}

// onOneDevice reports whether both files are on one file system, whose clock stamps both.
func onOneDevice(a, b fs.FileInfo) bool {
	first, ok := a.Sys().(*syscall.Stat_t)
	second, ok2 := b.Sys().(*syscall.Stat_t)
	return ok && ok2 && first.Dev == second.Dev
}

// keepOwner gives the file the owner of the one that it replaces, if the process may.
// It reports whether the group at least was kept.
func keepOwner(file handle, replaced fs.FileInfo) (group bool) {
	st, ok := replaced.Sys().(*syscall.Stat_t)
	return !ok || file.Chown(int(st.Uid), int(st.Gid)) == nil || file.Chown(-1, int(st.Gid)) == nil
}

// groupMayRead reports whether the group may read a new file in the folder: the file
// belongs to the folder's group, which may enter the folder, and others may not.
func groupMayRead(folder, file fs.FileInfo) bool {
	dir, ok := folder.Sys().(*syscall.Stat_t)
	st, ok2 := file.Sys().(*syscall.Stat_t)
	mode := folder.Mode()
	return ok && ok2 && mode&fs.ModeSetgid != 0 && mode.Perm()&0o017 == 0o010 && dir.Gid == st.Gid
}
