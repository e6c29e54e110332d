package tokentest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

type (
	source = tokentest.Source[string]
	answer = tokencache.Answer[string]
)

// backendOf lets RunSource change a source under control.
func backendOf(src *source) tokentest.Backend {
	var hold *tokentest.Hold
	return tokentest.Backend{
		Create: func(_ context.Context, id tokencache.TokenID) (tokencache.Token, error) {
			token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
			src.Put(token, "created")
			return token, err
		},
		Delete: func(_ context.Context, id tokencache.TokenID) error {
			src.Remove(id)
			return nil
		},
		Replace: func(_ context.Context, id tokencache.TokenID) (tokencache.Token, error) {
			token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
			src.Put(token, "replaced")
			return token, err
		},
		SetEnabled: func(ctx context.Context, id tokencache.TokenID, enabled bool) error {
			a, err := src.Lookup(ctx, id)
			a.Disabled = !enabled
			src.PutAnswer(id, a)
			return err
		},
		SetFailing: func(failing bool) {
			src.SetError(nil)
			if failing {
				src.SetError(errors.New("no route to the source"))
			}
		},
		SetHanging: func(hanging bool) {
			if hanging {
				hold = src.Hold()
			} else {
				hold.Release()
			}
		},
		Patience: 5 * time.Second,
	}
}

func TestSource(t *testing.T) {
	tokentest.RunSource(t, func(testing.TB) (tokencache.Source[string], tokentest.Backend) {
		src := new(source)
		return src, backendOf(src)
	})
}

// A wrong source is right except for what one of its functions does.
type wrong struct {
	source
	lookup    func(context.Context, tokencache.TokenID) (answer, error)
	subscribe func(tokencache.Invalidator) func()
}

func (w *wrong) Lookup(ctx context.Context, id tokencache.TokenID) (answer, error) {
	if w.lookup != nil {
		return w.lookup(ctx, id)
	}
	return w.source.Lookup(ctx, id)
}

func (w *wrong) Subscribe(cache tokencache.Invalidator) func() {
	if w.subscribe != nil {
		return w.subscribe(cache)
	}
	return w.source.Subscribe(cache)
}

// A holder is a wrong source that is a tokencache.Holder.
type holder struct {
	wrong
	mayHold func(tokencache.TokenID) bool
}

func (h *holder) MayHold(id tokencache.TokenID) bool { return h.mayHold(id) }

// wrongSources are mistakes that real sources made, by what each of them breaks.
var wrongSources = []struct {
	name   string
	breaks []string
	make   func(w *wrong, b *tokentest.Backend)
}{
	{"absence is an error", []string{"Absence", "ExactName", "Removal", "ChangeBeforeNotice", "Concurrency", "Freshness"}, func(w *wrong, _ *tokentest.Backend) {
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			a, err := w.source.Lookup(ctx, id)
			if err == nil && !a.Held {
				err = errors.New("not found")
			}
			return a, err
		}
	}},
	{"any secret will do", []string{"WrongSecret", "Replacement", "Secrets", "ChangeBeforeNotice", "Concurrency", "Freshness"}, func(w *wrong, _ *tokentest.Backend) {
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			a, err := w.source.Lookup(ctx, id)
			a.Verify = func(tokencache.Secret) bool { return true }
			return a, err
		}
	}},
	{"only the beginning of the secret counts", []string{"WrongSecret"}, func(w *wrong, _ *tokentest.Backend) {
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			a, err := w.source.Lookup(ctx, id)
			if verify := a.Verify; verify != nil {
				a.Verify = func(s tokencache.Secret) bool {
					text := s.Reveal()
					return verify(tokencache.NewSecret(text[:min(22, len(text))]))
				}
			}
			return a, err
		}
	}},
	{"names are compared without case", []string{"ExactName"}, func(w *wrong, _ *tokentest.Backend) {
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			a, err := w.source.Lookup(ctx, id)
			if err == nil && !a.Held {
				id.Account.Service = strings.ToLower(id.Account.Service)
				return w.source.Lookup(ctx, id)
			}
			return a, err
		}
	}},
	{"nothing to verify with", []string{"Confirmation", "ExactName", "Replacement", "Secrets", "Disabling", "Memory", "Freshness", "Errors"}, func(w *wrong, _ *tokentest.Backend) {
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			a, err := w.source.Lookup(ctx, id)
			a.Verify = nil
			return a, err
		}
	}},
	{"disabling does nothing", []string{"Disabling", "ChangeBeforeNotice"}, func(w *wrong, _ *tokentest.Backend) {
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			a, err := w.source.Lookup(ctx, id)
			a.Disabled = false
			return a, err
		}
	}},
	{"tells nobody", []string{"Notice", "Freshness"}, func(w *wrong, _ *tokentest.Backend) {
		w.subscribe = func(tokencache.Invalidator) func() { return func() {} }
	}},
	{"creation is not told", []string{"Notice", "Freshness"}, func(w *wrong, b *tokentest.Backend) {
		create := b.Create
		b.Create = func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
			w.SetQuiet(true)
			defer w.SetQuiet(false)
			return create(ctx, id)
		}
	}},
	{"tells of another token", []string{"Notice", "Freshness"}, func(w *wrong, _ *tokentest.Backend) {
		w.subscribe = func(cache tokencache.Invalidator) func() {
			return w.source.Subscribe(invalidator(func(sels []tokencache.Selector) {
				for i, sel := range sels {
					sels[i], _ = sel.Account().Select("other")
				}
				cache.Evict(context.Background(), tokencache.CauseSource, sels...)
			}))
		}
	}},
	{"tells when the change is done", []string{"Notice", "Freshness"}, func(w *wrong, _ *tokentest.Backend) {
		w.subscribe = func(cache tokencache.Invalidator) func() {
			return w.source.Subscribe(invalidator(func(sels []tokencache.Selector) {
				time.AfterFunc(50*time.Millisecond, func() { cache.Evict(context.Background(), tokencache.CauseSource, sels...) })
			}))
		}
	}},
	{"tells, then changes", []string{"ChangeBeforeNotice"}, func(w *wrong, _ *tokentest.Backend) {
		var mu sync.Mutex // guards view, what Lookup sees: the last state without the present change
		view := make(map[tokencache.TokenID]answer)
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			fresh, err := w.source.Lookup(ctx, id)
			mu.Lock()
			defer mu.Unlock()
			if old, ok := view[id]; ok {
				fresh = old
			}
			return fresh, err
		}
		w.subscribe = func(cache tokencache.Invalidator) func() {
			last := make(map[tokencache.TokenID]answer)
			return w.source.Subscribe(invalidator(func(sels []tokencache.Selector) {
				for _, sel := range sels {
					for name := range sel.Names() {
						id := sel.Account().TokenID(name)
						fresh, _ := w.source.Lookup(context.Background(), id)
						mu.Lock()
						view[id] = last[id]
						mu.Unlock()
						cache.Evict(context.Background(), tokencache.CauseSource, sel)
						mu.Lock()
						delete(view, id)
						last[id] = fresh
						mu.Unlock()
					}
				}
			}))
		}
	}},
	{"tells under a lock", []string{"NoLock"}, func(w *wrong, b *tokentest.Backend) {
		b.Patience = 200 * time.Millisecond
		var mu sync.RWMutex
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			mu.RLock()
			defer mu.RUnlock()
			return w.source.Lookup(ctx, id)
		}
		w.subscribe = func(cache tokencache.Invalidator) func() {
			return w.source.Subscribe(invalidator(func(sels []tokencache.Selector) {
				mu.Lock()
				defer mu.Unlock()
				cache.Evict(context.Background(), tokencache.CauseSource, sels...)
			}))
		}
	}},
	{"knows the last subscriber only", []string{"EverySubscriber"}, func(w *wrong, _ *tokentest.Backend) {
		cancel := func() {}
		w.subscribe = func(cache tokencache.Invalidator) func() {
			cancel()
			cancel = w.source.Subscribe(cache)
			return cancel
		}
	}},
	{"tells for ever", []string{"EndOfSubscription"}, func(w *wrong, _ *tokentest.Backend) {
		w.subscribe = func(cache tokencache.Invalidator) func() {
			w.source.Subscribe(cache)
			return func() {}
		}
	}},
	{"ending one subscription ends all", []string{"EndOfSubscription"}, func(w *wrong, _ *tokentest.Backend) {
		var all []func()
		w.subscribe = func(cache tokencache.Invalidator) func() {
			all = append(all, w.source.Subscribe(cache))
			return func() {
				for _, end := range all {
					end()
				}
			}
		}
	}},
	{"shares a buffer between lookups", []string{"Concurrency"}, func(w *wrong, _ *tokentest.Backend) {
		var shared atomic.Pointer[tokencache.TokenID]
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			shared.Store(&id)
			for range 10 {
				runtime.Gosched()
			}
			return w.source.Lookup(ctx, *shared.Load())
		}
	}},
	{"an outage is absence", []string{"Errors"}, func(w *wrong, b *tokentest.Backend) {
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			a, err := w.source.Lookup(ctx, id)
			if err != nil && ctx.Err() == nil {
				return answer{}, nil
			}
			return a, err
		}
	}},
	{"remembers an outage", []string{"Errors"}, func(w *wrong, _ *tokentest.Backend) {
		var outage error
		var mu sync.Mutex
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			a, err := w.source.Lookup(ctx, id)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && ctx.Err() == nil {
				outage = err
			}
			if outage != nil {
				return answer{}, outage
			}
			return a, err
		}
	}},
	{"waits without looking at its context", []string{"Context"}, func(w *wrong, b *tokentest.Backend) {
		b.Patience = 100 * time.Millisecond
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			return w.source.Lookup(context.WithoutCancel(ctx), id)
		}
	}},
	{"a deadline is absence", []string{"Context"}, func(w *wrong, _ *tokentest.Backend) {
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			a, err := w.source.Lookup(ctx, id)
			if ctx.Err() != nil {
				return answer{}, nil
			}
			return a, err
		}
	}},
	{"errors show the line", []string{"Silence"}, func(w *wrong, b *tokentest.Backend) {
		const hash = "$2a$10$abcdefghijklmnopqrstuv"
		b.Hidden = func() []string { return []string{hash} }
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			a, err := w.source.Lookup(ctx, id)
			if err != nil {
				err = fmt.Errorf("line 3, %s:%s: %w", id, hash, err)
			}
			return a, err
		}
	}},
	{"the record has the secret", []string{"Silence"}, func(w *wrong, b *tokentest.Backend) {
		create := b.Create
		b.Create = func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
			token, err := create(ctx, id)
			w.Put(token, token.RevealBearer())
			return token, err
		}
	}},
	{"tells lower-cased names", []string{"Notice", "Overlap", "Freshness"}, func(w *wrong, _ *tokentest.Backend) {
		w.tellEach(func(sel tokencache.Selector, name string) (tokencache.Selector, bool) {
			sel, err := sel.Account().Select(strings.ToLower(name))
			return sel, err == nil
		})
	}},
	{"tells names of up to 64 characters", []string{"Notice", "Freshness"}, func(w *wrong, _ *tokentest.Backend) {
		w.tellEach(func(sel tokencache.Selector, name string) (tokencache.Selector, bool) {
			sel, err := sel.Account().Select(name[:min(64, len(name))])
			return sel, err == nil
		})
	}},
	{"tells of one account alone", []string{"Notice", "Freshness"}, func(w *wrong, _ *tokentest.Backend) {
		w.tellEach(func(sel tokencache.Selector, _ string) (tokencache.Selector, bool) {
			return sel, sel.Account().String() == "elastic/fleet-server"
		})
	}},
	{"loses a notice while it tells another", []string{"Overlap"}, func(w *wrong, _ *tokentest.Backend) {
		var busy atomic.Bool
		w.subscribe = func(cache tokencache.Invalidator) func() {
			return w.source.Subscribe(invalidator(func(sels []tokencache.Selector) {
				if busy.CompareAndSwap(false, true) {
					defer busy.Store(false)
					cache.Evict(context.Background(), tokencache.CauseSource, sels...)
				}
			}))
		}
	}},
	{"ends a subscription by where it was in the list", []string{"EndOfSubscription"}, func(w *wrong, _ *tokentest.Backend) {
		var mu sync.Mutex
		var list []tokencache.Invalidator
		w.source.Subscribe(invalidator(func(sels []tokencache.Selector) {
			mu.Lock()
			all := slices.Clone(list)
			mu.Unlock()
			for _, cache := range all {
				cache.Evict(context.Background(), tokencache.CauseSource, sels...)
			}
		}))
		w.subscribe = func(cache tokencache.Invalidator) func() {
			mu.Lock()
			defer mu.Unlock()
			at := len(list)
			list = append(list, cache)
			return sync.OnceFunc(func() {
				mu.Lock()
				defer mu.Unlock()
				if at < len(list) {
					list = slices.Delete(slices.Clone(list), at, at+1)
				}
			})
		}
	}},
	{"the end of a subscription is nil, untold", []string{"EndOfSubscription", "Memory"}, func(w *wrong, b *tokentest.Backend) {
		b.Untold = true
		w.subscribe = func(tokencache.Invalidator) func() { return nil }
	}},
	{"the end of a subscription panics, untold", []string{"EndOfSubscription", "Memory"}, func(w *wrong, b *tokentest.Backend) {
		b.Untold = true
		w.subscribe = func(tokencache.Invalidator) func() {
			var registry map[string]bool
			return func() { registry["ended"] = true }
		}
	}},
	{"tokens expired in 1970, untold", []string{"Confirmation", "Memory"}, func(w *wrong, b *tokentest.Backend) {
		b.Untold = true
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			a, err := w.source.Lookup(ctx, id)
			a.Expires = time.Unix(0, 0)
			return a, err
		}
	}},
	{"the record of whichever token was looked up before", []string{"OwnRecord"}, func(w *wrong, _ *tokentest.Backend) {
		var last atomic.Value
		last.Store("")
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			a, err := w.source.Lookup(ctx, id)
			if a.Held {
				a.Record, _ = last.Swap(id.String()).(string)
			}
			return a, err
		}
	}},
	{"the record of the account's first token", []string{"OwnRecord"}, func(w *wrong, _ *tokentest.Backend) {
		var first sync.Map
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			a, err := w.source.Lookup(ctx, id)
			if a.Held {
				name, _ := first.LoadOrStore(id.Account, id.String())
				a.Record, _ = name.(string)
			}
			return a, err
		}
	}},
	{"a record without names, of whichever token was looked up before", []string{"OwnRecord"}, func(w *wrong, _ *tokentest.Backend) {
		var mu sync.Mutex
		var last tokencache.TokenID
		owners := make(map[tokencache.TokenID]string)
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			a, err := w.source.Lookup(ctx, id)
			mu.Lock()
			defer mu.Unlock()
			if a.Held {
				if owners[id] == "" {
					owners[id], last = fmt.Sprintf("owner %d", len(owners)), id
				}
				a.Record, last = owners[last], id
			}
			return a, err
		}
	}},
	{"keeps the secret for a moment", []string{"KeptSecret"}, func(w *wrong, _ *tokentest.Backend) {
		w.verify(func(s tokencache.Secret, verify func(tokencache.Secret) bool) bool {
			time.AfterFunc(time.Millisecond, func() { s.Reveal() })
			return verify(s)
		})
	}},
	{"keeps the last secret", []string{"KeptSecret"}, func(w *wrong, _ *tokentest.Backend) {
		var last atomic.Pointer[tokencache.Secret]
		w.verify(func(s tokencache.Secret, verify func(tokencache.Secret) bool) bool {
			last.Store(&s)
			return verify(s)
		})
	}},
	{"disabled in an outage", []string{"Errors"}, func(w *wrong, _ *tokentest.Backend) {
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			a, err := w.source.Lookup(ctx, id)
			if err != nil {
				a.Held, a.Disabled = true, true
			}
			return a, err
		}
	}},
	{"an outage denies secrets", []string{"Errors"}, func(w *wrong, b *tokentest.Backend) {
		var failing atomic.Bool
		b.SetFailing = failing.Store
		w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
			a, err := w.source.Lookup(ctx, id)
			if verify := a.Verify; verify != nil {
				a.Verify = nil
				a.Ask = func(_ context.Context, s tokencache.Secret) (bool, error) { return !failing.Load() && verify(s), nil }
			}
			return a, err
		}
	}},
}

// tellEach makes a wrong source tell of something else for each name that it tells of, or
// of nothing.
func (w *wrong) tellEach(instead func(sel tokencache.Selector, name string) (tokencache.Selector, bool)) {
	w.subscribe = func(cache tokencache.Invalidator) func() {
		return w.source.Subscribe(invalidator(func(sels []tokencache.Selector) {
			for _, sel := range sels {
				for name := range sel.Names() {
					if other, ok := instead(sel, name); ok {
						cache.Evict(context.Background(), tokencache.CauseSource, other)
					}
				}
			}
		}))
	}
}

// verify makes a wrong source verify secrets in this way.
func (w *wrong) verify(wrongly func(tokencache.Secret, func(tokencache.Secret) bool) bool) {
	w.lookup = func(ctx context.Context, id tokencache.TokenID) (answer, error) {
		a, err := w.source.Lookup(ctx, id)
		if verify := a.Verify; verify != nil {
			a.Verify = func(s tokencache.Secret) bool { return wrongly(s, verify) }
		}
		return a, err
	}
}

// byChance is which other property finds a wrong source if a load falls into the moment
// in which it is wrong.
var byChance = map[string]string{"tells, then changes": "Freshness"}

func TestWrongSources(t *testing.T) {
	for _, test := range wrongSources {
		t.Run(test.name, func(t *testing.T) {
			got := tokentest.SourceFailures(t, func(testing.TB) (tokencache.Source[string], tokentest.Backend) {
				w := new(wrong)
				b := backendOf(&w.source)
				test.make(w, &b)
				return w, b
			})
			got = slices.DeleteFunc(got, func(property string) bool { return byChance[test.name] == property })
			if diff := cmp.Diff(test.breaks, got); diff != "" {
				t.Errorf("broken properties (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSharedVerification: what mixes up concurrent verifications is found by
// Concurrency, and by chance by others.
func TestSharedVerification(t *testing.T) {
	got := tokentest.SourceFailures(t, func(testing.TB) (tokencache.Source[string], tokentest.Backend) {
		w := new(wrong)
		var shared atomic.Pointer[string]
		w.verify(func(s tokencache.Secret, verify func(tokencache.Secret) bool) bool {
			shared.Store(new(s.Reveal()))
			for range 10 {
				runtime.Gosched()
			}
			return verify(tokencache.NewSecret(*shared.Load()))
		})
		return w, backendOf(&w.source)
	})
	if !slices.Contains(got, "Concurrency") {
		t.Errorf("got %v, want Concurrency", got)
	}
}

// invalidator passes on what a source says.
type invalidator func([]tokencache.Selector)

func (f invalidator) Evict(_ context.Context, _ tokencache.Cause, sels ...tokencache.Selector) int {
	f(slices.Clone(sels))
	return 0
}

func (f invalidator) Clear(context.Context, tokencache.Cause) int { f(nil); return 0 }

// TestWrongHolders: MayHold that is late, or that knows better in an outage.
func TestWrongHolders(t *testing.T) {
	held := func(h *holder) func(tokencache.TokenID) bool {
		return func(id tokencache.TokenID) bool {
			a, err := h.source.Lookup(context.Background(), id)
			return err != nil || a.Held
		}
	}
	for _, test := range []struct {
		name   string
		breaks []string
		make   func(h *holder, b *tokentest.Backend)
	}{
		{"right", nil, func(h *holder, _ *tokentest.Backend) { h.mayHold = held(h) }},
		{"denies all in an outage", []string{"Errors"}, func(h *holder, _ *tokentest.Backend) {
			h.mayHold = func(id tokencache.TokenID) bool {
				a, err := h.source.Lookup(context.Background(), id)
				return err == nil && a.Held
			}
		}},
		{"learns of a creation when all is done", []string{"Holder"}, func(h *holder, b *tokentest.Backend) {
			var late atomic.Bool
			create := b.Create
			b.Create = func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
				late.Store(true)
				defer late.Store(false)
				return create(ctx, id)
			}
			right := held(h)
			h.mayHold = func(id tokencache.TokenID) bool { return !late.Load() && right(id) }
		}},
		{"denies other names while one changes", []string{"Holder"}, func(h *holder, b *tokentest.Backend) {
			var rebuilding atomic.Pointer[tokencache.TokenID]
			create := b.Create
			b.Create = func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
				rebuilding.Store(&id)
				defer rebuilding.Store(nil)
				return create(ctx, id)
			}
			right := held(h)
			h.mayHold = func(id tokencache.TokenID) bool {
				changing := rebuilding.Load()
				return (changing == nil || *changing == id) && right(id)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := tokentest.SourceFailures(t, func(testing.TB) (tokencache.Source[string], tokentest.Backend) {
				h := new(holder)
				b := backendOf(&h.source)
				b.SetHanging = nil // MayHold must not wait
				test.make(h, &b)
				return h, b
			})
			if diff := cmp.Diff(test.breaks, got); diff != "" {
				t.Errorf("broken properties (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSharedRecord: a record that a later change writes to.
func TestSharedRecord(t *testing.T) {
	got := tokentest.SourceFailures(t, func(testing.TB) (tokencache.Source[map[string]string], tokentest.Backend) {
		src := new(tokentest.Source[map[string]string])
		shared := map[string]string{}
		put := func(_ context.Context, id tokencache.TokenID) (tokencache.Token, error) {
			token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
			shared["version"] += "+"
			src.Put(token, shared)
			return token, err
		}
		return src, tokentest.Backend{Create: put, Delete: func(_ context.Context, id tokencache.TokenID) error {
			src.Remove(id)
			return nil
		}}
	})
	if diff := cmp.Diff([]string{"Records"}, got); diff != "" {
		t.Errorf("broken properties (-want +got):\n%s", diff)
	}
}

// TestCountingRecord: a record that each lookup writes to, behind a pointer that no
// verb of fmt follows.
func TestCountingRecord(t *testing.T) {
	got := tokentest.SourceFailures(t, func(testing.TB) (tokencache.Source[counting], tokentest.Backend) {
		src := new(countingSource)
		return src, tokentest.Backend{
			Create: func(_ context.Context, id tokencache.TokenID) (tokencache.Token, error) {
				token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
				src.Put(token, counting{new(struct{ reads int })})
				return token, err
			},
			Delete: func(_ context.Context, id tokencache.TokenID) error {
				src.Remove(id)
				return nil
			},
		}
	})
	if diff := cmp.Diff([]string{"Records"}, got); diff != "" {
		t.Errorf("broken properties (-want +got):\n%s", diff)
	}
}

type counting struct{ meta *struct{ reads int } }

type countingSource struct {
	tokentest.Source[counting]
	mu sync.Mutex // guards the counts
}

func (s *countingSource) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[counting], error) {
	a, err := s.Source.Lookup(ctx, id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.Held {
		a.Record.meta.reads++
	}
	return a, err
}

// A wrongIndex is a Memory except for what one of its functions does.
type wrongIndex struct {
	indexsource.Memory
	get   func(context.Context, tokencache.TokenID) (indexsource.Document, bool, error)
	watch func(*indexsource.Source) func()

	rotate    func(context.Context, tokencache.TokenID, time.Duration, string) (tokencache.Token, error)
	setExpiry func(context.Context, tokencache.TokenID, time.Time) error
	noteUses  func(context.Context, map[tokencache.TokenID]time.Time) error
}

func (w *wrongIndex) Rotate(ctx context.Context, id tokencache.TokenID, grace time.Duration, by string) (tokencache.Token, error) {
	if w.rotate != nil {
		return w.rotate(ctx, id, grace, by)
	}
	return w.Memory.Rotate(ctx, id, grace, by)
}

func (w *wrongIndex) SetExpiry(ctx context.Context, id tokencache.TokenID, expires time.Time) error {
	if w.setExpiry != nil {
		return w.setExpiry(ctx, id, expires)
	}
	return w.Memory.SetExpiry(ctx, id, expires)
}

func (w *wrongIndex) NoteUses(ctx context.Context, uses map[tokencache.TokenID]time.Time) error {
	if w.noteUses != nil {
		return w.noteUses(ctx, uses)
	}
	return w.Memory.NoteUses(ctx, uses)
}

func (w *wrongIndex) Get(ctx context.Context, id tokencache.TokenID) (indexsource.Document, bool, error) {
	if w.get != nil {
		return w.get(ctx, id)
	}
	return w.Memory.Get(ctx, id)
}

func (w *wrongIndex) Watch(source *indexsource.Source) func() {
	if w.watch != nil {
		return w.watch(source)
	}
	return w.Memory.Watch(source)
}

func TestWrongIndexes(t *testing.T) {
	for _, test := range []struct {
		name   string
		breaks []string
		make   func(w *wrongIndex)
	}{
		{"right", nil, func(*wrongIndex) {}},
		{"documents without their token", []string{"Documents", "Listing"}, func(w *wrongIndex) {
			w.get = func(ctx context.Context, id tokencache.TokenID) (indexsource.Document, bool, error) {
				doc, ok, err := w.Memory.Get(ctx, id)
				doc.Token = tokencache.TokenID{}
				return doc, ok, err
			}
		}},
		{"watched by one source only", []string{"EverySource"}, func(w *wrongIndex) {
			var first *indexsource.Source
			w.watch = func(source *indexsource.Source) func() {
				if first != nil && first != source {
					return func() {}
				}
				first = source
				return w.Memory.Watch(source)
			}
		}},
		{"never ends a watch", []string{"EndOfWatch"}, func(w *wrongIndex) {
			w.watch = func(source *indexsource.Source) func() { w.Memory.Watch(source); return func() {} }
		}},
		{"watches once", []string{"Freshness", "EndOfWatch"}, func(w *wrongIndex) {
			seen := make(map[*indexsource.Source]bool)
			w.watch = func(source *indexsource.Source) func() {
				if seen[source] {
					return func() {}
				}
				seen[source] = true
				return w.Memory.Watch(source)
			}
		}},
		{"gets documents that forget who created them", []string{"Listing"}, func(w *wrongIndex) {
			w.get = func(ctx context.Context, id tokencache.TokenID) (indexsource.Document, bool, error) {
				doc, ok, err := w.Memory.Get(ctx, id)
				if ok {
					doc.Created, doc.Creator = time.Time{}, "somebody else"
				}
				return doc, ok, err
			}
		}},
		{"gets documents that forget when they expire", []string{"Listing", "Expiry"}, func(w *wrongIndex) {
			w.get = func(ctx context.Context, id tokencache.TokenID) (indexsource.Document, bool, error) {
				doc, ok, err := w.Memory.Get(ctx, id)
				doc.Expires = time.Time{}
				return doc, ok, err
			}
		}},
		{"rotates without a grace", []string{"Secrets", "Rotation"}, func(w *wrongIndex) {
			w.rotate = func(ctx context.Context, id tokencache.TokenID, _ time.Duration, by string) (tokencache.Token, error) {
				return w.Memory.Rotate(ctx, id, 0, by)
			}
		}},
		{"rotates with a grace for ever", []string{"Rotation"}, func(w *wrongIndex) {
			w.rotate = func(ctx context.Context, id tokencache.TokenID, grace time.Duration, by string) (tokencache.Token, error) {
				return w.Memory.Rotate(ctx, id, 100*grace+1, by)
			}
		}},
		{"sets no expiry", []string{"Expiry"}, func(w *wrongIndex) {
			w.setExpiry = func(context.Context, tokencache.TokenID, time.Time) error { return nil }
		}},
		{"keeps the first use", []string{"LastUse"}, func(w *wrongIndex) {
			w.noteUses = func(ctx context.Context, uses map[tokencache.TokenID]time.Time) error {
				for id := range uses {
					if known, _ := w.Memory.LastUses(ctx, id.Account); len(known) > 0 {
						return nil
					}
				}
				return w.Memory.NoteUses(ctx, uses)
			}
		}},
		{"takes a use for a change", []string{"LastUse"}, func(w *wrongIndex) {
			w.noteUses = func(ctx context.Context, uses map[tokencache.TokenID]time.Time) error {
				for id := range uses {
					w.Memory.SetEnabled(ctx, id, true)
				}
				return w.Memory.NoteUses(ctx, uses)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := tokentest.IndexFailures(t, func(testing.TB) (indexsource.Index, tokentest.Backend) {
				w := new(wrongIndex)
				test.make(w)
				b := memoryBackend(&w.Memory)
				b.Create = func(_ context.Context, id tokencache.TokenID) (tokencache.Token, error) {
					return putFast(&w.Memory, id)
				}
				b.Replace = func(_ context.Context, id tokencache.TokenID) (tokencache.Token, error) {
					return putFast(&w.Memory, id)
				}
				return w, b
			})
			if diff := cmp.Diff(test.breaks, got); diff != "" {
				t.Errorf("broken properties (-want +got):\n%s", diff)
			}
		})
	}
}

// putFast adds a token whose hash costs next to nothing.
func putFast(index *indexsource.Memory, id tokencache.TokenID) (tokencache.Token, error) {
	token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
	if err != nil {
		return tokencache.Token{}, err
	}
	_, text, _ := strings.Cut(strings.TrimSpace(tokentest.ServiceTokens(token)), ":")
	hash, err := tokenhash.Parse(text)
	if err != nil {
		return tokencache.Token{}, err
	}
	return token, index.Put(context.Background(), indexsource.Document{Token: id, Enabled: true, Hash: hash})
}

// TestEveryPropertyHasTeeth: for each property there is an implementation that breaks
// it.
func TestEveryPropertyHasTeeth(t *testing.T) {
	broken := map[string]bool{"Records": true, "Holder": true, "KeptSecret": true, "Documents": true, "EverySource": true, "EndOfWatch": true, "Rotation": true, "Expiry": true, "LastUse": true, "Listing": true, "Secrets": true}
	for _, w := range wrongSources {
		for _, name := range w.breaks {
			broken[name] = true
		}
	}
	want := slices.Sorted(slices.Values(tokentest.Properties()))
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(broken))); diff != "" {
		t.Errorf("properties (-all +broken by a test):\n%s", diff)
	}
}

// A rotating source is right with two secrets of a token, except for what answer does.
type rotating struct {
	source
	mu       sync.Mutex // guards previous
	previous map[tokencache.TokenID]tokencache.Token
	answer   func(a *answer, previous tokencache.Token)
}

func (r *rotating) Lookup(ctx context.Context, id tokencache.TokenID) (answer, error) {
	a, err := r.source.Lookup(ctx, id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if previous, ok := r.previous[id]; ok && a.Held {
		r.answer(&a, previous)
	}
	return a, err
}

// TestSourcesWithTwoSecrets: a right one passes, and each mistake is found.
func TestSourcesWithTwoSecrets(t *testing.T) {
	right := func(a *answer, previous tokencache.Token) {
		a.Previous.Verify, a.Previous.Expires = previous.Secret().Equal, time.Now().Add(time.Hour)
	}
	for _, test := range []struct {
		name   string
		breaks []string
		answer func(a *answer, previous tokencache.Token)
	}{
		{"right", nil, right},
		{"right, and without an end", nil, func(a *answer, previous tokencache.Token) { a.Previous.Verify = previous.Secret().Equal }},
		{"confirms both by Verify", []string{"Secrets"}, func(a *answer, previous tokencache.Token) {
			present := a.Verify
			a.Verify = func(s tokencache.Secret) bool { return present(s) || previous.Secret().Equal(s) }
		}},
		{"forgets the old one", []string{"Secrets"}, func(*answer, tokencache.Token) {}},
		{"any secret will do for the old one", []string{"Secrets"}, func(a *answer, _ tokencache.Token) {
			a.Previous.Verify = func(tokencache.Secret) bool { return true }
		}},
		{"the old one expires at once", []string{"Secrets"}, func(a *answer, previous tokencache.Token) {
			right(a, previous)
			a.Previous.Expires = time.Now().Add(-time.Second)
		}},
		{"asks somebody about the present one", []string{"Secrets"}, func(a *answer, previous tokencache.Token) {
			right(a, previous)
			present := a.Verify
			a.Verify, a.Ask = nil, func(_ context.Context, s tokencache.Secret) (bool, error) { return present(s), nil }
		}},
		{"swaps the two", []string{"Secrets"}, func(a *answer, previous tokencache.Token) {
			right(a, previous)
			a.Verify, a.Previous.Verify = a.Previous.Verify, a.Verify
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := tokentest.SourceFailures(t, func(testing.TB) (tokencache.Source[string], tokentest.Backend) {
				src := &rotating{previous: make(map[tokencache.TokenID]tokencache.Token), answer: test.answer}
				return src, src.backend()
			})
			if diff := cmp.Diff(test.breaks, got); diff != "" {
				t.Errorf("broken properties (-want +got):\n%s", diff)
			}
		})
	}
}

// backend lets RunSource rotate the source's tokens.
func (r *rotating) backend() tokentest.Backend {
	b := backendOf(&r.source)
	present := make(map[tokencache.TokenID]tokencache.Token)
	create, replace := b.Create, b.Replace
	set := func(token tokencache.Token, grace time.Duration) {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.previous, token.ID())
		if old, ok := present[token.ID()]; ok && grace > 0 {
			r.previous[token.ID()] = old
		}
		present[token.ID()] = token
	}
	b.Create = func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
		token, err := create(ctx, id)
		set(token, 0)
		return token, err
	}
	b.Replace = func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
		token, err := replace(ctx, id)
		set(token, 0)
		return token, err
	}
	b.Rotate = func(ctx context.Context, id tokencache.TokenID, grace time.Duration) (tokencache.Token, error) {
		token, err := replace(ctx, id)
		set(token, grace)
		return token, err
	}
	return b
}
