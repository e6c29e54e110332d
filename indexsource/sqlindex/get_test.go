package sqlindex_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
)

// TestBehind: a read that finds the index where it was before fails, and the poller looks
// at once. If replicas are allowed it is tried four times within 105 ms first: a replica
// may lag for a moment. Without a cache that remembers, any answer is right.
func TestBehind(t *testing.T) {
	for _, test := range []struct {
		name     string
		watched  bool
		replicas bool
		patience time.Duration
		tries    int
		took     time.Duration
		behind   bool
	}{
		{"no replicas", true, false, time.Hour, 1, 0, true},
		{"replicas", true, true, time.Hour, 4, 105 * time.Millisecond, true},
		{"an impatient caller", true, true, 10 * time.Millisecond, 2, 10 * time.Millisecond, true},
		{"nobody remembers", false, false, time.Hour, 1, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, ix := openFake(t, sqlindex.Config{Poll: time.Hour, AllowReplicas: test.replicas})
				db.set(func() { db.rev = 5 })
				if test.watched {
					watched(t, ix)
					synctest.Wait()
				} else if err := ix.Poll(t.Context()); err != nil {
					t.Fatal(err)
				}
				db.set(func() { db.rev, db.replica, db.asked, db.polls = 4, test.replicas, nil, 0 })
				ctx, cancel := context.WithTimeout(t.Context(), test.patience)
				defer cancel()
				began := time.Now()
				doc, ok, err := ix.Get(ctx, fleet.TokenID("x"))
				took := time.Since(began)
				if ok || doc != (indexsource.Document{}) || errors.Is(err, sqlindex.ErrBehind) != test.behind || (err != nil) != test.behind || took != test.took {
					t.Errorf("got %v, %t, %v after %v", doc, ok, err, took)
				}
				db.set(func() {
					tries := 0
					for _, asked := range db.asked {
						if asked[len(asked)-1] == 'x' {
							tries++
						}
					}
					if tries != test.tries {
						t.Errorf("%d tries, want %d", tries, test.tries)
					}
				})
				if synctest.Wait(); (db.polls > 0) != test.watched {
					t.Errorf("%d polls at once", db.polls)
				}
			})
		})
	}
}

// TestAhead: a read that finds the index further on than the last poll makes the poller
// look within 50 ms: others have changed something.
func TestAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, ix := openFake(t, sqlindex.Config{Poll: time.Hour})
		watched(t, ix)
		synctest.Wait()
		for _, test := range []struct{ ahead, polls int }{{0, 0}, {1, 1}, {0, 0}} {
			db.set(func() { db.rev, db.polls = db.rev+int64(test.ahead), 0 })
			if _, _, err := ix.Get(t.Context(), fleet.TokenID("x")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
			if synctest.Wait(); db.polls != test.polls {
				t.Errorf("%d ahead: %d polls, want %d", test.ahead, db.polls, test.polls)
			}
		}
	})
}

// TestPatience: how long a poll may take, and after how long an outage the index is red and
// gone, to the nanosecond.
func TestPatience(t *testing.T) {
	for _, test := range []struct {
		name               string
		cfg                sqlindex.Config
		timeout, red, gone time.Duration
	}{
		{"default", sqlindex.Config{}, 5 * time.Second, 10 * time.Second, 0},
		{"longer", sqlindex.Config{Timeout: time.Minute, RedAfter: time.Hour, GoneAfter: 2 * time.Hour}, time.Minute, time.Hour, 2 * time.Hour},
		{"gone at once", sqlindex.Config{RedAfter: 1, GoneAfter: 2}, 5 * time.Second, 1, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test.cfg.Poll = -1
				db, ix := openFake(t, test.cfg)
				source, _ := watched(t, ix)
				synctest.Wait()
				db.fail(errOutage)
				began := time.Now()
				for _, step := range []struct {
					at   time.Duration
					want indexsource.Health
				}{
					{0, indexsource.HealthGreen},
					{test.red - 1, indexsource.HealthGreen},
					{test.red, indexsource.HealthRed},
					{test.gone - 1, indexsource.HealthRed},
					{test.gone, indexsource.HealthNone},
					{test.gone + time.Hour, indexsource.HealthNone},
				} {
					if test.gone == 0 && step.at > test.red || step.at < time.Since(began) {
						continue // the index is never gone, or has been there already
					}
					time.Sleep(step.at - time.Since(began))
					if err := ix.Poll(t.Context()); err == nil {
						t.Fatal("a poll succeeds")
					}
					if got := source.State().Health; got != step.want {
						t.Errorf("after %v: got %v, want %v", step.at, got, step.want)
					}
				}
				db.fail(nil)
				db.set(func() { db.delay = 24 * time.Hour })
				began = time.Now()
				if err := ix.Poll(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != test.timeout {
					t.Errorf("got %v after %v, want %v", err, time.Since(began), test.timeout)
				}
			})
		})
	}
}
