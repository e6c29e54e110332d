package filesource

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// This file is the state machine by which the poller, Reload, Open and edits come
// to know what the file says. Its states:
//
//	look      stat the path. The poller ends here where nothing is new.
//	rest      two looks, a glance apart, must find the same: somebody may be writing.
//	read      read the text through one descriptor; the file must be the same
//	          before and after, and still be what the path names. If not: look.
//	patience  how long the text must stay as it is before it is believed depends on
//	          what it says (see need). If it changes meanwhile: look.
//	check     look once more, and read again where a change would not show.
//	apply     put the tokens in place (apply.go), unless an edit was faster: look.
//	tell      the caches, then the status, the log and the host.
//
// Open differs in that it does not wait for a text that looks complete; an edit in
// that it trusts nothing that has not rested, waits until its context is done, and
// changes the file between check and apply.
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
	count  int // of applies before it
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
		if f.stale() && f.load(ctx, following) == nil {
			f.report(ctx, true)
		}
	}
}

// stale reports whether the file may have changed since it was read. It follows
// symbolic links, so that a swap anywhere in the path shows as another file.
func (f *File) stale() bool {
	known := f.known()
	return known.seen.unread != nil || known.seen.info != nil && !known.seen.settled ||
		!known.seen.same(f.look()) || f.keptTooLong(known)
}

// known returns what the last apply left.
func (f *File) known() knowledge {
	f.applying.Lock()
	defer f.applying.Unlock()
	return f.knowledge
}

// load runs the state machine once, without the report to the host. The error is
// the context's; why the file could not be loaded is in the status.
func (f *File) load(ctx context.Context, who reader) error {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		d, err := f.settle(ctx, who)
		if err != nil {
			return err
		}
		if f.apply(ctx, d) {
			return nil
		}
	}
}

// settle looks at the file until it has rested, and returns what it says then. The
// error is the context's.
func (f *File) settle(ctx context.Context, who reader) (*draft, error) {
	var (
		known = f.known()
		start = time.Now()
		last  = f.look()
		since = start // when it was seen first as it is
		d     *draft
	)
	for {
		rested := f.restedFor(last, known, time.Since(since))
		if d == nil && (rested >= glance || who != following || f.cfg.Rest < 0) {
			d = f.draft(known, who)
			if !d.seen.same(last) {
				d = nil
			}
		} else if d != nil && rested >= d.need && !f.confirm(d) {
			d, since = nil, time.Now() // written again within one tick
			continue
		}
		if d != nil && rested >= d.need {
			d.rested = rested >= f.need(editing, known, d)
			return d, nil
		}
		if who != editing && time.Since(start) > hurried*f.span() {
			if d := f.hurriedDraft(known, who, time.Since(start)); d != nil {
				return d, nil
			}
		}
		if err := wait(ctx, f.pause(d, rested)); err != nil {
			return nil, err
		}
		if now := f.look(); !now.same(last) {
			last, since, d = now, time.Now(), nil
		}
	}
}

const forever = time.Duration(1<<63 - 1)

// restedFor returns for how long the file has been as it was seen. The file
// system's own stamps count only where they are long past, as its clock may be
// another machine's.
func (f *File) restedFor(seen sighting, known knowledge, observed time.Duration) time.Duration {
	if known.rested && seen.same(known.seen) && known.seen.settled {
		return forever
	}
	if seen.info != nil && f.sys.now().Sub(stamp(seen.info)) > max(coarseTick, unfinished*f.cfg.Rest) {
		return forever
	}
	return observed
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
func (f *File) hurriedDraft(known knowledge, who reader, waited time.Duration) *draft {
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
func (f *File) draft(known knowledge, who reader) *draft {
	text, seen, same := f.read(true)
	d := &draft{seen: seen, text: text, doc: &document{}, count: known.count}
	switch {
	case !same:
		d.seen = sighting{err: errRestless} // like no look
		d.err = errRestless
	case seen.failure() != nil:
		d.err = seen.failure()
	case !seen.missing() || who == editing:
		if who == editing {
			d.layout = &layout{}
			d.doc = parse(text, d.layout.add)
		} else {
			d.doc = parse(text, nil)
		}
		d.err = d.doc.err(f.path)
	}
	d.need = f.need(who, known, d)
	return d
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

// need returns for how long a draft must rest before it is believed.
//
// Nobody can tell from a text whether its writer is done with it. So what does
// harm if it is believed too soon, a text that lacks tokens, has to rest; one that
// looks like the beginning of a text, longest: an in-place save begins with an
// empty file. What was put in place as a whole, by a rename or by a link, is
// complete.
func (f *File) need(who reader, known knowledge, d *draft) time.Duration {
	rest := f.cfg.Rest
	old := *f.view.Load()
	switch {
	case rest < 0, known.loaded && d.seen.sameOutcome(known.seen) && (known.rested || who != editing):
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
	case d.err != nil || !ends(d.text) || len(d.doc.tokens) == 0 && len(old.tokens) > 0:
		if who == opening {
			return rest
		}
		return unfinished * rest
	case who == opening:
		return 0
	case who == following && keeps(old.tokens, d.doc.tokens):
		return glance
	default:
		return rest
	}
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
func placed(who reader, known knowledge, d *draft) bool {
	gap := changeTime(d.seen.info).Sub(d.seen.info.ModTime())
	if d.text == "" || who == editing && !ends(d.text) {
		return false
	}
	if known.seen.info == nil {
		return gap >= placedMargin
	}
	if os.SameFile(known.seen.info, d.seen.info) {
		return !known.rested && gap >= placedMargin
	}
	return gap >= placedMargin || stamp(d.seen.info).Before(d.seen.linked)
}

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
