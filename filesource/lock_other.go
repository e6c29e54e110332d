//go:build !unix || aix || solaris || illumos

package filesource

import (
	"errors"
	"io/fs"
	"os"
)

// tryLock takes the lock of the file's writers, or returns errLocked. On this system the
// lock is held while its file exists: a writer that crashes leaves the file behind, and
// the error of the next writer names it.
func tryLock(path string, _ original) (*held, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, errLocked
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		info = nil // its time is then unknown
	}
	file.Close()
	return &held{stamped: info, unlock: func(bool) { os.Remove(path) }}, nil
}

// syncFolder does nothing on this system: folders cannot be synced.
func syncFolder(string) error { return nil }
