package sqlindex

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// ErrUnconfirmed is wrapped by the error of a change that may be in force or not: the
// answer to its commit was lost, or the context ended before the commit was confirmed.
// PostgreSQL answers a commit with success if its wait for a synchronous standby was
// cancelled, as drivers do when a context ends. After any other error nothing was
// changed. The caches of this process have forgotten the token in both cases. Repeat
// the change: an answer without this error holds on the standby, too, also ErrNotFound.
var ErrUnconfirmed = errors.New("the change may be in force or not")

// Create adds an enabled token with a random secret, and returns it: the secret
// cannot be read again. The creator is noted as it is; it must be valid UTF-8
// without NULs. The error is a *tokencache.NameError for an invalid id, wraps
// tokencache.ErrExists for a token that is there already, wraps [ErrUnconfirmed], or is
// an [*EngineError].
func (ix *Index) Create(ctx context.Context, id tokencache.TokenID, creator string) (tokencache.Token, error) {
	return ix.CreateUntil(ctx, id, creator, time.Time{})
}

// CreateUntil is Create for a token that is refused from expires on; zero: never.
func (ix *Index) CreateUntil(ctx context.Context, id tokencache.TokenID, creator string, expires time.Time) (tokencache.Token, error) {
	if err := id.ValidateNew(); err != nil {
		return tokencache.Token{}, err
	}
	token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
	if err != nil {
		return tokencache.Token{}, err
	}
	doc := indexsource.Document{
		Token: id, Created: time.Now(), Creator: creator, Enabled: true, Expires: expires, Hash: tokenhash.New(token.Secret()),
	}
	rows, err := ix.put(ctx, "create", creator, doc, "NOTHING")
	if err == nil && rows == 0 {
		err = fmt.Errorf("%w: %s", tokencache.ErrExists, id)
	}
	if err != nil {
		return tokencache.Token{}, err
	}
	return token, nil
}

// Put adds or replaces a document, as it is. The error is a *tokencache.NameError for
// an invalid id, one for a name of a user that is not valid, wraps [ErrUnconfirmed], or
// is an [*EngineError].
func (ix *Index) Put(ctx context.Context, doc indexsource.Document) error {
	if err := doc.Token.Validate(); err != nil {
		return err
	}
	_, err := ix.put(ctx, "put", indexsource.Actor(ctx), doc, `UPDATE SET
created = EXCLUDED.created, creator = EXCLUDED.creator, enabled = EXCLUDED.enabled, hash = EXCLUDED.hash, expires = EXCLUDED.expires,
rotated = EXCLUDED.rotated, rotated_by = EXCLUDED.rotated_by, previous = EXCLUDED.previous, previous_expires = EXCLUDED.previous_expires`)
	return err
}

func (ix *Index) put(ctx context.Context, op, by string, doc indexsource.Document, conflict string) (int64, error) {
	c := change{op: op, by: by, texts: []string{doc.Creator, doc.RotatedBy}, hashes: []tokenhash.Hash{doc.Hash, doc.Previous}}
	c.query = `INSERT INTO svctoken_tokens (namespace, service, name, created, creator, enabled, hash, expires, rotated, rotated_by, previous, previous_expires)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (namespace, service, name) DO ` + conflict
	c.args = []any{doc.Created.UnixMilli(), doc.Creator, doc.Enabled, doc.Hash.Reveal(), milli(doc.Expires),
		milli(doc.Rotated), doc.RotatedBy, doc.Previous.Reveal(), milli(doc.PreviousExpires)}
	return ix.changeToken(ctx, doc.Token, c)
}

// Rotate gives a token a new random secret, and returns it: the secret cannot be read
// again. The old one is good until the grace has passed, by each node's own clock; 0: it is
// refused from then on. Of several old ones the last is good. The document notes when, and
// by whom, as the host names its users. A token that is disabled stays so. The error wraps
// tokencache.ErrNotFound or [ErrUnconfirmed], is for a negative grace, or is as in Create.
func (ix *Index) Rotate(ctx context.Context, id tokencache.TokenID, grace time.Duration, by string) (tokencache.Token, error) {
	if grace < 0 {
		return tokencache.Token{}, fmt.Errorf("sqlindex: rotate %s: the grace %v is negative", id, grace)
	}
	token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
	if err != nil {
		return tokencache.Token{}, err
	}
	hash, now := tokenhash.New(token.Secret()), time.Now()
	c := change{op: "rotate", by: by, texts: []string{by}, hashes: []tokenhash.Hash{hash}}
	if grace > 0 {
		c.query = `UPDATE svctoken_tokens SET previous = hash, previous_expires = $7, hash = $4, rotated = $5, rotated_by = $6` + ofToken
		c.args = []any{hash.Reveal(), now.UnixMilli(), by, now.Add(grace).UnixMilli()}
	} else {
		c.query = `UPDATE svctoken_tokens SET previous = '', previous_expires = NULL, hash = $4, rotated = $5, rotated_by = $6` + ofToken
		c.args = []any{hash.Reveal(), now.UnixMilli(), by}
	}
	if err := ix.changeThat(ctx, id, c); err != nil {
		return tokencache.Token{}, err
	}
	return token, nil
}

const ofToken = ` WHERE namespace = $1 AND service = $2 AND name = $3`

// SetExpiry sets when a token expires, to the millisecond; the zero Time: never. The error
// wraps tokencache.ErrNotFound, or is as in Create.
func (ix *Index) SetExpiry(ctx context.Context, id tokencache.TokenID, expires time.Time) error {
	return ix.changeThat(ctx, id, change{
		op: "set expiry", by: indexsource.Actor(ctx), query: `UPDATE svctoken_tokens SET expires = $4` + ofToken, args: []any{milli(expires)},
	})
}

// SetEnabled enables or disables a token. The error wraps tokencache.ErrNotFound, or is
// as in Create.
func (ix *Index) SetEnabled(ctx context.Context, id tokencache.TokenID, enabled bool) error {
	return ix.changeThat(ctx, id, change{
		op: "set enabled", by: indexsource.Actor(ctx), query: `UPDATE svctoken_tokens SET enabled = $4` + ofToken, args: []any{enabled},
	})
}

// Delete removes a token. The error wraps tokencache.ErrNotFound, or is as in Create.
func (ix *Index) Delete(ctx context.Context, id tokencache.TokenID) error {
	return ix.changeThat(ctx, id, change{op: "delete", by: indexsource.Actor(ctx), query: `DELETE FROM svctoken_tokens` + ofToken})
}

// DeleteAccount removes all tokens of an account, in one transaction, and returns how
// many there were. The error is a *tokencache.NameError for an invalid account, or as in
// Create.
func (ix *Index) DeleteAccount(ctx context.Context, account tokencache.Account) (int64, error) {
	if err := account.Validate(); err != nil {
		return 0, err
	}
	return ix.change(ctx, change{
		op: "delete account", by: indexsource.Actor(ctx),
		query: `DELETE FROM svctoken_tokens WHERE namespace = $1 AND service = $2`, args: []any{account.Namespace, account.Service},
		tell: func(source *indexsource.Source) { source.AccountChanged(account) },
	})
}

// A change is what one transaction does.
type change struct {
	op, by string
	texts  []string // that must be valid UTF-8, like by
	hashes []tokenhash.Hash
	bump   bool // rev goes up although the statement changes no token
	query  string
	args   []any
	tell   func(*indexsource.Source) // of what has changed, or may have
}

// changeThat changes a token, which must exist.
func (ix *Index) changeThat(ctx context.Context, id tokencache.TokenID, c change) error {
	rows, err := ix.changeToken(ctx, id, c)
	if err == nil && rows == 0 {
		err = fmt.Errorf("%w: %s", tokencache.ErrNotFound, id)
	}
	return err
}

// changeToken makes a change whose first three parameters are the token's id. The id may
// break the rules of names: others may have written such a row, and it can be changed
// too.
func (ix *Index) changeToken(ctx context.Context, id tokencache.TokenID, c change) (int64, error) {
	c.tell = func(source *indexsource.Source) { source.DocumentChanged(id) }
	c.args = append([]any{id.Account.Namespace, id.Account.Service, id.Name}, c.args...)
	return ix.change(ctx, c)
}

// change runs a transaction, and then tells the sources of this process.
func (ix *Index) change(ctx context.Context, c change) (int64, error) {
	if _, err := ix.ready(); err != nil {
		return 0, err
	}
	if err := ix.replaced(); err != nil {
		return 0, err
	}
	for _, text := range append(c.texts, c.by) {
		if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
			return 0, fmt.Errorf("sqlindex: %s: the name of a user is not valid UTF-8, or has a NUL", c.op)
		}
	}
	rows, err := ix.transact(ctx, c)
	for source := range ix.watchers.All() {
		c.tell(source)
	}
	if err != nil {
		return 0, err
	}
	ix.catchUp(ctx)
	return rows, nil
}

// transact runs a transaction. It first writes to svctoken_meta, even if it changes no
// token, so that all writers wait there for one another, and so that its commit waits
// until the standby has what was committed before.
func (ix *Index) transact(ctx context.Context, c change) (rows int64, err error) {
	var secrets []string
	for _, hash := range c.hashes {
		secrets = append(secrets, hash.Reveal())
	}
	tx, err := ix.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, wrap(c.op, err)
	}
	defer tx.Rollback()
	const act = "UPDATE svctoken_meta SET actor = $1"
	first := act
	if c.bump {
		first += ", rev = rev + 1"
	}
	if _, err := tx.ExecContext(ctx, ix.dialect.bind(first), c.by); err != nil {
		return 0, wrap(c.op, err)
	}
	result, err := tx.ExecContext(ctx, ix.dialect.bind(c.query), c.args...)
	if err == nil {
		rows, err = result.RowsAffected()
	}
	if err != nil {
		return 0, wrap(c.op, err, secrets...)
	}
	if _, err := tx.ExecContext(ctx, ix.dialect.bind(act), ""); err != nil {
		return 0, wrap(c.op, err)
	}
	return rows, ix.commit(ctx, c.op, tx)
}

// commit commits. A success after the context has ended does not count: the driver may
// have cancelled the wait for the standby, and PostgreSQL then answers that it has
// committed.
func (ix *Index) commit(ctx context.Context, op string, tx *sql.Tx) error {
	err := tx.Commit()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%w (%w)", wrap(op, err), ErrUnconfirmed)
	}
	return nil
}

// Renew gives the index another identity, so that every node which uses it clears its
// caches. Call it after a change to the database that its triggers could not see, for
// example after some of its tables were restored.
func (ix *Index) Renew(ctx context.Context) error {
	random := "lower(hex(randomblob(16)))"
	if ix.dialect == PostgreSQL {
		random = "gen_random_uuid()::TEXT"
	}
	_, err := ix.change(ctx, change{
		op: "renew", by: indexsource.Actor(ctx), query: "UPDATE svctoken_meta SET uuid = " + random + ", rev = rev + 1",
		tell: (*indexsource.Source).EverythingChanged,
	})
	return err
}

// milli returns a time as the database keeps it: NULL for the zero Time.
func milli(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: !t.IsZero()}
}

// timeOf returns the time of a column that milli has made.
func timeOf(ms sql.NullInt64) time.Time {
	if !ms.Valid {
		return time.Time{}
	}
	return time.UnixMilli(ms.Int64)
}
