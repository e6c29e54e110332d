// Package passhash checks, verifies and makes the password hashes in which
// sources keep secrets. Its functions are safe for concurrent use by multiple
// goroutines, and none of their errors contains a hash.
//
// The forms are those of Elasticsearch's service_tokens file:
//
//	{PBKDF2}N$salt$dk           PBKDF2-HMAC-SHA512 of the secret
//	{PBKDF2_STRETCH}N$salt$dk   the same of the secret's SHA-512 in lower-case hex
//	$2a$CC$...  $2b$  $2y$      bcrypt of the secret
//	{SSHA256}salt dk            SHA-256 of the secret and the salt
//
// # A secret that matches a hash is the only one that does
//
// PBKDF2 pads its password with NUL bytes, bcrypt repeats its own with a NUL in
// between and ignores what follows byte 72: "s", "s\x00" and "s\x00s" would match
// one hash. A cache remembers one secret for a token, and would then refuse the
// others. So a secret with a NUL byte matches nothing, nor does one of more than 72
// bytes match a bcrypt hash. Elasticsearch accepts both.
package passhash

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

var (
	// ErrUnknown is returned by Check for text of no known form, plaintext for
	// example.
	ErrUnknown = errors.New("not a password hash of a known form")

	// ErrWeak is returned by Check for {SHA} and {MD5}: known, and too weak to use.
	ErrWeak = errors.New("a {SHA} or {MD5} hash, which is too weak to use")
)

// The rules that a hash may break. Each is one error: a file may have millions of them.
var (
	errPBKDF2     = errors.New("a PBKDF2 hash must be cost, salt and key, with $ between")
	errCost       = errors.New("the cost of a PBKDF2 hash must be 1000, 10000, 50000, 100000, 500000 or 1000000")
	errSalt       = fmt.Errorf("the salt of a PBKDF2 hash must be padded base64 of at least %d bytes", minSalt)
	errKey        = errors.New("the key of a PBKDF2 hash must be padded base64 of 16, 32, 48 or 64 bytes")
	errBcrypt     = fmt.Errorf("a bcrypt hash must have %d characters", bcryptLen)
	errBcryptCost = errors.New("the cost of a bcrypt hash must be 04 to 14")
	errBcryptText = errors.New("the salt and key of a bcrypt hash must be of ./A-Za-z0-9")
	errSSHA256    = errors.New("an SSHA256 hash must be padded base64 of 8 bytes of salt, then of 32 bytes of key")
)

// The names that Check returns.
const (
	schemeStretch = "PBKDF2_STRETCH"
	schemePBKDF2  = "PBKDF2"
	schemeBcrypt  = "bcrypt"
	schemeSSHA256 = "SSHA256"
)

const (
	stretchPrefix = "{" + schemeStretch + "}"
	pbkdf2Prefix  = "{" + schemePBKDF2 + "}"
	ssha256Prefix = "{" + schemeSSHA256 + "}"

	newCost   = "10000"
	newSalt   = 32 // bytes
	newKey    = 32 // bytes
	minSalt   = 8  // bytes
	maxKey    = 64 // bytes
	bcryptLen = 60 // characters
	bcryptMax = 72 // bytes of a secret

	newSSHASalt = 8  // bytes
	sshaSalt    = 12 // characters, 8 bytes
	sshaKey     = 44 // characters, 32 bytes
)

// Check returns the name of the hash's scheme, one of PBKDF2_STRETCH, PBKDF2,
// bcrypt and SSHA256. The error is ErrUnknown, ErrWeak, or says which rule of its
// scheme the hash breaks. What Check accepts, Verify can verify.
func Check(hash string) (scheme string, err error) {
	switch {
	case strings.HasPrefix(hash, stretchPrefix):
		return schemeStretch, checkPBKDF2(hash[len(stretchPrefix):])
	case strings.HasPrefix(hash, pbkdf2Prefix):
		return schemePBKDF2, checkPBKDF2(hash[len(pbkdf2Prefix):])
	case isBcrypt(hash):
		return schemeBcrypt, checkBcrypt(hash)
	case strings.HasPrefix(hash, ssha256Prefix):
		return schemeSSHA256, checkSSHA256(hash[len(ssha256Prefix):])
	case strings.HasPrefix(hash, "{SHA}"), strings.HasPrefix(hash, "{MD5}"):
		return "", ErrWeak
	default:
		return "", ErrUnknown
	}
}

// Verify reports whether the secret has this hash. It compares in constant time.
// What Check refuses matches nothing, and neither does a secret with a NUL byte,
// nor one of more than 72 bytes if the hash is of bcrypt.
func Verify(hash, secret string) bool {
	scheme, err := Check(hash)
	if err != nil || strings.IndexByte(secret, 0) >= 0 {
		return false
	}
	switch scheme {
	case schemeStretch:
		return verifyPBKDF2(hash[len(stretchPrefix):], stretch(secret))
	case schemePBKDF2:
		return verifyPBKDF2(hash[len(pbkdf2Prefix):], secret)
	case schemeBcrypt:
		return len(secret) <= bcryptMax && bcrypt.CompareHashAndPassword([]byte(hash), []byte(secret)) == nil
	default:
		return verifySSHA256(hash[len(ssha256Prefix):], secret)
	}
}

// Generate returns a new hash of the secret: PBKDF2_STRETCH with a cost of
// 10 000, a random salt of 32 bytes and a key of 32. Verify never matches the hash
// of a secret with a NUL byte.
func Generate(secret string) string {
	salt := make([]byte, newSalt)
	rand.Read(salt) // documented never to fail
	key := derive(stretch(secret), salt, costs[newCost], newKey)
	return stretchPrefix + newCost + "$" + base64.StdEncoding.EncodeToString(salt) + "$" + base64.StdEncoding.EncodeToString(key)
}

// Fast returns a new hash of a secret that nobody can guess: SSHA256, with a random
// salt of 8 bytes. Verify never matches the hash of a secret with a NUL byte.
func Fast(secret string) string {
	salt := make([]byte, newSSHASalt)
	rand.Read(salt) // documented never to fail
	key := sha256.Sum256(append([]byte(secret), salt...))
	return ssha256Prefix + base64.StdEncoding.EncodeToString(salt) + base64.StdEncoding.EncodeToString(key[:])
}

// IsFast reports whether Verify takes microseconds by the form of the hash.
func IsFast(hash string) bool { return strings.HasPrefix(hash, ssha256Prefix) }

// stretch returns the password of {PBKDF2_STRETCH}.
func stretch(plain string) string {
	sum := sha512.Sum512([]byte(plain))
	return hex.EncodeToString(sum[:])
}

// costs are the iteration counts that a hash may have.
var costs = map[string]int{
	"1000": 1000, "10000": 10_000, "50000": 50_000, "100000": 100_000, "500000": 500_000, "1000000": 1_000_000,
}

func checkPBKDF2(rest string) error {
	cost, rest, ok := strings.Cut(rest, "$")
	salt, key, ok2 := strings.Cut(rest, "$")
	if !ok || !ok2 {
		return errPBKDF2
	}
	if costs[cost] == 0 {
		return errCost
	}
	if n := base64Len(salt); n < minSalt {
		return errSalt
	}
	switch base64Len(key) {
	case 16, 32, 48, maxKey:
		return nil
	default:
		return errKey
	}
}

func verifyPBKDF2(rest, password string) bool {
	cost, rest, _ := strings.Cut(rest, "$")
	salt, key, _ := strings.Cut(rest, "$")
	want := decode(key)
	return subtle.ConstantTimeCompare(derive(password, decode(salt), costs[cost], len(want)), want) == 1
}

func derive(password string, salt []byte, iterations, length int) []byte {
	key, err := pbkdf2.Key(sha512.New, password, salt, iterations, length)
	if err != nil {
		// Only in FIPS 140-only mode, which refuses short salts and keys.
		panic(fmt.Sprintf("passhash: pbkdf2: %v", err))
	}
	return key
}

func isBcrypt(hash string) bool {
	return len(hash) >= 4 && hash[:2] == "$2" && hash[3] == '$' && strings.IndexByte("aby", hash[2]) >= 0
}

func checkBcrypt(hash string) error {
	if len(hash) != bcryptLen {
		return errBcrypt
	}
	if cost := hash[4:6]; cost < "04" || cost > "14" || cost[1] < '0' || cost[1] > '9' || hash[6] != '$' {
		return errBcryptCost
	}
	const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	if strings.ContainsFunc(hash[7:], func(r rune) bool { return !strings.ContainsRune(alphabet, r) }) {
		return errBcryptText
	}
	return nil
}

func checkSSHA256(rest string) error {
	if len(rest) != sshaSalt+sshaKey || base64Len(rest[:sshaSalt]) != 8 || base64Len(rest[sshaSalt:]) != sha256.Size {
		return errSSHA256
	}
	return nil
}

func verifySSHA256(rest, plain string) bool {
	got := sha256.Sum256(append([]byte(plain), decode(rest[:sshaSalt])...))
	return subtle.ConstantTimeCompare(got[:], decode(rest[sshaSalt:])) == 1
}

// decode decodes base64 that Check has accepted.
func decode(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		panic("passhash: base64 that was checked does not decode")
	}
	return b
}

// base64Len returns how many bytes s encodes in padded standard base64, or -1 if it is
// something else. The standard decoder skips line breaks; here they are errors.
func base64Len(s string) int {
	var buf [128]byte
	dst := buf[:]
	if n := base64.StdEncoding.DecodedLen(len(s)); n > len(dst) {
		dst = make([]byte, n)
	}
	n, err := base64.StdEncoding.Decode(dst, []byte(s))
	if err != nil || strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, '\r') >= 0 {
		return -1
	}
	return n
}
