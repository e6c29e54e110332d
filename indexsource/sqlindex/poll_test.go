package sqlindex_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
)

var (
	fleet     = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	errOutage = errors.New("connection refused")
)

// watched has a source watch the index, and counts what its cache is told.
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

// TestHealth: failures make the index red, and then gone if the host says so; the
// caches are cleared when it is gone, and when it is back.
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

type noTable struct{}

func (noTable) Error() string    { return "there is no such relation" }
func (noTable) SQLState() string { return "42P01" }

// TestGone: while polls fail for too long, reads that would succeed do not count, as
// nobody would evict what they find.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, ix := openFake(t, sqlindex.Config{GoneAfter: 30 * time.Second})
		watched(t, ix)
		synctest.Wait()
		db.fail(errOutage)
		time.Sleep(time.Minute)
		db.fail(nil)
		if _, _, err := ix.Get(t.Context(), fleet.TokenID("x")); err == nil {
			t.Error("a read succeeds before a poll has")
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
		if _, _, err := ix.Get(t.Context(), fleet.TokenID("x")); !errors.Is(err, sqlindex.ErrClosed) {
			t.Errorf("Get of a closed index: got %v", err)
		}
	})
}

// TestAnotherFormat: a schema of another version is not up to date, and no document
// of it counts.
func TestAnotherFormat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, ix := openFake(t, sqlindex.Config{})
		db.set(func() { db.format = 3 })
		source, _ := watched(t, ix)
		synctest.Wait()
		if state := source.State(); state.UpToDate || state.Health != indexsource.HealthGreen {
			t.Errorf("got %+v", state)
		}
		if err := ix.Status().Err; !errors.Is(err, sqlindex.ErrFormat) {
			t.Errorf("got %v", err)
		}
		if _, _, err := ix.Get(t.Context(), fleet.TokenID("x")); !errors.Is(err, sqlindex.ErrFormat) {
			t.Errorf("Get: got %v", err)
		}
	})
}

func TestConfig(t *testing.T) {
	for _, test := range []struct {
		name string
		kind sqlindex.Engine
		cfg  sqlindex.Config
		want string
	}{
		{"no engine", 0, sqlindex.Config{}, "sqlindex: unknown engine"},
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
