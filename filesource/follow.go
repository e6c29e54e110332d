package filesource

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// This file is the state machine by which the poller, Reload, Open and edits come
// to know what the file says. Its states:
//
//	look      stat the path (stale, watch.look). The poller ends here where nothing
//	          is new.
//	rest      two looks, a glance apart, must find the same (watch.rested): somebody
//	          may be writing.
//	read      read the text through one descriptor (draft, and read.go); the file
//	          must be the same before and after, and still be what the path names.
//	          If not: look.
//	patience  how long the text must stay as it is before it is believed depends on
//	          what it says (need). If it changes meanwhile: look.
//	check     read again where a change would not show in a look (confirm).
//	apply     put the tokens in place (apply.go), unless an edit was faster: look.
//	tell      the caches, then the status, the log and the host (apply.go).
//
// Open differs in that it does not wait for a text that looks complete; an edit in
// that it trusts nothing that has not rested, waits until its context is done, and
// changes the file between check and apply (edit.go).
//
// A file that never rests cannot stop the follower: after ten times Config.Rest a
// text that looks complete is taken without rest, and after twenty times the file
// counts as one that cannot be read.
const (
	glance     = 10 * time.Millisecond // between the looks of rest
	step       = 20 * time.Millisecond // between the looks of patience
	unfinished = 5                     // times Config.Rest, for a text that looks unfinished
	hurried    = 10                    // times Config.Rest
	hopeless   = 20                    // times Config.Rest
	slowRead   = 20 * time.Nanosecond  // what a byte takes to read at most, if nothing stops the process
)

// A reader is who runs the state machine.
type reader int

const (
	opening reader = iota
	following
	editing
)

// A knowledge is what the last apply left.
type knowledge struct {
	loaded bool // whether there was one
	seen   sighting
	rested bool      // whether the file had rested, so that an edit may build on it
	gone   time.Time // since when the file is missing
	count  int       // of applies
}

// A draft is what the file says, before it is applied.
type draft struct {
	seen   sighting
	text   string
	doc    *document // nil where there is no text; empty where there is no file
	layout *layout   // for an edit
	err    error     // why the file has no tokens that can be used
	need   time.Duration
	rested bool
	polled bool // by the poller
	count  int  // of applies before it
}

// looksComplete reports whether the draft may be taken without rest, if it must be.
func (d *draft) looksComplete() bool { return d.err == nil && (d.seen.missing() || ends(d.text)) }

var errRestless = errors.New("it changes all the time")

// poll follows the file until the context is done.
func (f *File) poll(ctx context.Context) {
	ticker := time.NewTicker(f.cfg.Poll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if f.stale() && f.load(ctx, following, true) == nil {
			f.report(ctx, true)
		}
	}
}

// stale reports whether the file may have changed since it was read. It follows
// symbolic links, so that a swap anywhere in the path shows as another file.
func (f *File) stale() bool {
	known := f.knowledge.Load()
	return known.seen.unread != nil || known.seen.info != nil && !known.seen.settled ||
		!known.seen.same(f.look()) || f.keptTooLong(known)
}

// load runs the state machine once, without the report to the host. The error is
// the context's; why the file could not be loaded is in the status.
func (f *File) load(ctx context.Context, who reader, poller bool) error {
	if err := acquire(ctx, f.turn); err != nil {
		return err
	}
	defer release(f.turn)
	for ctx.Err() == nil {
		d, err := f.settle(ctx, who)
		if err != nil {
			return err
		}
		if d.polled = poller; f.apply(ctx, d) {
			return nil
		}
	}
	return ctx.Err()
}

// settle looks at the file until it has rested, and returns what it says then. The
// error is the context's.
func (f *File) settle(ctx context.Context, who reader) (*draft, error) {
	w := &watch{File: f, known: f.knowledge.Load()}
	w.look()
	var d *draft
	for {
		rested := w.rested()
		if d == nil && (rested >= glance || who != following || f.cfg.Rest < 0) {
			d = f.draft(w.known, who)
			if !d.seen.same(w.last) {
				d = nil
			}
		} else if d != nil && rested >= d.need && !f.confirm(d) {
			w.since, d = time.Now(), nil // written again within one tick
			continue
		}
		if d != nil && rested >= d.need {
			d.rested = rested >= f.need(editing, w.known, d)
			return d, nil
		}
		if who != editing && w.restless > hurried*f.span() {
			if d := f.hurriedDraft(w.known, who, w.restless); d != nil {
				return d, nil
			}
		}
		if err := wait(ctx, f.pause(d, rested)); err != nil {
			return nil, err
		}
		if w.look() {
			d = nil
		}
	}
}

// A watch is a row of looks at the file.
type watch struct {
	*File
	known *knowledge
	last  sighting  // what the last look saw
	asked time.Time // right before the last look
	clock time.Time // the same, by the clock for the file system's stamps
	since time.Time // right after the first look that saw the file as it is

	// For how long the file has been watched. The time in which the process was kept
	// from running does not count: what looks restless after it may be a save that has
	// just begun.
	restless time.Duration
}

// look looks once more, and reports whether the file has changed since the last look.
func (w *watch) look() (changed bool) {
	before := time.Now()
	if !w.asked.IsZero() {
		w.restless += min(before.Sub(w.asked), 2*step+w.last.size()*slowRead)
	}
	w.asked, w.clock = before, w.sys.now()
	now := w.File.look()
	if now.same(w.last) && !w.since.IsZero() {
		return false
	}
	w.last, w.since = now, time.Now()
	return true
}

const forever = time.Duration(1<<63 - 1)

// rested returns for how long the file had been as it was seen when the last look
// began: the process may have been kept from running since. The file system's own
// stamps count only where they are long past, as its clock may be another machine's.
func (w *watch) rested() time.Duration {
	if w.known.rested && w.last.same(w.known.seen) && w.known.seen.settled {
		return forever
	}
	if w.last.info != nil && w.clock.Sub(stamp(w.last.info)) > max(coarseTick, unfinished*w.cfg.Rest) {
		return forever
	}
	return max(0, w.asked.Sub(w.since))
}

// pause returns how long to wait until the next look.
func (f *File) pause(d *draft, rested time.Duration) time.Duration {
	if d == nil {
		return glance
	}
	return min(step, max(d.need-rested, time.Millisecond))
}

// span is the unit of the times after which a restless file is not waited for.
func (f *File) span() time.Duration { return max(f.cfg.Rest, 2*glance) }

// hurriedDraft reads a file that does not rest. It returns nil where it is better
// to wait.
func (f *File) hurriedDraft(known *knowledge, who reader, waited time.Duration) *draft {
	if d := f.draft(known, who); d.looksComplete() {
		return d
	}
	if waited <= hopeless*f.span() {
		return nil
	}
	s := f.look()
	s.unread = fmt.Errorf("filesource: %s: %w", f.path, errRestless)
	return &draft{seen: s, err: s.failure(), count: known.count}
}

// draft reads the file and says how long it must rest.
func (f *File) draft(known *knowledge, who reader) *draft {
	text, seen, same := f.read(true)
	d := &draft{seen: seen, text: text, doc: &document{}, count: known.count}
	switch {
	case !same:
		d.seen = sighting{err: errRestless} // like no look
		d.err = errRestless
	case seen.failure() != nil:
		d.err = seen.failure()
	case !seen.missing() || who == editing:
		d.parse(text, who == editing)
		d.err = d.doc.err(f.path)
	}
	d.need = f.need(who, known, d)
	return d
}

// parse takes the text apart; for an edit, so that it can be put together again.
func (d *draft) parse(text string, edit bool) {
	if !edit {
		d.doc = parse(strings.TrimPrefix(text, bom), nil)
		return
	}
	d.layout = newLayout(text)
	d.doc = parse(d.layout.text, d.layout.add)
	d.layout.sort()
}

// need returns for how long a draft must rest before it is believed.
//
// Nobody can tell from a text whether its writer is done with it. So what does
// harm if it is believed too soon, a text that lacks tokens, has to rest; one that
// looks like the beginning of a text, longest: an in-place save begins with an
// empty file. What was put in place as a whole, by a rename or by a link, is
// complete.
func (f *File) need(who reader, known *knowledge, d *draft) time.Duration {
	rest := f.cfg.Rest
	old := f.view.Load().lastGood()
	switch {
	case rest < 0, known.loaded && d.seen.sameOutcome(known.seen) && (who != editing || known.trusted(d)):
		return 0
	case d.seen.missing() || d.seen.failure() != nil:
		if who == opening {
			return 0
		}
		return rest
	case placed(who, known, d):
		if who == following {
			return glance
		}
		return 0
	case d.err != nil || !ends(d.text) || len(d.doc.tokens) == 0 && len(old) > 0:
		if who == opening {
			return rest
		}
		return unfinished * rest
	case who == opening:
		return 0
	case who == following && keeps(old, d.doc.tokens):
		return glance
	default:
		return rest
	}
}

// trusted reports whether an edit may build on the draft, as the file has not changed
// since it was known to rest. That it says the same is not enough: others may have
// added to it and be saving it in place now, and what they have written so far may be
// just what was known (TestEditTrustsNoOldText). That it is missing as before is not
// either: it may have been there, and be renamed away for a moment.
func (k *knowledge) trusted(d *draft) bool {
	return k.rested && d.seen.info != nil && d.seen.same(k.seen)
}

// keeps reports whether all old tokens are among the new ones, unchanged.
func keeps(old, now map[string]string) bool {
	for name, hash := range old {
		if now[name] != hash {
			return false
		}
	}
	return true
}

// What is renamed into place was written before, under another name, and a rename
// changes the file's change time alone, where a write sets both times to the same.
// An editor may do likewise by setting the mode of a file that it is about to
// write: hence the margin. Edits of this package put the modification time back by
// more than that, so that readers in other processes know them at once.
//
// An empty file proves nothing: while the kernel truncates a file, which may take
// long on a busy disk, the size is zero already and the times are still the old
// ones (TestFaults found that). So edits of this package leave no empty file.
//
// What was last changed before a link in the path was made was complete then. That
// the path leads elsewhere than before is not enough: a file may have taken the
// link's place, or somebody may be writing to the file behind a link that is new to
// this reader alone (TestFaults found both).
const (
	placedMargin = 20 * time.Millisecond
	setBack      = 50 * time.Millisecond
)

// placed reports whether the file was put in place as a whole: by a rename, or by
// a swap of a link in the path.
func placed(who reader, known *knowledge, d *draft) bool {
	gap := changeTime(d.seen.info).Sub(d.seen.info.ModTime())
	if d.text == "" || who == editing && !ends(d.text) {
		return false
	}
	if known.seen.info == nil {
		return gap >= placedMargin
	}
	if os.SameFile(known.seen.info, d.seen.info) {
		return false // it is written to where it is, and its mode may be set in the middle (TestModeSetDuringAWrite)
	}
	return gap >= placedMargin || stamp(d.seen.info).Before(d.seen.linked)
}

// confirm reports whether the file still says what the draft says. Its metadata
// are the same; they tell enough, unless the text was read too soon after it was
// written.
func (f *File) confirm(d *draft) bool {
	if d.seen.info == nil || d.seen.failure() != nil || d.seen.settled {
		return true
	}
	_, seen, same := f.read(false)
	if same && seen.sameOutcome(d.seen) {
		d.seen.settled = seen.settled
		return true
	}
	return false
}

// acquire puts an element into a channel that has room for one, as a lock that can be
// waited for with a context. It does not where the context is done already.
func acquire(ctx context.Context, lock chan struct{}) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func release(lock chan struct{}) { <-lock }

// wait waits for this long, or until the context is done.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
