package sqlindex

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// Create adds an enabled token with a random secret, and returns it: the secret
// cannot be read again. The creator is noted as it is; it must be valid UTF-8
// without NULs. The error is a *tokencache.NameError for an invalid id, wraps
// tokencache.ErrExists for a token that is there already, or is an
// [*EngineError].
//
// After an EngineError of this or another method that writes, the change may be in
// force or not: the answer can get lost. The caches of this process have forgotten
// the token in both cases.
func (ix *Index) Create(ctx context.Context, id tokencache.TokenID, creator string) (tokencache.Token, error) {
	token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
	if err != nil {
		return tokencache.Token{}, err
	}
	doc := indexsource.Document{Token: id, Created: time.Now(), Creator: creator, Enabled: true, Hash: tokenhash.New(token.Secret())}
	created, err := ix.put(ctx, "create", doc, `ON CONFLICT (namespace, service, name) DO NOTHING`)
	if err != nil {
		return tokencache.Token{}, err
	}
	if !created {
		return tokencache.Token{}, fmt.Errorf("%w: %s", tokencache.ErrExists, id)
	}
	return token, nil
}

// Put adds or replaces a document, as it is. The error is a *tokencache.NameError for
// an invalid id, one for a creator that is not valid, or an [*EngineError].
func (ix *Index) Put(ctx context.Context, doc indexsource.Document) error {
	if err := doc.Token.Validate(); err != nil {
		return err
	}
	_, err := ix.put(ctx, "put", doc, `ON CONFLICT (namespace, service, name) DO UPDATE SET
created = EXCLUDED.created, creator = EXCLUDED.creator, enabled = EXCLUDED.enabled, hash = EXCLUDED.hash`)
	return err
}

func (ix *Index) put(ctx context.Context, op string, doc indexsource.Document, conflict string) (bool, error) {
	if !utf8.ValidString(doc.Creator) || strings.Contains(doc.Creator, "\x00") {
		return false, fmt.Errorf("sqlindex: %s: the creator is not valid UTF-8, or has a NUL", op)
	}
	return ix.write(ctx, op, doc.Token, doc.Hash, `INSERT INTO svctoken_tokens (namespace, service, name, created, creator, enabled, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7) `+conflict, doc.Created.UnixMilli(), doc.Creator, doc.Enabled, doc.Hash.Reveal())
}

// Rotate gives a token a new random secret, and returns it: the secret cannot be read
// again. The old one is refused from then on. It reports false where there is no such
// token. A token that is disabled stays so.
func (ix *Index) Rotate(ctx context.Context, id tokencache.TokenID) (tokencache.Token, bool, error) {
	token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
	if err != nil {
		return tokencache.Token{}, false, err
	}
	hash := tokenhash.New(token.Secret())
	found, err := ix.write(ctx, "rotate", id, hash, `UPDATE svctoken_tokens SET hash = $4 WHERE namespace = $1 AND service = $2 AND name = $3`, hash.Reveal())
	if !found {
		return tokencache.Token{}, false, err
	}
	return token, true, nil
}

// SetEnabled enables or disables a token, and reports whether there is one.
func (ix *Index) SetEnabled(ctx context.Context, id tokencache.TokenID, enabled bool) (bool, error) {
	return ix.write(ctx, "set enabled", id, tokenhash.Hash{}, `UPDATE svctoken_tokens SET enabled = $4 WHERE namespace = $1 AND service = $2 AND name = $3`, enabled)
}

// Delete removes a token, and reports whether there was one.
func (ix *Index) Delete(ctx context.Context, id tokencache.TokenID) (bool, error) {
	return ix.write(ctx, "delete", id, tokenhash.Hash{}, `DELETE FROM svctoken_tokens WHERE namespace = $1 AND service = $2 AND name = $3`)
}

// write runs one statement, which is a transaction of its own, and then tells the
// sources of this process: of what has happened, and of what may have.
func (ix *Index) write(ctx context.Context, op string, id tokencache.TokenID, secret tokenhash.Hash, query string, args ...any) (bool, error) {
	if _, err := ix.ready(); err != nil {
		return false, err
	}
	args = append([]any{id.Account.Namespace, id.Account.Service, id.Name}, args...)
	result, err := ix.db.ExecContext(ctx, ix.engine.bind(query), args...)
	for _, w := range ix.watching() {
		w.DocumentChanged(id)
	}
	if err != nil {
		return false, wrap(op, err, secret.Reveal())
	}
	ix.catchUp(ctx)
	rows, err := result.RowsAffected()
	return rows > 0, wrap(op, err)
}

// Renew gives the index another identity, so that every node which uses it clears its
// caches. It is for whoever has changed it in a way that its triggers could not see,
// for example by restoring some of its tables.
func (ix *Index) Renew(ctx context.Context) error {
	random := "lower(hex(randomblob(16)))"
	if ix.engine == PostgreSQL {
		random = "gen_random_uuid()::TEXT"
	}
	_, err := ix.db.ExecContext(ctx, "UPDATE svctoken_meta SET uuid = "+random+", rev = rev + 1")
	ix.Nudge()
	return wrap("renew", err)
}
