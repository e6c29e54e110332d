package filesource

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/svctoken/svctoken/internal/passhash"
	"github.com/svctoken/svctoken/tokencache"
)

var (
	// ErrNotDurable is wrapped by the error of an edit that is in force, here and
	// for all readers of the file, but which a crash of the machine may undo,
	// because syncing it to disk failed.
	ErrNotDurable = errors.New("filesource: the change is in force, but a crash may undo it")

	errLocked = errors.New("filesource: another writer holds the lock")
)

// Create adds a token with a random secret to the file, as a PBKDF2_STRETCH hash or, with
// Config.FastHash, an {SSHA256} one, and returns it. Nobody can read the secret later. If
// there is no file, it is created: readable for its owner, and for its group if the
// folder is the group's alone. When Create returns, the caches have been told.
//
// The file is replaced as a whole, at once and durably, with its mode and attributes
// kept, and its owner if permitted; its token lines are sorted, and its comments stay. It
// is edited once it has rested, see the package's documentation, and is read again if it
// changes before it is replaced. A lock keeps out other writers that use this package.
// Create waits for both until the context is done, and half a second longer for a file
// system that does not answer.
//
// The error wraps tokencache.ErrExists, or tokencache.ErrClosed after Close, is a
// *tokencache.NameError for an invalid id or a [*FormatError] for a file with bad
// lines, which is left as it is, or says what went wrong with reading, locking or
// writing. If it comes after the file was replaced, the token is returned with it: it
// is in force if the error wraps [ErrNotDurable], and otherwise may be in force or not.
func (f *File) Create(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
	if err := id.ValidateNew(); err != nil {
		return tokencache.Token{}, err
	}
	token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
	if err != nil {
		return tokencache.Token{}, err
	}
	name, hash := id.String(), f.newPasshash(token)
	replaced, err := f.edit(ctx, func(d *draft, _ bool) (bool, error) {
		switch d.layout.line(name) {
		case "":
			d.layout.insert(name, name+":"+hash)
			d.doc.put(name + ":" + hash)
			return true, nil
		case name + ":" + hash: // of an attempt before
			return false, nil
		default:
			return false, f.exists(d, id)
		}
	})
	if err != nil && (!replaced || errors.Is(err, tokencache.ErrExists)) {
		return tokencache.Token{}, err
	}
	return token, err
}

// newPasshash returns a new hash of a token's secret.
func (f *File) newPasshash(token tokencache.Token) string {
	if f.cfg.FastHash {
		return passhash.Fast(token.Secret().Reveal())
	}
	return passhash.Generate(token.Secret().Reveal())
}

// exists returns Create's error for a token that has a line already.
func (f *File) exists(d *draft, id tokencache.TokenID) error {
	if _, ok := d.doc.tokens.get(id.String()); !ok {
		return fmt.Errorf("%w: %s has a line in %s, which is not in force: see the warnings of Status; Rotate makes it good, Delete removes it", tokencache.ErrExists, id, f.shown)
	}
	return fmt.Errorf("%w: %s in %s", tokencache.ErrExists, id, f.shown)
}

// Rotate gives a token a new random secret, and returns it. The old secret is refused
// from then on: the file is replaced once, and there is no moment without the token. A
// token whose line is not in force, as its hash is of no known form, gets one that is.
// Two calls at once make a secret each, and the later one's is in force. Rotate is
// otherwise like Create. The error wraps tokencache.ErrNotFound if the file has no such token.
func (f *File) Rotate(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
	token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
	if err != nil {
		return tokencache.Token{}, err
	}
	name, hash := id.String(), f.newPasshash(token)
	replaced, err := f.edit(ctx, func(d *draft, _ bool) (bool, error) {
		switch d.layout.line(name) {
		case "":
			return false, fmt.Errorf("%w: %s in %s", tokencache.ErrNotFound, id, f.shown)
		case name + ":" + hash: // of an attempt before
			return false, nil
		}
		d.layout.replace(name, name+":"+hash)
		d.doc.put(name + ":" + hash)
		return true, nil
	})
	if err != nil && (!replaced || errors.Is(err, tokencache.ErrNotFound)) {
		return tokencache.Token{}, err
	}
	return token, err
}

// Delete removes a token from the file, with every line that it has, and is
// otherwise like Create. The error wraps tokencache.ErrNotFound if the file has no such
// token.
func (f *File) Delete(ctx context.Context, id tokencache.TokenID) error {
	if err := id.Validate(); err != nil {
		return err
	}
	name := id.String()
	_, err := f.edit(ctx, func(d *draft, again bool) (bool, error) {
		if d.layout.remove(name) {
			d.doc.tokens.remove(name)
			return true, nil
		}
		if again { // an earlier attempt has removed it
			return false, nil
		}
		return false, fmt.Errorf("%w: %s in %s", tokencache.ErrNotFound, id, f.shown)
	})
	return err
}

// A change changes a draft's layout and tokens. Again says that an earlier attempt has
// replaced the file. It reports whether there is anything to write.
type change func(d *draft, again bool) (write bool, err error)

// An edit is a change on its way into the file.
type edit struct {
	*File
	change   change
	outcome  atomic.Int32 // one of those below
	replaced bool         // whether a file has been replaced
	late     string       // lines that others appended right before the file was replaced
}

// The outcomes of an edit, for a caller that does not wait for its end.
const (
	pending   int32 = iota
	begun           // the rename has begun
	abandoned       // nobody waits any more, and no rename will begin
	closed          // the File was closed, and no rename will begin
)

// errAbandoned reaches no caller: it has returned, or gets the error of a closed File.
var errAbandoned = errors.New("filesource: the edit was abandoned")

// errAgain says that the file is no longer the one that was read.
var errAgain = errors.New("filesource: the file has changed meanwhile")

// edit changes the file under the writers' lock, and applies the change. It starts again
// if others change the file before it is replaced, or put another in its place. It
// reports whether the file was replaced, or may have been, even if there is an error.
func (f *File) edit(ctx context.Context, c change) (replaced bool, err error) {
	if f.closed.Load() {
		return false, f.closedError()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e := &edit{File: f, change: c}
	defer context.AfterFunc(f.life, func() {
		if e.outcome.CompareAndSwap(pending, closed) {
			cancel()
		}
	})()
	replaced, err = e.await(ctx)
	if err != nil && e.outcome.Load() == closed {
		return false, f.closedError()
	}
	return replaced, err
}

// await waits until a notification that is under way is over, runs the edit, and waits
// for its end.
func (e *edit) await(ctx context.Context) (replaced bool, err error) {
	if err := e.notifier.untilTold(ctx); err != nil {
		return false, fmt.Errorf("filesource: %s: %w", e.shown, err)
	}
	defer e.notifier.report(e.life, false)
	done := start(func() (bool, error) {
		err := e.run(ctx)
		return e.replaced, err
	})
	wait := func() bool { return false } // as long as the caller waits
	replaced, err, gaveUp := await(ctx, e.File, done, wait)
	if gaveUp {
		e.outcome.CompareAndSwap(pending, abandoned)
		replaced = e.outcome.Load() == begun
		if replaced {
			err = fmt.Errorf("%w; the change may be in force or not", err)
		}
	}
	return replaced, err
}

// run makes attempts until the file has the change, and whatever others appended
// meanwhile.
func (e *edit) run(ctx context.Context) error {
	err := e.attempts(ctx)
	if err != nil && e.late != "" && ctx.Err() != nil {
		// Lines that others appended must not be lost because our caller has gone.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mostRescue)
		defer cancel()
		if rescue := e.attempts(ctx); e.late == "" {
			err = rescue
		}
	}
	if err != nil && e.late != "" {
		err = fmt.Errorf("%w; %d bytes that others appended to it meanwhile are lost", err, len(e.late))
	}
	return err
}

// mostRescue bounds how long an edit whose context is done keeps trying to put into the
// file what others appended.
const mostRescue = 10 * time.Second

func (e *edit) attempts(ctx context.Context) error {
	for {
		target, err := e.target()
		if err != nil {
			return fmt.Errorf("filesource: %s: %w", e.shown, err)
		}
		if err = e.attempt(ctx, target); errors.Is(err, fs.ErrNotExist) {
			if now, err2 := e.target(); err2 != nil || now != target {
				err = errAgain // the folder has gone, as after a swap of ..data
			}
		}
		if err != errAgain {
			return err
		}
		if err := wait(ctx, glance); err != nil {
			return fmt.Errorf("filesource: %s is changed by others: %w", e.shown, err)
		}
	}
}

// attempt edits the file as it is now. The error is errAgain if another attempt is
// needed.
func (e *edit) attempt(ctx context.Context, target string) error {
	held, err := e.lock(ctx, target)
	if err != nil {
		return err
	}
	defer func() { held.unlock(e.replaced) }()
	if held.stamped != nil {
		e.sweep(target, stamp(held.stamped))
	}
	d, err := e.awaitRest(ctx, editing, held.stamped)
	if err != nil {
		return fmt.Errorf("filesource: %s does not rest: %w", e.shown, err)
	}
	if d.err != nil {
		return d.err
	}
	late := e.late != ""
	if late {
		d.parseEdit(d.text+e.late, e.old())
	}
	write, refused := e.change(d, e.replaced)
	if refused != nil && !late {
		return refused
	}
	if !write && !late {
		return e.adopt(ctx, d, target)
	}
	return cmp.Or(e.replace(ctx, d, target), refused)
}

const mostLinks = 40 // in a path, as in Linux

// target returns the path of the file to replace. It follows links, even to a file that
// does not exist yet: a rename onto a link would replace the link.
func (f *File) target() (string, error) {
	path := f.path
	for range mostLinks {
		real, err := f.sys.resolve(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return real, err
		}
		folder, name := filepath.Split(path) // not Dir, which cleans the path: ".." counts from where links lead
		folder, err = f.sys.resolve(cmp.Or(folder, "."))
		if err != nil {
			return "", err
		}
		path = filepath.Join(folder, name)
		link, err := f.sys.readLink(path)
		if err != nil {
			return path, nil // there is no file; if one appears, a later check notices it
		}
		if !filepath.IsAbs(link) {
			link = folder + string(filepath.Separator) + link // not Join, likewise
		}
		path = link
	}
	return "", &fs.PathError{Op: "readlink", Path: f.path, Err: errors.New("too many links")}
}

// A held is the writers' lock while it is held.
type held struct {
	unlock  func(keep bool) // keep is false if the edit wrote nothing: a lock file that was made for it is removed
	stamped fs.FileInfo     // a file that the file system has just stamped with its own time, or nil
}

// lock waits for the writers' lock of a file.
func (f *File) lock(ctx context.Context, target string) (*held, error) {
	path := beside(target, "lock")
	for {
		like, err := f.original(target)
		if err != nil {
			return nil, explainEdit(err)
		}
		held, err := f.sys.lock(path, like)
		if err == nil {
			return held, nil
		}
		if !errors.Is(err, errLocked) {
			return nil, explainEdit(err)
		}
		if err := wait(ctx, glance); err != nil {
			return nil, fmt.Errorf("%w, %s: %w", errLocked, printable(path), err)
		}
	}
}

// beside returns the path of a hidden file of ours beside the tokens file.
func beside(target, suffix string) string {
	return filepath.Join(filepath.Dir(target), "."+shortBase(target)+"."+suffix)
}

// longestBase is how many bytes of the tokens file's name go into the names of our files
// beside it: a name has 255 bytes at most.
const longestBase = 200

// shortBase returns the file's name, or a shorter one in its place.
func shortBase(target string) string {
	base := filepath.Base(target)
	if len(base) <= longestBase {
		return base
	}
	sum := sha256.Sum256([]byte(base))
	return fmt.Sprintf("%s-%x", strings.ToValidUTF8(base[:longestBase], ""), sum[:8])
}

// adopt applies a draft that has the change from an earlier attempt.
func (e *edit) adopt(ctx context.Context, d *draft, target string) error {
	if err := acquire(ctx, e.applying); err != nil {
		return fmt.Errorf("filesource: %s: %w", e.shown, err)
	}
	defer release(e.applying)
	if !e.stillReads(d, target) {
		return errAgain
	}
	e.applyLocked(ctx, d)
	return nil
}

// replace puts a file with the draft's layout in the place of the one that was read, and
// applies it. It returns errAgain if somebody has put another file there since, or has
// appended to the old one between the last check and the rename.
func (e *edit) replace(ctx context.Context, d *draft, target string) error {
	temp, err := e.writeTemp(d, target)
	if err == errAgain {
		return err
	}
	if err != nil {
		return explainEdit(err)
	}
	old := e.openOld(target)
	if old != nil {
		defer old.Close()
	}
	if err := e.swap(ctx, d, temp, target); err != nil {
		e.sys.remove(temp.name)
		return err
	}
	// The change is in force from here on, even if what follows fails.
	unsynced := e.sys.syncFolder(filepath.Dir(target))
	now := e.look()
	e.late = e.appended(d, old)
	if now.missing() || now.info != nil && (now.err != nil || !os.SameFile(now.info, temp.info)) || e.late != "" {
		return errAgain
	}
	if unsynced != nil {
		return fmt.Errorf("%w: %w", ErrNotDurable, unsynced)
	}
	return nil
}

// swap puts the temporary file in the target's place, if that is still the file that was
// read, and applies it. The follower applies nothing meanwhile: a text that it read
// earlier would undo the edit.
func (e *edit) swap(ctx context.Context, d *draft, temp tempFile, target string) error {
	if err := acquire(ctx, e.applying); err != nil {
		return fmt.Errorf("filesource: %s: %w", e.shown, err)
	}
	defer release(e.applying)
	if !e.stillReads(d, target) {
		return errAgain
	}
	if e.outcome.Load() != begun && !e.outcome.CompareAndSwap(pending, begun) {
		return errAbandoned
	}
	if err := e.put(d, temp.name, target); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return errAgain
		}
		return explainEdit(err)
	}
	e.replaced = true
	e.applyLocked(ctx, e.written(d, temp, e.look()))
	return nil
}

// put puts the temporary file in the target's place. If there was no file, it must not
// replace one that somebody has made since.
func (e *edit) put(d *draft, temp, target string) error {
	if d.seen.missing() {
		err := e.sys.link(temp, target)
		if err == nil {
			e.sys.remove(temp)
		}
		if err == nil || errors.Is(err, fs.ErrExist) {
			return err
		} // otherwise the file system has no hard links
	}
	return e.sys.rename(temp, target)
}

// openOld opens the file that is about to be replaced, to see afterwards whether
// somebody has written to it. It returns nil if that cannot be seen.
func (e *edit) openOld(target string) handle {
	if !e.sys.replacesOpen {
		return nil
	}
	old, err := e.sys.open(target)
	if err != nil {
		return nil
	}
	return old
}

// appended returns the whole lines that somebody has appended, since the last check, to
// the file that was replaced. Any other change to it is lost, as always when a file is
// replaced while somebody writes to it.
func (e *edit) appended(d *draft, old handle) string {
	if old == nil {
		return ""
	}
	info, err := old.Stat()
	if err != nil || info.Size() <= int64(len(d.text)) {
		return ""
	}
	var text strings.Builder
	_, err = e.readText(old, &text, sighting{})
	lines, ok := strings.CutPrefix(text.String(), d.text)
	if err != nil || !ok || d.text != "" && !ends(d.text) || !ends(lines) || parse(lines, nil, nil).bad.first != nil {
		return ""
	}
	return lines
}

// stillReads reports whether the path still names the file that was read, and that
// file is as it was.
func (e *edit) stillReads(d *draft, target string) bool {
	now, err := e.target()
	return err == nil && now == target && e.confirm(d) && e.look().same(d.seen)
}

// written returns the draft of the file that was written.
func (e *edit) written(d *draft, temp tempFile, now sighting) *draft {
	doc := &document{tokens: d.doc.tokens}
	if d.doc.warnings.first != nil { // their lines have other numbers now, or have gone
		p := newParser(d.doc.tokens, 0)
		to := bufio.NewWriter(p)
		d.layout.writeTo(to) // a parser does not fail
		to.Flush()
		doc = p.end()
	}
	if now.info == nil || !os.SameFile(now.info, temp.info) || !now.info.ModTime().Equal(temp.modified) {
		now.info = temp.info // another file, or one that was written to: the next look finds a difference
	}
	seen := sighting{info: now.info, content: temp.content, folder: d.seen.folder}
	return &draft{seen: seen, since: time.Now(), doc: doc, ours: true}
}

// sweep removes the temporary files of writers that were killed. The
// lock is held, so that no other writer is at work; the minute is for file systems
// whose locks are not known to other machines. The time is the file system's.
func (f *File) sweep(target string, now time.Time) {
	const stale = time.Minute
	folder, prefix := filepath.Dir(target), tempPrefix(target)
	entries, _ := f.sys.readDir(folder) // if the folder cannot be read, writing the file fails and says why
	for _, entry := range entries {
		middle, ok := strings.CutPrefix(entry.Name(), prefix)
		middle, ok2 := strings.CutSuffix(middle, tempSuffix)
		if !ok || !ok2 || middle == "" || strings.Trim(middle, "0123456789") != "" {
			continue
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && now.Sub(info.ModTime()) > stale {
			f.sys.remove(filepath.Join(folder, entry.Name()))
		}
	}
}
