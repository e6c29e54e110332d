package filesource

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// A view is what Lookup sees of the file. It is replaced, never changed.
type view struct {
	tokens *tokens
	err    error   // with Config.FailClosed: why no token is accepted
	before *tokens // if there is an error, the tokens before it: need asks whether a text lacks any
}

// lastGood returns the tokens of the last text that was good.
func (v *view) lastGood() *tokens {
	if v.err != nil {
		return v.before
	}
	return v.tokens
}

// apply makes a draft's tokens the present ones and tells the caches. It reports false if
// the context has ended, or if an edit was applied after the first look at the file: the
// draft would undo it.
func (f *File) apply(ctx context.Context, d *draft) bool {
	if acquire(ctx, f.applying) != nil {
		return false
	}
	defer release(f.applying)
	if d.count != f.knowledge.Load().count {
		return false
	}
	f.applyLocked(ctx, d)
	return true
}

// applyHang says in the status that the file system does not answer. A draft that is
// being read meanwhile is not applied. An edit that waits for the file system right
// before its rename holds applying, and the status then stays as it is.
func (f *File) applyHang(ctx context.Context, poller bool) {
	select {
	case f.applying <- struct{}{}:
	default:
		return
	}
	defer release(f.applying)
	if err := f.hang(); errorText(f.knowledge.Load().seen.err) != err.Error() {
		f.applyLocked(ctx, &draft{seen: sighting{err: err}, since: time.Now(), err: err, polled: poller})
	}
	if poller {
		f.notifier.report(ctx, poller)
	}
}

// applyLocked is called with applying held.
func (f *File) applyLocked(ctx context.Context, d *draft) {
	last, now := f.knowledge.Load(), time.Now()
	next := &knowledge{loaded: true, seen: d.seen, since: d.since, read: now, ours: d.ours, gone: last.gone, failing: last.failing, count: last.count + 1}
	if !d.seen.missing() || !last.seen.missing() {
		next.gone = now
	}
	if d.err == nil {
		next.failing = time.Time{}
	} else if last.failing.IsZero() {
		next.failing = now
	}
	same := last.loaded && d.seen.sameOutcome(last.seen) && !f.keptTooLong(last)
	if same && d.seen.same(last.seen) {
		next.ours = d.ours || last.ours
	}
	defer f.knowledge.Store(next) // last: a reader that sees it must see the view that it is about
	if same {
		return // only touched, or so fresh that its times prove nothing; its text was parsed before
	}
	st := Status{Time: now, Changed: f.Status().Changed, Err: d.err, Failing: next.failing, Missing: d.seen.missing()}
	old := f.view.Load()
	present := f.present(d, next, old, &st)
	st.Tokens = present.tokens.len()
	differs := f.replaceLocked(ctx, old, present, d.polled)
	if differs {
		st.Changed = now
	}
	f.publishLocked(st, differs || last.loaded && d.seen.missing() != last.seen.missing(), old.tokens.len())
}

// present returns the view that a draft leads to, and notes its warnings.
func (f *File) present(d *draft, now *knowledge, old *view, st *Status) *view {
	switch {
	case d.err != nil && (f.cfg.FailClosed || f.badTooLong(now)):
		return &view{err: fmt.Errorf("filesource: no token of %s is accepted: %w", f.shown, d.err), before: old.lastGood()}
	case d.err != nil:
		st.Warnings, st.MoreWarnings = f.Status().Warnings, f.Status().MoreWarnings
		return old
	case d.seen.missing() && f.cfg.KeepMissing > 0 && !f.keptTooLong(now):
		st.Warnings, st.MoreWarnings = f.Status().Warnings, f.Status().MoreWarnings
		return &view{tokens: old.tokens} // without its error: that a file is missing is not one
	default:
		st.Warnings, st.MoreWarnings = d.doc.warnings.first, d.doc.warnings.more
		return &view{tokens: d.doc.tokens}
	}
}

// keptTooLong reports whether tokens of a missing or bad file are in force for longer
// than Config.KeepMissing or Config.KeepBad allows.
func (f *File) keptTooLong(k *knowledge) bool {
	if f.badTooLong(k) {
		return f.view.Load().err == nil
	}
	return f.cfg.KeepMissing > 0 && k.seen.missing() && time.Since(k.gone) >= f.cfg.KeepMissing && f.view.Load().tokens.len() > 0
}

// badTooLong reports whether the file has been bad for longer than its tokens are kept.
func (f *File) badTooLong(k *knowledge) bool {
	return f.cfg.KeepBad > 0 && !k.failing.IsZero() && time.Since(k.failing) >= f.cfg.KeepBad
}

// replaceLocked puts the new view in place and tells the caches. It reports whether
// the tokens have changed.
func (f *File) replaceLocked(ctx context.Context, old, next *view, poller bool) (differs bool) {
	// In this order. The other way round, a load in between would read the old
	// tokens and be stored after the clearing.
	f.view.Store(next)
	differs = !old.tokens.equal(next.tokens)
	outage := (old.err != nil) != (next.err != nil)
	if !differs && !outage {
		return false
	}
	ctx, told := f.notifier.begin(ctx, poller)
	defer told()
	if outage || !f.cfg.OnlyChanged {
		f.caches.Clear(ctx, tokencache.CauseSource)
	} else {
		f.caches.Evict(ctx, tokencache.CauseSource, changed(old.tokens, next.tokens)...)
	}
	return differs
}

// changed selects the tokens that differ. A new token is among them: a load that has
// found it missing may be in flight.
func changed(old, now *tokens) []tokencache.Selector {
	names := make(map[tokencache.Account][]string)
	note := func(name string) {
		if id, err := tokencache.ParseTokenID(name); err == nil { // always: it was parsed before
			names[id.Account] = append(names[id.Account], id.Name)
		}
	}
	for name, hash := range old.all() {
		if is, _ := now.get(name); is != hash {
			note(name)
		}
	}
	for name := range now.all() {
		if _, ok := old.get(name); !ok {
			note(name)
		}
	}
	var sels []tokencache.Selector
	for account, names := range names {
		if sel, err := account.Select(names...); err == nil {
			sels = append(sels, sel)
			continue
		}
		for _, name := range names { // of these, one begins as a bearer does
			if sel, err := account.TokenID(name).Select(); err == nil { // always: it was parsed before
				sels = append(sels, sel)
			}
		}
	}
	return sels
}

// A notice is a status to report, with the number of tokens before it.
type notice struct {
	Status
	had int // how many tokens there were before
}

// publishLocked publishes the status, and keeps it for report if there is news in it.
func (f *File) publishLocked(st Status, news bool, had int) {
	old := f.status.Swap(&st)
	if !news && errorText(old.Err) == errorText(st.Err) &&
		slices.Equal(old.Warnings, st.Warnings) && old.MoreWarnings == st.MoreWarnings {
		return
	}
	f.notifier.add(notice{st, had})
}

// log writes a notice to the log.
func (f *File) log(st notice) {
	log, path := f.cfg.Logger, slog.String("path", f.path)
	switch {
	case st.Err != nil:
		log.Error("service tokens file not loaded", path, slog.Int("tokens", st.Tokens), slog.Any("error", st.Err))
	case st.Missing: // not at Open, which warns by itself
		log.Warn("service tokens file is gone", path, slog.Int("tokens", st.Tokens))
	case 2*st.Tokens < st.had:
		log.Warn("service tokens file loaded: most tokens have gone", path, slog.Int("tokens", st.Tokens), slog.Int("before", st.had))
	default:
		log.Info("service tokens file loaded", path, slog.Int("tokens", st.Tokens))
	}
	for _, w := range st.Warnings {
		log.Warn("service tokens file", path, slog.String("line", w.String()))
	}
	if st.MoreWarnings > 0 {
		log.Warn("service tokens file has more such lines", path, slog.Int("more", st.MoreWarnings))
	}
}
