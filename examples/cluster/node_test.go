package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/svctoken/svctoken/examples/authserver/servertest"
	"github.com/svctoken/svctoken/fleet/fleetnats/natstest"
)

const (
	operator = "admin:password"
	whoami   = "/_security/_authenticate"
)

// TestJoin: three processes that join a log are a fleet.
func TestJoin(t *testing.T) {
	c, err := natstest.Start(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	args := []string{"-admin", operator, "-join", c.URL(0), "-replicas", "1", "-lease", "1s", "-bucket", "hand"}
	var ps []*servertest.Process
	for _, name := range []string{"node1", "node2", "node3"} {
		ps = append(ps, servertest.Start(t, append(args, "-name", name)...))
	}
	for _, p := range ps {
		p.Await("GET", "/_stats", operator, 200, `"answers":true`)
	}
	bearer := ps[0].Create(route+"t1", operator)
	for _, p := range ps {
		p.Await("GET", whoami, bearer, 200, "_service_account_index")
	}
	ps[1].Await("POST", route+"*/_clear_cache", operator, 200, `"_nodes":{"total":3,"successful":3,"failed":0}`)
	ps[1].Await("DELETE", route+"t1", operator, 200, `"found":true`)
	for _, p := range ps {
		p.Await("GET", whoami, bearer, 401, "")
	}
	ps[2].Stop(syscall.SIGTERM)
	ps[0].Await("POST", route+"*/_clear_cache", operator, 200, `"_nodes":{"total":2,"successful":2,"failed":0}`)
	ps[0].Stop(syscall.SIGTERM)
	ps[1].Stop(syscall.SIGTERM)
}

// TestBearerInEveryField: what is pasted into the wrong field is not repeated.
func TestBearerInEveryField(t *testing.T) {
	c, err := natstest.Start(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	p := servertest.Start(t, "-admin", operator, "-join", c.URL(0), "-replicas", "1", "-lease", "10s")
	p.Await("GET", "/_stats", operator, 200, `"answers":true`)
	servertest.BearerInEveryField(t, p, operator)
}

// TestRestoredLog: while NATS is down, a node is alive and not ready, and says why. A log
// that is restored from a backup has what was revoked since: the node serves it, and says
// what has happened.
func TestRestoredLog(t *testing.T) {
	c, err := natstest.Start(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	start := func() {
		t.Helper()
		if err := c.StartAll(); err != nil {
			t.Fatal(err)
		}
	}
	p := servertest.Start(t, "-admin", operator, "-join", c.URL(0), "-replicas", "1", "-lease", "2s", "-name", "node1", "-shutdown-delay", "0")
	p.Await("GET", "/_health", "", 200, `{"status":"ready"}`)
	bearer := p.Create(route+"t1", operator)
	p.Await("GET", whoami, bearer, 200, "_service_account_index")

	c.StopServer(0)
	backup := t.TempDir()
	if err := c.Backup(backup); err != nil {
		t.Fatal(err)
	}
	start()
	for range 5 { // messages that the backup lacks
		p.Do("POST", route+"*/_clear_cache", operator)
	}
	p.Await("GET", whoami, bearer, 200, "")
	p.Do("DELETE", route+"t1", operator)
	p.Await("GET", whoami, bearer, 401, "")

	c.StopServer(0)
	p.Await("GET", "/_health/ready", "", 503, `"fleet: the lease of this node has run out"`)
	p.Expect("GET", "/_health/live", "", 200, `{"status":"live"}`)
	p.Expect("GET", whoami, bearer, 503, "")
	if err := c.Restore(backup); err != nil {
		t.Fatal(err)
	}
	start()
	p.Await("GET", "/_health", "", 200, `{"status":"ready"}`)
	p.Await("GET", whoami, bearer, 200, "")
	log := p.Stop(syscall.SIGTERM)
	for _, line := range []string{`level=WARN msg="the node does not serve`, `level=WARN msg="the log was restored or made anew`} {
		if !strings.Contains(log, line) {
			t.Errorf("no %s in:\n%s", line, log)
		}
	}
}

// TestSecured: a node joins over TLS, with a password that its arguments do not show.
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
	p := servertest.Start(t, "-admin", operator, "-join", "@"+path, "-nats-ca", filepath.Join(dir, "ca.pem"), "-replicas", "1", "-lease", "1s")
	p.Await("GET", "/_stats", operator, 200, `"answers":true`)
	p.Await("POST", route+"*/_clear_cache", operator, 200, `"_nodes":{"total":1,"successful":1,"failed":0}`)
	if log := p.Stop(syscall.SIGTERM); strings.Contains(log, "hunter2") {
		t.Errorf("the log shows the password:\n%s", log)
	}
	for name, args := range map[string][]string{
		"another authority": {"-join", "@" + path, "-replicas", "1"},
		"no password":       {"-join", "tls://" + s.Addr().String(), "-nats-ca", filepath.Join(dir, "ca.pem"), "-replicas", "1"},
	} {
		if status, output := servertest.Run(args...); status == 0 || !strings.Contains(output, "-join: ") || strings.Contains(output, "hunter2") {
			t.Errorf("%s: got status %d and\n%s", name, status, output)
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
