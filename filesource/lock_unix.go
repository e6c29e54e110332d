//go:build unix && !aix && !solaris && !illumos

package filesource

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// tryLock takes the lock of the file's writers, or returns errLocked. The lock is
// on a file of its own, which stays: the tokens file is replaced with each write,
// and a folder can be locked by whoever may read it. The lock file is open to those
// who may write the tokens file, and to nobody else.
func tryLock(path string, like fs.FileInfo) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(file, path); err != nil {
		file.Close()
		return nil, err
	}
	shareLock(file, like)
	return func() { file.Close() }, nil // closing unlocks
}

func flock(file *os.File, path string) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is the lock of the tokens file, and not a regular file, but %s", path, kind(info.Mode()))
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return errLocked
		}
		return &os.PathError{Op: "flock", Path: path, Err: err}
	}
	// Somebody may have removed the file: others lock a new one then.
	if now, err := os.Lstat(path); err != nil || !os.SameFile(now, info) {
		return errLocked
	}
	return nil
}

// shareLock gives the lock to those who may write the tokens file. Only its owner
// and the superuser can; where they have done so, there is nothing to do. A file that
// says something, or has another name too, was not made to be a lock: who may write
// to the folder could have the superuser give away what is not theirs.
func shareLock(file *os.File, like fs.FileInfo) {
	info, err := file.Stat()
	if err != nil {
		return
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Nlink != 1 || st.Size != 0 {
		return
	}
	mode := fs.FileMode(0o600)
	if like != nil {
		writers := like.Mode().Perm() & 0o022
		mode |= writers | writers<<1
		if st, ok := like.Sys().(*syscall.Stat_t); ok {
			file.Chown(int(st.Uid), int(st.Gid))
		}
	}
	file.Chmod(mode)
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
