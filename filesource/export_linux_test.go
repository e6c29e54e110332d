package filesource

import (
	"io/fs"
	"os"
	"syscall"
	"time"
)

// LockOpened locks a lock file that is open already.
func LockOpened(file *os.File, path string) error { return flock(file, path) }

// WrittenAt gives a file its modification time, which tests can set, as its change time.
func WrittenAt(info fs.FileInfo) fs.FileInfo {
	info.Sys().(*syscall.Stat_t).Ctim = syscall.NsecToTimespec(info.ModTime().UnixNano())
	return info
}

// StampedAt makes a file look as if the file system had stamped it at this time.
func StampedAt(at time.Time) func(fs.FileInfo) fs.FileInfo {
	return func(info fs.FileInfo) fs.FileInfo {
		stamp := syscall.NsecToTimespec(at.UnixNano())
		info.Sys().(*syscall.Stat_t).Ctim = stamp
		return stampedInfo{info, at}
	}
}

type stampedInfo struct {
	fs.FileInfo
	modified time.Time
}

func (i stampedInfo) ModTime() time.Time { return i.modified }

// Unlinked makes a file look as if it had no name any more.
func Unlinked(info fs.FileInfo) fs.FileInfo {
	info.Sys().(*syscall.Stat_t).Nlink = 0
	return info
}
