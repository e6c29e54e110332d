package faults_test

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenmetrics"
)

// create makes five good tokens, and lets their callers come.
func (h *host) create(make func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error)) {
	h.t.Helper()
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		token, err := make(h.ctx, account.TokenID(name))
		if err != nil {
			h.t.Fatal(err)
		}
		h.tokens = append(h.tokens, token)
	}
	h.serve()
}

// file is a fault of the file: what it is replaced by.
func file(strike func(t *testing.T, path string)) func(*testing.T) (*host, func()) {
	return func(t *testing.T) (*host, func()) {
		h := newHost(t, "", tokencache.GroupConfig{})
		path := filepath.Join(t.TempDir(), "service_tokens")
		f, err := filesource.Open(path, filesource.Config{Poll: 100 * time.Millisecond, Rest: 50 * time.Millisecond, Logger: h.logger})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(f.Close)
		cache(h, "file", f, tokencache.Config{})
		h.metrics.WatchFile("file", f)
		h.create(f.Create)
		return h, func() { strike(t, path) }
	}
}

// replace puts a text into the file's place by a rename.
func replace(text string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t *testing.T, path string) {
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func pipe(t *testing.T, path string) {
	remove(t, path)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

// health is a fault of an engine's index, whose cluster says how it is.
func health(h indexsource.Health) func(*testing.T) (*host, func()) {
	return func(t *testing.T) (*host, func()) {
		host := newHost(t, "", tokencache.GroupConfig{})
		var index indexsource.Memory
		green := indexsource.State{Health: indexsource.HealthGreen, UUID: "1", UpToDate: true}
		index.SetState(green)
		source := indexsource.New(&index)
		cache(host, "index", source, tokencache.Config{})
		host.metrics.WatchIndex("index", func() tokenmetrics.IndexStatus {
			return tokenmetrics.IndexStatus{Health: source.State().Health, Revision: -1}
		})
		host.create(func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
			return index.Create(ctx, id, "test")
		})
		return host, func() { index.SetState(indexsource.State{Health: h, UUID: "1", UpToDate: true}) }
	}
}

// database is a fault of an SQL database.
func database(strike func(h *host, path string, index *sqlindex.Index)) func(*testing.T) (*host, func()) {
	return func(t *testing.T) (*host, func()) {
		h := newHost(t, "", tokencache.GroupConfig{})
		path := filepath.Join(t.TempDir(), "tokens.db")
		db, err := sql.Open("sqlite3", "file:"+(&url.URL{Path: path}).EscapedPath()+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=max_page_count(60)")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		index, err := sqlindex.New(db, sqlindex.SQLite, sqlindex.Config{Poll: 100 * time.Millisecond, RedAfter: time.Second, Logger: h.logger})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(index.Close)
		if err := index.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		cache(h, "index", indexsource.New(index), tokencache.Config{TTL: 2 * time.Second})
		h.metrics.WatchIndex("index", func() tokenmetrics.IndexStatus {
			st := index.Status()
			return tokenmetrics.IndexStatus{Health: st.State.Health, Revision: st.Rev, Polled: st.Polled, Err: st.Err}
		})
		h.create(func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
			return index.Create(ctx, id, "test")
		})
		return h, func() { strike(h, path, index) }
	}
}

func moveAway(h *host, path string, _ *sqlindex.Index) {
	if err := os.Rename(path, path+".away"); err != nil {
		h.t.Error(err)
	}
}

// fillDisk asks for a change for which the database has no room.
func fillDisk(h *host, _ string, index *sqlindex.Index) {
	id := account.TokenID("new")
	_, err := index.Create(h.ctx, id, strings.Repeat("x", 1<<20))
	if err == nil {
		h.t.Error("the disk does not get full")
	}
	h.metrics.ObserveChange("create", err)
	h.logger.Warn("a change has failed", "user", "ada", "change", "create", "what", id.String(), "error", err)
}

// lease is long enough for a machine that is busy.
const lease = 3 * time.Second

// A node is a host in a fleet, and what can be done to its log.
type node struct {
	*host
	log  *fleettest.Log
	conn *fleettest.Conn
	full *fullLog
}

// fleetOf is a fault of the fleet's log.
func fleetOf(strike func(n *node)) func(*testing.T) (*host, func()) {
	return func(t *testing.T) (*host, func()) {
		n := &node{host: newHost(t, "", tokencache.GroupConfig{}), log: fleettest.NewLog()}
		n.conn = n.log.Connect()
		n.full = &fullLog{Log: n.conn}
		member, err := fleet.New(n.full, n.group, fleet.Config{Lease: lease, Name: "node1", Observer: n.observeFleet})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(member.Close)
		cache(n.host, "source", &n.src, cached)
		n.metrics.WatchFleet("", member)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := member.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		n.log.Settle()
		n.fill(20, 0)
		n.serve()
		return n.host, func() { strike(n) }
	}
}

// A fullLog is a log that can be full.
type fullLog struct {
	fleetlog.Log
	full atomic.Bool
}

var errFull = errors.New("maximum bytes exceeded")

func (l *fullLog) Append(ctx context.Context, entry fleetlog.Entry) (fleetlog.Position, error) {
	if l.full.Load() {
		return 0, errFull
	}
	return l.Log.Append(ctx, entry)
}
