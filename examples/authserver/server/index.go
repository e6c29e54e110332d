package server

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// An Index is an index that tokens are read from, and administered in. All methods must
// be safe for concurrent use by multiple goroutines. A method that changes something
// returns once the change is visible to Get, and the watching sources have been told of
// it.
type Index interface {
	indexsource.Index

	// Create adds an enabled token with a random secret, and returns it. The creator
	// is noted as it is. If the token exists, the error wraps tokencache.ErrExists.
	Create(ctx context.Context, id tokencache.TokenID, creator string) (tokencache.Token, error)

	// Delete removes a token. The error wraps tokencache.ErrNotFound if there is none.
	Delete(ctx context.Context, id tokencache.TokenID) error

	// List returns the documents of an account's tokens, sorted by token name. They
	// may lack the hash.
	List(ctx context.Context, account tokencache.Account) ([]indexsource.Document, error)

	// Describe says which index this is, for the operators' page. It should answer
	// at once.
	Describe(ctx context.Context) Description
}

// A Description describes an index, except for its health: the server shows what the
// index has told its source by StateChanged.
type Description struct {
	Kind     string // such as "in memory" or "SQLite"
	Revision string // of the last change that the index has seen; empty: it counts none
	Err      error  // why it cannot be read at present, or nil

	Polled time.Time // every change before this time is in force here; zero: unknown
}

// InMemory returns a new index in memory, whose state is green.
func InMemory() Index {
	m := memory{new(indexsource.Memory)}
	m.SetState(indexsource.State{Health: indexsource.HealthGreen, UUID: rand.Text(), UpToDate: true})
	return m
}

// A memory describes an index in memory.
type memory struct{ *indexsource.Memory }

func (m memory) Describe(context.Context) Description { return Description{Kind: "in memory"} }
