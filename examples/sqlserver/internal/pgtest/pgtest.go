// Package pgtest starts a PostgreSQL server for tests. The program that runs it is in a
// module of the repository that the example does not require.
package pgtest

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Start starts a server for the time of the test, and returns the URL of a database.
// The URL is empty if PostgreSQL is not installed and CI is not set.
func Start(t testing.TB) (url string) {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	harness := filepath.Join(filepath.Dir(here), "../../../../internal/harness")
	serve := filepath.Join(t.TempDir(), "serve")
	if out, err := exec.Command("go", "build", "-C", harness, "-o", serve, "./pgserver/serve").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var said bytes.Buffer
	server := exec.Command(serve, "fsync = off")
	server.Stderr = &said
	stdin, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil {
		t.Cleanup(func() {
			stdin.Close()
			server.Wait()
		})
		return strings.TrimSpace(line)
	}
	server.Wait()
	if server.ProcessState.ExitCode() != 3 || os.Getenv("CI") != "" {
		t.Fatal(said.String())
	}
	return ""
}
