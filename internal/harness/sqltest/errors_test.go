package sqltest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetsql"
	"github.com/svctoken/svctoken/internal/harness/sqlfault"
)

var modes = []sqlfault.Mode{sqlfault.Once, sqlfault.Lost, sqlfault.FromHere}

// faulty opens the database with a driver whose calls can be made to fail, and few
// connections, so that one which is not given back is missed.
func (d database) faulty(t testing.TB) (*sql.DB, *sqlfault.Faults) {
	t.Helper()
	faults := sqlfault.New(d.connector(t, nil))
	db := sql.OpenDB(faults)
	db.SetMaxOpenConns(2)
	t.Cleanup(func() { db.Close() })
	return db, faults
}

// TestEveryErrorOfAppend: whichever call of a driver fails, the append returns an error,
// with that of the connection and nothing else of the driver's. A repeated append is in
// the log once, and took one position.
func TestEveryErrorOfAppend(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		db, faults := d.faulty(t)
		l := openLog(t, db, d.dialect, fleetsql.Config{})
		last := appended(t, l, fleetlog.Entry{Key: "start", ID: "start"})
		for _, mode := range modes {
			for n, fired := 0, "first"; fired != ""; n++ {
				entry := fleetlog.Entry{Key: "doc.a.b.c", ID: fmt.Sprintf("mode%d-%d", mode, n), Value: []byte("x"), TTL: time.Hour, Delete: n%2 == 1}
				if n%3 > 0 {
					view, err := l.Read(t.Context(), entry.Key)
					if err != nil {
						t.Fatal(err)
					}
					at := view.Messages[entry.Key].Position
					entry.If = &at
				}
				faults.Fail(n, mode)
				_, err := l.Append(t.Context(), entry)
				fired = faults.Stop()
				if fired == "" != (err == nil) || err != nil && !refusedBy(err, "append") {
					t.Errorf("%.60q fails: got %v", fired, err)
				}
				pos := appended(t, l, entry)
				view, err := l.Read(t.Context(), entry.Key)
				if m := view.Messages[entry.Key]; err != nil || pos != last+1 || view.Position != pos || m.Position != pos || m.ID != entry.ID || m.Deleted != entry.Delete {
					t.Errorf("%.60q fails: after position %d it has %d, and the log shows %+v, %v", fired, last, pos, view, err)
				}
				last = pos
			}
		}
	})
}

// refusedBy reports whether the error says what was being done, and that the connection
// was cut.
func refusedBy(err error, op string) bool {
	return errors.Is(err, sqlfault.Err) && strings.HasPrefix(err.Error(), "fleetsql: "+op+": ")
}

// TestEveryErrorOfReading: whichever call of a driver fails, a method that reads returns
// an error, and a follower misses nothing when it is asked again.
func TestEveryErrorOfReading(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		db, faults := d.faulty(t)
		l, writer := openLog(t, db, d.dialect, fleetsql.Config{Poll: d.poll}), d.connect(t)
		last := appended(t, writer, fleetlog.Entry{Key: "doc.a.b.c", ID: "start"})
		f := following(t, l, last+1)
		for name, read := range map[string]func() error{
			"read":   func() error { _, err := l.Read(t.Context(), "doc.*", "start"); return err },
			"follow": func() error { _, err := l.Follow(t.Context(), last); return err },
			"open": func() error {
				_, err := fleetsql.Open(t.Context(), db, d.dialect, fleetsql.Config{Existing: true})
				return err
			},
		} {
			for _, mode := range modes {
				for n, fired := 0, "first"; fired != ""; n++ {
					faults.Fail(n, mode)
					err := read()
					fired = faults.Stop()
					if fired == "" != (err == nil) || err != nil && !refusedBy(err, name) {
						t.Errorf("%s, %.60q fails: got %v", name, fired, err)
					}
				}
			}
		}
		for _, mode := range modes {
			for n, fired := 0, "first"; fired != ""; n++ {
				want := appended(t, writer, fleetlog.Entry{Key: "doc.a.b.c", ID: fmt.Sprintf("mode%d-%d", mode, n)})
				faults.Fail(n, mode)
				_, err := next(t, f)
				if fired = faults.Stop(); fired != "" {
					if !refusedBy(err, "follow") {
						t.Errorf("%.60q fails: got %v", fired, err)
					}
					if m, err := next(t, f); err != nil || m.Position != want || m.Skipped {
						t.Errorf("%.60q has failed: then came %+v, %v, want position %d", fired, m, err, want)
					}
				}
			}
		}
	})
}

// TestEveryErrorOfOpen: whichever call of a driver fails while the tables are made,
// either all tables exist or none, and the next Open succeeds.
func TestEveryErrorOfOpen(t *testing.T) {
	for n, ended := 0, false; !ended; n++ {
		d := sqlite(t)
		db, faults := d.faulty(t)
		faults.Fail(n, modes[n%len(modes)])
		_, err := fleetsql.Open(t.Context(), db, d.dialect, fleetsql.Config{})
		fired := faults.Stop()
		switch ended = fired == ""; {
		case ended && (err != nil || n < 8):
			t.Errorf("after %d calls: %v", n, err)
		case !ended && !errors.Is(err, sqlfault.Err):
			t.Errorf("%.60q fails: got %v", fired, err)
		}
		l := openLog(t, db, d.dialect, fleetsql.Config{})
		appended(t, l, fleetlog.Entry{Key: "start", ID: "start"})
		db.Close()
	}
}

// TestEveryErrorOfAnswers: whichever call of a driver fails, messages under way may be
// lost, none arrives twice, and later ones arrive.
func TestEveryErrorOfAnswers(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		db, faults := d.faulty(t)
		l := openLog(t, db, d.dialect, fleetsql.Config{Poll: d.poll})
		came := make(chan string, 64)
		address, stop, err := l.Listen(func(data []byte) { came <- string(data) })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		seen := map[string]int{}
		await := func(text string) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for seen[text] == 0 {
				select {
				case got := <-came:
					seen[got]++
				case <-ctx.Done():
					t.Fatalf("%s has not arrived", text)
				}
			}
		}
		for i, mode := range modes {
			for n := range 16 {
				faults.Fail(n, mode)
				l.Send(address, fmt.Appendf(nil, "fault %d-%d", i, n))
				<-time.After(d.poll + time.Duration(n%4)*time.Millisecond)
				faults.Stop()
				text := fmt.Sprintf("after %d-%d", i, n)
				l.Send(address, []byte(text))
				await(text)
			}
		}
		for text, n := range seen {
			if n > 1 {
				t.Errorf("%s arrived %d times", text, n)
			}
		}
	})
}
