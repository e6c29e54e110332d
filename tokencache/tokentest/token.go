package tokentest

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

// NewToken returns the token of a qualified name, elastic/fleet-server/token1 for
// example, with this secret; empty: with a random one.
func NewToken(t testing.TB, qualified, secret string) tokencache.Token {
	t.Helper()
	id, err := tokencache.ParseTokenID(qualified)
	if err != nil {
		t.Fatal(err)
	}
	token, err := tokencache.NewToken(id, tokencache.NewSecret(cmp.Or(secret, tokencache.GenerateSecret().Reveal())))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Authorization returns the value of the Authorization header for a token.
func Authorization(token tokencache.Token) string { return "Bearer " + token.RevealBearer() }

// ServiceTokens returns the text of a service_tokens file with these tokens, for package
// filesource. Their hashes are of the fastest form that it reads, {SSHA256}, and for
// tests only.
func ServiceTokens(tokens ...tokencache.Token) string {
	var text strings.Builder
	for _, token := range tokens {
		salt := make([]byte, 8)
		rand.Read(salt) // documented never to fail
		sum := sha256.Sum256(append([]byte(token.Secret().Reveal()), salt...))
		text.WriteString(token.ID().String() + ":{SSHA256}" +
			base64.StdEncoding.EncodeToString(salt) + base64.StdEncoding.EncodeToString(sum[:]) + "\n")
	}
	return text.String()
}

// WriteFile writes a service_tokens file with these tokens into a temporary folder of
// the test, and returns its path.
func WriteFile(t testing.TB, tokens ...tokencache.Token) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "service_tokens")
	if err := os.WriteFile(path, []byte(ServiceTokens(tokens...)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
