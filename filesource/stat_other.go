//go:build !linux

package filesource

import (
	"io/fs"
	"time"
)

// changeTime is not known here: the modification time must do.
func changeTime(fs.FileInfo) time.Time { return time.Time{} }

// keepOwner only keeps the mode here.
func keepOwner(_ handle, replaced fs.FileInfo) fs.FileMode { return replaced.Mode().Perm() }
