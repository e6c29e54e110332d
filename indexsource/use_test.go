package indexsource_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

type uses map[tokencache.TokenID]time.Time

// A recorder yields uses as a cache does: all since the last call.
type recorder struct {
	mu   sync.Mutex
	uses uses // guarded by mu
}

func (r *recorder) record(u uses) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uses = u
}

func (r *recorder) used() iter.Seq2[tokencache.TokenID, time.Time] {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.uses
	r.uses = nil
	return maps.All(all)
}

// A forgetful store fails while err is set, and counts its calls.
type forgetful struct {
	indexsource.Memory
	mu    sync.Mutex
	err   error // guarded by mu, as calls is
	calls int
}

func (s *forgetful) fail(err error) (calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	return s.calls
}

func (s *forgetful) NoteUses(ctx context.Context, uses map[tokencache.TokenID]time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls++; s.err != nil {
		return s.err
	}
	return s.Memory.NoteUses(ctx, uses)
}

func lastUses(t *testing.T, store indexsource.UseStore) map[string]time.Time {
	t.Helper()
	got, err := store.LastUses(t.Context(), fleet)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestKeepUses: uses are noted once a minute, the later time counts, what could not be
// noted is tried again, and the end notes the rest. Nothing is written when nothing was used.
func TestKeepUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &forgetful{}
		a, b := create(t, &store.Memory, "a").ID(), create(t, &store.Memory, "b").ID()
		began := time.Now()
		var log bytes.Buffer
		var r recorder
		stop := indexsource.KeepUses(store, r.used, slog.New(slog.NewTextHandler(&log, nil)))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := store.fail(nil); got != 0 {
			t.Errorf("nothing was used: got %d writes", got)
		}
		r.record(uses{a: began.Add(time.Second), fleet.TokenID("gone"): began})
		time.Sleep(time.Minute)
		synctest.Wait()
		if diff := cmp.Diff(map[string]time.Time{"a": began.Add(time.Second)}, lastUses(t, store)); diff != "" {
			t.Errorf("after a minute (-want +got):\n%s", diff)
		}

		store.fail(errors.New("no connection"))
		r.record(uses{a: began.Add(time.Hour), b: began.Add(time.Hour)})
		time.Sleep(time.Minute)
		synctest.Wait()
		r.record(uses{a: began.Add(time.Minute)}) // of another process's clock, which is behind
		time.Sleep(5 * time.Minute)
		calls := store.fail(nil)
		stop()
		stop()
		want := map[string]time.Time{"a": began.Add(time.Hour), "b": began.Add(time.Hour)}
		if diff := cmp.Diff(want, lastUses(t, store)); diff != "" {
			t.Errorf("at the end (-want +got):\n%s", diff)
		}
		if store.fail(nil) != calls+1 || calls > 8 {
			t.Errorf("got %d writes before the end, and %d in all", calls, store.fail(nil))
		}
		if got := strings.Count(log.String(), "cannot be noted"); got != 1 {
			t.Errorf("one outage: got %d lines in the log:\n%s", got, &log)
		}
	})
}

// TestKeepUsesFromTheStart: the use of a token that is evicted within the first minute is
// noted.
func TestKeepUsesFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		index := new(indexsource.Memory)
		token := create(t, index, "a")
		group := tokencache.NewGroup(tokencache.GroupConfig{})
		defer group.Close()
		cache, err := tokencache.New(group, "index", indexsource.New(index), tokencache.Config{})
		if err != nil {
			t.Fatal(err)
		}
		stop := indexsource.KeepUses(index, cache.Used, nil)
		if _, err := group.AuthenticateToken(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		group.Invalidator().Clear(t.Context(), tokencache.CauseAsked)
		stop()
		if got := lastUses(t, index); len(got) != 1 {
			t.Errorf("got %v, want the use of a", got)
		}
	})
}

// TestUseIsNoChange: noting a use clears nothing.
func TestUseIsNoChange(t *testing.T) {
	var index indexsource.Memory
	_, cache := newCache(t, &index)
	token := create(t, &index, "a")
	outcome(t, cache, token)
	if err := index.NoteUses(t.Context(), uses{token.ID(): time.Now()}); err != nil {
		t.Fatal(err)
	}
	outcome(t, cache, token)
	if got := cache.Stats(); got.Loads != 1 || got.Hits != 1 {
		t.Errorf("got %d loads and %d hits, want 1 and 1", got.Loads, got.Hits)
	}
}
