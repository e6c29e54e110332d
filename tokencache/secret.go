package tokencache

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
)

// A Secret is the part of a token that only its owner knows. It prints, logs and marshals
// as [redacted]; it cannot be compared with ==, but only with [Secret.Equal], in constant
// time.
//
// It is immutable and safe for concurrent use by multiple goroutines. The zero
// Secret is empty.
type Secret struct {
	// reveal returns the secret itself. It is in a closure, because a string would
	// be printed by every verb of fmt as soon as a Secret is an unexported field of
	// another struct, as fmt may not call Format there, and a slice behind a pointer
	// by some. A function prints as an address, cannot be compared, and nothing that
	// dumps values by reflection looks into it.
	reveal func() []byte
}

const (
	minSecret    = 10 // bytes
	randomSecret = 16 // bytes of a generated secret before it is encoded
	redacted     = "[redacted]"
)

// NewSecret returns a Secret with a copy of value.
func NewSecret(value string) Secret { return newSecret([]byte(value)) }

func newSecret(value []byte) Secret { return Secret{func() []byte { return value }} }

// GenerateSecret returns a new random secret: 16 bytes from crypto/rand as 22
// characters of unpadded URL-safe base64.
func GenerateSecret() Secret {
	var b [randomSecret]byte
	rand.Read(b[:]) // documented never to fail
	return NewSecret(base64.RawURLEncoding.EncodeToString(b[:]))
}

// Reveal returns the secret itself, for the code that has to verify it or to
// hand it to its owner. Keep the result out of logs and errors.
func (s Secret) Reveal() string { return string(s.bytes()) }

// bytes returns the secret without copying it.
func (s Secret) bytes() []byte {
	if s.reveal == nil {
		return nil
	}
	return s.reveal()
}

// is reports whether both share one secret in memory. Neither may be empty.
func (s Secret) is(other Secret) bool { return &s.bytes()[0] == &other.bytes()[0] }

// Len returns the secret's length in bytes.
func (s Secret) Len() int { return len(s.bytes()) }

// Equal reports whether both secrets are the same, in a time which depends on
// their lengths alone.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare(s.bytes(), other.bytes()) == 1
}

// String returns "[redacted]".
func (s Secret) String() string { return redacted }

// Format writes "[redacted]" for every verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue returns "[redacted]".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[redacted]", so that no encoder writes the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
