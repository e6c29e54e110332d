// Package e2e tries examples/authserver from outside, with clients that are not
// svctoken's: the official Elasticsearch clients for Go and for JavaScript of three
// versions, those for Python and Ruby that Debian packages, two others for Go, what
// fleet-server asks when it starts, curl, a browser, and four proxies. Its load command
// measures what caching is worth to the server, and picture makes the picture of its
// page that is in the README. Module eck beneath it has the packages of Elastic Cloud
// on Kubernetes.
package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// An Authserver is a process that runs the example. Its users are Admin, who may do
// everything, and Reader, who may look.
type Authserver struct {
	URL         string
	Fingerprint string // of the certificate authority, with -tls-self-signed

	cmd    *exec.Cmd
	stderr bytes.Buffer
}

const (
	Admin, AdminPassword   = "admin", "admin-password"
	Reader, ReaderPassword = "reader", "reader-password"
)

// A Builder builds the example once, and starts it any number of times. It is safe for
// concurrent use by multiple goroutines.
type Builder struct {
	Root string // the repository's

	mu  sync.Mutex // guards the fields below
	dir string     // of the binary; empty: it has not been built
}

// Start starts the example on a free port of the loopback interface. The caller must
// call Stop.
func (b *Builder) Start(args ...string) (*Authserver, error) {
	s := &Authserver{}
	binary, err := b.build(&s.stderr)
	if err == nil {
		err = s.start(binary, args)
	}
	if err != nil {
		s.Stop()
		return nil, fmt.Errorf("authserver: %w\n%s", err, &s.stderr)
	}
	return s, nil
}

// Close removes the binary.
func (b *Builder) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	dir := b.dir
	b.dir = ""
	return os.RemoveAll(dir)
}

func (b *Builder) build(stderr io.Writer) (binary string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	const name = "authserver"
	if b.dir != "" {
		return filepath.Join(b.dir, name), nil
	}
	dir, err := os.MkdirTemp("", "svctoken-e2e-")
	if err != nil {
		return "", err
	}
	binary = filepath.Join(dir, name)
	build := exec.Command("go", "build", "-C", b.Root, "-o", binary, "./examples/authserver")
	build.Stderr = stderr
	if err := build.Run(); err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	b.dir = dir
	return binary, nil
}

func (s *Authserver) start(binary string, args []string) error {
	users := []string{"-listen", "127.0.0.1:0", "-admin", Admin + ":" + AdminPassword, "-reader", Reader + ":" + ReaderPassword}
	s.cmd = exec.Command(binary, append(users, args...)...)
	s.cmd.Stderr = &s.stderr
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewReader(stdout)
	if s.URL, err = value(lines, "Listening on "); err != nil {
		return err
	}
	if strings.HasPrefix(s.URL, "https:") {
		if s.Fingerprint, err = value(lines, "CA fingerprint "); err != nil {
			return err
		}
	}
	go io.Copy(io.Discard, stdout) // ends with the process
	return nil
}

// value reads the output up to a line that begins with this, and returns the rest of the
// line.
func value(lines *bufio.Reader, prefix string) (string, error) {
	line, err := lines.ReadString('\n')
	if err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), prefix)
	if !ok {
		return "", fmt.Errorf("got %q, want a line that begins with %q", line, prefix)
	}
	return rest, nil
}

// Stop ends the process, and waits for it.
func (s *Authserver) Stop() {
	if s.cmd != nil && s.cmd.Process != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	}
}

// Do sends a request as Admin, and decodes the JSON that answers it into the value
// that out points to, if any. A status other than 200 is an error.
func (s *Authserver) Do(method, path string, out any) error {
	r, err := http.NewRequest(method, s.URL+path, nil)
	if err != nil {
		return err
	}
	r.SetBasicAuth(Admin, AdminPassword)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, body)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(body, out)
}

// CreateToken creates a token in the index, and returns its bearer.
func (s *Authserver) CreateToken(namespace, service, name string) (string, error) {
	var created struct{ Token struct{ Value string } }
	err := s.Do("POST", fmt.Sprintf("/_security/service/%s/%s/credential/token/%s", namespace, service, name), &created)
	return created.Token.Value, err
}

// Entries returns how many entries both caches hold.
func (s *Authserver) Entries() (int, error) {
	var stats struct {
		Caches map[string]struct{ Entries int }
	}
	err := s.Do("GET", "/_stats", &stats)
	return stats.Caches["file"].Entries + stats.Caches["index"].Entries, err
}
