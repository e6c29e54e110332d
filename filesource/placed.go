package filesource

import (
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A rename sets the modification time of the folder to the change time of the file that
// it puts there; a write, a chmod or a chown does not. So the two being equal hints that
// the file was put there as a whole. It is no proof: a chmod of a file that is being
// written, and a new neighbour of it within one tick of the clock, look alike. So only
// the poller and a reload take the hint, and only if most tokens stay; an edit, which
// could lose the others for ever, does not take it (TestHintsOfARename).
//
// A file whose modification time is equal too was just created.
//
// If the file was last changed before a link in the path was made, it was complete then;
// both times come from one file system's clock. It is not enough that the path leads
// elsewhere than before: a file may have taken the link's place, or somebody may be
// writing to the file behind a link that is new only to this reader (TestFaults found
// both).

// setBack is by how much edits of this package put the modification time back, so that
// readers in other processes never take the renamed file for one that was just created.
const setBack = 50 * time.Millisecond

// placed reports whether the file seems to have been put in place as a whole: by a
// rename, or by a swap of a link in the path.
func (f *File) placed(known *knowledge, seen sighting) bool {
	if seen.info == nil || known.seen.info != nil && os.SameFile(known.seen.info, seen.info) {
		return false // the latter is written in place, and its mode may be set in the middle (TestModeSetDuringAWrite)
	}
	changed := changeTime(seen.info)
	if link := f.newestLink(); link != nil && onOneDevice(link, seen.info) && stamp(seen.info).Before(changeTime(link)) {
		return true
	}
	folder, err := f.sys.statFolder(seen.folder)
	return err == nil && folder.ModTime().Equal(changed) && !seen.info.ModTime().Equal(changed)
}

// newestLink returns the symbolic link in the path that was made most recently, or nil.
func (f *File) newestLink() (newest fs.FileInfo) {
	path := f.path
	for range mostLinks {
		link, info := f.firstLink(path)
		if link == "" {
			return newest
		}
		to, err := f.sys.readLink(link)
		if err != nil {
			return nil // the path is being changed
		}
		if newest == nil || changeTime(info).After(changeTime(newest)) {
			newest = info
		}
		if !filepath.IsAbs(to) {
			to = filepath.Dir(link) + string(filepath.Separator) + to
		}
		path = to + path[len(link):]
	}
	return nil
}

// firstLink returns the beginning of the path up to its first symbolic link, and the
// link's info; or nothing.
func (f *File) firstLink(path string) (link string, info fs.FileInfo) {
	for i := 1; i <= len(path); i++ {
		if i < len(path) && !os.IsPathSeparator(path[i]) {
			continue
		}
		if info, err := f.sys.lstat(path[:i]); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return path[:i], info
		}
	}
	return "", nil
}
