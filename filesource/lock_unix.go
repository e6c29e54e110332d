//go:build unix && !aix && !solaris && !illumos

package filesource

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the lock for writers of files in a folder, or returns
// errLocked. It locks the folder itself: the file is replaced with each write,
// and a lock file would be litter.
func tryLock(folder string) (unlock func(), err error) {
	d, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		d.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, &os.PathError{Op: "flock", Path: folder, Err: err}
	}
	return func() { d.Close() }, nil // closing unlocks
}

// syncFolder makes a rename in the folder durable.
func syncFolder(folder string) error {
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
