package tokenhash

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/svctoken/svctoken/internal/passhash"
	"github.com/svctoken/svctoken/tokencache"
)

// A Hash is the password hash of a token's secret. It prints, logs and marshals
// as [redacted]. The zero Hash matches no secret. Two Hashes of one text are not ==.
type Hash struct {
	text *string // boxed, as in tokencache.Secret
}

const redacted = "[redacted]"

// New returns a new hash of a secret with at least 128 random bits, as
// tokencache.GenerateSecret makes them: {SSHA256} with a random salt. Computing it
// takes less than a microsecond. It is wrong for a secret that a person chose; see
// [Stretched].
func New(secret tokencache.Secret) Hash { return Hash{new(passhash.Fast(secret.Reveal()))} }

// Stretched returns a new hash of a secret that could be guessed:
// {PBKDF2_STRETCH} with a cost of 10 000 and a random salt. Computing it, and each
// verification, takes milliseconds.
func Stretched(secret tokencache.Secret) Hash { return Hash{new(passhash.Generate(secret.Reveal()))} }

// Parse returns the Hash of its stored text, of any form of the package's
// documentation. The error says which rule the text breaks, and does not contain it.
func Parse(text string) (Hash, error) {
	if _, err := passhash.Check(text); err != nil {
		return Hash{}, fmt.Errorf("tokenhash: %w", err)
	}
	return Hash{&text}, nil
}

// Verify reports whether the secret has this hash. It compares in constant time.
func (h Hash) Verify(secret tokencache.Secret) bool {
	return h.text != nil && passhash.Verify(*h.text, secret.Reveal())
}

// Fast reports whether Verify takes microseconds by the form of the hash, so that it
// need not wait for a turn to hash. It is true for {SSHA256} and for the zero Hash.
func (h Hash) Fast() bool { return h.text == nil || passhash.IsFast(*h.text) }

// Reveal returns the text to store; keep it out of logs and errors. The zero Hash has
// none.
func (h Hash) Reveal() string {
	if h.text == nil {
		return ""
	}
	return *h.text
}

// String returns "[redacted]".
func (h Hash) String() string { return redacted }

// Format writes "[redacted]" for every verb.
func (h Hash) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue returns "[redacted]".
func (h Hash) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[redacted]".
func (h Hash) MarshalText() ([]byte, error) { return []byte(redacted), nil }
