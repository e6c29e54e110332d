package faults_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenmetrics"
)

// create makes five good tokens, and starts their callers.
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

// file is a fault of the file, which something replaces.
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

// health is a fault of an engine's index, whose cluster reports its health.
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

// openDatabase returns an index in a database of SQLite with a limit of pages.
func openDatabase(t *testing.T, logger *slog.Logger, pages int) (path string, db *sql.DB, index *sqlindex.Index) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "tokens.db")
	db, err := sql.Open("sqlite3", fmt.Sprintf("file:%s?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=max_page_count(%d)", (&url.URL{Path: path}).EscapedPath(), pages))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	index, err = sqlindex.New(db, sqlindex.SQLite, sqlindex.Config{Poll: 100 * time.Millisecond, RedAfter: time.Second, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(index.Close)
	if err := index.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return path, db, index
}

// database is a fault of an SQL database.
func database(strike func(h *host, path string)) func(*testing.T) (*host, func()) {
	return func(t *testing.T) (*host, func()) {
		h := newHost(t, "", tokencache.GroupConfig{})
		path, _, index := openDatabase(t, h.logger, 1000)
		cache(h, "index", indexsource.New(index), tokencache.Config{TTL: 2 * time.Second})
		h.metrics.WatchIndex("index", func() tokenmetrics.IndexStatus {
			st := index.Status()
			return tokenmetrics.IndexStatus{Health: st.State.Health, Revision: st.Rev, Polled: st.Polled, Err: st.Err}
		})
		h.create(func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
			return index.Create(ctx, id, "test")
		})
		return h, func() { strike(h, path) }
	}
}

func moveAway(h *host, path string) {
	if err := os.Rename(path, path+".away"); err != nil {
		h.t.Error(err)
	}
}
