//go:build !unix || aix || solaris || illumos

package filesource

import (
	"errors"
	"io/fs"
	"os"
)

// tryLock takes the lock of the file's writers, or returns errLocked. Here it is a
// file that exists while the lock is held: a writer that crashed leaves it behind,
// and the error of the next one names it.
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
		info = nil // then its time is not known
	}
	file.Close()
	return &held{stamped: info, unlock: func(bool) { os.Remove(path) }}, nil
}

// syncFolder does nothing here: folders cannot be synced.
func syncFolder(string) error { return nil }
