package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/examples/authserver/servertest"
)

// TestMain makes the test binary the server, for the tests that start one.
func TestMain(m *testing.M) { servertest.Main(m, main) }

const (
	credential = "/_security/service/elastic/fleet-server/credential"
	route      = credential + "/token/"
	admin      = "admin:password"
	reader     = "reader:password"
)

// TestSample: a first run, without an argument, works and logs no warning.
func TestSample(t *testing.T) {
	p := servertest.Start(t)
	path := p.Line("Tokens in ")
	operator := p.Line("Operator ")
	bearer := p.Line("A token that works: ")
	p.Expect("GET", "/_security/_authenticate", bearer, 200, `"username":"elastic/fleet-server"`)
	p.Expect("POST", route+"token1,token2/_clear_cache", operator, 200, `"successful":1`)
	if log := p.Stop(os.Interrupt); strings.Contains(log, "level=WARN") {
		t.Errorf("a warning in the log of the sample:\n%s", log)
	}
	if _, err := os.Stat(filepath.Dir(path)); !os.IsNotExist(err) {
		t.Errorf("the sample's folder was left: %v", err)
	}
}

func TestRequests(t *testing.T) {
	p := servertest.Start(t, "-admin", admin, "-reader", reader, "-service-tokens", "../../filesource/testdata/service_tokens", "-poll", "0")
	const token1 = "AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA"

	code, body := p.Do("GET", "/_security/_authenticate", token1)
	const want = `{"authentication_realm":{"name":"_service_account","type":"_service_account"},"authentication_type":"token","email":null,"enabled":true,"full_name":"Service account - elastic/fleet-server","lookup_realm":{"name":"_service_account","type":"_service_account"},"metadata":{"_elastic_service_account":true},"roles":[],"token":{"managed_by":"elasticsearch","name":"token1","type":"_service_account_file"},"username":"elastic/fleet-server"}`
	if diff := cmp.Diff(want, body); code != 200 || diff != "" {
		t.Errorf("authenticate: got %d (-want +got):\n%s", code, diff)
	}
	p.Expect("GET", "/_security/_authenticate", "", 401, "missing authentication credentials for REST request [/_security/_authenticate]")
	p.Expect("GET", "/_security/_authenticate", "x", 401, "unable to authenticate with provided credentials")
	p.Expect("GET", "/_security/_authenticate", "admin:wrong", 401, "unable to authenticate user [admin] for REST request [/_security/_authenticate]")

	// Create, authenticate, clear, delete, refused.
	code, body = p.Do("POST", route+"index1", admin)
	var created struct {
		Created bool
		Token   struct{ Name, Value string }
	}
	if err := json.Unmarshal([]byte(body), &created); err != nil || code != 200 || !created.Created || created.Token.Name != "index1" {
		t.Fatalf("create: got %d %s, %v", code, body, err)
	}
	p.Expect("PUT", route+"index1", admin, 409, "version_conflict_engine_exception")
	p.Expect("GET", "/_security/_authenticate", created.Token.Value, 200, `"type":"_service_account_index"`)
	p.Expect("GET", credential, admin, 200, `"tokens":{"index1":{}}`)
	p.Expect("GET", credential, admin, 200, `"token1":{"nodes":["authserver"]}`)
	for _, names := range []string{"token1", "token1,token2", "*", "", "index1"} {
		p.Expect("POST", route+names+"/_clear_cache", admin, 200, `{"_nodes":{"total":1,"successful":1,"failed":0},"cluster_name":"svctoken","nodes":{"`)
	}
	p.Expect("GET", "/_security/_authenticate", created.Token.Value, 200, "index1")
	p.Expect("DELETE", route+"index1", admin, 200, `{"found":true}`)
	p.Expect("DELETE", route+"index1", admin, 404, `{"found":false}`)
	p.Expect("GET", "/_security/_authenticate", created.Token.Value, 401, "failed to authenticate service account [elastic/fleet-server] with token name [index1]")
	p.Expect("POST", credential+"/token", admin, 200, `"name":"token_`)
	p.Expect("POST", route+"_bad", admin, 400, `"type":"action_request_validation_exception"`)
	p.Expect("POST", "/_security/service/acme/deploy/credential/token/t", admin, 400, "service account [acme/deploy] does not exist")

	// The callers' privileges. A service account is a caller like others.
	for _, request := range [][2]string{{"POST", route + "a"}, {"DELETE", route + "a"}, {"GET", credential}, {"GET", "/_security/service"}, {"POST", "/"}, {"POST", route + "*/_clear_cache"}} {
		p.Expect(request[0], request[1], reader, 403, "is unauthorized for user [reader], this action is granted by the cluster privileges [")
		p.Expect(request[0], request[1], "", 401, "security_exception")
		p.Expect(request[0], request[1], token1, 403, "is unauthorized for ")
	}
	p.Expect("GET", "/", token1, 200, `"number":"9.5.2"`)
	p.Expect("GET", credential, token1, 403, "action [cluster:admin/xpack/security/service_account/credential/get] is unauthorized for service account [elastic/fleet-server], this action is granted by the cluster privileges [read_security,manage_service_account,manage_security,all]")
	p.Expect("GET", "/_stats", "", 401, "security_exception")
	p.Expect("GET", "/", "", 401, "security_exception")
	p.Expect("GET", "/_stats", reader, 200, `"caches":{"file":{"hits":`)
	log := p.Stop(syscall.SIGTERM)
	for _, line := range []string{
		`msg=evicted user=admin selector=elastic/fleet-server/token1,token2`,
		`msg="created a token" user=admin token=elastic/fleet-server/index1`,
		`msg="deleted a token" user=admin token=elastic/fleet-server/index1`,
		`level=WARN msg="login failed" name=admin from=127.0.0.1 failures=1`,
	} {
		if n := strings.Count(log, line); n != 1 {
			t.Errorf("%d audit lines %s in:\n%s", n, line, log)
		}
	}
}

// TestAccounts: the service accounts that exist are those of the flag; tokens of
// others are refused, and the operator learns it at the start.
func TestAccounts(t *testing.T) {
	p := servertest.Start(t, "-admin", admin, "-accounts", "elastic/kibana,acme/deploy", "-es-version", "8.19.7", "-service-tokens", "../../filesource/testdata/service_tokens")
	const deploy = `"acme/deploy":{"role_descriptor":{"cluster":["monitor"],"indices":[],"applications":[],"run_as":[],"metadata":{},"transient_metadata":{"enabled":true}}}`
	_, kibana := p.Do("GET", "/_security/service/elastic/kibana", admin)
	if !strings.HasPrefix(kibana, `{"elastic/kibana":{"role_descriptor":{"cluster":["monitor",`) || strings.Contains(kibana, `"manage_security"`) {
		t.Errorf("got %s", kibana)
	}
	kibana = strings.TrimSuffix(strings.TrimPrefix(kibana, "{"), "}")
	for path, want := range map[string]string{
		"":                "{" + deploy + "," + kibana + "}",
		"/elastic":        "{" + kibana + "}",
		"/elastic/kibana": "{" + kibana + "}",
		"/elastic/deploy": "{}",
		"/nobody":         "{}",
	} {
		if code, body := p.Do("GET", "/_security/service"+path, admin); code != 200 || body != want {
			t.Errorf("accounts%s: got %d %s, want %s", path, code, body, want)
		}
	}
	p.Expect("GET", "/_security/_authenticate", "AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA", 401, "failed to authenticate service account [elastic/fleet-server] with token name [token1]")
	p.Expect("POST", "/_security/service/acme/deploy/credential/token/t", admin, 200, `"created":true`)
	p.Expect("GET", "/", admin, 200, `"number":"8.19.7"`)
	if log := p.Stop(syscall.SIGTERM); !strings.Contains(log, "token=elastic/fleet-server/token1") {
		t.Errorf("no warning of the token that is refused in:\n%s", log)
	}
}

// wrong returns the body of an error.
func wrong(status int, kind, reason string) string {
	cause := fmt.Sprintf(`"type":"%s","reason":"%s"`, kind, reason)
	return fmt.Sprintf(`{"error":{"root_cause":[{%s}],%s},"status":%d}`, cause, cause, status)
}

// unauthorized returns the body of a 401.
func unauthorized(reason string) string {
	cause := fmt.Sprintf(`"type":"security_exception","reason":"%s","header":{"WWW-Authenticate":["Basic realm=\"security\", charset=\"UTF-8\"","Bearer realm=\"security\""]}`, reason)
	return fmt.Sprintf(`{"error":{"root_cause":[{%s}],%s},"status":401}`, cause, cause)
}

const badName = `Validation Failed: 1: invalid token name \"_bad\": must be 1 to 256 of A-Z a-z 0-9 _ -, not beginning with _;`

// TestShapes: answers and errors have the headers and bodies that clients read.
func TestShapes(t *testing.T) {
	p := servertest.Start(t, "-admin", admin, "-reader", reader)
	p.Expect("POST", route+"index1", admin, 200, "")
	const vendor = "application/vnd.elasticsearch+json;compatible-with=9"
	for _, test := range []struct {
		name, method, path, credentials string
		headers                         []string
		status                          int
		header, value                   string
		body                            string
	}{
		{"no such route", "GET", "/x", admin, nil, 404, "Content-Type", "application/json", wrong(404, "resource_not_found_exception", "no handler found for uri [/x] and method [GET]")},
		{"method", "DELETE", "/_security/_authenticate", admin, nil, 405, "Allow", "GET", wrong(405, "illegal_argument_exception", "Incorrect HTTP method for uri [/_security/_authenticate] and method [DELETE], allowed: [GET]")},
		{"options", "OPTIONS", route + "a", "", nil, 200, "Allow", "POST,PUT,DELETE", ""},
		{"options of nothing", "OPTIONS", "/x", "", nil, 200, "Allow", "", ""},
		{"head", "HEAD", "/", admin, nil, 200, "Content-Type", "application/json", ""},
		{"no credentials", "GET", credential, "", nil, 401, "WWW-Authenticate", `Basic realm="security", charset="UTF-8"`, unauthorized("missing authentication credentials for REST request [" + credential + "]")},
		{"operator", "GET", "/_security/_authenticate", admin, nil, 200, "Content-Type", "application/json",
			`{"authentication_realm":{"name":"operators","type":"file"},"authentication_type":"realm","email":null,"enabled":true,"full_name":null,"lookup_realm":{"name":"operators","type":"file"},"metadata":{},"roles":[],"username":"admin"}`},
		{"an account that there is not", "GET", "/_security/_authenticate", "AAEAAWEvYi9jOjAxMjM0NTY3ODk", nil, 401, "WWW-Authenticate", `Basic realm="security", charset="UTF-8"`,
			unauthorized("failed to authenticate service account [a/b] with token name [c]")},
		{"a wrong secret reads the same", "GET", "/_security/_authenticate", "AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldQ", nil, 401, "X-Svctoken-Cache", "",
			unauthorized("failed to authenticate service account [elastic/fleet-server] with token name [token1]")},
		{"credentials", "GET", credential, admin, nil, 200, "Content-Type", "application/json",
			`{"count":4,"nodes_credentials":{"_nodes":{"failed":0,"successful":1,"total":1},"file_tokens":{"token1":{"nodes":["authserver"]},"token2":{"nodes":["authserver"]}}},"service_account":"elastic/fleet-server","tokens":{"index1":{},"token3":{}}}`},
		{"filtered", "GET", credential + "?filter_path=count,tokens.index*", admin, nil, 200, "Content-Type", "application/json", `{"count":4,"tokens":{"index1":{}}}`},
		{"trailing slash", "GET", "/_security/_authenticate/?filter_path=username", admin, nil, 200, "Content-Type", "application/json", `{"username":"admin"}`},
		{"opaque id", "GET", "/_security/_authenticate?filter_path=username", admin, []string{"X-Opaque-Id", "mine"}, 200, "X-Opaque-Id", "mine", `{"username":"admin"}`},
		{"conflict", "PUT", route + "index1?refresh=true", admin, nil, 409, "Content-Type", "application/json", wrong(409, "version_conflict_engine_exception", "[service_account_token-elastic/fleet-server/index1]: version conflict, document already exists")},
		{"a bad name", "POST", route + "_bad", admin, nil, 400, "Content-Type", "application/json", wrong(400, "action_request_validation_exception", badName)},
		{"a bad name comes before a privilege", "POST", route + "_bad", reader, nil, 400, "Content-Type", "application/json", wrong(400, "action_request_validation_exception", badName)},
		{"a privilege comes before an account that there is not", "POST", "/_security/service/a/b/credential/token", reader, nil, 403, "Content-Type", "application/json",
			wrong(403, "security_exception", "action [cluster:admin/xpack/security/service_account/token/create] is unauthorized for user [reader], this action is granted by the cluster privileges [manage_service_account,manage_security,all]")},
		{"a question mark in a name", "POST", route + "a?/_clear_cache", admin, nil, 400, "Content-Type", "application/json", wrong(400, "illegal_argument_exception", "request ["+route+"a] contains unrecognized parameter: [/_clear_cache]")},
		{"refresh", "DELETE", route + "a?refresh=soon", admin, nil, 400, "Content-Type", "application/json", wrong(400, "illegal_argument_exception", "Unknown value for refresh: [soon].")},
		{"a parameter of another route", "GET", "/_security/_authenticate?refresh=true", admin, nil, 400, "Content-Type", "application/json", wrong(400, "illegal_argument_exception", "request [/_security/_authenticate] contains unrecognized parameter: [refresh]")},
		{"a parameter of the page", "GET", "/?live", admin, nil, 400, "Content-Type", "application/json", wrong(400, "illegal_argument_exception", "request [/] contains unrecognized parameter: [live]")},
		{"a version of the past", "GET", "/", admin, []string{"Accept", strings.Replace(vendor, "9", "7", 1)}, 400, "Content-Type", "application/json", wrong(400, "media_type_header_exception", "Invalid media-type value on headers [Accept]")},
		{"found", "DELETE", route + "index1", admin, nil, 200, "Content-Type", "application/json", `{"found":true}`},
		{"not found", "DELETE", route + "index1", admin, nil, 404, "Content-Type", "application/json", `{"found":false}`},
		{"vendor's type", "DELETE", route + "nobody", admin, []string{"Accept", vendor}, 404, "Content-Type", vendor, `{"found":false}`},
		{"vendor's type, a space", "DELETE", route + "nobody", admin, []string{"Accept", strings.Replace(vendor, ";", "; ", 1)}, 404, "Content-Type", vendor, `{"found":false}`},
		{"pretty", "DELETE", route + "nobody?pretty", admin, nil, 404, "Content-Type", "application/json", "{\n  \"found\": false\n}"},
		{"another site's page", "POST", route + "*/_clear_cache", admin, []string{"Sec-Fetch-Site", "cross-site"}, 403, "Content-Type", "application/json", wrong(403, "security_exception", "the request comes from the page of another site")},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp, body := p.Send(test.method, test.path, test.credentials, nil, test.headers...)
			if got := resp.Header.Get(test.header); resp.StatusCode != test.status || got != test.value {
				t.Errorf("got %d, %s: %s", resp.StatusCode, test.header, got)
			}
			if diff := cmp.Diff(test.body, body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
	resp, body := p.Send("GET", "/", admin, nil, "Accept", vendor)
	if !strings.Contains(body, `"cluster_name":"svctoken"`) || resp.Header.Get("Content-Type") != vendor {
		t.Errorf("info: got %d %s", resp.StatusCode, body)
	}
}

// TestMemory: the answer says which cache knew the token, and whether from memory.
func TestMemory(t *testing.T) {
	p := servertest.Start(t, "-admin", admin)
	bearers := map[string]string{"file": p.Line("A token that works: "), "index": p.Line("Another, of the index: ")}
	for cache, bearer := range bearers {
		for _, memory := range []string{"false", "true"} {
			resp, body := p.Send("GET", "/_security/_authenticate", bearer, nil)
			if got := resp.Header.Get("X-Svctoken-From-Memory"); resp.StatusCode != 200 || got != memory || resp.Header.Get("X-Svctoken-Cache") != cache {
				t.Errorf("%s: got %v %s, want from memory: %s", cache, resp.Header, body, memory)
			}
		}
	}
	p.Expect("GET", "/_stats", admin, 200, `"authentications":{"confirmed":4,`)
}

// TestTTLOfZero: -ttl 0 remembers nothing; it does not remember for ever.
func TestTTLOfZero(t *testing.T) {
	p := servertest.Start(t, "-admin", admin, "-ttl", "0")
	bearer := p.Line("A token that works: ")
	for range 3 {
		resp, _ := p.Send("GET", "/_security/_authenticate", bearer, nil)
		if got := resp.Header.Get("X-Svctoken-From-Memory"); resp.StatusCode != 200 || got != "false" {
			t.Errorf("got %d, from memory: %s", resp.StatusCode, got)
		}
	}
}

// TestHolding: a client that announces a body but sends none gets its answer.
func TestHolding(t *testing.T) {
	p := servertest.Start(t, "-admin", admin)
	for _, path := range []string{route + "*/_clear_cache", route + "a", "/_security/_authenticate", "/x"} {
		for _, header := range []string{"", "Authorization: Basic YWRtaW46cGFzc3dvcmQ=\r\n"} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(4 * time.Second))
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n%s\r\n", path, header)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			resp.Body.Close()
			conn.Close()
			if resp.StatusCode < 400 || !resp.Close {
				t.Errorf("%s: got %s, close %t", path, resp.Status, resp.Close)
			}
		}
	}
}

// TestSelfSigned: a client that trusts the authority whose fingerprint is printed
// reaches the server, and others do not.
func TestSelfSigned(t *testing.T) {
	p := servertest.Start(t, "-admin", admin, "-tls-self-signed")
	fingerprint := p.Line("CA fingerprint ")
	path := p.Line("CA certificate in ")
	ca, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(ca)
	if sum := sha256.Sum256(block.Bytes); hex.EncodeToString(sum[:]) != fingerprint {
		t.Errorf("got fingerprint %s, want %x", fingerprint, sum)
	}
	if _, err := http.Get(p.URL); err == nil {
		t.Error("a client that knows nothing of the authority trusts the server")
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	for _, url := range []string{p.URL, strings.Replace(p.URL, "127.0.0.1", "localhost", 1)} {
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 401 || !strings.HasPrefix(url, "https://") {
			t.Errorf("got %s from %s", resp.Status, url)
		}
	}
	p.Stop(os.Interrupt)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the authority's certificate was left: %v", err)
	}
}

// TestCertificate: the server shows the certificate of its files, and says nothing of
// an authority.
func TestCertificate(t *testing.T) {
	dir := t.TempDir()
	cert := writePair(t, dir, "auth.example")
	p := servertest.Start(t, "-admin", admin, "-tls-cert", filepath.Join(dir, "cert"), "-tls-key", filepath.Join(dir, "key"))
	if line, err := p.Stdout.ReadString('\n'); err != nil || !strings.HasPrefix(line, "Tokens in ") {
		t.Errorf("got %q, %v", line, err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	resp, err := client.Get(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.TLS.PeerCertificates[0].Subject.CommonName; resp.StatusCode != 401 || got != "auth.example" {
		t.Errorf("got %s from %s", resp.Status, got)
	}
}

// TestPasswords: credentials come from a file or the environment too, and the
// sample does not print them.
func TestPasswords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin")
	if err := os.WriteFile(path, []byte("root:of the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AUTHSERVER_READER", "eye:of the environment")
	p := servertest.Start(t, "-admin", "@"+path)
	p.Expect("GET", "/_security/service", "root:of the file", 200, "elastic/fleet-server")
	p.Expect("GET", "/_stats", "eye:of the environment", 200, "caches")
	p.Expect("GET", "/_security/service", "eye:of the environment", 403, "user [eye]")
	p.Line("See what the caches did")
	if line := p.Line("  curl"); !strings.Contains(line, "-u root ") {
		t.Errorf("got %s", line)
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
	p := servertest.Start(t, "-admin", admin, "-service-tokens", path, "-poll", "50ms")
	const token1 = "AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA"
	const token2 = "AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMjo3ODliZTZlMGVlZjNkMDIwYjdlYjNj"
	p.Expect("GET", "/_security/_authenticate", token1, 200, "")
	p.Expect("GET", "/_security/_authenticate", token2, 200, "")
	if err := os.WriteFile(path, bytes.Replace(content, []byte("elastic/fleet-server/token1:"), []byte("#"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; {
		code, _ := p.Do("GET", "/_security/_authenticate", token1)
		if took := time.Since(began); code == 401 {
			t.Logf("refused after %v", took)
			break
		} else if took > 10*time.Second {
			t.Fatal("the removed token works on")
		}
	}
	p.Expect("GET", "/_security/_authenticate", token2, 200, "")
	p.Stop(syscall.SIGTERM)
}

// TestNoFile: the server warns of a path without a file, which may be mistyped.
func TestNoFile(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "tokens"), filepath.Join(t.TempDir(), "nowhere", "tokens")} {
		p := servertest.Start(t, "-admin", admin, "-service-tokens", path)
		if got := p.Line("Tokens in "); got != path+", which does not exist: it has no tokens yet" {
			t.Errorf("got %q", got)
		}
		if output := p.Stop(syscall.SIGTERM); !strings.Contains(output, "service tokens file is missing") {
			t.Errorf("the log does not say so:\n%s", output)
		}
	}
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
		{"missing admin file", []string{"-admin", "@/nowhere/to/be/found"}, 1, "-admin: open /nowhere/to/be/found: "},
		{"admin file of two lines", []string{"-admin", "@" + path}, 1, "-admin: " + path + ": must hold one line"},
		{"certificate without key", []string{"-tls-cert", path}, 1, "-tls-cert and -tls-key come together, and without -tls-self-signed"},
		{"two certificates", []string{"-tls-cert", path, "-tls-key", path, "-tls-self-signed"}, 1, "-tls-cert and -tls-key come together, and without -tls-self-signed"},
		{"bad certificate", []string{"-tls-cert", path, "-tls-key", path}, 1, "-tls-cert, -tls-key: tls: failed to find any PEM data"},
		{"bad address", []string{"-listen", "nowhere"}, 1, "nowhere"},
		{"bad flag", []string{"-poll", "x"}, 2, "invalid value"},
		{"negative time", []string{"-ttl", "-3s"}, 2, "-ttl -3s: it must not be negative"},
		{"another negative time", []string{"-poll", "-1ns"}, 2, "-poll -1ns: it must not be negative"},
		{"negative count", []string{"-max-hashing", "-1"}, 2, "-max-hashing -1: it must not be negative"},
		{"argument", []string{"x"}, 2, `unexpected argument "x"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if status, output := servertest.Run(test.args...); status != test.status || !strings.Contains(output, test.stderr) {
				t.Errorf("got status %d and\n%s", status, output)
			}
		})
	}
}
