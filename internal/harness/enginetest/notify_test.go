package enginetest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/indexsource/sqlindex/pglisten"
	"github.com/svctoken/svctoken/internal/harness/pgserver"
)

// TestNotifications: PostgreSQL notifies of each statement once, with the names of the
// changed tokens if they are few and short. Long names, and names that cannot be sent,
// make no change fail.
func TestNotifications(t *testing.T) {
	d := postgres(t)
	d.migrate(t)
	db := d.open(t)
	conn, err := pgx.Connect(t.Context(), d.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "LISTEN svctoken"); err != nil {
		t.Fatal(err)
	}
	const insert = "INSERT INTO svctoken_tokens (namespace, service, name, hash) "
	for _, test := range []struct {
		name, sql string
		want      []string // the names of each notification
	}{
		{"insert", insert + "VALUES ('a', 'b', 'c', ''), ('a', 'b', 'd', '')", []string{"a/b/c a/b/d"}},
		{"update", "UPDATE svctoken_tokens SET enabled = FALSE WHERE name = 'c'", []string{"a/b/c"}},
		{"rename", "UPDATE svctoken_tokens SET name = 'e' WHERE name = 'c'", []string{"a/b/c a/b/e"}},
		{"delete", "DELETE FROM svctoken_tokens WHERE name = 'e'", []string{"a/b/e"}},
		{"two statements", "UPDATE svctoken_tokens SET enabled = FALSE; DELETE FROM svctoken_tokens", []string{"a/b/d", "a/b/d"}},
		{"nothing", "DELETE FROM svctoken_tokens", nil},
		{"16", insert + "SELECT 'a', 'b', 'n' || 100 + i, '' FROM generate_series(1, 16) i", []string{
			"a/b/n101 a/b/n102 a/b/n103 a/b/n104 a/b/n105 a/b/n106 a/b/n107 a/b/n108 a/b/n109 a/b/n110 a/b/n111 a/b/n112 a/b/n113 a/b/n114 a/b/n115 a/b/n116",
		}},
		{"17", insert + "SELECT 'a', 'c', 'n' || i, '' FROM generate_series(1, 17) i", []string{""}},
		{"a long name", insert + "SELECT 'a', 'b', (SELECT string_agg(md5(i::TEXT), '') FROM generate_series(1, 75) i), ''", []string{
			"a/b/" + query(t, d, "SELECT string_agg(md5(i::TEXT), '') FROM generate_series(1, 75) i"),
		}},
		{"long names", insert + "SELECT 'a', 'b' || n, (SELECT string_agg(md5((n * i)::TEXT), '') FROM generate_series(1, 75) i), '' FROM generate_series(1, 3) n", []string{""}},
		{"spaces", insert + "VALUES ('x', 'y', 'a b', '')", []string{"x/y/a b"}},
		{"truncate", "TRUNCATE svctoken_tokens", []string{""}},
		{"another identity", "UPDATE svctoken_meta SET uuid = 'x', rev = rev + 1", []string{""}},
		{"replication role", "SET LOCAL session_replication_role = replica; " + insert + "VALUES ('a', 'b', 'c', '')", []string{""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			transaction(t, d, test.sql)
			execSQL(t, db, "NOTIFY svctoken, 'end x'")
			var got []string
			for {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				n, err := conn.WaitForNotification(ctx)
				cancel()
				if err != nil {
					t.Fatal(err)
				}
				rev, names, _ := strings.Cut(n.Payload, " ")
				if rev == "end" {
					break
				}
				got = append(got, names)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func query(t testing.TB, d database, query string) (text string) {
	t.Helper()
	if err := d.open(t).QueryRowContext(t.Context(), query).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

// TestForged: every user who may connect to the database may notify. A notification
// without a change makes nodes forget a token needlessly, and does nothing else.
func TestForged(t *testing.T) {
	d := postgres(t)
	d.migrate(t)
	n := d.node(t, sqlindex.Config{Poll: time.Hour})
	l := d.listening(t, n, pglisten.Config{})
	token := n.create(t, "token1")
	n.want(t, token, "confirmed")
	told := evictions(t, n)
	for !l.Connected() {
		time.Sleep(time.Millisecond)
	}
	db := d.open(t)
	for _, payload := range []string{"", " ", "x", "1 ../../x", "1 " + strings.Repeat("é ", 2000), "99999 elastic/fleet-server/token1"} {
		execSQL(t, db, "SELECT pg_notify('svctoken', $1)", payload)
	}
	await(t, told)
	n.want(t, token, "confirmed")
	if state := n.source.State(); !state.UpToDate || n.index.Status().Err != nil {
		t.Errorf("got %+v, %v", state, n.index.Status().Err)
	}
}

// TestLogicalReplication: changes that a subscription applies count like others.
// Replication's workers fire no triggers for statements.
func TestLogicalReplication(t *testing.T) {
	s, err := pgserver.Start("fsync = off", "wal_level = logical")
	pgserver.Need(t, err)
	defer s.Close()
	var sides []database
	for _, name := range []string{"publisher", "subscriber"} {
		d := database{sqlindex.PostgreSQL, "pgx", s.URL(name), "public", nil}
		admin := database{sqlindex.PostgreSQL, "pgx", s.URL("postgres"), "public", nil}
		execSQL(t, admin.open(t), "CREATE DATABASE "+name)
		d.migrate(t)
		sides = append(sides, d)
	}
	publisher, subscriber := sides[0].open(t), sides[1].open(t)
	execSQL(t, publisher, "CREATE PUBLICATION p FOR TABLE svctoken_tokens")
	execSQL(t, publisher, "SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
	execSQL(t, subscriber, fmt.Sprintf("CREATE SUBSCRIPTION s CONNECTION 'host=%s user=postgres dbname=publisher' PUBLICATION p WITH (create_slot = false, slot_name = 's', copy_data = false)", s.Dir()))
	n := sides[1].node(t, sqlindex.Config{Poll: 50 * time.Millisecond})
	for _, test := range []struct{ name, sql string }{
		{"update", "UPDATE svctoken_tokens SET enabled = FALSE"},
		{"update of many", "INSERT INTO svctoken_tokens (namespace, service, name, hash) SELECT 'a', 'b', 'c' || i, '' FROM generate_series(1, 2000) i; UPDATE svctoken_tokens SET enabled = FALSE"},
		{"rename", "UPDATE svctoken_tokens SET name = 'other'"},
		{"delete", "DELETE FROM svctoken_tokens"},
		{"truncate", "TRUNCATE svctoken_tokens"},
	} {
		t.Run(test.name, func(t *testing.T) {
			transaction(t, sides[0], "TRUNCATE svctoken_tokens")
			token := newToken(t, "token1")
			execSQL(t, publisher, "INSERT INTO svctoken_tokens (namespace, service, name, hash) VALUES ('elastic', 'fleet-server', 'token1', $1)", hashOf(token))
			n.await(t, token, "confirmed")
			before := query(t, sides[1], "SELECT rev::TEXT FROM svctoken_meta")
			transaction(t, sides[0], test.sql)
			n.await(t, token, "refused")
			t.Logf("rev %s to %s", before, query(t, sides[1], "SELECT rev::TEXT FROM svctoken_meta"))
		})
	}
	execSQL(t, subscriber, "ALTER SUBSCRIPTION s DISABLE")
}
