package enginetest

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/indexsource/sqlindex/pglisten"
	"github.com/svctoken/svctoken/internal/harness/pgserver"
)

// listening makes notifications nudge the node's index.
func (d database) listening(t testing.TB, n *node, listen pglisten.Config) *pglisten.Listener {
	t.Helper()
	cfg, err := pgx.ParseConfig(d.dsn)
	if err != nil {
		t.Fatal(err)
	}
	l := pglisten.Listen(cfg, n.index.Notified, listen)
	t.Cleanup(l.Close)
	return l
}

// evictions returns a channel that receives when the node has evicted since.
func evictions(t testing.TB, n *node) chan struct{} {
	told := make(chan struct{}, 1)
	t.Cleanup(n.source.Subscribe(onEviction(func() {
		select {
		case told <- struct{}{}:
		default:
		}
	})))
	return told
}

func await(t testing.TB, told chan struct{}) {
	t.Helper()
	select {
	case <-told:
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was evicted")
	}
}

// TestListen: a node that hardly ever polls evicts when PostgreSQL tells it of a change,
// after a cut of the connection and after a crash of the server too.
func TestListen(t *testing.T) {
	s, err := pgserver.Start("fsync = off")
	pgserver.Need(t, err)
	defer s.Close()
	d := newSchema(t, s)
	d.migrate(t)
	n := d.node(t, sqlindex.Config{Poll: time.Hour})
	var warnings bytes.Buffer // written by the listener's goroutine, which has ended when it is read
	l := d.listening(t, n, pglisten.Config{Logger: slog.New(slog.NewTextHandler(&warnings, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	told := evictions(t, n)
	db := d.open(t)
	execSQL(t, db, "INSERT INTO svctoken_tokens (namespace, service, name, hash) VALUES ('elastic', 'fleet-server', 'token1', '')")
	for _, fault := range []struct {
		name string
		make func()
	}{
		{"none", func() {}},
		{"connection cut", func() {
			execSQL(t, db, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
		}},
		{"crash", func() {
			if err := s.Crash(); err != nil {
				t.Fatal(err)
			}
			if err := s.Restart(); err != nil {
				t.Fatal(err)
			}
			db.Close()
			db = d.open(t)
		}},
	} {
		t.Log(fault.name)
		fault.make()
		select { // drop earlier evictions
		case <-told:
		default:
		}
		execSQL(t, db, "UPDATE svctoken_tokens SET enabled = NOT enabled")
		await(t, told)
	}
	if !l.Connected() {
		t.Error("not connected")
	}
	l.Close()
	if l.Connected() {
		t.Error("connected after Close")
	}
	l.Close()
	if got := strings.Count(warnings.String(), "level=WARN"); got < 1 || got > 2 { // the cut may take effect only with the crash
		t.Errorf("two losses of the connection: got %d warnings:\n%s", got, &warnings)
	}
}

// TestListenToNobody: Close ends a listener whose server was never there.
func TestListenToNobody(t *testing.T) {
	cfg, err := pgx.ParseConfig("postgres:///x?host=" + t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := pglisten.Listen(cfg, func(string) { t.Error("a notification") }, pglisten.Config{})
	l.Close()
}

// TestListenThenPoll: after the first connect, and after each loss of the connection, the
// index is told to poll once the new connection listens, and not before: it would miss
// what is committed in between.
func TestListenThenPoll(t *testing.T) {
	d := postgres(t)
	cfg, err := pgx.ParseConfig(d.dsn + "&application_name=order")
	if err != nil {
		t.Fatal(err)
	}
	order := make(chan string, 100)
	cfg.Tracer = tracer{order}
	l := pglisten.Listen(cfg, func(payload string) { order <- "told " + payload }, pglisten.Config{})
	t.Cleanup(l.Close)
	db := d.open(t)
	for range 3 {
		for _, want := range []string{"begins to listen", "listens", "told "} {
			if got := next(t, order); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
		execSQL(t, db, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND application_name = 'order'")
	}
}

func next(t testing.TB, order chan string) string {
	t.Helper()
	select {
	case got := <-order:
		return got
	case <-time.After(30 * time.Second):
		t.Fatal("nothing happens")
		return ""
	}
}

// A tracer reports when a connection is about to listen, and when it listens.
type tracer struct{ order chan string }

func (tr tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, query pgx.TraceQueryStartData) context.Context {
	if strings.HasPrefix(query.SQL, "LISTEN") {
		tr.order <- "begins to listen"
		return context.WithValue(ctx, tracer{}, true)
	}
	return ctx
}

func (tr tracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if ctx.Value(tracer{}) != nil {
		tr.order <- "listens"
	}
}
