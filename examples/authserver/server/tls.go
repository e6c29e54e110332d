package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// A listening is where the server listens, and how clients come to trust it.
type listening struct {
	net.Listener
	scheme      string
	caPath      string // of the certificate authority that was made at the start, if any
	fingerprint string // of its certificate: SHA-256, hexadecimal
}

// listen listens with TLS where the options ask for it. The certificate of an
// authority that it makes is written to the folder.
func (o Options) listen(dir string) (l listening, err error) {
	if (o.TLSCert == "") != (o.TLSKey == "") || o.TLSCert != "" && o.SelfSigned {
		return listening{}, errTLSFlags
	}
	l.scheme = "http"
	var cert tls.Certificate
	switch {
	case o.SelfSigned:
		if cert, err = o.selfSigned(dir, &l); err != nil {
			return listening{}, fmt.Errorf("-tls-self-signed: %w", err)
		}
	case o.TLSCert != "":
		if cert, err = tls.LoadX509KeyPair(o.TLSCert, o.TLSKey); err != nil {
			return listening{}, fmt.Errorf("-tls-cert, -tls-key: %w", err)
		}
	}
	if l.Listener, err = net.Listen("tcp", o.Listen); err != nil {
		return listening{}, err
	}
	if cert.Certificate != nil {
		l.scheme = "https"
		l.Listener = tls.NewListener(l.Listener, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	}
	return l, nil
}

// selfSigned makes an authority, and the server's certificate. The authority's key
// is forgotten, so that it signs nothing else.
func (o Options) selfSigned(dir string, l *listening) (tls.Certificate, error) {
	ca := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "svctoken authserver CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "svctoken authserver"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leaf.DNSNames, leaf.IPAddresses = o.names()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	sum := sha256.Sum256(caDER)
	l.fingerprint, l.caPath = hex.EncodeToString(sum[:]), filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(l.caPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), 0o644); err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{leafDER, caDER}, PrivateKey: key}, nil
}

// names returns what clients may call the server.
func (o Options) names() (hosts []string, ips []net.IP) {
	hosts, ips = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	host, _, err := net.SplitHostPort(o.Listen)
	if err != nil || host == "" {
		return hosts, ips
	}
	if ip := net.ParseIP(host); ip != nil {
		return hosts, append(ips, ip)
	}
	return append(hosts, host), ips
}

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // documented never to fail
	return new(big.Int).SetBytes(b[:])
}
