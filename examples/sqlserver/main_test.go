package main

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/svctoken/svctoken/indexsource/sqlindex/enginetest/pgserver"
)

// TestMain makes the test binary the server, for the tests that start one.
func TestMain(m *testing.M) {
	if os.Getenv("SQLSERVER") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// A process is a server of its own, as an operator starts it.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr bytes.Buffer
	url    string
}

const operator = "admin:password"

func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], append([]string{"-listen", "127.0.0.1:0", "-admin", operator}, args...)...)}
	p.cmd.Env = append(os.Environ(), "SQLSERVER=1")
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	for p.url == "" {
		line, err := p.stdout.ReadString('\n')
		if url, ok := strings.CutPrefix(line, "Listening on "); ok {
			p.url = strings.TrimSpace(url)
		} else if err != nil {
			p.cmd.Wait()
			t.Fatalf("the server does not start: %v\n%s", err, &p.stderr)
		}
	}
	return p
}

// do sends a request as the operator or with a bearer.
func (p *process) do(method, path, bearer string, header ...string) (int, string) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	r.SetBasicAuth("admin", "password")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func (p *process) authenticate(bearer string) int {
	p.t.Helper()
	status, _ := p.do("GET", "/_security/_authenticate", bearer)
	return status
}

// await authenticates until the answer is the one that is wanted.
func (p *process) await(bearer string, want int) {
	p.t.Helper()
	for began := time.Now(); ; {
		got := p.authenticate(bearer)
		if took := time.Since(began); got == want {
			p.t.Logf("%d after %v", want, took.Round(time.Millisecond))
			return
		} else if took > 30*time.Second {
			p.t.Fatalf("got %d, want %d\n%s", got, want, &p.stderr)
		}
	}
}

func (p *process) stop() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	io.Copy(io.Discard, p.stdout)
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%v\n%s", err, &p.stderr)
	}
}

const tokens = "/_security/service/elastic/fleet-server/credential/token/"

func (p *process) create(name string) string {
	p.t.Helper()
	status, body := p.do("POST", tokens+name, "")
	var answer struct{ Token struct{ Value string } }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != 200 {
		p.t.Fatalf("got %d %s", status, body)
	}
	return answer.Token.Value
}

// TestServers: two servers share their tokens, a token survives a restart, and what SQL
// behind their backs revokes is refused by both. The page says which index this is.
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
		s, err := pgserver.Start("fsync = off")
		if errors.Is(err, pgserver.ErrNotInstalled) && os.Getenv("CI") == "" {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		db, err := sql.Open("pgx", s.URL("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		testServers(t, s.URL("postgres"), "PostgreSQL ", db)
	})
}

func testServers(t *testing.T, index, kind string, db *sql.DB) {
	one, two := start(t, "-index", index, "-index-poll", "100ms"), start(t, "-index", index, "-index-poll", "100ms")
	first, second := one.create("first"), one.create("second")
	for _, p := range []*process{one, two} {
		p.await(first, 200)
		p.await(second, 200)
	}
	if status, body := two.do("POST", tokens+"first", ""); status != 409 {
		t.Errorf("creating it again: got %d %s", status, body)
	}
	if status, body := two.do("GET", strings.TrimSuffix(tokens, "/token/"), ""); status != 200 || !strings.Contains(body, `"count":4`) { // two of the sample file
		t.Errorf("the list: got %d %s", status, body)
	}
	if _, page := two.do("GET", "/", "", "Accept", "text/html"); !strings.Contains(page, "green, "+kind) || !strings.Contains(page, ", revision ") {
		t.Errorf("the page does not say which index this is:\n%s", page)
	}
	one.stop()
	one = start(t, "-index", index, "-index-poll", "100ms")
	one.await(first, 200)
	if _, err := db.ExecContext(t.Context(), "UPDATE svctoken_tokens SET enabled = FALSE WHERE name = 'first'"); err != nil {
		t.Fatal(err)
	}
	one.await(first, 401)
	two.await(first, 401)
	if status, body := two.do("DELETE", tokens+"second", ""); status != 200 {
		t.Errorf("got %d %s", status, body)
	}
	if got := two.authenticate(second); got != 401 {
		t.Errorf("deleted here: got %d", got)
	}
	one.await(second, 401)
	one.stop()
	two.stop()
}

func TestBadStart(t *testing.T) {
	for _, test := range []struct {
		name, stderr string
		args         []string
	}{
		{"no index", "-index is missing", nil},
		{"another scheme", "must be sqlite:PATH", []string{"-index", "mysql:x"}},
		{"no path", "needs a path", []string{"-index", "sqlite:"}},
		{"no folder", "sqlindex: migrate", []string{"-index", "sqlite:/nowhere/x.db"}},
		{"no server", "sqlindex: migrate", []string{"-index", "postgres://u:hunter2@/x?host=/nowhere"}},
		{"bad URL", "cannot be read", []string{"-index", "postgres://u:hunter2@host:x/x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], test.args...)
			cmd.Env = append(os.Environ(), "SQLSERVER=1")
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), test.stderr) || strings.Contains(string(out), "hunter2") {
				t.Errorf("got %v: %s", err, out)
			}
		})
	}
}
