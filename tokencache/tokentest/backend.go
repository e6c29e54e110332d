package tokentest

import (
	"context"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// A Backend is the other side of an implementation under test: with it, [RunSource] and
// [RunIndex] change what the implementation reads. Create and Delete are required, unless
// Untold and a nil function say what the implementation cannot do; the properties that
// need more are skipped.
//
// A function returns when the change has been reported as done to its caller.
// For a source that follows changes of others, a file or a table, that is when
// everything up to the caches' notice has happened: the function has to wait for it.
type Backend struct {
	// Create adds a token of this id, which does not exist, with a new secret.
	Create func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error)

	// Delete removes the token of this id, which exists.
	Delete func(ctx context.Context, id tokencache.TokenID) error

	// Replace gives the token of this id a new secret. Nil: Delete, then Create.
	Replace func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error)

	// Rotate gives the token of this id a new secret, and keeps the old one good for this
	// long. Nil: a token has one secret at a time. For RunIndex, nil stands for the method
	// Rotate of the index, if it has one.
	Rotate func(ctx context.Context, id tokencache.TokenID, grace time.Duration) (tokencache.Token, error)

	// SetEnabled disables or enables the token of this id. Nil: tokens cannot be
	// disabled.
	SetEnabled func(ctx context.Context, id tokencache.TokenID, enabled bool) error

	// SetFailing makes every Lookup fail from now on, or no longer, as in an outage.
	// Nil: it cannot fail.
	SetFailing func(failing bool)

	// SetHanging makes the backend hang from now on, so that every Lookup waits, or no
	// longer. Nil: it cannot hang.
	SetHanging func(hanging bool)

	// Hidden returns texts which no error and no record may show: password hashes,
	// and passwords of the backend. Nil: the secrets alone.
	Hidden func() []string

	// Untold says that the source does not learn of its changes, so that it cannot
	// tell its caches.
	Untold bool

	// Patience is how long something may take that should be immediate. Zero: 10
	// seconds.
	Patience time.Duration
}
