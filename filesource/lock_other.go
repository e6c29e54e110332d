//go:build !unix || aix || solaris || illumos

package filesource

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// tryLock takes the lock for writers of files in a folder, or returns
// errLocked. Here it is a lock file, which a writer that crashed leaves behind.
func tryLock(folder string) (unlock func(), err error) {
	path := filepath.Join(folder, ".service_tokens.lock")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, errLocked
	}
	if err != nil {
		return nil, err
	}
	file.Close()
	return func() { os.Remove(path) }, nil
}

// syncFolder does nothing here: folders cannot be synced.
func syncFolder(string) error { return nil }
