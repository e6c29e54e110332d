package filesource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"
)

// This file is the state machine by which the poller, Reload, Open and edits learn what
// the file says. Its states:
//
//	look      stat the path (stale, watch.look). The poller ends here if nothing
//	          is new.
//	rest      two looks, a glance apart, must find the same (watch.rested): somebody
//	          may be writing.
//	read      read the text through one descriptor (draft, and read.go); the file
//	          must be the same before and after, and still be what the path names.
//	          If not: look.
//	patience  how long the text must stay as it is before it is believed depends on
//	          what it says (need). If it changes meanwhile: look.
//	check     read again if a change would not show in a look (confirm).
//	apply     put the tokens in place (apply.go), unless an edit was faster: look.
//	tell      the caches, then the status, the log and the host (notifier.go).
//
// Open differs in that it does not wait for a text that looks complete; an edit in
// that it trusts nothing that has not rested, waits until its context is done, and
// changes the file between check and apply (edit.go).
//
// A file that never rests cannot stop the follower: after ten times Config.Rest a
// text that looks complete, and does not only grow, is taken without rest; after twenty
// times one that grows, and any other counts as a file that cannot be read.
const (
	glance     = 10 * time.Millisecond // between the looks of rest
	step       = 20 * time.Millisecond // between the looks of patience
	unfinished = 5                     // times Config.Rest, for a text that looks unfinished
	hurried    = 10                    // times Config.Rest
	hopeless   = 20                    // times Config.Rest
	slowRead   = 20 * time.Nanosecond  // what a byte takes to read at most, if nothing stops the process
	large      = 16 << 20              // bytes of a text that takes a while to parse, so that a start says so
	reread     = time.Minute           // after which the poller reads a file even if its times have not changed
)

// A reader says for whom the state machine runs.
type reader int

const (
	opening reader = iota
	following
	editing
)

// A knowledge is what is known of the file since the last apply.
type knowledge struct {
	loaded  bool // whether there was one
	seen    sighting
	since   time.Time // when it was first seen so
	read    time.Time // when it was last read
	ours    bool      // whether an edit of this File has written it, so that another edit may build on it
	gone    time.Time // since when the file is missing
	failing time.Time // since when it cannot be loaded, or zero
	count   int       // of applies
}

// A draft is what the file says, before it is applied.
type draft struct {
	seen   sighting
	since  time.Time // when it was first seen so
	text   string    // for an edit
	doc    *document // nil if there is no text; empty if there is no file
	layout *layout   // for an edit
	err    error     // why the file has no tokens that can be used
	need   time.Duration
	ours   bool // written by an edit of this File
	polled bool // by the poller
	count  int  // of applies before it
}

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
		if f.load(ctx, following, true) == nil {
			f.notifier.report(ctx, true)
		}
	}
}

// stale reports whether the file may have changed since it was read. It follows symbolic
// links, so that a swap anywhere in the path shows as another file. It stats the folder
// too: Linux gives finer time stamps to what somebody has looked at, so that the next
// rename shows in both (placed.go).
func (f *File) stale() bool {
	known := f.knowledge.Load()
	if known.seen.folder != "" {
		end := f.calls.begin()
		f.sys.statFolder(known.seen.folder)
		end()
	}
	return known.seen.unread != nil || known.seen.info != nil && !known.seen.wouldShow ||
		!known.seen.same(f.look()) || f.keptTooLong(known) || time.Since(known.read) >= reread
}

// load runs the state machine once, without the report to the host; the poller's ends
// at once if nothing is new. The error is the context's, or says that the file system
// does not answer; why the file could not be loaded is in the status.
func (f *File) load(ctx context.Context, who reader, poller bool) error {
	if err := f.takeTurn(ctx); err != nil {
		return err
	}
	for {
		d, err := f.awaitRestInTime(ctx, who, poller)
		if err != nil {
			return err // the turn is given back when the file system answers; after Close nobody needs it
		}
		if d != nil {
			d.polled = poller
		}
		if d == nil || f.apply(ctx, d) {
			release(f.turn)
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// takeTurn waits for the turn. It gives up if the file system does not answer the
// goroutine that has it.
func (f *File) takeTurn(ctx context.Context) error {
	for {
		turn, cancel := context.WithTimeout(ctx, f.tooLong())
		err := acquire(turn, f.turn)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if f.calls.longest() >= f.tooLong() {
			return f.hang()
		}
	}
}

// awaitRestInTime is awaitRest with a limit: it gives up if the file system does not
// answer, and the status then says so. The draft is nil if nothing is new to the poller.
// After an error, the turn is given back as soon as the file system answers.
func (f *File) awaitRestInTime(ctx context.Context, who reader, poller bool) (*draft, error) {
	done := start(func() (*draft, error) {
		if poller && !f.stale() {
			return nil, nil
		}
		return f.awaitRest(ctx, who, nil)
	})
	d, err, gaveUp := await(ctx, f, done, func() bool {
		f.applyHang(ctx, poller)
		return !poller // which goes on waiting: only the status has to be told
	})
	if gaveUp {
		go func() { <-done; release(f.turn) }()
	}
	return d, err
}

// awaitRest looks at the file until it has rested, and returns what it says then. The
// error is the context's. Now is for an edit: a file that the file system has just
// stamped with its own time, or nil.
func (f *File) awaitRest(ctx context.Context, who reader, now fs.FileInfo) (*draft, error) {
	w := &watch{File: f, known: f.knowledge.Load()}
	w.look()
	var d *draft
	for {
		rested := w.rested()
		if d == nil && (rested >= glance && w.asked.Sub(w.began) >= glance || who != following || f.cfg.Rest < 0) {
			d = w.draft(who, now)
			if !d.seen.same(w.last) {
				d = nil
			}
		} else if d != nil && rested >= d.need && !w.confirm(d) {
			w.since, d = time.Now(), nil // written again within one tick
			continue
		}
		if d != nil && rested >= d.need {
			return d, nil
		}
		if who != editing && w.restless > hurried*f.span() {
			if d := w.hurriedDraft(who); d != nil {
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

// pause returns how long to wait until the next look.
func (f *File) pause(d *draft, rested time.Duration) time.Duration {
	if d == nil {
		return glance
	}
	return min(step, d.need-rested)
}

// span is the unit of the limits for a file that does not rest.
func (f *File) span() time.Duration { return max(f.cfg.Rest, 2*glance) }

// hurriedDraft reads a file that does not rest. It returns nil if it is better to wait:
// if a text only grows, somebody writes it slowly.
func (w *watch) hurriedDraft(who reader) *draft {
	d := w.draft(who, nil)
	grows := d.seen.grown
	w.hurried = d.seen
	hopeless := w.restless > hopeless*w.span()
	complete := d.err == nil && (d.seen.missing() || d.doc.ended) && !w.emptied(d.doc)
	if complete && (!grows || hopeless) {
		return d
	}
	if !hopeless {
		return nil
	}
	s := w.File.look()
	s.unread = fmt.Errorf("filesource: %s: %w", w.shown, errRestless)
	return &draft{seen: s, since: time.Now(), err: s.failure(), count: w.known.count}
}

// draft reads the file and says how long it must rest.
func (w *watch) draft(who reader, now fs.FileInfo) *draft {
	d := &draft{since: w.since, doc: &document{}, count: w.known.count}
	before := time.Now()
	same, news := true, true
	if w.known.loaded && who != editing && w.last.size() == w.known.seen.size() {
		d.seen, same = w.read(io.Discard, w.hurried)
		news = same && !w.unchanged(d) // or there is nothing to parse
	}
	if news {
		d.seen, same = w.readDraft(d, who)
	}
	d.seen.wouldShow = w.wouldShow(before)
	switch {
	case !same:
		d.seen.err = errRestless // like no look
		d.err = errRestless
	case d.seen.failure() != nil:
		d.err = d.seen.failure()
	case w.unchanged(d) && who != editing:
		d.err = w.Status().Err // applied already
	case who == editing:
		d.parseEdit(d.text, w.old())
		d.err = d.doc.err(w.path)
	case !d.seen.missing():
		d.err = d.doc.err(w.path)
	}
	d.need = w.need(who, d, now)
	return d
}

// unchanged reports whether the draft says what is applied.
func (w *watch) unchanged(d *draft) bool {
	return w.known.loaded && d.seen.sameOutcome(w.known.seen)
}

// readDraft reads the file: the text for an edit, else what it says.
func (w *watch) readDraft(d *draft, who reader) (seen sighting, same bool) {
	size := w.last.size()
	if who == editing {
		var text strings.Builder
		text.Grow(int(min(size, maxGrow)))
		seen, same = w.read(&text, w.hurried)
		d.text = text.String()
		return seen, same
	}
	if who == opening && size >= large {
		w.cfg.Logger.Info("reading a large service tokens file", slog.String("path", w.path), slog.Int64("bytes", size))
	}
	p := newParser(w.old(), int(min(size, maxGrow)))
	seen, same = w.read(p, w.hurried)
	d.doc = p.end()
	return seen, same
}

// parseEdit takes the text apart so that it can be put together again. The tokens share
// the lines that are known.
func (d *draft) parseEdit(text string, known *tokens) {
	d.layout = newLayout(text)
	d.doc = parse(d.layout.text, known, d.layout.add)
	d.doc.ended = ends(text)
	d.layout.sort()
}

// need returns how long a draft must rest before it is believed.
//
// A text does not show whether its writer is done. So a text that lacks tokens has to
// rest, since it does harm if it is believed too soon. One that looks like the beginning
// of a text has to rest longest: an in-place save begins with an empty file.
func (w *watch) need(who reader, d *draft, now fs.FileInfo) time.Duration {
	rest := w.cfg.Rest
	switch {
	case rest < 0, w.ours(d), w.unchanged(d) && who != editing:
		return 0
	case d.seen.missing() || d.seen.failure() != nil:
		if who == opening {
			return 0
		}
		return rest
	case who == editing && w.aged(d, now):
		return glance
	case who == opening && d.err == nil && d.doc.ended:
		return 0
	case who == opening:
		return rest
	case d.err != nil || w.emptied(d.doc) || who == editing && d.doc.tokens.len() == 0:
		return unfinished * rest
	case who == following && w.placed(w.known, d.seen) && 2*w.gone(d.doc) <= w.old().len():
		return glance
	case !d.doc.ended:
		return unfinished * rest
	case who == following && w.gone(d.doc) == 0:
		return glance
	default:
		return rest
	}
}

// old returns the tokens of the last text that was good.
func (f *File) old() *tokens { return f.view.Load().lastGood() }

// emptied reports whether a text has no tokens although there were some.
func (f *File) emptied(doc *document) bool { return doc.tokens.len() == 0 && f.old().len() > 0 }

// gone returns how many tokens a text lacks, or has with another hash.
func (f *File) gone(doc *document) int { return f.old().missing(doc.tokens) }

// ours reports whether everybody, an edit too, may build on the draft: an edit of this
// File has written the file, and it has not changed since. The same text alone is not
// enough: others may have added to it and be saving it in place now, and what they have
// written so far may be just what was known (TestEditTrustsNoOldText). Nor is it enough
// that the file is still missing: it may have appeared, and be renamed away for a moment.
func (w *watch) ours(d *draft) bool {
	return w.known.ours && d.seen.info != nil && d.seen.same(w.known.seen) && d.seen.sameOutcome(w.known.seen)
}

// aged reports whether an edit may assume that nobody has written to the file for a
// while, although it has just begun to watch it: it compares the file's times with what
// the same file system has stamped now. The times prove nothing if the text is empty, or
// has another length than this File knows with these times: while the kernel truncates a
// file, the times are still the old ones.
func (w *watch) aged(d *draft, now fs.FileInfo) bool {
	if now == nil || d.text == "" || !onOneDevice(now, d.seen.info) {
		return false
	}
	known := w.known.seen.info
	if known != nil && os.SameFile(known, d.seen.info) && known.Size() != d.seen.info.Size() && stamp(known).Equal(stamp(d.seen.info)) {
		return false
	}
	return stamp(now).Sub(stamp(d.seen.info)) > max(coarseTick, unfinished*w.cfg.Rest)
}

// confirm reports whether the file still says what the draft says. Its metadata are the
// same, which is enough unless the text was read too soon after it was written.
func (w *watch) confirm(d *draft) bool {
	shows := w.wouldShow(time.Now())
	if !w.File.confirm(d) {
		return false
	}
	d.seen.wouldShow = shows || d.seen.wouldShow
	return true
}

// confirm reports whether the file still says what the draft says.
func (f *File) confirm(d *draft) bool {
	if d.seen.info == nil || d.seen.failure() != nil || d.seen.wouldShow {
		return true
	}
	seen, same := f.read(io.Discard, sighting{})
	return same && seen.sameOutcome(d.seen)
}

// acquire puts an element into a channel that has room for one: a lock that can be
// waited for with a context. It returns the context's error at once if the context has
// ended already.
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
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
