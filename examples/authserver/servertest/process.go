// Package servertest starts the auth servers under examples as an operator does, each in
// a process of its own, and sends them requests, for their tests.
package servertest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// program is the environment variable that makes a test binary the program it tests.
const program = "SVCTOKEN_PROGRAM"

// Main is for TestMain: it runs the tests, or the program if Start or Run has started
// this test binary.
func Main(m *testing.M, main func()) {
	if os.Getenv(program) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// A Process is a server in a process of its own.
type Process struct {
	URL    string        // where it listens
	Stdout *bufio.Reader // after the line that says so

	t      *testing.T
	cmd    *exec.Cmd
	stderr bytes.Buffer // to be read once the process has ended
}

func command(args []string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], append([]string{"-listen", "127.0.0.1:0"}, args...)...)
	cmd.Env = append(os.Environ(), program+"=1")
	return cmd
}

// Start starts the program with these arguments on a port of its own, and waits until
// it listens. It is killed when the test ends, if it runs until then.
func Start(t *testing.T, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: command(args)}
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stdout = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	p.URL = p.Line("Listening on ")
	return p
}

// Run runs the program with arguments that make it end by itself, and returns its exit
// status and both of its outputs.
func Run(args ...string) (status int, output string) {
	cmd := command(args)
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

// Line reads the output up to the line that begins with prefix, and returns the rest of it.
func (p *Process) Line(prefix string) string {
	p.t.Helper()
	for {
		line, err := p.Stdout.ReadString('\n')
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return strings.TrimSpace(rest)
		}
		if err != nil {
			p.cmd.Wait()
			p.t.Fatalf("no line begins with %q: %v\n%s", prefix, err, &p.stderr)
		}
	}
}

// Send sends a request with USER:PASSWORD, a bearer or nothing, and a form, if there is
// one. Headers are pairs. It returns the response, and its body.
func (p *Process) Send(method, path, credentials string, form url.Values, headers ...string) (*http.Response, string) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	if name, password, ok := strings.Cut(credentials, ":"); ok {
		r.SetBasicAuth(name, password)
	} else if credentials != "" {
		r.Header.Set("Authorization", "Bearer "+credentials)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("X-Elastic-Product"); got != "Elasticsearch" {
		p.t.Errorf("%s %s: got product %q", method, path, got)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp, strings.TrimSpace(string(body))
}

// Do is Send without a form, for the status and the body.
func (p *Process) Do(method, path, credentials string) (status int, body string) {
	p.t.Helper()
	resp, body := p.Send(method, path, credentials, nil)
	return resp.StatusCode, body
}

// Expect sends a request. The answer must have this status, and contain this text.
func (p *Process) Expect(method, path, credentials string, status int, contains string) {
	p.t.Helper()
	if got, body := p.Do(method, path, credentials); got != status || !strings.Contains(body, contains) {
		p.t.Errorf("%s %s: got %d %s, want %d %s", method, path, got, body, status, contains)
	}
}

// Await repeats a request until its answer has this status, and contains this text.
func (p *Process) Await(method, path, credentials string, status int, contains string) {
	p.t.Helper()
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		got, body := p.Do(method, path, credentials)
		if got == status && strings.Contains(body, contains) {
			return
		}
		if time.Since(began) > 30*time.Second {
			p.t.Fatalf("%s %s: got %d %s, want %d %s", method, path, got, body, status, contains)
		}
	}
}

// Create creates the token of the route path, and returns its bearer.
func (p *Process) Create(path, credentials string) string {
	p.t.Helper()
	_, body := p.Do("POST", path, credentials)
	var created struct{ Token struct{ Value string } }
	if err := json.Unmarshal([]byte(body), &created); err != nil || created.Token.Value == "" {
		p.t.Fatalf("%s: got %s, %v", path, body, err)
	}
	return created.Token.Value
}

// Signal sends a signal.
func (p *Process) Signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// Stop sends a signal, checks that the server ends well, and returns its log.
func (p *Process) Stop(sig os.Signal) string {
	p.t.Helper()
	p.cmd.Process.Signal(sig)
	io.Copy(io.Discard, p.Stdout)
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("after %v: %v\n%s", sig, err, &p.stderr)
	}
	return p.stderr.String()
}
