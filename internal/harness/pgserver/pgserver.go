// Package pgserver starts PostgreSQL servers for tests: as an unprivileged user, on a
// socket in a temporary folder, without a network port. A server ends with the process
// that started it, however that process ends.
package pgserver

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// ErrNotInstalled is returned by Start if there is no PostgreSQL. Debian's package
// postgresql has one.
var ErrNotInstalled = errors.New("pgserver: PostgreSQL is not installed (Debian: apt-get install postgresql)")

// ErrShort is returned by Start in tests that run with -short.
var ErrShort = errors.New("pgserver: no server is started with -short")

// Need ends a test that got this error and needs a server: it skips the test with -short, and
// if there is no PostgreSQL, unless CI is set.
func Need(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, ErrShort) {
		t.Skip(err)
	}
	if errors.Is(err, ErrNotInstalled) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A Server is a PostgreSQL server that runs. It is not safe for concurrent use.
type Server struct {
	bin, dir string
	guard    *exec.Cmd // stops the server when this process has ended
	hold     io.Closer // the guard waits for this to be closed
}

// Start makes a new database cluster in a temporary folder, and starts its server.
// The settings are lines for postgresql.conf.
func Start(settings ...string) (*Server, error) {
	if testing.Testing() && flag.Parsed() && testing.Short() {
		return nil, ErrShort
	}
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin}
	if s.dir, err = os.MkdirTemp("", "pg"); err != nil {
		return nil, err
	}
	if err := s.start(settings); err != nil {
		os.RemoveAll(s.dir)
		return nil, err
	}
	return s, nil
}

// programs returns the folder of the newest PostgreSQL.
func programs() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		path, err = filepath.EvalSymlinks(path) // the other programs may have no links
		return filepath.Dir(path), err
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", ErrNotInstalled
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4])
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

func (s *Server) start(settings []string) error {
	credential, err := Unprivileged()
	if err != nil {
		return err
	}
	if credential != nil {
		if err := os.Chown(s.dir, int(credential.Uid), int(credential.Gid)); err != nil {
			return err
		}
	}
	if err := s.run("initdb", "--no-sync", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-D", s.data()); err != nil {
		return err
	}
	conf, err := os.OpenFile(s.data()+"/postgresql.conf", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer conf.Close()
	settings = append([]string{"listen_addresses = ''", "unix_socket_directories = '" + s.dir + "'", "max_connections = 500"}, settings...)
	if _, err := io.WriteString(conf, strings.Join(settings, "\n")+"\n"); err != nil {
		return err
	}
	s.guard = exec.Command("sh", "-c", `read -r line; "$0"/pg_ctl -D "$1" -m immediate stop >/dev/null 2>&1; rm -rf "$2"`, s.bin, s.data(), s.dir)
	s.guard.SysProcAttr = &syscall.SysProcAttr{Credential: credential, Setpgid: true}
	if s.hold, err = s.guard.StdinPipe(); err != nil {
		return err
	}
	if err := s.guard.Start(); err != nil {
		return err
	}
	return s.Restart()
}

// Unprivileged returns the user that runs the server, or nil if this process is not root:
// PostgreSQL refuses to run as root.
func Unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

// Dir returns the folder of the server's socket.
func (s *Server) Dir() string { return s.dir }

func (s *Server) data() string { return s.dir + "/data" }

// run runs one of PostgreSQL's programs. Its output goes to a file: a server that it
// starts would hold a pipe open.
func (s *Server) run(program string, args ...string) error {
	credential, err := Unprivileged()
	if err != nil {
		return err
	}
	out, err := os.CreateTemp("", "pgserver-")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	if program != "cp" {
		program = filepath.Join(s.bin, program)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		log, _ := os.ReadFile(s.dir + "/log")
		return fmt.Errorf("pgserver: %s: %w: %s\n%s", program, err, bytes.TrimSpace(text), bytes.TrimSpace(log))
	}
	return nil
}

// Crash ends the server at once, as a loss of power would, except for what the operating
// system has in memory.
func (s *Server) Crash() error { return s.run("pg_ctl", "-D", s.data(), "-m", "immediate", "stop") }

// Restart starts the server after Crash, and waits until it answers.
func (s *Server) Restart() error {
	return s.run("pg_ctl", "-D", s.data(), "-l", s.dir+"/log", "-w", "start")
}

// Backup stops the server as an operator does, copies its data, and starts it again. It
// returns the copy, which Restore takes.
func (s *Server) Backup() (backup string, err error) {
	backup = filepath.Join(s.dir, "backup")
	return backup, s.offline("fast", func() error { return s.run("cp", "-a", s.data(), backup) })
}

// Restore puts a backup in the place of the server's data.
func (s *Server) Restore(backup string) error {
	return s.offline("immediate", func() error {
		if err := os.RemoveAll(s.data()); err != nil {
			return err
		}
		return s.run("cp", "-a", backup, s.data())
	})
}

// offline calls a function while the server is stopped.
func (s *Server) offline(mode string, do func() error) error {
	if err := s.run("pg_ctl", "-D", s.data(), "-m", mode, "stop"); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return s.Restart()
}

// Replica starts a second server that follows this one, and waits until it answers.
func (s *Server) Replica(settings ...string) (*Server, error) {
	r := &Server{bin: s.bin}
	var err error
	if r.dir, err = os.MkdirTemp("", "pg"); err != nil {
		return nil, err
	}
	if credential, err := Unprivileged(); err != nil {
		return nil, err
	} else if credential != nil {
		if err := os.Chown(r.dir, int(credential.Uid), int(credential.Gid)); err != nil {
			return nil, err
		}
	}
	if err := s.run("pg_basebackup", "-h", s.dir, "-U", "postgres", "-D", r.data(), "-R", "-c", "fast", "--no-sync"); err != nil {
		return nil, err
	}
	conf, err := os.OpenFile(r.data()+"/postgresql.conf", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer conf.Close()
	settings = append([]string{"unix_socket_directories = '" + r.dir + "'"}, settings...)
	if _, err := io.WriteString(conf, strings.Join(settings, "\n")+"\n"); err != nil {
		return nil, err
	}
	return r, r.Restart()
}

// Promote makes a replica a primary, and waits until it is one.
func (s *Server) Promote() error { return s.run("pg_ctl", "-D", s.data(), "-w", "promote") }

// URL returns the URL of a database of the server, for user postgres.
func (s *Server) URL(database string) string {
	return "postgres:///" + url.PathEscape(database) + "?host=" + url.QueryEscape(s.dir) + "&user=postgres&sslmode=disable"
}

// Close ends the server and removes its files.
func (s *Server) Close() error {
	if s.hold == nil { // a replica has no guard of its own
		err := s.Crash()
		return errors.Join(err, os.RemoveAll(s.dir))
	}
	s.hold.Close()
	err := s.guard.Wait()
	return errors.Join(err, os.RemoveAll(s.dir))
}
