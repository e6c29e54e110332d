package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/examples/sqlserver/internal/pgtest"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
)

// admin runs the command, and returns its status and what it printed. Standard output is
// a file, hence no terminal.
func admin(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var errs bytes.Buffer
	status = run(t.Context(), args, out, &errs)
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
				code, out, errs := admin(t, append([]string{"-store", store, "-creator", "wilma"}, args...)...)
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
			expect(misused, "", "one token", "delete")
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
	if got := unsure(&sqlindex.EngineError{Op: "delete", Text: "unexpected EOF"}).Error(); !strings.Contains(got, "may be in force or not") {
		t.Errorf("an answer that was lost: %s", got)
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

// TestNullDevice: no secret is made for /dev/null, which is a device and no terminal.
func TestNullDevice(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	store := "file:" + filepath.Join(t.TempDir(), "service_tokens")
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"-store", store, "create", "elastic/fleet-server/token1"}, null, &errs); code != misused {
		t.Errorf("got %d, %s", code, &errs)
	}
	if code, out, _ := admin(t, "-store", store, "list"); code != failed || out != "" {
		t.Errorf("a token was created whose secret nobody has seen: %d, %q", code, out)
	}
}
