package filesource

import (
	"encoding/binary"
	"io/fs"
	"slices"
	"strings"
)

// If a file has a POSIX access control list, the group's bits of its mode are the list's
// mask: an upper bound for the owning group and for everybody whom the list names. A list
// is an extended attribute: a version, then entries of a tag, rights and an id, all in
// little endian.
const (
	aclName    = "system.posix_acl_access"
	aclHeader  = 4 // bytes
	aclEntry   = 8 // bytes
	aclVersion = 2

	aclUser      = 0x02
	aclGroupObj  = 0x04
	aclGroup     = 0x08
	aclMask      = 0x10
	aclReadWrite = 6
	aclWrite     = 2
)

// isACL reports whether an attribute says who may use the file. NFS and SMB have
// attributes of their own for that.
func isACL(name string) bool { return strings.HasPrefix(name, "system.") }

// entries returns a copy of the list in which each entry has the rights that visit
// returns for its tag and rights. It returns nil if list is not an access control list.
func entries(list []byte, visit func(tag, rights uint16) uint16) []byte {
	if len(list) < aclHeader || (len(list)-aclHeader)%aclEntry != 0 || binary.LittleEndian.Uint32(list) != aclVersion {
		return nil
	}
	list = slices.Clone(list)
	for i := aclHeader; i < len(list); i += aclEntry {
		tag, rights := binary.LittleEndian.Uint16(list[i:]), binary.LittleEndian.Uint16(list[i+2:])
		binary.LittleEndian.PutUint16(list[i+2:], visit(tag, rights))
	}
	return list
}

// withoutGroup returns the list without rights for the owning group.
func withoutGroup(list []byte) []byte {
	return entries(list, func(tag, rights uint16) uint16 {
		if tag == aclGroupObj {
			return 0
		}
		return rights
	})
}

// groupOf returns what the list lets the owning group do, as bits of a mode. It returns
// zero if the list cannot be read.
func groupOf(a attribute) fs.FileMode {
	if a.name != aclName {
		return 0
	}
	group, mask := uint16(0), uint16(0o7)
	entries(a.value, func(tag, rights uint16) uint16 {
		switch tag {
		case aclGroupObj:
			group = rights
		case aclMask:
			mask = rights
		}
		return rights
	})
	return fs.FileMode(group&mask&0o7) << 3
}

// forWriters returns a list that lets everybody who may write by the given one read and
// write, and nobody else.
func forWriters(list []byte) []byte {
	mask := uint16(0o7)
	entries(list, func(tag, rights uint16) uint16 {
		if tag == aclMask {
			mask = rights
		}
		return rights
	})
	return entries(list, func(tag, rights uint16) uint16 {
		switch tag {
		case aclMask:
			return aclReadWrite
		case aclUser, aclGroup, aclGroupObj:
			rights &= mask
		}
		if rights&aclWrite == 0 {
			return 0
		}
		return aclReadWrite
	})
}
