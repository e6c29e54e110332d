package filesource

import (
	"io/fs"
	"path/filepath"
)

// An original is a file that is about to be replaced, with the attributes that the new
// one keeps.
type original struct {
	info       fs.FileInfo // nil: there is none
	attributes []attribute
}

// An attribute is an extended attribute of a file.
type attribute struct {
	name  string
	value []byte
}

// original returns the file at the target.
func (f *File) original(target string) (original, error) {
	info, err := f.sys.stat(target)
	if err != nil || !info.Mode().IsRegular() {
		return original{}, nil // reading it says what is wrong
	}
	file, err := f.sys.open(target)
	if err != nil {
		return original{}, nil // likewise
	}
	defer file.Close()
	o := original{}
	if o.info, err = file.Stat(); err == nil {
		o.attributes, err = f.sys.attributes(file)
	}
	return o, err
}

// dress gives a new file the owner, the attributes and the mode of the one that it
// replaces. It does so before the first byte is written; until then the file is open to
// its owner alone. If something cannot be kept, rights are left out, so that no class of
// users gains one.
func (f *File) dress(file handle, o original) error {
	mode := o.info.Mode().Perm()
	groupKept := keepOwner(file, o.info)
	hasACL := false
	for _, a := range o.attributes {
		if !keptByEdits(a.name) {
			continue
		}
		if a.name == aclName {
			hasACL = true
			if !groupKept {
				a.value = withoutGroup(a.value)
			}
		}
		if err := f.sys.setAttribute(file, a); err != nil && isACL(a.name) {
			mode &^= 0o070 &^ groupOf(a)
		}
	}
	switch {
	case !hasACL && f.sys.dropACL(file) != nil: // inherited from the folder
		mode &^= 0o070
	case !hasACL && !groupKept:
		mode &^= 0o070 // these rights were meant for another group
	}
	return file.Chmod(mode)
}

// share lets the group read a new file, if the folder's mode says that its files are the
// group's.
func (f *File) share(file handle, folder string) error {
	dir, err := f.sys.statFolder(folder)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil || !groupMayRead(dir, info) {
		return err
	}
	return file.Chmod(0o640)
}

// keptByEdits reports whether a file keeps an attribute when its text changes.
func keptByEdits(name string) bool {
	switch name {
	case "security.ima", "security.evm", "security.capability": // they are about the text
		return false
	}
	matched, _ := filepath.Match("trusted.overlay.*", name) // of the layers of a file system
	return !matched
}
