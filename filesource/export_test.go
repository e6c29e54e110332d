package filesource

import (
	"io/fs"
	"time"
)

// TryLock takes the writers' lock of a file.
func TryLock(path string) (unlock func(), err error) {
	held, err := tryLock(beside(path, "lock"), original{})
	if err != nil {
		return nil, err
	}
	return func() { held.unlock(true) }, nil
}

// Faults stand between the package and the operating system.
type Faults struct {
	// Before is called with the name and the path of each call, before the call; if it
	// returns an error, the call fails with it instead.
	Before func(op, path string) error

	// After is called likewise after each stat and rename that returned no error.
	After func(op, path string)

	// Info changes what a look at the file sees; nil: nothing.
	Info func(fs.FileInfo) fs.FileInfo

	// Folder changes what a look at the file's folder sees; nil: nothing.
	Folder func(fs.FileInfo) fs.FileInfo

	// Stamped changes what the file system has stamped with its own time; nil: nothing.
	Stamped func(fs.FileInfo) fs.FileInfo

	// Windows refuses to replace a file while it is open.
	Windows bool
}

// OpenWith is Open on a system with faults.
func OpenWith(path string, cfg Config, faults Faults) (*File, error) {
	return open(path, cfg, faulty(faults))
}

func faulty(faults Faults) *system {
	before, after := faults.Before, faults.After
	if before == nil {
		before = func(string, string) error { return nil }
	}
	if after == nil {
		after = func(string, string) {}
	}
	see := faults.Info
	if see == nil {
		see = func(info fs.FileInfo) fs.FileInfo { return info }
	}
	real := realSystem()
	sys := *real
	sys.replacesOpen = sys.replacesOpen && !faults.Windows
	sys.stat = func(path string) (fs.FileInfo, error) {
		info, err := try(before, "stat", path, real.stat)
		if err != nil {
			return nil, err
		}
		after("stat", path)
		return see(info), nil
	}
	sys.statFolder = func(path string) (fs.FileInfo, error) {
		info, err := try(before, "statfolder", path, real.statFolder)
		if err == nil && faults.Folder != nil {
			info = faults.Folder(info)
		}
		return info, err
	}
	sys.resolve = func(path string) (string, error) { return try(before, "resolve", path, real.resolve) }
	sys.readDir = func(path string) ([]fs.DirEntry, error) { return try(before, "readdir", path, real.readDir) }
	sys.readLink = func(path string) (string, error) { return try(before, "readlink", path, real.readLink) }
	sys.lstat = func(path string) (fs.FileInfo, error) { return try(before, "lstat", path, real.lstat) }
	sys.open = func(path string) (handle, error) {
		h, err := try(before, "open", path, real.open)
		if err != nil {
			return nil, err
		}
		return &faultyHandle{h, before, see, "read-"}, nil
	}
	sys.createTemp = func(folder, pattern string) (handle, error) {
		h, err := try(before, "createtemp", folder, func(string) (handle, error) { return real.createTemp(folder, pattern) })
		if err != nil {
			return nil, err
		}
		return &faultyHandle{h, before, see, ""}, nil
	}
	sys.lock = func(path string, like original) (*held, error) {
		held, err := try(before, "lock", path, func(string) (*held, error) { return real.lock(path, like) })
		if err == nil && held.stamped != nil && faults.Stamped != nil {
			held.stamped = faults.Stamped(held.stamped)
		}
		return held, err
	}
	sys.chtimes = func(path string, t time.Time) error {
		return first(before("chtimes", path), func() error { return real.chtimes(path, t) })
	}
	sys.rename = func(from, to string) error {
		err := first(before("rename", to), func() error { return real.rename(from, to) })
		if err == nil {
			after("rename", to)
		}
		return err
	}
	sys.link = func(from, to string) error {
		return first(before("link", to), func() error { return real.link(from, to) })
	}
	sys.remove = func(path string) error {
		return first(before("remove", path), func() error { return real.remove(path) })
	}
	sys.syncFolder = func(path string) error {
		return first(before("syncfolder", path), func() error { return real.syncFolder(path) })
	}
	sys.attributes = func(h handle) ([]attribute, error) {
		return try(before, "attributes", h.Name(), func(string) ([]attribute, error) { return real.attributes(h) })
	}
	sys.setAttribute = func(h handle, a attribute) error {
		return first(before("set "+a.name, h.Name()), func() error { return real.setAttribute(h, a) })
	}
	sys.dropACL = func(h handle) error {
		return first(before("dropacl", h.Name()), func() error { return real.dropACL(h) })
	}
	return &sys
}

func try[T any](before func(op, path string) error, op, path string, call func(string) (T, error)) (T, error) {
	if err := before(op, path); err != nil {
		var zero T
		return zero, err
	}
	return call(path)
}

func first(err error, call func() error) error {
	if err != nil {
		return err
	}
	return call()
}

// A faultyHandle calls its operations as a system does, with a prefix for handles
// that are read.
type faultyHandle struct {
	handle
	before func(op, path string) error
	see    func(fs.FileInfo) fs.FileInfo
	prefix string
}

func (h *faultyHandle) try(op string) error { return h.before(h.prefix+op, h.Name()) }

func (h *faultyHandle) Read(b []byte) (int, error) {
	if err := h.try("read"); err != nil {
		return 0, err
	}
	return h.handle.Read(b)
}

func (h *faultyHandle) Write(b []byte) (int, error) {
	if err := h.try("write"); err != nil {
		n, _ := h.handle.Write(b[:len(b)/2]) // as a full disk does
		return n, err
	}
	return h.handle.Write(b)
}

func (h *faultyHandle) WriteString(s string) (int, error) {
	if err := h.try("write"); err != nil {
		n, _ := h.handle.WriteString(s[:len(s)/2])
		return n, err
	}
	return h.handle.WriteString(s)
}

func (h *faultyHandle) Stat() (fs.FileInfo, error) {
	if err := h.try("fstat"); err != nil {
		return nil, err
	}
	info, err := h.handle.Stat()
	if err != nil {
		return nil, err
	}
	return h.see(info), nil
}

func (h *faultyHandle) Chmod(mode fs.FileMode) error {
	return first(h.try("chmod"), func() error { return h.handle.Chmod(mode) })
}

func (h *faultyHandle) Chown(user, group int) error {
	return first(h.try("chown"), func() error { return h.handle.Chown(user, group) })
}

func (h *faultyHandle) Sync() error { return first(h.try("sync"), h.handle.Sync) }

func (h *faultyHandle) Close() error {
	err := h.try("close")
	if closed := h.handle.Close(); err == nil {
		err = closed
	}
	return err
}
