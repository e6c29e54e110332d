package fleetsql

import (
	"os"
	"path/filepath"
)

// holdsUnlinked reports whether this process has a file open that was at the path and was
// deleted.
func holdsUnlinked(path string) bool {
	open, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return false
	}
	for _, fd := range open {
		if target, err := os.Readlink(fd); err == nil && target == path+" (deleted)" {
			return true
		}
	}
	return false
}
