package indexsource

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/svctoken/svctoken/internal/passhash"
	"github.com/svctoken/svctoken/tokencache"
)

// An Index is where the documents live. All methods must be safe for concurrent
// use by multiple goroutines.
type Index interface {
	// Get returns the document of a token, or false where there is none. The
	// document is the caller's. Get may fail, and should return soon after the
	// context is done, which has a deadline. What it returns must be what the
	// engine has acknowledged: a read from a replica that lags brings back what
	// was evicted.
	Get(ctx context.Context, id tokencache.TokenID) (Document, bool, error)

	// Watch has the source told of every change from now on: after the change has
	// become visible to Get, and before it is reported as done, by
	// source.DocumentChanged, source.EverythingChanged or source.StateChanged. The
	// function that it returns ends that. An index that hears of no changes does
	// nothing, and returns a function that does nothing.
	Watch(source *Source) (cancel func())
}

// A Document is what the index knows of a token.
//
// As the record of a verdict it has no Hash.
type Document struct {
	Token   tokencache.TokenID
	Created time.Time // when the token was created
	Creator string    // who created it, as the host names its users
	Enabled bool      // a token that is not enabled is refused
	Hash    Hash      // of the secret
}

// DocumentID returns the id under which Elasticsearch keeps the token's document:
// service_account_token- and the qualified name.
func DocumentID(id tokencache.TokenID) string { return "service_account_token-" + id.String() }

// A Hash is the password hash of a token's secret. It prints, logs and marshals
// as [redacted]. The zero Hash matches no secret.
type Hash struct {
	text *string // boxed, as in tokencache.Secret
}

const redacted = "[redacted]"

// ParseHash returns the Hash of its stored text, of any form that package
// filesource documents. The error says which rule the text breaks, and does not
// contain it.
func ParseHash(text string) (Hash, error) {
	if _, err := passhash.Check(text); err != nil {
		return Hash{}, fmt.Errorf("indexsource: password hash: %w", err)
	}
	return Hash{&text}, nil
}

// HashSecret returns a new Hash of the secret: PBKDF2_STRETCH with a cost of
// 10 000 and a random salt.
func HashSecret(secret tokencache.Secret) Hash { return Hash{new(passhash.Generate(secret.Reveal()))} }

// Verify reports whether the secret has this hash. It compares in constant time.
func (h Hash) Verify(secret tokencache.Secret) bool {
	return h.text != nil && passhash.Verify(*h.text, secret.Reveal())
}

// Reveal returns the text to store; keep it out of logs and errors.
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
