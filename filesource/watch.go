package filesource

import (
	"io/fs"
	"os"
	"time"
)

// poll follows the file until Close.
func (f *File) poll() {
	ticker := time.NewTicker(f.cfg.Poll)
	defer ticker.Stop()
	for {
		select {
		case <-f.stop:
			return
		case <-ticker.C:
		}
		if f.stale() {
			f.follow()
		}
	}
}

// stale reports whether the file may have changed since it was read. It follows
// symbolic links, so that a swap anywhere in the path shows as another file.
func (f *File) stale() bool {
	f.reloading.Lock()
	seen := f.seen
	f.reloading.Unlock()
	info, _ := os.Stat(f.path)
	return seen.err != nil || !seen.settled || !sameFile(seen.info, info)
}

// A change must rest for this long before it is read: a file that somebody is
// writing in place is, for a moment, empty or half there, and an editor may
// rename it away before it puts the new one in place.
const (
	rest     = 10 * time.Millisecond
	restless = 8 // after so many looks it is read as it is
)

// follow reads a change once it rests. The outcome is in the status.
func (f *File) follow() {
	for range restless {
		info, ok := f.rested()
		if !ok {
			return
		}
		if f.reloadAs(info) {
			return
		}
	}
	f.Reload()
}

// reloadAs reloads the file if it is as it was when it rested, and reports
// whether it was: the next write may have begun since.
func (f *File) reloadAs(info fs.FileInfo) bool {
	f.reloading.Lock()
	defer f.reloading.Unlock()
	text, seen := f.read()
	if !sameFile(info, seen.info) {
		return false
	}
	f.applyLocked(text, seen)
	return true
}

// rested waits until two looks find the file the same, and returns what they
// found. It reports false when the File was closed meanwhile.
func (f *File) rested() (fs.FileInfo, bool) {
	timer := time.NewTimer(rest)
	defer timer.Stop()
	last, _ := os.Stat(f.path)
	for range restless {
		select {
		case <-f.stop:
			return nil, false
		case <-timer.C:
		}
		info, _ := os.Stat(f.path)
		if sameFile(last, info) {
			break
		}
		last = info
		timer.Reset(rest)
	}
	return last, true
}
