package tokencache_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// TestOutages: what a group of two caches answers, and when, while one of the sources
// is down (its reads fail), slow (they take 3 seconds) or hung (they do not return,
// whatever their context says). docs/options.md has a row for each name.
func TestOutages(t *testing.T) {
	const timeout = tokencache.ReasonSourceTimeout
	stale := tokencache.Config{ServeStale: time.Hour}
	for _, test := range []struct {
		name          string
		holds         string // which source holds the token
		cached        string // which cache remembers it
		expired       bool   // though its TTL has passed
		first, second string // how the sources are; nothing: well
		mayHold       bool   // the first source says at once what it does not hold
		cfg           tokencache.Config
		deadline      time.Duration // the caller's
		failures      int           // how often the first source has failed for others

		want       string // the cache that confirms it, and how
		wantReason tokencache.Reason
		after      time.Duration
		asked      int // how often the sources are asked for the token, in all
	}{
		{name: "remembered", holds: "first", cached: "first", first: "hung", second: "hung", want: "first, from memory"},
		{name: "remembered-behind", holds: "second", cached: "second", first: "down", want: "second, from memory"},
		{name: "remembered-behind-hung", holds: "second", cached: "second", first: "hung", deadline: time.Second, want: "second, from memory"},
		{name: "refresh", holds: "first", cached: "first", first: "hung", cfg: tokencache.Config{RefreshAhead: time.Minute - 1}, want: "first, from memory", asked: 1},

		{name: "first", holds: "first", second: "hung", want: "first", asked: 1},
		{name: "down", holds: "both", first: "down", wantReason: tokencache.ReasonSourceFailed, asked: 1},
		{name: "slow", holds: "second", first: "slow", want: "second", after: 3 * time.Second, asked: 2},
		{name: "hung", holds: "both", first: "hung", wantReason: timeout, after: 10 * time.Second, asked: 1},
		{name: "deadline", holds: "both", first: "hung", deadline: time.Second, wantReason: tokencache.ReasonGaveUp, after: time.Second, asked: 1},
		{name: "may-hold", holds: "second", first: "hung", mayHold: true, want: "second", asked: 1},
		{name: "second-down", holds: "second", second: "down", wantReason: tokencache.ReasonSourceFailed, asked: 2},
		{name: "second-hung", holds: "second", second: "hung", wantReason: timeout, after: 10 * time.Second, asked: 2},
		{name: "nobody", holds: "nobody", second: "down", wantReason: tokencache.ReasonSourceFailed, asked: 2},
		{name: "left-alone", holds: "first", first: "down", failures: 5, wantReason: tokencache.ReasonUnavailable},

		{name: "expired", holds: "first", cached: "first", expired: true, first: "down", wantReason: tokencache.ReasonSourceFailed, asked: 1},
		{name: "stale", holds: "first", cached: "first", expired: true, first: "down", cfg: stale, want: "first, stale", asked: 1},
		{name: "stale-left-alone", holds: "first", cached: "first", expired: true, first: "down", failures: 5, cfg: stale, want: "first, stale"},
		{name: "stale-hung", holds: "first", cached: "first", expired: true, first: "hung", cfg: stale, want: "first, stale", after: time.Second, asked: 1},
		{name: "stale-deadline", holds: "first", cached: "first", expired: true, first: "hung", cfg: stale, deadline: time.Second / 2, want: "first, stale", after: time.Second / 2, asked: 1},
		{name: "stale-behind", holds: "second", cached: "second", expired: true, first: "down", second: "down", cfg: stale, wantReason: tokencache.ReasonSourceFailed, asked: 1},
		{name: "stale-may-hold", holds: "second", cached: "second", expired: true, first: "down", second: "down", mayHold: true, cfg: stale, want: "second, stale", asked: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := mustToken(t, "a/a/t", "supersecret")
				sources, caches := make(map[string]*testSource), make(map[string]*tokencache.Cache[record])
				var asked int
				g := tokencache.NewGroup(tokencache.GroupConfig{})
				test.cfg.TTL, test.cfg.Jitter = time.Minute, -1
				for _, name := range []string{"first", "second"} {
					src := newTestSource()
					if test.holds == name || test.holds == "both" {
						src.set(token)
					}
					sources[name] = src
					var added tokencache.Source[record] = src
					if test.mayHold {
						added = &holder{src}
					}
					caches[name] = newCache(t, g, name, added, test.cfg)
				}
				if test.cached != "" {
					check(t, caches[test.cached], token, "ok")
				}
				if test.expired {
					time.Sleep(time.Minute)
				} else if test.cfg.RefreshAhead > 0 {
					time.Sleep(30 * time.Second)
				}
				back := make(chan struct{})
				for name, how := range map[string]string{"first": test.first, "second": test.second} {
					sources[name].before = func(_ context.Context, id tokencache.TokenID) error {
						if id == token.ID() {
							asked++
						}
						switch how {
						case "down":
							return errOutage
						case "slow":
							time.Sleep(3 * time.Second)
						case "hung":
							<-back
						}
						return nil
					}
				}
				for i := range test.failures { // of several accounts
					check(t, caches["first"], mustToken(t, fmt.Sprintf("a/b%d/another", i), "supersecret"), "error")
				}
				ctx := t.Context()
				if test.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.deadline)
					defer cancel()
				}
				start := time.Now()
				v, err := g.Authenticate(ctx, header(token))
				took := time.Since(start)
				got := v.Cache
				switch {
				case v.Stale:
					got += ", stale"
				case v.FromMemory:
					got += ", from memory"
				}
				if got != test.want || reasonOf(err) != test.wantReason || (err == nil) != (test.want != "") || took != test.after {
					t.Errorf("got %q, %v after %v, want %q, %v after %v", got, err, took, test.want, test.wantReason, test.after)
				}
				synctest.Wait()
				if asked != test.asked {
					t.Errorf("the sources were asked %d times, want %d", asked, test.asked)
				}

				// Nothing is left of it once the sources are back, and have been left alone
				// for the longest pause.
				for _, src := range sources {
					src.before = nil
				}
				close(back)
				time.Sleep(time.Second)
				want := "ok"
				if test.holds == "nobody" {
					want = "refused"
				}
				if _, err := g.Authenticate(t.Context(), header(token)); outcome(err) != want {
					t.Errorf("with the sources back: got %v, want %s", err, want)
				}
			})
		})
	}
}
