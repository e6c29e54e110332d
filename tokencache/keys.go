package tokencache

import (
	"crypto/rand"
	"encoding/base64"
	"hash/maphash"
)

// Keys are random for each group, so that neither digests nor buckets can be computed
// outside the process.
type keys struct {
	seed maphash.Seed
	key  [keyLen]byte
}

// keyLen is the length of the key under a digest, in bytes. With 44 characters,
// the tail of a secret of 32 bytes, it fills one block of SHA-256 to the last byte.
const keyLen = 11

func newKeys() (k keys) {
	k.seed = maphash.MakeSeed()
	rand.Read(k.key[:]) // documented never to fail
	return k
}

// hashHead returns the hash of the characters of a bearer that its name determines.
func (k *keys) hashHead(head string) uint32 { return uint32(maphash.String(k.seed, head)) }

// hashID returns the hash of the head of an id's bearers.
func (k *keys) hashID(id TokenID) uint32 {
	var plain, encoded [2 * stackBuffer]byte
	return uint32(maphash.Bytes(k.seed, appendHead(encoded[:0], plain[:0], id)))
}

// appendHead appends the head of an id's bearers. It builds the bytes to encode after
// plain.
func appendHead(b, plain []byte, id TokenID) []byte {
	plain = append(id.append(append(plain, bearerPrefix...)), ':')
	return base64.RawStdEncoding.AppendEncode(b, plain)[:sextets(len(plain))]
}

// sextets returns how many characters of base64 the first n bytes determine.
func sextets(n int) int { return n * 8 / 6 }

// headLen returns how many characters of base64 an account determines.
func headLen(a Account) int {
	return sextets(len(bearerPrefix) + len(a.Namespace) + len("/") + len(a.Service) + len("/"))
}

// A tokenKey is a secret and the name that it is for, by the hash of the bearer's head,
// whose seed nobody outside knows. Two names have the same hash one time in four
// billion.
type tokenKey struct {
	digest digest
	hash   uint32
}

func (l *label) key() tokenKey { return tokenKey{l.digest, l.hash} }

func (e *entry) key() tokenKey { return tokenKey{e.digest, e.hash} }
