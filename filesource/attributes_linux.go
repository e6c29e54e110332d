package filesource

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"unsafe"
)

// The package syscall has the calls for extended attributes by path alone. A path could
// lead elsewhere by then, so these are the ones by descriptor.

// attributes returns the extended attributes of a file: none if the file system has
// none.
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
			} // else it has gone, or is not for this process
		}
		return err
	})
	return all, err
}

// withDescriptor calls use with the file's descriptor. An error says which file it is of.
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

// An attributesError is an error with the attributes of a file.
type attributesError struct {
	path string
	err  error
}

func (e *attributesError) Error() string {
	return "the extended attributes of " + printable(e.path) + ": " + e.err.Error()
}

func (e *attributesError) Unwrap() error { return e.err }

// absent reports whether an error says that there is no such attribute, or none at all.
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

// dropACL takes from a file the access control list that its folder has given it.
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
