//go:build !linux

package filesource

import (
	"io/fs"
	"time"
)

// changeTime is not known here: the modification time must do.
func changeTime(fs.FileInfo) time.Time { return time.Time{} }

// unlinked is not known here.
func unlinked(fs.FileInfo) bool { return false }

// onOneDevice is not known here.
func onOneDevice(_, _ fs.FileInfo) bool { return false }

// keepOwner keeps no owner here: the file has the process's own.
func keepOwner(handle, fs.FileInfo) (group bool) { return true }

// groupMayRead is for Linux alone.
func groupMayRead(_, _ fs.FileInfo) bool { return false }
