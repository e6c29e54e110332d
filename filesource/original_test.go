//go:build linux

package filesource_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/filesource"
)

// These tests are about what a file keeps when it is replaced: its owner, its mode, its
// access control list and its other attributes.

const aclName = "system.posix_acl_access"

// The tags of a list's entries.
const (
	aclUserObj, aclUser, aclGroupObj, aclGroup, aclMask, aclOther = 1, 2, 4, 8, 16, 32
)

type aclEntry struct {
	tag, rights uint16
	id          uint32
}

const nobody = ^uint32(0)

// list returns an access control list.
func list(entries ...aclEntry) []byte {
	acl := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		acl = binary.LittleEndian.AppendUint16(acl, e.tag)
		acl = binary.LittleEndian.AppendUint16(acl, e.rights)
		acl = binary.LittleEndian.AppendUint32(acl, e.id)
	}
	return acl
}

// shared is the list of a file: user 4242 may read and write it, group 4343 may read it,
// and its own group may not use it.
func shared() []byte {
	return list(aclEntry{aclUserObj, 6, nobody}, aclEntry{aclUser, 6, 4242}, aclEntry{aclGroupObj, 0, nobody},
		aclEntry{aclGroup, 4, 4343}, aclEntry{aclMask, 6, nobody}, aclEntry{aclOther, 0, nobody})
}

// attribute returns an attribute of a file, or nothing.
func attribute(t testing.TB, path, name string) string {
	t.Helper()
	buf := make([]byte, 1000)
	n, err := syscall.Getxattr(path, name, buf)
	if err != nil && !errors.Is(err, syscall.ENODATA) {
		t.Fatal(err)
	}
	return string(buf[:max(n, 0)])
}

func setAttribute(t testing.TB, path, name string, value []byte) {
	t.Helper()
	if err := syscall.Setxattr(path, name, value, 0); err != nil {
		if errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.EPERM) {
			t.Skipf("%s on this file system: %v", name, err)
		}
		t.Fatal(err)
	}
}

func mode(t testing.TB, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

// TestAttributesAreKept: by each edit. The lock is open to users who may write.
func TestAttributesAreKept(t *testing.T) {
	path := put(t, tokensPath(t), lineOne+lineTwo)
	acl := shared()
	setAttribute(t, path, aclName, acl)
	setAttribute(t, path, "user.note", []byte("kept"))
	setAttribute(t, path, "user.empty", nil)
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	for name, edit := range map[string]func() error{
		"Create": func() error { return second(file.Create(t.Context(), fleet.TokenID("new"))) },
		"Rotate": func() error { return second(file.Rotate(t.Context(), fleet.TokenID("one"))) },
		"Delete": func() error { return file.Delete(t.Context(), fleet.TokenID("two")) },
	} {
		if err := edit(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(acl, []byte(attribute(t, path, aclName))); diff != "" || attribute(t, path, "user.note") != "kept" || mode(t, path) != 0o660 {
			t.Errorf("after %s: the mode is %v, and the list (-want +got):\n%s", name, mode(t, path), diff)
		}
	}
	want := list(aclEntry{aclUserObj, 6, nobody}, aclEntry{aclUser, 6, 4242}, aclEntry{aclGroupObj, 0, nobody},
		aclEntry{aclGroup, 0, 4343}, aclEntry{aclMask, 6, nobody}, aclEntry{aclOther, 0, nobody})
	lock := filepath.Dir(path) + "/.service_tokens.lock"
	if got := attribute(t, lock, "user.note"); got != "kept" {
		t.Errorf("the lock's note is %q", got)
	}
	if diff := cmp.Diff(want, []byte(attribute(t, lock, aclName))); diff != "" {
		t.Errorf("the lock's list (-want +got):\n%s", diff)
	}
}

// TestMaskOfTheLock: a user whose right to write is masked may not open the lock.
func TestMaskOfTheLock(t *testing.T) {
	path := put(t, tokensPath(t), lineOne)
	setAttribute(t, path, aclName, list(aclEntry{aclUserObj, 6, nobody}, aclEntry{aclUser, 6, 4242}, aclEntry{aclGroupObj, 6, nobody},
		aclEntry{aclMask, 4, nobody}, aclEntry{aclOther, 4, nobody}))
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
		t.Fatal(err)
	}
	want := list(aclEntry{aclUserObj, 6, nobody}, aclEntry{aclUser, 0, 4242}, aclEntry{aclGroupObj, 0, nobody},
		aclEntry{aclMask, 6, nobody}, aclEntry{aclOther, 0, nobody})
	lock := filepath.Dir(path) + "/.service_tokens.lock"
	got := attribute(t, lock, aclName)
	if mode(t, lock).Perm()&^0o060 != 0o600 || cmp.Diff(want, []byte(got)) != "" && mode(t, lock) != 0o600 {
		t.Errorf("the lock has mode %v and list (-want +got):\n%s", mode(t, lock), cmp.Diff(want, []byte(got)))
	}
}

// TestListThatCannotBeKept: the group gets the rights that the list gave it, within the
// mask, which its bits of the mode were; and no rights if the group cannot be kept
// either.
func TestListThatCannotBeKept(t *testing.T) {
	for _, test := range []struct {
		group, mask uint16
		chown       bool // works
		want        fs.FileMode
	}{
		{0, 6, true, 0o600}, {4, 6, true, 0o640}, {6, 4, true, 0o640}, {6, 6, true, 0o660}, {6, 6, false, 0o600},
	} {
		s := &script{}
		path := put(t, tokensPath(t), lineOne)
		setAttribute(t, path, aclName, list(aclEntry{aclUserObj, 6, nobody}, aclEntry{aclUser, 6, 4242},
			aclEntry{aclGroupObj, test.group, nobody}, aclEntry{aclMask, test.mask, nobody}, aclEntry{aclOther, 0, nobody}))
		file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
		s.set(func(op, _ string) error {
			if op == "set "+aclName || op == "chown" && !test.chown {
				return syscall.EPERM
			}
			return nil
		})
		if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
			t.Error(err)
		}
		if got := mode(t, path); got != test.want || attribute(t, path, aclName) != "" {
			t.Errorf("group %o, mask %o: got mode %v and a list of %d bytes, want mode %v", test.group, test.mask, got, len(attribute(t, path, aclName)), test.want)
		}
	}
}

// TestListWithoutTheGroup: if the group is another one, the list gives it nothing.
func TestListWithoutTheGroup(t *testing.T) {
	s := &script{}
	path := put(t, tokensPath(t), lineOne)
	entries := []aclEntry{{aclUserObj, 6, nobody}, {aclUser, 6, 4242}, {aclGroupObj, 4, nobody}, {aclMask, 6, nobody}, {aclOther, 0, nobody}}
	setAttribute(t, path, aclName, list(entries...))
	file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
	s.set(func(op, _ string) error {
		if op == "chown" {
			return syscall.EPERM
		}
		return nil
	})
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
		t.Error(err)
	}
	entries[2].rights = 0
	if diff := cmp.Diff(list(entries...), []byte(attribute(t, path, aclName))); diff != "" {
		t.Errorf("the list (-want +got):\n%s", diff)
	}
}

// TestListOfTheFolder: a file that had no list does not get the one that its folder gives
// to new files.
func TestListOfTheFolder(t *testing.T) {
	for _, fails := range []bool{false, true} {
		s := &script{}
		path := put(t, tokensPath(t), lineOne)
		if err := os.Chmod(path, 0o664); err != nil {
			t.Fatal(err)
		}
		setAttribute(t, filepath.Dir(path), "system.posix_acl_default", shared())
		file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
		want, acl := fs.FileMode(0o664), ""
		if fails {
			s.fail("dropacl")
			want = 0o604 // with the folder's list, whose mask is nothing
		}
		if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
			t.Error(err)
		}
		if got := mode(t, path); got != want || !fails && attribute(t, path, aclName) != acl {
			t.Errorf("fails %v: got mode %v, list %q, want %v", fails, got, attribute(t, path, aclName), want)
		}
		if lock := filepath.Dir(path) + "/.service_tokens.lock"; attribute(t, lock, aclName) != "" {
			t.Errorf("the lock has a list")
		}
	}
}

// TestAttributesThatCannotBeRead are an error: nobody knows who may use the file.
func TestAttributesThatCannotBeRead(t *testing.T) {
	s := &script{}
	path := put(t, tokensPath(t), lineOne)
	file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
	s.fail("attributes")
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); !errors.Is(err, errFault) || read(t, path) != lineOne {
		t.Errorf("got %v", err)
	}
}

// TestFirstFile: only its owner may read it, and also the group if the folder belongs to
// the group and is closed to others.
func TestFirstFile(t *testing.T) {
	for folder, want := range map[fs.FileMode]fs.FileMode{
		0o750: 0o600, 0o700 | fs.ModeSetgid: 0o600, 0o750 | fs.ModeSetgid: 0o640, 0o770 | fs.ModeSetgid: 0o640, 0o755 | fs.ModeSetgid: 0o600, 0o751 | fs.ModeSetgid: 0o600,
	} {
		t.Run(fmt.Sprint(folder), func(t *testing.T) {
			path := tokensPath(t)
			if err := os.Chmod(filepath.Dir(path), folder); err != nil {
				t.Fatal(err)
			}
			file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
			if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
				t.Fatal(err)
			}
			if got := mode(t, path); got != want {
				t.Errorf("got mode %v, want %v", got, want)
			}
		})
	}
}

// TestLockStaysEmpty: it has no content, by which it is known as a lock, and its time is
// that of the last edit by the file system's own clock.
func TestLockStaysEmpty(t *testing.T) {
	path := put(t, tokensPath(t), lineOne)
	lock := put(t, filepath.Dir(path)+"/.service_tokens.lock", "")
	age(t, lock)
	before := mtime(t, lock)
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(lock); err != nil || info.Size() != 0 || info.ModTime().Sub(before) < time.Second {
		t.Errorf("got %d bytes of %v, %v", info.Size(), info.ModTime(), err)
	}
	// What is no lock is left as it is.
	put(t, lock, "mine")
	if _, err := file.Create(t.Context(), fleet.TokenID("another")); err != nil || read(t, lock) != "mine" {
		t.Errorf("got %v, %q", err, read(t, lock))
	}
}

// TestNoLockIsLeft: if an edit wrote nothing.
func TestNoLockIsLeft(t *testing.T) {
	for name, content := range map[string]string{"missing": "", "bad": "bad\n", "good": lineTwo} {
		path := tokensPath(t)
		if content != "" {
			put(t, path, lineTwo)
		}
		file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
		if content != "" {
			put(t, path, content)
		}
		if err := file.Delete(t.Context(), fleet.TokenID("one")); err == nil {
			t.Errorf("%s: no error", name)
		}
		for _, entry := range folder(t, path) {
			if strings.HasPrefix(entry, ".") {
				t.Errorf("%s: it left %s", name, entry)
			}
		}
	}
}

// TestNoLockWithoutTheOriginal: nobody knows who may open the lock, so there is none.
func TestNoLockWithoutTheOriginal(t *testing.T) {
	s := &script{}
	path := put(t, tokensPath(t), lineOne)
	file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
	s.count("")
	s.fail("attributes")
	if err := file.Delete(t.Context(), fleet.TokenID("one")); !errors.Is(err, errFault) || s.count("lock") != 0 {
		t.Errorf("got %v, or it was locked", err)
	}
}
