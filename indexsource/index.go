package indexsource

import (
	"context"
	"time"

	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// An Index holds the documents. All methods must be safe for concurrent
// use by multiple goroutines.
type Index interface {
	// Get returns the document of a token, or false if there is none. The document is the
	// caller's. Get may fail, and should return soon after the context, which has a
	// deadline, is done. What it returns must be what the engine has acknowledged: a read
	// from a replica that lags brings back what was evicted.
	Get(ctx context.Context, id tokencache.TokenID) (Document, bool, error)

	// Watch makes the index tell the source of every change from now on: after the
	// change has become visible to Get, and before it is reported as done, by
	// source.DocumentChanged, source.AccountChanged, source.EverythingChanged or
	// source.StateChanged. The function that it returns ends that. [Watchers] keeps the
	// sources. An index that learns of no changes does nothing, and returns a function
	// that does nothing.
	Watch(source *Source) (cancel func())
}

// A Document is what the index knows of a token. A zero Time means never.
//
// As the record of a verdict it has neither Hash nor Previous.
type Document struct {
	Token   tokencache.TokenID
	Created time.Time      // when the token was created
	Creator string         // who created it, as the host names its users
	Enabled bool           // a token that is not enabled is refused
	Expires time.Time      // from then on it is refused; zero: it never expires
	Hash    tokenhash.Hash // of the secret

	Rotated         time.Time      // when the secret was last replaced; zero: never
	RotatedBy       string         // who replaced it, as the host names its users
	Previous        tokenhash.Hash // of the secret before, which is good until PreviousExpires
	PreviousExpires time.Time      // zero: the secret before is not good any more
}

// Rotate returns the document after its secret was replaced by the one of this hash, now.
// The old secret is good until the grace has passed; 0: it is not good any more.
func (d Document) Rotate(hash tokenhash.Hash, grace time.Duration, by string) Document {
	now := time.Now()
	d.Previous, d.PreviousExpires = tokenhash.Hash{}, time.Time{}
	if grace > 0 {
		d.Previous, d.PreviousExpires = d.Hash, now.Add(grace).Round(0)
	}
	d.Hash, d.Rotated, d.RotatedBy = hash, now.Round(0), by
	return d
}

// DocumentID returns the id under which Elasticsearch keeps the token's document:
// service_account_token- and the qualified name.
func DocumentID(id tokencache.TokenID) string { return "service_account_token-" + id.String() }
