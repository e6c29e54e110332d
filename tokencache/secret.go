package tokencache

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// A Secret is what a bearer proves. It prints, logs and marshals as
// [redacted]; it cannot be compared with ==, but only with [Secret.Equal], in
// constant time.
//
// It is immutable and safe for concurrent use by multiple goroutines. The zero
// Secret is empty.
type Secret struct {
	_ [0]func() // not comparable: == would leak how much of two secrets agrees

	// value is boxed. A plain string would be printed by every verb of fmt as
	// soon as a Secret is an unexported field of another struct, as fmt may not
	// call Format there; a pointer below the top level prints as an address.
	value *string
}

const (
	minSecret       = 10 // bytes
	randomSecret    = 16 // bytes of a generated secret before it is encoded
	generatedSecret = 22 // bytes of a generated secret: randomSecret as URL-safe base64
	redacted        = "[redacted]"
)

// NewSecret returns a Secret with a copy of value.
func NewSecret(value string) Secret { return Secret{value: new(strings.Clone(value))} }

// GenerateSecret returns a new random secret: 16 bytes from crypto/rand as 22
// characters of unpadded URL-safe base64.
func GenerateSecret() Secret {
	var b [randomSecret]byte
	rand.Read(b[:]) // documented never to fail
	return Secret{value: new(base64.RawURLEncoding.EncodeToString(b[:]))}
}

// Reveal returns the secret itself, for the code that has to verify it or to
// hand it to its owner. Keep the result out of logs and errors.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// Len returns the secret's length in bytes.
func (s Secret) Len() int { return len(s.Reveal()) }

// Equal reports whether both secrets are the same, in a time which depends on
// their lengths alone.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String returns "[redacted]".
func (s Secret) String() string { return redacted }

// Format writes "[redacted]" for every verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue returns "[redacted]".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[redacted]", so that no encoder writes the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
