package enginetest

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/internal/harness/pgserver"
	"github.com/svctoken/svctoken/tokencache"
)

// TestPgBouncer: over PgBouncer in transaction mode every statement may go to another
// connection of the server. The index works there with the settings that docs/sql.md names.
func TestPgBouncer(t *testing.T) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
		}
		t.Skip(err)
	}
	s, err := pgserver.Start("fsync = off")
	pgserver.Need(t, err)
	defer s.Close()
	d := database{sqlindex.PostgreSQL, "pgx", s.URL("postgres"), "public", nil}
	d.migrate(t)
	port := bounce(t, program, s)
	for name, open := range map[string]func() (*sql.DB, error){
		"pgx, exec":             func() (*sql.DB, error) { return sql.Open("pgx", port+" default_query_exec_mode=exec") },
		"pgx, describe":         func() (*sql.DB, error) { return sql.Open("pgx", port+" default_query_exec_mode=cache_describe") },
		"lib/pq, binary params": func() (*sql.DB, error) { return sql.Open("postgres", port+" binary_parameters=yes") },
	} {
		t.Run(name, func(t *testing.T) {
			db := opened(t, func(string) (*sql.DB, error) { return open() }, "")
			db.SetMaxOpenConns(8)
			n := d.nodeOf(t, db, sqlindex.Config{Poll: 20 * time.Millisecond})
			token := n.create(t, "token"+strings.Map(letters, name))
			bad := map[string]int{}
			for range 100 {
				n.cache.Clear(t.Context(), tokencache.CauseAsked)
				if got := n.ask(t.Context(), token); got != "confirmed" {
					bad[got]++
				}
				if err := n.index.Status().Err; err != nil {
					bad[err.Error()]++
				}
			}
			if len(bad) > 0 {
				t.Errorf("of 100 authentications, each after a clear: %v", bad)
			}
			if err := n.index.Delete(t.Context(), token.ID()); err != nil {
				t.Error(err)
			}
			n.want(t, token, "refused")
		})
	}
}

func letters(r rune) rune {
	if r >= 'a' && r <= 'z' {
		return r
	}
	return -1
}

// bounce starts PgBouncer in front of the server, and returns how to reach it.
func bounce(t *testing.T, program string, s *pgserver.Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	dir := t.TempDir()
	config := fmt.Sprintf("[databases]\npostgres = host=%s user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 4\nlogfile = %s\n",
		s.Dir(), port, filepath.Join(dir, "log"))
	path := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, path)
	if credential, err := pgserver.Unprivileged(); err != nil {
		t.Fatal(err)
	} else if credential != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
		for _, p := range []string{dir, filepath.Dir(dir)} {
			if err := os.Chmod(p, 0o777); err != nil {
				t.Fatal(err)
			}
		}
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Process.Kill()
		cmd.Wait()
	})
	dsn := fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=disable", port)
	db, err := sql.Open("pgx", dsn+" default_query_exec_mode=exec")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for db.PingContext(ctx) != nil {
		if ctx.Err() != nil {
			t.Fatalf("pgbouncer does not answer: %s", &said)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return dsn
}
