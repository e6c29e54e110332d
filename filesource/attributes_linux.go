package filesource

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"unsafe"
)

// Package syscall has only the calls for extended attributes that take a path. A path may
// lead to another file by then, so these take a descriptor.

// attributes returns the extended attributes of a file, or nothing if the file system
// does not support them.
func attributes(file handle) (all []attribute, err error) {
	err = withDescriptor(file, func(fd uintptr) error {
		names, err := listNames(fd)
		for _, name := range names {
			value, err2 := getAttribute(fd, name)
			switch {
			case err2 == nil:
				all = append(all, attribute{name, value})
			case !errors.Is(err2, syscall.ENODATA) && isACL(name):
				err = errors.Join(err, err2)
			} // otherwise it has gone, or this process may not read it
		}
		return err
	})
	return all, err
}

// withDescriptor calls use with the file's descriptor. Its error names the file.
func withDescriptor(file handle, use func(fd uintptr) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	err = errors.Join(raw.Control(func(fd uintptr) { err = use(fd) }), err)
	if err != nil {
		return &attributesError{file.Name(), err}
	}
	return nil
}

// An attributesError says that an attribute of a file could not be read or set.
type attributesError struct {
	path string
	err  error
}

func (e *attributesError) Error() string {
	return "the extended attributes of " + printable(e.path) + ": " + e.err.Error()
}

func (e *attributesError) Unwrap() error { return e.err }

// absent reports whether an error says that there is no such attribute, or that the file
// system has no attributes.
func absent(err error) bool {
	return errors.Is(err, syscall.ENODATA) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOSYS)
}

func listNames(fd uintptr) ([]string, error) {
	list, err := grow(func(buf []byte) (uintptr, syscall.Errno) {
		n, _, errno := syscall.Syscall(syscall.SYS_FLISTXATTR, fd, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		return n, errno
	})
	if err != nil && absent(err) {
		return nil, nil
	}
	return strings.FieldsFunc(string(list), func(r rune) bool { return r == 0 }), err
}

func getAttribute(fd uintptr, name string) ([]byte, error) {
	text, err := syscall.BytePtrFromString(name)
	if err != nil {
		return nil, err
	}
	return grow(func(buf []byte) (uintptr, syscall.Errno) {
		n, _, errno := syscall.Syscall6(syscall.SYS_FGETXATTR, fd, uintptr(unsafe.Pointer(text)), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0)
		return n, errno
	})
}

// grow calls get with a buffer that is large enough.
func grow(get func(buf []byte) (uintptr, syscall.Errno)) ([]byte, error) {
	const largest = 1 << 16 // of Linux
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, errno := get(buf)
		if errno == 0 {
			return buf[:n], nil
		}
		if errno != syscall.ERANGE || size > largest {
			return nil, errno
		}
	}
}

// setAttribute gives a file an attribute.
func setAttribute(file handle, a attribute) error {
	name, err := syscall.BytePtrFromString(a.name)
	if err != nil {
		return err
	}
	value := append(slices.Clone(a.value), 0) // which has an address even if the value is empty
	return withDescriptor(file, func(fd uintptr) error {
		_, _, errno := syscall.Syscall6(syscall.SYS_FSETXATTR, fd, uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&value[0])), uintptr(len(a.value)), 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
}

// dropACL removes the access control list that a new file has inherited from its folder.
func dropACL(file handle) error {
	name, err := syscall.BytePtrFromString(aclName)
	if err != nil {
		return err
	}
	return withDescriptor(file, func(fd uintptr) error {
		_, _, errno := syscall.Syscall(syscall.SYS_FREMOVEXATTR, fd, uintptr(unsafe.Pointer(name)), 0)
		if errno != 0 && !absent(errno) {
			return errno
		}
		return nil
	})
}
