package fleetsql_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetsql"
)

// gap returns the time between the last two calls of a name, in a bubble, after a while in
// which there should be three.
func (f *fake) gap(name string, want time.Duration) time.Duration {
	f.calls()
	time.Sleep(3*max(want, time.Second) + 7*time.Millisecond) // which is not when a look begins
	all := f.calls(name)
	if len(all) < 2 {
		return 0
	}
	return all[len(all)-1].at.Sub(all[len(all)-2].at)
}

// waiters are what waits for something new in the log: a follower's Next, and what
// listens to an address. Each is named by its query.
var waiters = map[string]func(t *testing.T, f *fake, l *fleetsql.Log) (stop func()){
	"news": func(t *testing.T, f *fake, l *fleetsql.Log) func() {
		follower := following(t, l, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for ctx.Err() == nil {
				follower.Next(ctx)
			}
		}()
		return cancel
	},
	"count": func(t *testing.T, f *fake, l *fleetsql.Log) func() {
		_, stop, err := l.Listen(func([]byte) {})
		if err != nil {
			t.Fatal(err)
		}
		return stop
	},
}

// put puts something into the log that the waiter of this name finds at its next look.
func (f *fake) put(name string) {
	if name == "news" {
		f.write("evict.1")
	} else {
		f.set(func() { f.sent = [][]byte{nil} })
	}
}

// TestHowOftenALogLooks: every poll, and a tenth as often after a notification, but at
// least once a second, until a look finds what no notification has reported.
func TestHowOftenALogLooks(t *testing.T) {
	for name, wait := range waiters {
		for _, test := range []struct {
			name                string
			poll, often, seldom time.Duration
		}{
			{"default", 0, 100 * time.Millisecond, time.Second},
			{"short", 20 * time.Millisecond, 20 * time.Millisecond, 200 * time.Millisecond},
			{"medium", 500 * time.Millisecond, 500 * time.Millisecond, time.Second},
			{"long", 5 * time.Second, 5 * time.Second, 5 * time.Second},
			{"longest", time.Minute, time.Minute, time.Minute},
		} {
			t.Run(name+" "+test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					l := f.open(t, fleetsql.PostgreSQL, fleetsql.Config{Poll: test.poll})
					defer wait(t, f, l)()
					check := func(when string, want time.Duration) {
						t.Helper()
						if got := f.gap(name, want); got != want {
							t.Errorf("%s it looks every %v, want %v", when, got, want)
						}
					}
					check("at first", test.often)
					l.Notified("index 17")
					check("after a notification of an index", test.often)
					l.Notified("fleet sql.nobody")
					check("after a notification", test.seldom)
					f.put(name)
					l.Notified("")
					check("after one that came with something", test.seldom)
					f.put(name)
					check("after one was lost", test.often)
					l.Notified("")
					check("after the next one", test.seldom)
				})
			})
		}
	}
}

// TestNotificationsWake: what waits looks at once when a notification is about it, and
// not when it is about something else.
func TestNotificationsWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		l := f.open(t, fleetsql.PostgreSQL, fleetsql.Config{Poll: time.Minute})
		defer waiters["news"](t, f, l)()
		var addresses []string
		for range 3 {
			address, stop, err := l.Listen(func([]byte) {})
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			addresses = append(addresses, address)
		}
		for _, test := range []struct {
			payload string
			want    string
		}{
			{"", "count, count, count, news"},
			{"fleet", "news"},
			{"fleet " + addresses[0], "count"},
			{"fleet " + addresses[1] + " sql.nobody " + addresses[2], "count, count"},
			{"fleet sql.nobody", ""},
			{"index 17", ""},
			{"index " + addresses[0], ""},
		} {
			synctest.Wait()
			f.calls()
			l.Notified(test.payload)
			synctest.Wait()
			got := strings.Split(named(f.calls("count", "news")), ", ")
			slices.Sort(got)
			if got := strings.Join(got, ", "); got != test.want {
				t.Errorf("%q: got the looks %s, want %s", test.payload, got, test.want)
			}
		}
	})
}

// TestOwnAppendWakes: a follower looks at once after an append of its own log, and not
// after one that has failed.
func TestOwnAppendWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		l := f.open(t, fleetsql.PostgreSQL, fleetsql.Config{Poll: time.Minute})
		defer waiters["news"](t, f, l)()
		synctest.Wait()
		f.fail("commit", io.EOF)
		f.calls()
		for i, want := range []int{0, 1} {
			l.Append(t.Context(), fleetlog.Entry{Key: "start", ID: "id"})
			synctest.Wait()
			if got := len(f.calls("news")); got != want {
				t.Errorf("append %d: %d looks, want %d", i, got, want)
			}
			f.set(func() { f.fails = nil })
		}
	})
}

// TestNext: a follower delivers each message once, in order, and says which have others
// before them that it does not deliver.
func TestNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			from fleetlog.Position
			want string
		}{
			{0, "1:false 2:false 5:true 6:false"},
			{1, "1:false 2:false 5:true 6:false"},
			{2, "2:false 5:true 6:false"},
			{4, "5:true 6:false"},
			{5, "5:false 6:false"},
			{7, ""},
		} {
			f := newFake()
			l := f.open(t, fleetsql.PostgreSQL, fleetsql.Config{})
			for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
				f.write(key)
			}
			f.set(func() { f.messages = append(f.messages[:2:2], f.messages[4:]...) })
			follower := following(t, l, test.from)
			got := ""
			for {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				m, err := follower.Next(ctx)
				cancel()
				if err != nil {
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
					break
				}
				got += fmt.Sprintf(" %d:%t", m.Position, m.Skipped)
			}
			if got != "" {
				got = got[1:]
			}
			if got != test.want {
				t.Errorf("from %d: got %s, want %s", test.from, got, test.want)
			}
			if _, err := l.Follow(t.Context(), 8); err == nil || err.Error() != "fleetsql: follow: the log has gone back from position 7 to 6" {
				t.Errorf("from after the end: %v", err)
			}
		}
	})
}

// TestNotificationBeforeNext: a message that a notification has reported before Next
// looks for it was not missed.
func TestNotificationBeforeNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		l := f.open(t, fleetsql.PostgreSQL, fleetsql.Config{})
		follower := following(t, l, 1)
		f.write("evict.1")
		l.Notified("fleet")
		if m, err := follower.Next(t.Context()); err != nil || m.Key != "evict.1" {
			t.Fatalf("got %+v, %v", m, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go follower.Next(ctx)
		if got := f.gap("news", time.Second); got != time.Second {
			t.Errorf("it looks every %v", got)
		}
		cancel()
	})
}

// TestFollowerErrors: Next returns the error of its look at once, and goes on from there
// if it is asked again.
func TestFollowerErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		l := f.open(t, fleetsql.PostgreSQL, fleetsql.Config{Poll: time.Minute})
		f.write("a")
		follower := following(t, l, 1)
		if m, err := follower.Next(t.Context()); m.Key != "a" || err != nil {
			t.Fatalf("got %+v, %v", m, err)
		}
		f.write("b")
		began := time.Now()
		for _, name := range []string{"news", "row of news"} {
			f.fail(name, io.ErrUnexpectedEOF)
			if m, err := follower.Next(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) || m.Key != "" || err.Error() != "fleetsql: follow: unexpected EOF" {
				t.Errorf("%s fails: got %+v, %v", name, m, err)
			}
		}
		f.set(func() { f.fails = nil })
		for want, change := range map[string]func(*int64, *string, *string){
			"fleetsql: the tables are of another version: they are for versions from 2 on, the package has 1": func(readers *int64, _, _ *string) { *readers = 2 },
			"fleetsql: follow: it is another log": func(_ *int64, uuid, _ *string) { *uuid = "another" },
			"fleetsql: follow: another server answers, or it was restarted, and so the log may be another one": func(_ *int64, _, server *string) { *server = "another" },
		} {
			f.set(func() { change(&f.readers, &f.uuid, &f.server) })
			if m, err := follower.Next(t.Context()); err == nil || err.Error() != want || m.Key != "" {
				t.Errorf("got %+v, %v, want %s", m, err, want)
			}
			f.set(func() { f.readers, f.uuid, f.server = 1, "log", "server" })
		}
		if m, err := follower.Next(t.Context()); m.Key != "b" || m.Skipped || err != nil || time.Since(began) > 0 {
			t.Errorf("then: got %+v, %v, after %v", m, err, time.Since(began))
		}
		f.set(func() { f.rev = 1 })
		if m, err := follower.Next(t.Context()); err == nil || err.Error() != "fleetsql: follow: the log has gone back from position 2 to 1" {
			t.Errorf("got %+v, %v", m, err)
		}
	})
}

// TestLooksEnd: a look over a connection that was cut without a word ends after five
// seconds.
func TestLooksEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		l := f.open(t, fleetsql.PostgreSQL, fleetsql.Config{})
		follower := following(t, l, 1)
		f.hang("news")
		for name, look := range map[string]func() error{
			"Follow": func() error { _, err := l.Follow(t.Context(), 1); return err },
			"Next":   func() error { _, err := follower.Next(t.Context()); return err },
		} {
			began := time.Now()
			if err := look(); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 5*time.Second {
				t.Errorf("%s: got %v after %v", name, err, time.Since(began))
			}
		}
		f.set(func() { f.fails = nil })
		defer waiters["count"](t, f, l)()
		synctest.Wait()
		f.hang("count")
		const want = 5*time.Second + 100*time.Millisecond
		if got := f.gap("count", want); got != want {
			t.Errorf("it listens again after %v", got)
		}
	})
}
