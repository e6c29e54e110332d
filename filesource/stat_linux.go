package filesource

import (
	"io/fs"
	"os"
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
// process may.
func keepOwner(file *os.File, replaced fs.FileInfo) {
	if st, ok := replaced.Sys().(*syscall.Stat_t); ok {
		file.Chown(int(st.Uid), int(st.Gid))
	}
}
