package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/examples/authserver/servertest"
)

// writePair writes a certificate of that name, and its key, to a folder, and returns it.
func writePair(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, path), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// served returns the name in the certificate that a server shows.
func served(t *testing.T, p *servertest.Process) string {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(p.URL, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("no %s", what)
		}
	}
}

// TestCertificateRenewed: a renewed certificate is served without a restart; a pair that
// does not fit is not, and the process lives on, at a hangup too.
func TestCertificateRenewed(t *testing.T) {
	dir := t.TempDir()
	writePair(t, dir, "first")
	p := servertest.Start(t, "-admin", admin, "-tls-cert", filepath.Join(dir, "cert"), "-tls-key", filepath.Join(dir, "key"))
	if got := served(t, p); got != "first" {
		t.Errorf("got %s", got)
	}
	writePair(t, dir, "second")
	await(t, "second certificate", func() bool { return served(t, p) == "second" })

	if err := os.WriteFile(filepath.Join(dir, "key"), []byte("bad"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Signal(syscall.SIGHUP)
	time.Sleep(1500 * time.Millisecond) // more than the second between two looks
	if got := served(t, p); got != "second" {
		t.Errorf("got %s", got)
	}
	writePair(t, dir, "third")
	p.Signal(syscall.SIGHUP)
	await(t, "third certificate", func() bool { return served(t, p) == "third" })
	log := p.Stop(syscall.SIGTERM)
	if n := strings.Count(log, "the certificate cannot be renewed"); n < 1 || n > 3 {
		t.Errorf("%d lines:\n%s", n, log)
	}
}

// TestHangup: a hangup ends nothing, with TLS or without.
func TestHangup(t *testing.T) {
	p := servertest.Start(t, "-admin", admin)
	p.Signal(syscall.SIGHUP)
	p.Signal(syscall.SIGHUP)
	p.Expect("GET", "/", admin, 200, "")
	if log := p.Stop(syscall.SIGTERM); !strings.Contains(log, "reading the files again") {
		t.Errorf("got %s", log)
	}
}

// TestAuthorityStays: with a folder, the authority is the same after a restart, and serves
// names that a flag adds.
func TestAuthorityStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	var fingerprints []string
	for range 2 {
		p := servertest.Start(t, "-admin", admin, "-tls-self-signed", "-tls-dir", dir, "-tls-names", "auth.example, 192.0.2.7")
		fingerprints = append(fingerprints, p.Line("CA fingerprint "))
		ca, err := os.ReadFile(p.Line("CA certificate in "))
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(ca)
		for _, name := range []string{"auth.example", "192.0.2.7", "localhost", "127.0.0.1"} {
			conn, err := tls.Dial("tcp", strings.TrimPrefix(p.URL, "https://"), &tls.Config{RootCAs: roots, ServerName: name})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			conn.Close()
		}
		p.Stop(syscall.SIGTERM)
	}
	if fingerprints[0] != fingerprints[1] {
		t.Errorf("got %q", fingerprints)
	}
	if info, err := os.Stat(filepath.Join(dir, "ca-key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info, err)
	}
	for _, args := range [][]string{{"-tls-dir", dir}, {"-tls-names", "x"}} {
		if status, output := servertest.Run(args...); status != 1 || !strings.Contains(output, "-tls-self-signed") {
			t.Errorf("%v: got %d %s", args, status, output)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "ca-key.pem"), []byte("bad"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, output := servertest.Run("-tls-self-signed", "-tls-dir", dir); status != 1 || !strings.Contains(output, "-tls-self-signed: ") {
		t.Errorf("got %d %s", status, output)
	}
}

// TestRefusedByTheServer: what no handler is called for is refused as everything else is.
func TestRefusedByTheServer(t *testing.T) {
	p := servertest.Start(t, "-admin", admin)
	for request, want := range map[string]int{
		"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n":                                                           400,
		"GET / HTTP/1.1\r\n\r\n":                                                                         400,
		"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n":                                                   400,
		"GET / HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n":                                             400,
		"nonsense\r\n\r\n":                                                                               400,
		"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 2<<20) + "\r\n\r\n":                     431,
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n":                                  501,
		"GET / HTTP/3.7\r\nHost: x\r\n\r\n":                                                              505,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked, x\r\n\r\n":       501,
		"GET /AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA%zz HTTP/1.1\r\nHost: x\r\n\r\n": 400,
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		go io.WriteString(conn, request)
		answer, err := io.ReadAll(conn)
		conn.Close()
		header, body, _ := bytes.Cut(answer, []byte("\r\n\r\n"))
		if !bytes.HasPrefix(header, fmt.Appendf(nil, "HTTP/1.1 %d ", want)) || !bytes.Contains(header, []byte("X-Elastic-Product: Elasticsearch\r\nContent-Type: application/json\r\n")) {
			t.Errorf("%.60q: got %s, %v", request, header, err)
		}
		if !bytes.HasPrefix(body, []byte(`{"error":{"root_cause":[{"type":"illegal_argument_exception","reason":"`)) || bytes.Contains(body, []byte("WVsYXN0")) {
			t.Errorf("%.60q: got %s", request, body)
		}
	}
	p.Expect("OPTIONS", "/", "", 200, "")
	resp, _ := raw(t, p, "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if resp.Header.Get("X-Elastic-Product") != "Elasticsearch" {
		t.Errorf("got %v", resp.Header)
	}
	// HTTP to a server with TLS.
	p = servertest.Start(t, "-admin", admin, "-tls-self-signed")
	resp, err := http.Get(strings.Replace(p.URL, "https:", "http:", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); resp.StatusCode != 400 || !strings.Contains(string(body), "the server speaks HTTPS") {
		t.Errorf("got %d %s, %v", resp.StatusCode, body, err)
	}
}

// TestNoTemporaryFolder: a server that keeps nothing for itself starts in a container of
// which nothing can be written.
func TestNoTemporaryFolder(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", filepath.Join(dir, "nowhere"))
	for _, args := range [][]string{nil, {"-tls-self-signed", "-tls-dir", dir}} {
		p := servertest.Start(t, append([]string{"-admin", admin, "-service-tokens", tokens}, args...)...)
		p.Stop(syscall.SIGTERM)
	}
	if status, output := servertest.Run("-admin", admin); status != 1 || !strings.Contains(output, "nowhere") {
		t.Errorf("a sample: got %d %s", status, output)
	}
}

// TestHealth: alive and ready are two answers, which need no credentials.
func TestHealth(t *testing.T) {
	p := servertest.Start(t, "-admin", admin)
	for path, want := range map[string]string{"/_health": `{"status":"ready"}`, "/_health/ready": `{"status":"ready"}`, "/_health/live": `{"status":"live"}`, "/_health/": `{"status":"ready"}`} {
		for _, credentials := range []string{"", admin, "admin:wrong"} {
			if status, body := p.Do("GET", path, credentials); status != 200 || body != want {
				t.Errorf("%s: got %d %s", path, status, body)
			}
		}
		if status, _ := p.Do("HEAD", path, ""); status != 200 {
			t.Errorf("%s: got %d", path, status)
		}
	}
	p.Expect("GET", "/_healt%68", "", 404, "")
	p.Expect("GET", "/_health/x", "", 404, "")
}

// TestShutdown: the health says first that the server ends, while requests go on; then
// those that are under way finish.
func TestShutdown(t *testing.T) {
	p := servertest.Start(t, "-admin", admin, "-shutdown-delay", "2s")
	p.Expect("GET", "/_health", "", 200, "")
	began := time.Now()
	p.Signal(syscall.SIGTERM)
	p.Await("GET", "/_health/ready", "", 503, `"reasons":["shutting down"]`)
	p.Expect("GET", "/_health/live", "", 200, "")
	p.Expect("GET", "/_security/_authenticate", admin, 200, "")
	log := p.Stop(syscall.SIGCONT)
	if took := time.Since(began); took < 2*time.Second || !strings.Contains(log, "shutting down") {
		t.Errorf("ended after %v:\n%s", took, log)
	}
}

// TestNobodyWatches: a server whose health nobody asks for ends at once.
func TestNobodyWatches(t *testing.T) {
	p := servertest.Start(t, "-admin", admin, "-shutdown-delay", "1h")
	p.Expect("GET", "/", admin, 200, "")
	p.Stop(syscall.SIGTERM)
}

// TestMetrics: the figures are served on an address of their own, by the names that the
// dashboard and the alerts use.
func TestMetrics(t *testing.T) {
	p := servertest.Start(t, "-admin", admin, "-service-tokens", tokens, "-metrics-listen", "127.0.0.1:0", "-shutdown-delay", "0")
	url := p.Line("Metrics on ")
	p.Expect("GET", "/_security/_authenticate", file1, 200, "")
	p.Expect("GET", "/_security/_authenticate", file1, 200, "")
	p.Expect("GET", "/", admin, 200, "") // is no authentication of a service account
	p.Expect("POST", route+"a", admin, 200, "")
	p.Expect("POST", route+"*/_clear_cache", admin, 200, "")
	get := func(path string) (int, string) {
		resp, err := http.Get(strings.TrimSuffix(url, "/metrics") + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	_, body := get("/metrics")
	for _, line := range []string{
		`svctoken_authentications_total{outcome="confirmed"} 2`, `svctoken_authentications_total{outcome="not_service_token"} 0`,
		`svctoken_cache_hits_total{cache="file"} 1`, `svctoken_file_tokens{file="file"} 8`, `svctoken_file_ok{file="file"} 1`, `svctoken_index_ok{index="index"} 1`,
		`svctoken_evictions_total{cause="asked"} 1`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no %s in:\n%s", line, body)
		}
	}
	if status, _ := get("/_health/live"); status != 200 {
		t.Errorf("got %d", status)
	}
	for _, path := range []string{"/_stats", "/metric%73", "/%6Detrics", "//metrics", "/_healt%68", "/_health/liv%65"} {
		if status, _ := get(path); status != 404 {
			t.Errorf("%s: got %d", path, status)
		}
	}
	p.Expect("GET", "/metrics", admin, 404, "")
	p.Expect("GET", "/_stats", admin, 200, `"index":{"error":null,"health":"green","kind":"in memory","polled":null,"revision":null,"up_to_date":true,`)
	if log := p.Stop(syscall.SIGTERM); strings.Count(log, "msg=evicted user=admin") != 1 || strings.Contains(log, "cause=asked") {
		t.Errorf("an eviction is logged twice, or not:\n%s", log)
	}
	if status, output := servertest.Run("-metrics-listen", "nowhere"); status != 1 || !strings.Contains(output, "-metrics-listen: ") {
		t.Errorf("got %d %s", status, output)
	}
}

// TestConnections: there is a bound, and a line that says when it was met.
func TestConnections(t *testing.T) {
	p := servertest.Start(t, "-admin", admin, "-max-connections", "3")
	var open []net.Conn
	for range 3 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /_health HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := conn.Read(make([]byte, 1)); err != nil { // it has been accepted
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	for range 500 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		conn.Close()
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 503 ") || !strings.Contains(string(answer), "\r\nRetry-After: 1\r\n") {
			t.Fatalf("got %s, %v", answer, err)
		}
	}
	for _, conn := range open {
		conn.Close()
	}
	await(t, "place", func() bool {
		resp, err := http.Get(p.URL + "/_health/live")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode == 200
	})
	log := p.Stop(syscall.SIGTERM)
	if n := strings.Count(log, "a connection was turned away"); n < 1 || n > 100 {
		t.Errorf("%d lines:\n%s", n, log)
	}
}

// TestEvictionStorm: each eviction is in the log once, with the user; a storm of them is
// not a line each.
func TestEvictionStorm(t *testing.T) {
	p := servertest.Start(t, "-admin", admin)
	p.Expect("POST", route+"a/_clear_cache", admin, 200, "")
	for range 1000 {
		p.Do("POST", route+"b/_clear_cache", admin)
	}
	log := p.Stop(syscall.SIGTERM)
	var lines []string
	for line := range strings.Lines(log) {
		if strings.Contains(line, "fleet-server/a") {
			_, line, _ = strings.Cut(strings.TrimSpace(line), "msg=")
			line, _, _ = strings.Cut(line, " duration=")
			lines = append(lines, line)
		}
	}
	if diff := cmp.Diff([]string{`evicted user=admin selector=elastic/fleet-server/a evicted="map[file:0 index:0]"`}, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if n := strings.Count(log, "fleet-server/b"); n > 200 {
		t.Errorf("%d lines for 1000 evictions", n)
	}
}

// TestMaxHashing: the flag bounds the hashes that a flood of wrong secrets has computed at
// once, which is seen in the metrics, and all of them are used. A second account may take
// as many turns again, as GroupConfig.MaxHashing says.
func TestMaxHashing(t *testing.T) {
	// Nobody knows a secret for these. A hash takes long enough to be seen.
	hash := "{PBKDF2_STRETCH}500000$" + strings.Repeat("A", 43) + "=$" + strings.Repeat("A", 43) + "=\n"
	path := filepath.Join(t.TempDir(), "service_tokens")
	if err := os.WriteFile(path, []byte("elastic/fleet-server/slow:"+hash+"elastic/kibana/slow:"+hash), 0o600); err != nil {
		t.Fatal(err)
	}
	one, two := []string{"fleet-server"}, []string{"fleet-server", "kibana"}
	for _, test := range []struct {
		flag     string
		services []string
		want     int
	}{{"1", one, 1}, {"3", one, 3}, {"1", two, 2}} {
		t.Run(fmt.Sprintf("%s for %d accounts", test.flag, len(test.services)), func(t *testing.T) {
			p := servertest.Start(t, "-admin", admin, "-service-tokens", path, "-max-hashing", test.flag, "-metrics-listen", "127.0.0.1:0")
			url := p.Line("Metrics on ")
			defer guess(t, p, test.services)()
			full := 0
			await(t, "flood that uses every turn", func() bool {
				hashing, waiting := figure(t, url, "svctoken_hashing"), figure(t, url, "svctoken_hashing_waiting")
				if hashing > test.want {
					t.Fatalf("%d hashes at once, want %d at most", hashing, test.want)
				}
				if hashing == test.want && waiting > 0 {
					full++
				}
				return full == 30
			})
		})
	}
}

// guess sends wrong secrets of the token named slow of each service, from 8 clients for
// each, until the caller calls stop.
func guess(t *testing.T, p *servertest.Process, services []string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for _, service := range services {
		for range 8 {
			clients.Go(func() {
				for ctx.Err() == nil {
					plain := "\x00\x01\x00\x01elastic/" + service + "/slow:" + rand.Text()
					r, err := http.NewRequestWithContext(ctx, "GET", p.URL+"/_security/_authenticate", nil)
					if err != nil {
						t.Error(err)
						return
					}
					r.Header.Set("Authorization", "Bearer "+base64.RawStdEncoding.EncodeToString([]byte(plain)))
					if resp, err := http.DefaultClient.Do(r); err == nil {
						resp.Body.Close()
					}
				}
			})
		}
	}
	return func() { cancel(); clients.Wait() }
}

// figure returns the value of a metric that has no labels.
func figure(t *testing.T, url, name string) int {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in:\n%s", name, body)
	return 0
}
