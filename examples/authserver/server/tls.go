package server

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A listening is the server's address, and the certificate that clients must trust.
type listening struct {
	net.Listener
	scheme      string
	caPath      string        // of the certificate authority that was made here, if any
	fingerprint string        // of its certificate: SHA-256, hexadecimal
	certs       *certificates // nil: they do not change
}

// listen listens, with TLS if the options ask for it. The certificate of an authority
// that does not stay is written to the folder.
func (o Options) listen(dir string, logger *slog.Logger) (l listening, err error) {
	var cfg *tls.Config
	if cfg, err = o.tlsConfig(dir, &l, logger); err != nil {
		return listening{}, err
	}
	l.scheme = "http"
	if cfg != nil {
		l.scheme = "https"
	}
	tcp, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return listening{}, err
	}
	most := cmp.Or(o.MaxConnections, connectionsOfMemory())
	l.Listener = &boundListener{Listener: tcp, tls: cfg, most: int64(most), logger: logger}
	return l, nil
}

var errTLSFlags = errors.New("-tls-cert and -tls-key come together, and without -tls-self-signed")

// tlsConfig returns nil if there is no TLS.
func (o Options) tlsConfig(dir string, l *listening, logger *slog.Logger) (*tls.Config, error) {
	if (o.TLSCert == "") != (o.TLSKey == "") || o.TLSCert != "" && o.SelfSigned {
		return nil, errTLSFlags
	}
	if (o.TLSDir != "" || o.TLSNames != "") && !o.SelfSigned {
		return nil, errors.New("-tls-dir and -tls-names are for -tls-self-signed")
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	switch {
	case o.SelfSigned:
		cert, err := o.selfSigned(cmp.Or(o.TLSDir, dir), l)
		if err != nil {
			return nil, fmt.Errorf("-tls-self-signed: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	case o.TLSCert != "":
		l.certs = &certificates{cert: o.TLSCert, key: o.TLSKey, logger: logger}
		if err := l.certs.load(); err != nil {
			return nil, fmt.Errorf("-tls-cert, -tls-key: %w", err)
		}
		cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return l.certs.current.Load(), nil }
	default:
		return nil, nil
	}
	return cfg, nil
}

// selfSigned returns a certificate for the server, of an authority in the folder. It
// makes the authority if there is none.
func (o Options) selfSigned(dir string, l *listening) (tls.Certificate, error) {
	ca, err := openAuthority(dir, o.TLSDir != "")
	if err != nil {
		return tls.Certificate{}, err
	}
	l.fingerprint, l.caPath = ca.fingerprint(), filepath.Join(dir, "ca.pem")
	if err := ca.publish(l.caPath); err != nil {
		return tls.Certificate{}, err
	}
	hosts, ips := o.names()
	return ca.issue(hosts, ips)
}

// names returns the names and addresses of the server.
func (o Options) names() (hosts []string, ips []net.IP) {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	if host, _, err := net.SplitHostPort(o.Listen); err == nil && host != "" {
		names = append(names, host)
	}
	for name := range strings.SplitSeq(o.TLSNames, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			ips = append(ips, ip)
		} else {
			hosts = append(hosts, name)
		}
	}
	return hosts, ips
}

func (l listening) url() string { return l.scheme + "://" + l.Addr().String() }

const certificatesEvery = time.Second // how often to look whether the files have changed
