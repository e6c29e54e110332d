package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain makes the test binary the server, for the tests that start one.
func TestMain(m *testing.M) {
	if os.Getenv("AUTHSERVER") != "" {
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

func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], append([]string{"-listen", "127.0.0.1:0"}, args...)...)}
	p.cmd.Env = append(os.Environ(), "AUTHSERVER=1")
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
	p.url = p.line("Listening on ")
	return p
}

// line reads the output up to the line of this prefix, and returns the rest of it.
func (p *process) line(prefix string) string {
	p.t.Helper()
	for {
		line, err := p.stdout.ReadString('\n')
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return strings.TrimSpace(rest)
		}
		if err != nil {
			p.cmd.Wait()
			p.t.Fatalf("no line begins with %q: %v\n%s", prefix, err, &p.stderr)
		}
	}
}

// do sends a request, with basic credentials or a bearer, and returns the status
// and the body.
func (p *process) do(method, path, credentials string) (int, string) {
	p.t.Helper()
	resp, body := p.send(method, path, credentials, nil)
	return resp.StatusCode, body
}

// send is do with a form, where there is one, and more headers, as pairs. It
// returns the whole response, whose body has been read.
func (p *process) send(method, path, credentials string, form url.Values, headers ...string) (*http.Response, string) {
	p.t.Helper()
	r, err := http.NewRequest(method, p.url+path, strings.NewReader(form.Encode()))
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

func (p *process) expect(method, path, credentials string, status int, body string) {
	p.t.Helper()
	if code, got := p.do(method, path, credentials); code != status || !strings.Contains(got, body) {
		p.t.Errorf("%s %s: got %d %s, want %d %s", method, path, code, got, status, body)
	}
}

// stop sends a signal, and checks that the server ends well.
func (p *process) stop(sig os.Signal) {
	p.t.Helper()
	p.cmd.Process.Signal(sig)
	io.Copy(io.Discard, p.stdout)
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("after %v: %v\n%s", sig, err, &p.stderr)
	}
}

const (
	credential = "/_security/service/elastic/fleet-server/credential"
	route      = credential + "/token/"
	admin      = "admin:password"
	reader     = "reader:password"
)

func TestSample(t *testing.T) {
	p := start(t)
	path := p.line("Tokens in ")
	operator := p.line("Operator ")
	bearer := p.line("A token that works: ")
	p.expect("GET", "/_security/_authenticate", bearer, 200, `"username":"elastic/fleet-server"`)
	p.expect("POST", route+"token1,token2/_clear_cache", operator, 200, `"successful":1`)
	p.stop(os.Interrupt)
	if _, err := os.Stat(filepath.Dir(path)); !os.IsNotExist(err) {
		t.Errorf("the sample's folder was left: %v", err)
	}
}

func TestRequests(t *testing.T) {
	p := start(t, "-admin", admin, "-reader", reader, "-service-tokens", "../../filesource/testdata/service_tokens", "-poll", "0")
	const token1 = "AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA"

	code, body := p.do("GET", "/_security/_authenticate", token1)
	const want = `{"authentication_realm":{"name":"_service_account","type":"_service_account"},"authentication_type":"token","email":null,"enabled":true,"full_name":"Service account - elastic/fleet-server","lookup_realm":{"name":"_service_account","type":"_service_account"},"metadata":{"_elastic_service_account":true},"roles":[],"token":{"name":"token1","type":"_service_account_file"},"username":"elastic/fleet-server"}`
	if diff := cmp.Diff(want, body); code != 200 || diff != "" {
		t.Errorf("authenticate: got %d (-want +got):\n%s", code, diff)
	}
	p.expect("GET", "/_security/_authenticate", "", 401, "the scheme is not Bearer")
	p.expect("GET", "/_security/_authenticate", token1[:len(token1)-1]+"B", 401, "security_exception")
	p.expect("GET", "/_security/_authenticate", "x", 401, "not a service token")

	// Create, authenticate, clear, delete, refused.
	code, body = p.do("POST", route+"index1", admin)
	var created struct {
		Created bool
		Token   struct{ Name, Value string }
	}
	if err := json.Unmarshal([]byte(body), &created); err != nil || code != 200 || !created.Created || created.Token.Name != "index1" {
		t.Fatalf("create: got %d %s, %v", code, body, err)
	}
	p.expect("PUT", route+"index1", admin, 409, "version_conflict_engine_exception")
	p.expect("GET", "/_security/_authenticate", created.Token.Value, 200, `"type":"_service_account_index"`)
	p.expect("GET", credential, admin, 200, `"tokens":{"index1":{}}`)
	p.expect("GET", credential, admin, 200, `"token1":{"nodes":["authserver"]}`)
	for _, names := range []string{"token1", "token1,token2", "*", "", "index1"} {
		p.expect("POST", route+names+"/_clear_cache", admin, 200, `{"_nodes":{"total":1,"successful":1,"failed":0},"cluster_name":"svctoken","nodes":{"`)
	}
	p.expect("GET", "/_security/_authenticate", created.Token.Value, 200, "index1")
	p.expect("DELETE", route+"index1", admin, 200, `{"found":true}`)
	p.expect("DELETE", route+"index1", admin, 404, `{"found":false}`)
	p.expect("GET", "/_security/_authenticate", created.Token.Value, 401, "token refused")
	p.expect("POST", credential+"/token", admin, 200, `"name":"token_`)
	p.expect("POST", route+"_bad", admin, 400, "invalid token name")
	p.expect("POST", "/_security/service/acme/deploy/credential/token/t", admin, 400, "service account [acme/deploy] does not exist")

	// Who may what.
	for _, request := range [][2]string{{"POST", route + "a"}, {"DELETE", route + "a"}, {"GET", credential}, {"GET", "/_security/service"}, {"POST", "/"}, {"POST", route + "*/_clear_cache"}} {
		p.expect(request[0], request[1], reader, 403, "security_exception")
		p.expect(request[0], request[1], "", 401, "security_exception")
		p.expect(request[0], request[1], token1, 401, "security_exception")
	}
	p.expect("GET", "/_stats", "", 401, "security_exception")
	p.expect("GET", "/", "", 401, "security_exception")
	p.expect("GET", "/_stats", reader, 200, `"caches":{"file":{"hits":`)
	p.stop(syscall.SIGTERM)
	if !strings.Contains(p.stderr.String(), "user=admin selector=elastic/fleet-server/token1,token2") {
		t.Errorf("no audit line in:\n%s", &p.stderr)
	}
}

// TestAccounts: the service accounts that exist are those of the flag; tokens of
// others are refused, and the operator learns it at the start.
func TestAccounts(t *testing.T) {
	p := start(t, "-admin", admin, "-accounts", "elastic/kibana,acme/deploy", "-service-tokens", "../../filesource/testdata/service_tokens")
	const role = `{"role_descriptor":{"applications":[],"cluster":[],"indices":[],"metadata":{},"run_as":[],"transient_metadata":{"enabled":true}}}`
	const deploy, kibana = `"acme/deploy":` + role, `"elastic/kibana":` + role
	for path, want := range map[string]string{
		"":                "{" + deploy + "," + kibana + "}",
		"/elastic":        "{" + kibana + "}",
		"/elastic/kibana": "{" + kibana + "}",
		"/elastic/deploy": "{}",
		"/nobody":         "{}",
	} {
		if code, body := p.do("GET", "/_security/service"+path, admin); code != 200 || body != want {
			t.Errorf("accounts%s: got %d %s, want %s", path, code, body, want)
		}
	}
	p.expect("GET", "/_security/_authenticate", "AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA", 401, "token refused")
	p.expect("POST", "/_security/service/acme/deploy/credential/token/t", admin, 200, `"created":true`)
	p.stop(syscall.SIGTERM)
	if !strings.Contains(p.stderr.String(), "token=elastic/fleet-server/token1") {
		t.Errorf("no warning of the token that is refused in:\n%s", &p.stderr)
	}
}

// TestShapes: answers and errors have the headers and bodies that clients read,
// those of Go's mux too.
func TestShapes(t *testing.T) {
	p := start(t, "-admin", admin)
	p.expect("POST", route+"index1", admin, 200, "")
	const vendor = "application/vnd.elasticsearch+json;compatible-with=9"
	for _, test := range []struct {
		name, method, path, credentials string
		headers                         []string
		status                          int
		header, value                   string
		body                            string
	}{
		{"no such route", "GET", "/x", admin, nil, 404, "Content-Type", "application/json",
			`{"error":{"reason":"no handler for path \"/x\"","root_cause":[{"reason":"no handler for path \"/x\"","type":"resource_not_found_exception"}],"type":"resource_not_found_exception"},"status":404}`},
		{"method", "DELETE", "/_security/_authenticate", admin, nil, 405, "Allow", "GET, HEAD",
			`{"error":{"reason":"method \"DELETE\" is not allowed here, allowed: [GET, HEAD]","root_cause":[{"reason":"method \"DELETE\" is not allowed here, allowed: [GET, HEAD]","type":"illegal_argument_exception"}],"type":"illegal_argument_exception"},"status":405}`},
		{"no credentials", "GET", credential, "", nil, 401, "WWW-Authenticate", `Basic realm="security", charset="UTF-8"`,
			`{"error":{"header":{"WWW-Authenticate":["Basic realm=\"security\", charset=\"UTF-8\"","Bearer realm=\"security\""]},"reason":"missing or wrong credentials","root_cause":[{"header":{"WWW-Authenticate":["Basic realm=\"security\", charset=\"UTF-8\"","Bearer realm=\"security\""]},"reason":"missing or wrong credentials","type":"security_exception"}],"type":"security_exception"},"status":401}`},
		{"operator", "GET", "/_security/_authenticate", admin, nil, 200, "Content-Type", "application/json",
			`{"authentication_realm":{"name":"operators","type":"file"},"authentication_type":"realm","email":null,"enabled":true,"full_name":null,"lookup_realm":{"name":"operators","type":"file"},"metadata":{},"roles":[],"username":"admin"}`},
		{"refused", "GET", "/_security/_authenticate", "AAEAAWEvYi9jOjAxMjM0NTY3ODk", nil, 401, "WWW-Authenticate", `Basic realm="security", charset="UTF-8"`,
			`{"error":{"header":{"WWW-Authenticate":["Basic realm=\"security\", charset=\"UTF-8\"","Bearer realm=\"security\""]},"reason":"tokencache: token refused: a/b/c: unknown_account","root_cause":[{"header":{"WWW-Authenticate":["Basic realm=\"security\", charset=\"UTF-8\"","Bearer realm=\"security\""]},"reason":"tokencache: token refused: a/b/c: unknown_account","type":"security_exception"}],"type":"security_exception"},"status":401}`},
		{"credentials", "GET", credential, admin, nil, 200, "Content-Type", "application/json",
			`{"count":3,"nodes_credentials":{"_nodes":{"failed":0,"successful":1,"total":1},"file_tokens":{"token1":{"nodes":["authserver"]},"token2":{"nodes":["authserver"]}}},"service_account":"elastic/fleet-server","tokens":{"index1":{}}}`},
		{"conflict", "PUT", route + "index1", admin, nil, 409, "Content-Type", "application/json",
			`{"error":{"reason":"indexsource: the token exists already: elastic/fleet-server/index1","root_cause":[{"reason":"indexsource: the token exists already: elastic/fleet-server/index1","type":"version_conflict_engine_exception"}],"type":"version_conflict_engine_exception"},"status":409}`},
		{"found", "DELETE", route + "index1", admin, nil, 200, "Content-Type", "application/json", `{"found":true}`},
		{"not found", "DELETE", route + "index1", admin, nil, 404, "Content-Type", "application/json", `{"found":false}`},
		{"vendor's type", "DELETE", route + "nobody", admin, []string{"Accept", vendor}, 404, "Content-Type", vendor, `{"found":false}`},
		{"vendor's type, a space", "DELETE", route + "nobody", admin, []string{"Accept", strings.Replace(vendor, ";", "; ", 1)}, 404, "Content-Type", vendor, `{"found":false}`},
		{"pretty", "DELETE", route + "nobody?pretty", admin, nil, 404, "Content-Type", "application/json", "{\n  \"found\": false\n}"},
		{"another site's page", "POST", route + "*/_clear_cache", admin, []string{"Sec-Fetch-Site", "cross-site"}, 403, "Content-Type", "application/json",
			`{"error":{"reason":"the request comes from the page of another site","root_cause":[{"reason":"the request comes from the page of another site","type":"security_exception"}],"type":"security_exception"},"status":403}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, body := p.send(test.method, test.path, test.credentials, nil, test.headers...)
			if got := resp.Header.Get(test.header); resp.StatusCode != test.status || got != test.value {
				t.Errorf("got %d, %s: %s", resp.StatusCode, test.header, got)
			}
			if diff := cmp.Diff(test.body, body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
	resp, body := p.send("GET", "/", admin, nil, "Accept", vendor)
	if !strings.Contains(body, `"cluster_name":"svctoken"`) || resp.Header.Get("Content-Type") != vendor {
		t.Errorf("info: got %d %s", resp.StatusCode, body)
	}
}

// TestFileChange removes a token from the file, with the real clock and the real
// file system: within 200 ms it is refused, and the other goes on.
func TestFileChange(t *testing.T) {
	content, err := os.ReadFile("../../filesource/testdata/service_tokens")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "service_tokens")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "-admin", admin, "-service-tokens", path, "-poll", "50ms")
	const token1 = "AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA"
	const token2 = "AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMjo3ODliZTZlMGVlZjNkMDIwYjdlYjNj"
	p.expect("GET", "/_security/_authenticate", token1, 200, "")
	p.expect("GET", "/_security/_authenticate", token2, 200, "")
	if err := os.WriteFile(path, bytes.Replace(content, []byte("elastic/fleet-server/token1:"), []byte("#"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; {
		code, _ := p.do("GET", "/_security/_authenticate", token1)
		if took := time.Since(began); code == 401 {
			t.Logf("refused after %v", took)
			break
		} else if took > 10*time.Second {
			t.Fatal("the removed token works on")
		}
	}
	p.expect("GET", "/_security/_authenticate", token2, 200, "")
	p.stop(syscall.SIGTERM)
}

func TestBadStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service_tokens")
	if err := os.WriteFile(path, []byte("a/b/c:{PBKDF2}7$x$y\nbad\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		args   []string
		status int
		stderr string
	}{
		{"bad file", []string{"-service-tokens", path}, 1, path + ":1: a/b/c: the cost of a PBKDF2 hash must be 1000, 10000, 50000, 100000, 500000 or 1000000\n" + path + ":2: a line of 3 bytes: must be a qualified name, a colon and a hash; there is no colon\n"},
		{"bad operator", []string{"-admin", "nobody"}, 1, "-admin: must be USER:PASSWORD"},
		{"bad reader", []string{"-reader", ":x"}, 1, "-reader: must be USER:PASSWORD"},
		{"bad accounts", []string{"-accounts", "elastic/fleet-server,elastic"}, 1, "-accounts: "},
		{"bad address", []string{"-listen", "nowhere"}, 1, "nowhere"},
		{"bad flag", []string{"-poll", "x"}, 2, "invalid value"},
		{"argument", []string{"x"}, 2, `unexpected argument "x"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], append([]string{"-listen", "127.0.0.1:0"}, test.args...)...)
			cmd.Env = append(os.Environ(), "AUTHSERVER=1")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			cmd.Run()
			if cmd.ProcessState.ExitCode() != test.status || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("got status %d and\n%s", cmd.ProcessState.ExitCode(), &stderr)
			}
		})
	}
}
