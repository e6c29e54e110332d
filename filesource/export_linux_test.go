package filesource

import (
	"io/fs"
	"os"
	"syscall"
	"time"
)

// LockOpened locks a lock file that is open already.
func LockOpened(file *os.File, path string) error { return flock(file, path) }

// WrittenAt makes a file's change time its modification time, which tests can set.
func WrittenAt(info fs.FileInfo) fs.FileInfo {
	info.Sys().(*syscall.Stat_t).Ctim = syscall.NsecToTimespec(info.ModTime().UnixNano())
	return info
}

// StampedAt makes it that the file system stamped a file at this time.
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

// Unlinked makes it that a file has no name any more.
func Unlinked(info fs.FileInfo) fs.FileInfo {
	info.Sys().(*syscall.Stat_t).Nlink = 0
	return info
}
