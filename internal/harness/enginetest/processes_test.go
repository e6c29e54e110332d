package enginetest

import (
	"bufio"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
)

const (
	otherProcess = "SQLINDEX_TEST_OTHER_PROCESS" // names the SQLite file
	otherToken   = "SQLINDEX_TEST_OTHER_TOKEN"   // the token to disable; empty: all
	otherWaits   = "SQLINDEX_TEST_OTHER_WAITS"   // set: it does not commit
)

// runOtherProcess is the main of another process: it disables tokens of a file.
func runOtherProcess() int {
	if err := disable(os.Getenv(otherProcess), os.Getenv(otherToken)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func disable(path, name string) error {
	db, err := sql.Open("sqlite3", sqliteDSN(path))
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.Exec("UPDATE svctoken_tokens SET enabled = FALSE WHERE name = $1 OR $1 = ''", name); err != nil {
		return err
	}
	if os.Getenv(otherWaits) != "" {
		fmt.Println("written")
		time.Sleep(time.Minute) // until it is killed
	}
	return tx.Commit()
}

// another returns another process, which disables a token or all.
func another(t testing.TB, d database, name string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), otherProcess+"="+pathOf(d), otherToken+"="+name)
	return cmd
}

// TestSeveralProcesses: after one poll a node knows what another process has done to a
// SQLite file, and a poll that finds nothing new forgets nothing.
func TestSeveralProcesses(t *testing.T) {
	d := sqlite(t)
	d.migrate(t)
	n := d.node(t, sqlindex.Config{})
	token := n.create(t, "token1")
	n.want(t, token, "confirmed")
	for range 3 {
		n.poll(t)
		n.want(t, token, "confirmed")
	}
	if got := n.cache.Stats().Hits; got != 3 {
		t.Errorf("got %d hits, want 3", got)
	}
	cmd := another(t, d, "")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n.poll(t)
	n.want(t, token, "refused")
}

// TestProcessesAtOnce: several processes write to one SQLite file while a node polls it.
// Once one has ended, the next poll knows what it did.
func TestProcessesAtOnce(t *testing.T) {
	d := sqlite(t)
	d.migrate(t)
	n := d.node(t, sqlindex.Config{Poll: 5 * time.Millisecond})
	var tokens []tokencache.Token
	for i := range 8 {
		tokens = append(tokens, n.create(t, fmt.Sprintf("token%d", i)))
	}
	var processes sync.WaitGroup
	for _, token := range tokens[1:] {
		n.want(t, token, "confirmed")
		processes.Go(func() {
			if out, err := another(t, d, token.ID().Name).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			if err := n.index.Poll(t.Context()); err != nil {
				t.Error(err)
			}
			n.want(t, token, "refused")
		})
	}
	processes.Wait()
	n.want(t, tokens[0], "confirmed")
}

// TestCommitBehindPoll: the next poll covers what another connection commits just after a
// poll has read its list of changes.
func TestCommitBehindPoll(t *testing.T) {
	d := sqlite(t)
	d.migrate(t)
	writer := d.node(t, sqlindex.Config{})
	tokens := []tokencache.Token{writer.create(t, "token1"), writer.create(t, "token2")}
	var behind func()
	base := d.open(t)
	db := sql.OpenDB(hooked{base.Driver(), d.dsn, func() {
		if behind != nil {
			behind()
		}
	}})
	t.Cleanup(func() { db.Close() })
	n := d.nodeOf(t, db, sqlindex.Config{})
	for _, token := range tokens {
		n.want(t, token, "confirmed")
	}
	disable := func(name string) {
		execSQL(t, base, "UPDATE svctoken_tokens SET enabled = FALSE WHERE name = $1", name)
	}
	disable("token1")
	behind = func() { disable("token2") }
	n.poll(t)
	behind = nil
	n.want(t, tokens[0], "refused")
	n.poll(t)
	n.want(t, tokens[1], "refused")
}

// A hooked driver calls behind when the rows of a list of changes have been read.
type hooked struct {
	driver driver.Driver
	dsn    string
	behind func()
}

func (h hooked) Driver() driver.Driver { return h.driver }

func (h hooked) Connect(context.Context) (driver.Conn, error) {
	conn, err := h.driver.Open(h.dsn)
	return hookedConn{conn, h.behind}, err
}

type hookedConn struct {
	driver.Conn
	behind func()
}

func (c hookedConn) Prepare(query string) (driver.Stmt, error) {
	stmt, err := c.Conn.Prepare(query)
	if err == nil && strings.Contains(query, "svctoken_changes") {
		stmt = hookedStmt{stmt, c.behind}
	}
	return stmt, err
}

type hookedStmt struct {
	driver.Stmt
	behind func()
}

func (s hookedStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
	return hookedRows{rows, s.behind}, err
}

type hookedRows struct {
	driver.Rows
	behind func()
}

func (r hookedRows) Close() error {
	err := r.Rows.Close()
	r.behind()
	return err
}

// TestKilledProcess: if a process is killed before it commits, its writes have not
// happened, and others go on.
func TestKilledProcess(t *testing.T) {
	d := sqlite(t)
	d.migrate(t)
	n := d.node(t, sqlindex.Config{})
	token := n.create(t, "token1")
	n.want(t, token, "confirmed")
	cmd := another(t, d, "")
	cmd.Env = append(cmd.Env, otherWaits+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "written\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	n.poll(t)
	n.want(t, token, "confirmed")
	cmd.Process.Kill()
	cmd.Wait()
	n.poll(t)
	n.want(t, token, "confirmed")
	if err := n.index.SetEnabled(t.Context(), token.ID(), false); err != nil {
		t.Error(err)
	}
	n.want(t, token, "refused")
}

// TestOneConnection: an index shares a SQLite handle that may have one connection, and
// notices what others do, and that the file is replaced.
func TestOneConnection(t *testing.T) {
	d := sqlite(t)
	d.migrate(t)
	n := d.node(t, sqlindex.Config{})
	db := d.open(t)
	db.SetMaxOpenConns(1)
	one := d.nodeOf(t, db, sqlindex.Config{})
	token := n.create(t, "token1")
	one.poll(t)
	one.want(t, token, "confirmed")
	for _, enabled := range []bool{false, true, false, true} {
		by := n
		if enabled {
			by = one
		}
		if err := by.index.SetEnabled(t.Context(), token.ID(), enabled); err != nil {
			t.Fatal(err)
		}
		one.poll(t)
		one.want(t, token, map[bool]string{true: "confirmed", false: "refused"}[enabled])
	}
	other := sqlite(t)
	other.migrate(t)
	if err := os.Rename(pathOf(other), pathOf(d)); err != nil {
		t.Fatal(err)
	}
	if err := one.index.Poll(t.Context()); !errors.Is(err, sqlindex.ErrReplaced) {
		t.Errorf("Poll: got %v", err)
	}
	if got := one.ask(t.Context(), token); !strings.Contains(got, "replaced") {
		t.Errorf("got %q", got)
	}
}
