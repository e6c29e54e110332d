package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/examples/sqlserver/internal/pgtest"
	"github.com/svctoken/svctoken/tokencache"
)

// admin runs the command, and returns its status and what it printed. Standard output is
// a file, hence no terminal.
func admin(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return adminWith(t, "", args...)
}

// adminWith is admin with something on standard input.
func adminWith(t *testing.T, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var errs bytes.Buffer
	status = run(t.Context(), args, strings.NewReader(stdin), out, &errs)
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return status, string(text), errs.String()
}

// TestStores: a token's life in each store, with the exit status of each step.
func TestStores(t *testing.T) {
	dir := t.TempDir()
	stores := map[string]string{"file": "file:" + filepath.Join(dir, "service_tokens"), "SQLite": "sqlite:" + filepath.Join(dir, "tokens.db")}
	if url := pgtest.Start(t); url != "" {
		stores["PostgreSQL"] = url
	}
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			isFile := name == "file"
			secrets := t.TempDir()
			bearer := func(file string) string {
				t.Helper()
				path := filepath.Join(secrets, file)
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s: got mode %v, %v", file, info.Mode(), err)
				}
				token, err := tokencache.ParseBearer(strings.TrimSpace(string(text)))
				if err != nil || token.ID().String() != "elastic/fleet-server/token1" {
					t.Errorf("%s: got %v, %v", file, token, err)
				}
				return string(text)
			}
			expect := func(want int, stdout, stderr string, args ...string) {
				t.Helper()
				code, out, errs := admin(t, append([]string{"-store", store, "-by", "wilma"}, args...)...)
				if code != want || !strings.Contains(out, stdout) || !strings.Contains(errs, stderr) {
					t.Errorf("%s: got %d, %q, %q; want %d, %q, %q", args, code, out, errs, want, stdout, stderr)
				}
			}
			const id = "elastic/fleet-server/token1"
			forSQL := func(status int) int {
				if isFile {
					return misused
				}
				return status
			}
			expect(forSQL(done), "", "", "migrate")
			expect(misused, "", "no terminal", "create", id)
			if isFile {
				expect(failed, "", "no such file", "list")
			} else {
				expect(done, "", "", "list")
			}
			if _, out, _ := admin(t, "-store", store, "list"); out != "" {
				t.Errorf("a token was created whose secret nobody has seen: %q", out)
			}
			expect(done, "", "", "-out", filepath.Join(secrets, "one"), "create", id)
			first := bearer("one")
			expect(conflict, "", "exists", "-out", filepath.Join(secrets, "two"), "create", id)
			if _, err := os.Stat(filepath.Join(secrets, "two")); !os.IsNotExist(err) {
				t.Errorf("a file for no secret is left: %v", err)
			}
			expect(failed, "", "file exists", "-out", filepath.Join(secrets, "one"), "rotate", id)
			expect(done, id+"\tenabled", "", "list", "elastic/fleet-server")
			expect(done, "", "", "list", "elastic/kibana")
			expect(forSQL(done), "", "", "disable", id)
			if !isFile {
				expect(done, id+"\tdisabled\t20", "", "list")
				expect(done, `"wilma"`, "", "list")
			}
			expect(forSQL(done), "", "", "enable", id)
			expect(done, "", "", "-out", filepath.Join(secrets, "three"), "rotate", id)
			if bearer("three") == first {
				t.Error("rotated: the same secret")
			}
			expect(done, "", "", "delete", id)
			expect(absent, "", "no such token", "delete", id)
			expect(absent, "", "no such token", "-out", filepath.Join(secrets, "four"), "rotate", id)
			if _, out, _ := admin(t, "-store", store, "list"); out != "" {
				t.Errorf("deleted: %q", out)
			}
			expect(done, "", "", "list") // of none
			expect(forSQL(absent), "", "", "enable", id)
			expect(misused, "", "invalid", "delete", "elastic")
			expect(misused, "", "it needs NAMESPACE/SERVICE/TOKEN", "delete")
			expect(misused, "", "invalid", "list", "x/y/z")
			expect(misused, "", "unknown command", "frobnicate", id)
		})
	}
}

func TestMigrationsArePrinted(t *testing.T) {
	for store, want := range map[string]string{"sqlite:x": "WITHOUT ROWID", "postgres:": "plpgsql"} {
		if code, out, errs := admin(t, "-store", store, "migrations"); code != done || !strings.Contains(out, want) {
			t.Errorf("%s: got %d, %q, %q", store, code, out, errs)
		}
	}
	if code, _, _ := admin(t, "-store", "file:x", "migrations"); code != misused {
		t.Errorf("of a file: got %d", code)
	}
}

// TestFailures: a database that cannot be reached is a failure, not a refusal, and the
// message has no password.
func TestFailures(t *testing.T) {
	for store, want := range map[string]string{"postgres://u:hunter2@/x?host=/nowhere": "nothing was changed", "sqlite:/nowhere/x.db": "no such file"} {
		code, _, errs := admin(t, "-store", store, "disable", "elastic/fleet-server/token1")
		if code != failed || strings.Contains(errs, "hunter2") || !strings.Contains(errs, want) {
			t.Errorf("%s: got %d, %q", store, code, errs)
		}
		if code, _, errs := admin(t, "-store", store, "disable", "token1"); code != misused {
			t.Errorf("%s, with a wrong command line: got %d, %q", store, code, errs)
		}
	}
	if code, _, _ := admin(t, "-store", "mysql:x", "list"); code != misused {
		t.Errorf("got %d", code)
	}
	if code, _, _ := admin(t); code != misused {
		t.Errorf("nothing at all: got %d", code)
	}
}

// TestNoTables: without tables, or without a file, the message says what to do, and
// nothing is made: the path may be mistyped.
func TestNoTables(t *testing.T) {
	dir := t.TempDir()
	empty, missing := filepath.Join(dir, "empty.db"), filepath.Join(dir, "missing")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for store, want := range map[string]string{
		"sqlite:" + empty: "the command migrate", "sqlite:" + missing: "the command migrate", "file:" + missing: "the command create",
	} {
		for _, args := range [][]string{{"list"}, {"delete", "elastic/fleet-server/token1"}, {"-out", filepath.Join(dir, "secret"), "rotate", "elastic/fleet-server/token1"}} {
			code, out, errs := admin(t, append([]string{"-store", store}, args...)...)
			if code != failed || out != "" || !strings.HasPrefix(errs, "admin: nothing was changed: ") || !strings.Contains(errs, want) || strings.Contains(errs, "may be in force") {
				t.Errorf("%s of %s: got %d, %q, %q", args, store, code, out, errs)
			}
		}
	}
	for _, name := range []string{"missing", "secret"} {
		if _, err := os.Stat(filepath.Join(dir, name)); !os.IsNotExist(err) {
			t.Errorf("the file %s was made: %v", name, err)
		}
	}
}

// TestNullDevice: no secret is made for /dev/null, which is a device but not a terminal.
func TestNullDevice(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	store := "file:" + filepath.Join(t.TempDir(), "service_tokens")
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"-store", store, "create", "elastic/fleet-server/token1"}, nil, null, &errs); code != misused {
		t.Errorf("got %d, %s", code, &errs)
	}
	if code, out, _ := admin(t, "-store", store, "list"); code != failed || out != "" {
		t.Errorf("a token was created whose secret nobody has seen: %d, %q", code, out)
	}
}

// sqliteStore returns a new SQLite index.
func sqliteStore(t *testing.T) string {
	t.Helper()
	store := "sqlite:" + filepath.Join(t.TempDir(), "tokens.db")
	if code, _, errs := admin(t, "-store", store, "migrate"); code != done {
		t.Fatal(errs)
	}
	return store
}

// newToken creates a token, and returns its bearer. The flags follow the command.
func newToken(t *testing.T, store, id string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "bearer")
	args := append([]string{"create", id, "-store", store, "-out", out, "-by", "wilma"}, flags...)
	if code, _, errs := admin(t, args...); code != done {
		t.Fatalf("%v: %d, %s", args, code, errs)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func objects(t *testing.T, text string) (all []map[string]any) {
	t.Helper()
	for decoder := json.NewDecoder(strings.NewReader(text)); decoder.More(); {
		var object map[string]any
		if err := decoder.Decode(&object); err != nil {
			t.Fatal(err)
		}
		all = append(all, object)
	}
	return all
}

// TestTokensLife: expiry, rotation with a grace, and the history of it all.
func TestTokensLife(t *testing.T) {
	store := sqliteStore(t)
	const id = "elastic/fleet-server/token1"
	newToken(t, store, id, "-expires", "2100-01-31")
	for _, args := range [][]string{
		{"rotate", id, "-grace", "7d", "-out", filepath.Join(t.TempDir(), "x"), "-by", "barney"},
		{"expire", id, "-expires", "never", "-by", "barney"},
		{"disable", "-by", "fred", id},
	} {
		if code, _, errs := admin(t, append([]string{"-store", store}, args...)...); code != done || errs != "" {
			t.Errorf("%v: got %d, %s", args, code, errs)
		}
	}
	_, out, _ := admin(t, "-store", store, "list", "-json")
	list := objects(t, out)
	if len(list) != 1 || list[0]["rotated_by"] != "barney" || list[0]["state"] != "disabled" || list[0]["expires"] != nil || list[0]["previous_good_until"] == nil {
		t.Errorf("got %s", out)
	}
	if code, _, errs := admin(t, "delete", id, "-store", store, "-by", "betty"); code != done {
		t.Error(errs)
	}
	_, out, _ = admin(t, "-store", store, "history", "-json", id)
	var got []string
	for _, event := range objects(t, out) {
		got = append(got, fmt.Sprint(event["what"], " by ", event["by"]))
	}
	want := []string{"deleted by betty", "disabled by fred", "expiry set by barney", "rotated by barney", "created by wilma"}
	if !slices.Equal(got, want) {
		t.Errorf("history: got %v, want %v", got, want)
	}
	if _, out, _ := admin(t, "-store", store, "history", "elastic/fleet-server", "-limit", "1"); !strings.Contains(out, "\tdeleted\t\"betty\"") || strings.Count(out, "\n") != 1 {
		t.Errorf("got %q", out)
	}
	newToken(t, store, id, "-expires", "90d")
	if _, out, _ := admin(t, "-store", store, "list"); !strings.Contains(out, "\tenabled\t") || !strings.Contains(out, time.Now().UTC().Add(90*24*time.Hour).Format(time.DateOnly)) {
		t.Errorf("got %q", out)
	}
}

// TestRevoke: a dry run changes nothing, and the command takes all tokens of one account.
func TestRevoke(t *testing.T) {
	store := sqliteStore(t)
	for _, id := range []string{"elastic/fleet-server/a", "elastic/fleet-server/b", "elastic/fleet-server-2/a"} {
		newToken(t, store, id)
	}
	for _, dry := range []bool{true, false} {
		code, out, errs := admin(t, "-store", store, "revoke", "elastic/fleet-server", fmt.Sprintf("-dry-run=%t", dry))
		if code != done || out != "elastic/fleet-server/a\nelastic/fleet-server/b\n" {
			t.Errorf("dry run %t: got %d, %q, %s", dry, code, out, errs)
		}
	}
	if _, out, _ := admin(t, "-store", store, "list"); !strings.HasPrefix(out, "elastic/fleet-server-2/a\t") || strings.Count(out, "\n") != 1 {
		t.Errorf("left: %q", out)
	}
	for _, dry := range []bool{true, false} {
		if code, _, errs := admin(t, "-store", store, "revoke", "elastic/fleet-server", fmt.Sprintf("-dry-run=%t", dry)); code != absent {
			t.Errorf("of none, dry run %t: got %d, %s", dry, code, errs)
		}
	}
}

// TestUnused: tokens that nobody has used for the time are listed, and, after a dry run,
// disabled.
func TestUnused(t *testing.T) {
	store := sqliteStore(t)
	for _, name := range []string{"fresh", "old", "used"} {
		newToken(t, store, "elastic/fleet-server/"+name)
	}
	db, err := sql.Open("sqlite3", "file:"+strings.TrimPrefix(store, "sqlite:"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	const day = 86_400_000
	now := time.Now().UnixMilli()
	for _, statement := range []string{
		fmt.Sprintf("UPDATE svctoken_tokens SET created = %d WHERE name <> 'fresh'", now-100*day),
		fmt.Sprintf("INSERT INTO svctoken_used VALUES ('elastic', 'fleet-server', 'used', %d)", now-day),
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		args string
		want int // how many lines; the first is old
	}{{"list -unused 90d", 1}, {"list -unused 12h", 2}, {"disable-unused -unused 90d -dry-run", 1}, {"disable-unused -unused 90d", 1}, {"disable-unused -unused 90d", 0}} {
		code, out, errs := admin(t, append([]string{"-store", store}, strings.Fields(test.args)...)...)
		if code != done || strings.Count(out, "\n") != test.want || test.want > 0 && !strings.HasPrefix(out, "elastic/fleet-server/old\t") {
			t.Errorf("%s: got %d, %q, %s", test.args, code, out, errs)
		}
	}
	if _, out, _ := admin(t, "-store", store, "list", "elastic/fleet-server"); strings.Count(out, "\tdisabled\t") != 1 {
		t.Errorf("got %q", out)
	}
	// Whether uses were kept 90 days ago is only known once a use from then is noted.
	const doubt = "1 of them have no use noted, and no use of any token is noted from before 90d ago"
	if _, _, errs := admin(t, "-store", store, "list", "-unused", "90d"); !strings.Contains(errs, doubt) {
		t.Errorf("got %q", errs)
	}
	if _, err := db.ExecContext(t.Context(), fmt.Sprintf("UPDATE svctoken_used SET used = %d", now-95*day)); err != nil {
		t.Fatal(err)
	}
	if _, out, errs := admin(t, "-store", store, "list", "-unused", "90d"); errs != "" || strings.Count(out, "\n") != 2 {
		t.Errorf("got %q, %q", out, errs)
	}
}

// TestWhois: a leaked bearer, or the beginning of one, names its token, and is not repeated.
func TestWhois(t *testing.T) {
	dir := t.TempDir()
	file := "file:" + filepath.Join(dir, "service_tokens")
	for _, store := range []string{sqliteStore(t), file} {
		bearer := newToken(t, store, "elastic/fleet-server/token1")
		newToken(t, store, "elastic/fleet-server/token10")
		newToken(t, store, "elastic/kibana/token1")
		other := newToken(t, sqliteStore(t), "elastic/fleet-server/token1")
		for _, test := range []struct {
			name, stdin string
			code        int
			want        []string // each line begins so
		}{
			{"whole", bearer + "\n", done, []string{"elastic/fleet-server/token1\tthe secret matches\tenabled"}},
			{"header", "Bearer " + bearer, done, []string{"elastic/fleet-server/token1\tthe secret matches\tenabled"}},
			{"of another store", other, done, []string{"elastic/fleet-server/token1\tthe secret does not match\t"}},
			{"without its end", bearer[:len(bearer)-3], done, []string{"elastic/fleet-server/token1\tthe secret not whole\t"}},
			{"a part of the name", bearer[:len("AAEAAWVsYXN0aWMvZmxlZXQt")+2] + "...", done, []string{"elastic/fleet-server/token1\t", "elastic/fleet-server/token10\t"}},
			{"of nobody", "AAEAAXgveS96", absent, nil},
			{"no bearer", "correct horse battery staple", misused, nil},
			{"nothing", "", misused, nil},
		} {
			code, out, errs := adminWith(t, test.stdin, "-store", store, "whois")
			lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
			if code != test.code || len(test.want) > 0 && len(lines) != len(test.want) {
				t.Errorf("%s: got %d, %q, %s", test.name, code, out, errs)
				continue
			}
			for i, want := range test.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("%s: got %q, want %q", test.name, lines[i], want)
				}
			}
			if strings.Contains(errs, "battery") || len(test.stdin) > 20 && strings.Contains(out+errs, test.stdin[8:20]) {
				t.Errorf("%s: it is repeated: %s%s", test.name, out, errs)
			}
		}
	}
}

// TestWhoisAfterRotation: the answer tells the previous secret from the present one, and
// says until when the previous one is good.
func TestWhoisAfterRotation(t *testing.T) {
	store := sqliteStore(t)
	const id = "elastic/fleet-server/token1"
	before := newToken(t, store, id)
	for _, test := range []struct{ grace, want string }{{"7d", "good until "}, {"1ms", "refused since "}} {
		out := filepath.Join(t.TempDir(), "bearer")
		if code, _, errs := admin(t, "rotate", id, "-grace", test.grace, "-out", out, "-store", store); code != done {
			t.Fatal(errs)
		}
		<-time.After(2 * time.Millisecond)
		after, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		for bearer, want := range map[string]string{before: "the secret matches the one before, which is " + test.want, string(after): "the secret matches\tenabled"} {
			if code, out, errs := adminWith(t, bearer, "whois", "-store", store); code != done || !strings.HasPrefix(out, id+"\t"+want) {
				t.Errorf("grace %s: got %d, %q, %s", test.grace, code, out, errs)
			}
		}
		before = strings.TrimSpace(string(after))
	}
}

// TestCommandLine: help goes to standard output with status 0; an error says first what is
// wrong, and names no bearer.
func TestCommandLine(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"-help"}, {"create", "-h"}, {"--help", "-store", "x"}} {
		if code, out, errs := admin(t, args...); code != done || errs != "" || !strings.Contains(out, "disable-unused") || !strings.Contains(out, "-grace") {
			t.Errorf("%v: got %d, %q, %q", args, code, out, errs)
		}
	}
	store := sqliteStore(t)
	for _, test := range []struct{ args, want string }{
		{"", "admin: a command is needed\n"},
		{"-frobnicate list", "admin: flag provided but not defined: -frobnicate\n"},
		{"frobnicate", `admin: unknown command "frobnicate"` + "\n"},
		{"list", "admin: list: -store is missing: file:PATH, sqlite:PATH or postgres://USER@HOST/DATABASE\n"},
		{"list -store nosuch:x", "admin: -store: must be sqlite:PATH"},
		{"delete -store " + store, "admin: delete: it needs NAMESPACE/SERVICE/TOKEN\n"},
		{"delete a/b/c d/e/f -store " + store, "admin: delete: too many arguments: 2\n"},
		{"delete a/b/c -expires 1d -store " + store, "admin: delete: it has no flag -expires\n"},
		{"create a/b/c -expires yesterday -store " + store, "admin: create: -expires must be an age such as 90d"},
		{"create a/b/c -expires yesterday -store sqlite:/nowhere/x", "admin: create: -expires must be an age such as 90d"},
		{"delete a/b/c -wait node1:9200/_stats -store " + store, "admin: delete: -wait must be URLs such as http://node1:9200/_stats"},
		{"delete a/b/c -wait http://a/_stats, -store " + store, "admin: delete: -wait must be URLs"},
		{"delete a/b/c -timeout 0s -store " + store, "admin: delete: -timeout must be more than 0\n"},
		{"history -limit 0 -store " + store, "admin: history: -limit must be 1 or more\n"},
		{"AAEAAWVsYXN0aWMvZmxlZXQ -store " + store, `admin: unknown command "AAEAA[...]"` + "\n"},
		{"create a/b/c -grace AAEAAWVsYXN0aWMvZmxlZXQ -store " + store, `admin: invalid value "AAEAA[...]" for flag -grace: `},
		{"delete a/b/c -by AAEAAWVsYXN0aWMvZmxlZXQ -store " + store, "admin: delete: -by is a name, not a bearer\n"},
		{"whois AAEAAWVsYXN0aWMvZmxlZXQ -store " + store, "admin: whois: that is a bearer, or the beginning of one: the command whois reads it from standard input\n"},
		{"rotate a/b/c -grace -1h -store " + store, "admin: rotate: a time is negative\n"},
		{"rotate a/b/c -grace x -store " + store, `admin: invalid value "x" for flag -grace: must be a time such as 90d, 12h or 30m` + "\n"},
		{"expire a/b/c -store " + store, "admin: expire: -expires is missing"},
		{"disable-unused -store " + store, "admin: disable-unused: -unused is missing"},
		{"delete AAEAAWVsYXN0aWMvZmxlZXQ -store " + store, "admin: delete: that is a bearer, or the beginning of one: the command whois"},
		{"revoke a/b/c -store " + store, "admin: revoke: "},
		{"history -store file:x", "admin: history: that is for an SQL index"},
		{"create a/b/c -expires 1d -store file:x", "admin: create: a file keeps no times"},
	} {
		code, out, errs := admin(t, strings.Fields(test.args)...)
		if code != misused || out != "" || !strings.HasPrefix(errs, test.want) || !strings.Contains(errs, "\nusage: ") || strings.Contains(errs, "WVsYXN0") {
			t.Errorf("%s: got %d, %q, %q", test.args, code, out, errs)
		}
	}
	if _, _, errs := admin(t, "-store", "nosuch:x", "list"); !strings.Contains(errs, "file:PATH") {
		t.Errorf("got %q", errs)
	}
}

// TestWait: the command returns when the servers that it names have applied its change,
// and fails when one does not in time, although the change has succeeded.
func TestWait(t *testing.T) {
	store := sqliteStore(t)
	newToken(t, store, "elastic/fleet-server/token1")
	t.Setenv("SVCTOKEN_WAIT", "admin:password")
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		rev := 1
		if asked > 3 {
			rev = 1000
		}
		if user, password, _ := r.BasicAuth(); user != "admin" || password != "password" {
			t.Errorf("asked by %q", user)
		}
		if r.URL.Path == "/metrics" {
			fmt.Fprintf(w, "# TYPE svctoken_index_revision gauge\nsvctoken_index_revision{index=\"index\"} %d\n", rev)
			return
		}
		fmt.Fprintf(w, `{"index": {"revision": "%d"}}`, rev)
	}))
	defer server.Close()
	code, _, errs := admin(t, "-store", store, "disable", "elastic/fleet-server/token1", "-wait", server.URL+"/_stats,"+server.URL+"/metrics")
	if code != done || asked != 5 || strings.Count(errs, "has applied revision") != 2 {
		t.Errorf("got %d after %d questions, %s", code, asked, errs)
	}
	asked = -1000
	code, _, errs = admin(t, "-store", store, "enable", "elastic/fleet-server/token1", "-wait", server.URL+"/_stats", "-timeout", "1s")
	if code != failed || !strings.Contains(errs, "the change is in force in the database") || !strings.Contains(errs, "it has applied revision 1") {
		t.Errorf("got %d, %s", code, errs)
	}
	if _, out, _ := admin(t, "-store", store, "list"); !strings.Contains(out, "\tenabled\t") {
		t.Errorf("got %q", out)
	}
}

// TestRunbook: the commands of docs/operations.md work as they stand there. -wait, which
// names servers, is left out.
func TestRunbook(t *testing.T) {
	page, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile("`admin (-store STORE [^`]*)`").FindAllStringSubmatch(string(page), -1)
	if len(commands) < 6 {
		t.Errorf("the page has %d commands", len(commands))
	}
	for _, m := range commands {
		store, dir := sqliteStore(t), t.TempDir()
		bearer := newToken(t, store, "elastic/fleet-server/NAME")
		line, stdin := m[1], ""
		if before, ok := strings.CutSuffix(line, " < leaked.txt"); ok {
			line, stdin = before, bearer
		}
		line = regexp.MustCompile(` -wait \S+`).ReplaceAllString(line, "")
		args := strings.Fields(strings.NewReplacer("STORE", store, "bearer.txt", filepath.Join(dir, "bearer.txt")).Replace(line))
		if code, out, errs := adminWith(t, stdin, args...); code != done || strings.Contains(out+errs, bearer) {
			t.Errorf("admin %s: got %d, %s%s", m[1], code, out, errs)
		}
	}
}

// TestPrivateFile: the database is a new file that nobody else may read.
func TestPrivateFile(t *testing.T) {
	store := sqliteStore(t)
	newToken(t, store, "elastic/fleet-server/token1")
	info, err := os.Stat(strings.TrimPrefix(store, "sqlite:"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
}
