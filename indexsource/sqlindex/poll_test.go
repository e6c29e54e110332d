package sqlindex_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

var (
	fleet     = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	errOutage = errors.New("connection refused")
)

// watched makes a source watch the index, and counts what its cache is told.
func watched(t testing.TB, ix *sqlindex.Index) (*indexsource.Source, *told) {
	t.Helper()
	cache := &told{}
	source := indexsource.New(ix)
	t.Cleanup(source.Subscribe(cache))
	return source, cache
}

type told struct{ evictions, clears int }

func (c *told) Evict(context.Context, tokencache.Cause, ...tokencache.Selector) int {
	c.evictions++
	return 0
}
func (c *told) Clear(context.Context, tokencache.Cause) int { c.clears++; return 0 }

// TestHealth: failures make the index red, and later gone if the host has set GoneAfter.
// The caches are cleared when it is gone, and when it is back.
func TestHealth(t *testing.T) {
	type step struct {
		wait time.Duration
		err  error
		want indexsource.Health
		told int // clears up to now
	}
	for _, test := range []struct {
		name  string
		gone  time.Duration
		steps []step
	}{
		{"red and back", 0, []step{
			{0, nil, indexsource.HealthGreen, 1},
			{9 * time.Second, errOutage, indexsource.HealthGreen, 1},
			{3 * time.Second, errOutage, indexsource.HealthRed, 1},
			{time.Hour, errOutage, indexsource.HealthRed, 1},
			{2 * time.Second, nil, indexsource.HealthGreen, 2},
		}},
		{"a short failure", 0, []step{
			{0, nil, indexsource.HealthGreen, 1},
			{5 * time.Second, errOutage, indexsource.HealthGreen, 1},
			{time.Minute, nil, indexsource.HealthGreen, 1},
			{5 * time.Second, errOutage, indexsource.HealthGreen, 1},
		}},
		{"gone", 30 * time.Second, []step{
			{0, nil, indexsource.HealthGreen, 1},
			{20 * time.Second, errOutage, indexsource.HealthRed, 1},
			{12 * time.Second, errOutage, indexsource.HealthNone, 2},
			{2 * time.Second, nil, indexsource.HealthGreen, 3},
		}},
		{"down from the start", 0, []step{
			{time.Minute, errOutage, indexsource.HealthNone, 0},
			{2 * time.Second, nil, indexsource.HealthGreen, 1},
		}},
		{"no tables", 0, []step{
			{0, nil, indexsource.HealthGreen, 1},
			{2 * time.Second, noTable{}, indexsource.HealthNone, 2},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, ix := openFake(t, sqlindex.Config{GoneAfter: test.gone})
				db.fail(test.steps[0].err)
				source, cache := watched(t, ix)
				for i, step := range test.steps {
					db.fail(step.err)
					time.Sleep(step.wait)
					synctest.Wait()
					if got := source.State().Health; got != step.want || cache.clears != step.told {
						t.Errorf("step %d: got %v and %d clears, want %v and %d", i, got, cache.clears, step.want, step.told)
					}
					if got := ix.Status().Err; (got == nil) != (step.err == nil) {
						t.Errorf("step %d: got the error %v", i, got)
					}
				}
			})
		})
	}
}

// TestLog: the logger is told once when polls begin to fail, when the index is not available
// any more, and when it answers again.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		cfg := sqlindex.Config{Logger: slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "failed_for" && a.Value.Duration() > 10*time.Second {
				return slog.Attr{}
			}
			return a
		}}))}
		db, ix := openFake(t, cfg)
		watched(t, ix)
		synctest.Wait()
		db.fail(errOutage)
		time.Sleep(time.Minute)
		db.fail(nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		ix.Close()
		want := `level=WARN msg="the index does not answer" error="sqlindex: poll: connection refused"
level=ERROR msg="the index is not available" health=red error="sqlindex: poll: connection refused"
level=INFO msg="the index answers again"
`
		if text.String() != want {
			t.Errorf("got\n%s\nwant\n%s", &text, want)
		}
	})
}

type noTable struct{}

func (noTable) Error() string    { return "there is no such relation" }
func (noTable) SQLState() string { return "42P01" }

// TestGone: once polls have failed for too long, reads that succeed do not count, since
// no poll would evict what they find.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, ix := openFake(t, sqlindex.Config{GoneAfter: 30 * time.Second})
		watched(t, ix)
		synctest.Wait()
		db.fail(errOutage)
		time.Sleep(time.Minute)
		db.fail(nil)
		if _, _, err := ix.Get(t.Context(), fleet.TokenID("x")); err == nil {
			t.Error("a read succeeds before a poll has succeeded")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if _, _, err := ix.Get(t.Context(), fleet.TokenID("x")); err != nil {
			t.Error(err)
		}
	})
}

// TestPollInterval: an index polls while a source watches it, at its interval or up to
// a tenth earlier, when it is nudged, and not after Close.
func TestPollInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, ix := openFake(t, sqlindex.Config{Poll: time.Minute})
		count := func() (n int) {
			db.set(func() { n, db.polls = db.polls, 0 })
			return n
		}
		time.Sleep(time.Hour)
		if got := count(); got != 0 {
			t.Errorf("nobody watches: got %d polls", got)
		}
		cancel := indexsource.New(ix).Subscribe(&told{})
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := count(); got < 61 || got > 68 {
			t.Errorf("in an hour: got %d polls, want 61 to 68", got)
		}
		ix.Nudge()
		synctest.Wait()
		if got := count(); got != 1 {
			t.Errorf("after a nudge: got %d polls, want 1", got)
		}
		cancel()
		time.Sleep(time.Hour)
		if got := count(); got != 0 {
			t.Errorf("nobody watches any more: got %d polls", got)
		}
		indexsource.New(ix).Subscribe(&told{})
		synctest.Wait()
		ix.Close()
		ix.Close()
		count()
		time.Sleep(time.Hour)
		if got := count(); got != 0 {
			t.Errorf("closed: got %d polls", got)
		}
		if _, _, err := ix.Get(t.Context(), fleet.TokenID("x")); !errors.Is(err, tokencache.ErrClosed) {
			t.Errorf("Get of a closed index: got %v", err)
		}
	})
}

// TestFailedPoll: a poll that fails is repeated after a second, however long Config.Poll
// is: what asked for it may have been the only notification of a change.
func TestFailedPoll(t *testing.T) {
	for _, poll := range []time.Duration{time.Hour, -1} {
		synctest.Test(t, func(t *testing.T) {
			db, ix := openFake(t, sqlindex.Config{Poll: poll})
			_, cache := watched(t, ix)
			synctest.Wait()
			db.set(func() { db.rev, db.changed = 2, []string{"token1"} })
			db.fail(errOutage)
			ix.Nudge()
			time.Sleep(10 * time.Second)
			db.fail(nil)
			time.Sleep(time.Second)
			synctest.Wait()
			if cache.evictions != 1 {
				t.Errorf("polling every %v: got %d evictions a second after the database is back, want 1", poll, cache.evictions)
			}
		})
	}
}

// TestNotified: the tokens that a notification names are forgotten before any poll. One
// poll follows soon for all notifications, or at once if one names nothing.
func TestNotified(t *testing.T) {
	for _, test := range []struct {
		name              string
		payloads          []string
		evictions         int // at once
		polls, pollsLater int // at once, and within 50 ms
	}{
		{"a token", []string{"7 elastic/fleet-server/token1"}, 1, 0, 1},
		{"two tokens", []string{"7 elastic/fleet-server/token1 elastic/kibana/token2"}, 2, 0, 1},
		{"many changes", []string{"7 a/b/c", "8 a/b/d", "9 a/b/e", "10 a/b/f"}, 4, 0, 1},
		{"no names", []string{"7"}, 0, 1, 1},
		{"after a connect", []string{""}, 0, 1, 1},
		{"names that no bearer can have", []string{"7 elastic/fleet server/x a//b ../../x"}, 0, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, ix := openFake(t, sqlindex.Config{Poll: time.Hour})
				_, cache := watched(t, ix)
				synctest.Wait()
				count := func() (n int) {
					synctest.Wait()
					db.set(func() { n = db.polls })
					return n - 1 // the first poll
				}
				for _, payload := range test.payloads {
					ix.Notified(payload)
				}
				if cache.evictions != test.evictions {
					t.Errorf("got %d evictions, want %d", cache.evictions, test.evictions)
				}
				if got := count(); got != test.polls {
					t.Errorf("got %d polls at once, want %d", got, test.polls)
				}
				time.Sleep(50 * time.Millisecond)
				if got := count(); got != test.pollsLater {
					t.Errorf("got %d polls within 50 ms, want %d", got, test.pollsLater)
				}
			})
		})
	}
}

// TestManyNotifications: a notification that names a token puts off no poll, neither one
// that is due nor one that an earlier notification has asked for.
func TestManyNotifications(t *testing.T) {
	for _, test := range []struct {
		poll  time.Duration
		least int // polls in ten seconds
	}{{10 * time.Millisecond, 990}, {time.Hour, 300}} {
		synctest.Test(t, func(t *testing.T) {
			db, ix := openFake(t, sqlindex.Config{Poll: test.poll})
			watched(t, ix)
			for range 10_000 {
				time.Sleep(time.Millisecond)
				synctest.Wait()
				ix.Notified("7 a/b/c")
			}
			db.set(func() {
				if db.polls < test.least || db.polls > 2000 {
					t.Errorf("polling every %v: got %d polls in ten seconds, want %d or more, and fewer than notifications", test.poll, db.polls, test.least)
				}
			})
		})
	}
}

// TestTook: the status has the duration of the last poll.
func TestTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, ix := openFake(t, sqlindex.Config{Poll: -1})
		db.set(func() { db.delay = 30 * time.Millisecond })
		began := time.Now()
		if err := ix.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := ix.Status(); s.Duration != 30*time.Millisecond || !s.Polled.Equal(began) {
			t.Errorf("got %v from %v, want 30ms from %v", s.Duration, s.Polled, began)
		}
	})
}

// TestClosed: entries that are in memory when the index is closed are not confirmed any
// longer: no poll would notice their revocation.
func TestClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, ix := openFake(t, sqlindex.Config{})
		group := tokencache.NewGroup(tokencache.GroupConfig{})
		defer group.Close()
		if _, err := tokencache.New(group, "index", indexsource.New(ix), tokencache.Config{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		token, err := tokencache.NewToken(fleet.TokenID("token1"), tokencache.NewSecret("supersecret"))
		if err != nil {
			t.Fatal(err)
		}
		db.set(func() { db.hash = tokenhash.New(token.Secret()).Reveal() })
		if _, err := group.AuthenticateToken(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		ix.Close()
		if _, err := group.AuthenticateToken(t.Context(), token); !errors.Is(err, tokencache.ErrClosed) {
			t.Errorf("after Close: got %v, want ErrClosed", err)
		}
		if state := ix.Status().State; state != (indexsource.State{}) {
			t.Errorf("after Close: got %+v", state)
		}
		if err := ix.Poll(t.Context()); !errors.Is(err, tokencache.ErrClosed) || ix.Status().Err != nil {
			t.Errorf("a poll after Close: got %v, and the status says %v", err, ix.Status().Err)
		}
	})
}

// TestImpatience: a poll that fails because its caller's context is done says nothing
// about the database, whether it was asked for or comes after a write. A poll that takes
// Config.Timeout does.
func TestImpatience(t *testing.T) {
	for patience, want := range map[time.Duration]bool{time.Second: false, time.Hour: true} {
		synctest.Test(t, func(t *testing.T) {
			db, ix := openFake(t, sqlindex.Config{Poll: -1})
			watched(t, ix)
			synctest.Wait()
			db.set(func() { db.delay = time.Minute })
			for name, call := range map[string]func(context.Context) error{
				"Poll": ix.Poll,
				"Put": func(ctx context.Context) error {
					return ix.Put(ctx, indexsource.Document{Token: fleet.TokenID("token1")})
				},
			} {
				ctx, stop := context.WithTimeout(t.Context(), patience)
				defer stop()
				if err := call(ctx); (err != nil) != (name == "Poll") {
					t.Errorf("%s with %v: got %v", name, patience, err)
				}
				if err := ix.Status().Err; (err != nil) != want {
					t.Errorf("%s with %v: the status says %v", name, patience, err)
				}
			}
		})
	}
}

// TestAnotherFormat: an index whose schema this program cannot read counts as missing:
// the caches are empty, none of its documents counts, and its health says so. A schema of
// a later version that this program may read is as good as its own.
func TestAnotherFormat(t *testing.T) {
	for _, test := range []struct {
		name               string
		format, readableBy int64
		want               error
	}{
		{"older", 3, 3, sqlindex.ErrFormat},
		{"newer", 5, 5, sqlindex.ErrFormat},
		{"newer, readable by this program", 5, 4, nil},
		{"newer, readable by older programs", 9, 2, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, ix := openFake(t, sqlindex.Config{})
				source, cache := watched(t, ix)
				synctest.Wait()
				db.set(func() { db.format, db.readableBy, db.rev = test.format, test.readableBy, 2 })
				time.Sleep(2 * time.Second)
				synctest.Wait()
				want := indexsource.State{Health: indexsource.HealthGreen, UUID: "uuid", UpToDate: true}
				clears := 1 // the first poll
				if test.want != nil {
					want = indexsource.State{}
					clears = 2
				}
				if state := source.State(); state != want || cache.clears != clears {
					t.Errorf("got %+v after %d clears, want %+v after %d", state, cache.clears, want, clears)
				}
				if err := ix.Status().Err; !errors.Is(err, test.want) {
					t.Errorf("got %v", err)
				}
				if _, _, err := ix.Get(t.Context(), fleet.TokenID("x")); !errors.Is(err, test.want) {
					t.Errorf("Get: got %v", err)
				}
			})
		})
	}
}

// TestUnknownChange: this version does not skip a change of a later one: it forgets
// everything.
func TestUnknownChange(t *testing.T) {
	for kind, want := range map[string][2]int{"token": {1, 1}, "frobnicate": {0, 2}, "evict": {0, 1}} {
		synctest.Test(t, func(t *testing.T) {
			db, ix := openFake(t, sqlindex.Config{})
			_, cache := watched(t, ix)
			synctest.Wait()
			db.set(func() { db.rev, db.changed, db.kind = 2, []string{"token1"}, kind })
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if got := [2]int{cache.evictions, cache.clears}; got != want {
				t.Errorf("%s: got %v evictions and clears, want %v", kind, got, want)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	for _, test := range []struct {
		name string
		kind sqlindex.Dialect
		cfg  sqlindex.Config
		want string
	}{
		{"no dialect", 0, sqlindex.Config{}, "sqlindex: unknown dialect"},
		{"timeout", sqlindex.SQLite, sqlindex.Config{Timeout: -1}, "sqlindex: Config.Timeout -1ns is negative"},
		{"red", sqlindex.SQLite, sqlindex.Config{RedAfter: -1}, "sqlindex: Config.RedAfter -1ns is negative"},
		{"gone", sqlindex.SQLite, sqlindex.Config{GoneAfter: -1}, "sqlindex: Config.GoneAfter -1ns is negative"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := sqlindex.New(nil, test.kind, test.cfg)
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}
