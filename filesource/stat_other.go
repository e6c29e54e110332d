//go:build !linux

package filesource

import (
	"io/fs"
	"time"
)

// changeTime is not known on this system: the modification time must do.
func changeTime(fs.FileInfo) time.Time { return time.Time{} }

// unlinked cannot be known on this system.
func unlinked(fs.FileInfo) bool { return false }

// onOneDevice cannot be known on this system.
func onOneDevice(_, _ fs.FileInfo) bool { return false }

// keepOwner does nothing on this system: the file belongs to the process's user.
func keepOwner(handle, fs.FileInfo) (group bool) { return true }

// groupMayRead is false on this system.
func groupMayRead(_, _ fs.FileInfo) bool { return false }
