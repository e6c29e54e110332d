package main

import (
	"database/sql"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/svctoken/svctoken/examples/authserver/servertest"
	"github.com/svctoken/svctoken/examples/sqlserver/internal/dsn"
	"github.com/svctoken/svctoken/examples/sqlserver/internal/pgtest"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
)

// TestMain makes the test binary the server, for the tests that start one.
func TestMain(m *testing.M) { servertest.Main(m, main) }

// elsewhere is the answer's text for the servers that it cannot count.
const elsewhere = "the other servers of the database, at their next poll"

const (
	operator = "admin:password"
	whoami   = "/_security/_authenticate"
	tokens   = "/_security/service/elastic/fleet-server/credential/token/"
)

// TestServers: two servers share their tokens, a token survives a restart, and both
// refuse what was revoked by SQL behind their backs. The page says which index this is.
func TestServers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	t.Run("SQLite", func(t *testing.T) {
		db, err := sql.Open("sqlite3", "file:"+path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		testServers(t, "sqlite:"+path, "SQLite "+path, db)
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		url := pgtest.Start(t)
		if url == "" {
			t.Skip("PostgreSQL is not installed")
		}
		db, err := sql.Open("pgx", url)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		testServers(t, url, "PostgreSQL ", db)
	})
}

func testServers(t *testing.T, index, kind string, db *sql.DB) {
	start := func() *servertest.Process {
		return servertest.Start(t, "-admin", operator, "-index", index, "-index-poll", "100ms")
	}
	one, two := start(), start()
	first, second := one.Create(tokens+"first", operator), one.Create(tokens+"second", operator)
	for _, p := range []*servertest.Process{one, two} {
		p.Await("GET", whoami, first, 200, "")
		p.Await("GET", whoami, second, 200, "")
	}
	two.Expect("POST", tokens+"first", operator, 409, "")
	two.Expect("GET", strings.TrimSuffix(tokens, "/token/"), operator, 200, `"count":4`) // two of the sample file
	if _, page := two.Send("GET", "/", operator, nil, "Accept", "text/html"); !strings.Contains(page, "green, "+kind) || !strings.Contains(page, ", revision ") {
		t.Errorf("the page does not say which index this is:\n%s", page)
	}
	// A clearing on one server holds on the other.
	two.Expect("GET", whoami, first, 200, "")
	resp, body := one.Send("POST", tokens+"first,second/_clear_cache", operator, nil)
	if others := resp.Header.Get("X-Svctoken-Others"); resp.StatusCode != 200 || !strings.Contains(body, `{"_nodes":{"total":1,"successful":1,"failed":0}`) || others != elsewhere {
		t.Errorf("clear: got %d %s, others %q", resp.StatusCode, body, others)
	}
	resp, _ = one.Send("POST", "/", operator, url.Values{"account": {"elastic/fleet-server"}, "names": {"first"}})
	if _, page := one.Send("GET", resp.Header.Get("Location"), operator, nil, "Accept", "text/html"); !strings.Contains(page, "not counted: "+elsewhere) {
		t.Errorf("the page does not name the servers that it cannot count:\n%s", page)
	}
	for began := time.Now(); remembered(t, two) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("the other server remembers a cleared token")
		}
	}
	if log := one.Stop(syscall.SIGTERM); !strings.Contains(log, `others="`+elsewhere+`"`) {
		t.Errorf("the log does not name the servers that it cannot count:\n%s", log)
	}
	one = start()
	one.Await("GET", whoami, first, 200, "")
	if _, err := db.ExecContext(t.Context(), "UPDATE svctoken_tokens SET enabled = FALSE WHERE name = 'first'"); err != nil {
		t.Fatal(err)
	}
	one.Await("GET", whoami, first, 401, "")
	two.Await("GET", whoami, first, 401, "")
	two.Expect("DELETE", tokens+"second", operator, 200, "")
	two.Expect("GET", whoami, second, 401, "") // at once, as it was deleted here
	one.Await("GET", whoami, second, 401, "")
	one.Stop(syscall.SIGTERM)
	two.Stop(syscall.SIGTERM)
}

// TestTemporaryIndex: without -index the server uses a file of SQLite, which is removed
// when it ends.
func TestTemporaryIndex(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	p := servertest.Start(t, "-admin", operator)
	p.Await("GET", whoami, p.Create(tokens+"first", operator), 200, "")
	p.Stop(syscall.SIGTERM)
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// TestFileMovedAway: while SQLite's file is away, a server is not ready, and says why; one
// that leaves the index out of its health is. A revocation that fails is in the log, with
// who, what and why, and the engine's words are there alone. Once the same file is back,
// both go on without a restart.
func TestFileMovedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	args := []string{"-admin", operator, "-index", "sqlite:" + path, "-index-poll", "50ms", "-shutdown-delay", "0"}
	p, without := servertest.Start(t, args...), servertest.Start(t, append(args, "-health-without-index")...)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: got %v, %v", info.Mode(), err)
	}
	bearer := p.Create(tokens+"first", operator)
	// A health is good for a second. So p is asked last here: once it is another one below,
	// that of the other server is not this one any more.
	for _, p := range []*servertest.Process{without, p} {
		p.Await("GET", whoami, bearer, 200, "")
		p.Expect("GET", "/_health", "", 200, `{"status":"ready"}`)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*servertest.Process{p, without} {
		p.Await("GET", whoami, bearer, 503, "")
		p.Expect("GET", "/_health/live", "", 200, `{"status":"live"}`)
	}
	p.Await("GET", "/_health", "", 503, `"reasons":["index: `)
	without.Expect("GET", "/_health", "", 200, `{"status":"ready"}`)
	if status, body := p.Do("DELETE", tokens+"first", operator); status != 503 || strings.Contains(strings.ToLower(body), "file") || strings.Contains(body, "sql") {
		t.Errorf("a revocation: got %d %s", status, body)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*servertest.Process{p, without} {
		p.Await("GET", "/_health", "", 200, `{"status":"ready"}`)
		p.Await("GET", whoami, bearer, 200, "")
	}
	p.Expect("DELETE", tokens+"first", operator, 200, `{"found":true}`)
	without.Await("GET", whoami, bearer, 401, "")
	log := p.Stop(syscall.SIGTERM)
	if !regexp.MustCompile(`msg="a change has failed" user=admin change=deleted what=elastic/fleet-server/first error=".*the database file was removed or replaced`).MatchString(log) {
		t.Errorf("the log does not say who wanted what, and why it failed:\n%s", log)
	}
}

// TestLookUp: for a token of the index, the page says which user created it, when it was
// used, when it was rotated and by which user, and when it expires.
func TestLookUp(t *testing.T) {
	index := "sqlite:" + filepath.Join(t.TempDir(), "tokens.db")
	p := servertest.Start(t, "-admin", operator, "-index", index, "-index-poll", "50ms")
	store, err := dsn.Open(index, sqlindex.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("first")
	if _, err := store.CreateUntil(t.Context(), id, "ada", time.Now().Add(90*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	token, err := store.Rotate(t.Context(), id, 3*time.Hour, "grace")
	if err != nil {
		t.Fatal(err)
	}
	p.Await("GET", whoami, token.RevealBearer(), 200, "")
	used := map[tokencache.TokenID]time.Time{id: time.Now()}
	if err := store.NoteUses(t.Context(), used); err != nil {
		t.Fatal(err)
	}
	_, page := p.Send("POST", "/_look_up", operator, url.Values{"account": {"elastic/fleet-server"}, "names": {token.RevealBearer()}})
	page = regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, "")
	for _, part := range []string{`created \d+ s ago by ada`, `rotated \d+ s ago by grace`, `the secret before expires in 3 h`, `last used \d+ s ago`, `expires in 90 d`} {
		if !regexp.MustCompile(part).MatchString(page) {
			t.Errorf("no %s in:\n%s", part, page)
		}
	}
	if strings.Contains(page, "AAEAA") {
		t.Error("the page repeats a bearer")
	}
}

// TestBearerInEveryField: what is pasted into the wrong field is not repeated.
func TestBearerInEveryField(t *testing.T) {
	servertest.BearerInEveryField(t, servertest.Start(t, "-admin", operator), operator)
}

// remembered returns how many tokens of the index a server has in memory.
func remembered(t *testing.T, p *servertest.Process) int {
	t.Helper()
	status, body := p.Do("GET", "/_stats", operator)
	var stats struct {
		Caches struct {
			Index struct{ Entries int } `json:"index"`
		} `json:"caches"`
	}
	if err := json.Unmarshal([]byte(body), &stats); err != nil || status != 200 {
		t.Fatalf("%d, %v: %s", status, err, body)
	}
	return stats.Caches.Index.Entries
}

func TestBadStart(t *testing.T) {
	for _, test := range []struct {
		name, stderr string
		args         []string
	}{
		{"negative time", "-index-poll -1s: it must not be negative", []string{"-index-poll", "-1s"}},
		{"another scheme", "must be sqlite:PATH", []string{"-index", "mysql:x"}},
		{"no path", "needs a path", []string{"-index", "sqlite:"}},
		{"no folder", "sqlindex: migrate", []string{"-index", "sqlite:/nowhere/x.db"}},
		{"no server", "sqlindex: migrate", []string{"-index", "postgres://u:hunter2@/x?host=/nowhere"}},
		{"bad URL", "cannot be read", []string{"-index", "postgres://u:hunter2@host:x/x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if status, output := servertest.Run(test.args...); status == 0 || !strings.Contains(output, test.stderr) || strings.Contains(output, "hunter2") {
				t.Errorf("got status %d and\n%s", status, output)
			}
		})
	}
}
