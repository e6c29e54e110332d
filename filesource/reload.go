package filesource

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// Reload reads the file now: the hook for hosts with a watcher of their own. When
// it returns, the caches have forgotten what the change made wrong. It returns
// why the file could not be loaded, as [Open] does; what was loaded before stays,
// unless Config.FailClosed.
func (f *File) Reload() error {
	f.reloading.Lock()
	defer f.reloading.Unlock()
	return f.applyLocked(f.read())
}

// A sighting is what a look at the file found, by which the next look tells
// whether it has changed.
type sighting struct {
	info    fs.FileInfo // nil: missing, or not to be seen
	content [sha256.Size]byte
	settled bool // whether another content would have shown in info
	err     error
}

// sameFile reports whether both looks found the same file in the same state, as
// far as the file system tells.
func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.Mode() == b.Mode() &&
		a.ModTime().Equal(b.ModTime()) && changeTime(a).Equal(changeTime(b))
}

// File systems stamp with the time of the last clock tick, or in whole seconds,
// or two. A write within the same tick as the last one, of the same size, leaves
// no trace in the file's metadata; so a file whose stamp is not older than this
// is read again at the next look.
const (
	fineTick   = 100 * time.Millisecond
	coarseTick = 3 * time.Second
)

func settled(info fs.FileInfo, now time.Time) bool {
	stamp, tick := info.ModTime(), fineTick
	if stamp.Nanosecond() == 0 {
		tick = coarseTick
	}
	if changed := changeTime(info); changed.After(stamp) {
		stamp = changed
	}
	return now.Sub(stamp) > tick
}

// read reads the file in one state: a write that goes on under the reader is read
// again. A file that never rests is taken as it is; its next look is soon.
func (f *File) read() (string, sighting) {
	const tries = 5
	for i := 0; ; i++ {
		now := time.Now()
		before, err := os.Stat(f.path)
		if errors.Is(err, fs.ErrNotExist) {
			return "", sighting{settled: true}
		}
		var text string
		var content [sha256.Size]byte
		if err == nil {
			text, content, err = readFile(f.path, before.Size())
		}
		if errors.Is(err, fs.ErrNotExist) && i < tries {
			continue // deleted or swapped in between
		}
		if err != nil {
			return "", sighting{info: before, err: fmt.Errorf("filesource: %w", err)}
		}
		after, err := os.Stat(f.path)
		if i < tries && (err != nil || !sameFile(before, after)) {
			continue
		}
		return text, sighting{info: before, content: content, settled: settled(before, now)}
	}
}

// readFile reads a file of about this size into a string, and digests it on the way:
// the tokens share the string's memory, so that a slice would have to be copied.
func readFile(path string, size int64) (text string, content [sha256.Size]byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", content, err
	}
	defer file.Close()
	var b strings.Builder
	b.Grow(int(min(max(size, 0), maxGrow)))
	digest := sha256.New()
	if _, err := io.Copy(io.MultiWriter(&b, digest), file); err != nil {
		return "", content, err
	}
	return b.String(), [sha256.Size]byte(digest.Sum(nil)), nil
}

// maxGrow bounds what is allocated on the word of a file's metadata.
const maxGrow = 1 << 28

// applyLocked puts the tokens of what was read in place, and then tells the
// caches.
func (f *File) applyLocked(text string, seen sighting) error {
	last := f.seen
	f.seen = seen
	if f.loaded && seen.err == nil && last.err == nil && seen.content == last.content && (seen.info == nil) == (last.info == nil) {
		return f.Status().Err // touched, or as unsettled as before; parsed already
	}
	f.loaded = true
	doc, err := &document{}, seen.err
	if err == nil && seen.info != nil {
		doc, err = parse(f.path, text)
	}
	if err != nil {
		return f.failLocked(err)
	}
	f.replaceLocked(doc, nil)
	return nil
}

// failLocked notes that the file could not be loaded.
func (f *File) failLocked(err error) error {
	if f.cfg.FailClosed {
		f.replaceLocked(&document{}, err)
		return err
	}
	st := f.Status()
	f.finishLocked(Status{Time: time.Now(), Changed: st.Changed, Tokens: st.Tokens, Warnings: st.Warnings, Err: err})
	return err
}

// replaceLocked makes the document's tokens the present ones.
func (f *File) replaceLocked(doc *document, err error) {
	st := Status{Time: time.Now(), Changed: f.Status().Changed, Tokens: len(doc.tokens), Warnings: doc.warnings, Err: err}
	old := *f.tokens.Load()
	if !maps.Equal(old, doc.tokens) {
		st.Changed = st.Time
		// In this order. The other way round, a load in between would read the old
		// tokens and be stored after the clearing.
		f.tokens.Store(&doc.tokens)
		f.tell(old, doc.tokens)
	}
	f.finishLocked(st)
}

// tell has the caches forget what the change made wrong.
func (f *File) tell(old, now map[tokencache.TokenID]stored) {
	if f.cfg.OnlyChanged {
		f.caches.Evict(context.Background(), tokencache.CauseSource, changed(old, now)...)
	} else {
		f.caches.Clear(context.Background(), tokencache.CauseSource)
	}
}

// changed selects the tokens that differ. One that is new counts: a load that
// found it missing may be in flight.
func changed(old, now map[tokencache.TokenID]stored) []tokencache.Selector {
	names := make(map[tokencache.Account][]string)
	for id, s := range old {
		if now[id] != s {
			names[id.Account] = append(names[id.Account], id.Name)
		}
	}
	for id := range now {
		if _, ok := old[id]; !ok {
			names[id.Account] = append(names[id.Account], id.Name)
		}
	}
	var sels []tokencache.Selector
	for account, names := range names {
		if sel, err := account.Select(names...); err == nil { // the names were parsed: always
			sels = append(sels, sel)
		}
	}
	return sels
}

// finishLocked publishes the status, and reports it where it is news.
func (f *File) finishLocked(st Status) {
	old := f.status.Swap(&st)
	if errorText(old.Err) == errorText(st.Err) && old.Changed.Equal(st.Changed) && slices.Equal(old.Warnings, st.Warnings) {
		return
	}
	if st.Err != nil {
		f.cfg.Logger.Error("service tokens file not loaded", slog.String("path", f.path), slog.Any("error", st.Err))
	} else {
		f.cfg.Logger.Info("service tokens file loaded", slog.String("path", f.path), slog.Int("tokens", st.Tokens))
	}
	for _, w := range st.Warnings {
		f.cfg.Logger.Warn("service tokens file", slog.String("path", f.path), slog.String("line", w.String()))
	}
	if f.cfg.OnReload != nil {
		f.cfg.OnReload(st)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
