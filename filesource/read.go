package filesource

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"
)

// A sighting is what a look at the file found. The next look compares itself with it to
// tell whether the file has changed.
type sighting struct {
	info fs.FileInfo // nil: there is no file, or it cannot be seen
	err  error       // why the file cannot be seen, or must not be opened

	// Known only to a look that has read the file:

	unread    error  // why the file could not be read
	folder    string // the file's folder, with links followed
	length    int64  // of the text
	content   uint64 // a hash of the text, with the File's own seed
	grown     bool   // whether the text begins with the earlier one
	wouldShow bool   // whether another text would show in info
}

// missing reports whether there is no file.
func (s sighting) missing() bool { return s.info == nil && s.err == nil }

// failure returns why there is no text, or nil.
func (s sighting) failure() error { return cmp.Or(s.err, s.unread) }

// size returns the file's size, or zero.
func (s sighting) size() int64 {
	if s.info == nil {
		return 0
	}
	return max(0, s.info.Size())
}

// same reports whether both looks found the same file in the same state, as far as
// the file system tells.
func (s sighting) same(other sighting) bool {
	return errorText(s.err) == errorText(other.err) && sameFile(s.info, other.info)
}

// sameOutcome reports whether both looks read the same: one text, no file, or one
// failure.
func (s sighting) sameOutcome(other sighting) bool {
	return errorText(s.failure()) == errorText(other.failure()) && s.missing() == other.missing() && s.content == other.content
}

func sameFile(a, b fs.FileInfo) bool {
	if a == nil {
		return b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.Mode() == b.Mode() &&
		a.ModTime().Equal(b.ModTime()) && changeTime(a).Equal(changeTime(b))
}

// stamp returns when the file was last changed, according to the file system.
func stamp(info fs.FileInfo) time.Time {
	if changed := changeTime(info); changed.After(info.ModTime()) {
		return changed
	}
	return info.ModTime()
}

// look looks at the file without reading it.
func (f *File) look() sighting {
	defer f.calls.begin()()
	info, err := f.sys.stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return sighting{}
	case err != nil:
		return sighting{err: explain(err)}
	}
	if err := f.admit(info); err != nil {
		return sighting{info: info, err: err}
	}
	return sighting{info: info}
}

// admit returns an error for a file that must not be read: opening a device may have
// effects, reading a FIFO may never end, and a file without a name is never replaced by a
// rename.
func (f *File) admit(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("filesource: %s is not a regular file, but %s", f.shown, kind(info.Mode()))
	}
	if unlinked(info) {
		return fmt.Errorf("filesource: %s was replaced by another file, which is not seen here: where a single file is mounted, mount its folder instead", f.shown)
	}
	if f.cfg.MaxBytes > 0 && info.Size() > f.cfg.MaxBytes {
		return f.tooLarge()
	}
	return nil
}

func (f *File) tooLarge() error {
	return fmt.Errorf("filesource: %s has more than %d bytes (Config.MaxBytes)", f.shown, f.cfg.MaxBytes)
}

func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	default:
		return "something else"
	}
}

// read reads the file into a writer that does not fail, and hashes it on the way. It
// reports false if the file was not the same all the time, from the open descriptor
// before to the path afterwards: the text may then mix two states. It compares the text
// with an earlier one, whose sighting may be empty.
func (f *File) read(to io.Writer, earlier sighting) (s sighting, same bool) {
	s = f.readOnce(to, earlier)
	s.folder = f.folder()
	return s, s.same(f.look())
}

// folder returns the folder that the file is in, with links followed.
func (f *File) folder() string {
	defer f.calls.begin()()
	target, err := f.target()
	if err != nil {
		target = f.path // it changes at this moment
	}
	return filepath.Dir(target)
}

func (f *File) readOnce(to io.Writer, earlier sighting) sighting {
	if s := f.look(); s.info == nil || s.err != nil {
		return s
	}
	end := f.calls.begin()
	file, err := f.sys.open(f.path)
	end()
	if err != nil { // the file may have gone; the next look sees that
		return f.unreadable(err)
	}
	defer file.Close()
	info, err := file.Stat() // by the descriptor: the path may lead to another file by now
	if err != nil {
		return f.unreadable(err)
	}
	s := sighting{info: info, err: f.admit(info)}
	if s.err == nil {
		var hash *textHash
		hash, s.unread = f.readText(file, to, earlier)
		s.length, s.content, s.grown = hash.length, hash.Sum64(), hash.grown
	}
	return s
}

func (f *File) unreadable(err error) sighting {
	s := f.look()
	s.unread = explain(err)
	return s
}

// maxGrow bounds what is allocated because a file's metadata say that it is large.
const maxGrow = 1 << 28

// readText reads a file into a writer that does not fail, and hashes it on the way.
func (f *File) readText(file io.Reader, to io.Writer, earlier sighting) (*textHash, error) {
	hash := f.newTextHash(earlier)
	if f.cfg.MaxBytes > 0 && f.cfg.MaxBytes < math.MaxInt64 { // adding one must not overflow
		file = io.LimitReader(file, f.cfg.MaxBytes+1)
	}
	_, err := io.Copy(io.MultiWriter(to, hash), timedReader{file, &f.calls})
	switch {
	case err != nil:
		return f.newTextHash(earlier), explain(err)
	case f.cfg.MaxBytes > 0 && hash.length > f.cfg.MaxBytes: // it has grown
		return f.newTextHash(earlier), f.tooLarge()
	default:
		return hash, nil
	}
}

// A textHash hashes the text that is written to it, and finds out whether it begins with
// an earlier text.
type textHash struct {
	*maphash.Hash
	length  int64
	earlier sighting
	grown   bool
}

func (f *File) newTextHash(earlier sighting) *textHash {
	return &textHash{Hash: f.newHash(), earlier: earlier, grown: earlier.length == 0}
}

func (h *textHash) Write(piece []byte) (int, error) {
	first := h.earlier.length - h.length // so many more bytes make the length of the earlier text
	h.length += int64(len(piece))
	if 0 < first && first <= int64(len(piece)) {
		h.Hash.Write(piece[:first])
		h.grown = h.Sum64() == h.earlier.content
		piece = piece[first:]
		h.Hash.Write(piece)
		return int(first) + len(piece), nil
	}
	return h.Hash.Write(piece)
}

// A timedReader notes when each read begins and ends.
type timedReader struct {
	io.Reader
	calls *calls
}

func (r timedReader) Read(b []byte) (int, error) {
	defer r.calls.begin()()
	return r.Reader.Read(b)
}

// newHash returns a hash that tells texts apart. It is not cryptographic, but nobody
// knows its seed, and it takes a tenth of the time.
func (f *File) newHash() *maphash.Hash {
	hash := new(maphash.Hash)
	hash.SetSeed(f.seed)
	return hash
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
