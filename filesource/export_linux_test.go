package filesource

import (
	"io/fs"
	"os"
	"syscall"
)

// LockOpened locks a lock file that is open already.
func LockOpened(file *os.File, path string) error { return flock(file, path) }

// WrittenAt has a file's change time be its modification time, which tests can set.
func WrittenAt(info fs.FileInfo) fs.FileInfo {
	info.Sys().(*syscall.Stat_t).Ctim = syscall.NsecToTimespec(info.ModTime().UnixNano())
	return info
}
