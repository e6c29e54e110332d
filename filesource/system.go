package filesource

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// A system is every call of the operating system that this package makes, so that tests
// can make each of them fail.
type system struct {
	replacesOpen bool // whether a file that is open can be replaced by a rename

	stat       func(path string) (fs.FileInfo, error)
	statFolder func(path string) (fs.FileInfo, error)
	resolve    func(path string) (string, error)
	open       func(path string) (handle, error) // for reading
	lstat      func(path string) (fs.FileInfo, error)
	readLink   func(path string) (string, error)
	readDir    func(path string) ([]fs.DirEntry, error)
	lock       func(path string, like original) (*held, error)
	createTemp func(folder, pattern string) (handle, error) // readable for its owner alone
	chtimes    func(path string, modified time.Time) error
	rename     func(from, to string) error
	link       func(from, to string) error
	remove     func(path string) error
	syncFolder func(path string) error

	attributes   func(file handle) ([]attribute, error)
	setAttribute func(file handle, a attribute) error
	dropACL      func(file handle) error
}

// A handle is an open file.
type handle interface {
	io.ReadWriteCloser
	io.StringWriter
	Name() string
	Stat() (fs.FileInfo, error)
	Chmod(fs.FileMode) error
	Chown(user, group int) error
	Sync() error
	SyscallConn() (syscall.RawConn, error)
}

func realSystem() *system {
	return &system{
		replacesOpen: runtime.GOOS != "windows", // os.Open has no FILE_SHARE_DELETE

		stat:       os.Stat,
		statFolder: os.Stat,
		resolve:    filepath.EvalSymlinks,
		open:       openToRead,
		lstat:      os.Lstat,
		readLink:   os.Readlink,
		readDir:    os.ReadDir,
		lock:       tryLock,
		createTemp: func(folder, pattern string) (handle, error) { return os.CreateTemp(folder, pattern) },
		chtimes:    func(path string, modified time.Time) error { return os.Chtimes(path, time.Time{}, modified) },
		rename:     os.Rename,
		link:       os.Link,
		remove:     os.Remove,
		syncFolder: syncFolder,

		attributes:   attributes,
		setAttribute: setAttribute,
		dropACL:      dropACL,
	}
}

// openToRead opens a file without waiting: otherwise opening a FIFO waits for a writer,
// perhaps for ever.
func openToRead(path string) (handle, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|nonBlocking, 0)
	if err != nil {
		return nil, err // not f: a handle with a nil *os.File is not nil
	}
	return f, nil
}
