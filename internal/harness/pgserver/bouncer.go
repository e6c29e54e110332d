package pgserver

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Bounce starts a PgBouncer in front of the server for a test, in transaction mode: every
// statement outside of a transaction may go to another connection of the server. It
// returns its address, without the name of a database. Without PgBouncer it skips the
// test, unless CI is set.
func (s *Server) Bounce(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	port := freePort(t)
	config := fmt.Sprintf(`[databases]
* = host=%s user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 8
server_login_retry = 1
logfile = %s
`, s.Dir(), port, filepath.Join(dir, "log"))
	path := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, path)
	credential, err := Unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	if credential != nil {
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
	address := fmt.Sprintf("127.0.0.1:%d", port)
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("pgbouncer does not listen: %v", err)
		}
	}
	return fmt.Sprintf("host=127.0.0.1 port=%d user=postgres sslmode=disable", port)
}

func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
