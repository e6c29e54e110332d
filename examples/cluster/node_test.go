package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/svctoken/svctoken/fleet/nats/natstest"
)

// A process is an auth server of its own, as an operator starts it.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr bytes.Buffer
	url    string
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], append([]string{"-listen", "127.0.0.1:0", "-admin", "admin:password"}, args...)...)}
	p.cmd.Env = append(os.Environ(), "CLUSTER=1")
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
	for p.url == "" {
		line, err := p.stdout.ReadString('\n')
		if url, ok := strings.CutPrefix(line, "Listening on "); ok {
			p.url = strings.TrimSpace(url)
		} else if err != nil {
			p.cmd.Wait()
			t.Fatalf("the server does not start: %v\n%s", err, &p.stderr)
		}
	}
	return p
}

// await sends a request until the answer is the one that is wanted.
func (p *process) await(status int, contains, method, path, bearer string) string {
	p.t.Helper()
	c := newClient("admin:password")
	defer c.http.CloseIdleConnections()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		a := c.ask(p.t.Context(), method, p.url+path, bearer)
		if a.status == status && strings.Contains(a.body, contains) {
			return a.body
		}
		if time.Since(began) > 30*time.Second {
			p.t.Fatalf("%s %s: got %d %s, want %d %s\n%s", method, path, a.status, a.body, status, contains, &p.stderr)
		}
	}
}

func (p *process) stop() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	io.Copy(io.Discard, p.stdout)
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%v\n%s", err, &p.stderr)
	}
}

// TestJoin: three processes that join a log are a fleet.
func TestJoin(t *testing.T) {
	c, err := natstest.Start(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	args := []string{"-join", c.URL(0), "-replicas", "1", "-lease", "1s", "-bucket", "hand"}
	var ps []*process
	for _, name := range []string{"node1", "node2", "node3"} {
		ps = append(ps, start(t, append(args, "-name", name)...))
	}
	for _, p := range ps {
		p.await(200, `"answers":true`, "GET", "/_stats", "")
	}
	var created struct{ Token struct{ Value string } }
	if err := json.Unmarshal([]byte(ps[0].await(200, "created", "POST", route+"t1", "")), &created); err != nil {
		t.Fatal(err)
	}
	for _, p := range ps {
		p.await(200, "_service_account_index", "GET", "/_security/_authenticate", created.Token.Value)
	}
	ps[1].await(200, `"_nodes":{"total":3,"successful":3,"failed":0}`, "POST", route+"*/_clear_cache", "")
	ps[1].await(200, `"found":true`, "DELETE", route+"t1", "")
	for _, p := range ps {
		p.await(401, "", "GET", "/_security/_authenticate", created.Token.Value)
	}
	ps[2].stop()
	ps[0].await(200, `"_nodes":{"total":2,"successful":2,"failed":0}`, "POST", route+"*/_clear_cache", "")
	ps[0].stop()
	ps[1].stop()
}

// TestSecured: a node joins by TLS, with a password that its arguments do not show.
func TestSecured(t *testing.T) {
	dir := t.TempDir()
	cert := selfSigned(t, filepath.Join(dir, "ca.pem"))
	s, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: dir, SyncAlways: true, NoLog: true, NoSigs: true,
		Username: "svctoken", Password: "hunter2", TLS: true, TLSTimeout: 10, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("NATS does not start")
	}
	path := filepath.Join(dir, "url")
	if err := os.WriteFile(path, []byte("tls://svctoken:hunter2@"+s.Addr().String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "-join", "@"+path, "-nats-ca", filepath.Join(dir, "ca.pem"), "-replicas", "1", "-lease", "1s")
	p.await(200, `"answers":true`, "GET", "/_stats", "")
	p.await(200, `"_nodes":{"total":1,"successful":1,"failed":0}`, "POST", route+"*/_clear_cache", "")
	p.stop()
	if strings.Contains(p.stderr.String(), "hunter2") {
		t.Errorf("the log shows the password:\n%s", &p.stderr)
	}
	for name, args := range map[string][]string{
		"another authority": {"-join", "@" + path, "-replicas", "1"},
		"no password":       {"-join", "tls://" + s.Addr().String(), "-nats-ca", filepath.Join(dir, "ca.pem"), "-replicas", "1"},
	} {
		cmd := exec.Command(os.Args[0], append([]string{"-listen", "127.0.0.1:0"}, args...)...)
		cmd.Env = append(os.Environ(), "CLUSTER=1")
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "-join: ") || strings.Contains(string(out), "hunter2") {
			t.Errorf("%s: got %v: %s", name, err, out)
		}
	}
}

// selfSigned makes a certificate for the loopback device, and writes it to a file.
func selfSigned(t *testing.T, path string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
