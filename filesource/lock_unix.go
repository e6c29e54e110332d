//go:build unix && !aix && !solaris && !illumos

package filesource

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// tryLock takes the lock of the file's writers, or returns errLocked. The lock is on a
// file of its own, which stays: the tokens file is replaced with each write, and a folder
// can be locked by every user who may read it. Only users who may write the tokens file
// may open the lock file.
func tryLock(path string, like original) (*held, error) {
	const flags = os.O_RDWR | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	made := true
	file, err := os.OpenFile(path, flags|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		made = false
		file, err = os.OpenFile(path, flags, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errLocked // it was removed meanwhile
		}
	}
	if err != nil {
		return nil, err
	}
	if err := flock(file, path); err != nil {
		file.Close()
		return nil, err
	}
	if isLock(file) {
		shareLock(file, like)
	}
	h := &held{stamped: stampLock(file)}
	h.unlock = func(keep bool) {
		if made && !keep {
			os.Remove(path) // writers that have opened it notice that it has gone: see flock
		}
		file.Close() // which unlocks
	}
	return h, nil
}

func flock(file *os.File, path string) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is the lock of the tokens file, and not a regular file, but %s", printable(path), kind(info.Mode()))
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return errLocked
		}
		return &os.PathError{Op: "flock", Path: path, Err: err}
	}
	// Somebody may have removed the file; then others lock a new one.
	if now, err := os.Lstat(path); err != nil || !os.SameFile(now, info) {
		return errLocked
	}
	return nil
}

// isLock reports whether the file was made to be a lock. A file with content or a second
// name was not: without this check, a user who may write to the folder could make the
// superuser change somebody else's file, or give it away.
func isLock(file *os.File) bool {
	info, err := file.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 1 && st.Size == 0
}

// shareLock opens the lock to users who may write the tokens file. Only its owner and the
// superuser can do that; for others there is nothing to do.
func shareLock(file *os.File, like original) {
	mode := fs.FileMode(0o600)
	if like.info != nil {
		writers := like.info.Mode().Perm() & 0o022
		mode |= writers | writers<<1
		if st, ok := like.info.Sys().(*syscall.Stat_t); ok {
			file.Chown(int(st.Uid), int(st.Gid))
		}
	}
	hasACL := false
	for _, a := range like.attributes {
		if a.name == aclName {
			hasACL = true
			a.value = forWriters(a.value)
		} else if !keptByEdits(a.name) || isACL(a.name) {
			continue
		}
		if err := setAttribute(file, a); err != nil && isACL(a.name) {
			mode &^= 0o070
		}
	}
	if !hasACL && dropACL(file) != nil {
		mode &^= 0o070
	}
	file.Chmod(mode)
}

// stampLock makes the file system stamp the lock file with its own time, and returns the
// file's info. It truncates the file, which is empty: that changes nothing else, and
// every user who may write to it can do so.
func stampLock(file *os.File) fs.FileInfo {
	if !isLock(file) || file.Truncate(0) != nil {
		return nil
	}
	info, err := file.Stat()
	if err != nil {
		return nil
	}
	return info
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
