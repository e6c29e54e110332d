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
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// An authority signs the server's own certificate.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// authorityFile has the authority's certificate and its key.
const authorityFile = "ca-key.pem"

// openAuthority returns an authority. One that stays is read from the folder, or written
// there, so that clients can keep trusting its fingerprint. The key of any other is
// forgotten, so that it signs nothing else.
func openAuthority(dir string, stays bool) (authority, error) {
	if !stays {
		return newAuthority(time.Now().AddDate(1, 0, 0))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return authority{}, err
	}
	path := filepath.Join(dir, authorityFile)
	ca, err := readAuthority(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return ca, err
	}
	if ca, err = newAuthority(time.Now().AddDate(10, 0, 0)); err != nil {
		return authority{}, err
	}
	// Another server may do the same now: the file that is first in place is the
	// authority of both.
	if err := ca.save(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return authority{}, err
	}
	return readAuthority(path)
}

func newAuthority(until time.Time) (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "svctoken authserver CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return authority{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return authority{cert, key}, err
}

func readAuthority(path string) (authority, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return authority{}, err
	}
	pair, err := tls.X509KeyPair(content, content)
	if err != nil {
		return authority{}, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA || time.Now().After(pair.Leaf.NotAfter) {
		return authority{}, errors.New(path + ": is no certificate authority of this server's, or has expired")
	}
	return authority{pair.Leaf, key}, nil
}

// save writes the authority to a file, as a whole or not at all. The error wraps
// fs.ErrExist if the file exists already.
func (ca authority) save(path string) error {
	key, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".ca-*") // for this user alone
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(append(ca.pem(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...))
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Link(file.Name(), path)
}

func (ca authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

func (ca authority) publish(path string) error { return os.WriteFile(path, ca.pem(), 0o644) }

func (ca authority) fingerprint() string {
	sum := sha256.Sum256(ca.cert.Raw)
	return hex.EncodeToString(sum[:])
}

// issue returns a certificate for a server with these names.
func (ca authority) issue(hosts []string, ips []net.IP) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "svctoken authserver"},
		NotBefore: ca.cert.NotBefore, NotAfter: ca.cert.NotAfter, DNSNames: hosts, IPAddresses: ips,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der, ca.cert.Raw}, PrivateKey: key}, nil
}

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // documented never to fail
	return new(big.Int).SetBytes(b[:])
}
