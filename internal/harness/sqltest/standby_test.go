package sqltest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/internal/harness/pgserver"
)

// TestStandbyIsAway: an append that the synchronous standby does not have is not
// acknowledged, however often it is tried, although PostgreSQL shows it once a client has
// given up. Once commits need not wait for the standby any more, it is acknowledged, at
// its position.
func TestStandbyIsAway(t *testing.T) {
	for _, driver := range postgresDrivers {
		t.Run(driver, func(t *testing.T) { standbyIsAway(t, postgresAlone(t).with(driver)) })
	}
}

// postgresAlone returns a database on a server of its own, whose settings a test changes.
func postgresAlone(t *testing.T) database {
	t.Helper()
	s, err := pgserver.Start("fsync = off")
	pgserver.Need(t, err)
	t.Cleanup(func() { s.Close() })
	return newSchema(t, s)
}

func standbyIsAway(t *testing.T, d database) {
	e := d.connect(t)
	try := func(key, id string) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		_, err := e.Append(ctx, fleetlog.Entry{Key: key, ID: id})
		return err
	}
	setStandby(t, e, "nobody")
	for i := 0; try("evict.before", fmt.Sprint("before", i)) == nil; i++ {
		if i > 1000 {
			t.Fatal("the server does not wait for the standby")
		}
	}
	for i := range 3 {
		if try("evict.1", "1") == nil {
			t.Errorf("attempt %d was acknowledged without the standby", i+1)
		}
	}
	setStandby(t, e, "")
	pos := appended(t, e, fleetlog.Entry{Key: "evict.1", ID: "1"})
	if again := appended(t, e, fleetlog.Entry{Key: "evict.1", ID: "1"}); again != pos {
		t.Errorf("it got position %d, and then %d", pos, again)
	}
	if next := appended(t, e, fleetlog.Entry{Key: "evict.2", ID: "2"}); next != pos+1 {
		t.Errorf("the next one got position %d, want %d", next, pos+1)
	}
	view, err := e.Read(t.Context(), "evict.1")
	if err != nil || view.Messages["evict.1"].Position != pos || view.Position != pos+1 {
		t.Errorf("got %+v, %v, want position %d of %d", view, err, pos, pos+1)
	}
}

// setStandby sets the standby that commits wait for.
func setStandby(t *testing.T, e *node, name string) {
	t.Helper()
	execSQL(t, e.db, "ALTER SYSTEM SET synchronous_standby_names = '"+name+"'")
	execSQL(t, e.db, "SELECT pg_reload_conf()")
}

// TestPromotedStandby: the primary loses its synchronous standby, which is promoted, and
// a node joins the log there and deletes a token. Nobody has stopped the old primary.
// Once the deletion has returned, its node does not confirm the token, with any driver,
// and does not renew its lease.
func TestPromotedStandby(t *testing.T) {
	for _, driver := range postgresDrivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			promoteStandby(t, driver)
		})
	}
}

func promoteStandby(t *testing.T, driver string) {
	const lease = 3 * time.Second
	primary, err := pgserver.Start("fsync = off")
	pgserver.Need(t, err)
	defer primary.Close()
	d := newSchema(t, primary)
	standby, err := primary.Replica()
	if err != nil {
		t.Fatal(err)
	}
	defer standby.Close()
	setStandby(t, &node{db: d.open(t, nil)}, "*")
	before := d.with(driver).host(t, 1, lease)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	token := create(ctx, t, []*host{before})
	w := newWatch(ctx, token, []*host{before})
	w.until(ctx, &w.confirmed, 10)
	if err := standby.Promote(); err != nil {
		t.Fatal(err)
	}
	d.dsn = strings.Replace(d.dsn, primary.URL("postgres"), standby.URL("postgres"), 1)
	after := d.with(driver).host(t, 2, lease)
	if err := after.member.Index().Delete(ctx, token.ID()); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	w.revoked.Store(&now)
	<-time.After(2 * lease)
	if n := w.wrong.Load(); n > 0 {
		t.Errorf("the node of the old primary has confirmed the token %d times after its deletion had returned", n)
	}
	if st := before.member.Status(); st.Serving && time.Now().Before(st.Until) {
		t.Errorf("the node of the old primary serves on: %+v", st)
	}
	cancel()
	w.asking.Wait()
}
