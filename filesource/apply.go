package filesource

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// A view is what Lookup sees of the file. It is replaced, never changed.
type view struct {
	tokens map[string]string // hashes by qualified name
	err    error             // with Config.FailClosed: why there are no tokens
	before map[string]string // where there is an error: the tokens before it, as need asks whether a text lacks any
}

// lastGood returns the tokens of the last text that was good.
func (v *view) lastGood() map[string]string {
	if v.err != nil {
		return v.before
	}
	return v.tokens
}

// apply makes a draft's tokens the present ones and tells the caches. It reports
// false where an edit has been applied since the file was first looked at, or the
// context is done before.
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

// applyLocked is called with applying held.
func (f *File) applyLocked(ctx context.Context, d *draft) {
	last, now := f.knowledge.Load(), time.Now()
	next := &knowledge{loaded: true, seen: d.seen, rested: d.rested, gone: last.gone, count: last.count + 1}
	if !d.seen.missing() || !last.seen.missing() {
		next.gone = now
	}
	same := last.loaded && d.seen.sameOutcome(last.seen) && !f.keptTooLong(last)
	if same && d.seen.same(last.seen) {
		next.rested = d.rested || last.rested
	}
	defer f.knowledge.Store(next) // last: who sees it sees the view that it is about
	if same {
		return // touched, or as unsettled as before; parsed already
	}
	st := Status{Time: now, Changed: f.Status().Changed, Err: d.err, Missing: d.seen.missing()}
	old := f.view.Load()
	present := &view{}
	switch {
	case d.err != nil && f.cfg.FailClosed:
		present.err = fmt.Errorf("filesource: no token of %s is accepted: %w", f.path, d.err)
		present.before = old.lastGood()
	case d.err != nil:
		present, st.Warnings, st.MoreWarnings = old, f.Status().Warnings, f.Status().MoreWarnings
	case d.seen.missing() && f.cfg.KeepMissing > 0 && !f.keptTooLong(next):
		present.tokens = old.tokens // not its error: a file that is missing is none
		st.Warnings, st.MoreWarnings = f.Status().Warnings, f.Status().MoreWarnings
	default:
		present.tokens, st.Warnings, st.MoreWarnings = d.doc.tokens, d.doc.warnings.first, d.doc.warnings.more
	}
	st.Tokens = len(present.tokens)
	differs := f.replaceLocked(ctx, old, present, d.polled)
	if differs {
		st.Changed = now
	}
	f.publishLocked(st, differs || last.loaded && d.seen.missing() != last.seen.missing())
}

// keptTooLong reports whether the tokens of a file that is missing are still in
// force, and should not be.
func (f *File) keptTooLong(k *knowledge) bool {
	return f.cfg.KeepMissing > 0 && k.seen.missing() && time.Since(k.gone) >= f.cfg.KeepMissing && len(f.view.Load().tokens) > 0
}

// replaceLocked puts the new view in place and tells the caches. It reports whether
// the tokens have changed.
func (f *File) replaceLocked(ctx context.Context, old, next *view, poller bool) (differs bool) {
	// In this order. The other way round, a load in between would read the old
	// tokens and be stored after the clearing.
	f.view.Store(next)
	differs = !maps.Equal(old.tokens, next.tokens)
	outage := (old.err != nil) != (next.err != nil)
	if !differs && !outage {
		return false
	}
	ctx, told := f.beginTellingLocked(ctx, poller)
	defer told()
	if outage || !f.cfg.OnlyChanged {
		f.caches.Clear(ctx, tokencache.CauseSource)
	} else {
		f.caches.Evict(ctx, tokencache.CauseSource, changed(old.tokens, next.tokens)...)
	}
	return differs
}

// changed selects the tokens that differ. One that is new counts: a load that
// found it missing may be in flight.
func changed(old, now map[string]string) []tokencache.Selector {
	names := make(map[tokencache.Account][]string)
	note := func(name string) {
		if id, err := tokencache.ParseTokenID(name); err == nil { // always: it was parsed before
			names[id.Account] = append(names[id.Account], id.Name)
		}
	}
	for name, hash := range old {
		if now[name] != hash {
			note(name)
		}
	}
	for name := range now {
		if _, ok := old[name]; !ok {
			note(name)
		}
	}
	var sels []tokencache.Selector
	for account, names := range names {
		if sel, err := account.Select(names...); err == nil { // always, likewise
			sels = append(sels, sel)
		}
	}
	return sels
}

// publishLocked publishes the status, and notes it for report where it is news.
func (f *File) publishLocked(st Status, news bool) {
	old := f.status.Swap(&st)
	if !news && errorText(old.Err) == errorText(st.Err) &&
		slices.Equal(old.Warnings, st.Warnings) && old.MoreWarnings == st.MoreWarnings {
		return
	}
	f.reporting.Lock()
	defer f.reporting.Unlock()
	f.news = append(f.news, st)
}

// report tells the host what is new, and holds no lock meanwhile, so that the host
// may do from its callback what it likes. One goroutine at a time reports, all
// that there is, in order, until its context is done.
func (f *File) report(ctx context.Context, poller bool) {
	f.reporting.Lock()
	defer f.reporting.Unlock()
	if f.busy {
		return
	}
	f.busy = true
	defer func() { f.busy = false }()
	for len(f.news) > 0 && ctx.Err() == nil {
		st := f.news[0]
		if !f.logged {
			f.logged = true
			f.callHost(poller, func() { f.log(st) })
			continue // Close may have returned meanwhile
		}
		f.news, f.logged = f.news[1:], false
		if f.cfg.OnReload != nil {
			f.callHost(poller, func() { f.cfg.OnReload(st) })
		}
	}
}

// callHost calls the logger or Config.OnReload. It is called with reporting locked,
// and unlocks it meanwhile.
func (f *File) callHost(poller bool, call func()) {
	f.pollerCalls = poller
	f.changedState.Broadcast() // Close does not wait for a call, which may have called it
	f.reporting.Unlock()
	defer func() {
		f.reporting.Lock()
		f.pollerCalls = false
	}()
	call()
}

func (f *File) log(st Status) {
	log, path := f.cfg.Logger, slog.String("path", f.path)
	switch {
	case st.Err != nil:
		log.Error("service tokens file not loaded", path, slog.Int("tokens", st.Tokens), slog.Any("error", st.Err))
	case st.Missing: // at Open that is no news
		log.Warn("service tokens file is gone", path, slog.Int("tokens", st.Tokens))
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
