package fleetsql_test

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetsql"
)

// TestSendTogether: what waits to be sent is sent 64 messages at a time, and at most 1024
// wait.
func TestSendTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		l := f.open(t, fleetsql.PostgreSQL, fleetsql.Config{})
		f.hang("begin")
		l.Send("sql.a", []byte("lost after five seconds"))
		synctest.Wait()
		for i := range 2000 {
			data := fmt.Append(nil, i)
			l.Send("sql."+string('a'+rune(i%3)), data)
			data[0] = 'x' // it is the caller's again
		}
		f.set(func() { f.fails = nil })
		began := time.Now()
		synctest.Wait()
		if got := named(f.calls()); got != "begin" {
			t.Errorf("got the calls %s while the first one has no answer", got)
		}
		f.await(t, "commit")
		if took := time.Since(began); took < 5*time.Second || took > 5*time.Second+time.Millisecond {
			t.Errorf("it is given up after %v", took)
		}
		synctest.Wait()
		calls := f.calls()
		if got, want := named(calls), strings.Repeat("begin, purge sent, send, notify, commit, ", 16); got+", " != want {
			t.Errorf("got the calls %s", got)
		}
		n := 0
		for _, c := range calls {
			switch c.name {
			case "purge sent":
				if !reflect.DeepEqual(c.args, []any{int64(60_000)}) {
					t.Errorf("it deletes with %v", c.args)
				}
			case "send":
				if len(c.args) != 128 || !strings.Contains(c.text, " VALUES ($1, $2, CAST(") || !strings.Contains(c.text, " AS BIGINT)), ($127, $128, CAST(") {
					t.Errorf("%d arguments: %s", len(c.args), c.text)
				}
				for i := 0; i < len(c.args); i += 2 {
					if got, want := fmt.Sprintf("%s %s", c.args[i], c.args[i+1]), fmt.Sprintf("sql.%c %d", 'a'+rune(n%3), n); got != want {
						t.Errorf("message %d is %s, want %s", n, got, want)
					}
					n++
				}
			case "notify":
				names := strings.Fields(c.args[0].(string))
				if len(names) != 4 || names[0] != "fleet" || names[1] == names[2] || names[2] == names[3] || names[3] == names[1] {
					t.Errorf("the notification is %q", c.args[0])
				}
			}
		}
	})
}

// TestSendFails: a message is lost if any call fails, nobody is woken for it, and later
// messages are sent.
func TestSendFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		l := f.open(t, fleetsql.PostgreSQL, fleetsql.Config{Poll: time.Minute})
		came := make(chan string, 10)
		address, stop, err := l.Listen(func(data []byte) { came <- string(data) })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		synctest.Wait()
		all := []string{"begin", "purge sent", "send", "notify", "commit"}
		for i, name := range all {
			f.calls()
			f.fail(name, io.ErrUnexpectedEOF)
			l.Send(address, nil)
			synctest.Wait()
			want := strings.Join(all[:i+1], ", ")
			if name != "begin" && name != "commit" {
				want += ", rollback"
			}
			if got := named(f.calls()); got != want {
				t.Errorf("%s fails: got the calls %s, want %s", name, got, want)
			}
			f.set(func() { f.fails, f.sent = nil, nil })
		}
		began := time.Now()
		l.Send(address, []byte("hello"))
		synctest.Wait()
		if got := named(f.calls()); got != strings.Join(all, ", ")+", count, take" {
			t.Errorf("got the calls %s", got)
		}
		if data := <-came; data != "hello" || time.Since(began) > 0 {
			t.Errorf("got %s after %v", data, time.Since(began))
		}
	})
}

// TestReceiveFails: after an error nothing is delivered, and the next look delivers what
// is there.
func TestReceiveFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		l := f.open(t, fleetsql.PostgreSQL, fleetsql.Config{})
		var came []string
		_, stop, err := l.Listen(func(data []byte) { came = append(came, string(data)) })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		for _, name := range []string{"count", "row of count", "take"} {
			f.fail(name, io.ErrUnexpectedEOF)
			f.set(func() { f.sent = [][]byte{[]byte("first"), []byte("second")} })
			time.Sleep(time.Second)
			if synctest.Wait(); len(came) > 0 {
				t.Errorf("%s fails: got %q", name, came)
			}
			f.set(func() { f.fails = nil })
			time.Sleep(100 * time.Millisecond)
			if synctest.Wait(); !reflect.DeepEqual(came, []string{"first", "second"}) {
				t.Errorf("after %s has failed: got %q", name, came)
			}
			came = nil
		}
		f.set(func() { f.garbles, f.sent = "take", [][]byte{[]byte("first"), []byte("second")} })
		time.Sleep(time.Second)
		if synctest.Wait(); len(came) > 0 {
			t.Errorf("got %q after what cannot be read", came)
		}
	})
}

// TestListenStops: once stop has returned, nothing looks for messages any more.
func TestListenStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		l := f.open(t, fleetsql.PostgreSQL, fleetsql.Config{})
		address, stop, err := l.Listen(func([]byte) {})
		if err != nil {
			t.Fatal(err)
		}
		other, stopOther, err := l.Listen(func([]byte) {})
		if err != nil || other == address || !strings.HasPrefix(address, "sql.") || len(address) > 64 {
			t.Errorf("got the addresses %q and %q, %v", address, other, err)
		}
		stop()
		stop()
		stopOther()
		synctest.Wait()
		f.calls()
		l.Notified("")
		l.Send(address, nil) // nobody is woken
		time.Sleep(time.Hour)
		if got := named(f.calls("count")); got != "" {
			t.Errorf("got the calls %s", got)
		}
	})
}

// TestAddresses: what is not an address of a log in a database is sent nowhere: it could
// break a notification.
func TestAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		l := f.open(t, fleetsql.PostgreSQL, fleetsql.Config{})
		for address, sends := range map[string]bool{
			"sql.somebody": true, "sql." + strings.Repeat("x", 60): true, "sql." + strings.Repeat("x", 61): false,
			"": false, "_FLEET.svctoken.x": false, "sql.two words": false, " sql.a": false,
		} {
			l.Send(address, nil)
			synctest.Wait()
			if got := f.calls("send"); (len(got) == 1) != sends || sends && !reflect.DeepEqual(got[0].args, []any{address, []byte{}}) {
				t.Errorf("%q: got %v", address, got)
			}
		}
	})
}

// TestSendOnSQLite: SQLite has no notifications, and nothing else is asked of it.
func TestSendOnSQLite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newSQLite(t)
		l := f.open(t, fleetsql.SQLite, fleetsql.Config{})
		l.Send("sql.a", []byte("hello"))
		synctest.Wait()
		if got := named(f.calls()); got != "begin, purge sent, send, commit" {
			t.Errorf("got the calls %s", got)
		}
	})
}
